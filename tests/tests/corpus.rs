//! Memory maps of real machines, as QEMU 7.2 printed them, read back and rendered.

use anyhow::{Context, Result, ensure};
use machines::import::{Difference, Imported, Source, import};
use memory_flatview::print::PrintOptions;
use std::collections::HashSet;
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

/// The sections of a dump, with their lines in an order of no meaning.
fn sections(text: &str) -> Vec<Vec<&str>> {
    let mut sections: Vec<Vec<&str>> =
        text.trim_end().split("\n\n").map(|section| section.lines().collect()).collect();
    for section in &mut sections {
        section.sort_unstable();
    }
    sections
}

/// A dump does not tell two targets of one name apart, and ours has one then. Nor does it tell the order of siblings of
/// equal priority, in which those with the same address are printed.
#[test]
fn trees_print_as_qemu_printed_them() -> Result<()> {
    let (mut alike, mut same) = (0, 0);
    for pair in pairs()? {
        let options = PrintOptions { disabled: true, ..PrintOptions::default() };
        let text = pair.with_flat(&pair.flat)?.tree_map(options)?.to_string();
        let targets: Vec<_> = pair.tree.lines().filter(|line| line.starts_with("memory-region: ")).collect();
        if targets.iter().collect::<HashSet<_>>().len() == targets.len() {
            ensure!(sections(&text) == sections(&pair.tree), "{}:\n{text}", pair.name);
            alike += 1;
            same += usize::from(text.trim_end() == pair.tree.trim_end());
        }
    }
    ensure!(alike > 80 && same > 70, "of {PAIRS} trees {alike} are alike, {same} the same");
    Ok(())
}

/// What we print is a dump as well, and says the same.
#[test]
fn own_prints_read_back_without_a_difference() -> Result<()> {
    for pair in pairs()? {
        let imported = pair.with_flat(&pair.flat)?;
        for owners in [false, true] {
            let options = PrintOptions { disabled: true, owners, dispatch: owners, attributes: false };
            let again = Pair {
                name: pair.name.clone(),
                tree: imported.tree_map(options)?.to_string(),
                flat: imported.flat_map(options)?.to_string(),
            };
            let differences = again.with_flat(&again.flat)?.differences();
            ensure!(differences.is_empty(), "{}:\n{}", pair.name, lines(&differences));
        }
    }
    Ok(())
}

/// The space that a difference is about.
fn space(difference: &Difference) -> &str {
    match difference {
        Difference::NoSpace { .. } => "",
        Difference::OnlyInTrees { space }
        | Difference::OnlyInFlatViews { space, .. }
        | Difference::Range { space, .. } => space,
    }
}

#[test]
fn every_changed_range_is_found_and_named() -> Result<()> {
    for pair in pairs()?.into_iter().step_by(8) {
        let lines: Vec<&str> = pair.flat.lines().collect();
        let mut spaces: Vec<&str> = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            if line.starts_with("FlatView") {
                spaces.clear();
            }
            if let Some((name, _)) = line.strip_prefix(" AS \"").and_then(|line| line.split_once('"')) {
                spaces.push(name);
            }
            if !line.contains(" (prio ") {
                continue;
            }
            // under another name, gone, and ending elsewhere
            let renamed = format!("{line}x");
            let last = u64::from_str_radix(&line[19..35], 16)?;
            let shorter = format!("{}{:016x}{}", &line[..19], last.wrapping_sub(1), &line[35..]);
            let mut changes = vec![Some(&renamed)];
            // a device that shows up nowhere is taken for a container
            let name = line.split_once("): ").map_or("", |(_, name)| name);
            let name = name.split_once(" @0").map_or(name, |(name, _)| name);
            let others = lines.iter().enumerate().filter(|(at, _)| *at != index);
            if others.filter_map(|(_, other)| other.split_once("): ")).any(|(_, other)| other == name) {
                changes.push(None);
            }
            // a range of one byte that is shorter is none
            if line[2..18] != line[19..35] {
                changes.push(Some(&shorter));
            }
            for change in changes {
                let mut changed = lines.clone();
                match change {
                    Some(change) => changed[index] = change,
                    None => drop(changed.remove(index)),
                }
                let imported = pair.with_flat(&changed.join("\n"))?;
                let differences = imported.differences();
                ensure!(!differences.is_empty(), "{} {}: {change:?} was not found", pair.name, index + 1);
                for difference in &differences {
                    ensure!(spaces.contains(&space(difference)), "{}: {difference}", pair.name);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn truncated_flat_file_is_found_wherever_it_ends() -> Result<()> {
    let pairs = pairs()?;
    let pair = pairs.iter().find(|pair| pair.name == "aarch64-lm3s811evb").context("the pair")?;
    // up to the last range, behind which nothing more is said
    let end = pair.flat.trim_end().len();
    for length in 0..end {
        let tree = Source { file: "a.mtree", text: &pair.tree };
        let flat = Source { file: "a.flat", text: &pair.flat[..length] };
        match import(tree, Some(flat)) {
            Ok(imported) => ensure!(!imported.differences().is_empty(), "{length} bytes are enough"),
            Err(error) => ensure!(error.file() == "a.flat", "{error}"),
        }
    }
    Ok(())
}

#[test]
fn truncated_tree_never_panics() -> Result<()> {
    let pairs = pairs()?;
    let pair = pairs.iter().find(|pair| pair.name == "sh4eb-r2d").context("the pair")?;
    let mut read = 0;
    for length in (0..pair.tree.len()).step_by(7) {
        let tree = Source { file: "a.mtree", text: &pair.tree[..length] };
        let flat = Source { file: "a.flat", text: &pair.flat };
        match import(tree, Some(flat)) {
            Ok(imported) => {
                imported.differences();
                read += 1;
            }
            Err(error) => ensure!(error.file() == "a.mtree", "{error}"),
        }
    }
    ensure!(read > 0, "nothing of it could be read");
    Ok(())
}

#[test]
fn other_files_are_no_dumps() -> Result<()> {
    for (text, message) in [
        ("", "a.mtree: not a memory map: it has no line `address-space: ...`"),
        (include_str!("../../Cargo.toml"), "a.mtree:1: not a line of a memory map: "),
        ("\u{7f}ELF\u{2}\u{1}", "a.mtree:1: not a line of a memory map: "),
    ] {
        let error = import(Source { file: "a.mtree", text }, None).err().context("an error")?;
        ensure!(error.to_string().starts_with(message), "{error}");
    }
    Ok(())
}
