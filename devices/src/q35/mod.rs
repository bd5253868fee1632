//! The host bridge of Intel's Q35 chipset (82G33/82Q35 MCH, datasheet 316966): function 0 of device 0 of the bus that it makes, the two ports by which
//! a guest configures PCI, and the window of memory by which it configures PCI Express. It is the memory controller, too: which of the
//! areas below 1 MiB are RAM, and what of RAM only processors in system management mode see, is in its registers.

mod memory;

use crate::pci::{ConfigPorts, ConfigSpace, Ecam, FunctionSetup, HostBridge, Identity};
use crate::pci::{PciBus, PciDevice, PciFunction};
use crate::sync::{Arc, AtomicU32, Mutex, OnceLock, Ordering, PoisonError};
use crate::{Device, DeviceError, DeviceInfo, Inspector, PlugInfo, Property, Realize, ResetType};
use memory::Dram;
use memory_core::{MemoryError, RegionRef, Width};
use serde::{Deserialize, Serialize};

/// Where the window for PCI Express configuration lies, how large it is, and whether it is there.
const PCIEXBAR: usize = 0x60;
/// PCIEXBAR after power on: at 0xb0000000, of 256 MiB, and not there.
const PCIEXBAR_POWER_ON: u64 = 0xb000_0000;

/// The host bridge. Exports the bus `pcie.0`, `config-address` (map it at port 0xcf8) and `config-data` (at port 0xcfc). With
/// `ram` it also maps that into `system`, below and above 4 GiB, reroutes the areas from 640 KiB to 1 MiB, hides RAM, and exports
/// `smram`: what processors in system management mode see above all other memory.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Q35 {
    /// The region in which memory and the window for configuration show.
    #[serde(default = "default_system")]
    system: String,
    /// The region in which the memory of functions shows.
    #[serde(default = "default_memory")]
    memory: String,
    /// The region in which their ports show.
    #[serde(default = "default_io")]
    io: String,
    /// All RAM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ram: Option<String>,
    /// MiB of the largest TSEG, which is QEMU's own: 0 if there is none.
    #[serde(default = "default_extended_tseg")]
    extended_tseg_mbytes: u16,
    /// The name of the bus.
    #[serde(default = "default_bus_name")]
    bus_name: String,

    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    /// Held while the map follows the registers. Lock order: before the function's and the writers' lock.
    #[serde(skip)]
    mapping: Mutex<()>,

    #[serde(default)]
    pci: PciFunction,
    #[serde(default)]
    state: State,
}

#[derive(Debug)]
struct Wiring {
    system: RegionRef,
    bus: Arc<PciBus>,
    ecam: Ecam,
    dram: Option<Dram>,
    _ports: ConfigPorts,
}

#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct State {
    config_address: AtomicU32,
}

fn default_system() -> String {
    "system".to_owned()
}

fn default_memory() -> String {
    "pci".to_owned()
}

fn default_io() -> String {
    "io".to_owned()
}

fn default_extended_tseg() -> u16 {
    16
}

fn default_bus_name() -> String {
    "pcie.0".to_owned()
}

const IDENTITY: Identity =
    Identity { vendor: 0x8086, device: 0x29c0, revision: 0, class: 0x0600, interface: 0, subsystem: (0, 0) };

/// Registers of the bridge's own as they are after power on.
fn power_on(config: &mut ConfigSpace) {
    config.set_quad(PCIEXBAR, PCIEXBAR_POWER_ON);
}

/// Address and size of the window that a value of PCIEXBAR says, if it is there.
fn window(pciexbar: u64) -> Option<(u64, u64)> {
    let size = match pciexbar & 7 {
        1 => 256 << 20,
        3 => 128 << 20,
        5 => 64 << 20,
        // not enabled, or a reserved size
        _ => return None,
    };
    // bits 35 down to that of the size
    Some((pciexbar & 0xf_ffff_ffff & !(size - 1), size))
}

impl Q35 {
    /// Makes the map what the registers say.
    fn map(&self) {
        let _mapping = self.mapping.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(wiring) = self.wiring.get() else { return };
        let wanted = window(self.pci.look(|config| config.quad(PCIEXBAR)));
        let region = wiring.ecam.region();
        let result = region.memory().transaction(|_| {
            let Some((address, size)) = wanted else { return region.unmap() };
            if region.address()? == Some(address) && region.size()?.bytes() == size.into() {
                return Ok(());
            }
            region.unmap()?;
            region.set_size(size)?;
            wiring.system.map_overlap(address, region, 0)
        });
        if let Err(error) = result {
            let error: MemoryError = error;
            tracing::warn!(%error, "the window for PCI Express configuration stays where it was");
        }
    }
}

