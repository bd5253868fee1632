//! The commands of QMP.

mod backends;
mod block;
mod devices;
mod human;
mod machines;
mod objects;
mod pci;
mod status;

use super::Then;
use super::arguments::Arguments;
use super::error::QmpError;
use super::version;
use crate::machine::Machine;
use crate::sync::Arc;
use serde_json::{Value, json};

/// What comes of a command.
pub(super) enum Outcome {
    /// What it returns.
    Value(Value),
    /// What it returns, and what is done afterwards.
    Then(Value, Then),
}

impl Outcome {
    /// What a command returns, and what is done afterwards, if anything is.
    fn then(value: Value, then: Option<Then>) -> Self {
        match then {
            Some(then) => Self::Then(value, then),
            None => Self::Value(value),
        }
    }

    /// What a command returns that has nothing to return.
    pub(super) fn done() -> Self {
        Self::Value(json!({}))
    }
}

type Run = fn(&Arc<Machine>, Arguments) -> Result<Outcome, QmpError>;

/// The commands, but `qmp_capabilities`.
pub(super) const COMMANDS: &[(&str, Run)] = &[
    ("block_resize", block::block_resize),
    ("cont", status::cont),
    ("device-list-properties", devices::device_list_properties),
    ("device_add", devices::device_add),
    ("device_del", devices::device_del),
    ("human-monitor-command", human::human_monitor_command),
    ("object-add", backends::object_add),
    ("object-del", backends::object_del),
    ("qom-get", objects::qom_get),
    ("qom-list", objects::qom_list),
    ("qom-list-properties", devices::qom_list_properties),
    ("qom-list-types", devices::qom_list_types),
    ("qom-set", objects::qom_set),
    ("query-chardev", backends::query_chardev),
    ("query-commands", query_commands),
    ("query-cpus-fast", status::query_cpus_fast),
    ("query-machines", machines::query_machines),
    ("query-memory-size-summary", status::query_memory_size_summary),
    ("query-name", status::query_name),
    ("query-pci", pci::query_pci),
    ("query-status", status::query_status),
    ("query-version", query_version),
    ("quit", status::quit),
    ("set-action", status::set_action),
    ("stop", status::stop),
    ("system_powerdown", status::system_powerdown),
    ("system_reset", status::system_reset),
    ("watchdog-set-action", status::watchdog_set_action),
];

fn query_version(_: &Arc<Machine>, arguments: Arguments) -> Result<Outcome, QmpError> {
    arguments.end()?;
    Ok(Outcome::Value(version()))
}

fn query_commands(_: &Arc<Machine>, arguments: Arguments) -> Result<Outcome, QmpError> {
    arguments.end()?;
    let names = COMMANDS.iter().map(|(name, _)| *name).chain(["qmp_capabilities"]);
    Ok(Outcome::Value(names.map(|name| json!({ "name": name })).collect()))
}
