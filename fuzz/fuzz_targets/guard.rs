#![no_main]

use cognito_proxy::guard::fuzz;

libfuzzer_sys::fuzz_target!(init: cognito_proxy_fuzz::plant("guard", &fuzz::TARGETS), |data: &[u8]| fuzz::check(data));
