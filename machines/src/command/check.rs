//! `flatland check`.

use super::board::Changes;
use super::print;
use clap::Args;
use std::process::ExitCode;

#[derive(Args, Clone, Debug)]
pub(crate) struct CheckArgs {
    /// A machine file, or a machine of the catalog
    machine: String,
    #[command(flatten)]
    changes: Changes,
}

pub(crate) fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let machine = args.changes.build(&args.machine)?;
    machine.device_tree("")?;
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
