//! A PCI-to-PCI bridge (PCI-to-PCI Bridge 1.2), as QEMU's `pci-bridge` without a hot-plug controller.

use crate::pci::{FunctionSetup, Identity, PciBridge as Bridge, PciBus, PciDevice, PciFunction};
use crate::sync::Arc;
use crate::{Device, DeviceError, DeviceInfo, Inspector, Property, Realize, ResetType};
use memory_core::Width;
use serde::{Deserialize, Serialize};

/// Capability: number of the chassis.
const CAP_SLOT_ID: u8 = 0x04;
/// Where it is.
const SLOT_ID: u8 = 0x40;
/// The bridge is the first of its chassis, and there are no slots for expansion.
const FIRST_IN_CHASSIS: u8 = 0x20;

/// The bridge. Exports the bus that is behind it.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PciBridge {
    /// The number of the chassis that begins with the bridge, not 0.
    chassis_nr: u8,
    /// The name of the bus behind the bridge; the bridge's own without this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bus_name: Option<String>,

    #[serde(skip)]
    bridge: Bridge,

    #[serde(default)]
    pci: PciFunction,
}

const IDENTITY: Identity =
    Identity { vendor: 0x1b36, device: 0x0001, revision: 0, class: 0x0604, interface: 0, subsystem: (0, 0) };

impl PciBridge {
    fn setup(&self) -> Result<FunctionSetup, DeviceError> {
        if self.chassis_nr == 0 {
            let reason = "0; the number of a chassis is 1 to 255".to_owned();
            return Err(DeviceError::Property { property: "chassis-nr", reason });
        }
        let mut setup = Bridge::setup(IDENTITY);
        setup.config().add_capability(SLOT_ID, CAP_SLOT_ID, &[FIRST_IN_CHASSIS, self.chassis_nr]);
        setup.config().set_writable(usize::from(SLOT_ID) + 3, &[0xff]);
        Ok(setup)
    }
}

impl PciDevice for PciBridge {
    fn function(&self) -> &PciFunction {
        &self.pci
    }

    fn activated(&self) {
        self.bridge.update(self);
    }

    fn config_written(&self, offset: usize, width: Width) {
        if Bridge::follows(offset, width) {
            self.bridge.update(self);
        }
    }

    fn secondary_bus(&self) -> Option<&Arc<PciBus>> {
        self.bridge.bus()
    }

    fn bus_reset(&self, kind: ResetType) {
        self.reset(kind);
    }
}

#[typetag::serde(name = "pci-bridge")]
impl Device for PciBridge {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let setup = self.setup()?;
        self.pci.realize(ctx, &self, setup)?;
        let path = ctx.owner().path().clone();
        let own = path.rsplit('/').next().unwrap_or(&path);
        self.bridge.realize(ctx, &self, self.bus_name.as_deref().unwrap_or(own))
    }

    fn reset(&self, _kind: ResetType) {
        self.pci.reset(Bridge::reset_registers);
        self.bridge.update(self);
    }

    fn inspect(&self, out: &mut Inspector) {
        let buses = self.pci.look(|config| config.long(0x18).to_le_bytes());
        for (name, bus) in ["primary bus", "secondary bus", "subordinate bus"].into_iter().zip(buses) {
            out.field(name, bus);
        }
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "pci-bridge",
        about: "PCI-to-PCI bridge with a bus of its own",
        properties: &[
            Property {
                name: "chassis-nr",
                kind: "u8",
                default: None,
                about: "the number of the chassis that begins with the bridge, not 0",
            },
            Property {
                name: "bus-name",
                kind: "text",
                default: Some("the bridge's name"),
                about: "the name of the PCI bus behind the bridge",
            },
        ],
        example: "{ \"chassis-nr\": 1 }",
    }
}

#[cfg(test)]
mod tests;
