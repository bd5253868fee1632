//! The processor of a machine: its harts' lines, and the wires that lead to them.

use crate::file::CpuSpec;
use crate::rv64::{HartLines, Irq};
use crate::sync::Arc;
use devices::IrqInputs;

/// The harts of a machine, as the rest of the machine sees them.
#[derive(Debug)]
pub struct Cpu {
    lines: Vec<Arc<HartLines>>,
}

impl Cpu {
    pub(crate) fn new(spec: &CpuSpec) -> Self {
        Self { lines: (0..spec.harts).map(|_| Arc::new(HartLines::new())).collect() }
    }

    /// The lines of each hart.
    pub fn lines(&self) -> &[Arc<HartLines>] {
        &self.lines
    }

    /// The names of the groups of inputs, one input a hart each.
    pub const INPUTS: [&str; 5] = ["msip", "mtip", "ssip", "meip", "seip"];

    /// The inputs of one group.
    pub(crate) fn inputs(&self, group: &str) -> Option<IrqInputs> {
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
