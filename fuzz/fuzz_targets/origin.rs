#![no_main]

use cognito_proxy::guard::fuzz;

libfuzzer_sys::fuzz_target!(init: cognito_proxy_fuzz::plant("origin", &fuzz::TARGETS), |data: &[u8]| fuzz::origin(data));
