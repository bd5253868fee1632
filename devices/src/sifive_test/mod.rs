//! The SiFive test finisher: one register through which a guest ends or resets the machine.

mod registers;
#[cfg(test)]
mod tests;

use crate::sync::{Arc, AtomicBool, OnceLock, Ordering};
use crate::{Device, DeviceError, DeviceInfo, FdtNode, FdtPlace, FdtValue};
use crate::{Power, PowerRequest, Realize, ResetType};
use memory_core::{AccessRules, BusFault, Region, TxAttrs, Width};
use registers::{FINISHER, FINISHER_FAIL, FINISHER_PASS, FINISHER_RESET, SIZE};
use serde::{Deserialize, Serialize};

/// A finisher, compatible with SiFive's `sifive,test1`. It has no state: whatever is written acts at once.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Finisher {
    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    /// Whether a strange value was logged; a guest must not fill the log.
    #[serde(skip)]
    logged: AtomicBool,
}

#[derive(Debug)]
struct Wiring {
    power: Power,
    _regs: Region,
}

impl Finisher {
    /// The register reads as 0, as does the rest of the page.
    fn read(&self, _offset: u64, _width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        Ok(0)
    }

    fn write(&self, offset: u64, _width: Width, value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        let (status, code) = (value & 0xffff, value >> 16);
        let request = match (offset, status) {
            (FINISHER, FINISHER_PASS) => PowerRequest::Off { code: 0 },
            // the host's exit codes have 8 bits, and no failure may look like success
            (FINISHER, FINISHER_FAIL) => {
                PowerRequest::Off { code: u8::try_from(code).unwrap_or(u8::MAX).max(1) }
            }
            (FINISHER, FINISHER_RESET) => PowerRequest::Reset,
            _ => {
                if !self.logged.swap(true, Ordering::Relaxed) {
                    tracing::warn!(offset, value, "the finisher ignores a write that it does not know");
                }
                return Ok(());
            }
        };
        if let Some(wiring) = self.wiring.get() {
            wiring.power.request(request);
        }
        Ok(())
    }
}

#[typetag::serde(name = "sifive-test")]
impl Device for Finisher {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let rules = AccessRules::new().valid(Width::W2..=Width::W4).implements(Width::W4..=Width::W4);
        let regs = ctx.mmio("regs", SIZE, rules, &self, (Self::read, Self::write))?;
        let _ = self.wiring.set(Wiring { power: ctx.host().power.clone(), _regs: regs });
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {}

    /// The finisher as a system controller, and at the root what lets a kernel use it as such: `poweroff` and `reboot`.
    fn describe(&self, place: &FdtPlace<'_>) -> Vec<FdtNode> {
        let Some(regs) = place.region("regs") else { return Vec::new() };
        let node =
            FdtNode::new(format!("test@{:x}", regs.start()), &["sifive,test1", "sifive,test0", "syscon"]);
        let syscon = |name: &str, compatible: &str, value: u64| {
            FdtNode::new(name, &[compatible])
                .with("regmap", FdtValue::phandle(place.name))
                .with("offset", FdtValue::u32(0))
                .with("value", FdtValue::u32(u32::try_from(value).unwrap_or_default()))
                .root()
        };
        vec![
            node.reg(&[regs]).target(),
            syscon("poweroff", "syscon-poweroff", FINISHER_PASS),
            syscon("reboot", "syscon-reboot", FINISHER_RESET),
        ]
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "sifive-test",
        about: "SiFive test finisher: a register that powers the machine off or resets it",
        properties: &[],
        example: "{}",
    }
}
