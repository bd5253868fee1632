//! How chips lie side by side in a bank.

use crate::DeviceError;
use memory_core::Width;

/// The largest bank, in bytes; real ones end well below.
const MAX_SIZE: u64 = 1 << 30;
/// The smallest and the largest erase block of a chip that a query can tell, in bytes, powers of two.
const CHIP_BLOCK: std::ops::RangeInclusive<u64> = 0x100..=0x80_0000;
/// The most erase blocks of a chip that a query can tell.
const MAX_BLOCKS: u64 = 0x1_0000;

/// Equal chips side by side: byte lane *i* of the bus belongs to chip `i / chip_width`. A chip's address counts words of its own
/// width, and all chips have the same address at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Geometry {
    /// Bytes of the bank, a power of two.
    pub(super) size: u64,
    /// Bytes of the bank that are erased together, a power of two.
    pub(super) sector: u64,
    bank_width: Width,
    chip_width: Width,
}

impl Geometry {
    /// Checks what the properties say, all in bytes.
    pub(super) fn new(size: u64, sector: u64, bank: u64, chip: u64) -> Result<Self, DeviceError> {
        let refuse = |property, reason| Err(DeviceError::Property { property, reason });
        let Some(bank_width) = Width::new(bank) else {
            return refuse("bank-width", format!("{bank} is not 1, 2, 4 or 8"));
        };
        let Some(chip_width) = Width::new(chip).filter(|width| *width <= bank_width.min(Width::W4)) else {
            return refuse("device-width", format!("{chip} is not 1, 2 or 4, or above `bank-width`, {bank}"));
        };
        if !size.is_power_of_two() || size > MAX_SIZE {
            return refuse("size", format!("{size:#x} is no power of two up to {MAX_SIZE:#x}"));
        }
        let geometry = Self { size, sector, bank_width, chip_width };
        if !sector.is_power_of_two() || sector > size {
            return refuse(
                "sector-size",
                format!("{sector:#x} is no power of two up to the size, {size:#x}"),
            );
        }
        let chips = geometry.chips();
        if !CHIP_BLOCK.contains(&(sector / chips)) || geometry.blocks() > MAX_BLOCKS {
            return refuse(
                "sector-size",
                format!(
                    "{sector:#x} makes {} blocks of {:#x} bytes in each of {chips} chips; a chip has up to \
                     {MAX_BLOCKS} of {:#x} to {:#x}",
                    geometry.blocks(),
                    sector / chips,
                    CHIP_BLOCK.start(),
                    CHIP_BLOCK.end(),
                ),
            );
        }
        Ok(geometry)
    }

    /// How many chips there are, 1 to 8.
    pub(super) fn chips(self) -> u64 {
        self.bank_width.bytes() / self.chip_width.bytes()
    }

    /// The widest access that all goes to one address of the chips.
    pub(super) fn bank_width(self) -> Width {
        self.bank_width
    }

    /// The width of a chip's word.
    pub(super) fn chip_width(self) -> Width {
        self.chip_width
    }

    /// Bytes of one chip.
    pub(super) fn chip_size(self) -> u64 {
        self.size / self.chips()
    }

    /// Erase blocks of the bank, which is those of each chip.
    pub(super) fn blocks(self) -> u64 {
        self.size / self.sector
    }

    /// Words of a chip's erase block.
    pub(super) fn block_words(self) -> u64 {
        self.sector / self.bank_width.bytes()
    }

    /// The address that chips see for an offset in the bank.
    pub(super) fn word(self, offset: u64) -> u64 {
        offset / self.bank_width.bytes()
    }

    /// The block that holds a chip's word.
    pub(super) fn block_of(self, word: u64) -> u64 {
        word / self.block_words()
    }

    /// Where in the bank a chip's word is.
    pub(super) fn offset(self, chip: u64, word: u64) -> u64 {
        word.wrapping_mul(self.bank_width.bytes()).wrapping_add(chip * self.chip_width.bytes())
    }

    /// How far above the lowest lane an offset is, in bits.
    pub(super) fn lane(self, offset: u64) -> u64 {
        8 * (offset % self.bank_width.bytes())
    }

    /// How far above the lowest lane a chip is, in bits.
    pub(super) fn chip_lane(self, chip: u64) -> u64 {
        chip * u64::from(self.chip_width.bits())
    }
}
