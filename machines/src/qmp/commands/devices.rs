//! Commands about types of device, and about plugging.

use super::super::arguments::wrong_type;
use super::{Arguments, Outcome, QmpError, Then};
use crate::file::FileError;
use crate::hotplug::{PlugError, UnplugError};
use crate::machine::Machine;
use crate::paths::find_plugged;
use crate::plugging::{DeviceOptions, OptionsError};
use crate::sync::Arc;
use devices::{device_types, plug_info, plug_names};
use serde_json::{Value, json};

pub(super) fn device_add(machine: &Arc<Machine>, mut arguments: Arguments) -> Result<Outcome, QmpError> {
    let driver = arguments.text("driver")?;
    let id = arguments.optional_text("id")?;
    let mut device = DeviceOptions { driver, id, options: arguments.rest() };
    machine.backends().resolve(&mut device).map_err(|error| QmpError::generic(error.to_string()))?;
    let spec = device.to_spec(&machine.spec(), "device_add").map_err(|error| match error {
        OptionsError::Device(error) => refused(&device.driver, &error),
        error => QmpError::generic(error.to_string()),
    })?;
    machine.plug_device(spec).map_err(|error| match error {
        PlugError::Device(error) => refused(&device.driver, &error),
        error => QmpError::generic(error.to_string()),
    })?;
    Ok(Outcome::done())
}

/// What is wrong with a device, and with which of its properties: there is no file whose lines could help anybody.
fn refused(driver: &str, error: &FileError) -> QmpError {
    // `device.NAME.PROPERTY`
    let property = error.path().splitn(3, '.').nth(2);
    let of = property.map_or(String::new(), |property| format!("{driver}.{property}: "));
    QmpError::generic(format!("{of}{}", error.problem()))
}

pub(super) fn device_del(machine: &Arc<Machine>, mut arguments: Arguments) -> Result<Outcome, QmpError> {
    let id = arguments.text("id")?;
    arguments.end()?;
    Ok(Outcome::then(json!({}), delete(machine, &id)?))
}

/// Unplugs what people plugged in as `id`, or asks the guest to let go of it; the event of an end comes after the
/// reply, as programs expect it.
pub(super) fn delete(machine: &Machine, id: &str) -> Result<Option<Then>, QmpError> {
    let device = find_plugged(machine, id).ok_or_else(|| QmpError::device_not_found(id))?;
    match machine.ask_to_go(&device.name) {
        Ok(event) => Ok(event.map(Then::Tell)),
        Err(UnplugError::Unknown(_)) => Err(QmpError::device_not_found(id)),
        Err(error) => Err(QmpError::generic(error.to_string())),
    }
}

/// The types of which there are no devices, and what they are a kind of.
const ABSTRACT: [(&str, Option<&str>); 2] = [("device", Some("object")), ("object", None)];

pub(super) fn qom_list_types(_: &Arc<Machine>, mut arguments: Arguments) -> Result<Outcome, QmpError> {
    let implements = arguments.optional_text("implements")?;
    let with_abstract = match arguments.optional("abstract") {
        None => false,
        Some(Value::Bool(with)) => with,
        Some(_) => return Err(wrong_type("abstract", "boolean")),
    };
    arguments.end()?;
    let is_a =
        |name: &str, kind: &str| name == kind || kind == "object" || kind == "device" && name != "object";
    let wanted = |name: &str| implements.as_deref().is_none_or(|kind| is_a(name, kind));
    let names = plug_names().into_iter().filter(|name| wanted(name));
    let mut types: Vec<_> = names.map(|name| json!({ "name": name, "parent": "device" })).collect();
    for (name, parent) in ABSTRACT.iter().filter(|(name, _)| with_abstract && wanted(name)) {
        types.push(match parent {
            Some(parent) => json!({ "name": name, "parent": parent, "abstract": true }),
            None => json!({ "name": name, "abstract": true }),
        });
    }
    Ok(Outcome::Value(Value::Array(types)))
}

pub(super) fn device_list_properties(_: &Arc<Machine>, arguments: Arguments) -> Result<Outcome, QmpError> {
    list_properties(arguments)
}

pub(super) fn qom_list_properties(_: &Arc<Machine>, arguments: Arguments) -> Result<Outcome, QmpError> {
    list_properties(arguments)
}

fn list_properties(mut arguments: Arguments) -> Result<Outcome, QmpError> {
    let name = arguments.text("typename")?;
    arguments.end()?;
    let tag = plug_info(&name).map(|info| info.tag);
    let info = device_types().into_iter().find(|info| Some(info.tag) == tag);
    let info = info.ok_or_else(|| QmpError::device_not_found(&name))?;
    let property = |property: &devices::Property| json!({ "name": property.name, "type": property.kind, "description": property.about });
    Ok(Outcome::Value(info.properties.iter().map(property).collect::<Value>()))
}
