//! A bank of CFI flash with AMD's command set.

mod chip;
mod erase;
mod geometry;
mod query;
mod registers;
#[cfg(test)]
mod tests;

use crate::cfi_flash::Content;
use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use crate::{Clock, Device, DeviceError, DeviceInfo, FdtNode, FdtPlace, FdtValue, Inspector, Property};
use crate::{Realize, ResetType, Timer};
use chip::{Array, Chip, Cycle};
use geometry::{EraseRegion, Geometry};
use memory_core::{AccessRules, BusFault, Endian, RamBlock, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// NOR flash that answers the CFI query (JESD68.01) and takes command set 0x0002, as AMD's Am29LV and Spansion's S29GL do.
/// QEMU's name and properties: `cfi.pflash02`.
///
/// A bank has `width / device-width` chips side by side, each with a state of its own; a command on all lanes tells each
/// chip what is on its lanes, one on fewer lanes tells all the same. The region `flash` is a ROM device: while all chips
/// read as arrays, reads go to host memory and the device sees writes only; otherwise it answers both. With `mappings`
/// above 1 it is a container that shows the device as often, one behind the other. Programs take no time. Erases take
/// that of a real chip, by the machine's clock, and tell how they go on in DQ7, DQ6, DQ3 and DQ2.
///
/// With a `file` the content is the file's, and what the guest programs is in the file at once. Without one the flash begins
/// erased, and its content is part of the state.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CfiPflash02 {
    /// Sectors, if all have one length.
    #[serde(default)]
    num_blocks: u64,
    /// Their bytes in the bank.
    #[serde(default)]
    sector_length: u64,
    #[serde(default)]
    num_blocks0: u64,
    #[serde(default)]
    sector_length0: u64,
    #[serde(default)]
    num_blocks1: u64,
    #[serde(default)]
    sector_length1: u64,
    #[serde(default)]
    num_blocks2: u64,
    #[serde(default)]
    sector_length2: u64,
    #[serde(default)]
    num_blocks3: u64,
    #[serde(default)]
    sector_length3: u64,
    /// Bytes that the bank has at one address of its chips: 1, 2 or 4.
    #[serde(default = "default_width")]
    width: u64,
    /// Bytes that each chip has at one address; as many as the bank without this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_width: Option<u64>,
    #[serde(default = "default_mappings")]
    mappings: u32,
    #[serde(default)]
    big_endian: bool,
    #[serde(default = "default_id0")]
    id0: u16,
    #[serde(default = "default_id1")]
    id1: u16,
    #[serde(default)]
    id2: u16,
    #[serde(default)]
    id3: u16,
    #[serde(default = "default_unlock_addr0")]
    unlock_addr0: u64,
    #[serde(default = "default_unlock_addr1")]
    unlock_addr1: u64,
    /// Where the content is, as long as the flash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    /// Whether nothing that the guest does changes the content.
    #[serde(default)]
    read_only: bool,
    /// Not held while the region changes its mode, which waits for other threads' transactions.
    #[serde(default)]
    state: Mutex<State>,
    #[serde(skip)]
    wiring: OnceLock<Wiring>,
}

#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct State {
    /// From the lowest lane up.
    chips: Vec<Chip>,
    content: Content,
}

impl State {
    /// Whether reads can go to host memory.
    fn reads_array(&self) -> bool {
        self.chips.iter().all(Chip::reads_array)
    }
}

#[derive(Debug)]
struct Wiring {
    geometry: Geometry,
    memory: Arc<RamBlock>,
    query: Vec<u8>,
    clock: Clock,
    timer: Timer,
    region: Region,
    /// What shows the region several times.
    _mappings: Vec<Region>,
}

const fn default_width() -> u64 {
    2
}

const fn default_mappings() -> u32 {
    1
}

const fn default_id0() -> u16 {
    0x0001
}

const fn default_id1() -> u16 {
    0x22c4
}

const fn default_unlock_addr0() -> u64 {
    0x555
}

const fn default_unlock_addr1() -> u64 {
    0x2aa
}

/// Sectors of a flash that says nothing of them: 2 MiB of 64 KiB each.
const DEFAULT_REGION: EraseRegion = EraseRegion { count: 32, length: 0x1_0000 };
/// The most mappings.
const MAX_MAPPINGS: u32 = 256;

impl CfiPflash02 {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn regions(&self) -> Vec<EraseRegion> {
        let numbered = [
            (self.num_blocks0, self.sector_length0),
            (self.num_blocks1, self.sector_length1),
            (self.num_blocks2, self.sector_length2),
            (self.num_blocks3, self.sector_length3),
        ];
        let said = numbered.into_iter().filter(|region| *region != (0, 0));
        let regions: Vec<_> = said.map(|(count, length)| EraseRegion { count, length }).collect();
        match (regions.is_empty(), self.num_blocks, self.sector_length) {
            (false, ..) => regions,
            (true, 0, 0) => vec![DEFAULT_REGION],
            (true, count, length) => vec![EraseRegion { count, length }],
        }
    }

