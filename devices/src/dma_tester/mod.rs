//! Two devices that copy memory by DMA, for tests of DMA itself: from device to device, into themselves, in circles.
//!
//! Both have the registers of [`registers`]. [`DmaTester`] guards its registers itself and holds no lock while it copies;
//! [`LockedDmaTester`] is written with `&mut self` and leaves locking to [`Locked`](memory_dispatch::Locked), which
//! carries its DMA out after unlocking.

mod locked;
pub mod registers;

pub use locked::LockedDmaTester;

use crate::device::{Device, DeviceError, ResetType};
use crate::dma::DmaPort;
use crate::info::{DeviceInfo, Property};
use crate::inspect::Inspector;
use crate::realize::Realize;
use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use memory_core::{AccessRules, BusFault, Region, TxAttrs, Width};
use registers::{Registers, Status};
use serde::{Deserialize, Serialize};

/// Copies memory by DMA inside the write that asks for it. Exports `regs`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DmaTester {
    /// Whether the device's DMA may reach the device's own registers.
    #[serde(default)]
    reentrant: bool,
    /// Not held while the device dispatches.
    #[serde(default)]
    state: Mutex<Registers>,
    #[serde(skip)]
    wiring: OnceLock<Wiring>,
}

struct Wiring {
    dma: DmaPort,
    /// Held for its drop only.
    _regs: Region,
}

/// Registers of 32 bits, which the bus may access in pairs.
fn rules() -> AccessRules {
    AccessRules::new().valid(Width::W4..=Width::W8).implements(Width::W4..=Width::W4)
}

/// Tells people what the registers say.
fn inspect(registers: &Registers, out: &mut Inspector) {
    out.register("src", registers.src).register("dst", registers.dst).register("len", registers.len.into());
    out.register("status", registers.status.into());
}

impl DmaTester {
    fn registers(&self) -> MutexGuard<'_, Registers> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, offset: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.registers().read(offset).into())
    }

    fn write(&self, offset: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        // the lock is given up at the end of the statement
        let copy = self.registers().write(offset, value as u32);
        if let (Some(copy), Some(wiring)) = (copy, self.wiring.get()) {
            let faults = copy_by_dma(&wiring.dma, copy);
            self.registers().finish(faults);
        }
        Ok(())
    }
}

fn copy_by_dma(dma: &DmaPort, copy: registers::Copy) -> Status {
    let mut bytes = vec![0; copy.len];
    if dma.read(copy.src, &mut bytes).is_err() {
        Status::READ_FAULT
    } else if dma.write(copy.dst, &bytes).is_err() {
        Status::WRITE_FAULT
    } else {
        Status::empty()
    }
}

#[typetag::serde(name = "dma-test")]
impl Device for DmaTester {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        {
            let mut registers = self.registers();
            *registers = registers.masked();
        }
        let mut rules = rules();
        if self.reentrant {
            rules = rules.allow_reentry("holds no lock while it copies");
        }
        let regs = ctx.mmio("regs", registers::SIZE, rules, &self, (Self::read, Self::write))?;
        // a device is realised once
        let _ = self.wiring.set(Wiring { dma: ctx.dma(), _regs: regs });
        Ok(())
    }

    fn reset(&self, _: ResetType) {
        *self.registers() = Registers::default();
    }

    fn inspect(&self, out: &mut Inspector) {
        inspect(&self.registers(), out);
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "dma-test",
        about: "copies memory by DMA, for tests",
        properties: &[Property {
            name: "reentrant",
            kind: "bool",
            default: Some("false"),
            about: "its DMA may reach its own registers, for tests of the re-entrancy guard",
        }],
        example: "{}",
    }
}

#[cfg(test)]
mod tests;
