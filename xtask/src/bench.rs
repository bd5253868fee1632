//! The measurements of `tests/bench`, built in release and run.
//!
//! The package is a workspace of its own, so that the crates that it compares us with weigh on nothing else. It is built
//! into `target/bench`.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::workspace::{Workspace, succeeds};

/// The package.
const PACKAGE: &str = "tests/bench";

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
}

/// Builds the program and runs it; true if it measured all that was wanted.
///
/// # Errors
///
/// Cargo cannot be started.
pub fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    let mut command = workspace.cargo();
    let manifest = workspace.root().join(PACKAGE).join("Cargo.toml");
    command.args(["run", "--quiet", "--release", "--bin", "bench", "--manifest-path"]).arg(manifest);
    command.arg("--target-dir").arg(workspace.scratch().join("bench")).env_remove("CARGO_BUILD_TARGET");
    command.arg("--").args(&options.filter);
    if options.list {
        command.arg("--list");
    }
    if let Some(json) = &options.json {
        // the program runs in the top-level folder, wherever it was called from
        let json = std::path::absolute(json).with_context(|| format!("cannot find {}", json.display()))?;
        command.arg("--json").arg(json);
    }
    succeeds(&mut command)
}
