//! `flatland import`.

use super::print;
use anyhow::Context;
use clap::Args;
use machines::import::{Source, import as read_back};
use memory_flatview::print::PrintOptions;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args, Clone, Debug)]
pub(crate) struct ImportArgs {
    /// What `info mtree -D` printed
    dump: PathBuf,
    /// What `info mtree -f` printed of the same machine, to compare with: the status is 1 if they disagree
    #[arg(long, value_name = "FLAT")]
    check: Option<PathBuf>,
    /// Print the flat views, and not the trees
    #[arg(long, short = 'f')]
    flat: bool,
    /// Print the same as JSON
    #[arg(long)]
    json: bool,
}

/// How many differences are printed.
const MOST: usize = 20;

pub(crate) fn import(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let text = read(&args.dump)?;
    let file = args.dump.display().to_string();
    let flat =
        args.check.as_deref().map(|path| Ok::<_, anyhow::Error>((path.display().to_string(), read(path)?)));
    let flat = flat.transpose()?;
    let flat_source = flat.as_ref().map(|(file, text)| Source { file, text });
    let imported = read_back(Source { file: &file, text: &text }, flat_source)?;
    let options = PrintOptions { disabled: true, ..PrintOptions::default() };
    match (args.flat, args.json) {
        (true, false) => print(imported.flat_map(options)?)?,
        (true, true) => print(format!("{:#}\n", serde_json::to_value(imported.flat_map(options)?)?))?,
        (false, false) => print(imported.tree_map(options)?)?,
        (false, true) => print(format!("{:#}\n", serde_json::to_value(imported.tree_map(options)?)?))?,
    }
    if args.check.is_none() {
        return Ok(ExitCode::SUCCESS);
    }
    let differences = imported.differences();
    if differences.is_empty() {
        eprintln!("{file}: all address spaces agree");
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for difference in differences.iter().take(MOST) {
        let _ = writeln!(text, "{difference}");
    }
    if differences.len() > MOST {
        let _ = writeln!(text, "and {} more", differences.len() - MOST);
    }
    eprint!("{text}");
    Ok(ExitCode::FAILURE)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{}: not a text", path.display()))
}
