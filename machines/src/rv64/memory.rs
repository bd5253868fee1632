//! Loads, stores and fetches of the core: the short way to host memory, and the long one.

use memory_core::{HostPage, Width};

use super::bus::Bus;
use super::core::Core;
use super::mmu::Access;
use super::trap::Trap;
use crate::sync::Ordering;

/// Bytes of a page.
const PAGE: u64 = 4096;

/// Reads from plain memory; byte by byte where `addr` is unaligned. Does not cross the page.
#[inline(always)]
fn read(page: &HostPage, addr: u64, width: Width) -> u64 {
    let at = addr as usize;
    if !width.aligned(addr) {
        let byte = |i| u64::from(page.load_u8(at.wrapping_add(i), Ordering::Relaxed)) << (8 * i);
        return (0..width.len()).map(byte).sum();
    }
    match width {
        Width::W1 => page.load_u8(at, Ordering::Relaxed).into(),
        Width::W2 => page.load_u16(at, Ordering::Relaxed).into(),
        Width::W4 => page.load_u32(at, Ordering::Relaxed).into(),
        Width::W8 => page.load_u64(at, Ordering::Relaxed),
    }
}

/// Writes to plain memory, as [`read`] reads.
#[inline(always)]
fn write(page: &HostPage, addr: u64, width: Width, value: u64) {
    let at = addr as usize;
    if !width.aligned(addr) {
        for i in 0..width.len() {
            page.store_u8(at.wrapping_add(i), (value >> (8 * i)) as u8, Ordering::Relaxed);
        }
        return;
    }
    match width {
        Width::W1 => page.store_u8(at, value as u8, Ordering::Relaxed),
        Width::W2 => page.store_u16(at, value as u16, Ordering::Relaxed),
        Width::W4 => page.store_u32(at, value as u32, Ordering::Relaxed),
        Width::W8 => page.store_u64(at, value, Ordering::Relaxed),
    }
}

/// Does an access cross into the next page?
fn crosses(addr: u64, width: Width) -> bool {
    (addr & (PAGE - 1)) + width.bytes() > PAGE
}

impl<B: Bus> Core<B> {
    /// Loads `width` bytes, zero-extended. The map was compared when the instruction began.
    #[inline(always)]
    pub(super) fn load(&mut self, addr: u64, width: Width) -> Result<u64, Trap> {
        match self.load.page(addr, width.bytes() - 1, self.data_context) {
            Some(page) => Ok(read(page, addr & !(width.bytes() - 1), width)),
            None => self.load_slow(addr, width),
        }
    }

    /// Stores the low `width` bytes of `value`.
    #[inline(always)]
    pub(super) fn store(&mut self, addr: u64, width: Width, value: u64) -> Result<(), Trap> {
        match self.store.page(addr, width.bytes() - 1, self.data_context) {
            Some(page) => {
                write(page, addr & !(width.bytes() - 1), width, value);
                Ok(())
            }
            None => self.store_slow(addr, width, value),
        }
    }

    #[cold]
    #[inline(never)]
    fn load_slow(&mut self, addr: u64, width: Width) -> Result<u64, Trap> {
        if crosses(addr, width) {
            let mut value = 0;
            for i in 0..width.bytes() {
                value |= self.load_in_page(addr.wrapping_add(i), Width::W1)? << (8 * i);
            }
            return Ok(value);
        }
        self.load_in_page(addr, width)
    }

    fn load_in_page(&mut self, addr: u64, width: Width) -> Result<u64, Trap> {
        let target = self.target(addr, width.bytes(), Access::Load)?;
        match target.page {
            Some(page) => Ok(read(&page, addr, width)),
            None => {
                self.limit = 0;
                self.bus.load(target.phys, width).map_err(|_| Access::Load.access_fault(addr))
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn store_slow(&mut self, addr: u64, width: Width, value: u64) -> Result<(), Trap> {
        if crosses(addr, width) {
            // Both pages are asked before anything is written, and a device, which may still refuse, is written
            // before memory, so that a fault leaves nothing behind.
            let bytes = (0..width.bytes()).map(|i| (addr.wrapping_add(i), value >> (8 * i)));
            for (at, _) in bytes.clone() {
                self.target(at, 1, Access::Store)?;
            }
            for memory in [false, true] {
                for (at, byte) in bytes.clone() {
                    if self.target(at, 1, Access::Store)?.page.is_some() == memory {
                        self.store_in_page(at, Width::W1, byte)?;
                    }
                }
            }
            return Ok(());
        }
        self.store_in_page(addr, width, value)
    }

    fn store_in_page(&mut self, addr: u64, width: Width, value: u64) -> Result<(), Trap> {
        let target = self.target(addr, width.bytes(), Access::Store)?;
        match target.page {
            Some(page) => {
                write(&page, addr, width, value);
                Ok(())
            }
            None => {
                self.limit = 0;
                let masked = value & width.mask();
                self.bus.store(target.phys, width, masked).map_err(|_| Access::Store.access_fault(addr))
            }
        }
    }

    /// Fetches the two bytes at `addr`, which is even: from memory, or from a device.
    pub(super) fn fetch_parcel(&mut self, addr: u64) -> Result<u16, Trap> {
        let target = self.target(addr, 2, Access::Fetch)?;
        match target.page {
            Some(page) => Ok(page.load_u16(addr as usize, Ordering::Relaxed)),
            None => {
                self.limit = 0;
                let parcel = self.bus.load(target.phys, Width::W2);
                parcel.map(|value| value as u16).map_err(|_| Access::Fetch.access_fault(addr))
            }
        }
    }
}
