//! A device in its machine.

use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};
use devices::pci::{PciBus, PciHotplug, Seat};
use devices::{Device, Export, IrqInputs, Output, Realized, ResetType};
use memory_core::{Plug, RegionRef};
use memory_dispatch::{Entry, EntryKind};
use std::fmt;

/// A device in its machine. Whoever holds this does not keep the device plugged in, nor alive.
pub struct Plugged {
    /// Its name in the machine file.
    pub name: String,
    /// What keeps it plugged in. Held to look, never while the device runs.
    plug: Mutex<Option<Plug<dyn Device>>>,
    /// Its door for a reset.
    entry: Entry,
    exports: Vec<Export>,
    outputs: Vec<Output>,
    inputs: Vec<(String, IrqInputs)>,
    buses: Vec<Arc<PciBus>>,
    /// Its places on buses. Held to take them, never while the device runs.
    seats: Mutex<Vec<Seat>>,
    /// Devices whose regions or buses it uses.
    uses: Vec<String>,
}

impl Plugged {
    /// A device that `plug` keeps plugged in, with what it has made of itself, and the devices whose regions or buses it
    /// uses.
    pub(crate) fn new(
        name: &str,
        plug: Plug<dyn Device>,
        entry: Entry,
        (realized, uses): (Realized, Vec<String>),
    ) -> Self {
        let Realized { exports, outputs, inputs, buses, seats } = realized;
        let (plug, seats) = (Mutex::new(Some(plug)), Mutex::new(seats));
        Self { name: name.to_owned(), plug, entry, exports, outputs, inputs, buses, seats, uses }
    }

    fn seats(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows its PCI functions to the guest.
    pub(crate) fn activate(&self) {
        self.seats().iter().for_each(Seat::activate);
    }

    /// Its places on buses that somebody tells the guest of: who, and the slots.
    pub(crate) fn hotplugs(&self) -> Vec<(Arc<dyn PciHotplug>, u8)> {
        let places: Vec<_> =
            self.seats().iter().map(|seat| (seat.bus().clone(), seat.address().devfn() >> 3)).collect();
        places.into_iter().filter_map(|(bus, slot)| Some((bus.hotplug()?, slot))).collect()
    }

    /// Whether it sits in one of `slots`, a bit for each, of `bus`.
    pub(crate) fn sits_in(&self, bus: &Arc<PciBus>, slots: u32) -> bool {
        let in_slot = |seat: &Seat| slots >> (seat.address().devfn() >> 3) & 1 != 0;
        self.seats().iter().any(|seat| Arc::ptr_eq(seat.bus(), bus) && in_slot(seat))
    }

    /// Takes its PCI functions off their buses.
    pub(crate) fn leave_buses(&self) {
        let seats = std::mem::take(&mut *self.seats());
        drop(seats);
    }

    /// Whether it has the place `devfn` of `bus`.
    pub(crate) fn sits_at(&self, bus: &Arc<PciBus>, devfn: u8) -> bool {
        self.seats().iter().any(|seat| Arc::ptr_eq(seat.bus(), bus) && seat.address().devfn() == devfn)
    }

    /// The buses that it exports.
    pub fn buses(&self) -> &[Arc<PciBus>] {
        &self.buses
    }

    fn plug(&self) -> MutexGuard<'_, Option<Plug<dyn Device>>> {
        self.plug.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device, unless it was unplugged.
    pub fn device(&self) -> Option<Arc<dyn Device>> {
        self.plug().as_ref()?.device().cloned()
    }

    /// Lets go of what keeps the device plugged in.
    pub(crate) fn take_plug(&self) -> Option<Plug<dyn Device>> {
        self.plug().take()
    }

    /// Whether it uses a region or a bus of the device of that name.
    pub(crate) fn uses(&self, device: &str) -> bool {
        self.uses.iter().any(|used| used == device)
    }

    /// The regions that it exports.
    pub fn exports(&self) -> &[Export] {
        &self.exports
    }

    /// Its output lines.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Its groups of input lines, by name.
    pub fn inputs(&self) -> &[(String, IrqInputs)] {
        &self.inputs
    }

    /// Resets the device through the re-entrancy guard. Returns whether it was: not if this thread is inside it, or if it was
    /// unplugged.
    pub fn reset(&self, kind: ResetType) -> bool {
        match (self.device(), self.entry.enter(EntryKind::Reset)) {
            (Some(device), Ok(_inside)) => {
                device.reset(kind);
                true
            }
            _ => false,
        }
    }

    /// Lowers all its output lines and leads them nowhere.
    pub(crate) fn unwire(&self) {
        self.outputs.iter().flat_map(|output| &output.lines).for_each(devices::IrqLine::disconnect);
    }

    /// The region that it exports under `name`; without a name the only one.
    pub(crate) fn export(&self, name: Option<&str>) -> Option<&RegionRef> {
        let mut matching = self.exports.iter().filter(|export| name.is_none_or(|name| export.name == name));
        let first = matching.next()?;
        (name.is_some() || matching.next().is_none()).then_some(&first.region)
    }

    /// The names of its exports, for people.
    pub(crate) fn export_names(&self) -> Vec<String> {
        self.exports.iter().map(|export| export.name.clone()).collect()
    }

    /// The inputs of group `name`; without a name the only group.
    pub(crate) fn input_group(&self, name: Option<&str>) -> Option<&IrqInputs> {
        let mut matching = self.inputs.iter().filter(|(group, _)| name.is_none_or(|name| group == name));
        let first = matching.next()?;
        (name.is_some() || matching.next().is_none()).then_some(&first.1)
    }
}

impl fmt::Debug for Plugged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugged").field("name", &self.name).finish_non_exhaustive()
    }
}
