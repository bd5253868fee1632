//! Which encodings exist: the instruction listings of the manuals (unprivileged 20191213, chapter 24; privileged 1.12,
//! chapter 5), as masks and the bits that they leave.

/// Instructions of 32 bits: RV64I, Zifencei, Zicsr, M, A, privileged.
#[rustfmt::skip]
const LONG: &[(u32, u32)] = &[
    (0x0000_007f, 0x37), (0x0000_007f, 0x17), (0x0000_007f, 0x6f), (0x0000_707f, 0x67),
    (0x0000_707f, 0x0063), (0x0000_707f, 0x1063), (0x0000_707f, 0x4063), (0x0000_707f, 0x5063), (0x0000_707f, 0x6063), (0x0000_707f, 0x7063),
    (0x0000_707f, 0x0003), (0x0000_707f, 0x1003), (0x0000_707f, 0x2003), (0x0000_707f, 0x3003), (0x0000_707f, 0x4003), (0x0000_707f, 0x5003), (0x0000_707f, 0x6003),
    (0x0000_707f, 0x0023), (0x0000_707f, 0x1023), (0x0000_707f, 0x2023), (0x0000_707f, 0x3023),
    (0x0000_707f, 0x0013), (0x0000_707f, 0x2013), (0x0000_707f, 0x3013), (0x0000_707f, 0x4013), (0x0000_707f, 0x6013), (0x0000_707f, 0x7013),
    (0xfc00_707f, 0x1013), (0xfc00_707f, 0x5013), (0xfc00_707f, 0x4000_5013),
    (0x0000_707f, 0x001b), (0xfe00_707f, 0x101b), (0xfe00_707f, 0x501b), (0xfe00_707f, 0x4000_501b),
    (0xfe00_707f, 0x0033), (0xfe00_707f, 0x4000_0033), (0xfe00_707f, 0x1033), (0xfe00_707f, 0x2033), (0xfe00_707f, 0x3033),
    (0xfe00_707f, 0x4033), (0xfe00_707f, 0x5033), (0xfe00_707f, 0x4000_5033), (0xfe00_707f, 0x6033), (0xfe00_707f, 0x7033),
    (0xfe00_707f, 0x003b), (0xfe00_707f, 0x4000_003b), (0xfe00_707f, 0x103b), (0xfe00_707f, 0x503b), (0xfe00_707f, 0x4000_503b),
    (0x0000_707f, 0x000f), (0x0000_707f, 0x100f), (0xffff_ffff, 0x73), (0xffff_ffff, 0x10_0073),
    (0xfe00_707f, 0x0200_0033), (0xfe00_707f, 0x0200_1033), (0xfe00_707f, 0x0200_2033), (0xfe00_707f, 0x0200_3033),
    (0xfe00_707f, 0x0200_4033), (0xfe00_707f, 0x0200_5033), (0xfe00_707f, 0x0200_6033), (0xfe00_707f, 0x0200_7033),
    (0xfe00_707f, 0x0200_003b), (0xfe00_707f, 0x0200_403b), (0xfe00_707f, 0x0200_503b), (0xfe00_707f, 0x0200_603b), (0xfe00_707f, 0x0200_703b),
    (0xf9f0_707f, 0x1000_202f), (0xf800_707f, 0x1800_202f), (0xf800_707f, 0x0800_202f), (0xf800_707f, 0x0000_202f), (0xf800_707f, 0x2000_202f),
    (0xf800_707f, 0x6000_202f), (0xf800_707f, 0x4000_202f), (0xf800_707f, 0x8000_202f), (0xf800_707f, 0xa000_202f), (0xf800_707f, 0xc000_202f), (0xf800_707f, 0xe000_202f),
    (0xf9f0_707f, 0x1000_302f), (0xf800_707f, 0x1800_302f), (0xf800_707f, 0x0800_302f), (0xf800_707f, 0x0000_302f), (0xf800_707f, 0x2000_302f),
    (0xf800_707f, 0x6000_302f), (0xf800_707f, 0x4000_302f), (0xf800_707f, 0x8000_302f), (0xf800_707f, 0xa000_302f), (0xf800_707f, 0xc000_302f), (0xf800_707f, 0xe000_302f),
    (0x0000_707f, 0x1073), (0x0000_707f, 0x2073), (0x0000_707f, 0x3073), (0x0000_707f, 0x5073), (0x0000_707f, 0x6073), (0x0000_707f, 0x7073),
    (0xffff_ffff, MRET), (0xffff_ffff, SRET), (0xffff_ffff, WFI), (SFENCE_MASK, SFENCE),
];

