//! Physical memory protection: 16 entries, grain 4 bytes (privileged specification 3.7).

use super::mmu::Access;
use super::status::Mode;

/// Number of entries.
pub(super) const ENTRIES: usize = 16;

const R: u8 = 1;
const W: u8 = 2;
const X: u8 = 4;
const A_SHIFT: u8 = 3;
const LOCK: u8 = 0x80;
/// The bits of a configuration byte that exist.
const CONFIG: u8 = R | W | X | 3 << A_SHIFT | LOCK;
/// The bits of an address register that exist: physical addresses have 56 bits.
const ADDRESS: u64 = (1 << 54) - 1;

/// What the entries say about a range of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Allow,
    Deny,
    /// The first entry that matches covers only a part: an access of this range fails, one of a part of it may
    /// not.
    Mixed,
}

/// The address range that an entry matches, inclusive; `None` when it is off or empty.
type Match = Option<(u64, u64)>;

/// The sixteen entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Pmp {
    config: [u8; ENTRIES],
    address: [u64; ENTRIES],
    /// Derived from the two: what each entry matches.
    matches: [Match; ENTRIES],
}

impl Pmp {
    /// `pmpcfg<index>`, of which RV64 has the even ones; `None` if there is no such register.
    pub fn read_config(&self, index: usize) -> Option<u64> {
        let bytes = self.config.get(index * 4..index * 4 + 8).filter(|_| index.is_multiple_of(2))?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// Writes `pmpcfg<index>`. Locked entries keep their byte; W without R is reserved and loses its W.
    pub fn write_config(&mut self, index: usize, value: u64) {
        for (config, byte) in self.config.iter_mut().skip(index * 4).zip(value.to_le_bytes()) {
            if *config & LOCK == 0 {
                let legal = if byte & (R | W) == W { byte & !W } else { byte };
                *config = legal & CONFIG;
            }
        }
        self.derive();
    }

    /// `pmpaddr<index>`; `None` if there is no such register.
    pub fn read_address(&self, index: usize) -> Option<u64> {
        self.address.get(index).copied()
    }

    /// Writes `pmpaddr<index>`, unless it is locked, by its own entry or as the bottom of a locked range above.
    pub fn write_address(&mut self, index: usize, value: u64) {
        let locked = |config: Option<&u8>, mask: u8, want: u8| config.is_some_and(|c| c & mask == want);
        let own = locked(self.config.get(index), LOCK, LOCK);
        let above = locked(self.config.get(index + 1), LOCK | 3 << A_SHIFT, LOCK | 1 << A_SHIFT);
        if let Some(address) = self.address.get_mut(index).filter(|_| !own && !above) {
            *address = value & ADDRESS;
            self.derive();
        }
    }

    /// May `mode` make this access to the `len` bytes at `addr`? `len` is at least 1.
    pub fn check(&self, addr: u64, len: u64, access: Access, mode: Mode) -> Verdict {
        let last = addr.saturating_add(len - 1);
        for (bounds, config) in self.matches.iter().zip(self.config) {
            let Some((low, high)) = *bounds else { continue };
            if last < low || addr > high {
                continue;
            }
            if addr < low || last > high {
                return Verdict::Mixed;
            }
            let right = match access {
                Access::Fetch => X,
                Access::Load => R,
                Access::Store => W,
            };
            let free = mode == Mode::Machine && config & LOCK == 0;
            return if free || config & right != 0 { Verdict::Allow } else { Verdict::Deny };
        }
        if mode == Mode::Machine { Verdict::Allow } else { Verdict::Deny }
    }

    fn derive(&mut self) {
        let mut below = 0;
        for ((bounds, address), config) in self.matches.iter_mut().zip(self.address).zip(self.config) {
            *bounds = match config >> A_SHIFT & 3 {
                0 => None,
                // TOR: from the address of the entry below.
                1 => (below < address).then(|| (below << 2, (address << 2) - 1)),
                // NA4.
                2 => Some((address << 2, (address << 2) + 3)),
                // NAPOT: the number of trailing ones is the size.
                _ => {
                    let ones = address.trailing_ones();
                    let base = (address >> ones << ones) << 2;
                    Some((base, base + ((1 << (ones + 3)) - 1)))
                }
            };
            below = address;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NA4: u64 = 2 << 3;
    const NAPOT: u64 = 3 << 3;
    const TOR: u64 = 1 << 3;
    const L: u64 = 0x80;

    fn pmp(config: u64, address: &[u64]) -> Pmp {
        let mut pmp = Pmp::default();
        for (index, value) in address.iter().enumerate() {
            pmp.write_address(index, *value);
        }
        pmp.write_config(0, config);
        pmp
    }

    #[test]
    fn without_a_match_only_machine_mode_may() {
        let pmp = Pmp::default();
        assert_eq!(pmp.check(0, 8, Access::Load, Mode::Machine), Verdict::Allow);
        assert_eq!(pmp.check(0, 8, Access::Load, Mode::Supervisor), Verdict::Deny);
    }

    #[test]
    fn each_address_mode_matches_its_range() {
        let table: [(u64, &[u64], u64, u64); 5] = [
            (NA4 | 1, &[0x400], 0x1000, 0x1003),
            (NAPOT | 1, &[0x400], 0x1000, 0x1007),
            (NAPOT | 1, &[0x5ff], 0x1000, 0x1fff),
            ((TOR | 1) << 8, &[0x400, 0x800], 0x1000, 0x1fff),
            (NAPOT | 1, &[u64::MAX], 0, (1 << 57) - 1),
        ];
        for (config, address, low, high) in table {
            let pmp = pmp(config, address);
            let check = |addr, len| pmp.check(addr, len, Access::Load, Mode::User);
            assert_eq!(check(low, 4), Verdict::Allow, "{config:#x}");
            assert_eq!(check(high - 3, 4), Verdict::Allow, "{config:#x}");
            assert_eq!(check(high - 3, 8), Verdict::Mixed, "{config:#x}");
            assert_eq!(check(high + 1, 4), Verdict::Deny, "{config:#x}");
            if low > 0 {
                assert_eq!(check(low - 4, 4), Verdict::Deny, "{config:#x}");
            }
            assert_eq!(pmp.check(low, 4, Access::Store, Mode::User), Verdict::Deny);
        }
    }

    #[test]
    fn an_empty_tor_range_matches_nothing() {
        let pmp = pmp((TOR | 7) << 8, &[0x800, 0x400]);
        assert_eq!(pmp.check(0x1800, 4, Access::Load, Mode::User), Verdict::Deny);
    }

    #[test]
    fn the_lowest_entry_wins() {
        let pmp = pmp((NAPOT | 7) << 8 | NAPOT, &[0x5ff, u64::MAX]);
        assert_eq!(pmp.check(0x1000, 8, Access::Load, Mode::User), Verdict::Deny);
        assert_eq!(pmp.check(0x2000, 8, Access::Load, Mode::User), Verdict::Allow);
        assert_eq!(pmp.check(0x1000, 8, Access::Load, Mode::Machine), Verdict::Allow);
    }

    #[test]
    fn a_locked_entry_binds_machine_mode_and_cannot_change() {
        let mut pmp = pmp((TOR | L | 1) << 8, &[0x400, 0x800]);
        assert_eq!(pmp.check(0x1000, 8, Access::Store, Mode::Machine), Verdict::Deny);
        pmp.write_config(0, 0);
        pmp.write_address(0, 0);
        pmp.write_address(1, 0);
        assert_eq!(pmp.read_config(0), Some((TOR | L | 1) << 8));
        assert_eq!((pmp.read_address(0), pmp.read_address(1)), (Some(0x400), Some(0x800)));
    }

    #[test]
    fn registers_keep_only_legal_values() {
        let mut pmp = Pmp::default();
        pmp.write_config(2, 0x7f7f_7f7f_7f7f_027f);
        assert_eq!(pmp.read_config(2), Some(0x1f1f_1f1f_1f1f_001f));
        pmp.write_address(15, u64::MAX);
        assert_eq!(pmp.read_address(15), Some(ADDRESS));
        assert_eq!((pmp.read_config(1), pmp.read_config(4), pmp.read_address(16)), (None, None, None));
    }
}
