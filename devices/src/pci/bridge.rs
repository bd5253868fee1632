//! What is behind a bridge: a bus of its own, and what of it shows before the bridge (PCI-to-PCI Bridge 1.2, chapters 3
//! and 4).

use super::bus::PciBus;
use super::config::ConfigSpace;
use super::device::PciDevice;
use super::registers::*;
use super::setup::{FunctionSetup, Identity};
use crate::sync::{Arc, Mutex, OnceLock, PoisonError};
use crate::{DeviceError, Realize, ResetType};
use memory_core::{MemoryError, Region, RegionRef, Size, Width};

/// A bridge's windows and the bus behind them, for a device to embed besides its
/// [`PciFunction`](super::PciFunction).
#[derive(Debug, Default)]
pub struct PciBridge {
    wiring: OnceLock<Wiring>,
    /// Held while the map follows the registers; the control register as it was then. Lock order: before the function's and the
    /// writers' lock.
    control: Mutex<u16>,
}

#[derive(Debug)]
struct Wiring {
    bus: Arc<PciBus>,
    windows: Vec<Window>,
    _spaces: [Region; 2],
}

/// What a bridge shows of the bus behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shows {
    Io,
    Memory,
    Prefetchable,
    VgaMemory,
    /// Two ranges of ports.
    VgaIo(u64, u64),
}

const WINDOWS: [(&str, Shows); 6] = [
    ("pci_bridge_io", Shows::Io),
    ("pci_bridge_mem", Shows::Memory),
    ("pci_bridge_pref_mem", Shows::Prefetchable),
    ("pci_bridge_vga_mem", Shows::VgaMemory),
    ("pci_bridge_vga_io_lo", Shows::VgaIo(0x3b0, 0x3bb)),
    ("pci_bridge_vga_io_hi", Shows::VgaIo(0x3c0, 0x3df)),
];

#[derive(Debug)]
struct Window {
    shows: Shows,
    region: Region,
    into: RegionRef,
}

impl Shows {
    fn is_io(self) -> bool {
        matches!(self, Self::Io | Self::VgaIo(..))
    }

    /// The first and the last address of the window, if it is open.
    fn range(self, config: &ConfigSpace) -> Option<(u64, u64)> {
        let word = |at| u64::from(config.word(at) & 0xfff0) << 16;
        let byte = |at| u64::from(config.byte(at) & 0xf0) << 8;
        let long = |at| u64::from(config.long(at)) << 32;
        let (first, last) = match self {
            Self::Io => (byte(IO_BASE), byte(IO_LIMIT) | 0xfff),
            Self::Memory => (word(MEMORY_BASE), word(MEMORY_LIMIT) | 0xf_ffff),
            Self::Prefetchable => {
                let first = word(PREFETCH_BASE) | long(PREFETCH_BASE_UPPER);
                (first, word(PREFETCH_LIMIT) | long(PREFETCH_LIMIT_UPPER) | 0xf_ffff)
            }
            Self::VgaMemory => (0xa_0000, 0xb_ffff),
            Self::VgaIo(first, last) => (first, last),
        };
        let legacy = matches!(self, Self::VgaMemory | Self::VgaIo(..));
        let control = BridgeControl::from_bits_retain(config.word(BRIDGE_CONTROL));
        let command = Command::from_bits_retain(config.word(COMMAND));
        let enabled = command.contains(if self.is_io() { Command::IO } else { Command::MEMORY });
        let open = enabled && first <= last && (!legacy || control.contains(BridgeControl::VGA));
        open.then_some((first, last))
    }
}

impl Window {
    fn follow(&self, config: &ConfigSpace) -> Result<(), MemoryError> {
        let Some((first, last)) = self.shows.range(config) else { return self.region.unmap() };
        let size = u128::from(last - first) + 1;
        let same = self.region.address()? == Some(first) && self.region.size()?.bytes() == size;
        if same {
            return Ok(());
        }
        self.region.unmap()?;
        // small first: where it looks and how much of it has to fit at each step
        self.region.set_size(1u64)?;
        self.region.set_alias_offset(first)?;
        self.region.set_size(Size::new(size).unwrap_or(Size::FULL))?;
        self.into.map_overlap(first, &self.region, 1)
    }
}

