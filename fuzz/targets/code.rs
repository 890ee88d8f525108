//! Any scan of a label, and any memory of a radio tag: what is read is printable and bounded.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waypost_fuzz::code(data));
