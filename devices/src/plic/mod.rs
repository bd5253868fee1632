//! The PLIC: a controller that hands devices' interrupts to harts.

mod registers;
mod state;
#[cfg(test)]
mod tests;

use crate::sync::{Arc, AtomicBool, Mutex, MutexGuard, OnceLock, Ordering, PoisonError};
use crate::{Cell, Device, DeviceError, DeviceInfo, FdtNode, FdtPlace, FdtValue, Inspector, IrqLine};
use crate::{Property, Realize, ResetType};
use memory_core::{AccessRules, BusFault, Region, TxAttrs, Width};
use registers::{
    CONTEXT_STRIDE, CONTEXTS, IRQ_M_EXTERNAL, IRQ_S_EXTERNAL, MAX_CONTEXTS, MAX_SOURCES, Register,
};
use serde::{Deserialize, Serialize};
use state::State;

/// A platform-level interrupt controller as the RISC-V PLIC specification 1.0.0 has it.
///
/// Inputs `irq` are levels; input *i* is source *i*, and input 0 is not used. Each hart has two contexts: context `2 *
/// hart` is its machine mode (output `meip`), the next one its supervisor mode (output `seip`).
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Plic {
    /// The highest source, 1 to 1023.
    #[serde(default = "default_sources")]
    sources: u32,
    /// Bits of priorities and thresholds, 1 to 32.
    #[serde(default = "default_priority_bits")]
    priority_bits: u32,
    /// Bytes of the region; it must have room for all contexts.
    #[serde(default = "default_size")]
    size: u64,
    /// Outputs are set with it held, so that they follow the state in order. Lock order: the lock of a device that sets
    /// an input, this one, those of the harts.
    #[serde(default)]
    state: Mutex<State>,
    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    /// Whether a strange access was logged; a guest must not fill the log.
    #[serde(skip)]
    logged: AtomicBool,
}

#[derive(Debug)]
struct Wiring {
    /// By context.
    outputs: Vec<IrqLine>,
    _regs: Region,
}

const fn default_sources() -> u32 {
    95
}

const fn default_priority_bits() -> u32 {
    3
}

const fn default_size() -> u64 {
    0x60_0000
}

impl Plic {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, contexts: u64) -> Result<(), DeviceError> {
        let refuse = |property, reason| Err(DeviceError::Property { property, reason });
        if !(1..=MAX_SOURCES).contains(&self.sources) {
            return refuse("sources", format!("{} is not 1 to {MAX_SOURCES}", self.sources));
        }
        if !(1..=u32::BITS).contains(&self.priority_bits) {
            return refuse("priority-bits", format!("{} is not 1 to {}", self.priority_bits, u32::BITS));
        }
        if contexts > MAX_CONTEXTS.into() {
            return refuse("size", format!("{contexts} contexts are needed, a PLIC has {MAX_CONTEXTS}"));
        }
        let wanted = CONTEXTS + CONTEXT_STRIDE * contexts;
        if self.size < wanted {
            return refuse(
                "size",
                format!("{contexts} contexts need {wanted:#x} bytes, not {:#x}", self.size),
            );
        }
        Ok(())
    }

    /// Puts all outputs to what the state says.
    fn update(&self, state: &State) {
        let outputs = self.wiring.get().map_or(&[][..], |wiring| &wiring.outputs);
        for (context, output) in outputs.iter().enumerate() {
            output.set(state.interrupts(context));
        }
    }

    fn note(&self, offset: u64) {
        if !self.logged.swap(true, Ordering::Relaxed) {
            tracing::debug!(offset, "no such PLIC register: reads are 0, writes are ignored");
        }
    }

    fn set_input(&self, source: u32, level: bool) {
        let mut state = self.lock();
        state.set_line(source, level);
        self.update(&state);
    }

    fn read(&self, offset: u64, _width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        let mut state = self.lock();
        let value = Register::decode(offset).and_then(|register| match register {
            Register::Priority(source) => state.priority(source),
            Register::Pending(word) => state.pending(word),
            Register::Enables { context, word } => state.enables(context, word),
            Register::Threshold(context) => state.threshold(context),
            Register::ClaimComplete(context) => {
                let source = state.claim(context);
                self.update(&state);
                source
            }
        });
        if value.is_none() {
            self.note(offset);
        }
        Ok(value.unwrap_or_default().into())
    }

    fn write(&self, offset: u64, _width: Width, value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        let value = u32::try_from(value).unwrap_or_default();
        let mut state = self.lock();
        let written = Register::decode(offset).and_then(|register| match register {
            Register::Priority(source) => state.set_priority(source, value),
            // read only
            Register::Pending(_) => Some(()),
            Register::Enables { context, word } => state.set_enables(context, word, value),
            Register::Threshold(context) => state.set_threshold(context, value),
            Register::ClaimComplete(context) => state.complete(context, value),
        });
        match written {
            Some(()) => self.update(&state),
            None => self.note(offset),
        }
        Ok(())
    }
}

