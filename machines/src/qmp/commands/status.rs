//! Commands about the machine as a whole.

use super::{Arguments, Outcome, QmpError, Then};
use crate::file::CpuType;
use crate::lifecycle::{Cause, PanicAction, RebootAction, RunState, ShutdownAction, WatchdogAction, Wish};
use crate::machine::Machine;
use crate::paths::UNATTACHED;
use crate::sync::Arc;
use memory_core::Size;
use serde_json::json;

pub(super) fn query_status(machine: &Arc<Machine>, arguments: Arguments) -> Result<Outcome, QmpError> {
    arguments.end()?;
    let state = machine.lifecycle().state();
    let running = state == RunState::Running;
    Ok(Outcome::Value(json!({ "running": running, "singlestep": false, "status": state.word() })))
}

pub(super) fn query_name(machine: &Arc<Machine>, arguments: Arguments) -> Result<Outcome, QmpError> {
    arguments.end()?;
    Ok(Outcome::Value(json!({ "name": machine.spec().name })))
}

/// What the machine's memory is, with what is plugged in.
pub(super) fn query_memory_size_summary(
    machine: &Arc<Machine>,
    arguments: Arguments,
) -> Result<Outcome, QmpError> {
    arguments.end()?;
    let spec = machine.spec();
    let base = spec.memory.unwrap_or(Size::ZERO).bytes();
    let modules = spec.devices.iter().filter(|said| said.type_name == "dimm");
    let plugged = modules.filter_map(|said| machine.device(&said.name)?.exports().first().cloned());
    let plugged: u128 = plugged.filter_map(|export| export.region.size().ok()).map(Size::bytes).sum();
    Ok(Outcome::Value(json!({ "base-memory": fits(base), "plugged-memory": fits(plugged) })))
}

fn fits(bytes: u128) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn asked(machine: &Arc<Machine>, arguments: Arguments, wish: Wish) -> Result<Outcome, QmpError> {
    arguments.end()?;
    machine.lifecycle().ask(wish);
    Ok(Outcome::done())
}

pub(super) fn stop(machine: &Arc<Machine>, arguments: Arguments) -> Result<Outcome, QmpError> {
    asked(machine, arguments, Wish::Stop)
}

pub(super) fn cont(machine: &Arc<Machine>, arguments: Arguments) -> Result<Outcome, QmpError> {
    if machine.lifecycle().state() == RunState::Shutdown {
        return Err(QmpError::generic("Resetting the Virtual Machine is required"));
    }
    asked(machine, arguments, Wish::Continue)
}

pub(super) fn system_reset(machine: &Arc<Machine>, arguments: Arguments) -> Result<Outcome, QmpError> {
    asked(machine, arguments, Wish::Reset(Cause::HostQmpSystemReset))
}

pub(super) fn system_powerdown(machine: &Arc<Machine>, arguments: Arguments) -> Result<Outcome, QmpError> {
    asked(machine, arguments, Wish::Powerdown)
}

pub(super) fn quit(_: &Arc<Machine>, arguments: Arguments) -> Result<Outcome, QmpError> {
    arguments.end()?;
    Ok(Outcome::Then(json!({}), Then::Ask(Wish::Quit(Cause::HostQmpQuit))))
}

pub(super) fn watchdog_set_action(
    machine: &Arc<Machine>,
    mut arguments: Arguments,
) -> Result<Outcome, QmpError> {
    let action = arguments.optional_word("action", WatchdogAction::from_word)?;
    let action = action.ok_or_else(|| QmpError::generic("Parameter 'action' is missing"))?;
    arguments.end()?;
    machine.lifecycle().change_actions(|actions| actions.watchdog = action);
    Ok(Outcome::done())
}

pub(super) fn set_action(machine: &Arc<Machine>, mut arguments: Arguments) -> Result<Outcome, QmpError> {
    let reboot = arguments.optional_word("reboot", RebootAction::from_word)?;
    let shutdown = arguments.optional_word("shutdown", ShutdownAction::from_word)?;
    let panic = arguments.optional_word("panic", PanicAction::from_word)?;
    let watchdog = arguments.optional_word("watchdog", WatchdogAction::from_word)?;
    arguments.end()?;
    machine.lifecycle().change_actions(|actions| {
        actions.reboot = reboot.unwrap_or(actions.reboot);
        actions.shutdown = shutdown.unwrap_or(actions.shutdown);
        actions.panic = panic.unwrap_or(actions.panic);
        actions.watchdog = watchdog.unwrap_or(actions.watchdog);
    });
    Ok(Outcome::done())
}

/// The processors. One that nobody runs has the thread of the process.
pub(super) fn query_cpus_fast(machine: &Arc<Machine>, arguments: Arguments) -> Result<Outcome, QmpError> {
    arguments.end()?;
    let spec = machine.spec();
    let Some(cpu) = &spec.cpu else { return Ok(Outcome::Value(json!([]))) };
    let target = match cpu.kind {
        CpuType::Rv64 => "riscv64",
        CpuType::X86_64 => "x86_64",
    };
    let one = |index: u32| {
        json!({
            "cpu-index": index,
            "qom-path": format!("{UNATTACHED}/device[{index}]"),
            "thread-id": std::process::id(),
            "target": target,
        })
    };
    Ok(Outcome::Value((0..cpu.harts).map(one).collect()))
}
