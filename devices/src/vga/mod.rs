//! A VGA with the display interface of Bochs, QEMU's `VGA`: the legacy window and ports, and a linear frame buffer.

mod dispi;
mod planes;
mod registers;
mod screen;
#[cfg(test)]
mod tests;

use crate::framebuffer::{Draw, Frame, Geometry, Surface};
use crate::pci::{BarKind, FunctionSetup, Identity, PciDevice, PciFunction};
use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use crate::{Device, DeviceError, DeviceInfo, Inspector, Property, Realize, ResetType};
use dispi::Dispi;
use memory_core::{
    AccessRules, BusFault, DirtyClients, MemoryError, Methods, RamBlock, Region, RegionRef, TxAttrs, Width,
};
use memory_dispatch::AddressSpace;
use planes::{Latches, Planes};
use registers::Registers;
use screen::Screen;
use serde::{Deserialize, Serialize};

/// A PCI function 1234:1111. Base address register 0 is video memory; 2 has the VGA's ports from 0x3c0 at 0x400, the display
/// interface at 0x500, and what QEMU adds at 0x600. The window at 0xa0000 shows in the bus's memory, the ports 0x3b4 to
/// 0x3da and 0x1ce to 0x1d0 among its ports, whether the function is enabled or not.
///
/// While software sees bytes of video memory one after the other through the window (chained planes, as in the modes of the
/// display interface), it sees the memory itself. The picture of a mode with 16, 24 or 32 bits is drawn by the dirty log;
/// others are drawn anew at each look, and text stays black.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Vga {
    /// MiB of video memory.
    #[serde(default = "default_vgamem_mb")]
    vgamem_mb: u64,

    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    /// Held while the map follows the registers. Lock order: before the state's and the writers' lock.
    #[serde(skip)]
    mapping: Mutex<()>,
    /// The picture of a linear mode, as long as that is set. Held while it is looked for.
    #[serde(skip)]
    linear: Mutex<Option<(Geometry, Arc<Surface>)>>,

    #[serde(default)]
    pci: PciFunction,
    /// Held while video memory is reached through the window.
    #[serde(default)]
    state: Mutex<State>,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct State {
    registers: Registers,
    dispi: Dispi,
    latches: Latches,
}

#[derive(Debug)]
struct Wiring {
    memory: Arc<RamBlock>,
    size: u64,
    vram: Region,
    /// Video memory as it is, in the window.
    direct: Region,
    /// Where the window is.
    bus_memory: OnceLock<RegionRef>,
    surface: Arc<Surface>,
    /// Whose listeners know of writes, too. Weak: a device keeps no machine alive.
    space: Weak<AddressSpace>,
    _regions: Vec<Region>,
}

const fn default_vgamem_mb() -> u64 {
    16
}

const IDENTITY: Identity =
    Identity { vendor: 0x1234, device: 0x1111, revision: 2, class: 0x0300, interface: 0, subsystem: (0, 0) };

/// Where the window is, and its bytes.
const WINDOW: u64 = 0xa_0000;
const WINDOW_SIZE: u64 = 0x2_0000;
/// First ports and how many there are of each stretch.
const PORTS: [(u16, u64); 5] = [(0x3b4, 2), (0x3ba, 1), (0x3c0, 16), (0x3d4, 2), (0x3da, 1)];
/// The display interface among the ports: an index, and behind it data, at an odd port and again at an even one, of two bytes.
const DISPI_PORTS: (u64, u64) = (0x1ce, 4);
/// Bytes of base address register 2.
const MMIO_SIZE: u64 = 0x1000;
/// Byte order of the frame buffer: little.
const LITTLE_ENDIAN: u64 = 0x1e1e_1e1e;

impl Vga {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_port(&self, port: u16) -> u64 {
        self.state().registers.read(port).into()
    }

    fn write_port(&self, port: u16, value: u64) {
        let [value, ..] = value.to_le_bytes();
        self.state().registers.write(port, value);
        self.follow_window();
    }

