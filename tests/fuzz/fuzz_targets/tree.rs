//! Changes of a region tree against the slow oracle.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tests::fuzz::run("tree", data));
