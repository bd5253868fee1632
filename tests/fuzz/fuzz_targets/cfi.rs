//! Command streams to CFI flash against a literal model.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tests::fuzz::run("cfi", data));
