//! What firmware finds in the RAM: the board as its makers describe it.

use super::cmos::Cmos;
use super::registers::*;
use serde::{Deserialize, Serialize};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const KIB_64: u64 = 64 * KIB;

/// The board, as far as its RTC tells. The layout is that of the IBM AT, with what QEMU's firmware interface added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contents<'a> {
    /// Bytes of RAM below 4 GiB; without any, nothing is said of memory.
    pub(crate) below_4g: u64,
    /// Bytes of RAM from 4 GiB on.
    pub(crate) above_4g: u64,
    pub(crate) cpus: u32,
    pub(crate) boot: BootOrder,
    /// Boot from a floppy disk only if it has a signature.
    pub(crate) floppy_check: bool,
    /// Whatever else is wanted, and what is wanted otherwise.
    pub(crate) bytes: &'a [(u8, u8)],
}

impl Contents<'_> {
    /// Fills the RAM of `cmos`.
    pub(crate) fn fill(&self, cmos: &mut Cmos) {
        let mut word = |register: u8, value: u64| {
            let [low, high, ..] = value.min(0xffff).to_le_bytes();
            cmos.set(register, low);
            cmos.set(register + 1, high);
        };
        word(BASE_MEMORY, self.below_4g.min(640 * KIB) / KIB);
        let extended = self.below_4g.saturating_sub(MIB) / KIB;
        word(EXTENDED_MEMORY, extended);
        word(EXTENDED_MEMORY_AGAIN, extended);
        word(MEMORY_ABOVE_16M, self.below_4g.saturating_sub(16 * MIB) / KIB_64);
        let [low, middle, high, ..] = (self.above_4g / KIB_64).to_le_bytes();
        for (register, byte) in (MEMORY_ABOVE_4G..).zip([low, middle, high]) {
            cmos.set(register, byte);
        }
        // more than 256 do not fit: firmware then counts them by itself
        cmos.set(CPUS, u8::try_from(self.cpus.saturating_sub(1)).unwrap_or_default());
        cmos.set(EQUIPMENT, EQUIPMENT_FPU_AND_MOUSE);
        self.boot.fill(cmos, self.floppy_check);
        for (index, value) in self.bytes {
            cmos.set(*index, *value);
        }
    }
}

/// Up to three boot devices as drive letters: `a` and `b` floppy disks, `c` hard disk, `d` CD-ROM, `n` network.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BootOrder([Option<char>; 3]);

impl Default for BootOrder {
    fn default() -> Self {
        Self(['c', 'a', 'd'].map(Some))
    }
}

impl BootOrder {
    /// Tells firmware of the devices, and whether a floppy disk needs a signature.
    pub(crate) fn fill(self, cmos: &mut Cmos, floppy_check: bool) {
        let [first, second, third] = self.codes();
        cmos.set(BOOT_FIRST, second << 4 | first);
        cmos.set(BOOT_THIRD, third << 4 | u8::from(!floppy_check));
    }

    fn codes(self) -> [u8; 3] {
        self.0.map(|letter| letter.and_then(code).unwrap_or_default())
    }
}

fn code(letter: char) -> Option<u8> {
    match letter {
        'a' | 'b' => Some(1),
        'c' => Some(2),
        'd' => Some(3),
        'n' => Some(4),
        _ => None,
    }
}

/// Boot devices that are none.
#[derive(Debug, thiserror::Error)]
#[error("`{0}`: boot devices are at most three of the letters a, b, c, d, n")]
pub struct BadBootOrder(String);

impl TryFrom<String> for BootOrder {
    type Error = BadBootOrder;

    fn try_from(text: String) -> Result<Self, BadBootOrder> {
        let mut letters = text.chars();
        let order = std::array::from_fn(|_| letters.next());
        let known = order.iter().flatten().all(|letter| code(*letter).is_some());
        if known && letters.next().is_none() { Ok(Self(order)) } else { Err(BadBootOrder(text)) }
    }
}

impl From<BootOrder> for String {
    fn from(order: BootOrder) -> Self {
        order.0.into_iter().flatten().collect()
    }
}
