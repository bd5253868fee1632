//! A machine to try accesses on, and a device that remembers how it was called.

use memory_core::{
    AccessRules, BusFault, ByteOrder, Memory, Mmio, RamBlock, Region, RegionRef, Size, TxAttrs, Width,
};
use memory_dispatch::{AddressSpace, MemorySystem, SpaceConfig, Unassigned, VcpuHandle};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

/// Attributes of accesses that say nothing.
pub const ATTRS: TxAttrs = TxAttrs::UNSPECIFIED;

/// The two ways into an address space; every test of accesses goes through both.
#[derive(Clone, Copy, Debug)]
pub enum Door {
    Space,
    Handle,
}

/// One address space over one root of 2^64 bytes.
pub struct Board {
    pub system: MemorySystem,
    pub root: Region,
    pub space: Arc<AddressSpace>,
    handle: Option<VcpuHandle>,
    regions: Vec<Region>,
}

/// Runs a test on a new board for each door.
pub fn each_door(config: SpaceConfig, test: impl Fn(&mut Board)) {
    for door in [Door::Space, Door::Handle] {
        test(&mut Board::new(door, config));
    }
}

/// The configuration of a big-endian memory.
pub fn big() -> SpaceConfig {
    SpaceConfig { order: ByteOrder::Big, ..SpaceConfig::default() }
}

/// The configuration of a space of ports.
pub fn ports() -> SpaceConfig {
    SpaceConfig { unassigned: Unassigned::AllOnes, ..SpaceConfig::default() }
}

impl Board {
    pub fn new(door: Door, config: SpaceConfig) -> Self {
        let system = MemorySystem::new();
        let root = system.memory().container("system", Size::FULL).build().unwrap();
        let space = system.address_space("memory", &root, config).unwrap();
        let handle = matches!(door, Door::Handle).then(|| space.handle(|| ()));
        Self { system, root, space, handle, regions: Vec::new() }
    }

    pub fn memory(&self) -> &Memory {
        self.system.memory()
    }

    /// Keeps a region and maps it, on top of what is there.
    pub fn map(&mut self, address: u64, region: Region) -> RegionRef {
        self.root.map_overlap(address, &region, 0).unwrap();
        self.keep(region)
    }

    pub fn keep(&mut self, region: Region) -> RegionRef {
        let by_ref = region.by_ref().clone();
        self.regions.push(region);
        by_ref
    }

    /// RAM whose bytes count up from `first`.
    pub fn ram(&mut self, address: u64, size: u64, first: u8) -> Arc<RamBlock> {
        let block = counting(size, first);
        let ram = self.memory().ram(format!("ram{address:x}"), block.clone()).build().unwrap();
        self.map(address, ram);
        block
    }

    /// Registers that count up from `first`.
    pub fn mmio(&mut self, address: u64, size: u64, rules: AccessRules, first: u8) -> Arc<Recorder> {
        let recorder = Recorder::new(ByteOrder::Little, first);
        let mmio = self.memory().mmio("mmio", size, rules, recorder.clone()).build().unwrap();
        self.map(address, mmio);
        recorder
    }

    pub fn load_as(&mut self, attrs: TxAttrs, address: u64, width: Width) -> Result<u64, BusFault> {
        match &mut self.handle {
            Some(handle) => handle.load(address, width, attrs),
            None => self.space.load(address, width, attrs),
        }
    }

    pub fn load(&mut self, address: u64, width: Width) -> Result<u64, BusFault> {
        self.load_as(ATTRS, address, width)
    }

    pub fn store_as(
        &mut self,
        attrs: TxAttrs,
        address: u64,
        width: Width,
        value: u64,
    ) -> Result<(), BusFault> {
        match &mut self.handle {
            Some(handle) => handle.store(address, width, value, attrs),
            None => self.space.store(address, width, value, attrs),
        }
    }

    pub fn store(&mut self, address: u64, width: Width, value: u64) -> Result<(), BusFault> {
        self.store_as(ATTRS, address, width, value)
    }

