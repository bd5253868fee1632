//! The host bridge of Intel's 440FX chipset (82441FX PMC, datasheet 290549): function 0 of device 0 of the bus that it
//! makes, and the two ports by which a guest configures PCI. It is the memory controller, too: which of the areas between 640 KiB and 1 MiB
//! are RAM, and for whom, is in its registers.

mod memory;

use crate::dram::SmramControl;
use crate::pci::{ConfigPorts, FunctionSetup, HostBridge, Identity, PciBus, PciDevice, PciFunction};
use crate::sync::{Arc, AtomicU32, OnceLock, Ordering};
use crate::{Device, DeviceError, DeviceInfo, Inspector, Property, Realize, ResetType};
use memory::Dram;
use memory_core::{RegionRef, Width};
use serde::{Deserialize, Serialize};

/// The host bridge. Exports the bus `pci.0`, `config-address` (map it at port 0xcf8) and `config-data` (at port 0xcfc). With
/// `ram` it also maps that into `system`, below and above 4 GiB, reroutes the areas from 640 KiB to 1 MiB, and exports `smram`: what
/// processors in system management mode see above all other memory.
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

    /// The region in which memory shows.
    #[serde(default = "default_system")]
    system: String,
    /// All RAM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ram: Option<String>,

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
    dram: Option<(RegionRef, Dram)>,
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

fn default_system() -> String {
    "system".to_owned()
}

fn default_bus_name() -> String {
    "pci.0".to_owned()
}

const IDENTITY: Identity =
    Identity { vendor: 0x8086, device: 0x1237, revision: 2, class: 0x0600, interface: 0, subsystem: (0, 0) };

impl I440fx {
    /// Makes the map what the registers say.
    fn follow(&self) {
        self.pci.config(memory::protect);
        let Some((system, dram)) = self.wiring.get().and_then(|wiring| wiring.dram.as_ref()) else { return };
        let look = || {
            self.pci.look(|config| {
                let pam = std::array::from_fn(|index| config.byte(memory::PAM + index));
                (pam, SmramControl::from_bits_retain(config.byte(memory::SMRAM)))
            })
        };
        if let Err(error) = dram.follow(system, look) {
            tracing::warn!(%error, "the memory map stays as it was");
        }
    }
}

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

    fn config_written(&self, offset: usize, width: Width) {
        let written = offset..offset + width.len();
        if written.start <= memory::SMRAM && written.end > memory::PAM {
            self.follow();
        }
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
        let dram = match &self.ram {
            Some(ram) => {
                let (system, ram) = (ctx.region("system", &self.system)?, ctx.region("ram", ram)?);
                let dram = Dram::new(ctx, &system, &ram, &memory)?;
                Some((system, dram))
            }
            None => None,
        };
        let mut setup = FunctionSetup::new(IDENTITY).at(&bus, 0);
        memory::reset(setup.config());
        let _ = self.wiring.set(Wiring { bus, dram, _ports: ports });
        self.pci.realize(ctx, &self, setup)?;
        // registers of a snapshot
        self.follow();
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        self.state.config_address.store(0, Ordering::Relaxed);
        self.pci.reset(memory::reset);
        self.follow();
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("config address", self.state.config_address.load(Ordering::Relaxed).into());
        let control = self.pci.look(|config| SmramControl::from_bits_retain(config.byte(memory::SMRAM)));
        out.field("smram", if control.contains(SmramControl::D_OPEN) { "open" } else { "closed" });
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
                name: "system",
                kind: "region",
                default: Some("system"),
                about: "where memory shows",
            },
            Property {
                name: "ram",
                kind: "region",
                default: Some("none"),
                about: "all RAM, which the bridge shows below and above 4 GiB",
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

#[cfg(test)]
mod tests;
