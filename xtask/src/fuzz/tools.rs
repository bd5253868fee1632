//! What fuzzing needs besides the workspace: a C++ compiler, `cargo-fuzz`, and the crates of the targets.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::PACKAGE;
use crate::workspace::{Workspace, runs, succeeds};

/// The version of `cargo-fuzz` that is installed.
const VERSION: &str = "0.13.2";

/// Why this machine cannot fuzz.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing(pub(super) String);

/// The program that builds the targets.
#[derive(Clone, Debug)]
pub(super) struct CargoFuzz {
    program: PathBuf,
}

impl CargoFuzz {
    /// `cargo-fuzz` out of `target/tools`, where it is put if it is not there.
    pub(super) fn find_or_install(workspace: &Workspace) -> Result<Result<Self, Missing>> {
        if !has_cxx() {
            return Ok(Err(Missing("no C++ compiler for the fuzzer's runtime (apt install g++)".to_owned())));
        }
        let tools = workspace.scratch().join("tools");
        let program = tools.join("bin/cargo-fuzz");
        if !is_wanted(&program) && !install(workspace, &tools)? {
            return Ok(Err(Missing(format!("cargo-fuzz {VERSION} cannot be installed"))));
        }
        let manifest = workspace.root().join(PACKAGE).join("Cargo.toml");
        let mut fetch = workspace.cargo();
        // not `--locked`: the lock file follows the dependencies of the workspace's packages
        fetch.args(["fetch", "--quiet", "--manifest-path"]).arg(manifest);
        let output = fetch.output().context("cannot run cargo fetch")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            if said.contains("lock file") {
                bail!("{PACKAGE}/Cargo.lock is not up to date: {}", said.trim());
            }
            return Ok(Err(Missing(format!("the crates of the targets cannot be fetched: {}", said.trim()))));
        }
        Ok(Ok(Self { program }))
    }

    /// A command in the top-level folder.
    pub(super) fn command(&self, workspace: &Workspace) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(workspace.root());
        command
    }
}

fn install(workspace: &Workspace, tools: &Path) -> Result<bool> {
    println!("fuzz: installing cargo-fuzz {VERSION} into {}", workspace.relative(tools));
    let mut command = workspace.cargo();
    command.args(["install", "--quiet", "--locked", "--force", "cargo-fuzz", "--version", VERSION, "--root"]);
    succeeds(command.arg(tools))
}

/// Whether a program is the `cargo-fuzz` that is wanted.
fn is_wanted(program: &Path) -> bool {
    let output = Command::new(program).arg("--version").output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim().ends_with(VERSION))
}

/// Whether there is a C++ compiler where the fuzzer's build looks for one.
fn has_cxx() -> bool {
    match std::env::var("CXX") {
        Ok(program) => runs(&program, "--version"),
        Err(_) => runs("c++", "--version"),
    }
}
