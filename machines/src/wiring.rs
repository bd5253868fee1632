//! Leading interrupt outputs to inputs, as a machine file's `wire` says.

use crate::cpu::{Cpu, InterruptPin};
use crate::file::{DeviceSpec, FileError, MachineSpec, WireEnd, WireSpec, WireTarget};
use crate::plugged::Plugged;
use crate::sync::Arc;
use devices::{Interrupt, InterruptController, IrqInput, IrqInputs, IrqLine};

/// Connects every wire of the machine. A single target of a group of outputs stands for consecutive inputs from there
/// on: output 0 leads to it, output 1 to the one after, as one of a hart's each.
pub(crate) fn connect(
    spec: &MachineSpec,
    devices: &[Arc<Plugged>],
    cpu: Option<&Cpu>,
) -> Result<(), FileError> {
    spec.devices
        .iter()
        .zip(devices)
        .try_for_each(|(said, plugged)| lines_of(said, plugged, devices, cpu).map(Lines::connect))
}

/// Lines of a device, with where they are to lead.
#[derive(Default)]
pub(crate) struct Lines {
    lines: Vec<(IrqLine, IrqInput)>,
    /// The processor's pin that one of them leads to, and whom it is to ask: the device.
    controller: Option<(Arc<InterruptPin>, Arc<dyn InterruptController>)>,
}

impl Lines {
    /// Leads them there, which cannot fail. Inputs hear of lines that are high.
    pub(crate) fn connect(self) {
        // before its line, which may be high
        if let Some((pin, controller)) = &self.controller {
            pin.set_controller(controller);
        }
        for (line, input) in self.lines {
            line.connect(input);
        }
    }
}

/// Where the lines of one device are to lead, which leads nowhere yet.
pub(crate) fn lines_of(
    said: &DeviceSpec,
    plugged: &Plugged,
    devices: &[Arc<Plugged>],
    cpu: Option<&Cpu>,
) -> Result<Lines, FileError> {
    let mut lines = Lines::default();
    for (number, wire) in said.wires.iter().enumerate() {
        if said.wires.iter().take(number).any(|before| before.output == wire.output) {
            let message = format!("output `{}` leads somewhere already", wire.output);
            return Err(wire.origin.error("", message));
        }
        lines.lines.append(&mut lines_of_wire(wire, plugged, devices, cpu)?);
        if let Some(pin) = pin_of(wire, cpu) {
            let device = plugged.device().and_then(|device| device.interrupt_controller());
            let controller = device.ok_or_else(|| {
                let message = format!("`{}` is no interrupt controller, which `intr` asks", plugged.name);
                wire.origin.error("", message)
            })?;
            lines.controller = Some((pin.clone(), controller));
        }
    }
    Ok(lines)
}

fn lines_of_wire(
    wire: &WireSpec,
    plugged: &Plugged,
    devices: &[Arc<Plugged>],
    cpu: Option<&Cpu>,
) -> Result<Vec<(IrqLine, IrqInput)>, FileError> {
    let refuse = |message: String| wire.origin.error("", message);
    let Some(output) = plugged.outputs().iter().find(|output| output.name == wire.output) else {
        let known: Vec<_> = plugged.outputs().iter().map(|output| output.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(refuse(format!("`{}` has no output `{}`; outputs: {known}", plugged.name, wire.output)));
    };
    if wire.targets.len() > output.lines.len() {
        let (targets, lines) = (wire.targets.len(), output.lines.len());
        return Err(refuse(format!("{targets} targets for {lines} outputs `{}`", wire.output)));
    }
    let mut lines = Vec::new();
    for (number, line) in output.lines.iter().enumerate() {
        let Some((target, index)) = target_of(wire, number) else { continue };
        let input =
            with_inputs(target, devices, cpu, |inputs| inputs.input(index)).flatten().ok_or_else(|| {
                let message = with_inputs(target, devices, cpu, |inputs| inputs.count()).map_or_else(
                    || format!("`{target}` is no input of the machine"),
                    |count| format!("`{target}` has {count} inputs, there is no number {index}"),
                );
                refuse(message)
            })?;
        lines.push((line.clone(), input));
    }
    Ok(lines)
}

/// The pin of the processor that the wire leads to, if it does.
fn pin_of<'a>(wire: &WireSpec, cpu: Option<&'a Cpu>) -> Option<&'a Arc<InterruptPin>> {
    let pin = cpu?.interrupt_pin()?;
    wire.targets.iter().any(|target| target.end == WireEnd::Cpu).then_some(pin)
}

/// Where output `number` of a group leads: which target, and which input of it.
fn target_of(wire: &WireSpec, number: usize) -> Option<(&WireTarget, u32)> {
    match wire.targets.as_slice() {
        [only] => Some((only, only.index.checked_add(u32::try_from(number).ok()?)?)),
        many => many.get(number).map(|target| (target, target.index)),
    }
}

fn with_inputs<R>(
    target: &WireTarget,
    devices: &[Arc<Plugged>],
    cpu: Option<&Cpu>,
    look: impl FnOnce(&IrqInputs) -> R,
) -> Option<R> {
    let group = target.group.as_deref();
    match &target.end {
        WireEnd::Cpu => cpu?.inputs(group?).map(|inputs| look(&inputs)),
        WireEnd::Device(name) => {
            devices.iter().find(|device| device.name == *name)?.input_group(group).map(look)
        }
    }
}

/// Where the outputs of a device lead that lead to another device: name, number, where to.
pub(crate) fn interrupts(spec: &MachineSpec, plugged: &Plugged) -> Vec<(String, u32, Interrupt)> {
    let mut found = Vec::new();
    let wires = spec.device(&plugged.name).map_or(&[][..], |said| &said.wires);
    for wire in wires {
        let count =
            plugged.outputs().iter().find(|output| output.name == wire.output).map_or(0, |o| o.lines.len());
        for number in 0..count {
            if let Some((target, index)) = target_of(wire, number)
                && let (WireEnd::Device(controller), Ok(number)) = (&target.end, u32::try_from(number))
            {
                let to = Interrupt { controller: controller.clone(), number: index };
                found.push((wire.output.clone(), number, to));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::file::MachineSpec;
    use crate::machine::Machine;
    use devices::{Clock, Console, Host};

    #[test]
    fn what_is_no_interrupt_controller_does_not_lead_to_the_interrupt_pin() {
        let mini = include_str!("../catalog/x86-mini.toml");
        let build = |device: &str| {
            let spec = MachineSpec::from_toml("mini.toml", &format!("{mini}\n[[device]]\n{device}")).unwrap();
            Machine::build(spec, Host::new(Clock::stepped(), Console::new(std::io::sink())))
        };
        let error = build("type = \"isa-pit\"\nname = \"pit\"\nwire = { irq = \"cpu:intr\" }").unwrap_err();
        assert!(error.to_string().contains("`pit` is no interrupt controller"), "{error}");
        build("type = \"i8259\"\nname = \"pic\"\nwire = { intr = \"cpu:intr\" }").unwrap();
    }
}
