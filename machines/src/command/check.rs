//! `flatland check`.

use super::board::Changes;
use super::print;
use anyhow::Context;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args, Clone, Debug)]
pub(crate) struct CheckArgs {
    /// A machine file, or a machine of the catalog
    machine: String,
    /// Write the device tree that the guest gets to a file
    #[arg(long, value_name = "FILE")]
    dtb: Option<PathBuf>,
    #[command(flatten)]
    changes: Changes,
}

pub(crate) fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let machine = args.changes.build(&args.machine)?;
    let tree = machine.device_tree("")?;
    if let Some(path) = &args.dtb {
        let tree = tree.with_context(|| format!("`{}` has no CPU that wants a device tree", args.machine))?;
        std::fs::write(path, tree).with_context(|| path.display().to_string())?;
    }
    let spec = machine.spec();
    print(format!(
        "{}: {} regions, {} address spaces, {} devices: good\n",
        spec.name,
        spec.regions.len(),
        spec.spaces.len(),
        spec.devices.len()
    ))?;
    Ok(ExitCode::SUCCESS)
}
