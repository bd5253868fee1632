//! Machine software interrupts.

use super::msip::Msip;
use super::registers::{IRQ_M_SOFTWARE, MSWI_SIZE};
use super::{Reserved, harts_interrupts};
use crate::sync::{Arc, OnceLock};
use crate::{Device, DeviceError, DeviceInfo, FdtNode, FdtPlace, FdtValue, Inspector, Realize, ResetType};
use memory_core::{AccessRules, BusFault, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};

/// ACLINT's MSWI: a register per hart whose lowest bit is the level of the hart's machine software interrupt.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mswi {
    #[serde(default)]
    state: Msip,
    #[serde(skip)]
    regs: OnceLock<Region>,
    #[serde(skip)]
    reserved: Reserved,
}

impl Mswi {
    fn read(&self, offset: u64, _width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.state.read(offset).unwrap_or_else(|| {
            self.reserved.note("riscv-aclint-mswi", offset);
            0
        }))
    }

    fn write(&self, offset: u64, _width: Width, value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        if self.state.write(offset, value).is_none() {
            self.reserved.note("riscv-aclint-mswi", offset);
        }
        Ok(())
    }
}

#[typetag::serde(name = "riscv-aclint-mswi")]
impl Device for Mswi {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let rules = AccessRules::new().valid(Width::W4..=Width::W4).implements(Width::W4..=Width::W4);
        let regs = ctx.mmio("regs", MSWI_SIZE, rules, &self, (Self::read, Self::write))?;
        let _ = self.regs.set(regs);
        self.state.realize(ctx);
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        self.state.reset();
    }

    fn inspect(&self, out: &mut Inspector) {
        out.field("msip", format_args!("{:?}", self.state.pending()));
    }

    fn describe(&self, place: &FdtPlace<'_>) -> Vec<FdtNode> {
        let Some(regs) = place.region("regs") else { return Vec::new() };
        let node = FdtNode::new(format!("mswi@{:x}", regs.start()), &["riscv,aclint-mswi"]).reg(&[regs]);
        vec![
            node.with("interrupts-extended", harts_interrupts(place.harts, &[IRQ_M_SOFTWARE]))
                .with("interrupt-controller", FdtValue::Empty)
                .with("#interrupt-cells", FdtValue::u32(0))
                .target(),
        ]
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "riscv-aclint-mswi",
        about: "RISC-V ACLINT: machine software interrupts of all harts",
        properties: &[],
        example: "{}",
    }
}
