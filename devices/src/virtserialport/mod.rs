//! Ports that programs written for QEMU plug into a virtio serial device.

use crate::sync::Arc;
use crate::{Device, DeviceError, DeviceInfo, PlugInfo, Property, Realize, ResetType};
use serde::{Deserialize, Serialize};

/// A port that leads nowhere. The serial devices of this crate have the one port that their own back end is, and no guest learns
/// of others: who plugs this one finds a device that comes and goes.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VirtSerialPort {
    /// What a guest would know it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port_name: Option<String>,
    /// Its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nr: Option<u32>,
}

#[typetag::serde(name = "virtserialport")]
impl Device for VirtSerialPort {
    fn realize(self: Arc<Self>, _ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {}
}

const fn named(name: &'static str) -> PlugInfo {
    PlugInfo {
        name,
        tag: "virtserialport",
        preset: "",
        ports: &[],
        memory: &[],
        options: &[("name", "port-name")],
        wires: &[],
    }
}

inventory::submit! { named("virtserialport") }
inventory::submit! { named("virtconsole") }

inventory::submit! {
    DeviceInfo {
        tag: "virtserialport",
        about: "a port of a virtio serial device that leads nowhere, for programs that plug one",
        properties: &[
            Property {
                name: "port-name",
                kind: "string",
                default: Some("none"),
                about: "what a guest would know it by",
            },
            Property { name: "nr", kind: "u32", default: Some("none"), about: "its number" },
        ],
        example: "{}",
    }
}
