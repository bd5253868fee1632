//! Machine files: read, written, built.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tests::fuzz::run("machine-file", data));