/// MRET.
pub(super) const MRET: u32 = 0x3020_0073;
/// SRET.
pub(super) const SRET: u32 = 0x1020_0073;
/// WFI.
pub(super) const WFI: u32 = 0x1050_0073;
/// SFENCE.VMA, with any registers.
pub(super) const SFENCE: u32 = 0x1200_0073;
/// The bits of it that are fixed.
pub(super) const SFENCE_MASK: u32 = 0xfe00_7fff;

/// An instruction with any operands.
pub(super) fn instruction(which: u8, operands: u32) -> u32 {
    let (mask, fixed) = LONG[usize::from(which) % LONG.len()];
    fixed | operands & !mask
}

/// The bits of an instruction; a short one is in the low half.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoding(pub u32);

impl Encoding {
    pub fn is_long(self) -> bool {
        self.0 & 3 == 3
    }

    /// What `mtval` says of it.
    pub fn value(self) -> u64 {
        if self.is_long() { self.0.into() } else { (self.0 & 0xffff).into() }
    }

    pub fn exists(self) -> bool {
        if self.is_long() {
            LONG.iter().any(|(mask, fixed)| self.0 & mask == *fixed)
        } else {
            self.short_exists()
        }
    }

    /// Table 16.5 to 16.7: what is neither reserved nor floating-point.
    fn short_exists(self) -> bool {
        let field = |high: u32, low: u32| self.0 >> low & ((1 << (high - low + 1)) - 1);
        let (rd, immediate) = (field(11, 7), field(12, 12) << 5 | field(6, 2));
        match (field(1, 0), field(15, 13)) {
            (0, 0) => field(12, 5) != 0,
            (0, funct3) => [2, 3, 6, 7].contains(&funct3),
            (1, 1) => rd != 0,
            (1, 3) => immediate != 0,
            (1, 4) => field(11, 10) != 3 || field(12, 12) == 0 || field(6, 5) < 2,
            (1, _) => true,
            (_, 1 | 5) => false,
            (_, 2 | 3) => rd != 0,
            (_, 4) => field(12, 12) != 0 || field(6, 2) != 0 || rd != 0,
            _ => true,
        }
    }

    /// The CSR's number and whether it is written, if it is an access to one.
    pub fn csr(self) -> Option<(u32, bool)> {
        let funct3 = self.0 >> 12 & 7;
        let is_csr = self.is_long() && self.0 & 0x7f == 0x73 && funct3 & 3 != 0;
        let source = self.0 >> 15 & 31;
        is_csr.then_some((self.0 >> 20 & 0xfff, funct3 & 3 == 1 || source != 0))
    }
}

/// Whether there is a CSR of that number: those of M, S and U with 16 PMP entries, and 29 event counters.
pub(super) fn csr_exists(csr: u32) -> bool {
    matches!(csr,
        0x100 | 0x104..=0x106 | 0x10a | 0x140..=0x144 | 0x180
        | 0x300..=0x306 | 0x30a | 0x320 | 0x323..=0x33f | 0x340..=0x344
        | 0x3a0 | 0x3a2 | 0x3b0..=0x3bf
        | 0xb00 | 0xb02..=0xb1f | 0xc00..=0xc1f | 0xf11..=0xf15)
}
