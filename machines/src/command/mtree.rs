//! `flatland mtree`.

use super::board::Changes;
use super::print;
use clap::Args;
use machines::maps::{flat_map, tree_map};
use memory_flatview::print::PrintOptions;
use std::process::ExitCode;

#[derive(Args, Clone, Debug)]
pub(crate) struct MtreeArgs {
    /// A machine file, or a machine of the catalog
    machine: String,
    /// Print the flat views
    #[arg(long, short = 'f')]
    flat: bool,
    /// Print the flat views, and how they are laid out for look-up
    #[arg(long, short = 'd')]
    dispatch: bool,
    /// Print who owns each region
    #[arg(long, short = 'o')]
    owner: bool,
    /// Print dirty logs, coalesced ranges, ioeventfds and the identifiers of RAM blocks
    #[arg(long, short = 'a')]
    attributes: bool,
    /// Print disabled regions, too
    #[arg(long, short = 'D')]
    disabled: bool,
    /// Print the same as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    changes: Changes,
}

pub(crate) fn mtree(args: &MtreeArgs) -> anyhow::Result<ExitCode> {
    let machine = args.changes.build(&args.machine)?;
    let options = PrintOptions {
        owners: args.owner,
        disabled: args.disabled,
        dispatch: args.dispatch,
        attributes: args.attributes,
    };
    let spaces = machine.spaces();
    match (args.flat || args.dispatch, args.json) {
        (true, false) => print(flat_map(machine.memory(), spaces, options)?)?,
        (true, true) => {
            print(format!("{:#}\n", serde_json::to_value(flat_map(machine.memory(), spaces, options)?)?))?
        }
        (false, false) => print(tree_map(machine.memory(), spaces, options)?)?,
        (false, true) => {
            print(format!("{:#}\n", serde_json::to_value(tree_map(machine.memory(), spaces, options)?)?))?
        }
    }
    Ok(ExitCode::SUCCESS)
}
