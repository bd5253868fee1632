//! A hart with some RAM and a device.

use machines::rv64::{Bus, Hart, HartLines};
use machines::vcpu::Vcpu;
use memory_core::{BusFault, HostPage, RamBlock, Width};
use std::sync::Arc;

/// Where RAM starts.
pub(super) const BASE: u64 = 0x8000_0000;
/// Bytes of RAM.
pub(super) const RAM: u64 = 0x8000;
/// A page of registers, which read as their offsets.
pub(super) const DEVICE: u64 = 0x1000_0000;

pub(super) struct RamBus {
    ram: Arc<RamBlock>,
    /// Moves when something else than the hart writes, so that it decodes anew.
    generation: u64,
}

impl Bus for RamBus {
    fn load(&mut self, addr: u64, _: Width) -> Result<u64, BusFault> {
        if addr & !0xfff == DEVICE { Ok(addr & 0xfff) } else { Err(BusFault::DECODE) }
    }

    fn store(&mut self, addr: u64, _: Width, _: u64) -> Result<(), BusFault> {
        if addr & !0xfff == DEVICE { Ok(()) } else { Err(BusFault::DECODE) }
    }

    fn compare_exchange(&mut self, _: u64, _: Width, _: u64, _: u64) -> Result<Result<u64, u64>, BusFault> {
        Err(BusFault::ACCESS)
    }

    fn page(&mut self, addr: u64, _: bool) -> Option<HostPage> {
        self.ram.page((addr & !0xfff).checked_sub(BASE)?)
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn park(&mut self) {}

    fn unpark(&mut self) {}
}

pub(super) struct Board {
    pub hart: Hart<RamBus>,
    pub lines: Arc<HartLines>,
    ram: Arc<RamBlock>,
}

impl Board {
    pub fn new() -> Self {
        let ram = RamBlock::anonymous(RAM).unwrap();
        let lines = Arc::new(HartLines::new());
        let bus = RamBus { ram: ram.clone(), generation: 0 };
        Self { hart: Hart::new(0, bus, lines.clone(), Arc::new(|| 777)), lines, ram }
    }

    /// Power-on; then trap vectors in RAM, and PMP open to all.
    pub fn boot(&mut self) {
        self.hart.set_boot(BASE, 0, 0);
        let vectors = [(0x305u32, BASE + 0x400), (0x105, BASE + 0x800)];
        for (csr, value) in vectors.into_iter().chain([(0x3b0, u64::MAX), (0x3a0, 0x1f)]) {
            self.hart.set_register(5, value);
            self.put(self.hart.pc(), &(csr << 20 | 5 << 15 | 1 << 12 | 0x73).to_le_bytes());
            self.hart.advance(1);
        }
    }

    /// Writes to RAM, as far as that is there.
    pub fn put(&mut self, address: u64, bytes: &[u8]) {
        let offset = address.wrapping_sub(BASE);
        let room = usize::try_from(RAM.saturating_sub(offset)).unwrap_or(0);
        let _ = self.ram.write(offset, &bytes[..bytes.len().min(room)]);
        self.hart.bus_mut().generation += 1;
    }

    pub fn registers(&self) -> Vec<u64> {
        (0..32).map(|number| self.hart.register(number)).collect()
    }

    pub fn memory(&self) -> Vec<u8> {
        let mut bytes = vec![0; RAM as usize];
        assert!(self.ram.read(0, &mut bytes));
        bytes
    }
}
