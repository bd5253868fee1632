//! `info qtree`: devices, with their properties, lines and regions.

use crate::machine::Machine;
use serde_json::Value;
use std::fmt::Write as _;

pub(super) fn qtree(machine: &Machine) -> String {
    let mut text = "bus: main-system-bus\n  type System\n".to_owned();
    let spec = machine.spec();
    for device in machine.devices() {
        let kind = spec.device(&device.name).map_or("?", |said| said.type_name.as_str());
        // a text takes everything
        let _ = writeln!(text, "  dev: {kind}, id \"{}\"", device.name);
        for (name, inputs) in device.inputs() {
            let _ = writeln!(text, "    gpio-in \"{name}\" {}", inputs.count());
        }
        for output in device.outputs() {
            let _ = writeln!(text, "    gpio-out \"{}\" {}", output.name, output.lines.len());
        }
        let present = device.device().map(|device| serde_json::to_value(device.as_ref()));
        if let Some(Ok(Value::Object(properties))) = present {
            for (name, value) in
                properties.iter().filter(|(name, _)| !matches!(name.as_str(), "type" | "state"))
            {
                let _ = writeln!(text, "    {name} = {value}");
            }
        }
        for export in device.exports() {
            if let Ok(size) = export.region.size() {
                let _ = writeln!(text, "    region \"{}\" {:#x}", export.name, size.bytes());
            }
        }
    }
    text
}
