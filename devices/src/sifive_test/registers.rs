//! The finisher's register (SiFive's `sifive,test0`/`sifive,test1` binding of the device tree).

/// Size of the block in bytes.
pub(crate) const SIZE: u64 = 0x1000;

/// The only register: what to do in its low half, a failure's code in the high half.
pub(crate) const FINISHER: u64 = 0x0;

/// End with a failure; the code stands in the high half.
pub(crate) const FINISHER_FAIL: u64 = 0x3333;
/// End with success.
pub(crate) const FINISHER_PASS: u64 = 0x5555;
/// Reset the machine.
pub(crate) const FINISHER_RESET: u64 = 0x7777;
