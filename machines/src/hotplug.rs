//! Plugging devices into a machine that runs, and unplugging them.

use crate::file::{DeviceSpec, FileError, MachineSpec, Problem, RegionKind, RegionRef as Name, WireEnd};
use crate::lifecycle::MachineEvent;
use crate::machine::Machine;
use crate::parts::{Parts, dma_space};
use crate::paths::find_plugged;
use crate::plugged::Plugged;
use crate::sync::Arc;
use crate::wiring;
use memory_dispatch::{Detached, chain};

/// Why a device cannot be plugged in. The machine is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlugError {
    /// The specification of the device is wrong, or does not go with the machine's.
    #[error(transparent)]
    Device(#[from] FileError),
    /// This thread is inside an access, a transaction or a listener.
    #[error("a device cannot be plugged in inside an access, a transaction or a listener")]
    Inside,
}

/// Why a device cannot be unplugged. The machine is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnplugError {
    /// The machine has no device of that name.
    #[error("there is no device `{0}`")]
    Unknown(String),
    /// Something of the machine refers to the device.
    #[error("`{device}` is used by {by}")]
    InUse {
        /// The device.
        device: String,
        /// What refers to it.
        by: String,
    },
    /// The guest was asked to let go of the device, and has not yet.
    #[error("Device {0} is already in the process of unplug")]
    Asked(String),
    /// This thread is inside an access, a transaction or a listener.
    #[error("a device cannot be unplugged inside an access, a transaction or a listener")]
    Inside,
}

impl Machine {
    /// Plugs a device into the machine, which may run: makes it, leads its lines, and maps its regions in one transaction, so
    /// that the guest sees nothing of it or all. From then on the device is one of the machine's, as if its file had
    /// said so: [`Machine::spec`], snapshots and printed maps have it.
    ///
    /// ```
    /// use devices::{Clock, Console, Host};
    /// use machines::{catalog, machine::Machine};
    /// use memory_core::{TxAttrs, Width};
    /// use std::time::{Duration, Instant};
    ///
    /// let host = Host::new(Clock::stepped(), Console::new(std::io::sink()));
    /// let machine = Machine::build(catalog::load("riscv-virt")?, host)?;
    /// let dimm = machine.spec().device_from_toml("dimm0.toml", r#"
    ///     type = "dimm"
    ///     name = "dimm0"
    ///     size = "16M"
    ///     at = "0x1_0000_0000"
    /// "#)?;
    /// machine.plug_device(dimm)?;
    /// let space = machine.cpu_space().expect("the board has one");
    /// space.store(0x1_0000_0000, Width::W8, 42, TxAttrs::default())?;
    /// assert_eq!(space.load(0x1_0000_0000, Width::W8, TxAttrs::default()), Ok(42));
    ///
    /// machine.unplug("dimm0")?.wait(Instant::now() + Duration::from_secs(10))?;
    /// assert!(space.load(0x1_0000_0000, Width::W8, TxAttrs::default()).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A name that is taken, a device that cannot be made, lines that lead nowhere, an overlap.
    pub fn plug_device(&self, said: DeviceSpec) -> Result<Arc<Plugged>, PlugError> {
        if self.is_inside() {
            return Err(PlugError::Inside);
        }
        let _one_at_a_time = self.lock_hotplug();
        let mut spec = MachineSpec::clone(&self.spec());
        if let Some(known) = spec.device(&said.name) {
            let first = known.origin.place_of("name");
            let problem = Problem::Duplicate { what: "device", name: said.name.clone(), first };
            return Err(said.origin.problem("name", problem).into());
        }
        let mut devices = self.devices();
        let parts = Parts { system: self.system(), regions: self.regions(), devices: &devices };
        let plugged = parts.make_device(&said, self.host(), dma_space(&spec, &said, self.spaces())?)?;
        let lines = wiring::lines_of(&said, &plugged, &devices, self.cpu())?;
        devices.push(plugged.clone());
        let parts = Parts { system: self.system(), regions: self.regions(), devices: &devices };
        parts.places(&said, &plugged).and_then(|places| parts.map(&places, &said.origin))?;
        // an interrupt controller does not forget a request: lines of a device that is refused lead nowhere
        lines.connect();
        plugged.activate();
        spec.devices.push(said);
        self.replace_devices(devices, spec);
        plugged.hotplugs().iter().for_each(|(hotplug, slot)| hotplug.came(*slot));
        Ok(plugged)
    }

