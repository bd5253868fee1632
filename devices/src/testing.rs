//! A small board for the unit tests of devices: memory, a stepped clock, a console that is a vector of bytes.

use crate::pci::{Buses, PciAddress, PciBus, Seat, SlotRequest};
use crate::sync::{Arc, Mutex, Weak};
use crate::{Clock, Console, Device, DeviceError, FdtNode, FdtPlace, Host, IrqInput, IrqInputs, IrqLine};
use crate::{Interrupt, Output, Power, PowerRequest, Realize, Realized, Surroundings};
use memory_core::{AddrRange, BusFault, Memory, Plug, RamBlock, Region, RegionRef, Size, TxAttrs, Width};
use memory_dispatch::{AddressSpace, MemorySystem, SpaceConfig, Unassigned};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::io::Write;

/// Where [`Board::ram`] is mapped.
pub(crate) const RAM: u64 = 0x8000_0000;
const RAM_SIZE: u64 = 0x10_0000;
/// Where address 0 of PCI shows.
pub(crate) const PCI: u64 = 1 << 50;

/// A writer into shared memory.
#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Vec<u8>>>);

impl Write for Tape {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Memory with 1 MiB of RAM at [`RAM`], and what a machine offers its devices.
pub(crate) struct Board {
    pub(crate) system: MemorySystem,
    pub(crate) root: Region,
    pub(crate) ram: Arc<RamBlock>,
    pub(crate) space: Arc<AddressSpace>,
    pub(crate) host: Host,
    /// Regions that devices find by name: those of the board are `pci`, `io` and `system`.
    pub(crate) regions: BTreeMap<String, RegionRef>,
    /// Buses that devices have exported.
    pub(crate) buses: Mutex<Vec<Arc<PciBus>>>,
    /// PCI memory, a window of it at [`PCI`], and ports.
    _pci: [Region; 3],
    /// Ports, all of them.
    pub(crate) ports: Arc<AddressSpace>,
    _ram: Region,
    tape: Tape,
    power: Arc<Mutex<Vec<PowerRequest>>>,
}

impl Board {
    /// A board with one hart whose relative paths start at the current folder.
    pub(crate) fn new() -> Self {
        let system = MemorySystem::new();
        let memory = system.memory();
        let root = memory.container("system", Size::FULL).build().unwrap();
        let ram = RamBlock::anonymous(RAM_SIZE).unwrap();
        let region = memory.ram("ram", ram.clone()).build().unwrap();
        root.map(RAM, &region).unwrap();
        let space = system.address_space("memory", &root, SpaceConfig::default()).unwrap();
        let (tape, requests, power) = (Tape::default(), Arc::<Mutex<Vec<_>>>::default(), Power::new());
        let seen = requests.clone();
        power.on_request(move |request| seen.lock().unwrap().push(request));
        let host = Host { power, ..Host::new(Clock::stepped(), Console::new(tape.clone())) };
        let pci = memory.container("pci", Size::FULL).build().unwrap();
        let io = memory.container("io", 0x1_0000u64).build().unwrap();
        let window = memory.alias("pci-window", &pci, 0, 1u64 << 41).build().unwrap();
        root.map(PCI, &window).unwrap();
        let config = SpaceConfig { unassigned: Unassigned::AllOnes, ..SpaceConfig::default() };
        let ports = system.address_space("io", &io, config).unwrap();
        let named = [("pci", &pci), ("io", &io), ("system", &root)];
        let regions = named.map(|(name, region)| (name.to_owned(), region.by_ref().clone())).into();
        let (buses, pci) = (Mutex::default(), [pci, io, window]);
        Self {
            system,
            root,
            ram,
            space,
            host,
            regions,
            buses,
            _pci: pci,
            ports,
            _ram: region,
            tape,
            power: requests,
        }
    }

    /// The region of the RAM.
    pub(crate) fn ram_region(&self) -> RegionRef {
        self._ram.by_ref().clone()
    }

    pub(crate) fn memory(&self) -> &Memory {
        self.system.memory()
    }

