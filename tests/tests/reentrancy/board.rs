//! A board of RAM and devices.

use devices::Clock;
use memory_core::{AccessRules, BusFault, Methods, Owner, Plug, RamBlock, Region, Size, TxAttrs, Width};
use memory_dispatch::{AddressSpace, Entry, MemorySystem, SpaceConfig};
use std::sync::{Arc, Mutex, Weak};

pub const ATTRS: TxAttrs = TxAttrs::UNSPECIFIED;

/// Bytes of RAM from address 0 on.
pub const RAM: u64 = 0x10_0000;

pub struct Board {
    pub system: MemorySystem,
    pub space: Arc<AddressSpace>,
    pub clock: Clock,
    root: Region,
    _ram: Region,
}

/// What every device here has.
pub trait Model: Send + Sync + 'static {
    fn read(&self, offset: u64) -> Result<u64, BusFault>;
    fn write(&self, offset: u64, value: u64) -> Result<(), BusFault>;
}

/// A device that is plugged in.
pub struct Plugged<D: Model> {
    pub device: Arc<D>,
    pub entry: Entry,
    _regs: Region,
    _plug: Plug<D>,
}

impl Board {
    pub fn new() -> Self {
        let system = MemorySystem::new();
        let root = system.memory().container("system", Size::FULL).build().unwrap();
        let ram = system.memory().ram("ram", RamBlock::anonymous(RAM).unwrap()).build().unwrap();
        root.map(0, &ram).unwrap();
        let space = system.address_space("memory", &root, SpaceConfig::default()).unwrap();
        Self { system, space, clock: Clock::stepped(), root, _ram: ram }
    }

    /// Plugs a device in with registers of 4 KiB at `address`.
    pub fn plug<D: Model>(&self, address: u64, device: D) -> Plugged<D> {
        let device = Arc::new(device);
        let weak: Weak<D> = Arc::downgrade(&device);
        let memory = self.system.memory();
        let owner: Owner = memory.owner(format!("/machine/{address:x}"), weak);
        let callbacks = Methods::new(
            &device,
            |device: &D, offset, _: Width, _: TxAttrs| device.read(offset),
            |device: &D, offset, _: Width, value, _: TxAttrs| device.write(offset, value),
        );
        let regs = memory.mmio("regs", 0x1000u64, AccessRules::new(), callbacks).owner(&owner);
        let regs = regs.build().unwrap();
        self.root.map(address, &regs).unwrap();
        let entry = self.system.entry(owner.id());
        let plug = memory.plug(&owner, device.clone());
        Plugged { device, entry, _regs: regs, _plug: plug }
    }

    pub fn dma(&self) -> Dma {
        Dma { space: Arc::downgrade(&self.space), faults: Mutex::default() }
    }

    /// A guest's store of 4 bytes.
    pub fn store(&self, address: u64, value: u64) {
        self.space.store(address, Width::W4, value, ATTRS).unwrap();
    }

    pub fn load(&self, address: u64) -> u64 {
        self.space.load(address, Width::W4, ATTRS).unwrap()
    }
}

/// A device's DMA, which remembers the faults that it met.
pub struct Dma {
    space: Weak<AddressSpace>,
    faults: Mutex<Vec<BusFault>>,
}

impl Dma {
    pub fn read<const N: usize>(&self, address: u64) -> Result<[u8; N], BusFault> {
        let mut bytes = [0; N];
        self.note(self.space.upgrade().unwrap().read(address, &mut bytes, ATTRS))?;
        Ok(bytes)
    }

    pub fn read_u32(&self, address: u64) -> Result<u64, BusFault> {
        self.read(address).map(|bytes| u32::from_le_bytes(bytes).into())
    }

    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), BusFault> {
        self.note(self.space.upgrade().unwrap().write(address, bytes, ATTRS))
    }

    fn note(&self, result: Result<(), BusFault>) -> Result<(), BusFault> {
        self.faults.lock().unwrap().extend(result.err());
        result
    }

    /// The faults since the last time.
    pub fn faults(&self) -> Vec<BusFault> {
        std::mem::take(&mut self.faults.lock().unwrap())
    }
}
