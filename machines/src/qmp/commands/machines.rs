//! Commands about machines that could run.

use super::{Arguments, Outcome, QmpError};
use crate::catalog;
use crate::machine::Machine;
use crate::sync::Arc;
use serde_json::{Value, json};

/// What a command line without `-machine` means.
const DEFAULT: &str = "pc";

pub(super) fn query_machines(_: &Arc<Machine>, arguments: Arguments) -> Result<Outcome, QmpError> {
    arguments.end()?;
    Ok(Outcome::Value(catalog::names().map(info).collect()))
}

/// What QEMU 7.2 says of a machine, and not a member more: its test programs refuse those that they do not know.
fn info(name: &str) -> Value {
    let cpu = catalog::load(name).ok().and_then(|spec| spec.cpu);
    let mut info = json!({
        "name": name,
        "cpu-max": cpu.map_or(1, |cpu| cpu.kind.most_harts()),
        "hotpluggable-cpus": false,
        "numa-mem-supported": false,
        "deprecated": false,
    });
    let Some(members) = info.as_object_mut() else { return info };
    if let Some(versioned) = catalog::versioned(name) {
        members.insert("name".to_owned(), json!(versioned));
        members.insert("alias".to_owned(), json!(name));
    }
    if name == DEFAULT {
        members.insert("is-default".to_owned(), json!(true));
    }
    info
}
