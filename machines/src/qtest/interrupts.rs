//! Commands about interrupt lines: watching those of a device, and setting its inputs.

use super::output::Output;
use super::words::{Refusal, Words, shown};
use crate::machine::{Machine, Plugged};
use crate::paths;
use crate::sync::{Arc, Mutex, PoisonError};
use devices::{IrqInput, IrqInputs, IrqLine};

/// Lines that a client is told of, at most, as many as QEMU has.
const MOST: usize = 256;

/// What the client was told of each line: it hears of changes only.
struct Told {
    levels: Mutex<[bool; MOST]>,
    out: Output,
}

impl Told {
    fn tell(&self, number: usize, level: bool) {
        // the lock is kept, so that two threads tell in the order in which they changed it
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = levels.get_mut(number) else { return };
        if std::mem::replace(before, level) != level {
            let change = if level { "raise" } else { "lower" };
            self.out.line(format_args!("IRQ {change} {number}"));
        }
    }
}

/// The lines that a client watches: those of one device, once and for all.
pub(super) struct Interrupts {
    told: Arc<Told>,
    watched: Option<(String, Direction)>,
}

/// Which lines of a device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

impl Interrupts {
    pub(super) fn new(out: Output) -> Self {
        Self { told: Arc::new(Told { levels: Mutex::new([false; MOST]), out }), watched: None }
    }

    /// A new client has heard of nothing.
    pub(super) fn forget_levels(&self) {
        self.told.levels.lock().unwrap_or_else(PoisonError::into_inner).fill(false);
    }

    /// `irq_intercept_in PATH` and `irq_intercept_out PATH [NAME]`.
    pub(super) fn intercept(
        &mut self,
        machine: &Machine,
        mut words: Words<'_>,
        direction: Direction,
    ) -> Result<(), Refusal> {
        let device = find(machine, words.word("path")?)?;
        let name = words.optional();
        words.end()?;
        if direction == Direction::In && name.is_some() {
            return Err("Interception of named in-GPIOs not yet supported".to_owned());
        }
        if let Some((watched, of)) = &self.watched {
            let is_same = *watched == device.name && *of == direction;
            return if is_same { Ok(()) } else { Err("IRQ intercept already enabled".to_owned()) };
        }
        let count = match direction {
            Direction::In => self.watch_inputs(&device),
            Direction::Out => self.watch_outputs(&device, name),
        };
        if count == 0 {
            return Err("No intercepts installed".to_owned());
        }
        self.watched = Some((device.name.clone(), direction));
        Ok(())
    }

    fn watch_inputs(&self, device: &Plugged) -> usize {
        let mut first = 0;
        for (_, inputs) in device.inputs() {
            let (told, base) = (self.told.clone(), first);
            if inputs.watch(move |index, level| told.tell(base + index as usize, level)) {
                first += inputs.count() as usize;
            }
        }
        first
    }

    /// Watches the group of outputs of that name, or all of them in their order.
    fn watch_outputs(&self, device: &Plugged, name: Option<&str>) -> usize {
        let name = name.filter(|name| *name != "sysbus-irq");
        let wanted = device.outputs().iter().filter(|output| name.is_none_or(|name| output.name == name));
        let lines: Vec<&IrqLine> = wanted.flat_map(|output| &output.lines).take(MOST).collect();
        for (number, line) in lines.iter().enumerate() {
            let told = self.told.clone();
            line.watch(IrqInput::new(move |level| told.tell(number, level)));
        }
        lines.len()
    }
}

/// `set_irq_in PATH NAME NUMBER LEVEL`.
pub(super) fn set_input(machine: &Machine, mut words: Words<'_>) -> Result<(), Refusal> {
    let device = find(machine, words.word("path")?)?;
    let name = words.word("name of inputs")?;
    let number = words.number("number")?;
    let level = words.number("level")?;
    words.end()?;
    let unnamed = name == "unnamed-gpio-in";
    let groups = device.inputs().iter();
    let group = groups.filter(|(group, _)| unnamed || group == name).map(|(_, inputs)| inputs).next();
    let input =
        group.zip(u32::try_from(number).ok()).and_then(|(group, number)| IrqInputs::input(group, number));
    let input = input.ok_or_else(|| format!("`{}` has no input {} {number}", device.name, shown(name)))?;
    input.set(level != 0);
    Ok(())
}

fn find(machine: &Machine, path: &str) -> Result<Arc<Plugged>, Refusal> {
    paths::find_device(machine, path).ok_or_else(|| "Unknown device".to_owned())
}
