//! Commands about disks.

use super::{Arguments, Outcome, QmpError};
use crate::machine::Machine;
use crate::sync::Arc;
use serde_json::Value;

/// Gives a disk a new size; the guest's driver is told.
pub(super) fn block_resize(machine: &Arc<Machine>, mut arguments: Arguments) -> Result<Outcome, QmpError> {
    let (device, node) = (arguments.optional_text("device")?, arguments.optional_text("node-name")?);
    let size = arguments.required("size")?;
    arguments.end()?;
    let bytes = size.as_u64().ok_or_else(|| match size {
        Value::Number(_) => QmpError::generic("Parameter 'size' expects a >0 size"),
        _ => super::super::arguments::wrong_type("size", "integer"),
    })?;
    let name = device.as_ref().or(node.as_ref());
    let name = name.ok_or_else(|| QmpError::generic("Either 'device' or 'node-name' must be given"))?;
    let present = machine.devices();
    let resized = present.iter().filter_map(|plugged| plugged.device()?.resize_disk(name, bytes)).next();
    match resized {
        Some(Ok(())) => Ok(Outcome::done()),
        Some(Err(error)) => Err(QmpError::generic(format!("Could not resize file: {error}"))),
        None => {
            let (device, node) = (device.unwrap_or_default(), node.unwrap_or_default());
            let desc = format!("Cannot find device='{device}' nor node-name='{node}'");
            Err(QmpError::generic(desc))
        }
    }
}
