//! Fuzz target: a script of bytes and pauses through all stages of the pipeline.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waypost_fuzz::pipeline(data));
