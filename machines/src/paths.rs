//! The names by which QEMU's protocols call devices: paths in a tree of objects.

use crate::machine::{Machine, Plugged};
use crate::sync::Arc;

/// Where the tree has the devices that a machine was built with, those that were plugged in with a name, and those without.
pub const MACHINE: &str = "/machine";
/// Below it are the devices that people named.
pub const PERIPHERAL: &str = "/machine/peripheral";
/// Below it are the devices that were plugged in and nobody named.
pub const PERIPHERAL_ANON: &str = "/machine/peripheral-anon";
/// Below it are parts of the machine.
pub const UNATTACHED: &str = "/machine/unattached";

/// The device that a path means: below [`MACHINE`] or one of its folders, or, without a leading `/`, the device whose path
/// ends so. A device goes by its name, and by its type's if no device has that name and one only is of that type. It may stand below
/// another device, as QEMU has a PC's I/O APIC below the host bridge.
pub fn find_device(machine: &Machine, path: &str) -> Option<Arc<Plugged>> {
    let path = match path.strip_prefix('/') {
        Some(_) => {
            let folders = [PERIPHERAL, PERIPHERAL_ANON, UNATTACHED, MACHINE];
            folders.iter().find_map(|folder| path.strip_prefix(folder)?.strip_prefix('/'))?
        }
        None => path,
    };
    let mut names = path.split('/').map(|name| device_called(machine, name));
    let last = names.next_back()??;
    names.all(|device| device.is_some()).then_some(last)
}

fn device_called(machine: &Machine, name: &str) -> Option<Arc<Plugged>> {
    machine.device(name).or_else(|| {
        let spec = machine.spec();
        let mut of_type = spec.devices.iter().filter(|said| said.type_name == name);
        let only = of_type.next()?;
        of_type.next().is_none().then(|| machine.device(&only.name))?
    })
}

/// The device that people plugged in under this name, or that stands at this path below [`PERIPHERAL`] or [`PERIPHERAL_ANON`]: no
/// part of the board.
pub(crate) fn find_plugged(machine: &Machine, id: &str) -> Option<Arc<Plugged>> {
    let below = |folder: &str| id.strip_prefix(folder)?.strip_prefix('/');
    let name = below(PERIPHERAL).or_else(|| below(PERIPHERAL_ANON)).unwrap_or(id);
    let spec = machine.spec();
    let said = spec.device(name)?;
    // what came later was written elsewhere
    (said.origin.file() != spec.origin.file()).then(|| machine.device(name))?
}