    /// A transfer's bytes, which were 0xee before, and its result.
    pub fn read_as(&mut self, attrs: TxAttrs, address: u64, len: usize) -> (Vec<u8>, Result<(), BusFault>) {
        let mut bytes = vec![0xee; len];
        let result = match &mut self.handle {
            Some(handle) => handle.read(address, &mut bytes, attrs),
            None => self.space.read(address, &mut bytes, attrs),
        };
        (bytes, result)
    }

    pub fn read(&mut self, address: u64, len: usize) -> (Vec<u8>, Result<(), BusFault>) {
        self.read_as(ATTRS, address, len)
    }

    pub fn write_as(&mut self, attrs: TxAttrs, address: u64, bytes: &[u8]) -> Result<(), BusFault> {
        match &mut self.handle {
            Some(handle) => handle.write(address, bytes, attrs),
            None => self.space.write(address, bytes, attrs),
        }
    }

    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), BusFault> {
        self.write_as(ATTRS, address, bytes)
    }

    pub fn exchange(
        &mut self,
        address: u64,
        width: Width,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, BusFault> {
        match &mut self.handle {
            Some(handle) => handle.compare_exchange(address, width, current, new, ATTRS),
            None => self.space.compare_exchange(address, width, current, new, ATTRS),
        }
    }
}

/// Host memory whose bytes count up from `first`.
pub fn counting(size: u64, first: u8) -> Arc<RamBlock> {
    let block = RamBlock::anonymous(size).unwrap();
    let bytes: Vec<u8> = (0..size).map(|i| first.wrapping_add(i as u8)).collect();
    assert!(block.write(0, &bytes));
    block
}

/// All of a block's bytes from `offset` on.
pub fn bytes_of(block: &RamBlock, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    assert!(block.read(offset, &mut bytes));
    bytes
}

/// A call of a callback.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// Offset and width in bytes.
    Read(u64, u64),
    /// Offset, width in bytes, value.
    Write(u64, u64, u64),
}

/// 256 bytes of registers in one byte order, with a record of the calls.
pub struct Recorder {
    order: ByteOrder,
    pub bytes: [AtomicU8; 256],
    calls: Mutex<Vec<Call>>,
    attrs: Mutex<Vec<TxAttrs>>,
    /// Offsets from here on answer with an error.
    pub faulty_from: Mutex<u64>,
}

impl Recorder {
    pub fn new(order: ByteOrder, first: u8) -> Arc<Self> {
        let bytes = std::array::from_fn(|i| AtomicU8::new(first.wrapping_add(i as u8)));
        let faulty_from = Mutex::new(u64::MAX);
        Arc::new(Self { order, bytes, calls: Mutex::default(), attrs: Mutex::default(), faulty_from })
    }

    /// The calls since the last time.
    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    /// The attributes that came with them.
    pub fn attrs(&self) -> Vec<TxAttrs> {
        std::mem::take(&mut self.attrs.lock().unwrap())
    }

    fn note(&self, call: Call, offset: u64, attrs: TxAttrs) -> Result<(), BusFault> {
        self.calls.lock().unwrap().push(call);
        self.attrs.lock().unwrap().push(attrs);
        if offset >= *self.faulty_from.lock().unwrap() { Err(BusFault::ERROR) } else { Ok(()) }
    }
}

impl Mmio for Recorder {
    fn read(&self, offset: u64, width: Width, attrs: TxAttrs) -> Result<u64, BusFault> {
        self.note(Call::Read(offset, width.bytes()), offset, attrs)?;
        let at = |i| self.bytes[(offset + i) as usize % 256].load(Ordering::Relaxed);
        let bytes: Vec<u8> = (0..width.bytes()).map(at).collect();
        Ok(self.order.decode(&bytes))
    }

    fn write(&self, offset: u64, width: Width, value: u64, attrs: TxAttrs) -> Result<(), BusFault> {
        self.note(Call::Write(offset, width.bytes(), value), offset, attrs)?;
        let mut bytes = [0; 8];
        self.order.encode(value, &mut bytes[..width.len()]);
        for (i, byte) in bytes[..width.len()].iter().enumerate() {
            self.bytes[(offset as usize + i) % 256].store(*byte, Ordering::Relaxed);
        }
        Ok(())
    }
}
