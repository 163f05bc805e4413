//! The promises that the program makes, each proven from outside: real sockets, real processes, real files.
//!
//! One file is one promise, named as a claim. What they share is in [`support`].
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails loudly, and so does what it stands on"
)]

mod check;
mod commands;
mod curl_works;
mod emulators;
mod grpc_works;
mod http_libraries_work;
mod import_and_status;
mod layering;
mod logs_are_never_fatal;
mod main_journey;
mod mcp_works;
mod never_logs_tokens;
mod nginx_works_as_upstream;
mod no_rotated_token_is_lost;
mod nothing_is_used_before_it_is_durable;
mod outages_heal_by_themselves;
mod requests_without_a_token;
mod seeds_and_pool_settings;
mod support;
mod survives_restart;
mod waits_for_a_refresh;
mod warns_once;
mod websockets_work;
