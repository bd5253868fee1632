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
    /// Put a virtio disk with a raw image into the first empty slot; several times for several disks
    #[arg(long, value_name = "FILE[,readonly=on]")]
    drive: Vec<String>,
    /// Put a virtio entropy source into the first empty slot
    #[arg(long)]
    rng: bool,
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
        for drive in &self.drive {
            spec.attach(&disk(drive)?)?;
        }
        if self.rng {
            spec.attach("{ type = \"virtio-rng\" }")?;
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

/// What stands behind `backend =` for a disk of `--drive`. Paths on the command line start at the present folder, not at
/// that of the machine file.
fn disk(drive: &str) -> anyhow::Result<String> {
    let (file, read_only) = match drive.rsplit_once(",readonly=") {
        None => (drive, false),
        Some((file, "on")) => (file, true),
        Some((file, "off")) => (file, false),
        Some((_, other)) => anyhow::bail!("--drive: `readonly={other}` is neither `on` nor `off`"),
    };
    let path = std::path::absolute(file).map_err(|error| anyhow::anyhow!("--drive: `{file}`: {error}"))?;
    let Some(path) = path.to_str() else { anyhow::bail!("--drive: `{file}` is not UTF-8") };
    let image = toml::Value::from(path);
    Ok(format!("{{ type = \"virtio-blk\", image = {image}, read-only = {read_only} }}"))
}
