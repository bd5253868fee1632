//! Committed corpora.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Bytes of a committed corpus, at most; all eight stay below 200 KB with that.
const MOST: u64 = 22 << 10;

/// What has become of a corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    inputs: usize,
    bytes: u64,
    left_out: usize,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inputs, bytes, left_out } = self;
        write!(f, "{inputs} inputs of {bytes} bytes are kept, {left_out} left out")
    }
}

/// What the names of inputs begin with that a person wrote, and that stay.
const SEED: &str = "seed-";

/// Inputs of a committed corpus, at most.
const INPUTS: usize = 150;

/// Replaces the files of `corpus` by those of `merged`: all, or else every second, third, ... by size, so that small and
/// large ones stay. Seeds stay anyhow.
pub(super) fn replace(corpus: &Path, merged: &Path) -> Result<Kept> {
    let mut kept = Kept { inputs: 0, bytes: 0, left_out: 0 };
    for (bytes, old) in files(corpus)? {
        if old.file_name().is_some_and(|name| name.to_string_lossy().starts_with(SEED)) {
            kept.inputs += 1;
            kept.bytes += bytes;
            continue;
        }
        fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    let mut inputs = files(merged)?;
    inputs.sort();
    let step = step(&inputs, MOST.saturating_sub(kept.bytes));
    kept.left_out = inputs.len();
    for (bytes, path) in inputs.into_iter().step_by(step) {
        let name = path.file_name().context("a file has a name")?;
        fs::copy(&path, corpus.join(name)).with_context(|| format!("cannot copy {}", path.display()))?;
        kept.inputs += 1;
        kept.bytes += bytes;
        kept.left_out -= 1;
    }
    Ok(kept)
}

/// The smallest step with which few enough inputs of few enough bytes are taken.
fn step(inputs: &[(u64, PathBuf)], room: u64) -> usize {
    let fits = |step: &usize| {
        let taken = inputs.iter().step_by(*step);
        taken.len() <= INPUTS && taken.map(|(bytes, _)| bytes).sum::<u64>() <= room
    };
    (1..=inputs.len()).find(fits).unwrap_or(inputs.len().max(1))
}

/// The files of a folder, with their sizes.
fn files(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let list = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    list.map(|entry| {
        let entry = entry?;
        Ok((entry.metadata()?.len(), entry.path()))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corpus_is_replaced_by_inputs_of_all_sizes_that_fit_and_seeds_stay() {
        let [corpus, merged] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        fs::write(corpus.path().join("old"), "old").unwrap();
        fs::write(corpus.path().join("seed-1"), "seed").unwrap();
        for (name, bytes) in [("a", 10), ("b", 20), ("c", MOST / 2), ("d", MOST - 10)] {
            fs::write(merged.path().join(name), vec![0; usize::try_from(bytes).unwrap()]).unwrap();
        }
        let kept = replace(corpus.path(), merged.path()).unwrap();
        assert_eq!(kept, Kept { inputs: 3, bytes: 4 + 10 + MOST / 2, left_out: 2 });
        let mut names = files(corpus.path()).unwrap();
        names.sort();
        let names: Vec<_> = names.iter().map(|(_, path)| path.file_name().unwrap()).collect();
        assert_eq!(names, ["seed-1", "a", "c"]);
    }
}
