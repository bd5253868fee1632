//! Memory maps of real machines, as QEMU 7.2 printed them, read back and rendered.

use anyhow::{Context, Result, ensure};
use machines::import::{Difference, Imported, Source, import};
use memory_flatview::print::PrintOptions;
use std::fs;
use std::path::{Path, PathBuf};

/// Pairs in the corpus.
const PAIRS: usize = 87;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/qemu-7.2")
}

struct Pair {
    name: String,
    tree: String,
    flat: String,
}

fn pairs() -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for entry in fs::read_dir(corpus()).context("the corpus")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "mtree") {
            let name = path.file_stem().context("a name")?.to_string_lossy().into_owned();
            let (tree, flat) = (fs::read_to_string(&path)?, fs::read_to_string(path.with_extension("flat"))?);
            pairs.push(Pair { name, tree, flat });
        }
    }
    pairs.sort_by(|a, b| a.name.cmp(&b.name));
    ensure!(pairs.len() == PAIRS, "{} of {PAIRS} pairs", pairs.len());
    Ok(pairs)
}

impl Pair {
    fn with_flat(&self, flat: &str) -> Result<Imported> {
        let tree = Source { file: &self.name, text: &self.tree };
        Ok(import(tree, Some(Source { file: &self.name, text: flat }))?)
    }
}

fn lines(differences: &[Difference]) -> String {
    differences.iter().take(10).map(|difference| format!("  {difference}\n")).collect()
}

#[test]
fn every_map_renders_as_qemu_rendered_it() -> Result<()> {
    let mut failed = String::new();
    for pair in pairs()? {
        let differences = pair.with_flat(&pair.flat).with_context(|| pair.name.clone())?.differences();
        if !differences.is_empty() {
            failed += &format!("{}:\n{}", pair.name, lines(&differences));
        }
    }
    ensure!(failed.is_empty(), "{failed}");
    Ok(())
}

/// Where QEMU has two targets of one name, a dump does not tell which an alias means, and ours prints one.
#[test]
fn trees_print_as_qemu_printed_them() -> Result<()> {
    let mut same = 0;
    for pair in pairs()? {
        let options = PrintOptions { disabled: true, ..PrintOptions::default() };
        let text = pair.with_flat(&pair.flat)?.tree_map(options)?.to_string();
        let targets: Vec<_> = pair.tree.lines().filter(|line| line.starts_with("memory-region: ")).collect();
        let mut unique = targets.clone();
        unique.sort_unstable();
        unique.dedup();
        if unique.len() == targets.len() {
            let differs = text.lines().zip(pair.tree.lines()).find(|(ours, theirs)| ours != theirs);
            ensure!(differs.is_none(), "{}: {differs:?}", pair.name);
            ensure!(text.trim_end() == pair.tree.trim_end(), "{}: not of the same length", pair.name);
            same += 1;
        }
    }
    ensure!(same > 80, "only {same} could be compared");
    Ok(())
}
