//! `flatland find`.

use super::board::Changes;
use super::print;
use clap::Args;
use machines::file::parse_number;
use memory_core::{Flags, RegionId, Shows, Tree};
use memory_flatview::{Candidate, explain};
use std::fmt::Write as _;
use std::process::ExitCode;

#[derive(Args, Clone, Debug)]
pub(crate) struct FindArgs {
    /// A machine file, or a machine of the catalog
    machine: String,
    /// The address: a number, `0x...`, or with a suffix K, M, G, T
    address: String,
    /// The address space, that of the CPU if none is named
    #[arg(long, value_name = "NAME")]
    space: Option<String>,
    #[command(flatten)]
    changes: Changes,
}

pub(crate) fn find(args: &FindArgs) -> anyhow::Result<ExitCode> {
    let Some(address) = parse_number(&args.address).and_then(|address| u64::try_from(address).ok()) else {
        anyhow::bail!("`{}` is not an address below 2^64", args.address);
    };
    let machine = args.changes.build(&args.machine)?;
    let space = match &args.space {
        Some(name) => machine.space(name),
        None => machine.cpu_space(),
    };
    let Some(space) = space else {
        let names: Vec<_> = machine.spaces().iter().map(|space| space.name()).collect();
        anyhow::bail!("there is no such address space; spaces: {}", names.join(", "));
    };
    let text = machine.memory().read(|tree| {
        let mut text = format!("{address:#018x} in address space `{}`\n", space.name());
        describe(&mut text, tree, &explain(tree, space.root().id(), address));
        text
    })?;
    print(text)?;
    Ok(ExitCode::SUCCESS)
}

fn describe(text: &mut String, tree: &Tree, candidates: &[Candidate]) {
    let (mut reads, mut writes) = (false, false);
    for candidate in candidates {
        let answers_reads = candidate.shows != Shows::Writes && !reads;
        let answers_writes = candidate.shows != Shows::Reads && !writes;
        reads |= answers_reads;
        writes |= answers_writes;
        let role = match (answers_reads, answers_writes) {
            (true, true) => "answers",
            (true, false) => "answers reads",
            (false, true) => "answers writes",
            (false, false) => "hidden below",
        };
        let _ = writeln!(text, "{role}: {}", line(tree, candidate));
    }
    if candidates.is_empty() {
        text.push_str("nobody answers\n");
    }
}

fn line(tree: &Tree, candidate: &Candidate) -> String {
    let name = |id: &RegionId| tree.get(*id).map_or("?", |node| node.name()).to_owned();
    let path: Vec<_> = candidate.path.iter().map(name).collect();
    let node = candidate.path.last().and_then(|id| tree.get(*id));
    let kind = node.map_or("?", |node| node.kind().name());
    let read_only = if candidate.flags.contains(Flags::READ_ONLY) { ", read-only" } else { "" };
    let owner =
        node.and_then(|node| node.owner_path()).map(|owner| format!(", of {owner}")).unwrap_or_default();
    format!(
        "{} ({kind}{read_only}) at offset {:#x}{owner}, through {}",
        path.last().map_or("?", String::as_str),
        candidate.offset,
        path.join(" > ")
    )
}
