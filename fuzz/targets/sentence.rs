//! Fuzz target: sentences with a correct checksum.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waypost_fuzz::sentence(data));
