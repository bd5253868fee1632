//! Commands about the tree of objects: a machine and its devices, with their properties.

use super::{Arguments, Outcome, QmpError};
use crate::machine::{Machine, Plugged};
use crate::paths::{MACHINE, PERIPHERAL, PERIPHERAL_ANON, UNATTACHED, find_device};
use crate::sync::Arc;
use serde_json::{Map, Value, json};

/// What stands at a path.
enum Object {
    /// A folder, of this type and with these.
    Folder(&'static str, &'static [(&'static str, &'static str)]),
    /// The machine.
    Machine,
    Device(Arc<Plugged>),
}

const ROOT: &[(&str, &str)] = &[
    ("backend", "child<container>"),
    ("objects", "child<container>"),
    ("machine", "child<machine>"),
    ("chardevs", "child<container>"),
];

fn object(machine: &Machine, path: &str) -> Result<Object, QmpError> {
    Ok(match path {
        "/" | "" => Object::Folder("container", ROOT),
        MACHINE => Object::Machine,
        "/backend" | "/objects" | "/chardevs" | PERIPHERAL | PERIPHERAL_ANON | UNATTACHED => {
            Object::Folder("container", &[])
        }
        _ => Object::Device(find_device(machine, path).ok_or_else(|| QmpError::device_not_found(path))?),
    })
}

/// A device's type and its properties with their present values.
fn properties(machine: &Machine, device: &Plugged) -> Result<(String, Map<String, Value>), QmpError> {
    let gone = || QmpError::device_not_found(&device.name);
    let broken = |error: serde_json::Error| QmpError::generic(error.to_string());
    let present = serde_json::to_value(device.device().ok_or_else(gone)?.as_ref()).map_err(broken)?;
    let kind = machine.spec().device(&device.name).map(|said| said.type_name.clone()).unwrap_or_default();
    let Value::Object(mut properties) = present else { return Ok((kind, Map::new())) };
    properties.remove("type");
    properties.remove("state");
    properties.insert("realized".to_owned(), json!(true));
    Ok((kind, properties))
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Null | Value::Object(_) => "struct",
    }
}

pub(super) fn qom_list(machine: &Arc<Machine>, mut arguments: Arguments) -> Result<Outcome, QmpError> {
    let path = arguments.text("path")?;
    arguments.end()?;
    let entry = |name: &str, kind: &str| json!({ "name": name, "type": kind });
    let mut entries = vec![entry("type", "string")];
    match object(machine, &path)? {
        Object::Folder(_, children) => entries.extend(children.iter().map(|(name, kind)| entry(name, kind))),
        Object::Machine => {
            let folders =
                [PERIPHERAL, PERIPHERAL_ANON, UNATTACHED].iter().filter_map(|path| path.rsplit('/').next());
            entries.extend(folders.map(|name| entry(name, "child<container>")));
            let spec = machine.spec();
            entries.extend(
                spec.devices.iter().map(|said| entry(&said.name, &format!("child<{}>", said.type_name))),
            );
        }
        Object::Device(device) => {
            let (_, properties) = properties(machine, &device)?;
            entries.extend(properties.iter().map(|(name, value)| entry(name, type_of(value))));
        }
    }
    Ok(Outcome::Value(Value::Array(entries)))
}

pub(super) fn qom_get(machine: &Arc<Machine>, mut arguments: Arguments) -> Result<Outcome, QmpError> {
    let (path, property) = (arguments.text("path")?, arguments.text("property")?);
    arguments.end()?;
    let (kind, mut properties) = match object(machine, &path)? {
        Object::Folder(kind, _) => (kind.to_owned(), Map::new()),
        Object::Machine => ("machine".to_owned(), Map::new()),
        Object::Device(device) => properties(machine, &device)?,
    };
    if property == "type" {
        return Ok(Outcome::Value(json!(kind)));
    }
    properties.remove(&property).map(Outcome::Value).ok_or_else(|| not_found(&kind, &property))
}

fn not_found(kind: &str, property: &str) -> QmpError {
    QmpError::generic(format!("Property '{kind}.{property}' not found"))
}

/// A device that is there has taken its properties: only the value that one has already may be set.
pub(super) fn qom_set(machine: &Arc<Machine>, mut arguments: Arguments) -> Result<Outcome, QmpError> {
    let (path, property) = (arguments.text("path")?, arguments.text("property")?);
    let value = arguments.required("value")?;
    arguments.end()?;
    let Object::Device(device) = object(machine, &path)? else {
        return Err(not_found("container", &property));
    };
    let (kind, properties) = properties(machine, &device)?;
    match properties.get(&property) {
        None => Err(not_found(&kind, &property)),
        Some(present) if *present == value => Ok(Outcome::done()),
        Some(_) => Err(QmpError::generic(format!(
            "Attempt to set property '{property}' on device '{}' (type '{kind}') after it was realized",
            device.name
        ))),
    }
}
