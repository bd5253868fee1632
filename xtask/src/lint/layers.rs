//! Layers point one way: `memory-core` <- `memory-flatview` <- `memory-dispatch` <- `devices` <- `machines`.
//!
//! Dependencies for tests and build scripts count as much as the others: a test that needs an upper layer belongs to
//! the `tests` package.

use cargo_metadata::Metadata;

use super::Finding;

/// The layers, lowest first; a package may use those before it.
const LAYERS: [&str; 5] = ["memory-core", "memory-flatview", "memory-dispatch", "devices", "machines"];

/// Packages that may use any other, because nothing is built on them.
const ABOVE_ALL: [&str; 3] = ["loom-models", "tests", "xtask"];

/// A package of the workspace and the packages that it depends on, whether they are of the workspace or not.
#[derive(Clone, Debug)]
pub struct Member {
    /// The package's name.
    pub name: String,
    /// The real names of its dependencies of all kinds, renamed or not.
    pub dependencies: Vec<String>,
}

/// The members of the workspace, out of what cargo says.
pub fn members(metadata: &Metadata) -> Vec<Member> {
    metadata
        .workspace_packages()
        .into_iter()
        .map(|package| Member {
            name: package.name.to_string(),
            dependencies: package.dependencies.iter().map(|dependency| dependency.name.clone()).collect(),
        })
        .collect()
}

/// Finds packages that depend on one above them, and packages that are of no layer.
pub fn check(members: &[Member]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        if ABOVE_ALL.contains(&member.name.as_str()) {
            continue;
        }
        let Some(layer) = LAYERS.iter().position(|layer| *layer == member.name) else {
            findings.push(Finding::new(&member.name, "is of no layer; the list is in xtask's lint::layers"));
            continue;
        };
        for dependency in &member.dependencies {
            let ours = members.iter().any(|other| other.name == *dependency);
            let below = LAYERS.iter().take(layer).any(|lower| lower == dependency);
            if ours && !below && *dependency != member.name {
                findings.push(Finding::new(
                    &member.name,
                    format!("depends on {dependency}, which is not below it"),
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, dependencies: &[&str]) -> Member {
        Member {
            name: name.to_owned(),
            dependencies: dependencies.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    fn workspace() -> Vec<Member> {
        let mut members: Vec<_> = LAYERS
            .iter()
            .enumerate()
            .map(|(layer, name)| {
                let mut dependencies = LAYERS[..layer].to_vec();
                dependencies.push("serde");
                member(name, &dependencies)
            })
            .collect();
        members.push(member("tests", &["machines", "memory-core", "xtask"]));
        members.push(member("xtask", &["clap"]));
        members
    }

    #[test]
    fn downward_and_foreign_dependencies_are_accepted() {
        assert_eq!(check(&workspace()), []);
    }

    #[test]
    fn every_upward_dependency_is_found() {
        for (index, lower) in LAYERS.iter().enumerate() {
            for upper in &LAYERS[index + 1..] {
                let mut members = workspace();
                members[index].dependencies.push((*upper).to_owned());
                let findings = check(&members);
                assert_eq!(findings.len(), 1, "{lower} on {upper}");
                assert_eq!(findings[0].place, *lower);
            }
        }
    }

    #[test]
    fn layer_that_uses_the_tests_or_chores_is_found() {
        let mut members = workspace();
        members[3].dependencies.push("tests".to_owned());
        members[4].dependencies.push("xtask".to_owned());
        assert_eq!(check(&members).len(), 2);
    }

    #[test]
    fn package_of_no_layer_is_found() {
        let mut members = workspace();
        members.push(member("common", &[]));
        assert_eq!(check(&members).len(), 1);
    }

    #[test]
    fn members_carry_dependencies_of_all_kinds_by_their_real_names() {
        let metadata = crate::Workspace::here().metadata().unwrap();
        let members = members(&metadata);
        let xtask = members.iter().find(|member| member.name == "xtask").unwrap();
        assert!(xtask.dependencies.iter().any(|name| name == "anyhow"));
        assert!(members.len() >= LAYERS.len() + ABOVE_ALL.len());
    }
}
