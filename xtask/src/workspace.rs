//! The workspace that the chores are about: where it is, and how its tools are called.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand};

/// The crates of the memory API: what the tools that look for races, undefined behaviour and untested lines look at.
pub(crate) const MEMORY_CRATES: [&str; 3] = ["memory-core", "memory-flatview", "memory-dispatch"];

/// A Flatland source tree.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The tree that this program was built from.
    pub fn here() -> Self {
        let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self::at(manifest_dir.parent().unwrap_or(manifest_dir))
    }

    /// The tree whose top-level folder is `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The top-level folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The environment variable that names another folder than [`scratch`](Self::scratch) otherwise is: for tests that run
    /// where there is no tree.
    pub const SCRATCH: &str = "FLATLAND_SCRATCH";

    /// Where chores put what they make, apart from what cargo makes: under the `target` folder of the tree, whatever
    /// `CARGO_TARGET_DIR` says, so that documents can name the paths.
    pub fn scratch(&self) -> PathBuf {
        std::env::var_os(Self::SCRATCH).map_or_else(|| self.root.join("target"), PathBuf::from)
    }

    /// A cargo command in the top-level folder, by the cargo that called this program.
    pub fn cargo(&self) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(&self.root);
        command
    }

    /// What cargo knows of the members, without resolving dependencies: it works with no network.
    ///
    /// # Errors
    ///
    /// A manifest is wrong, or cargo cannot be run.
    pub fn metadata(&self) -> Result<Metadata> {
        MetadataCommand::new()
            .manifest_path(self.root.join("Cargo.toml"))
            .no_deps()
            .exec()
            .context("cannot read the workspace's manifests")
    }

    /// `path` as seen from the top-level folder, with `/` between its parts; unchanged where it is not below it.
    pub fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().replace('\\', "/")
    }
}

/// Whether `program` can be run: it is there, and answers to `argument` with success.
pub(crate) fn runs(program: &str, argument: &str) -> bool {
    Command::new(program).arg(argument).output().is_ok_and(|output| output.status.success())
}

/// Runs `command` to its end with its output on ours; true if it succeeded.
///
/// # Errors
///
/// It cannot be started.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    Ok(status.success())
}

/// Runs `command` to its end and returns what it printed.
///
/// # Errors
///
/// It cannot be started, or it failed: then the error has what it said.
pub(crate) fn output_of(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let program = command.get_program().to_string_lossy().into_owned();
        bail!("{program} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}
