//! A PCI bus: functions at their places, their interrupt pins, and the address spaces in which they show.

use super::device::PciDevice;
use super::hotplug::PciHotplug;
use super::registers::{BRIDGE_CONTROL, BridgeControl, SECONDARY_BUS, SUBORDINATE_BUS};
use crate::ResetType;
use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use memory_core::{RegionRef, Width};
use memory_dispatch::{Entry, EntryKind};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Leads interrupt pins of a root bus to an interrupt controller, as the board has it.
///
/// Both are called with the bus's lock held, perhaps with a function's, and take no lock but those of the router's own
/// state: they neither dispatch nor reach for the bus.
pub trait PciIrqRouter: Send + Sync {
    /// Which input pin `pin`, 0 to 3 for A to D, of the device at `devfn` leads to.
    fn route(&self, devfn: u8, pin: u8) -> u32;

    /// Sets an input: it is high as long as any pin that leads there is.
    fn set_irq(&self, irq: u32, level: bool);
}

/// A function on its bus.
struct Occupant {
    device: Weak<dyn PciDevice>,
    /// The door of a device that comes by configuration accesses; none for the host bridge that the bus belongs to, which
    /// such accesses are inside of already.
    entry: Option<Entry>,
    /// Whether the machine has all of the device.
    live: bool,
    multifunction: bool,
}

#[derive(Default)]
struct Pins {
    /// Pins that are high, by device and function and pin number.
    high: BTreeSet<(u8, u8)>,
}

/// A PCI bus. Functions are held weakly: they belong to the machine.
pub struct PciBus {
    name: String,
    memory: RegionRef,
    io: RegionRef,
    /// The bridge before the bus; none before a root bus.
    upstream: Option<Weak<dyn PciDevice>>,
    /// Held for an instant, and nothing of a function runs meanwhile. Lock order: after a function's.
    functions: Mutex<BTreeMap<u8, Occupant>>,
    /// Lock order: after a function's, before those of the bus upstream, of the router and of what its lines lead to.
    pins: Mutex<Pins>,
    router: OnceLock<Weak<dyn PciIrqRouter>>,
    pub(super) hotplug: OnceLock<Weak<dyn PciHotplug>>,
    /// Slots that the guest has let go of, a bit for each. Held for an instant.
    pub(super) ejected: Mutex<u32>,
}

/// Why a function cannot be where it should.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Occupied {
    #[error("{0} of bus `{1}` is taken")]
    Taken(super::PciAddress, String),
    #[error("bus `{0}` has no free slot")]
    Full(String),
    #[error("{0} of bus `{1}` is a single function: give it `multifunction = true`")]
    Single(super::PciAddress, String),
}

impl PciBus {
    /// A root bus, number 0, whose functions show in `memory` and `io`.
    pub fn root(name: impl Into<String>, memory: &RegionRef, io: &RegionRef) -> Arc<Self> {
        Arc::new(Self::new(name.into(), memory, io, None))
    }

    /// The bus behind a bridge.
    pub fn secondary<D: PciDevice>(
        name: impl Into<String>,
        memory: &RegionRef,
        io: &RegionRef,
        bridge: &Arc<D>,
    ) -> Arc<Self> {
        let bridge: Weak<D> = Arc::downgrade(bridge);
        Arc::new(Self::new(name.into(), memory, io, Some(bridge)))
    }

    fn new(name: String, memory: &RegionRef, io: &RegionRef, upstream: Option<Weak<dyn PciDevice>>) -> Self {
        let (memory, io) = (memory.clone(), io.clone());
        let (functions, pins, router, hotplug, ejected) = Default::default();
        Self { name, memory, io, upstream, functions, pins, router, hotplug, ejected }
    }

    /// The name, as machine files have it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the functions' memory shows.
    pub fn memory(&self) -> &RegionRef {
        &self.memory
    }

    /// Where the functions' ports show.
    pub fn io(&self) -> &RegionRef {
        &self.io
    }

