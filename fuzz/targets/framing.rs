//! Fuzz target: framing of arbitrary bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waypost_fuzz::framing(data));