impl PciBridge {
    /// What a bridge's function is made of before anything of its own.
    pub fn setup(identity: Identity) -> FunctionSetup {
        let mut setup = FunctionSetup::bridge(identity);
        let config = setup.config();
        let speed = (Status::MHZ66 | Status::FAST_BACK).bits();
        config.set_word(STATUS, speed);
        config.set_word(SECONDARY_STATUS, speed);
        config.set_clears(SECONDARY_STATUS, &Status::ERRORS.bits().to_le_bytes());
        config.set_writable(PRIMARY_BUS, &[0xff; 4]);
        config.set_writable(IO_BASE, &[0xf0, 0xf0]);
        for register in [MEMORY_BASE, MEMORY_LIMIT, PREFETCH_BASE, PREFETCH_LIMIT] {
            config.set_writable(register, &[0xf0, 0xff]);
        }
        // prefetchable memory may lie anywhere in 64 bits
        config.set_word(PREFETCH_BASE, 1);
        config.set_word(PREFETCH_LIMIT, 1);
        config.set_writable(PREFETCH_BASE_UPPER, &[0xff; 8]);
        config.set_writable(BRIDGE_CONTROL, &BridgeControl::WRITABLE.bits().to_le_bytes());
        config.set_clears(BRIDGE_CONTROL, &BridgeControl::DISCARD_STATUS.bits().to_le_bytes());
        setup
    }

    /// Makes the bus called `name` behind the function of `device`, which is realised by now, and exports it.
    ///
    /// # Errors
    /// As for every region that is made.
    pub fn realize<D: PciDevice>(
        &self,
        ctx: &mut Realize<'_>,
        device: &Arc<D>,
        name: &str,
    ) -> Result<(), DeviceError> {
        let Some(upstream) = device.function().bus() else {
            let reason = "the bridge is on no bus".to_owned();
            return Err(DeviceError::Property { property: "bus", reason });
        };
        let memory = ctx.memory().container("pci_bridge_pci", Size::FULL).owner(ctx.owner()).build()?;
        let io = ctx.memory().container("pci_bridge_io", 0x1_0000u64).owner(ctx.owner()).build()?;
        let bus = PciBus::secondary(name, &memory, &io, device);
        let window = |(name, shows): (&str, Shows)| {
            let (target, into) =
                if shows.is_io() { (&io, upstream.io()) } else { (&memory, upstream.memory()) };
            let region = ctx.memory().alias(name, target, 0, 1u64).owner(ctx.owner()).build()?;
            Ok(Window { shows, region, into: into.clone() })
        };
        let windows = WINDOWS.into_iter().map(window).collect::<Result<_, MemoryError>>()?;
        ctx.export_bus(&bus);
        let _ = self.wiring.set(Wiring { bus, windows, _spaces: [memory, io] });
        Ok(())
    }

    /// The bus behind the bridge.
    pub fn bus(&self) -> Option<&Arc<PciBus>> {
        self.wiring.get().map(|wiring| &wiring.bus)
    }

    /// Makes the windows what the registers say, and resets the bus when the bit for that rises: from
    /// [`PciDevice::config_written`], [`PciDevice::activated`], and after a reset.
    pub fn update(&self, device: &impl PciDevice) {
        let Some(wiring) = self.wiring.get() else { return };
        let resets = {
            let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
            let config = device.function().look(ConfigSpace::clone);
            let update = || wiring.windows.iter().try_for_each(|window| window.follow(&config));
            if let Some(window) = wiring.windows.first()
                && let Err(error) = window.region.memory().transaction(|_| update())
            {
                tracing::warn!(%error, "the windows of a PCI bridge stay where they were");
            }
            let reset = BridgeControl::BUS_RESET.bits();
            let before = std::mem::replace(&mut *control, config.word(BRIDGE_CONTROL));
            !before & *control & reset != 0
        };
        if resets {
            wiring.bus.reset(ResetType::Warm);
        }
    }

    /// Registers of a bridge as they are after power on, besides those of every function.
    pub fn reset_registers(config: &mut ConfigSpace) {
        config.set(PRIMARY_BUS, &[0; 4]);
        config.set(IO_BASE, &[0; 2]);
        config.set(MEMORY_BASE, &[0; 4]);
        config.set(PREFETCH_BASE, &[1, 0, 1, 0]);
        config.set(PREFETCH_BASE_UPPER, &[0; 8]);
        config.set_word(BRIDGE_CONTROL, 0);
    }

    /// Whether a write is about what the windows follow.
    pub fn follows(offset: usize, width: Width) -> bool {
        let touches = |at: usize, len: usize| offset < at + len && at < offset + width.len();
        touches(COMMAND, 2) || touches(IO_BASE, 2) || touches(MEMORY_BASE, 20) || touches(BRIDGE_CONTROL, 2)
    }
}
