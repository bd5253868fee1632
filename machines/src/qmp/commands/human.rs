//! `human-monitor-command`: what people type at QEMU's monitor.

mod dump;
mod tree;

use super::{Arguments, Outcome, QmpError, Then};
use crate::lifecycle::{Cause, RunState, Wish};
use crate::machine::Machine;
use crate::maps::{flat_map, tree_map};
use crate::sync::Arc;
use memory_flatview::print::PrintOptions;
use serde_json::json;

pub(super) fn human_monitor_command(
    machine: &Arc<Machine>,
    mut arguments: Arguments,
) -> Result<Outcome, QmpError> {
    let line = arguments.text("command-line")?;
    if let Some(cpu) = arguments.optional("cpu-index")
        && cpu.as_u64() != Some(0)
    {
        return Err(QmpError::generic("Parameter 'cpu-index' expects a CPU number"));
    }
    arguments.end()?;
    let mut words = line.split_ascii_whitespace();
    let Some(command) = words.next() else { return Ok(said("")) };
    let rest: Vec<&str> = words.collect();
    if matches!(command, "quit" | "q") {
        return Ok(Outcome::Then(json!(""), Then::Ask(Wish::Quit(Cause::HostQmpQuit))));
    }
    if let ("device_del", [id]) = (command, rest.as_slice()) {
        return Ok(match super::devices::delete(machine, id) {
            Ok(then) => Outcome::then(json!(""), then),
            Err(error) => said(&format!("Error: {}\n", error.desc())),
        });
    }
    Ok(said(&answer(machine, line.trim(), command, &rest)))
}

/// A text as it goes to a terminal.
fn said(text: &str) -> Outcome {
    Outcome::Value(json!(text.replace('\n', "\r\n")))
}

fn answer(machine: &Machine, line: &str, command: &str, rest: &[&str]) -> String {
    let unknown = |what: &str| format!("unknown command: '{what}'\n");
    let life = machine.lifecycle();
    // the format may stand right behind the command
    if let Some((name @ ("x" | "xp"), format)) = command.split_once('/').or(Some((command, ""))) {
        return dump::dump(machine, name, format, rest);
    }
    match (command, rest) {
        ("info", [what, options @ ..]) => {
            info(machine, what, options).unwrap_or_else(|| unknown(&format!("info {what}")))
        }
        ("info", []) | ("help" | "?", ["info"]) => HELP_INFO.to_owned(),
        ("help" | "?", []) => format!("{HELP_INFO}{HELP}"),
        ("stop" | "s", []) => {
            life.ask(Wish::Stop);
            String::new()
        }
        ("cont" | "c", []) => {
            life.ask(Wish::Continue);
            String::new()
        }
        ("system_reset", []) => {
            life.ask(Wish::Reset(Cause::HostQmpSystemReset));
            String::new()
        }
        _ => unknown(line),
    }
}

/// Each line begins with a command that programs can take from it, up to the second space.
const HELP_INFO: &str = "info mtree [-f][-d][-o][-D] -- show memory tree\n\
    info name -- show the machine's name\n\
    info pci -- show PCI info\n\
    info qtree -- show device tree\n\
    info status -- show the current VM status\n\
    info version -- show the version\n";

const HELP: &str = "cont|c -- resume emulation\n\
    device_del device -- remove device\n\
    quit|q -- quit the emulator\n\
    stop|s -- stop emulation\n\
    system_reset -- reset the system\n\
    x /fmt addr -- virtual memory dump starting at 'addr'\n\
    xp /fmt addr -- physical memory dump starting at 'addr'\n";

fn info(machine: &Machine, what: &str, options: &[&str]) -> Option<String> {
    let text = match what {
        "mtree" => mtree(machine, options),
        "qtree" => tree::qtree(machine),
        "status" => match machine.lifecycle().state() {
            RunState::Running => "VM status: running\n".to_owned(),
            RunState::Paused => "VM status: paused\n".to_owned(),
            other => format!("VM status: paused ({})\n", other.word()),
        },
        "pci" => super::pci::text(machine),
        "name" => format!("{}\n", machine.spec().name),
        "version" => format!("7.2.0 (Flatland {})\n", env!("CARGO_PKG_VERSION")),
        _ => return None,
    };
    Some(text)
}

fn mtree(machine: &Machine, options: &[&str]) -> String {
    let mut print = PrintOptions::default();
    let mut flat = false;
    for option in options {
        for letter in option.strip_prefix('-').unwrap_or("?").chars() {
            match letter {
                'f' => flat = true,
                'd' => (flat, print.dispatch) = (true, true),
                'o' => print.owners = true,
                'D' => print.disabled = true,
                _ => {
                    return format!(
                        "mtree: unsupported option {option}\nTry \"help info mtree\" for more information\n"
                    );
                }
            }
        }
    }
    let mut spaces = machine.spaces().to_vec();
    let others = machine.system().spaces();
    spaces.extend(
        others.into_iter().filter(|space| machine.spaces().iter().all(|known| !Arc::ptr_eq(known, space))),
    );
    let printed = if flat {
        flat_map(machine.memory(), &spaces, print).map(|map| map.to_string())
    } else {
        tree_map(machine.memory(), &spaces, print).map(|map| map.to_string())
    };
    printed.unwrap_or_else(|error| format!("{error}\n"))
}