#[typetag::serde(name = "riscv-plic")]
impl Device for Plic {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let harts = ctx.host().harts;
        let contexts = 2 * u64::from(harts);
        self.check(contexts)?;
        let rules = AccessRules::new().valid(Width::W4..=Width::W4).implements(Width::W4..=Width::W4);
        let regs = ctx.mmio("regs", self.size, rules, &self, (Self::read, Self::write))?;
        let meip = ctx.outputs("meip", harts);
        let seip = ctx.outputs("seip", harts);
        ctx.inputs("irq", self.sources + 1, &self, Self::set_input);
        let outputs: Vec<_> = meip.into_iter().zip(seip).flat_map(|(meip, seip)| [meip, seip]).collect();
        let mut state = self.lock();
        state.fit(self.sources, u32::MAX >> (u32::BITS - self.priority_bits), outputs.len());
        let _ = self.wiring.set(Wiring { outputs, _regs: regs });
        self.update(&state);
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        let mut state = self.lock();
        state.reset();
        self.update(&state);
    }

    fn inspect(&self, out: &mut Inspector) {
        for (name, sources) in self.lock().sets() {
            out.field(name, format_args!("{sources:?}"));
        }
    }

    fn describe(&self, place: &FdtPlace<'_>) -> Vec<FdtNode> {
        let Some(regs) = place.region("regs") else { return Vec::new() };
        let of_hart = |hart: u32| {
            [IRQ_M_EXTERNAL, IRQ_S_EXTERNAL]
                .into_iter()
                .flat_map(move |number| [Cell::Phandle(format!("cpu{hart}")), Cell::Number(number)])
        };
        let node = FdtNode::new(format!("plic@{:x}", regs.start()), &["sifive,plic-1.0.0", "riscv,plic0"])
            .reg(&[regs]);
        vec![
            node.with("riscv,ndev", FdtValue::u32(self.sources))
                .with("interrupts-extended", FdtValue::Cells((0..place.harts).flat_map(of_hart).collect()))
                .with("interrupt-controller", FdtValue::Empty)
                .with("#interrupt-cells", FdtValue::u32(1))
                .with("#address-cells", FdtValue::u32(0))
                .target(),
        ]
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "riscv-plic",
        about: "RISC-V PLIC: hands devices' interrupts to the machine and supervisor modes of all harts",
        properties: &[
            Property {
                name: "sources",
                kind: "u32",
                default: Some("95"),
                about: "the highest interrupt source, 1 to 1023",
            },
            Property {
                name: "priority-bits",
                kind: "u32",
                default: Some("3"),
                about: "bits of priorities and thresholds, 1 to 32",
            },
            Property {
                name: "size",
                kind: "size",
                default: Some("0x600000"),
                about: "bytes of the block of registers: 0x200000, and 0x1000 for each of two contexts a hart",
            },
        ],
        example: "{}",
    }
}
