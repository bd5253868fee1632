//! System management RAM: memory that shows only to processors in system management mode.

use crate::realize::Realize;
use crate::sync::Arc;
use bitflags::bitflags;
use memory_core::{AccessRules, MemoryError, Methods, Region, RegionRef};

bitflags! {
    /// The SMRAM control register (82441FX, section 3.2.23; Q35, section 5.1.33).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct SmramControl: u8 {
        /// The memory shows to everybody.
        const D_OPEN = 1 << 6;
        /// Data accesses do not see it; which kind an access is nobody here knows, so that this bit does nothing.
        const D_CLS = 1 << 5;
        /// Closed, until the next reset.
        const D_LCK = 1 << 4;
        /// The memory shows to processors in system management mode.
        const G_SMRAME = 1 << 3;
        /// At 0xa0000: the only place that there is.
        const C_BASE_SEG = 0b010;
        /// Can be written until the lock is set.
        const WRITABLE = Self::D_OPEN.bits() | Self::D_CLS.bits() | Self::D_LCK.bits() | Self::G_SMRAME.bits();
    }
}

/// RAM behind the legacy VGA window.
const LOW: u64 = 0xa_0000;
const LOW_SIZE: u64 = 0x2_0000;
/// Where it shows as high memory.
const HIGH: u64 = 0xfeda_0000;
/// Where processors begin in system management mode after a reset.
const SMBASE: u64 = 0x3_0000;
const SMBASE_SIZE: u64 = 0x2_0000;
/// Above RAM.
const PRIORITY: i32 = 1;
/// Bytes of a processor's memory in system management mode that differ from that of others.
const SPACE: u64 = 1 << 32;

/// The top of low RAM, which shows in system management mode alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tseg {
    /// The first byte.
    pub start: u64,
    /// How many, not 0.
    pub size: u64,
}

/// What a chipset's registers say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SmramSetting {
    /// [`SmramControl::D_OPEN`].
    pub open: bool,
    /// [`SmramControl::G_SMRAME`].
    pub enabled: bool,
    /// The memory shows as high memory, and not in the VGA window.
    pub high: bool,
    /// The top of low RAM is hidden.
    pub tseg: Option<Tseg>,
    /// The memory at 0x30000 is hidden.
    pub smbase: bool,
}

/// The regions that show the memory, and those that hide it. As in QEMU an open window shows RAM whether it is enabled or
/// not.
#[derive(Debug)]
pub struct Smram {
    /// What processors in system management mode see above all other memory.
    view: Region,
    /// The VGA window.
    window: Region,
    low: Region,
    extended: Option<Extended>,
}

/// What chipsets have since the Q35.
#[derive(Debug)]
struct Extended {
    open_high: Region,
    high: Region,
    tseg_hole: Region,
    tseg: Region,
    smbase_hole: Region,
    smbase: Region,
}

impl Smram {
    /// Makes the VGA window, which is mapped into `system`, and exports `smram`: a container of 4 GiB that is to be mapped above
    /// all other memory of processors in system management mode.
    ///
    /// # Errors
    /// As for every region that is made.
    pub fn new(
        ctx: &mut Realize<'_>,
        system: &RegionRef,
        ram: &RegionRef,
        pci: &RegionRef,
    ) -> Result<Self, MemoryError> {
        let view = ctx.container("smram", SPACE)?;
        let alias = |name, target: &RegionRef| {
            ctx.memory().alias(name, target, LOW, LOW_SIZE).owner(ctx.owner()).build()
        };
        let window = alias("smram-region", pci)?;
        system.map_overlap(LOW, &window, PRIORITY)?;
        let low = alias("smram-low", ram)?;
        low.set_enabled(false)?;
        view.map(LOW, &low)?;
        Ok(Self { view, window, low, extended: None })
    }

    /// With high memory, the top of low RAM and the memory at 0x30000 as well. The holes in the memory of other processors are registers
    /// of `device`: they read all ones.
    ///
    /// # Errors
    /// As for every region that is made.
    pub fn extended<D: Send + Sync + 'static>(
        mut self,
        ctx: &Realize<'_>,
        device: &Arc<D>,
        system: &RegionRef,
        ram: &RegionRef,
    ) -> Result<Self, MemoryError> {
        let alias = |name, offset, size: u64| {
            let alias = ctx.memory().alias(name, ram, offset, size).owner(ctx.owner()).build()?;
            alias.set_enabled(false)?;
            Ok(alias)
        };
        let hole = |name, size: u64| -> Result<Region, MemoryError> {
            let methods =
                Methods::new(device, |_: &D, _, width, _| Ok(width.mask()), |_: &D, _, _, _, _| Ok(()));
            let hole =
                ctx.memory().mmio(name, size, AccessRules::new(), methods).owner(ctx.owner()).build()?;
            hole.set_enabled(false)?;
            Ok(hole)
        };
        let extended = Extended {
            open_high: alias("smram-open-high", LOW, LOW_SIZE)?,
            high: alias("smram-high", LOW, LOW_SIZE)?,
            tseg_hole: hole("tseg-blackhole", 1)?,
            tseg: alias("tseg-window", 0, 1)?,
            smbase_hole: hole("smbase-blackhole", SMBASE_SIZE)?,
            smbase: alias("smbase-window", SMBASE, SMBASE_SIZE)?,
        };
        system.map_overlap(HIGH, &extended.open_high, PRIORITY)?;
        self.view.map(HIGH, &extended.high)?;
        system.map_overlap(0, &extended.tseg_hole, PRIORITY)?;
        self.view.map_overlap(0, &extended.tseg, 0)?;
        system.map_overlap(SMBASE, &extended.smbase_hole, PRIORITY)?;
        self.view.map_overlap(SMBASE, &extended.smbase, 0)?;
        self.extended = Some(extended);
        Ok(self)
    }

    /// Shows and hides what the registers say: in a transaction, if all is to change together.
    ///
    /// # Errors
    /// As for every change of a region.
    pub fn set(&self, setting: SmramSetting) -> Result<(), MemoryError> {
        let SmramSetting { open, enabled, high, tseg, smbase } = setting;
        let high = high && self.extended.is_some();
        self.window.set_enabled(!open || high)?;
        self.low.set_enabled(enabled && !high)?;
        let Some(extended) = &self.extended else { return Ok(()) };
        extended.open_high.set_enabled(open && high)?;
        extended.high.set_enabled(enabled && high)?;
        if let Some(Tseg { start, size }) = tseg {
            extended.tseg_hole.set_size(size)?;
            extended.tseg_hole.set_address(start)?;
            // an alias may not look beyond its target meanwhile
            extended.tseg.set_size(1u64)?;
            extended.tseg.set_alias_offset(start)?;
            extended.tseg.set_size(size)?;
            extended.tseg.set_address(start)?;
        }
        extended.tseg_hole.set_enabled(tseg.is_some())?;
        extended.tseg.set_enabled(tseg.is_some())?;
        extended.smbase_hole.set_enabled(smbase)?;
        extended.smbase.set_enabled(smbase)
    }
}
