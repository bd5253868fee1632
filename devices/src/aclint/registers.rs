//! Register maps (ACLINT specification 1.0; for the CLINT, SiFive's FU540-C000 manual, chapter 9). Offsets and sizes in
//! bytes.

/// Size of an MSWI block: `msip` of hart *i* at `4 * i`.
pub(crate) const MSWI_SIZE: u64 = 0x4000;
/// Size of an SSWI block: `setssip` of hart *i* at `4 * i`.
pub(crate) const SSWI_SIZE: u64 = 0x4000;
/// The harts that an MSWI or SSWI block can serve; the last word is reserved.
pub(crate) const MAX_HARTS: usize = 4095;
/// The only bit of `msip` and `setssip`.
pub(crate) const SOFTWARE_INTERRUPT: u64 = 1;

/// Size of an MTIMER block as boards lay it out that keep the CLINT's addresses.
pub(crate) const MTIMER_SIZE: u64 = 0x8000;
/// `mtime` there.
pub(crate) const MTIME: u64 = 0x7ff8;
/// `mtimecmp` of hart 0 there; hart *i* follows at `8 * i`.
pub(crate) const MTIMECMP: u64 = 0;

/// Size of a CLINT, whose `msip` are at 0.
pub(crate) const CLINT_SIZE: u64 = 0x1_0000;
/// `mtimecmp` of hart 0 in a CLINT.
pub(crate) const CLINT_MTIMECMP: u64 = 0x4000;
/// `mtime` in a CLINT.
pub(crate) const CLINT_MTIME: u64 = 0xbff8;

/// Bits of `mip`, as device trees number a hart's interrupts.
pub(crate) const IRQ_S_SOFTWARE: u32 = 1;
/// See [`IRQ_S_SOFTWARE`].
pub(crate) const IRQ_M_SOFTWARE: u32 = 3;
/// See [`IRQ_S_SOFTWARE`].
pub(crate) const IRQ_M_TIMER: u32 = 7;
