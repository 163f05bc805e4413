//! The promises that the program makes, each proven from outside: real sockets, real processes, real files.
//!
//! One file is one promise, named as a claim. What they share is in [`support`].
#![allow(clippy::unnecessary_debug_formatting, reason = "quoted, a path is a TOML string")]
#![allow(clippy::format_collect, reason = "a test may allocate")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "figures, and what cannot be shown on a machine, are said"
)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails loudly, and so does what it stands on"
)]

mod check;
mod commands;
mod config_errors;
mod curl_works;
mod doctor_finds_it;
mod emulators;
mod grpc_works;
mod http_libraries_work;
mod idles_without_waking;
mod import_and_status;
mod layering;
mod logs_are_never_fatal;
mod main_journey;
mod many_processes_share_one_store;
mod mcp_works;
mod memory_is_kept_to_itself;
mod never_logs_tokens;
mod nginx_works_as_upstream;
mod no_rotated_token_is_lost;
mod nobody_rides_along;
mod nothing_is_used_before_it_is_durable;
mod one_proxy_per_profile_and_port;
mod other_users_are_refused;
mod outages_heal_by_themselves;
mod reload;
mod requests_without_a_token;
mod restarts_refuse_nobody;
mod seeds_and_pool_settings;
mod sessions_live_in_a_keyring;
mod support;
mod survives_being_killed;
mod survives_restart;
mod survives_signals_and_limits;
mod tells_the_service_manager;
mod waits_for_a_refresh;
mod warns_once;
mod websockets_work;
mod what_is_asked_for_is_shown_or_withheld;
mod writes_a_configuration;
