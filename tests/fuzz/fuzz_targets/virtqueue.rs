//! Virtqueues with hostile descriptors.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tests::fuzz::run("virtqueue", data));
