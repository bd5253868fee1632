//! Mutants: small changes to the real code that a model has to notice.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use walkdir::WalkDir;

use super::{Models, Options};
use crate::workspace::Workspace;

/// The file that lists them.
const LIST: &str = "tests/loom/mutants.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    mutant: Vec<Mutant>,
}

/// One change, and the models that it breaks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    name: String,
    why: String,
    file: String,
    from: String,
    to: String,
    models: Vec<String>,
}

impl Mutant {
    /// The file's text with the change in it.
    fn apply(&self, text: &str) -> Result<String> {
        let (from, to) = (self.from.trim_start_matches('\n'), self.to.trim_start_matches('\n'));
        match text.matches(from).count() {
            1 => Ok(text.replacen(from, to, 1)),
            found => bail!("mutant `{}`: what it changes is found {found} times in {}", self.name, self.file),
        }
    }
}

/// Makes each mutant in a copy of the tree and runs the models that it names; true if all of them panic.
pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    let path = workspace.root().join(LIST);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let list: List = toml::from_str(&text).with_context(|| format!("{LIST} is wrong"))?;
    let chosen = |mutant: &&Mutant| options.filter.as_deref().is_none_or(|part| mutant.name.contains(part));
    let mutants: Vec<_> = list.mutant.iter().filter(chosen).collect();
    if mutants.is_empty() {
        bail!("no mutant has {:?} in its name", options.filter.as_deref().unwrap_or_default());
    }
    let folder = workspace.scratch().join("mutants");
    let copy = Workspace::at(folder.join("tree"));
    copy_tree(workspace.root(), copy.root())?;
    let mut survived = 0;
    for mutant in &mutants {
        let file = copy.root().join(&mutant.file);
        let whole = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        fs::write(&file, mutant.apply(&whole)?)?;
        let outcomes = Models::build(&copy, &folder.join("target"), "--cfg flatland_loom --cap-lints allow")
            .and_then(|models| {
                models.require(&mutant.models)?;
                models.check(&mutant.models, options.preemptions, options.jobs)
            });
        fs::write(&file, whole)?;
        let outcomes = outcomes.with_context(|| format!("mutant `{}`", mutant.name))?;
        for outcome in outcomes {
            let noticed = outcome.is_broken();
            let said = outcome.complaint();
            let said =
                said.lines().find(|line| !line.is_empty() && !line.starts_with("thread")).unwrap_or("");
            let verdict = if noticed { "noticed" } else { "SURVIVED" };
            println!(
                "{:<30} {:<26} {verdict}: {}",
                mutant.name,
                outcome.model,
                if noticed { said } else { &mutant.why }
            );
            survived += usize::from(!noticed);
        }
    }
    println!("{} mutants, {survived} not noticed", mutants.len());
    Ok(survived == 0)
}

/// Copies the sources of a tree, and only files that changed, so that cargo builds no more than it must.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let is_source = |entry: &walkdir::DirEntry| entry.file_name() != "target" && entry.file_name() != ".git";
    for entry in WalkDir::new(from).into_iter().filter_entry(is_source) {
        let entry = entry.context("cannot look through the tree")?;
        let copy = to.join(entry.path().strip_prefix(from)?);
        if entry.file_type().is_dir() {
            fs::create_dir_all(&copy)?;
        } else if entry.file_type().is_file() {
            let text = fs::read(entry.path())?;
            if fs::read(&copy).ok().as_ref() != Some(&text) {
                fs::write(&copy, text).with_context(|| format!("cannot write {}", copy.display()))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_changes_one_place_of_the_tree() {
        let workspace = Workspace::here();
        let list: List = toml::from_str(&fs::read_to_string(workspace.root().join(LIST)).unwrap()).unwrap();
        for mutant in &list.mutant {
            let text = fs::read_to_string(workspace.root().join(&mutant.file)).unwrap();
            assert_ne!(mutant.apply(&text).unwrap(), text, "{}", mutant.name);
            assert!(!mutant.models.is_empty() && !mutant.why.is_empty());
        }
    }

    #[test]
    fn every_mutant_names_models_that_exist() {
        let root = Workspace::here().root().join("tests/loom");
        let list: List = toml::from_str(&fs::read_to_string(root.join("mutants.toml")).unwrap()).unwrap();
        let files = fs::read_dir(root.join("src/models")).unwrap().map(|entry| entry.unwrap().path());
        let sources: String = files.map(|file| fs::read_to_string(file).unwrap()).collect();
        for (mutant, model) in
            list.mutant.iter().flat_map(|one| one.models.iter().map(|name| (&one.name, name)))
        {
            assert!(sources.contains(&format!("name: \"{model}\",")), "`{model}` of `{mutant}`");
        }
    }
}
