//! The processor of a machine: its harts' lines, and the wires that lead to them.

use crate::file::{CpuSpec, CpuType};
use crate::rv64::{HartLines, Irq};
use crate::sync::Arc;
use devices::IrqInputs;

/// The processor of a machine, as the rest of the machine sees it.
#[derive(Debug)]
pub struct Cpu {
    /// Of RV64's harts.
    lines: Vec<Arc<HartLines>>,
}

impl Cpu {
    pub(crate) fn new(spec: &CpuSpec) -> Self {
        let harts = if spec.kind == CpuType::Rv64 { spec.harts } else { 0 };
        Self { lines: (0..harts).map(|_| Arc::new(HartLines::new())).collect() }
    }

    /// The lines of each hart of RV64; no other CPU has them.
    pub fn lines(&self) -> &[Arc<HartLines>] {
        &self.lines
    }

    /// The names of the groups of inputs, one input a hart each.
    pub const INPUTS: [&str; 5] = ["msip", "mtip", "ssip", "meip", "seip"];

    /// The inputs of one group.
    pub(crate) fn inputs(&self, group: &str) -> Option<IrqInputs> {
        if self.lines.is_empty() {
            return None;
        }
        let irq = match group {
            "msip" => Irq::MSIP,
            "mtip" => Irq::MTIP,
            "ssip" => Irq::SSIP,
            "meip" => Irq::MEIP,
            "seip" => Irq::SEIP,
            _ => return None,
        };
        let lines = self.lines.clone();
        let set = move |hart: u32, level| {
            if let Some(lines) = lines.get(hart as usize) {
                lines.set(irq, level);
            }
        };
        Some(IrqInputs::from_fn(u32::try_from(self.lines.len()).unwrap_or(u32::MAX), set))
    }
}
