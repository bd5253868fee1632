//! A machine that was built: its memory, its devices, and how they are reached.

use crate::cpu::Cpu;
use crate::file::MachineSpec;
use crate::sync::Arc;
use devices::{Device, Export, Host, IrqInputs, Output, ResetType};
use memory_core::{Memory, Plug, Region, RegionRef};
use memory_dispatch::{AddressSpace, MemorySystem};
use std::fmt;

/// A device in its machine.
pub struct Plugged {
    /// Its name in the machine file.
    pub name: String,
    /// What keeps it plugged in.
    pub(crate) plug: Plug<dyn Device>,
    pub(crate) exports: Vec<Export>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) inputs: Vec<(String, IrqInputs)>,
}

impl Plugged {
    /// The device.
    pub fn device(&self) -> Option<&Arc<dyn Device>> {
        self.plug.device()
    }

    /// The regions that it exports.
    pub fn exports(&self) -> &[Export] {
        &self.exports
    }

    /// The region that it exports under `name`; without a name the only one.
    pub(crate) fn export(&self, name: Option<&str>) -> Option<&RegionRef> {
        let mut matching = self.exports.iter().filter(|export| name.is_none_or(|name| export.name == name));
        let first = matching.next()?;
        (name.is_some() || matching.next().is_none()).then_some(&first.region)
    }

    /// The inputs of group `name`; without a name the only group.
    pub(crate) fn input_group(&self, name: Option<&str>) -> Option<&IrqInputs> {
        let mut matching = self.inputs.iter().filter(|(group, _)| name.is_none_or(|name| group == name));
        let first = matching.next()?;
        (name.is_some() || matching.next().is_none()).then_some(&first.1)
    }
}

/// A machine that was built from a [`MachineSpec`]; see [`Machine::build`]. It does nothing until it is run.
///
/// Dropping it unplugs its devices. Fields go in the order in which they stand: CPUs, devices, spaces, regions.
pub struct Machine {
    pub(crate) cpu: Option<Cpu>,
    pub(crate) devices: Vec<Plugged>,
    pub(crate) spaces: Vec<Arc<AddressSpace>>,
    pub(crate) regions: Vec<Region>,
    pub(crate) host: Host,
    pub(crate) spec: MachineSpec,
    pub(crate) system: MemorySystem,
}

impl Machine {
    /// What the machine was built from.
    pub fn spec(&self) -> &MachineSpec {
        &self.spec
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

    /// The devices, in the order of the file.
    pub fn devices(&self) -> &[Plugged] {
        &self.devices
    }

    /// The device of that name.
    pub fn device(&self, name: &str) -> Option<&Plugged> {
        self.devices.iter().find(|device| device.name == name)
    }

    /// What the machine offers its devices: clock, console, power switch.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The processor, if the machine has one.
    pub fn cpu(&self) -> Option<&Cpu> {
        self.cpu.as_ref()
    }

    /// The address space that the CPU sees, or else the first.
    pub fn cpu_space(&self) -> Option<&Arc<AddressSpace>> {
        match &self.spec.cpu {
            Some(cpu) => self.space(&cpu.space),
            None => self.spaces.first(),
        }
    }

    /// Resets every device.
    pub fn reset_devices(&self, kind: ResetType) {
        self.devices.iter().filter_map(Plugged::device).for_each(|device| device.reset(kind));
    }

    /// The machine as it is now, with the properties and state of every device: a machine file that builds it again.
    /// The content of memory is not part of it.
    ///
    /// # Errors
    /// A device whose state cannot be written as TOML, by name.
    pub fn snapshot(&self) -> Result<MachineSpec, SnapshotError> {
        let mut spec = self.spec.clone();
        for plugged in &self.devices {
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

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("name", &self.spec.name).finish_non_exhaustive()
    }
}

/// Why a machine cannot be written down.
#[derive(Debug, thiserror::Error)]
#[error("device `{device}` cannot be saved: {reason}")]
pub struct SnapshotError {
    device: String,
    reason: String,
}
