//! The options that name and change a machine.

use clap::Args;
use devices::{Clock, Console, Host};
use machines::catalog;
use machines::file::MachineSpec;
use machines::machine::Machine;

/// Changes to a machine file.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Changes {
    /// Give a property of a device, or of `machine` or `cpu`, another value
    #[arg(long, value_name = "DEVICE.PROPERTY=VALUE")]
    set: Vec<String>,
    /// The number of harts
    #[arg(long, value_name = "N")]
    smp: Option<u32>,
    /// The size of the machine's memory
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
}

impl Changes {
    /// The machine of a file or of the catalog, with the changes made.
    pub(crate) fn load(&self, machine: &str) -> anyhow::Result<MachineSpec> {
        let mut spec = catalog::load(machine)?;
        if let Some(memory) = &self.memory {
            spec.set("machine.memory", memory)?;
        }
        if let Some(harts) = self.smp {
            spec.set("cpu.harts", &harts.to_string())?;
        }
        for set in &self.set {
            let Some((key, value)) = set.split_once('=') else {
                anyhow::bail!("--set: `{set}` is not of the form DEVICE.PROPERTY=VALUE");
            };
            spec.set(key, value)?;
        }
        Ok(spec)
    }

    /// That machine, built to be looked at: nothing that it leads to is touched.
    pub(crate) fn build(&self, machine: &str) -> anyhow::Result<Machine> {
        let spec = self.load(machine)?;
        let host = Host::new(Clock::stepped(), Console::new(std::io::sink()));
        Ok(Machine::build(spec, Host { looking: true, ..host })?)
    }
}