    fn array<'a>(&self, wiring: &'a Wiring, chip: u64) -> Array<'a> {
        Array {
            memory: &wiring.memory,
            geometry: &wiring.geometry,
            clock: &wiring.clock,
            chip,
            read_only: self.read_only,
            query: &wiring.query,
            ids: [self.id0, self.id1, self.id2, self.id3],
            unlock: [self.unlock_addr0, self.unlock_addr1],
        }
    }

    fn read(&self, offset: u64, width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        let Some(wiring) = self.wiring.get() else { return Ok(0) };
        let geometry = &wiring.geometry;
        let shift = geometry.shift(offset, width);
        let lanes = width.mask() << shift;
        let word = geometry.word(offset);
        let mut value = 0;
        for (index, chip) in (0..).zip(&mut self.lock().chips) {
            let at = geometry.chip_shift(index);
            if lanes >> at & geometry.chip_width.mask() != 0 {
                value |= (chip.read(&self.array(wiring, index), word) & geometry.chip_width.mask()) << at;
            }
        }
        Ok(value >> shift & width.mask())
    }

    fn write(&self, offset: u64, width: Width, value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        let Some(wiring) = self.wiring.get() else { return Ok(()) };
        let geometry = &wiring.geometry;
        let shift = geometry.shift(offset, width);
        let (lanes, bus) = (width.mask() << shift, (value & width.mask()) << shift);
        // software that takes the bank for one narrow chip tells all of them what it tells one
        let told = (width < geometry.bank_width).then(|| value.to_le_bytes()[0]);
        let (word, mask) = (geometry.word(offset), geometry.chip_width.mask());
        let mut state = self.lock();
        for (index, chip) in (0..).zip(&mut state.chips) {
            let at = geometry.chip_shift(index);
            let (value, driven) = (bus >> at & mask, lanes >> at & mask);
            let code = told.unwrap_or(value.to_le_bytes()[0]);
            chip.write(&self.array(wiring, index), Cycle { word, data: value | (mask & !driven), code });
        }
        self.set_timer(wiring, &state);
        drop(state);
        self.follow_mode(wiring);
        Ok(())
    }

    fn set_timer(&self, wiring: &Wiring, state: &State) {
        let deadlines = state.chips.iter().filter_map(|chip| chip.erase()?.deadline());
        match deadlines.min() {
            Some(deadline) => wiring.timer.set(deadline),
            None => wiring.timer.cancel(),
        }
    }

    /// The timer's callback.
    fn advance(&self) {
        let Some(wiring) = self.wiring.get() else { return };
        let mut state = self.lock();
        for (index, chip) in (0..).zip(&mut state.chips) {
            chip.advance(&self.array(wiring, index));
        }
        self.set_timer(wiring, &state);
        drop(state);
        self.follow_mode(wiring);
    }

    /// Switches the region's reads to where the chips' modes have them.
    ///
    /// Two threads may do so at once, and the slower bring an old mode: so each looks, after it has switched, whether that
    /// still is the mode. Whoever switches last has looked last.
    fn follow_mode(&self, wiring: &Wiring) {
        loop {
            let reads_array = self.lock().reads_array();
            if let Err(error) = wiring.region.set_romd(reads_array) {
                tracing::warn!(%error, reads_array, "the flash cannot change where its reads go");
                return;
            }
            if self.lock().reads_array() == reads_array {
                return;
            }
        }
    }

    /// Makes the regions: the device's, and what shows it several times.
    fn make_regions(
        self: &Arc<Self>,
        ctx: &mut Realize<'_>,
        geometry: &Geometry,
        memory: &Arc<RamBlock>,
    ) -> Result<(Region, Vec<Region>), DeviceError> {
        if !(1..=MAX_MAPPINGS).contains(&self.mappings) {
            let reason = format!("{} is not between 1 and {MAX_MAPPINGS}", self.mappings);
            return Err(DeviceError::Property { property: "mappings", reason });
        }
        let endian = if self.big_endian { Endian::Big } else { Endian::Little };
        let rules = AccessRules::new().implements(Width::W1..=geometry.bank_width).endian(endian);
        let name = if self.mappings == 1 { "flash" } else { "array" };
        let region = ctx.rom_device(name, memory.clone(), rules, self, (Self::read, Self::write))?;
        let mut mappings = Vec::new();
        if self.mappings > 1 {
            let bank = ctx.container("flash", geometry.size.saturating_mul(self.mappings.into()))?;
            for index in 0..self.mappings {
                let alias = ctx.memory().alias(format!("flash{index}"), &region, 0, geometry.size);
                let alias = alias.owner(ctx.owner()).build()?;
                bank.map(geometry.size * u64::from(index), &alias)?;
                mappings.push(alias);
            }
            mappings.push(bank);
        }
        Ok((region, mappings))
    }
}

