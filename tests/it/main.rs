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

mod adds_next_to_no_delay;
mod asks_once_after_a_401;
mod cancels_at_once;
mod carries_everything;
mod check;
mod commands;
mod config_errors;
mod curl_works;
mod demo_shows_both_endings;
mod doctor_finds_it;
mod emulators;
mod floods_harm_nobody_else;
mod grpc_works;
mod hears_of_the_network;
mod heeds_what_others_store;
mod http_libraries_work;
mod idles_without_waking;
mod import_and_status;
mod layering;
mod logs_are_never_fatal;
mod logs_out;
mod main_journey;
mod many_processes_share_one_store;
mod mcp_works;
mod memory_is_kept_to_itself;
mod metrics_are_read_by_prometheus;
mod never_logs_tokens;
mod nginx_works_as_upstream;
mod no_byte_is_lost_or_invented;
mod no_rotated_token_is_lost;
mod nobody_rides_along;
mod nothing_is_used_before_it_is_durable;
mod one_proxy_per_profile_and_port;
mod other_users_are_refused;
mod outages_heal_by_themselves;
mod packages_hold_what_they_need;
mod refreshes_under_load;
mod reload;
mod requests_are_held;
mod requests_without_a_token;
mod restarts_refuse_nobody;
mod seeds_and_pool_settings;
mod sessions_live_in_a_keyring;
mod signs_in_by_browser;
mod signs_in_with_a_password;
mod status_is_seen_live;
mod support;
mod survives_being_killed;
mod survives_restart;
mod survives_signals_and_limits;
mod tells_of_each_refresh;
mod tells_the_service_manager;
mod waits_for_a_refresh;
mod warns_once;
mod warns_through_every_channel;
mod websockets_work;
mod what_is_asked_for_is_shown_or_withheld;
mod writes_a_configuration;
