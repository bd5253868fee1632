//! A small board for the unit tests of devices: memory, a stepped clock, a console that is a vector of bytes.

use crate::sync::{Arc, Mutex, Weak};
use crate::{Clock, Console, Device, DeviceError, FdtNode, FdtPlace, Host, IrqInput, IrqInputs, IrqLine};
use crate::{Interrupt, Output, Power, PowerRequest, Realize, Surroundings};
use memory_core::{AddrRange, BusFault, Memory, Plug, RamBlock, Region, RegionRef, Size, TxAttrs, Width};
use memory_dispatch::{AddressSpace, MemorySystem, SpaceConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::io::Write;

/// Where [`Board::ram`] is mapped.
pub(crate) const RAM: u64 = 0x8000_0000;
const RAM_SIZE: u64 = 0x10_0000;

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
    /// Regions that devices find by name.
    pub(crate) regions: BTreeMap<String, RegionRef>,
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
        let regions = BTreeMap::new();
        Self { system, root, ram, space, host, regions, _ram: region, tape, power: requests }
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
        let device: Arc<D> = Arc::new(serde_json::from_value(properties).unwrap());
        let weak: Weak<D> = Arc::downgrade(&device);
        let owner = self.memory().owner("/machine/device", weak);
        let region = |name: &str| self.regions.get(name).cloned();
        let around = Surroundings { host: &self.host, dma: &self.space, requester: 0, region: &region };
        let mut ctx = Realize::new(self.memory(), owner.clone(), around);
        device.clone().realize(&mut ctx)?;
        let (exports, outputs, inputs) = ctx.finish();
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
        Ok(Bench { board: self, device, regions, outputs, inputs, _plug: plug })
    }

    pub(crate) fn load(&self, address: u64, width: Width) -> Result<u64, BusFault> {
        self.space.load(address, width, TxAttrs::default())
    }

    pub(crate) fn store(&self, address: u64, width: Width, value: u64) -> Result<(), BusFault> {
        self.space.store(address, width, value, TxAttrs::default())
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
