//! The file system that the kernel unpacks into memory: an archive in the new ASCII form of cpio.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Cursor};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cpio::NewcBuilder;
use cpio::newc::ModeFileType;

type Entry = (NewcBuilder, Cursor<Vec<u8>>);

/// Writes the archive of `files`: where they lie in it, and where they come from. All may be run.
pub(super) fn write(path: &Path, files: &[(PathBuf, PathBuf)]) -> Result<()> {
    // those above come first, as the kernel wants them
    let folders: BTreeSet<&Path> = files.iter().flat_map(|(place, _)| place.ancestors().skip(1)).collect();
    let folders = folders.into_iter().filter(|folder| folder.parent().is_some());
    let folders = folders.map(|folder| entry(folder, ModeFileType::Directory, Vec::new()));
    let mut entries: Vec<Entry> = folders.collect();
    for (place, source) in files {
        let content = fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
        entries.push(entry(place, ModeFileType::Regular, content));
    }
    let archive = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    cpio::write_cpio(entries.into_iter(), BufWriter::new(archive)).context("cannot write the initramfs")?;
    Ok(())
}

fn entry(place: &Path, kind: ModeFileType, content: Vec<u8>) -> Entry {
    (NewcBuilder::new(&archived(place)).mode(0o755).set_mode_file_type(kind), Cursor::new(content))
}

/// Names in archives are relative.
fn archived(place: &Path) -> String {
    place.to_string_lossy().trim_start_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn archive_holds_the_files_and_before_them_the_folders_that_they_are_in() {
        let place = tempfile::tempdir().unwrap();
        let file = |to: &str, name: &str| {
            let path = place.path().join(name);
            fs::write(&path, name).unwrap();
            (PathBuf::from(to), path)
        };
        let archive = place.path().join("archive");
        let files = [file("/init", "first"), file("/a/b/c", "second"), file("/a/d", "third")];
        write(&archive, &files).unwrap();
        let mut archive = File::open(archive).unwrap();
        let mut seen = Vec::new();
        loop {
            let mut reader = cpio::NewcReader::new(archive).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            let mut content = String::new();
            reader.read_to_string(&mut content).unwrap();
            seen.push((name, mode, content));
            archive = reader.finish().unwrap();
        }
        let expected = [
            ("a", 0o040_755, ""),
            ("a/b", 0o040_755, ""),
            ("init", 0o100_755, "first"),
            ("a/b/c", 0o100_755, "second"),
            ("a/d", 0o100_755, "third"),
        ];
        assert_eq!(seen, expected.map(|(name, mode, content)| (name.to_owned(), mode, content.to_owned())));
    }
}
