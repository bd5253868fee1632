//! The stress of `tests::stress`, built in release and run.

use anyhow::Result;

use crate::workspace::{Workspace, succeeds};

/// How long, with how many threads, and what chance follows from.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// How long. With one thread a second is a fixed number of steps, however long they take.
    #[arg(long, default_value_t = 30)]
    pub seconds: u64,
    /// Threads that access the machine, besides the three that change it; 1 has one thread do everything in turn, with a
    /// result that follows from the seed.
    #[arg(long, default_value_t = 4)]
    pub threads: usize,
    /// What chance follows from; another one each time without this.
    #[arg(long)]
    pub seed: Option<u64>,
}

/// Builds the program and runs it; true if it found nothing wrong.
///
/// # Errors
///
/// Cargo cannot be started.
pub fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    let Options { seconds, threads, seed } = options;
    let mut command = workspace.cargo();
    command.args(["run", "--quiet", "--release", "--package", "tests", "--bin", "stress", "--"]);
    command.args(["--seconds", &seconds.to_string(), "--threads", &threads.to_string()]);
    if let Some(seed) = seed {
        command.args(["--seed", &seed.to_string()]);
    }
    succeeds(&mut command)
}
