//! The command line: one subcommand for each chore.

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::{Workspace, succeeds};
use crate::{
    asan, bench, coverage, firmware, fuzz, guests, kvm_nested, lint, loom, miri, proofs, stress, test, tsan,
};

/// Every chore of the workspace.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// A chore.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Format all sources.
    Fmt {
        /// Change nothing; fail if something is not formatted.
        #[arg(long)]
        check: bool,
    },
    /// Check what the compiler does not: clippy, formatting, documentation, licences, and the workspace's own rules.
    Lint,
    /// Run all tests and doctests of the workspace; the last line printed is `N passed, N failed, N skipped`.
    Test {
        /// Run only tests whose name contains this.
        filter: Option<String>,
    },
    /// All that has to pass before a change goes in: fmt --check, lint, firmware, guests --check, test.
    Ci,
    /// Rebuild the guests that the project ships, where the cross compiler is installed.
    Guests {
        /// Change nothing; fail if a committed guest is not what its sources give.
        #[arg(long)]
        check: bool,
    },
    /// Fetch OpenSBI, U-Boot and SeaBIOS from Debian's archive into `target/firmware`; nothing is installed.
    Firmware {
        /// Succeed, and say so, where they cannot be had.
        #[arg(long)]
        if_available: bool,
    },
    /// Run the tests of host memory, views and handles under Miri, where the nightly toolchain has it.
    Miri,
    /// Run the tests of the memory crates under AddressSanitizer, where there is a nightly toolchain.
    Asan,
    /// Run the tests of the memory crates under ThreadSanitizer, where there is a nightly toolchain.
    Tsan {
        /// Run those of these packages instead.
        packages: Vec<String>,
    },
    /// Measure which lines of the memory crates their tests run; fail below 90 % of them.
    Coverage {
        /// Print every file, and every line that was not run.
        #[arg(long)]
        lines: bool,
    },
    /// Run the tests of KVM on Debian's kernel under QEMU's interpreter, whose KVM is that of a real AMD processor.
    KvmNested(kvm_nested::Options),
    /// Fuzz a target of `tests/fuzz`, or all in turn; what that needs is put into `target/tools`.
    Fuzz(fuzz::Options),
    /// Have threads access a machine while its map changes, and compare everything with what it must be.
    Stress(stress::Options),
    /// Measure accesses and commits beside the limits of the hardware and beside other crates.
    Bench(bench::Options),
    /// Build the documentation; a warning is an error.
    Doc,
    /// All proofs in the form that CI runs: loom with two interruptions, Miri, the sanitizers, 30 s of stress, 20 s of each
    /// fuzz target, KVM under an interpreter, counts of instructions.
    Proofs,
    /// Check the models of what threads do to each other, with loom, against the real crates.
    Loom(loom::Options),
}

impl Command {
    /// Does the chore; true if all is well. What is wrong has been printed.
    ///
    /// # Errors
    ///
    /// The chore could not be done to its end.
    pub fn run(&self, workspace: &Workspace) -> Result<bool> {
        match self {
            Self::Fmt { check } => fmt(workspace, *check),
            Self::Lint => lint::run(workspace),
            Self::Test { filter } => test::run(workspace, filter.as_deref()),
            Self::Ci => ci(workspace),
            Self::Guests { check } => guests::run(workspace, *check),
            Self::Firmware { if_available } => firmware::run(workspace, *if_available),
            Self::Miri => miri::run(workspace),
            Self::Asan => asan::run(workspace),
            Self::Tsan { packages } => tsan::run(workspace, packages),
            Self::Coverage { lines } => coverage::run(workspace, *lines),
            Self::KvmNested(options) => kvm_nested::run(workspace, options),
            Self::Fuzz(options) => fuzz::run(workspace, options),
            Self::Stress(options) => stress::run(workspace, options),
            Self::Bench(options) => bench::run(workspace, options),
            Self::Doc => lint::doc(workspace),
            Self::Proofs => proofs::run(workspace),
            Self::Loom(options) => loom::run(workspace, options),
        }
    }
}

fn fmt(workspace: &Workspace, check: bool) -> Result<bool> {
    let mut command = workspace.cargo();
    command.args(["fmt", "--all"]);
    if check {
        command.args(["--", "--check"]);
    }
    succeeds(&mut command)
}

/// Every step runs, so that one change need not be pushed twice to learn of two mistakes. The tests come last: their
/// summary stays the last line. (`lint` checks the formatting.)
fn ci(workspace: &Workspace) -> Result<bool> {
    let steps = [
        Command::Lint,
        Command::Firmware { if_available: true },
        Command::Guests { check: true },
        Command::Test { filter: None },
    ];
    let mut all_well = true;
    for step in steps {
        all_well &= step.run(workspace)?;
    }
    Ok(all_well)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn test_takes_one_optional_filter() {
        let parse = |words: &[&str]| Cli::try_parse_from(words).map(|cli| cli.command);
        assert_eq!(parse(&["xtask", "test"]).unwrap(), Command::Test { filter: None });
        assert_eq!(parse(&["xtask", "test", "uart"]).unwrap(), Command::Test { filter: Some("uart".into()) });
        assert!(parse(&["xtask", "test", "uart", "plic"]).is_err());
        assert!(parse(&["xtask", "tset"]).is_err());
    }

    #[test]
    fn bench_takes_a_filter_or_counts_instructions() {
        let accepts = |words: &[&str]| Cli::try_parse_from(words).is_ok();
        assert!(accepts(&["xtask", "bench"]) && accepts(&["xtask", "bench", "mmio", "--json", "out.json"]));
        assert!(accepts(&["xtask", "bench", "--instructions", "--accept"]));
        assert!(!accepts(&["xtask", "bench", "mmio", "--instructions"]));
        assert!(!accepts(&["xtask", "bench", "--accept"]));
    }

    #[test]
    fn fuzz_takes_one_target_or_all_or_lists_them() {
        let accepts = |words: &[&str]| Cli::try_parse_from(words).is_ok();
        assert!(accepts(&["xtask", "fuzz", "tree", "--seconds", "20"]));
        assert!(
            accepts(&["xtask", "fuzz", "--all", "--seconds", "20"]) && accepts(&["xtask", "fuzz", "--list"])
        );
        assert!(!accepts(&["xtask", "fuzz"]) && !accepts(&["xtask", "fuzz", "tree", "--all"]));
    }
}
