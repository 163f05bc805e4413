#![no_main]

use cognito_proxy::guard::fuzz;

libfuzzer_sys::fuzz_target!(init: cognito_proxy_fuzz::plant("authority", &fuzz::TARGETS), |data: &[u8]| fuzz::authority(data));
