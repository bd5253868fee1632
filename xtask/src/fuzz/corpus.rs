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
        write!(f, "{inputs} inputs of {bytes} bytes are kept, {left_out} left out for their size")
    }
}

/// What the names of inputs begin with that a person wrote, and that stay.
const SEED: &str = "seed-";

/// Replaces the files of `corpus` by those of `merged`, the smallest first, for as long as there is room. Seeds stay.
pub(super) fn replace(corpus: &Path, merged: &Path) -> Result<Kept> {
    let mut inputs = files(merged)?;
    inputs.sort();
    let mut kept = Kept { inputs: 0, bytes: 0, left_out: 0 };
    for (bytes, old) in files(corpus)? {
        if old.file_name().is_some_and(|name| name.to_string_lossy().starts_with(SEED)) {
            kept.inputs += 1;
            kept.bytes += bytes;
            continue;
        }
        fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    for (bytes, path) in inputs {
        if kept.bytes + bytes > MOST {
            kept.left_out += 1;
            continue;
        }
        let name = path.file_name().context("a file has a name")?;
        fs::copy(&path, corpus.join(name)).with_context(|| format!("cannot copy {}", path.display()))?;
        kept.inputs += 1;
        kept.bytes += bytes;
    }
    Ok(kept)
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
    fn corpus_is_replaced_by_the_smallest_inputs_that_fit() {
        let [corpus, merged] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        fs::write(corpus.path().join("old"), "old").unwrap();
        fs::write(corpus.path().join("seed-1"), "seed").unwrap();
        for (name, bytes) in [("small", 10), ("large", MOST), ("medium", 100)] {
            fs::write(merged.path().join(name), vec![0; bytes as usize]).unwrap();
        }
        let kept = replace(corpus.path(), merged.path()).unwrap();
        assert_eq!(kept, Kept { inputs: 3, bytes: 114, left_out: 1 });
        let mut names: Vec<_> = files(corpus.path()).unwrap();
        names.sort();
        let names: Vec<_> = names.iter().map(|(_, path)| path.file_name().unwrap()).collect();
        assert_eq!(names, ["seed-1", "small", "medium"]);
    }
}
