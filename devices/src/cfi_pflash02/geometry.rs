//! Sectors, and how chips lie side by side in a bank.

use crate::DeviceError;
use memory_core::Width;

/// The largest bank, in bytes; real ones end well below.
const MAX_SIZE: u64 = 1 << 30;

/// Sectors of one size that follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct EraseRegion {
    /// How many sectors there are, up to 65536.
    pub(super) count: u64,
    /// Bytes of each in the bank, a power of two.
    pub(super) length: u64,
}

/// Equal chips side by side, each with the same sectors. A chip's address counts words of its own width, and all chips have the
/// same address at once; the value of a bank's word has the first chip in its lowest bits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Geometry {
    pub(super) regions: Vec<EraseRegion>,
    /// Bytes of the bank, a power of two.
    pub(super) size: u64,
    pub(super) bank_width: Width,
    pub(super) chip_width: Width,
    /// Whether the highest byte of the bank's word is that with the lowest address.
    pub(super) big: bool,
}

impl Geometry {
    /// Checks what the properties say.
    pub(super) fn new(
        regions: Vec<EraseRegion>,
        bank: u64,
        chip: u64,
        big: bool,
    ) -> Result<Self, DeviceError> {
        let refuse = |property, reason| Err(DeviceError::Property { property, reason });
        let Some(bank_width) = Width::new(bank).filter(|width| *width <= Width::W4) else {
            return refuse("width", format!("{bank} is not 1, 2 or 4"));
        };
        let Some(chip_width) = Width::new(chip).filter(|width| *width <= bank_width) else {
            return refuse("device-width", format!("{chip} is not 1, 2 or 4, or above `width`, {bank}"));
        };
        let chips = bank / chip;
        let mut size = 0_u64;
        for region in &regions {
            let EraseRegion { count, length } = *region;
            if !length.is_power_of_two() || !(0x100..=0x80_0000).contains(&(length / chips)) {
                return refuse(
                    "sector-length",
                    format!("{length:#x} is no power of two that makes 0x100 to 0x800000 bytes of a chip"),
                );
            }
            if !(1..=0x1_0000).contains(&count) {
                return refuse("num-blocks", format!("{count} is not between 1 and 65536"));
            }
            size = size.saturating_add(count.saturating_mul(length));
        }
        if !size.is_power_of_two() || size > MAX_SIZE {
            return refuse("num-blocks", format!("{size:#x} bytes are no power of two up to {MAX_SIZE:#x}"));
        }
        Ok(Self { regions, size, bank_width, chip_width, big })
    }

    /// How many chips there are, 1 to 4.
    pub(super) fn chips(&self) -> u64 {
        self.bank_width.bytes() / self.chip_width.bytes()
    }

    /// How many sectors there are.
    pub(super) fn sectors(&self) -> u64 {
        self.regions.iter().map(|region| region.count).sum()
    }

    /// The address that chips see for an offset in the bank.
    pub(super) fn word(&self, offset: u64) -> u64 {
        offset / self.bank_width.bytes()
    }

    /// The sector that holds a chip's word: its first offset in the bank and its length.
    pub(super) fn sector(&self, word: u64) -> (u64, u64) {
        let offset = word.wrapping_mul(self.bank_width.bytes()) & (self.size - 1);
        let mut first = 0;
        for EraseRegion { count, length } in &self.regions {
            let end = first + count * length;
            if offset < end {
                return (first + (offset - first) / length * length, *length);
            }
            first = end;
        }
        // regions have all of the size
        (0, 0)
    }

    /// Where in the bank a chip's word is.
    pub(super) fn offset(&self, chip: u64, word: u64) -> u64 {
        let (bank, width) = (self.bank_width.bytes(), self.chip_width.bytes());
        let lane = if self.big { bank - (chip + 1) * width } else { chip * width };
        word.wrapping_mul(bank).wrapping_add(lane)
    }

    /// How far above the lowest bit of the bank's word an access of `width` bytes at an offset is, in bits.
    pub(super) fn shift(&self, offset: u64, width: Width) -> u64 {
        let bank = self.bank_width.bytes();
        let within = offset % bank;
        8 * if self.big { bank.saturating_sub(within + width.bytes()) } else { within }
    }

    /// How far above the lowest bit of the bank's word a chip is, in bits.
    pub(super) fn chip_shift(&self, chip: u64) -> u64 {
        chip * u64::from(self.chip_width.bits())
    }
}
