//! The memory controller of the reference's PC: opens and closes the legacy VGA window, and switches the two banks of
//! video memory that show there.
//!
//! The window at 640 KiB of system memory is an alias of the PCI bus; there, at the same address, lies the legacy area
//! with two aliases of 32 KiB each of the video memory. A write to a register changes the map from inside
//! the device's own callback, all that it changes in one transaction: no vCPU ever sees half of it.

pub mod registers;

use crate::device::{Device, DeviceError, ResetType};
use crate::info::{DeviceInfo, Property};
use crate::inspect::Inspector;
use crate::realize::Realize;
use crate::sync::{Arc, AtomicBool, Mutex, MutexGuard, OnceLock, Ordering, PoisonError};
use memory_core::{AccessRules, BusFault, MemoryError, RamBlock, Region, TxAttrs, Width};
use registers::Registers;
use serde::{Deserialize, Serialize};

/// Where the window lies, in the PCI bus and by custom in system memory.
pub const WINDOW: u64 = 0xa_0000;
/// Bytes of the window and of the legacy area.
pub const WINDOW_SIZE: u64 = 0x2_0000;
/// Bytes of one bank.
pub const BANK_SIZE: u64 = 0x8000;
/// The sizes of video memory, powers of two, that the device can have: 2 banks to 1 GiB.
const VRAM_SIZES: std::ops::RangeInclusive<u64> = 2 * BANK_SIZE..=1 << 30;

/// The memory controller. Exports `window` (map it into system memory at [`WINDOW`], above RAM), `vga-area` (map it into
/// the PCI bus at [`WINDOW`]), `vram` and `regs` (BARs).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PcMemoryController {
    /// The region that the window looks at.
    #[serde(default = "default_pci")]
    pci: String,
    /// Bytes of video memory, a power of two.
    #[serde(default = "default_vram_size")]
    vram_size: u64,
    /// Lock order: before the writers' lock, so that the map always follows the registers.
    #[serde(default)]
    state: Mutex<Registers>,
    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    #[serde(skip)]
    warned: AtomicBool,
}

struct Wiring {
    window: Region,
    bank_low: Region,
    bank_high: Region,
    /// Held for their drop only.
    _exports: [Region; 3],
}

fn default_pci() -> String {
    "pci".to_owned()
}

fn default_vram_size() -> u64 {
    16 << 20
}

fn bank_offset(bank: u32) -> u64 {
    u64::from(bank) * BANK_SIZE
}

impl PcMemoryController {
    fn registers(&self) -> MutexGuard<'_, Registers> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the last bank, all ones.
    fn last_bank(&self) -> u32 {
        u32::try_from(self.vram_size / BANK_SIZE).unwrap_or(u32::MAX).saturating_sub(1)
    }

    /// Changes the registers, and the map with them. If the map cannot be changed both stay as they were.
    fn change(&self, change: impl FnOnce(&mut Registers)) -> Result<(), MemoryError> {
        let mut registers = self.registers();
        let mut new = *registers;
        change(&mut new);
        let new = new.masked(self.last_bank());
        if let Some(wiring) = self.wiring.get() {
            wiring.window.memory().transaction(|_| {
                wiring.window.set_enabled(new.window_open())?;
                wiring.bank_low.set_alias_offset(bank_offset(new.bank_low))?;
                wiring.bank_high.set_alias_offset(bank_offset(new.bank_high))
            })?;
        }
        *registers = new;
        Ok(())
    }

    fn read(&self, offset: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        let registers = *self.registers();
        let value = match offset {
            registers::ID => registers::ID_VALUE,
            registers::CONTROL => registers.control,
            registers::BANK_LOW => registers.bank_low,
            registers::BANK_HIGH => registers.bank_high,
            _ => {
                self.warn_unknown(offset, "read");
                0
            }
        };
        Ok(value.into())
    }

    fn write(&self, offset: u64, width: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        // the rules let only 32-bit accesses through
        let value = (value & width.mask()) as u32;
        let result = match offset {
            registers::ID => Ok(()),
            registers::CONTROL => self.change(|registers| registers.control = value),
            registers::BANK_LOW => self.change(|registers| registers.bank_low = value),
            registers::BANK_HIGH => self.change(|registers| registers.bank_high = value),
            _ => {
                self.warn_unknown(offset, "write");
                Ok(())
            }
        };
        result.map_err(|error| {
            tracing::warn!(%error, "the memory map stays as it was");
            BusFault::ERROR
        })
    }

    fn warn_unknown(&self, offset: u64, what: &str) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!("pc-memory-controller: {what} of offset {offset:#x}, where there is no register");
        }
    }
}

#[typetag::serde(name = "pc-memory-controller")]
impl Device for PcMemoryController {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        if !VRAM_SIZES.contains(&self.vram_size) || !self.vram_size.is_power_of_two() {
            return Err(DeviceError::Property {
                property: "vram-size",
                reason: format!(
                    "{:#x} bytes; it must be a power of two from {:#x} to {:#x}",
                    self.vram_size,
                    VRAM_SIZES.start(),
                    VRAM_SIZES.end()
                ),
            });
        }
        let pci = ctx.region("pci", &self.pci)?;
        // what a file says is not to be trusted
        let registers = {
            let mut registers = self.registers();
            *registers = registers.masked(self.last_bank());
            *registers
        };
        let owner = ctx.owner().clone();
        let window = ctx.memory().alias("vga-window", &pci, WINDOW, WINDOW_SIZE).owner(&owner).build()?;
        window.set_enabled(registers.window_open())?;
        ctx.export("window", &window);
        let area = ctx.container("vga-area", WINDOW_SIZE)?;
        let vram = ctx.ram("vram", RamBlock::anonymous(self.vram_size)?)?;
        let bank =
            |name, bank| ctx.memory().alias(name, &vram, bank_offset(bank), BANK_SIZE).owner(&owner).build();
        let bank_low = bank("vga-bank-low", registers.bank_low)?;
        let bank_high = bank("vga-bank-high", registers.bank_high)?;
        area.map(0, &bank_low)?;
        area.map(BANK_SIZE, &bank_high)?;
        let rules = AccessRules::new().valid(Width::W4..=Width::W4).implements(Width::W4..=Width::W4);
        let callbacks = memory_core::Methods::new(&self, Self::read, Self::write);
        let regs = ctx.memory().mmio("vga-mmio", registers::SIZE, rules, callbacks).owner(&owner).build()?;
        ctx.export("regs", &regs);
        let wiring = Wiring { window, bank_low, bank_high, _exports: [area, vram, regs] };
        // a device is realised once
        let _ = self.wiring.set(wiring);
        Ok(())
    }

    fn reset(&self, _: ResetType) {
        if let Err(error) = self.change(|registers| *registers = Registers::default()) {
            tracing::error!(%error, "the VGA window cannot be reset");
        }
    }

    fn inspect(&self, out: &mut Inspector) {
        let registers = *self.registers();
        out.field("window", if registers.window_open() { "open" } else { "closed" });
        out.field("bank-low", registers.bank_low).field("bank-high", registers.bank_high);
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "pc-memory-controller",
        about: "VGA window, its two banks of video memory, and the registers that switch them",
        properties: &[
            Property {
                name: "pci",
                kind: "region",
                default: Some("pci"),
                about: "the region that the window looks at",
            },
            Property {
                name: "vram-size",
                kind: "size",
                default: Some("16M"),
                about: "bytes of video memory, a power of two from 64 KiB to 1 GiB",
            },
        ],
        example: "{}",
    }
}

#[cfg(test)]
mod tests;
