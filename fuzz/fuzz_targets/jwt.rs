#![no_main]

use cognito_proxy::cognito::fuzz;

libfuzzer_sys::fuzz_target!(init: cognito_proxy_fuzz::plant("jwt", &fuzz::TARGETS), |data: &[u8]| fuzz::jwt(data));
