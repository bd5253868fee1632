//! `-vga`: the VGA that a PC has by default.

use super::options::CommandLine;
use anyhow::Context;
use machines::file::MachineSpec;
use machines::plugging::DeviceOptions;
use serde_json::{Map, json};

/// What stands behind `-vga`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Vga {
    None,
    Std,
}

/// Types of devices that take the place of the default one.
const DISPLAYS: &[&str] =
    &["VGA", "cirrus-vga", "qxl-vga", "vmware-svga", "isa-vga", "ati-vga", "virtio-vga"];

/// The slot of the VGA that a board has by default: QEMU makes it after the chipset, and before all other devices.
fn slot(spec: &MachineSpec) -> Option<&'static str> {
    spec.devices.iter().find_map(|said| match said.type_name.as_str() {
        "i440fx" => Some("2"),
        "q35" => Some("1"),
        _ => None,
    })
}

impl CommandLine {
    /// Adds the VGA that a PC has unless somebody wants none, or has said which.
    pub(super) fn display(&self, spec: &mut MachineSpec) -> anyhow::Result<()> {
        let is_display = |driver: &str| DISPLAYS.contains(&driver);
        let has_own = || {
            self.devices
                .iter()
                .any(|keys| keys.clone().take("driver").is_some_and(|driver| is_display(&driver)))
        };
        let wanted =
            self.vga.unwrap_or_else(|| if self.no_defaults || has_own() { Vga::None } else { Vga::Std });
        let Some(slot) = slot(spec).filter(|_| wanted == Vga::Std) else { return Ok(()) };
        let options = Map::from_iter([("addr".to_owned(), json!(slot))]);
        let device = DeviceOptions { driver: "VGA".to_owned(), id: None, options };
        let said = device.to_spec(spec, "-vga std").context("-vga std")?;
        spec.devices.push(said);
        Ok(())
    }
}
