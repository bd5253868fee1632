//! The host bridge of Intel's 440FX chipset (82441FX PMC, datasheet 290549): function 0 of device 0 of the bus that it
//! makes, and the two ports by which a guest configures PCI.

use crate::pci::{ConfigPorts, FunctionSetup, HostBridge, Identity, PciBus, PciDevice, PciFunction};
use crate::sync::{Arc, AtomicU32, OnceLock, Ordering};
use crate::{Device, DeviceError, DeviceInfo, Inspector, Property, Realize, ResetType};
use serde::{Deserialize, Serialize};

/// SMRAM control: closed, at 0xa0000.
const SMRAM: usize = 0x72;

/// The host bridge. Exports the bus `pci.0`, `config-address` (map it at port 0xcf8) and `config-data` (at port 0xcfc).
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct I440fx {
    /// The region in which the memory of functions shows.
    #[serde(default = "default_memory")]
    memory: String,
    /// The region in which their ports show.
    #[serde(default = "default_io")]
    io: String,
    /// The name of the bus.
    #[serde(default = "default_bus_name")]
    bus_name: String,

    #[serde(skip)]
    wiring: OnceLock<Wiring>,

    #[serde(default)]
    pci: PciFunction,
    #[serde(default)]
    state: State,
}

#[derive(Debug)]
struct Wiring {
    bus: Arc<PciBus>,
    _ports: ConfigPorts,
}

#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct State {
    config_address: AtomicU32,
}

fn default_memory() -> String {
    "pci".to_owned()
}

fn default_io() -> String {
    "io".to_owned()
}

fn default_bus_name() -> String {
    "pci.0".to_owned()
}

const IDENTITY: Identity =
    Identity { vendor: 0x8086, device: 0x1237, revision: 2, class: 0x0600, interface: 0, subsystem: (0, 0) };

impl HostBridge for I440fx {
    fn root_bus(&self) -> Option<&Arc<PciBus>> {
        self.wiring.get().map(|wiring| &wiring.bus)
    }

    fn config_address(&self) -> &AtomicU32 {
        &self.state.config_address
    }
}

impl PciDevice for I440fx {
    fn function(&self) -> &PciFunction {
        &self.pci
    }

    fn bus_reset(&self, kind: ResetType) {
        self.reset(kind);
    }
}

#[typetag::serde(name = "i440fx")]
impl Device for I440fx {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let memory = ctx.region("memory", &self.memory)?;
        let io = ctx.region("io", &self.io)?;
        let bus = PciBus::root(&*self.bus_name, &memory, &io);
        ctx.export_bus(&bus);
        let ports = ConfigPorts::new(ctx, &self)?;
        let mut setup = FunctionSetup::new(IDENTITY).at(&bus, 0);
        setup.config().set_byte(SMRAM, 0x02);
        let _ = self.wiring.set(Wiring { bus, _ports: ports });
        self.pci.realize(ctx, &self, setup)
    }

    fn reset(&self, _kind: ResetType) {
        self.state.config_address.store(0, Ordering::Relaxed);
        self.pci.reset(|_| ());
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("config address", self.state.config_address.load(Ordering::Relaxed).into());
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "i440fx",
        about: "PCI host bridge of the 440FX chipset",
        properties: &[
            Property {
                name: "memory",
                kind: "region",
                default: Some("pci"),
                about: "where the memory of PCI functions shows",
            },
            Property {
                name: "io",
                kind: "region",
                default: Some("io"),
                about: "where the ports of PCI functions show",
            },
            Property {
                name: "bus-name",
                kind: "text",
                default: Some("pci.0"),
                about: "the name of the PCI bus that devices are plugged into",
            },
        ],
        example: "{}",
    }
}
