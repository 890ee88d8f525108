//! Fuzz target: scans of labels and memory of RFID tags.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waypost_fuzz::code(data));
