//! The top level holds what a newcomer expects there, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use super::Finding;
use crate::workspace::{Workspace, output_of};

/// What has to be there.
const REQUIRED: [&str; 20] = [
    ".cargo",
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "clippy.toml",
    "deny.toml",
    "devices",
    "docs",
    "machines",
    "memory-core",
    "memory-dispatch",
    "memory-flatview",
    "rustfmt.toml",
    "tests",
    "xtask",
];

/// What may be there: a toolchain file, for as long as it works with no network.
const OPTIONAL: [&str; 1] = ["rust-toolchain.toml"];

/// Files further down that others rely on by name.
const RELIED_ON: [&str; 3] = [".cargo/config.toml", ".ci/run", "docs/adr"];

/// Compares the top level of the workspace, as far as git tracks it, with the list.
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = compare(&top_level(workspace));
    for path in RELIED_ON {
        if !workspace.root().join(path).exists() {
            findings.push(Finding::new(path, "is missing"));
        }
    }
    findings
}

fn compare(present: &BTreeSet<String>) -> Vec<Finding> {
    let missing = REQUIRED
        .into_iter()
        .filter(|name| !present.contains(*name))
        .map(|name| Finding::new(name, "is missing from the top level"));
    let strange = present
        .iter()
        .filter(|name| !REQUIRED.into_iter().chain(OPTIONAL).any(|known| known == name.as_str()))
        .map(|name| {
            Finding::new(name, "does not belong at the top level; the list is in xtask's lint::folders")
        });
    missing.chain(strange).collect()
}

/// Names at the top level. What git does not track (notes, images, build output) is the developer's own; without git,
/// as in an unpacked archive, all counts but `target`.
fn top_level(workspace: &Workspace) -> BTreeSet<String> {
    let tracked = output_of(Command::new("git").current_dir(workspace.root()).args(["ls-files", "-z"]));
    match tracked {
        Ok(list) if !list.is_empty() => list
            .split(|byte| *byte == 0)
            .filter_map(|path| path.split(|byte| *byte == b'/').next())
            .filter(|name| !name.is_empty())
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect(),
        _ => fs::read_dir(workspace.root())
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
            .filter(|name| name != "target" && name != ".git")
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> BTreeSet<String> {
        REQUIRED.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn exact_list_is_accepted_with_and_without_the_optional_file() {
        let mut names = all();
        assert_eq!(compare(&names), []);
        names.extend(OPTIONAL.map(str::to_owned));
        assert_eq!(compare(&names), []);
    }

    #[test]
    fn missing_and_strange_entries_are_found() {
        let mut names = all();
        names.remove("docs");
        names.insert("util".to_owned());
        let places: Vec<_> = compare(&names).into_iter().map(|finding| finding.place).collect();
        assert_eq!(places, ["docs", "util"]);
    }

    #[test]
    fn tree_without_git_is_read_from_the_file_system() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("target")).unwrap();
        fs::write(place.path().join("Cargo.toml"), "").unwrap();
        let findings = check(&Workspace::at(place.path()));
        assert!(findings.iter().any(|finding| finding.place == ".ci/run"));
        assert!(findings.iter().all(|finding| finding.place != "target" && finding.place != "Cargo.toml"));
    }
}
