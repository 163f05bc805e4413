#![no_main]

use cognito_proxy::store::fuzz;

libfuzzer_sys::fuzz_target!(init: cognito_proxy_fuzz::plant("record", &fuzz::TARGETS), |data: &[u8]| fuzz::record(data));
