//! The programs that run in the machine: linked statically, since nothing else is there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use cargo_metadata::Message;

use super::home;
use crate::workspace::{Workspace, output_of};

/// What it is compiled for. It is named even though it is the host: what the build itself runs is not linked statically.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The tests that are run.
const TESTS: [&str; 2] = ["kvm", "x86"];

/// The programs, as files of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Programs {
    /// The first process.
    pub(super) init: PathBuf,
    /// The tests of KVM and of machines that run on it, with their names.
    pub(super) tests: Vec<(&'static str, PathBuf)>,
    /// The program `flatland`, which some of the tests run.
    pub(super) flatland: PathBuf,
}

/// What is missing to link them.
pub(super) fn missing() -> Option<String> {
    // the compiler's driver prints a path if it finds the file, and else the bare name
    let found = output_of(Command::new("cc").arg("-print-file-name=libc.a"));
    let found = found.is_ok_and(|path| Path::new(String::from_utf8_lossy(&path).trim()).is_absolute());
    (!found).then(|| "the C library cannot be linked statically (package libc6-dev)".to_owned())
}

impl Programs {
    /// Builds them. They share nothing with other builds, which link in another way.
    pub(super) fn build(workspace: &Workspace) -> Result<Self> {
        let mut command = workspace.cargo();
        command.args(["test", "--quiet", "--no-run", "--message-format=json-render-diagnostics"]);
        command.args(["--target", TARGET, "--package", "tests"]);
        TESTS.iter().for_each(|name| _ = command.args(["--test", name]));
        // the programs of a package are built along with its integration tests, of which any does
        command.args(["--package", "machines", "--test", "command"]);
        command.env("CARGO_TARGET_DIR", home(workspace).join("build"));
        command.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static").env_remove("RUSTFLAGS");
        command.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_PROFILE_DEV_STRIP", "debuginfo");
        let output = command.stderr(Stdio::inherit()).output().context("cannot run cargo test")?;
        ensure!(output.status.success(), "the tests cannot be built");
        let program = |name| program(&output.stdout, name).with_context(|| format!("cargo built no {name}"));
        let tests = TESTS.iter().map(|name| Ok((*name, program(name)?))).collect::<Result<_>>()?;
        Ok(Self { init: program("kvm-nested-init")?, tests, flatland: program("flatland")? })
    }
}

/// The program of the target `name` among what cargo says that it made.
fn program(messages: &[u8], name: &str) -> Option<PathBuf> {
    Message::parse_stream(messages).filter_map(Result::ok).find_map(|message| match message {
        Message::CompilerArtifact(artifact) if artifact.target.name == name => {
            Some(artifact.executable?.into_std_path_buf())
        }
        _ => None,
    })
}
