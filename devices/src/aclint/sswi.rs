//! Supervisor software interrupts.

use super::registers::{IRQ_S_SOFTWARE, MAX_HARTS, SOFTWARE_INTERRUPT, SSWI_SIZE};
use super::{Reserved, harts_interrupts};
use crate::sync::{Arc, Mutex, OnceLock, PoisonError};
use crate::{Device, DeviceError, DeviceInfo, FdtNode, FdtPlace, FdtValue, IrqLine, Realize, ResetType};
use memory_core::{AccessRules, BusFault, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};

/// ACLINT's SSWI: writing 1 to a hart's `setssip` makes its supervisor software interrupt pending.
///
/// It is an edge: the line `ssip` goes high and low again, and the hart keeps the bit `SSIP` of its `mip` until software
/// there clears it. So the device has no state of its own.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sswi {
    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    #[serde(skip)]
    reserved: Reserved,
}

#[derive(Debug)]
struct Wiring {
    /// Held for a whole pulse: one that began inside another's would not be seen as an edge of its own.
    lines: Mutex<Vec<IrqLine>>,
    _regs: Region,
}

impl Sswi {
    fn pulse(&self, offset: u64, value: u64) -> Option<()> {
        let hart = usize::try_from(offset / 4).ok().filter(|hart| *hart < MAX_HARTS)?;
        let lines = self.wiring.get()?.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.get(hart)?;
        if value & SOFTWARE_INTERRUPT != 0 {
            line.set(true);
            line.set(false);
        }
        Some(())
    }

    /// `setssip` always reads as 0.
    fn read(&self, _offset: u64, _width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        Ok(0)
    }

    fn write(&self, offset: u64, _width: Width, value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        if self.pulse(offset, value).is_none() {
            self.reserved.note("riscv-aclint-sswi", offset);
        }
        Ok(())
    }
}

#[typetag::serde(name = "riscv-aclint-sswi")]
impl Device for Sswi {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let rules = AccessRules::new().valid(Width::W4..=Width::W4).implements(Width::W4..=Width::W4);
        let regs = ctx.mmio("regs", SSWI_SIZE, rules, &self, (Self::read, Self::write))?;
        let harts = ctx.host().harts;
        let lines = Mutex::new(ctx.outputs("ssip", harts));
        let _ = self.wiring.set(Wiring { lines, _regs: regs });
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {}

    fn describe(&self, place: &FdtPlace<'_>) -> Vec<FdtNode> {
        let Some(regs) = place.region("regs") else { return Vec::new() };
        let node = FdtNode::new(format!("sswi@{:x}", regs.start()), &["riscv,aclint-sswi"]).reg(&[regs]);
        vec![
            node.with("interrupts-extended", harts_interrupts(place.harts, &[IRQ_S_SOFTWARE]))
                .with("interrupt-controller", FdtValue::Empty)
                .with("#interrupt-cells", FdtValue::u32(0))
                .target(),
        ]
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "riscv-aclint-sswi",
        about: "RISC-V ACLINT: supervisor software interrupts of all harts",
        properties: &[],
        example: "{}",
    }
}
