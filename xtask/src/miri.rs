//! Tests under Miri, which finds undefined behaviour by interpreting the program.

use anyhow::Result;

use crate::tally::Skip;
use crate::test;
use crate::toolchain::{Component, Toolchain};
use crate::workspace::Workspace;

/// Tests of one target: its package, the target, and what the names of the tests contain (all, if empty).
struct Suite {
    package: &'static str,
    target: &'static [&'static str],
    names: &'static [&'static str],
}

/// The module with unsafe code, the views, and the tables of handles.
const SUITES: [Suite; 4] = [
    Suite { package: "memory-core", target: &["--lib"], names: &["host::"] },
    Suite { package: "memory-flatview", target: &["--lib"], names: &[] },
    Suite { package: "memory-dispatch", target: &["--lib"], names: &[] },
    Suite {
        package: "memory-dispatch",
        target: &["--test", "dispatch"],
        names: &["publish::", "lifetime::", "single::"],
    },
];

/// The chore.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let Some(nightly) = Toolchain::nightly_for("miri") else { return Ok(true) };
    if let Some(component) = nightly.missing(&[Component::Miri, Component::RustSrc]) {
        let why = format!("nightly component {} missing", component.name());
        println!("{}", Skip { name: "miri".to_owned(), why });
        return Ok(true);
    }
    let mut all_well = true;
    for suite in &SUITES {
        let mut command = nightly.call("cargo");
        command.current_dir(workspace.root()).args(["miri", "test", "-p", suite.package]).args(suite.target);
        command.arg("--").args(suite.names);
        command.env("CARGO_TARGET_DIR", workspace.scratch().join("miri"));
        let summary = test::tallied(&mut command)?;
        println!("\nmiri: {}:\n{summary}", suite.package);
        all_well &= summary.failed == 0;
    }
    Ok(all_well)
}
