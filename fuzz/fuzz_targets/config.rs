#![no_main]

use cognito_proxy::config::fuzz;

libfuzzer_sys::fuzz_target!(init: cognito_proxy_fuzz::plant("config", &fuzz::TARGETS), |data: &[u8]| fuzz::text(data));