    fn read_dispi(&self, index: u16) -> u64 {
        let size = self.wiring.get().map_or(0, |wiring| wiring.size);
        self.state().dispi.read(index, size).into()
    }

    fn write_dispi(&self, index: u16, value: u64) {
        let Some(wiring) = self.wiring.get() else { return };
        let [low, high, ..] = value.to_le_bytes();
        let mut state = self.state();
        let clears = state.dispi.write(index, u16::from_le_bytes([low, high]), wiring.size);
        let mode = state.dispi.mode().filter(|_| clears);
        if state.dispi.is_enabled() {
            state.registers.show_graphics();
        }
        drop(state);
        if let Some(mode) = mode {
            let len = u64::from(mode.stride) * u64::from(mode.height);
            let _ = wiring.memory.fill(0, len.min(wiring.size), 0);
        }
        self.follow_window();
    }

    fn read_dispi_port(&self, offset: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        let index = self.state().dispi.index();
        Ok(if offset == 0 { index.into() } else { self.read_dispi(index) })
    }

    fn write_dispi_port(&self, offset: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        if offset == 0 {
            let [low, high, ..] = value.to_le_bytes();
            self.state().dispi.select(u16::from_le_bytes([low, high]));
        } else {
            let index = self.state().dispi.index();
            self.write_dispi(index, value);
        }
        Ok(())
    }

    fn planes<'a>(wiring: &'a Wiring, state: &'a State) -> Planes<'a> {
        Planes {
            memory: &wiring.memory,
            size: wiring.size,
            sequencer: &state.registers.sequencer,
            graphics: &state.registers.graphics,
            linear: state.dispi.is_enabled() && state.dispi.mode().is_some_and(|mode| mode.bits != 4),
            bank_offset: state.dispi.bank_offset(),
        }
    }

    fn read_window(&self, offset: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        let Some(wiring) = self.wiring.get() else { return Ok(0xff) };
        let mut state = self.state();
        let mut latches = state.latches;
        let value = Self::planes(wiring, &state).read(&mut latches, offset);
        state.latches = latches;
        Ok(value.into())
    }

    fn write_window(&self, offset: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let Some(wiring) = self.wiring.get() else { return Ok(()) };
        let [value, ..] = value.to_le_bytes();
        let state = self.state();
        Self::planes(wiring, &state).write(state.latches, offset, value);
        Ok(())
    }

    /// Shows video memory itself in the window, where and if the registers say so.
    fn follow_window(&self) {
        let Some(wiring) = self.wiring.get() else { return };
        let Some(bus) = wiring.bus_memory.get() else { return };
        let _mapping = self.mapping.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = Self::planes(wiring, &self.state()).direct();
        if let Err(error) = wiring.show(bus, wanted) {
            tracing::warn!(%error, "the VGA's window stays where it was");
        }
    }

    /// Makes the regions that are the same on all buses: those of the base address registers, and what shows in the window.
    fn make_mmio(self: &Arc<Self>, ctx: &Realize<'_>) -> Result<Vec<Region>, DeviceError> {
        let bytes = || AccessRules::new().valid(Width::W1..=Width::W4).implements(Width::W1..=Width::W1);
        let words = AccessRules::new().valid(Width::W1..=Width::W4).implements(Width::W2..=Width::W2);
        let longs = AccessRules::new().valid(Width::W4..=Width::W4).implements(Width::W4..=Width::W4);
        let ports = Methods::new(
            self,
            |vga: &Self, offset, _, _| Ok(vga.read_port(0x3c0 + low(offset))),
            |vga: &Self, offset, _, value, _| {
                vga.write_port(0x3c0 + low(offset), value);
                Ok(())
            },
        );
        let dispi = Methods::new(
            self,
            |vga: &Self, offset, _, _| Ok(vga.read_dispi(low(offset / 2))),
            |vga: &Self, offset, _, value, _| {
                vga.write_dispi(low(offset / 2), value);
                Ok(())
            },
        );
        let extended = Methods::new(
            self,
            |_: &Self, offset, _, _| Ok(if offset == 0 { 8 } else { LITTLE_ENDIAN }),
            |_: &Self, _, _, _, _| Ok(()),
        );
        let memory = ctx.memory();
        let mmio = memory.container("vga.mmio", MMIO_SIZE).owner(ctx.owner()).build()?;
        let parts = [
            (0x400, memory.mmio("vga ioports remapped", 0x20_u64, bytes(), ports)),
            (0x500, memory.mmio("bochs dispi interface", 0x16_u64, words, dispi)),
            (0x600, memory.mmio("qemu extended regs", 8_u64, longs, extended)),
        ];
        let mut regions = Vec::new();
        for (offset, part) in parts {
            let part = part.owner(ctx.owner()).build()?;
            mmio.map(offset, &part)?;
            regions.push(part);
        }
        regions.insert(0, mmio);
        Ok(regions)
    }

