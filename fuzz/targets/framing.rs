//! Any bytes: lines are lines, however the bytes are cut.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waypost_fuzz::framing(data));