    /// The number: 0 of a root bus, what the guest says of any other.
    pub fn number(&self) -> u8 {
        let bridge = self.upstream.as_ref().and_then(Weak::upgrade);
        bridge.map_or(0, |bridge| bridge.function().look(|config| config.byte(SECONDARY_BUS)))
    }

    /// The bridge before the bus, if it is not a root bus.
    pub fn bridge(&self) -> Option<Arc<dyn PciDevice>> {
        self.upstream.as_ref().and_then(Weak::upgrade)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u8, Occupant>> {
        self.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The functions that a guest can find on this bus, with their device and function numbers.
    pub fn functions(&self) -> Vec<(u8, Arc<dyn PciDevice>)> {
        let functions = self.lock();
        let live = functions.iter().filter(|(_, occupant)| occupant.live);
        live.filter_map(|(devfn, occupant)| Some((*devfn, occupant.device.upgrade()?))).collect()
    }

    /// Takes the place `wanted`, or the first free slot, for a device that is not all there yet.
    pub(super) fn claim(
        &self,
        wanted: Option<u8>,
        multifunction: bool,
        device: Weak<dyn PciDevice>,
        entry: Option<Entry>,
    ) -> Result<u8, Occupied> {
        let mut functions = self.lock();
        let free = || (0..=0xf8).step_by(8).find(|slot| functions.range(slot..=&(slot | 7)).next().is_none());
        let devfn = match wanted {
            Some(devfn) => devfn,
            None => free().ok_or_else(|| Occupied::Full(self.name.clone()))?,
        };
        if functions.contains_key(&devfn) {
            return Err(Occupied::Taken(devfn.into(), self.name.clone()));
        }
        let first = devfn & !7;
        let single = match functions.get(&first) {
            Some(first) => !first.multifunction,
            None => devfn == first && !multifunction && functions.range(first..=first | 7).next().is_some(),
        };
        if single {
            return Err(Occupied::Single(first.into(), self.name.clone()));
        }
        functions.insert(devfn, Occupant { device, entry, live: false, multifunction });
        Ok(devfn)
    }

    /// Shows a function to the guest.
    pub(super) fn activate(&self, devfn: u8) {
        let device = self.lock().get_mut(&devfn).and_then(|occupant| {
            occupant.live = true;
            occupant.device.upgrade()
        });
        if let Some(device) = device {
            device.function().update();
            device.activated();
        }
    }

    /// Takes a function off the bus.
    pub(super) fn release(&self, devfn: u8) {
        let occupant = self.lock().remove(&devfn);
        if let Some(device) = occupant.and_then(|occupant| occupant.device.upgrade()) {
            device.function().leave();
        }
        // now that nobody raises them who found it on the bus before
        for pin in 0..4 {
            self.set_pin(devfn, pin, false);
        }
    }

    pub(super) fn is_live(&self, devfn: u8) -> bool {
        self.lock().get(&devfn).is_some_and(|occupant| occupant.live)
    }

    /// Names who leads the pins of a root bus further. Once; false if somebody does already.
    pub fn set_router<R: PciIrqRouter + 'static>(&self, router: &Arc<R>) -> bool {
        let router: Weak<R> = Arc::downgrade(router);
        let new = self.router.set(router).is_ok();
        self.reroute();
        new
    }

    fn pins(&self) -> MutexGuard<'_, Pins> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn router(&self) -> Option<Arc<dyn PciIrqRouter>> {
        self.router.get()?.upgrade()
    }

