//! Programmable attribute maps: who answers between 768 KiB and 1 MiB.

use crate::realize::Realize;
use memory_core::{Mapping, MemoryError, Region, RegionRef, Shows};

/// How many registers there are, one after the other.
pub const PAM_REGISTERS: usize = 7;
/// Above RAM, below what hides that from all but system management mode.
const PRIORITY: i32 = 1;
/// The area of the first register, of 64 KiB; the low half of that register is reserved.
const BIOS: u64 = 0xf_0000;
const BIOS_SIZE: u64 = 0x1_0000;
/// The others are of 16 KiB each, and begin here.
const EXPANSION: u64 = 0xc_0000;
const EXPANSION_SIZE: u64 = 0x4000;
/// Of an area's half of its register: reads go to RAM.
const READ_ENABLE: u8 = 1;
/// And writes.
const WRITE_ENABLE: u8 = 2;

/// The 13 areas (82441FX, section 3.2.18; the same at another place in later chipsets). Reads and writes of an area go to RAM
/// or to PCI, either for itself: an overlay of PCI over RAM, for those that do not go to RAM.
///
/// QEMU cannot have writes go to RAM and reads to PCI, and drops writes to what is only read from RAM; here they go to PCI.
#[derive(Debug)]
pub struct Pam {
    areas: Vec<Region>,
}

impl Pam {
    /// Makes the areas, all of which are PCI then, and maps them into `system`.
    ///
    /// # Errors
    /// As for every region that is made.
    pub fn new(ctx: &Realize<'_>, system: &RegionRef, pci: &RegionRef) -> Result<Self, MemoryError> {
        let expansions = (0..12).map(|index| (EXPANSION + index * EXPANSION_SIZE, EXPANSION_SIZE));
        let places = std::iter::once((BIOS, BIOS_SIZE)).chain(expansions);
        let areas = places.map(|(start, size)| {
            let area = ctx.memory().alias("pam-pci", pci, start, size).owner(ctx.owner()).build()?;
            system.map_with(start, &area, Mapping::overlap(PRIORITY))?;
            Ok(area)
        });
        Ok(Self { areas: areas.collect::<Result<_, MemoryError>>()? })
    }

    /// Makes the areas what the registers say: in a transaction, if they are to change together.
    ///
    /// # Errors
    /// As for every change of a region.
    pub fn set(&self, registers: [u8; PAM_REGISTERS]) -> Result<(), MemoryError> {
        let halves = registers.iter().flat_map(|register| [register & 0xf, register >> 4]);
        for (area, half) in self.areas.iter().zip(halves.skip(1)) {
            let shows = match half & (READ_ENABLE | WRITE_ENABLE) {
                0 => Some(Shows::Both),
                READ_ENABLE => Some(Shows::Writes),
                WRITE_ENABLE => Some(Shows::Reads),
                _ => None,
            };
            if let Some(shows) = shows {
                area.set_shows(shows)?;
            }
            area.set_enabled(shows.is_some())?;
        }
        Ok(())
    }
}
