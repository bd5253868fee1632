//! What is checked besides the tests.
//!
//! The workspace's own rules are structural: they are about sources and manifests, need nothing but this program, and
//! run as a test of the `tests` package too. The rest are tools that come with Rust, and `cargo deny` where it is
//! installed.

use std::fmt;

use anyhow::Result;

use crate::tally::Skip;
use crate::workspace::{Workspace, runs, succeeds};

pub mod folders;
pub mod layers;
pub mod source;
pub mod sync;
pub mod unsafety;

/// A place where the workspace breaks one of its rules.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where: a file with its line, a package, a folder.
    pub place: String,
    /// What is wrong, and what is right.
    pub what: String,
}

impl Finding {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Runs every structural check; empty if the workspace keeps its rules.
///
/// # Errors
///
/// Manifests or sources cannot be read.
pub fn structure(workspace: &Workspace) -> Result<Vec<Finding>> {
    let metadata = workspace.metadata()?;
    let mut findings = folders::check(workspace);
    findings.extend(layers::check(&layers::members(&metadata)));
    findings.extend(sync::check(workspace, &metadata)?);
    findings.extend(unsafety::check(workspace, &metadata)?);
    findings.sort();
    findings.dedup();
    Ok(findings)
}

/// The chore: every check, each to its end; prints a line for each that is well.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let mut all_well = true;
    for (name, check) in CHECKS {
        match check(workspace)? {
            Verdict::Well => println!("lint: {name}: ok"),
            Verdict::Bad => {
                println!("lint: {name}: FAILED");
                all_well = false;
            }
            Verdict::Skipped(why) => {
                println!("{}", Skip { name: format!("lint {name}"), why: why.to_owned() })
            }
        }
    }
    Ok(all_well)
}

enum Verdict {
    Well,
    Bad,
    Skipped(&'static str),
}

impl From<bool> for Verdict {
    fn from(well: bool) -> Self {
        if well { Self::Well } else { Self::Bad }
    }
}

type Check = fn(&Workspace) -> Result<Verdict>;

const CHECKS: [(&str, Check); 5] = [
    ("structure", |workspace| {
        let findings = structure(workspace)?;
        for finding in &findings {
            println!("{finding}");
        }
        Ok(findings.is_empty().into())
    }),
    ("fmt", |workspace| Ok(succeeds(workspace.cargo().args(["fmt", "--all", "--", "--check"]))?.into())),
    ("clippy", |workspace| {
        let arguments = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        Ok(succeeds(workspace.cargo().args(arguments))?.into())
    }),
    ("doc", |workspace| Ok(doc(workspace)?.into())),
    ("deny", deny),
];

/// Builds the documentation of the workspace; a warning is an error.
pub(crate) fn doc(workspace: &Workspace) -> Result<bool> {
    let mut flags = std::env::var("RUSTDOCFLAGS").unwrap_or_default();
    flags.push_str(" -D warnings");
    succeeds(workspace.cargo().args(["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", flags.trim()))
}

fn deny(workspace: &Workspace) -> Result<Verdict> {
    if !runs("cargo-deny", "--version") {
        return Ok(Verdict::Skipped("cargo-deny is not installed (cargo install cargo-deny)"));
    }
    Ok(succeeds(workspace.cargo().args(["deny", "--workspace", "check", "licenses", "bans", "sources"]))?
        .into())
}
