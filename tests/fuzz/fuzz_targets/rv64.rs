//! The RV64 decoder and its CSRs against the manual's tables.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tests::fuzz::run("rv64", data));
