//! A bank of CFI flash with Intel's command set.

mod chip;
mod content;
mod geometry;
mod query;
mod registers;
#[cfg(test)]
mod tests;

use crate::sync::{Arc, AtomicBool, Mutex, MutexGuard, OnceLock, Ordering, PoisonError};
use crate::{Device, DeviceError, DeviceInfo, FdtNode, FdtPlace, FdtValue, Inspector, Property};
use crate::{Realize, ResetType};
use chip::{Array, Chip, Cycle, Mode};
pub(crate) use content::Content;
use geometry::Geometry;
use memory_core::{AccessRules, BusFault, RamBlock, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// NOR flash that answers the CFI query (JESD68.01) and takes command set 0x0001, as Intel's StrataFlash does.
///
/// A bank has `bank-width / device-width` chips side by side, each with a state of its own. A command on all lanes tells
/// each chip what is on its lanes; one on fewer lanes tells all chips the same, as QEMU's flash does, since U-Boot uses it
/// so. Data is programmed on the lanes that are driven. The region `flash` is a ROM device: while all chips read as arrays, reads go to host memory and the
/// device sees writes only; otherwise it answers both. Operations take no time, so the status is always ready.
///
/// With a `file` the content is the file's, and what the guest programs is in the file at once; it is not part of the
/// state. With `read-only` the file is not changed, and all blocks are locked. Without a file the flash begins erased, and its content is
/// part of the state, as far as it is not erased.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CfiFlash {
    /// Bytes of the bank: a power of two up to 1 GiB.
    size: u64,
    /// Bytes of the bank that are erased together: a power of two.
    #[serde(default = "default_sector_size")]
    sector_size: u64,
    /// Bytes that the bank has at one address of its chips: 1, 2, 4 or 8.
    #[serde(default = "default_bank_width")]
    bank_width: u64,
    /// Bytes that each chip has at one address: 1, 2 or 4.
    #[serde(default = "default_device_width")]
    device_width: u64,
    /// Where the content is, as long as the flash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    /// Whether the guest can program and erase.
    #[serde(default)]
    read_only: bool,
    /// Not held while the region changes its mode, which waits for other threads' transactions.
    #[serde(default)]
    state: Mutex<State>,
    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    /// Whether an unknown command was logged; a guest must not fill the log.
    #[serde(skip)]
    logged: AtomicBool,
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
        self.chips.iter().all(|chip| chip.mode() == Mode::Array)
    }
}

#[derive(Debug)]
struct Wiring {
    geometry: Geometry,
    memory: Arc<RamBlock>,
    query: Vec<u8>,
    region: Region,
}

const fn default_sector_size() -> u64 {
    0x4_0000
}

const fn default_bank_width() -> u64 {
    4
}

const fn default_device_width() -> u64 {
    2
}

impl CfiFlash {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cells of all chips, each with the lanes of it that an access of `width` bytes at `offset` drives.
    fn lanes(
        wiring: &Wiring,
        read_only: bool,
        offset: u64,
        width: Width,
    ) -> impl Iterator<Item = (Array<'_>, u64)> {
        let geometry = wiring.geometry;
        let lanes = width.mask() << geometry.lane(offset);
        (0..geometry.chips()).map(move |chip| {
            let mask = lanes >> geometry.chip_lane(chip) & geometry.chip_width().mask();
            let (memory, query) = (&*wiring.memory, &wiring.query[..]);
            (Array { memory, geometry, chip, read_only, query }, mask)
        })
    }

    fn read(&self, offset: u64, width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        let Some(wiring) = self.wiring.get() else { return Ok(0) };
        let geometry = wiring.geometry;
        let state = self.lock();
        let word = geometry.word(offset);
        let driven = Self::lanes(wiring, self.read_only, offset, width).filter(|(_, mask)| *mask != 0);
        let answers = driven.filter_map(|(array, _)| {
            let chip = state.chips.get(usize::try_from(array.chip).ok()?)?;
            Some(chip.read(&array, word) << geometry.chip_lane(array.chip))
        });
        let value = answers.fold(0, |all, answer| all | answer);
        Ok(value >> geometry.lane(offset) & width.mask())
    }