    /// Makes the legacy window and ports, and shows them on the bus.
    fn make_legacy(self: &Arc<Self>, ctx: &Realize<'_>) -> Result<Vec<Region>, DeviceError> {
        let Some(bus) = self.pci.bus() else { return Ok(Vec::new()) };
        let mut regions = Vec::new();
        let bytes = || AccessRules::new().implements(Width::W1..=Width::W1);
        let window = Methods::new(self, Self::read_window, Self::write_window);
        let window =
            ctx.memory().mmio("vga-lowmem", WINDOW_SIZE, bytes(), window).owner(ctx.owner()).build()?;
        bus.memory().map_overlap(WINDOW, &window, 1)?;
        regions.push(window);
        for (first, count) in PORTS {
            let ports = Methods::new(
                self,
                move |vga: &Self, offset, _, _| Ok(vga.read_port(first + low(offset))),
                move |vga: &Self, offset, _, value, _| {
                    vga.write_port(first + low(offset), value);
                    Ok(())
                },
            );
            let ports = ctx.memory().mmio("vga", count, bytes(), ports).owner(ctx.owner()).build()?;
            bus.io().map_overlap(first.into(), &ports, 0)?;
            regions.push(ports);
        }
        let words = AccessRules::new().valid(Width::W2..=Width::W2).valid_unaligned();
        let words = words.implements(Width::W2..=Width::W2).implements_unaligned();
        let dispi = Methods::new(self, Self::read_dispi_port, Self::write_dispi_port);
        let dispi = ctx.memory().mmio("vbe", DISPI_PORTS.1, words, dispi).owner(ctx.owner()).build()?;
        bus.io().map_overlap(DISPI_PORTS.0, &dispi, 0)?;
        regions.push(dispi);
        Ok(regions)
    }

    fn make_memory(&self) -> Result<Arc<RamBlock>, DeviceError> {
        if !self.vgamem_mb.is_power_of_two() || self.vgamem_mb > 512 {
            let reason = format!("{} is no power of two up to 512", self.vgamem_mb);
            return Err(DeviceError::Property { property: "vgamem-mb", reason });
        }
        Ok(RamBlock::anonymous(self.vgamem_mb << 20)?)
    }

    /// The picture of a linear mode.
    fn surface_of(&self, wiring: &Wiring, geometry: Geometry) -> Option<Arc<Surface>> {
        let mut linear = self.linear.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, surface)) = linear.as_ref().filter(|(shown, _)| *shown == geometry) {
            return Some(surface.clone());
        }
        let space = wiring.space.upgrade()?;
        let vram = wiring.vram.by_ref().clone();
        let surface = Arc::new(Surface::new(geometry, vram, wiring.memory.clone(), &space));
        *linear = Some((geometry, surface.clone()));
        Some(surface)
    }
}

fn low(value: u64) -> u16 {
    u16::try_from(value & 0xffff).unwrap_or_default()
}

