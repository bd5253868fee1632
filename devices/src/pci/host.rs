//! How a guest reaches configuration space: by two ports (configuration mechanism 1), or by memory (ECAM).

use super::bus::PciBus;
use crate::sync::{Arc, AtomicU32, Ordering};
use crate::{DeviceError, Realize};
use memory_core::{AccessRules, MemoryError, Methods, Region, Width};

/// A device that leads accesses of the guest to a root bus.
pub trait HostBridge: Send + Sync + 'static {
    /// The bus, once the device is realised.
    fn root_bus(&self) -> Option<&Arc<PciBus>>;

    /// The address register of configuration mechanism 1.
    fn config_address(&self) -> &AtomicU32;
}

/// Bit 31 of the address register: accesses to the data port are configuration accesses.
const ENABLE: u32 = 1 << 31;

/// The two ports of configuration mechanism 1 (PCI Local Bus 3.0, section 3.2.2.3.2): the address at 0xcf8, which takes writes
/// of 4 bytes alone, and data at 0xcfc, of 1, 2 and 4 bytes.
#[derive(Debug)]
pub struct ConfigPorts {
    _address: Region,
    _data: Region,
}

impl ConfigPorts {
    /// Makes and exports `config-address` and `config-data`, 4 ports each.
    ///
    /// # Errors
    /// As for every region that is made.
    pub fn new<H: HostBridge>(ctx: &mut Realize<'_>, host: &Arc<H>) -> Result<Self, DeviceError> {
        let address = Methods::new(
            host,
            |host: &H, _, _, _| Ok(host.config_address().load(Ordering::Relaxed).into()),
            |host: &H, offset, width, value, _| {
                if offset == 0 && width == Width::W4 {
                    host.config_address().store(value as u32, Ordering::Relaxed);
                }
                Ok(())
            },
        );
        let data = Methods::new(
            host,
            |host: &H, offset, width, _| {
                let target = selected(host, offset);
                Ok(target.map_or(width.mask(), |(bus, number, devfn, at)| {
                    bus.config_read(number, devfn, at, width)
                }))
            },
            |host: &H, offset, width, value, _| {
                if let Some((bus, number, devfn, at)) = selected(host, offset) {
                    bus.config_write(number, devfn, at, width, value);
                }
                Ok(())
            },
        );
        let address = ctx.memory().mmio("pci-conf-idx", 4u64, AccessRules::new(), address);
        let address = address.owner(ctx.owner()).build()?;
        let data = ctx.memory().mmio("pci-conf-data", 4u64, AccessRules::new(), data);
        let data = data.owner(ctx.owner()).build()?;
        ctx.export("config-address", &address);
        ctx.export("config-data", &data);
        Ok(Self { _address: address, _data: data })
    }
}

/// Where an access to the data port goes: the bus, and its number, device and function, and offset there.
fn selected<H: HostBridge>(host: &H, offset: u64) -> Option<(&Arc<PciBus>, u8, u8, usize)> {
    let address = host.config_address().load(Ordering::Relaxed);
    let bus = host.root_bus().filter(|_| address & ENABLE != 0)?;
    let [register, devfn, number, _] = address.to_le_bytes();
    Some((bus, number, devfn, usize::from(register) | (offset & 3) as usize))
}

/// Bytes of configuration space of a bus in an ECAM window.
const BUS: u64 = 1 << 20;

/// The enhanced configuration access mechanism (PCI Express Base 3.0, section 7.2.2): 4096 bytes of memory for each function.
#[derive(Debug)]
pub struct Ecam {
    region: Region,
}

impl Ecam {
    /// Makes a window for 256 buses, which is not mapped; fewer show if it is made smaller.
    ///
    /// # Errors
    /// As for every region that is made.
    pub fn new<H: HostBridge>(ctx: &Realize<'_>, host: &Arc<H>) -> Result<Self, MemoryError> {
        // number of the bus, device and function, offset: 8, 8 and 12 bits
        let split = |offset: u64| ((offset >> 20) as u8, (offset >> 12) as u8, (offset & 0xfff) as usize);
        let callbacks = Methods::new(
            host,
            move |host: &H, offset, width, _| {
                let (number, devfn, at) = split(offset);
                Ok(host.root_bus().map_or(width.mask(), |bus| bus.config_read(number, devfn, at, width)))
            },
            move |host: &H, offset, width, value, _| {
                let (number, devfn, at) = split(offset);
                if let Some(bus) = host.root_bus() {
                    bus.config_write(number, devfn, at, width, value);
                }
                Ok(())
            },
        );
        let region = ctx.memory().mmio("pcie-mmcfg-mmio", 256 * BUS, AccessRules::new(), callbacks);
        Ok(Self { region: region.owner(ctx.owner()).build()? })
    }

    /// The window.
    pub fn region(&self) -> &Region {
        &self.region
    }
}
