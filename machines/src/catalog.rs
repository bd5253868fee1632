//! The machines that come with the program.

use crate::file::{FileError, MachineSpec};
use std::path::Path;

/// Name and text of each machine.
const CATALOG: &[(&str, &str)] = &[
    ("bank-switch", include_str!("../catalog/bank-switch.toml")),
    ("none", include_str!("../catalog/none.toml")),
    ("pc-example", include_str!("../catalog/pc-example.toml")),
    ("pc", include_str!("../catalog/pc.toml")),
    ("q35", include_str!("../catalog/q35.toml")),
    ("riscv-virt", include_str!("../catalog/riscv-virt.toml")),
    ("x86-mini", include_str!("../catalog/x86-mini.toml")),
];

/// The machine that runs if none is named.
pub const DEFAULT: &str = "riscv-virt";

/// Machines that QEMU has, too: the name here, which is an alias there, and the name that says a version.
const VERSIONED: &[(&str, &str)] = &[("pc", "pc-i440fx-7.2"), ("q35", "pc-q35-7.2")];

/// The name by which QEMU means one version of the machine `name`, if it has that machine.
pub(crate) fn versioned(name: &str) -> Option<&'static str> {
    VERSIONED.iter().find(|(alias, _)| *alias == name).map(|(_, versioned)| *versioned)
}

/// The names of the machines that come with the program.
pub fn names() -> impl Iterator<Item = &'static str> {
    CATALOG.iter().map(|(name, _)| *name)
}

/// Reads a machine by the name in the catalog, or else the file of that path.
///
/// # Errors
/// What is wrong with the file. If there is no such file, the names of the catalog are listed.
pub fn load(machine: &str) -> Result<MachineSpec, LoadError> {
    if let Some((name, text)) = CATALOG.iter().find(|(name, _)| *name == machine) {
        return Ok(MachineSpec::from_toml(&format!("{name}.toml"), text)?);
    }
    if !Path::new(machine).exists() {
        return Err(LoadError::Unknown { machine: machine.to_owned() });
    }
    Ok(MachineSpec::load(machine)?)
}

/// Why a machine cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Neither a file nor in the catalog.
    #[error("`{machine}` is neither a file nor a machine of the catalog ({})", names().collect::<Vec<_>>().join(", "))]
    Unknown {
        /// What was asked for.
        machine: String,
    },
    /// The file is wrong.
    #[error(transparent)]
    File(#[from] FileError),
}
