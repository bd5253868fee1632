//! A board that any device can be plugged into.

use devices::pci::{BarKind, Buses, PciAddress, PciBus, Seat, SlotRequest};
use devices::{
    Clock, Console, Device, DeviceError, DeviceInfo, Export, Host, IrqInput, IrqInputs, IrqLine, Output,
};
use devices::{Realize, Realized, Surroundings};
use memory_core::{AccessRules, BusFault, Memory, Methods, Plug, RamBlock, Region, Size, TxAttrs, Width};
use memory_dispatch::{AddressSpace, MemorySystem, SpaceConfig};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use tempfile::TempDir;

/// Where the board's RAM lies.
pub const RAM: u64 = 0x8000_0000;
/// Its size in bytes.
pub const RAM_SIZE: u64 = 0x10_0000;
/// Where the regions of the first device lie; each has this much room, and each device that of 16 regions.
pub const ROOM: u64 = 1 << 36;

/// Builds a device as a machine file does.
///
/// # Errors
/// What the device's type says of its properties.
pub fn load(value: Value) -> Result<Arc<dyn Device>, serde_json::Error> {
    serde_json::from_value::<Box<dyn Device>>(value).map(Arc::from)
}

/// What a machine file with just the required properties says.
pub fn minimal(info: &DeviceInfo) -> Value {
    let mut value: Value = serde_json::from_str(info.example)
        .unwrap_or_else(|error| panic!("{}: the example is no JSON: {error}", info.tag));
    let object = value.as_object_mut().unwrap_or_else(|| panic!("{}: the example is no object", info.tag));
    object.insert("type".to_owned(), json!(info.tag));
    value
}

/// A device as a machine file would say it now.
pub fn save(device: &dyn Device) -> Value {
    serde_json::to_value(device).unwrap()
}

/// A machine with RAM and no device.
pub struct Board {
    /// The memory.
    pub system: MemorySystem,
    /// The region at the root of the space.
    pub root: Region,
    pub space: Arc<AddressSpace>,
    pub host: Host,
    /// The bus that devices are plugged into which are PCI functions, its device number being that of the slot.
    pub pci: Arc<PciBus>,
    /// Its memory, ports, configuration space, and where they show.
    _pci: [Region; 5],
    /// What every region that a device asks for by name is.
    bus: Region,
    /// But for what is called that.
    vram: Region,
    _ram: Region,
    _folder: TempDir,
}

/// A device that is plugged in, all its regions mapped and all its lines watched.
pub struct Slot {
    pub device: Weak<dyn Device>,
    pub plug: Option<Plug<dyn Device>>,
    /// Its place on the PCI bus, if it is a function.
    pub seats: Vec<Seat>,
    /// The exported regions with their addresses and sizes.
    pub regions: Vec<(Export, u64, u64)>,
    /// Addresses and sizes of configuration space, and of what [`Slot::place_bars`] makes show.
    function: Vec<(u64, u64)>,
    /// Lines that lead to its inputs.
    pub inputs: Vec<IrqLine>,
    /// How often an output changed its level.
    pub edges: Arc<AtomicU64>,
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

impl Board {
    /// A board with RAM at [`RAM`].
    pub fn new() -> Self {
        let system = MemorySystem::new();
        let memory = system.memory();
        let root = memory.container("system", Size::FULL).build().unwrap();
        let ram = memory.ram("ram", RamBlock::anonymous(RAM_SIZE).unwrap()).build().unwrap();
        root.map(RAM, &ram).unwrap();
        let bus = memory.container("bus", 1u64 << 32).build().unwrap();
        let vram = memory.ram("vram", RamBlock::anonymous(0x20_0000u64).unwrap()).build().unwrap();
        let space = system.address_space("memory", &root, SpaceConfig::default()).unwrap();
        let (pci, regions) = pci(memory, &root);
        let folder = TempDir::new().unwrap();
        let host = Host {
            harts: 4,
            base: folder.path().to_owned(),
            ..Host::new(Clock::stepped(), Console::new(std::io::sink()))
        };
        Self { system, root, space, host, pci, _pci: regions, bus, vram, _ram: ram, _folder: folder }
    }

    /// Plugs `device` into slot number `slot`.
    pub fn plug(&self, slot: u64, device: Arc<dyn Device>) -> Slot {
        self.try_plug(slot, device).unwrap()
    }

