//! The processor of a machine: its inputs, and the wires that lead to them.

use crate::file::{CpuSpec, CpuType};
use crate::rv64::{HartLines, Irq};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use devices::{InterruptController, IrqInput, IrqInputs};
use std::fmt;

/// The processor of a machine, as the rest of the machine sees it.
#[derive(Debug)]
pub struct Cpu {
    /// Of RV64's harts.
    lines: Vec<Arc<HartLines>>,
    /// Of x86-64's first processor.
    pin: Option<Arc<InterruptPin>>,
}

impl Cpu {
    pub(crate) fn new(spec: &CpuSpec) -> Self {
        let harts = if spec.kind == CpuType::Rv64 { spec.harts } else { 0 };
        let lines = (0..harts).map(|_| Arc::new(HartLines::new())).collect();
        let pin = (spec.kind == CpuType::X86_64).then(Arc::default);
        Self { lines, pin }
    }

    /// The lines of each hart of RV64; no other CPU has them.
    pub fn lines(&self) -> &[Arc<HartLines>] {
        &self.lines
    }

    /// The interrupt pin of x86-64's first processor; no other CPU has it.
    pub fn interrupt_pin(&self) -> Option<&Arc<InterruptPin>> {
        self.pin.as_ref()
    }

    /// The names of the groups of inputs: those of RV64, one input a hart each, and [`Cpu::INTR`].
    pub const INPUTS: [&str; 6] = ["msip", "mtip", "ssip", "meip", "seip", Self::INTR];

    /// The input of x86-64's first processor, for an interrupt controller.
    pub const INTR: &str = "intr";

    /// The inputs of one group.
    pub(crate) fn inputs(&self, group: &str) -> Option<IrqInputs> {
        if let Some(pin) = &self.pin {
            let pin = pin.clone();
            return (group == Self::INTR).then(|| IrqInputs::from_fn(1, move |_, level| pin.set(level)));
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

/// What a processor reads that acknowledges an interrupt where no controller is.
const FLOATING: u8 = 0xff;

/// The interrupt pin of a processor, with the controller at it. It lives as long as the machine: what runs the processor may be
/// made anew at each reset, and follows it from then on.
///
/// A controller that the processor asks, itself, for the one that is at it at that time.
#[derive(Default)]
pub struct InterruptPin {
    /// Held while who follows is told, so that it hears of levels in order. Lock order: the controller's lock, this one, the
    /// processor's.
    state: Mutex<Pin>,
}

#[derive(Default)]
struct Pin {
    level: bool,
    controller: Option<Weak<dyn InterruptController>>,
    follower: Option<IrqInput>,
}

impl InterruptPin {
    fn lock(&self) -> MutexGuard<'_, Pin> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the level, as the line that leads to it does.
    fn set(&self, level: bool) {
        let mut pin = self.lock();
        pin.level = level;
        if let Some(follower) = &pin.follower {
            follower.set(level);
        }
    }

    /// Who says which interrupt it is, held weakly.
    pub fn set_controller(&self, controller: &Arc<dyn InterruptController>) {
        self.lock().controller = Some(Arc::downgrade(controller));
    }

    /// Has `follower`, and no longer the one before, hear of the level: as it is now, and of each change.
    pub fn lead_to(&self, follower: Option<IrqInput>) {
        let mut pin = self.lock();
        if let Some(follower) = &follower {
            follower.set(pin.level);
        }
        let before = std::mem::replace(&mut pin.follower, follower);
        // not under the lock: a processor may go with it
        drop(pin);
        drop(before);
    }
}

impl InterruptController for InterruptPin {
    fn acknowledge(&self) -> u8 {
        let controller = self.lock().controller.as_ref().and_then(Weak::upgrade);
        // with no lock held: it sets the pin
        controller.map_or(FLOATING, |controller| controller.acknowledge())
    }
}

impl fmt::Debug for InterruptPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InterruptPin").field("level", &self.lock().level).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Vector(u8);

    impl InterruptController for Vector {
        fn acknowledge(&self) -> u8 {
            self.0
        }
    }

    #[test]
    fn who_follows_the_interrupt_pin_hears_of_its_level_until_another_does() {
        let pin = InterruptPin::default();
        let seen = Arc::<Mutex<Vec<(u32, bool)>>>::default();
        let follow = |number: u32| {
            let log = seen.clone();
            pin.lead_to(Some(IrqInput::new(move |level| log.lock().unwrap().push((number, level)))));
        };
        pin.set(true);
        follow(1);
        pin.set(false);
        pin.set(true);
        follow(2);
        pin.set(false);
        pin.lead_to(None);
        pin.set(true);
        assert_eq!(*seen.lock().unwrap(), [(1, true), (1, false), (1, true), (2, true), (2, false)]);
    }

    #[test]
    fn the_interrupt_pin_asks_the_controller_that_is_there() {
        let pin = InterruptPin::default();
        assert_eq!(pin.acknowledge(), FLOATING);
        let controller: Arc<dyn InterruptController> = Arc::new(Vector(0x21));
        pin.set_controller(&controller);
        assert_eq!(pin.acknowledge(), 0x21);
        drop(controller);
        assert_eq!(pin.acknowledge(), FLOATING);
    }
}
