//! Commands about what of the host devices are given by name.

use super::super::arguments::wrong_type;
use super::{Arguments, Outcome, QmpError};
use crate::machine::Machine;
use crate::sync::Arc;
use serde_json::{Map, Value, json};

/// Memory for devices to come: `memory-backend-ram`, or `memory-backend-file` with its `mem-path`.
pub(super) fn object_add(machine: &Arc<Machine>, mut arguments: Arguments) -> Result<Outcome, QmpError> {
    let (kind, id) = (arguments.text("qom-type")?, arguments.text("id")?);
    if !matches!(kind.as_str(), "memory-backend-ram" | "memory-backend-file" | "memory-backend-memfd") {
        return Err(QmpError::generic(format!("Parameter 'qom-type' does not accept value '{kind}'")));
    }
    let size = arguments.required("size")?;
    let size = size.as_u64().ok_or_else(|| wrong_type("size", "integer"))?;
    let mut options = Map::from_iter([("size".to_owned(), json!(size))]);
    if let Some(path) = arguments.optional_text("mem-path")? {
        options.insert("file".to_owned(), json!(path));
    }
    let _ = arguments.optional("share");
    arguments.end()?;
    let memory = &mut machine.backends().memory;
    if memory.contains_key(&id) {
        let desc = format!("attempt to add duplicate property '{id}' to object (type 'container')");
        return Err(QmpError::generic(desc));
    }
    memory.insert(id, options);
    Ok(Outcome::done())
}

/// Forgets the name; a device that has the memory keeps it.
pub(super) fn object_del(machine: &Arc<Machine>, mut arguments: Arguments) -> Result<Outcome, QmpError> {
    let id = arguments.text("id")?;
    arguments.end()?;
    match machine.backends().memory.remove(&id) {
        Some(_) => Ok(Outcome::done()),
        None => Err(QmpError::generic(format!("object '{id}' not found"))),
    }
}

pub(super) fn query_chardev(machine: &Arc<Machine>, arguments: Arguments) -> Result<Outcome, QmpError> {
    arguments.end()?;
    let file = |options: &Map<String, Value>| match options.get("backend") {
        Some(Value::String(word)) => word.clone(),
        Some(Value::Object(parts)) => parts.values().find_map(Value::as_str).unwrap_or_default().to_owned(),
        _ => String::new(),
    };
    let backends = machine.backends();
    let lines = backends
        .chardevs
        .iter()
        .map(|(label, options)| json!({ "label": label, "filename": file(options), "frontend-open": false }));
    Ok(Outcome::Value(lines.collect()))
}