    /// Sets a pin, 0 to 3, of the function at `devfn`. Behind a bridge pins are swizzled: pin `p` of device `d` is the
    /// bridge's pin `p + d` (PCI-to-PCI Bridge 1.2, section 9.1).
    pub(super) fn set_pin(&self, devfn: u8, pin: u8, level: bool) {
        let pins = &mut *self.pins();
        let changed = if level { pins.high.insert((devfn, pin)) } else { pins.high.remove(&(devfn, pin)) };
        if !changed {
            return;
        }
        if let Some(bridge) = self.bridge() {
            let function = bridge.function();
            let up = swizzle(devfn, pin);
            let level = pins.high.iter().any(|(devfn, pin)| swizzle(*devfn, *pin) == up);
            if let Some(bus) = function.bus() {
                bus.set_pin(function.devfn(), up, level);
            }
        } else if let Some(router) = self.router() {
            let irq = router.route(devfn, pin);
            let level = pins.high.iter().any(|(devfn, pin)| router.route(*devfn, *pin) == irq);
            router.set_irq(irq, level);
        }
    }

    /// Has the router hear of all pins that are high: after it has changed where pins lead. It has lowered its inputs before.
    pub fn reroute(&self) {
        let pins = self.pins();
        if let Some(router) = self.router() {
            let irqs: BTreeSet<u32> =
                pins.high.iter().map(|(devfn, pin)| router.route(*devfn, *pin)).collect();
            irqs.into_iter().for_each(|irq| router.set_irq(irq, true));
        }
    }

    /// The function at `devfn` of bus `number`, on this bus or behind one of its bridges.
    fn find(&self, number: u8, devfn: u8) -> Option<(Arc<dyn PciDevice>, Option<Entry>)> {
        if number == self.number() {
            let functions = self.lock();
            let occupant = functions.get(&devfn).filter(|occupant| occupant.live)?;
            return Some((occupant.device.upgrade()?, occupant.entry.clone()));
        }
        let behind = |(_, device): (u8, Arc<dyn PciDevice>)| {
            let bus = device.secondary_bus()?;
            let (from, to, control) = device.function().look(|config| {
                (config.byte(SECONDARY_BUS), config.byte(SUBORDINATE_BUS), config.word(BRIDGE_CONTROL))
            });
            let resets = BridgeControl::from_bits_retain(control).contains(BridgeControl::BUS_RESET);
            (!resets && (from..=to).contains(&number)).then(|| bus.find(number, devfn))
        };
        self.functions().into_iter().find_map(behind).flatten()
    }

    /// A read of configuration space by the guest: `width` bytes at `offset`, below 4096, of the function at `devfn` of bus `number`.
    /// All ones where there is none.
    pub fn config_read(&self, number: u8, devfn: u8, offset: usize, width: Width) -> u64 {
        let read = || {
            let (device, entry) = self.find(number, devfn)?;
            let _inside = entry.map(|entry| entry.enter(EntryKind::Configuration)).transpose().ok()?;
            device.before_config_read(offset, width);
            device.function().read_config(offset, width)
        };
        read().unwrap_or(width.mask())
    }

    /// A write to configuration space by the guest, as [`PciBus::config_read`].
    pub fn config_write(&self, number: u8, devfn: u8, offset: usize, width: Width, value: u64) {
        let Some((device, entry)) = self.find(number, devfn) else { return };
        if let Ok(_inside) = entry.map(|entry| entry.enter(EntryKind::Configuration)).transpose() {
            device.function().write_config(offset, width, value);
            device.config_written(offset, width);
        }
    }

    /// Resets every function on the bus, and behind it.
    pub fn reset(&self, kind: ResetType) {
        let occupants: Vec<_> = {
            let functions = self.lock();
            let live = functions.values().filter(|occupant| occupant.live);
            live.filter_map(|occupant| Some((occupant.device.upgrade()?, occupant.entry.clone()))).collect()
        };
        for (device, entry) in occupants {
            if let Some(bus) = device.secondary_bus() {
                bus.reset(kind);
            }
            if let Ok(_inside) = entry.map(|entry| entry.enter(EntryKind::Reset)).transpose() {
                device.bus_reset(kind);
            }
        }
    }
}

/// The bridge's pin that a pin behind it leads to.
fn swizzle(devfn: u8, pin: u8) -> u8 {
    ((devfn >> 3) + pin) & 3
}

impl fmt::Debug for PciBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PciBus").field("name", &self.name).finish_non_exhaustive()
    }
}