impl Wiring {
    /// Shows so much video memory in the window, from an offset on, or none.
    fn show(&self, bus: &RegionRef, wanted: Option<(u64, u64, u64)>) -> Result<(), MemoryError> {
        self.direct.memory().transaction(|_| match wanted {
            None => self.direct.unmap(),
            Some((base, size, offset)) => {
                if self.direct.size()?.bytes() != size.into() {
                    self.direct.unmap()?;
                    self.direct.set_alias_offset(0)?;
                    self.direct.set_size(size)?;
                }
                self.direct.set_alias_offset(offset)?;
                if self.direct.address()? == Some(WINDOW + base) {
                    return Ok(());
                }
                self.direct.unmap()?;
                bus.map_overlap(WINDOW + base, &self.direct, 2)
            }
        })
    }
}

impl Draw for Vga {
    fn draw(&self) -> Result<Frame, MemoryError> {
        let wiring = self.wiring.get().ok_or_else(|| MemoryError::Gone("VGA".into()))?;
        let State { registers, dispi, .. } = self.state().clone();
        let mode = dispi.mode();
        let surface = mode.and_then(screen::linear).and_then(|geometry| self.surface_of(wiring, geometry));
        if let Some(surface) = surface {
            return surface.look();
        }
        let wide_palette = dispi.has_8bit_palette();
        let screen = Screen { memory: &wiring.memory, registers: &registers, wide_palette };
        Ok(mode.map_or_else(|| screen.draw(), |mode| screen.draw_mode(mode)))
    }
}

impl PciDevice for Vga {
    fn function(&self) -> &PciFunction {
        &self.pci
    }

    fn bus_reset(&self, kind: ResetType) {
        self.reset(kind);
    }
}

#[typetag::serde(name = "VGA")]
impl Device for Vga {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let memory = self.make_memory()?;
        let size = self.vgamem_mb << 20;
        let identifier = format!("{}/vga.vram", ctx.owner().path());
        let vram = ctx.memory().ram("vga.vram", memory.clone());
        let vram = vram.owner(ctx.owner()).identifier(identifier).build()?;
        vram.set_log(DirtyClients::DISPLAY, true)?;
        let direct = ctx.memory().alias("vga.chain4", &vram, 0, WINDOW_SIZE).owner(ctx.owner()).build()?;
        let mut _regions = self.make_mmio(ctx)?;
        let mut setup =
            FunctionSetup::new(IDENTITY).bar(0, BarKind::Memory32 { prefetchable: true }, &vram)?;
        if let Some(mmio) = _regions.first() {
            setup = setup.bar(2, BarKind::Memory32 { prefetchable: false }, mmio)?;
        }
        self.pci.realize(ctx, &self, setup)?;
        _regions.extend(self.make_legacy(ctx)?);
        let bus_memory = OnceLock::new();
        if let Some(bus) = self.pci.bus() {
            let _ = bus_memory.set(bus.memory().clone());
        }
        let device: Weak<Self> = Arc::downgrade(&self);
        let surface = Arc::new(Surface::drawn(device));
        let space = Arc::downgrade(ctx.dma_space());
        let wiring = Wiring { memory, size, vram, direct, bus_memory, surface, space, _regions };
        let _ = self.wiring.set(wiring);
        self.follow_window();
        Ok(())
    }

    /// Registers as after power on; video memory stays as it is.
    fn reset(&self, _kind: ResetType) {
        *self.state() = State::default();
        self.pci.reset(|_| ());
        self.follow_window();
    }

    fn inspect(&self, out: &mut Inspector) {
        match self.state().dispi.mode() {
            Some(mode) => out.field("mode", format!("{} x {}, {} bits", mode.width, mode.height, mode.bits)),
            None => out.field("mode", "of the VGA's own"),
        };
    }

    fn surface(&self) -> Option<Arc<Surface>> {
        Some(self.wiring.get()?.surface.clone())
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "VGA",
        about: "VGA with a linear frame buffer and the display interface of Bochs",
        properties: &[Property {
            name: "vgamem-mb",
            kind: "u64",
            default: Some("16"),
            about: "MiB of video memory, a power of two up to 512",
        }],
        example: "{}",
    }
}