    fn write(&self, offset: u64, width: Width, value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        let Some(wiring) = self.wiring.get() else { return Ok(()) };
        let geometry = wiring.geometry;
        let bus = (value & width.mask()) << geometry.lane(offset);
        let mut state = self.lock();
        let before = state.reads_array();
        // software that takes the bank for one narrow chip tells all of them what it tells one: the bank is one flash,
        // as QEMU's is, whose firmware does so
        let told = (width < geometry.bank_width()).then(|| value.to_le_bytes()[0]);
        for (array, mask) in Self::lanes(wiring, self.read_only, offset, width) {
            let index = usize::try_from(array.chip).ok();
            let Some(chip) = index.and_then(|index| state.chips.get_mut(index)) else { continue };
            let value = bus >> geometry.chip_lane(array.chip) & mask;
            let code = told.unwrap_or(value.to_le_bytes()[0]);
            let cycle = Cycle { word: geometry.word(offset), value, mask, code };
            if let Err(unknown) = chip.write(&array, cycle)
                && !self.logged.swap(true, Ordering::Relaxed)
            {
                tracing::debug!(offset, command = unknown.0, "the flash ignores a command");
            }
        }
        let after = state.reads_array();
        drop(state);
        if before != after {
            self.follow_mode(wiring);
        }
        Ok(())
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
}

#[typetag::serde(name = "cfi-flash")]
impl Device for CfiFlash {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let geometry = Geometry::new(self.size, self.sector_size, self.bank_width, self.device_width)?;
        let file = self.file.as_deref();
        let memory = self.lock().content.memory(ctx.host(), file, self.size, self.read_only)?;
        let chips = usize::try_from(geometry.chips()).unwrap_or_default();
        self.lock().chips.resize_with(chips, Chip::default);
        let rules = AccessRules::new().implements(Width::W1..=geometry.bank_width());
        let region = ctx.rom_device("flash", memory.clone(), rules, &self, (Self::read, Self::write))?;
        let wiring = Wiring { geometry, memory, query: query::query(geometry), region };
        self.follow_mode(self.wiring.get_or_init(|| wiring));
        Ok(())
    }

    /// Back to reading the array, with no block locked; the content stays.
    fn reset(&self, _kind: ResetType) {
        self.lock().chips.iter_mut().for_each(|chip| *chip = Chip::default());
        if let Some(wiring) = self.wiring.get() {
            self.follow_mode(wiring);
        }
    }

    fn inspect(&self, out: &mut Inspector) {
        for (index, chip) in self.lock().chips.iter().enumerate() {
            out.field(format!("chip{index}.mode"), format_args!("{:?}", chip.mode()))
                .register(format!("chip{index}.status"), chip.status().bits().into())
                .field(format!("chip{index}.locked"), format_args!("{:?}", chip.locked()));
        }
    }

    fn describe(&self, place: &FdtPlace<'_>) -> Vec<FdtNode> {
        let Some(flash) = place.region("flash") else { return Vec::new() };
        let width = u32::try_from(self.bank_width).unwrap_or_default();
        let node = FdtNode::new(format!("flash@{:x}", flash.start()), &["cfi-flash"]).reg(&[flash]);
        vec![node.with("bank-width", FdtValue::u32(width)).target()]
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "cfi-flash",
        about: "a bank of NOR flash with the CFI query and Intel's command set",
        properties: &[
            Property {
                name: "size",
                kind: "size",
                default: None,
                about: "bytes of the bank, a power of two up to 1G",
            },
            Property {
                name: "sector-size",
                kind: "size",
                default: Some("256K"),
                about: "bytes of the bank that are erased together, a power of two",
            },
            Property {
                name: "bank-width",
                kind: "1 | 2 | 4 | 8",
                default: Some("4"),
                about: "bytes that the bank has at one address of its chips",
            },
            Property {
                name: "device-width",
                kind: "1 | 2 | 4",
                default: Some("2"),
                about: "bytes that each chip has at one address",
            },
            Property {
                name: "file",
                kind: "path",
                default: Some("none"),
                about: "the content, exactly `size` bytes; without it the flash begins erased",
            },
            Property {
                name: "read-only",
                kind: "bool",
                default: Some("false"),
                about: "all blocks are locked, and the file is not changed",
            },
        ],
        example: r#"{ "size": 1048576 }"#,
    }
}