    /// As [`Board::plug`], unless the device cannot be realised.
    pub fn try_plug(&self, slot: u64, device: Arc<dyn Device>) -> Result<Slot, DeviceError> {
        let memory = self.system.memory();
        let weak = Arc::downgrade(&device);
        let owner = memory.owner(format!("/machine/slot{slot}"), weak.clone() as _);
        let find = |name: &str| {
            let found = if name == "vram" { &self.vram } else { &self.bus };
            Some(found.by_ref().clone())
        };
        let known = [self.pci.clone()];
        let addr = u8::try_from(slot + 1).ok().and_then(|slot| PciAddress::new(slot, 0));
        let request = SlotRequest { addr, ..SlotRequest::default() };
        let buses = Buses { known: &known, slot: Some(&request) };
        let around = Surroundings { host: &self.host, dma: &self.space, requester: 0, region: &find, buses };
        let mut ctx = Realize::new(memory, owner.clone(), around);
        device.clone().realize(&mut ctx)?;
        let Realized { exports, outputs, inputs, seats, .. } = ctx.finish();
        let edges = Arc::<AtomicU64>::default();
        outputs.iter().for_each(|output| watch(output, &edges));
        let base = ROOM * 16 * (slot + 1);
        let map = |(index, export): (usize, Export)| {
            let address = base + ROOM * index as u64;
            self.root.map_overlap(address, &export.region, 0).unwrap();
            let size = export.region.size().unwrap().bytes();
            (export, address, u64::try_from(size).unwrap().min(ROOM))
        };
        let regions = exports.into_iter().enumerate().map(map).collect();
        let inputs = inputs.iter().flat_map(|(_, group)| drive(group)).collect();
        let plug = Some(memory.plug(&owner, device));
        seats.iter().for_each(Seat::activate);
        let mut function = Vec::new();
        for seat in seats.iter().filter(|seat| Arc::ptr_eq(seat.bus(), &self.pci)) {
            let devfn = seat.address().devfn();
            function.push((ECAM + (u64::from(devfn) << 12), 0x1000));
            for (_, device) in self.pci.functions().into_iter().filter(|(at, _)| *at == devfn) {
                for (index, kind, size, _) in device.function().bars() {
                    let from = if kind == BarKind::Io { PCI_IO } else { PCI };
                    function.push((from + bar_address(devfn, index, kind), size));
                }
            }
        }
        Ok(Slot { device: weak, plug, seats, regions, function, inputs, edges })
    }
}

/// Where the PCI bus's memory shows.
const PCI: u64 = 1 << 60;
/// Where its ports do.
const PCI_IO: u64 = 2 << 60;
/// Where its configuration space does.
const ECAM: u64 = 3 << 60;

/// Where [`Slot::place_bars`] puts a base address register.
fn bar_address(devfn: u8, index: u8, kind: BarKind) -> u64 {
    let (devfn, index) = (u64::from(devfn), u64::from(index));
    if kind == BarKind::Io { devfn << 8 | index << 8 } else { devfn << 24 | index << 24 }
}

/// A bus of its own, and where it shows.
fn pci(memory: &Memory, root: &Region) -> (Arc<PciBus>, [Region; 5]) {
    let mem = memory.container("pci", Size::FULL).build().unwrap();
    let io = memory.container("io", 0x1_0000u64).build().unwrap();
    let bus = PciBus::root("pci.0", &mem, &io);
    let shown = memory.alias("pci-window", &mem, 0, 1u64 << 40).build().unwrap();
    let ports = memory.alias("io-window", &io, 0, 0x1_0000u64).build().unwrap();
    let callbacks = Methods::new(&bus, config_read, config_write);
    let config = memory.mmio("config", 0x10_0000u64, AccessRules::new(), callbacks).build().unwrap();
    root.map(PCI, &shown).unwrap();
    root.map(PCI_IO, &ports).unwrap();
    root.map(ECAM, &config).unwrap();
    (bus, [mem, io, shown, ports, config])
}

fn config_read(bus: &PciBus, at: u64, width: Width, _: TxAttrs) -> Result<u64, BusFault> {
    Ok(bus.config_read(0, (at >> 12) as u8, (at & 0xfff) as usize, width))
}

fn config_write(bus: &PciBus, at: u64, width: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
    bus.config_write(0, (at >> 12) as u8, (at & 0xfff) as usize, width, value);
    Ok(())
}

fn watch(output: &Output, edges: &Arc<AtomicU64>) {
    for line in &output.lines {
        let edges = edges.clone();
        assert!(line.connect(IrqInput::new(move |_| {
            edges.fetch_add(1, Ordering::Relaxed);
        })));
    }
}

fn drive(group: &IrqInputs) -> Vec<IrqLine> {
    let line = |index| {
        let line = IrqLine::new();
        assert!(line.connect(group.input(index).unwrap()));
        line
    };
    (0..group.count()).map(line).collect()
}

impl Slot {
    pub fn device(&self) -> Arc<dyn Device> {
        self.device.upgrade().expect("plugged in")
    }

    /// Where a guest reaches the device: addresses and sizes.
    pub fn places(&self) -> Vec<(u64, u64)> {
        let exported = self.regions.iter().map(|(_, address, size)| (*address, *size));
        exported.chain(self.function.iter().copied()).collect()
    }

    /// Has its base address registers show where [`Slot::places`] says, if it is a PCI function, and lets it master the bus.
    pub fn place_bars(&self) {
        for seat in &self.seats {
            let devfn = seat.address().devfn();
            let functions = seat.bus().functions();
            let function = functions.iter().filter(|(at, _)| *at == devfn);
            for (index, kind, ..) in function.flat_map(|(_, device)| device.function().bars()) {
                let offset = if kind == BarKind::Rom { 0x30 } else { 0x10 + 4 * usize::from(index) };
                let address = bar_address(devfn, index, kind) | u64::from(kind == BarKind::Rom);
                seat.bus().config_write(0, devfn, offset, Width::W4, address);
            }
            seat.bus().config_write(0, devfn, 4, Width::W2, 7);
        }
    }

    /// Where the region of that name lies.
    pub fn region(&self, name: &str) -> u64 {
        let found = self.regions.iter().find(|(export, ..)| export.name == name);
        found.unwrap_or_else(|| panic!("no region `{name}`")).1
    }
}