    /// Builds a device of its properties (and state) and maps its exports one after the other, the first at `address`,
    /// the others at the next multiple of 64 KiB or of their own size.
    pub(crate) fn plug<D: Device + DeserializeOwned>(
        &self,
        properties: serde_json::Value,
        address: u64,
    ) -> Bench<'_, D> {
        self.try_plug(properties, address).unwrap()
    }

    /// As [`Board::plug`], for devices that refuse.
    pub(crate) fn try_plug<D: Device + DeserializeOwned>(
        &self,
        properties: serde_json::Value,
        address: u64,
    ) -> Result<Bench<'_, D>, DeviceError> {
        self.try_plug_at(properties, address, None)
    }

    /// As [`Board::plug`], for a device that is a PCI function, at a place such as `4.0` of the first bus.
    pub(crate) fn plug_pci<D: Device + DeserializeOwned>(
        &self,
        properties: serde_json::Value,
        place: &str,
    ) -> Bench<'_, D> {
        let slot = SlotRequest { addr: Some(place.parse().unwrap()), ..SlotRequest::default() };
        self.try_plug_at(properties, 0, Some(&slot)).unwrap()
    }

    /// As [`Board::try_plug`], where a machine file says `slot`.
    pub(crate) fn try_plug_at<D: Device + DeserializeOwned>(
        &self,
        properties: serde_json::Value,
        address: u64,
        slot: Option<&SlotRequest>,
    ) -> Result<Bench<'_, D>, DeviceError> {
        let device: Arc<D> = Arc::new(serde_json::from_value(properties).unwrap());
        let weak: Weak<D> = Arc::downgrade(&device);
        let owner = self.memory().owner("/machine/device", weak);
        let region = |name: &str| self.regions.get(name).cloned();
        let known = self.buses.lock().unwrap().clone();
        let buses = Buses { known: &known, slot };
        let around =
            Surroundings { host: &self.host, dma: &self.space, requester: 0, region: &region, buses };
        let mut ctx = Realize::new(self.memory(), owner.clone(), around);
        device.clone().realize(&mut ctx)?;
        let Realized { exports, outputs, inputs, buses, seats } = ctx.finish();
        self.buses.lock().unwrap().extend(buses);
        let plug = self.memory().plug(&owner, device.clone());
        let mut regions = Vec::new();
        let mut next = address;
        for export in exports {
            let size = export.region.size().unwrap();
            let bytes = u64::try_from(size.bytes()).unwrap();
            if !regions.is_empty() {
                next = next.next_multiple_of(bytes.next_power_of_two().max(0x1_0000));
            }
            self.root.map(next, &export.region).unwrap();
            regions.push((export.name, AddrRange::from_size(next, size).unwrap()));
            next += bytes;
        }
        seats.iter().for_each(Seat::activate);
        Ok(Bench { board: self, device, regions, outputs, inputs, seats, _plug: plug })
    }

    pub(crate) fn load(&self, address: u64, width: Width) -> Result<u64, BusFault> {
        self.space.load(address, width, TxAttrs::default())
    }

    pub(crate) fn store(&self, address: u64, width: Width, value: u64) -> Result<(), BusFault> {
        self.space.store(address, width, value, TxAttrs::default())
    }

    /// Reads from a port.
    pub(crate) fn input(&self, port: u64, width: Width) -> u64 {
        self.ports.load(port, width, TxAttrs::default()).unwrap()
    }

    /// Writes to a port.
    pub(crate) fn output(&self, port: u64, width: Width, value: u64) {
        self.ports.store(port, width, value, TxAttrs::default()).unwrap();
    }

    /// Reads configuration space of a function of the first bus, at a place such as `4.0`.
    pub(crate) fn config(&self, place: &str, offset: usize, width: Width) -> u64 {
        let place: PciAddress = place.parse().unwrap();
        let bus = self.buses.lock().unwrap()[0].clone();
        bus.config_read(0, place.devfn(), offset, width)
    }

    /// Writes to it.
    pub(crate) fn set_config(&self, place: &str, offset: usize, width: Width, value: u64) {
        let place: PciAddress = place.parse().unwrap();
        let bus = self.buses.lock().unwrap()[0].clone();
        bus.config_write(0, place.devfn(), offset, width, value);
    }

    /// What devices wrote to the console since the last call.
    pub(crate) fn take_output(&self) -> Vec<u8> {
        std::mem::take(&mut self.tape.0.lock().unwrap())
    }

    /// What devices asked of the power switch since the last call.
    pub(crate) fn take_power(&self) -> Vec<PowerRequest> {
        std::mem::take(&mut self.power.lock().unwrap())
    }
}

