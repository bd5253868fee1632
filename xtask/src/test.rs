//! Running all tests of the workspace, with one summary at the end.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::tally::{Skip, Summary, Tally};
use crate::workspace::Workspace;

/// Runs `cargo test` over the workspace, every target and doctest, and does not stop at the first failure. What the
/// runners print is passed on; after it come the names of what failed or was skipped, and the totals on the last line.
///
/// # Errors
///
/// Cargo cannot be started, or its output cannot be read or passed on.
pub fn run(workspace: &Workspace, filter: Option<&str>) -> Result<bool> {
    let mut command = workspace.cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    if let Some(filter) = filter {
        command.args(["--", filter]);
    }
    let summary = tallied(&mut command)?;
    println!("\n{summary}");
    Ok(summary.failed == 0)
}

/// Runs a `cargo test`, passes on what it prints, and adds up its runners' reports. A cargo that fails where no test
/// does counts as one failure.
pub(crate) fn tallied(command: &mut Command) -> Result<Summary> {
    let skip_log = tempfile::NamedTempFile::new().context("cannot make the file for skipped tests")?;
    command.env(Skip::LOG, skip_log.path()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot run cargo test")?;

    let mut tally = Tally::default();
    let mut stdout = io::stdout().lock();
    if let Some(pipe) = child.stdout.take() {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        // Bytes, not text: a test that fails may have printed anything.
        while pipe.read_until(b'\n', &mut line).context("cannot read what cargo test prints")? != 0 {
            stdout.write_all(&line)?;
            stdout.flush()?;
            tally.line(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']));
            line.clear();
        }
    }
    let status = child.wait().context("cannot wait for cargo test")?;

    let log = std::fs::read(skip_log.path()).context("cannot read the file of skipped tests")?;
    Ok(tally.finish(status.success(), &String::from_utf8_lossy(&log)))
}
