#![no_main]

use cognito_proxy::message::fuzz;

libfuzzer_sys::fuzz_target!(init: cognito_proxy_fuzz::plant("request", &fuzz::TARGETS), |data: &[u8]| fuzz::request(data));
