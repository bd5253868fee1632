//! The tests of the memory crates under AddressSanitizer and its search for leaks.
//!
//! It sees less than [Miri](crate::miri) and more of the program: accesses beyond the end of an allocation, or after it was
//! freed, and memory that nobody points to at the end of a test program. As for Miri, guest memory comes from the allocator,
//! byte for byte as large as it is asked for, so that its ends are watched; the same tests are left out.

use anyhow::Result;

use crate::test;
use crate::toolchain::Toolchain;
use crate::workspace::{MEMORY_CRATES, Workspace};

/// What the compiler is told: the standard library is not instrumented, and need not be for this.
const FLAGS: [&str; 5] = [
    "-Zsanitizer=address",
    "-Cunsafe-allow-abi-mismatch=sanitizer",
    "--cfg",
    "miri",
    // it takes the flag above for a mistake
    "-Aexplicit_builtin_cfgs_in_flags",
];

/// The chore.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let Some(nightly) = Toolchain::nightly_for("asan") else { return Ok(true) };
    let mut command = nightly.call("cargo");
    command.current_dir(workspace.root()).args(["test", "--target", nightly.host()]);
    command.args(["--no-fail-fast", "--lib", "--tests"]);
    command.args(MEMORY_CRATES.iter().flat_map(|package| ["-p", package]));
    command.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}")).env_remove("RUSTFLAGS");
    command.env("CARGO_TARGET_DIR", workspace.scratch().join("asan"));
    let summary = test::tallied(&mut command)?;
    println!("\nasan:\n{summary}");
    Ok(summary.failed == 0)
}