#[typetag::serde(name = "cfi.pflash02")]
impl Device for CfiPflash02 {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let chip_width = self.device_width.unwrap_or(self.width);
        let geometry = Geometry::new(self.regions(), self.width, chip_width, self.big_endian)?;
        let file = self.file.as_deref();
        let memory = self.lock().content.memory(ctx.host(), file, geometry.size, self.read_only)?;
        let chips = usize::try_from(geometry.chips()).unwrap_or_default();
        let clock = ctx.host().clock.clone();
        let mut state = self.lock();
        state.chips.resize_with(chips, Chip::default);
        state.chips.iter_mut().for_each(|chip| chip.run(&clock));
        drop(state);
        let (region, _mappings) = self.make_regions(ctx, &geometry, &memory)?;
        let (query, timer) = (query::query(&geometry), ctx.timer(&self, Self::advance));
        let wiring = Wiring { geometry, memory, query, clock, timer, region, _mappings };
        let wiring = self.wiring.get_or_init(|| wiring);
        self.set_timer(wiring, &self.lock());
        self.follow_mode(wiring);
        Ok(())
    }

    /// Back to reading the array; an erase that goes on ends, with what it has not come to as it was.
    fn reset(&self, _kind: ResetType) {
        let mut state = self.lock();
        state.chips.iter_mut().for_each(|chip| *chip = Chip::default());
        if let Some(wiring) = self.wiring.get() {
            self.set_timer(wiring, &state);
            drop(state);
            self.follow_mode(wiring);
        }
    }

    fn inspect(&self, out: &mut Inspector) {
        for (index, chip) in self.lock().chips.iter().enumerate() {
            let erase = match chip.erase() {
                None => "none",
                Some(erase) if erase.is_suspended() => "suspended",
                Some(_) => "goes on",
            };
            out.field(format!("chip{index}.mode"), format_args!("{:?}", chip.mode()))
                .field(format!("chip{index}.erase"), erase);
        }
    }

    fn describe(&self, place: &FdtPlace<'_>) -> Vec<FdtNode> {
        let Some(flash) = place.region("flash") else { return Vec::new() };
        let width = u32::try_from(self.width).unwrap_or_default();
        let node = FdtNode::new(format!("flash@{:x}", flash.start()), &["cfi-flash"]).reg(&[flash]);
        vec![node.with("bank-width", FdtValue::u32(width)).target()]
    }
}

const fn optional(
    name: &'static str,
    kind: &'static str,
    default: &'static str,
    about: &'static str,
) -> Property {
    Property { name, kind, default: Some(default), about }
}

const SECTORS: &str = "sectors of the region of that number, of up to four one behind the other";
const LENGTH: &str =
    "bytes of the bank that are erased together in the region of that number, a power of two";

inventory::submit! {
    DeviceInfo {
        tag: "cfi.pflash02",
        about: "a bank of NOR flash with the CFI query and AMD's command set",
        properties: &[
            optional("num-blocks", "u64", "32", "sectors, if all have one length"),
            optional("sector-length", "size", "64K", "bytes of the bank that are erased together, a power of two"),
            optional("num-blocks0", "u64", "0", SECTORS),
            optional("sector-length0", "size", "0", LENGTH),
            optional("num-blocks1", "u64", "0", SECTORS),
            optional("sector-length1", "size", "0", LENGTH),
            optional("num-blocks2", "u64", "0", SECTORS),
            optional("sector-length2", "size", "0", LENGTH),
            optional("num-blocks3", "u64", "0", SECTORS),
            optional("sector-length3", "size", "0", LENGTH),
            optional("width", "1 | 2 | 4", "2", "bytes that the bank has at one address of its chips"),
            optional("device-width", "1 | 2 | 4", "`width`", "bytes that each chip has at one address"),
            optional("mappings", "u32", "1", "how often the flash shows, one behind the other"),
            optional("big-endian", "bool", "false", "whether the highest byte of a word has the lowest address"),
            optional("id0", "u16", "0x0001", "the maker's identifier"),
            optional("id1", "u16", "0x22c4", "the device's identifier"),
            optional("id2", "u16", "0", "its second word, if it has one"),
            optional("id3", "u16", "0", "its third word, if it has one"),
            optional("unlock-addr0", "u64", "0x555", "the word to which the first cycle of a command goes; 11 bits count"),
            optional("unlock-addr1", "u64", "0x2aa", "the word to which the second cycle goes"),
            optional("file", "path", "none", "the content, as long as the flash; without it the flash begins erased"),
            optional("read-only", "bool", "false", "nothing that the guest does changes the content or the file"),
        ],
        example: "{}",
    }
}
