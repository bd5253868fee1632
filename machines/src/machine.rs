//! A machine that was built: its memory, its devices, and how they are reached.

use crate::backends::Backends;
use crate::cpu::Cpu;
use crate::file::MachineSpec;
use crate::lifecycle::{Lifecycle, Wish};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};
use devices::{Host, ResetType};
use memory_core::{Memory, Region, RegionRef};
use memory_dispatch::{AddressSpace, MemorySystem, chain};
use std::fmt;

pub use crate::hotplug::{PlugError, UnplugError};
pub use crate::plugged::Plugged;

/// A machine that was built from a [`MachineSpec`]; see [`Machine::build`]. It does nothing until it is run.
///
/// Dropping it unplugs its devices. Fields go in the order in which they stand: CPUs, devices, spaces, regions.
pub struct Machine {
    cpu: Option<Cpu>,
    /// Devices, and the specification that has them; both change when a device is plugged in or unplugged. Held to
    /// look, never while a device runs.
    present: Mutex<Present>,
    /// Held while a device is plugged in or unplugged, before all other locks. Not taken inside accesses or
    /// transactions.
    hotplug: Mutex<()>,
    spaces: Vec<Arc<AddressSpace>>,
    regions: Vec<Region>,
    host: Host,
    lifecycle: Lifecycle,
    /// What devices are given by name. Held for an instant.
    backends: Mutex<Backends>,
    system: MemorySystem,
}

/// What a machine has now.
struct Present {
    devices: Vec<Arc<Plugged>>,
    spec: Arc<MachineSpec>,
}

impl Machine {
    /// A machine of parts that are mapped and wired.
    pub(crate) fn new(
        spec: MachineSpec,
        cpu: Option<Cpu>,
        devices: Vec<Arc<Plugged>>,
        (spaces, regions): (Vec<Arc<AddressSpace>>, Vec<Region>),
        host: Host,
        system: MemorySystem,
    ) -> Self {
        let present = Mutex::new(Present { devices, spec: Arc::new(spec) });
        let lifecycle = Lifecycle::new(host.clock.clone());
        let asked = lifecycle.clone();
        host.power.on_request(move |request| asked.post(Wish::Power(request)));
        let (hotplug, backends) = Default::default();
        Self { cpu, present, hotplug, spaces, regions, host, lifecycle, backends, system }
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_hotplug(&self) -> MutexGuard<'_, ()> {
        self.hotplug.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn replace_devices(&self, devices: Vec<Arc<Plugged>>, spec: MachineSpec) {
        let present = Present { devices, spec: Arc::new(spec) };
        let before = std::mem::replace(&mut *self.present(), present);
        // not under the lock: a device may go with it
        drop(before);
    }

    /// What the machine was built from, with the devices that it has now.
    pub fn spec(&self) -> Arc<MachineSpec> {
        self.present().spec.clone()
    }

    pub(crate) fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The regions.
    pub fn memory(&self) -> &Memory {
        self.system.memory()
    }

    /// The memory and its address spaces.
    pub fn system(&self) -> &MemorySystem {
        &self.system
    }

    /// The address spaces, in the order of the file.
    pub fn spaces(&self) -> &[Arc<AddressSpace>] {
        &self.spaces
    }

    /// The address space of that name.
    pub fn space(&self, name: &str) -> Option<&Arc<AddressSpace>> {
        self.spaces.iter().find(|space| space.name() == name)
    }

    /// The region that the file declares under that name.
    pub fn region(&self, name: &str) -> Option<&RegionRef> {
        self.regions.iter().find(|region| **region.name() == *name).map(|region| region.by_ref())
    }

    /// The devices that the machine has now, in the order of the file.
    pub fn devices(&self) -> Vec<Arc<Plugged>> {
        self.present().devices.clone()
    }

    /// The device of that name.
    pub fn device(&self, name: &str) -> Option<Arc<Plugged>> {
        self.present().devices.iter().find(|device| device.name == name).cloned()
    }

    /// What the machine offers its devices: clock, console, power switch.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Whether the machine runs, what is asked of it, and what happens to it.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// What devices that are plugged in are given by name.
    pub fn backends(&self) -> MutexGuard<'_, Backends> {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The processor, if the machine has one.
    pub fn cpu(&self) -> Option<&Cpu> {
        self.cpu.as_ref()
    }

    /// The address space that the CPU sees, or else the first.
    pub fn cpu_space(&self) -> Option<&Arc<AddressSpace>> {
        match &self.spec().cpu {
            Some(cpu) => self.space(&cpu.space),
            None => self.spaces.first(),
        }
    }

    /// The address space that the CPU's port instructions reach; in a machine without a CPU the one that is called `ports`,
    /// `io` or `I/O`.
    pub fn port_space(&self) -> Option<&Arc<AddressSpace>> {
        self.space(&self.spec().port_space()?.name)
    }

    /// Resets every device, each through its re-entrancy guard. A device that wants this asks
    /// [`Power`](devices::Power), and whoever runs the machine does it when the access is over.
    ///
    /// # Errors
    /// Inside an access, where it would reach a device that is in the middle of something; nothing is reset then.
    pub fn reset_devices(&self, kind: ResetType) -> Result<(), InsideAccess> {
        if !chain::is_idle() {
            return Err(InsideAccess);
        }
        self.devices().iter().for_each(|device| _ = device.reset(kind));
        Ok(())
    }

    /// The machine as it is now, with the properties and state of every device: a machine file that builds it again.
    /// The content of memory is not part of it.
    ///
    /// # Errors
    /// A device whose state cannot be written as TOML, by name.
    pub fn snapshot(&self) -> Result<MachineSpec, SnapshotError> {
        let mut spec = MachineSpec::clone(&self.spec());
        for plugged in self.devices() {
            let failed = |reason: String| SnapshotError { device: plugged.name.clone(), reason };
            let Some(device) = plugged.device() else { continue };
            let state = serde_json::to_value(device.as_ref()).map_err(|error| failed(error.to_string()))?;
            if let Some(device) = spec.device_mut(&plugged.name) {
                device.replace_properties(state).map_err(|error| failed(error.to_string()))?;
            }
        }
        Ok(spec)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // somebody else may still hold a `Plugged`
        self.devices().iter().for_each(|device| drop(device.take_plug()));
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("name", &self.spec().name).finish_non_exhaustive()
    }
}

/// A machine was to be reset inside an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a machine cannot be reset inside an access")]
pub struct InsideAccess;

/// Why a machine cannot be written down.
#[derive(Debug, thiserror::Error)]
#[error("device `{device}` cannot be saved: {reason}")]
pub struct SnapshotError {
    device: String,
    reason: String,
}
