//! A hart's bus: an address space, through the hart's own handle.

use crate::rv64::Bus;
use memory_core::{BusFault, HostPage, PAGE_SIZE, TxAttrs, Width};
use memory_dispatch::VcpuHandle;

/// An address space as one hart sees it.
#[derive(Debug)]
pub struct SpaceBus {
    handle: VcpuHandle,
}

impl SpaceBus {
    /// A bus over `handle`, whose kick must reach the hart.
    pub fn new(handle: VcpuHandle) -> Self {
        Self { handle }
    }
}

impl Bus for SpaceBus {
    #[inline]
    fn load(&mut self, addr: u64, width: Width) -> Result<u64, BusFault> {
        self.handle.load(addr, width, TxAttrs::default())
    }

    #[inline]
    fn store(&mut self, addr: u64, width: Width, value: u64) -> Result<(), BusFault> {
        self.handle.store(addr, width, value, TxAttrs::default())
    }

    fn compare_exchange(
        &mut self,
        addr: u64,
        width: Width,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, BusFault> {
        self.handle.compare_exchange(addr, width, current, new, TxAttrs::default())
    }

    fn page(&mut self, addr: u64, write: bool) -> Option<HostPage> {
        self.handle.page(addr & !(PAGE_SIZE as u64 - 1), write)
    }

    #[inline]
    fn generation(&self) -> u64 {
        self.handle.generation()
    }

    fn park(&mut self) {
        self.handle.park();
    }

    fn unpark(&mut self) {
        // the next access takes the published view by itself
    }
}
