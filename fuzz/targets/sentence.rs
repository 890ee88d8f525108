//! Any text with a right checksum: what is read from it is in range.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waypost_fuzz::sentence(data));