impl Q35 {
    /// Makes memory what the registers say.
    fn follow(&self) {
        let _mapping = self.mapping.lock().unwrap_or_else(PoisonError::into_inner);
        let config = self.pci.config(|config| {
            memory::protect(config, self.extended_tseg_mbytes);
            config.clone()
        });
        let dram = self.wiring.get().and_then(|wiring| wiring.dram.as_ref());
        let Some(result) = dram.map(|dram| dram.follow(&config, self.extended_tseg_mbytes)) else { return };
        if let Err(error) = result {
            tracing::warn!(%error, "the memory map stays as it was");
        }
    }
}

impl HostBridge for Q35 {
    fn root_bus(&self) -> Option<&Arc<PciBus>> {
        self.wiring.get().map(|wiring| &wiring.bus)
    }

    fn config_address(&self) -> &AtomicU32 {
        &self.state.config_address
    }
}

impl PciDevice for Q35 {
    fn function(&self) -> &PciFunction {
        &self.pci
    }

    fn config_written(&self, offset: usize, width: Width) {
        if offset < PCIEXBAR + 8 && PCIEXBAR < offset + width.len() {
            self.map();
        }
        if memory::is_hit(offset, width.len()) {
            self.follow();
        }
    }

    fn bus_reset(&self, kind: ResetType) {
        self.reset(kind);
    }
}

#[typetag::serde(name = "q35")]
impl Device for Q35 {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let system = ctx.region("system", &self.system)?;
        let memory = ctx.region("memory", &self.memory)?;
        let io = ctx.region("io", &self.io)?;
        let bus = PciBus::root(&*self.bus_name, &memory, &io);
        ctx.export_bus(&bus);
        let ports = ConfigPorts::new(ctx, &self)?;
        let ecam = Ecam::new(ctx, &self)?;
        let dram = match &self.ram {
            Some(ram) => {
                let ram = ctx.region("ram", ram)?;
                Some(Dram::new(ctx, &self, &system, &ram, &memory)?)
            }
            None => None,
        };
        let mut setup = FunctionSetup::new(IDENTITY).at(&bus, 0);
        power_on(setup.config());
        memory::reset(setup.config(), self.extended_tseg_mbytes);
        let _ = self.wiring.set(Wiring { system, bus, ecam, dram, _ports: ports });
        self.pci.realize(ctx, &self, setup)?;
        self.map();
        self.pci.config(|config| memory::restore(config, self.extended_tseg_mbytes));
        self.follow();
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        self.state.config_address.store(0, Ordering::Relaxed);
        self.pci.reset(|config| {
            power_on(config);
            memory::reset(config, self.extended_tseg_mbytes);
        });
        self.map();
        self.follow();
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("config address", self.state.config_address.load(Ordering::Relaxed).into());
        match window(self.pci.look(|config| config.quad(PCIEXBAR))) {
            Some((address, size)) => out.field("ECAM", format_args!("{address:#x}, {size:#x} bytes")),
            None => out.field("ECAM", "off"),
        };
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "q35",
        about: "PCI Express host bridge of the Q35 chipset",
        properties: &[
            Property {
                name: "system",
                kind: "region",
                default: Some("system"),
                about: "where memory and the window for PCI Express configuration show",
            },
            Property {
                name: "ram",
                kind: "region",
                default: Some("none"),
                about: "all RAM, which the bridge shows below and above 4 GiB",
            },
            Property {
                name: "extended-tseg-mbytes",
                kind: "u16",
                default: Some("16"),
                about: "MiB of the largest TSEG, 0 if there is none",
            },
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
                default: Some("pcie.0"),
                about: "the name of the PCI bus that devices are plugged into",
            },
        ],
        example: "{}",
    }
}

// the function of the host bridge, which has its properties there
inventory::submit! {
    PlugInfo { name: "mch", tag: "q35", preset: "", ports: &[], memory: &[], options: &[], wires: &[] }
}

#[cfg(test)]
mod tests;
