//! The tests of the memory crates under ThreadSanitizer.
//!
//! ThreadSanitizer sees a race where two threads access a place, one of them writes, and no chain of synchronisation that
//! it knows of orders them. So it has to see all code that synchronises, the standard library's too. With the
//! nightly component `rust-src` that is compiled from its sources (`-Zbuild-std`); without it, it is
//! [made of the bitcode](sysroot) that the compiled one carries.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::llvm::Llvm;
use crate::tally::Skip;
use crate::test;
use crate::toolchain::{Component, Toolchain};
use crate::workspace::{MEMORY_CRATES, Workspace};

mod canary;
mod sysroot;

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

/// The chore.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
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
    canary::check(workspace, &build)?;
    let mut command = build.cargo(workspace, "test");
    command.current_dir(workspace.root()).args(["--no-fail-fast", "--lib", "--tests"]);
    command.args(MEMORY_CRATES.iter().flat_map(|package| ["-p", package]));
    let summary = test::tallied(&mut command)?;
    println!("\ntsan: {summary}");
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
        let mut options = "exitcode=66".to_owned();
        if let Some(llvm) = &self.symbolizer {
            command.envs(llvm.environment());
            options += &format!(" external_symbolizer_path={}", llvm.path("llvm-symbolizer").display());
        }
        command.env("TSAN_OPTIONS", options);
        command
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
