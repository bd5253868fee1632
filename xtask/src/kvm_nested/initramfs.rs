//! The file system that the kernel unpacks into memory: an archive in the new ASCII form of cpio.

use std::fs::{self, File};
use std::io::{BufWriter, Cursor};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cpio::NewcBuilder;
use cpio::newc::ModeFileType;

use super::place;
use super::programs::Programs;

type Entry = (NewcBuilder, Cursor<Vec<u8>>);

/// Writes the archive of the programs and of `modules`, which are loaded in their order.
pub(super) fn write(path: &Path, programs: &Programs, modules: &[PathBuf]) -> Result<()> {
    let mut entries = vec![folder(place::MODULES)];
    for (number, module) in modules.iter().enumerate() {
        let name = module.file_name().context("a module has no name")?.to_string_lossy();
        entries.push(program(&format!("{}/{number:02}-{name}", place::MODULES), module)?);
    }
    entries.push(program(place::INIT, &programs.init)?);
    entries.push(program(place::TESTS, &programs.tests)?);
    let archive = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    cpio::write_cpio(entries.into_iter(), BufWriter::new(archive)).context("cannot write the initramfs")?;
    Ok(())
}

fn folder(place: &str) -> Entry {
    let entry = NewcBuilder::new(archived(place)).mode(0o755).set_mode_file_type(ModeFileType::Directory);
    (entry, Cursor::new(Vec::new()))
}

/// A file that may be run.
fn program(place: &str, source: &Path) -> Result<Entry> {
    let content = fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
    let entry = NewcBuilder::new(archived(place)).mode(0o755).set_mode_file_type(ModeFileType::Regular);
    Ok((entry, Cursor::new(content)))
}

/// Names in archives are relative.
fn archived(place: &str) -> &str {
    place.trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn archive_holds_the_programs_and_the_modules_in_their_order() {
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = place.path().join(name);
            fs::write(&path, name).unwrap();
            path
        };
        let programs = Programs { init: file("first"), tests: file("second") };
        let archive = place.path().join("archive");
        write(&archive, &programs, &[file("kvm.ko"), file("a.ko")]).unwrap();
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
            ("modules", 0o040_755, ""),
            ("modules/00-kvm.ko", 0o100_755, "kvm.ko"),
            ("modules/01-a.ko", 0o100_755, "a.ko"),
            ("init", 0o100_755, "first"),
            ("kvm-tests", 0o100_755, "second"),
        ];
        assert_eq!(seen, expected.map(|(name, mode, content)| (name.to_owned(), mode, content.to_owned())));
    }
}
