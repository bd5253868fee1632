//! A function's place on a bus, from when it is claimed until its device goes.

use super::address::PciAddress;
use super::bus::{Occupied, PciBus};
use super::device::PciDevice;
use crate::sync::{Arc, Weak};
use crate::{DeviceError, Realize};
use std::path::PathBuf;

/// What a machine file says about where a device is plugged in: its keys `bus`, `addr`, `multifunction`, `romfile`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SlotRequest {
    /// The bus by name; the machine's first one without this.
    pub bus: Option<String>,
    /// Where on the bus; the first free slot without this.
    pub addr: Option<PciAddress>,
    /// The device says that it has several functions, so that others may take the other places of its slot.
    pub multifunction: bool,
    /// A file with an expansion ROM. Relative paths start where those of the machine file do.
    pub romfile: Option<PathBuf>,
}

/// The buses of a machine, and where on them a device is to be.
#[derive(Clone, Copy, Default)]
pub struct Buses<'a> {
    /// The buses that devices before this one have exported, the first first.
    pub known: &'a [Arc<PciBus>],
    /// What the machine file says.
    pub slot: Option<&'a SlotRequest>,
}

/// A function's place on a bus. The machine keeps it: the guest sees the function from [`Seat::activate`] until this is
/// dropped.
#[must_use = "a function leaves its bus when this is dropped"]
#[derive(Debug)]
pub struct Seat {
    bus: Arc<PciBus>,
    devfn: u8,
}

impl Seat {
    /// Shows the function to the guest: its device is all there.
    pub fn activate(&self) {
        self.bus.activate(self.devfn);
    }

    /// The bus.
    pub fn bus(&self) -> &Arc<PciBus> {
        &self.bus
    }

    /// Where on the bus.
    pub fn address(&self) -> PciAddress {
        self.devfn.into()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.bus.release(self.devfn);
    }
}

/// Where a function was put.
pub(super) struct Sitting {
    pub(super) bus: Arc<PciBus>,
    pub(super) devfn: u8,
    pub(super) multifunction: bool,
    pub(super) romfile: Option<PathBuf>,
}

impl Realize<'_> {
    /// Takes the place on a bus that the machine file says, or else a free one of the first bus.
    pub(super) fn sit<D: PciDevice>(
        &mut self,
        device: &Arc<D>,
        multifunction: bool,
    ) -> Result<Sitting, DeviceError> {
        let buses = self.buses();
        let slot = buses.slot.cloned().unwrap_or_default();
        let names = || buses.known.iter().map(|bus| bus.name()).collect::<Vec<_>>().join(", ");
        let found = match &slot.bus {
            Some(name) => buses.known.iter().find(|bus| bus.name() == name),
            None => buses.known.first(),
        };
        let bus = found.cloned().ok_or_else(|| DeviceError::Property {
            property: "bus",
            reason: match &slot.bus {
                Some(name) => format!("there is no PCI bus `{name}` before this device; buses: {}", names()),
                None => "the device needs a PCI bus, and there is none before it".to_owned(),
            },
        })?;
        let multifunction = multifunction || slot.multifunction;
        let devfn = self.claim(&bus, slot.addr.map(PciAddress::devfn), multifunction, device)?;
        Ok(Sitting { bus, devfn, multifunction, romfile: slot.romfile })
    }

    /// Takes a place on a bus of the device's own.
    pub(super) fn sit_at_home<D: PciDevice>(
        &mut self,
        bus: &Arc<PciBus>,
        devfn: u8,
        device: &Arc<D>,
    ) -> Result<(), DeviceError> {
        let weak: Weak<D> = Arc::downgrade(device);
        let claimed = bus.claim(Some(devfn), false, weak, None);
        self.keep_seat(bus, claimed).map(drop)
    }

    /// The bus that the machine file names, or else the first, for a device that has no place on it.
    pub(crate) fn root_bus(&self) -> Result<Arc<PciBus>, DeviceError> {
        let wanted = self.buses().slot.and_then(|slot| slot.bus.as_deref());
        let mut known = self.buses().known.iter();
        let found = known.find(|bus| wanted.is_none_or(|name| bus.name() == name));
        found.cloned().ok_or_else(|| DeviceError::Property {
            property: "bus",
            reason: "the device needs a PCI bus, and there is none such before it".to_owned(),
        })
    }

    fn claim<D: PciDevice>(
        &mut self,
        bus: &Arc<PciBus>,
        wanted: Option<u8>,
        multifunction: bool,
        device: &Arc<D>,
    ) -> Result<u8, DeviceError> {
        let weak: Weak<D> = Arc::downgrade(device);
        let claimed = bus.claim(wanted, multifunction, weak, Some(self.entry()));
        self.keep_seat(bus, claimed)
    }

    fn keep_seat(&mut self, bus: &Arc<PciBus>, claimed: Result<u8, Occupied>) -> Result<u8, DeviceError> {
        let devfn =
            claimed.map_err(|taken| DeviceError::Property { property: "addr", reason: taken.to_string() })?;
        self.add_seat(Seat { bus: bus.clone(), devfn });
        Ok(devfn)
    }
}
