#![no_main]

use cognito_proxy::proxy::fuzz;

libfuzzer_sys::fuzz_target!(init: cognito_proxy_fuzz::plant("request_head", &fuzz::TARGETS), |data: &[u8]| fuzz::request_head(data));
