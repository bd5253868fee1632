//! The devices that stay: registers over RAM, a ROM device, a bell, and epochs.

use super::dice::mix;
use super::ledger::Ledger;
use memory_core::{BusFault, Mmio, TxAttrs, Width};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The width of most registers.
pub const W8: Width = Width::W8;

/// What the word at `offset` of a device with that canary reads as.
pub fn canary(device: u64, offset: u64) -> u64 {
    mix(device.wrapping_mul(0x1_0001)) ^ offset
}

/// The canary of the registers over RAM.
pub const VEIL: u64 = 0x76;
/// The canary of the ROM device's registers.
pub const FLASH: u64 = 0x77;
/// The canary of the ROM device's memory.
pub const FLASH_MEMORY: u64 = 0x78;
/// The canary of the bell.
pub const BELL: u64 = 0x79;

/// Registers that read as their canary, and count what is written.
#[derive(Debug)]
pub struct Registers {
    canary: u64,
    /// Writes so far.
    pub writes: AtomicU64,
}

impl Registers {
    /// Registers with that canary.
    pub fn new(canary: u64) -> Self {
        Self { canary, writes: AtomicU64::new(0) }
    }
}

impl Mmio for Registers {
    fn read(&self, offset: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(canary(self.canary, offset))
    }

    fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The bell's register that an event may be on.
pub const RING: u64 = 0x00;
/// The bell's register whose writes may be queued.
pub const POST: u64 = 0x40;
/// Bytes of the bell.
pub const BELL_SIZE: u64 = 0x100;

/// A device that counts who rings, and checks that what each worker posts comes once and in order.
#[derive(Debug)]
pub struct Bell {
    ledger: Arc<Ledger>,
    /// Writes to [`RING`] that came as callbacks.
    pub rung: AtomicU64,
    /// The last number that each worker posted.
    pub posted: Vec<AtomicU64>,
}

impl Bell {
    /// A bell for so many workers.
    pub fn new(ledger: Arc<Ledger>, workers: usize) -> Self {
        let posted = (0..workers).map(|_| AtomicU64::new(0)).collect();
        Self { ledger, rung: AtomicU64::new(0), posted }
    }

    fn post(&self, value: u64) {
        let (worker, number) = (value >> 48, value & 0xffff_ffff_ffff);
        let Some(last) = self.posted.get(worker as usize) else {
            return self.ledger.wrong(format_args!("nobody posts {value:#x}"));
        };
        let before = last.swap(number, Ordering::SeqCst);
        let next = before + 1 == number;
        self.ledger.check(next, || format!("worker {worker} posted {number} after {before}"));
    }
}

impl Mmio for Bell {
    fn read(&self, offset: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(canary(BELL, offset))
    }

    fn write(&self, offset: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        match offset {
            RING => {
                self.rung.fetch_add(1, Ordering::Relaxed);
            }
            POST => self.post(value),
            _ => self.ledger.wrong(format_args!("nobody writes the bell at {offset:#x}")),
        }
        Ok(())
    }
}

/// Two registers that read as a number, replaced together by others with the next number. Views alone hold it, so that
/// its destructor tells when the last reader has left the map.
#[derive(Debug)]
pub struct Epoch {
    number: u64,
    ledger: Arc<Ledger>,
    /// When the commit that replaced it returned.
    pub replaced: OnceLock<Instant>,
}

impl Epoch {
    /// Epoch `number`.
    pub fn new(number: u64, ledger: Arc<Ledger>) -> Self {
        ledger.epochs.come.fetch_add(1, Ordering::SeqCst);
        Self { number, ledger, replaced: OnceLock::new() }
    }
}

impl Mmio for Epoch {
    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.number)
    }

    fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
        Ok(())
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        self.ledger.epochs.gone.fetch_add(1, Ordering::SeqCst);
        if let Some(replaced) = self.replaced.get() {
            self.ledger.note_grace(replaced.elapsed());
        }
    }
}
