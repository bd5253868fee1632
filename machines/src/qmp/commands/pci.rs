//! `query-pci`, and the same for people.

use super::{Arguments, Outcome, QmpError};
use crate::machine::Machine;
use crate::sync::Arc;
use devices::pci::registers::{
    CLASS_CODE, DEVICE_ID, INTERRUPT_LINE, INTERRUPT_PIN, SUBORDINATE_BUS, SUBSYSTEM_ID, SUBSYSTEM_VENDOR_ID,
    VENDOR_ID,
};
use devices::pci::{BarKind, PciBus, PciDevice};
use serde_json::{Value, json};
use std::fmt::Write as _;

pub(super) fn query_pci(machine: &Arc<Machine>, arguments: Arguments) -> Result<Outcome, QmpError> {
    arguments.end()?;
    let roots = root_buses(machine);
    Ok(Outcome::Value(
        roots.iter().map(|bus| json!({ "bus": bus.number(), "devices": functions(machine, bus) })).collect(),
    ))
}

fn root_buses(machine: &Machine) -> Vec<Arc<PciBus>> {
    let devices = machine.devices();
    let buses = devices.iter().flat_map(|device| device.buses());
    buses.filter(|bus| bus.bridge().is_none()).cloned().collect()
}

fn functions(machine: &Machine, bus: &Arc<PciBus>) -> Vec<Value> {
    bus.functions().iter().map(|(devfn, device)| function(machine, bus, *devfn, device.as_ref())).collect()
}

fn function(machine: &Machine, bus: &Arc<PciBus>, devfn: u8, device: &dyn PciDevice) -> Value {
    let devices = machine.devices();
    let plugged = devices.iter().find(|plugged| plugged.sits_at(bus, devfn));
    let secondary = device.secondary_bus();
    let mut value = device.function().look(|config| {
        // base class and sub-class
        let class = config.word(CLASS_CODE + 1);
        let mut id = json!({ "vendor": config.word(VENDOR_ID), "device": config.word(DEVICE_ID) });
        if secondary.is_none()
            && let Some(id) = id.as_object_mut()
        {
            id.insert("subsystem".to_owned(), json!(config.word(SUBSYSTEM_ID)));
            id.insert("subsystem-vendor".to_owned(), json!(config.word(SUBSYSTEM_VENDOR_ID)));
        }
        json!({
            "bus": bus.number(),
            "slot": devfn >> 3,
            "function": devfn & 7,
            "class_info": { "class": class, "desc": class_name(class) },
            "id": id,
            "irq": config.byte(INTERRUPT_LINE),
            "irq_pin": config.byte(INTERRUPT_PIN),
            "qdev_id": plugged.map_or("", |plugged| plugged.name.as_str()),
        })
    });
    let regions: Vec<Value> = device.function().bars().into_iter().map(region).collect();
    if let Some(value) = value.as_object_mut() {
        value.insert("regions".to_owned(), Value::Array(regions));
        // a function without a pin has no line
        if value.get("irq_pin") == Some(&json!(0)) {
            value.remove("irq");
        }
        if let Some(secondary) = secondary {
            let subordinate = device.function().look(|config| config.byte(SUBORDINATE_BUS));
            let numbers = json!({ "number": bus.number(), "secondary": secondary.number(), "subordinate": subordinate });
            // a bridge that has no number yet leads nowhere
            let behind = if secondary.number() == 0 { Vec::new() } else { functions(machine, secondary) };
            let bridge = json!({ "bus": numbers, "devices": behind });
            value.insert("pci_bridge".to_owned(), bridge);
        }
    }
    value
}

/// A base address register; one that shows nothing is at -1.
fn region((bar, kind, size, at): (u8, BarKind, u64, Option<u64>)) -> Value {
    let address = at.map_or(json!(-1), |at| json!(at));
    let (wide, prefetch) = match kind {
        BarKind::Io => return json!({ "bar": bar, "type": "io", "address": address, "size": size }),
        BarKind::Memory32 { prefetchable } => (false, prefetchable),
        BarKind::Memory64 { prefetchable } => (true, prefetchable),
        BarKind::Rom => (false, false),
    };
    json!({
        "bar": bar,
        "type": "memory",
        "address": address,
        "size": size,
        "prefetch": prefetch,
        "mem_type_64": wide,
    })
}

/// What a class is called (PCI Code and ID Assignment).
fn class_name(class: u16) -> &'static str {
    match class {
        0x0100 => "SCSI controller",
        0x0101 => "IDE controller",
        0x0200 => "Ethernet controller",
        0x0300 => "VGA controller",
        0x0500 => "RAM memory",
        0x0600 => "Host bridge",
        0x0601 => "ISA bridge",
        0x0604 => "PCI bridge",
        0x0680 => "Bridge",
        0x0c05 => "SMBus",
        _ => "Unclassified device",
    }
}

/// `info pci`.
pub(super) fn text(machine: &Machine) -> String {
    let roots = root_buses(machine);
    if roots.is_empty() {
        return "no PCI bus\n".to_owned();
    }
    let mut text = String::new();
    roots.iter().flat_map(|bus| functions(machine, bus)).for_each(|function| describe(&mut text, &function));
    text
}

fn describe(text: &mut String, function: &Value) {
    let number = |path: &str| function.pointer(path).and_then(Value::as_i64).unwrap_or(-1);
    let word = |path: &str| function.pointer(path).and_then(Value::as_str).unwrap_or("").to_owned();
    let (bus, slot, index) = (number("/bus"), number("/slot"), number("/function"));
    let (vendor, device) = (number("/id/vendor"), number("/id/device"));
    // a text takes everything
    let _ = writeln!(text, "  Bus {bus:2}, device {slot:3}, function {index}:");
    let _ = writeln!(text, "    {}: PCI device {vendor:04x}:{device:04x}", word("/class_info/desc"));
    if function.pointer("/id/subsystem").is_some() {
        let (vendor, device) = (number("/id/subsystem-vendor"), number("/id/subsystem"));
        let _ = writeln!(text, "      PCI subsystem {vendor:04x}:{device:04x}");
    }
    if number("/irq_pin") > 0 {
        let pin = char::from(b'A' + u8::try_from((number("/irq_pin") - 1) & 3).unwrap_or(0));
        let _ = writeln!(text, "      IRQ {}, pin {pin}", number("/irq"));
    }
    for region in function.get("regions").and_then(Value::as_array).into_iter().flatten() {
        let part = |name: &str| region.get(name).and_then(Value::as_u64);
        let (bar, size) = (part("bar").unwrap_or(0), part("size").unwrap_or(1));
        let at = part("address").unwrap_or(u64::MAX);
        let end = at.wrapping_add(size).wrapping_sub(1);
        let is_on = |name: &str| region.get(name).and_then(Value::as_bool) == Some(true);
        let _ = if region.get("type").and_then(Value::as_str) == Some("io") {
            writeln!(text, "      BAR{bar}: I/O at 0x{at:04x} [0x{end:04x}].")
        } else {
            let wide = if is_on("mem_type_64") { 64 } else { 32 };
            let prefetchable = if is_on("prefetch") { " prefetchable" } else { "" };
            writeln!(text, "      BAR{bar}: {wide} bit{prefetchable} memory at 0x{at:08x} [0x{end:08x}].")
        };
    }
    let _ = writeln!(text, "      id \"{}\"", word("/qdev_id"));
    let behind = function.pointer("/pci_bridge/devices").and_then(Value::as_array);
    behind.into_iter().flatten().for_each(|function| describe(text, function));
}
