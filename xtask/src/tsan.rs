//! The tests of the memory crates under ThreadSanitizer.
//!
//! ThreadSanitizer sees a race where two threads access a place, one of them writes, and no chain of synchronisation that
//! it knows of orders them. So it has to see all code that synchronises, the standard library's too. With the
//! nightly component `rust-src` that is compiled from its sources (`-Zbuild-std`); without it, it is
//! [made of the bitcode](sysroot) that the compiled one carries.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::llvm::Llvm;
use crate::tally::Skip;
use crate::test;
use crate::toolchain::{Component, Toolchain};
use crate::workspace::{MEMORY_CRATES, Workspace};

mod canary;
mod sysroot;

/// Reports that are left out: guest memory races by design. Our own copies of it are atomics here; those that `vm-memory`
/// and `virtio-queue` make of the slices that they are lent are not, and touch nothing else that threads share.
const SUPPRESSIONS: &str =
    "race:/vm-memory-*/src/volatile_memory.rs\nrace:/virtio-queue-*/src/descriptor_utils.rs\n";

/// Where the standard library comes from.
enum Std {
    Sources,
    Bitcode(PathBuf),
}

/// How tests are built and run.
struct Build {
    nightly: Toolchain,
    std: Std,
    /// Names the places in reports; without it they are numbers.
    symbolizer: Option<Llvm>,
}

/// The chore, for `packages`; the memory crates, if they are none.
pub(crate) fn run(workspace: &Workspace, packages: &[String]) -> Result<bool> {
    let skipped = |why: String| println!("{}", Skip { name: "tsan".to_owned(), why });
    let Some(nightly) = Toolchain::nightly_for("tsan") else { return Ok(true) };
    let llvm = Llvm::ensure(workspace, nightly.llvm());
    let (std, symbolizer) = match nightly.missing(&[Component::RustSrc]) {
        None => (Std::Sources, llvm.ok()),
        Some(component) => {
            skipped(format!("with -Zbuild-std: nightly component {} missing", component.name()));
            let made = llvm.and_then(|llvm| Ok((sysroot::instrumented(workspace, &nightly, &llvm)?, llvm)));
            match made {
                Ok((sysroot, llvm)) => (Std::Bitcode(sysroot), Some(llvm)),
                Err(error) => {
                    skipped(format!("with the compiled standard library: {error:#}"));
                    return Ok(true);
                }
            }
        }
    };
    let build = Build { nightly, std, symbolizer };
    println!("tsan: the standard library is {}", build.origin());
    let suppressions = Build::suppressions(workspace);
    fs::create_dir_all(workspace.scratch().join("tsan"))?;
    fs::write(&suppressions, SUPPRESSIONS)
        .with_context(|| format!("cannot write {}", suppressions.display()))?;
    canary::check(workspace, &build)?;
    let mut command = build.cargo(workspace, "test");
    command.current_dir(workspace.root()).args(["--no-fail-fast", "--lib", "--tests"]);
    let packages = match packages {
        [] => MEMORY_CRATES.to_vec(),
        named => named.iter().map(String::as_str).collect(),
    };
    command.args(packages.into_iter().flat_map(|package| ["-p", package]));
    let summary = test::tallied(&mut command)?;
    println!("\ntsan:\n{summary}");
    Ok(summary.failed == 0)
}

impl Build {
    fn origin(&self) -> &'static str {
        match self.std {
            Std::Sources => "compiled for it from its sources",
            Std::Bitcode(_) => "instrumented from the bitcode that it carries",
        }
    }

    /// A call of nightly's cargo that builds for the sanitizer. Only what runs under it is built so: build scripts and
    /// procedural macros are not, because a target is named.
    fn cargo(&self, workspace: &Workspace, chore: &str) -> Command {
        let mut command = self.nightly.call("cargo");
        command.arg(chore).args(["--target", self.nightly.host()]);
        if matches!(self.std, Std::Sources) {
            command.arg("-Zbuild-std");
        }
        command.env("CARGO_ENCODED_RUSTFLAGS", self.flags().join("\u{1f}")).env_remove("RUSTFLAGS");
        command.env("CARGO_TARGET_DIR", workspace.scratch().join("tsan"));
        let mut options = format!("exitcode=66 suppressions={}", Self::suppressions(workspace).display());
        if let Some(llvm) = &self.symbolizer {
            command.envs(llvm.environment());
            options += &format!(" external_symbolizer_path={}", llvm.path("llvm-symbolizer").display());
        }
        command.env("TSAN_OPTIONS", options);
        command
    }

    /// The file of [`SUPPRESSIONS`].
    fn suppressions(workspace: &Workspace) -> PathBuf {
        workspace.scratch().join("tsan/suppressions")
    }

    fn flags(&self) -> Vec<String> {
        let mut flags: Vec<String> = ["-Zsanitizer=thread", "--cfg", "flatland_bytewise_copies"]
            .into_iter()
            // crossbeam, too, has loads in place of fences if it is told
            .chain(["--cfg", "crossbeam_sanitize_thread"])
            .map(str::to_owned)
            .collect();
        if let Std::Bitcode(sysroot) = &self.std {
            flags.push(format!("--sysroot={}", sysroot.display()));
            // the compiler takes the library for one that was not made for the sanitizer
            flags.push("-Cunsafe-allow-abi-mismatch=sanitizer".to_owned());
            let arguments = sysroot::linker_arguments(sysroot);
            flags.extend(arguments.into_iter().map(|argument| format!("-Clink-arg={argument}")));
        }
        flags
    }
}