/// A device on a [`Board`].
pub(crate) struct Bench<'a, D: Device> {
    pub(crate) board: &'a Board,
    pub(crate) device: Arc<D>,
    /// The exports and where they are mapped.
    pub(crate) regions: Vec<(String, AddrRange)>,
    outputs: Vec<Output>,
    inputs: Vec<(String, IrqInputs)>,
    /// Its places on buses.
    pub(crate) seats: Vec<Seat>,
    _plug: Plug<D>,
}

impl<D: Device> Bench<'_, D> {
    /// The address of `offset` in an exported region.
    pub(crate) fn at(&self, region: &str, offset: u64) -> u64 {
        let found = self.regions.iter().find(|(name, _)| name == region);
        found.unwrap_or_else(|| panic!("no export {region}")).1.start() + offset
    }

    /// Reads from the region `regs`.
    pub(crate) fn load(&self, offset: u64, width: Width) -> u64 {
        self.board.load(self.at("regs", offset), width).unwrap()
    }

    /// Writes to the region `regs`.
    pub(crate) fn store(&self, offset: u64, width: Width, value: u64) {
        self.board.store(self.at("regs", offset), width, value).unwrap();
    }

    /// Output line number `index` of a name.
    pub(crate) fn output(&self, name: &str, index: usize) -> IrqLine {
        let found = self.outputs.iter().find(|output| output.name == name);
        found.unwrap_or_else(|| panic!("no output {name}")).lines[index].clone()
    }

    /// The level of the first line of a name.
    pub(crate) fn level(&self, name: &str) -> bool {
        self.output(name, 0).level()
    }

    /// Collects the levels that a line takes from now on.
    pub(crate) fn watch(&self, name: &str, index: usize) -> Arc<Mutex<Vec<bool>>> {
        let seen = Arc::<Mutex<Vec<bool>>>::default();
        let log = seen.clone();
        assert!(
            self.output(name, index).connect(IrqInput::new(move |level| log.lock().unwrap().push(level)))
        );
        seen
    }

    /// Input line number `index` of a name.
    pub(crate) fn input(&self, name: &str, index: u32) -> IrqLine {
        let found = self.inputs.iter().find(|(input, _)| input == name);
        let line = IrqLine::new();
        let input = found.unwrap_or_else(|| panic!("no input {name}")).1.input(index).unwrap();
        assert!(line.connect(input));
        line
    }

    /// The device tree nodes where the device is mapped, with all outputs led to the controller `plic`, inputs from 1.
    pub(crate) fn describe(&self) -> Vec<FdtNode> {
        let lines = self.outputs.iter().flat_map(|output| {
            (0..output.lines.len()).map(|index| (output.name.clone(), u32::try_from(index).unwrap()))
        });
        let outputs: Vec<_> = lines
            .zip(1..)
            .map(|((name, index), number)| (name, index, Interrupt { controller: "plic".into(), number }))
            .collect();
        let (regions, harts) = (&self.regions[..], self.board.host.harts);
        self.device.describe(&FdtPlace { name: "device", regions, outputs: &outputs, harts })
    }
}

impl<D: Device + Serialize> Bench<'_, D> {
    /// Properties and state, as a machine file would have them.
    pub(crate) fn save(&self) -> serde_json::Value {
        serde_json::to_value(&*self.device).unwrap()
    }
}
