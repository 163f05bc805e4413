#![no_main]

use cognito_proxy::proxy::fuzz;

libfuzzer_sys::fuzz_target!(init: cognito_proxy_fuzz::plant("response_head", &fuzz::TARGETS), |data: &[u8]| fuzz::response_head(data));
