//! A seeded generator: the same numbers on every host, so that a seed names a program.

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        (self.next() % u64::from(bound)) as u32
    }

    /// True in one case of `cases`.
    pub fn one_in(&mut self, cases: u32) -> bool {
        self.below(cases) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u32) as usize]
    }

    /// A register's value: often one at which something overflows or changes its sign.
    pub fn value(&mut self) -> u64 {
        const CORNERS: [u64; 14] = [
            0,
            1,
            2,
            u64::MAX,
            u64::MAX - 1,
            1 << 63,
            (1 << 63) - 1,
            1 << 31,
            (1 << 31) - 1,
            1 << 32,
            u32::MAX as u64,
            0xffff_ffff_8000_0000,
            0x8000,
            0xff80,
        ];
        match self.below(4) {
            0 => self.pick(&CORNERS),
            1 => self.next() >> self.below(64),
            2 => self.next() as i32 as u64,
            _ => self.next(),
        }
    }
}