    /// Asks the guest to let go of a device if there is somebody on its bus to ask it, and unplugs it at once otherwise: then it
    /// is what those who watch are to be told.
    pub(crate) fn ask_to_go(&self, name: &str) -> Result<Option<MachineEvent>, UnplugError> {
        let device = self.device(name).ok_or_else(|| UnplugError::Unknown(name.to_owned()))?;
        let hotplugs = device.hotplugs();
        if hotplugs.is_empty() {
            return self.take_out(name).map(|(_detached, event)| Some(event));
        }
        if hotplugs.iter().any(|(hotplug, slot)| hotplug.is_asked(*slot)) {
            return Err(UnplugError::Asked(name.to_owned()));
        }
        hotplugs.iter().for_each(|(hotplug, slot)| hotplug.ask_to_go(*slot));
        Ok(None)
    }

    /// Takes out what was plugged in later and the guest has let go of.
    pub(crate) fn take_out_ejected(&self) {
        let devices = self.devices();
        for bus in devices.iter().flat_map(|device| device.buses()) {
            let slots = bus.take_ejected();
            for device in devices.iter().filter(|device| device.sits_in(bus, slots)) {
                let taken = find_plugged(self, &device.name).map(|device| self.unplug(&device.name));
                if let Some(Err(error)) = taken {
                    tracing::warn!(%error, "a guest lets go of a device that has to stay");
                }
            }
        }
    }

    /// Unplugs a device from the machine, which may run: takes all its regions off the map in one transaction, lowers its
    /// lines and leads them nowhere. Returns at once; [`Detached::wait`] says when no thread is inside any more. The name
    /// may be used again.
    ///
    /// # Errors
    /// A device that is not there, or to which regions, spaces or other devices' lines refer.
    pub fn unplug(&self, name: &str) -> Result<Detached, UnplugError> {
        let (detached, event) = self.take_out(name)?;
        self.lifecycle().tell(&event);
        Ok(detached)
    }

    /// Unplugs a device, and leaves it to the caller to tell those who watch.
    pub(crate) fn take_out(&self, name: &str) -> Result<(Detached, MachineEvent), UnplugError> {
        if self.is_inside() {
            return Err(UnplugError::Inside);
        }
        let unknown = || UnplugError::Unknown(name.to_owned());
        let _one_at_a_time = self.lock_hotplug();
        let mut spec = MachineSpec::clone(&self.spec());
        let mut devices = self.devices();
        let at = devices.iter().position(|plugged| plugged.name == name).ok_or_else(unknown)?;
        let user = devices.iter().find(|plugged| plugged.uses(name));
        let user = user.map(|plugged| format!("device `{}`", plugged.name));
        if let Some(by) = user_of(&spec, name).or(user) {
            return Err(UnplugError::InUse { device: name.to_owned(), by });
        }
        let plugged = devices.remove(at);
        let plug = plugged.take_plug().ok_or_else(unknown)?;
        spec.devices.retain(|said| said.name != name);
        self.replace_devices(devices, spec);
        plugged.leave_buses();
        let detached = self.system().detach(plug);
        plugged.unwire();
        Ok((detached, MachineEvent::DeviceDeleted { device: name.to_owned() }))
    }

    fn is_inside(&self) -> bool {
        !chain::is_idle() || self.memory().is_inside_transaction()
    }
}

/// What of a machine refers to a device, if something does.
fn user_of(spec: &MachineSpec, device: &str) -> Option<String> {
    let is_of = |name: &Name| matches!(name, Name::Exported { device: owner, .. } if owner == device);
    let region = spec.regions.iter().find(|said| {
        let target = match &said.kind {
            RegionKind::Alias { target, .. } => Some(target),
            _ => None,
        };
        target.into_iter().chain(said.placement.as_ref().map(|placement| &placement.into)).any(is_of)
    });
    let space = spec.spaces.iter().find(|said| is_of(&said.root));
    let other = spec.devices.iter().filter(|said| said.name != device).find(|said| {
        let mut wires = said.wires.iter().flat_map(|wire| &wire.targets);
        wires.any(|target| matches!(&target.end, WireEnd::Device(name) if name == device))
            || said.maps.iter().any(|map| is_of(&map.placement.into))
    });
    let region = region.map(|said| format!("region `{}`", said.name));
    let space = space.map(|said| format!("address space `{}`", said.name));
    region.or(space).or_else(|| other.map(|said| format!("device `{}`", said.name)))
}
