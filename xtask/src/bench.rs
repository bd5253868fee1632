//! The measurements of `tests/bench`, built in release and run.
//!
//! The package is a workspace of its own, so that the crates that it compares us with weigh on nothing else. It is built
//! into `target/bench`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::tally::Skip;
use crate::workspace::{Workspace, runs, succeeds};

/// The package.
const PACKAGE: &str = "tests/bench";
/// Where the figures are told.
const PAGE: &str = "docs/performance.md";
/// What operations may take.
const INSTRUCTIONS: &str = "tests/bench/instructions.toml";

/// What to measure, and where to write it.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// Measure only figures whose id contains this.
    pub filter: Option<String>,
    /// Print the ids of all figures, and measure nothing.
    #[arg(long)]
    pub list: bool,
    /// Write all numbers to a file, too.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Count instructions of a few operations under Valgrind instead, and compare them with what is committed.
    #[arg(long, conflicts_with_all = ["filter", "list", "json"])]
    pub instructions: bool,
    /// Commit to what is counted now.
    #[arg(long, requires = "instructions")]
    pub accept: bool,
}

/// Builds the programs and measures; true if all that was wanted could be, and no operation takes more instructions than it
/// may. A run of everything writes the page anew.
///
/// # Errors
///
/// Cargo or the program cannot be started.
pub fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    if options.instructions && !runs("valgrind", "--version") {
        println!("{}", Skip { name: "instructions".to_owned(), why: "valgrind is not installed".to_owned() });
        return Ok(true);
    }
    let manifest = workspace.root().join(PACKAGE).join("Cargo.toml");
    if let Some(why) = missing(workspace, &manifest)? {
        println!("{}", Skip { name: "bench".to_owned(), why });
        return Ok(true);
    }
    if !build(workspace, &manifest)? {
        return Ok(false);
    }
    let mut command = Command::new(workspace.scratch().join("bench/release/bench"));
    command.current_dir(workspace.root()).args(&options.filter);
    if options.instructions {
        command.args(["--instructions", INSTRUCTIONS]).args(options.accept.then_some("--accept"));
        return succeeds(&mut command);
    }
    if options.list {
        command.arg("--list");
    }
    if let Some(json) = &options.json {
        // the program runs in the top-level folder, wherever it was called from
        let json = std::path::absolute(json).with_context(|| format!("cannot find {}", json.display()))?;
        command.arg("--json").arg(json);
    }
    if options.filter.is_none() && !options.list {
        command.arg("--page").arg(workspace.root().join(PAGE));
    }
    succeeds(&mut command)
}

/// Why the package cannot be built here, if that is for want of a network.
fn missing(workspace: &Workspace, manifest: &Path) -> Result<Option<String>> {
    let mut fetch = workspace.cargo();
    // not `--locked`: the lock file follows the dependencies of the workspace's packages
    fetch.args(["fetch", "--quiet", "--manifest-path"]).arg(manifest);
    let output = fetch.output().context("cannot run cargo fetch")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && said.contains("lock file") {
        bail!("{PACKAGE}/Cargo.lock is not up to date: {}", said.trim());
    }
    Ok((!output.status.success()).then(|| format!("the peers' crates cannot be fetched: {}", said.trim())))
}

fn build(workspace: &Workspace, manifest: &Path) -> Result<bool> {
    let mut command = workspace.cargo();
    command.args(["build", "--quiet", "--release", "--bins", "--manifest-path"]).arg(manifest);
    command.arg("--target-dir").arg(workspace.scratch().join("bench")).env_remove("CARGO_BUILD_TARGET");
    succeeds(&mut command)
}
