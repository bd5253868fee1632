//! Rebuilding the guests that the project ships.
//!
//! A guest is a folder `machines/guests/NAME/` with its sources and a response file `build.args`, and the built program
//! `machines/guests/NAME.elf`, which is committed so that nobody needs a cross compiler to run it. In that folder,
//! `riscv64-unknown-elf-gcc @build.args -o OUT` gives the same file again, byte for byte, with the same tools:
//! `build.tools` has the versions that made the committed file. Other versions may give other bytes from the same
//! sources, so a check with them only builds.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::tally::Skip;
use crate::workspace::{Workspace, output_of, runs};

const COMPILER: &str = "riscv64-unknown-elf-gcc";
const LINKER: &str = "riscv64-unknown-elf-ld";

/// Why [`rebuild`] gave none, with what to do about it.
pub const MISSING: &str =
    "gcc-riscv64-unknown-elf is not installed (apt-get install gcc-riscv64-unknown-elf)";

/// What became of one guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The committed file is what the sources give.
    Same,
    /// The committed file was replaced.
    Updated,
    /// The committed file is not what the sources give, or is not there.
    Differs,
    /// The sources build, but the tools are not those that made the committed file; why in words.
    OtherTools(String),
}

/// A guest and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Its name: the folder's.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
}

impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.outcome {
            Outcome::Same => write!(f, "guest {name}: unchanged"),
            Outcome::Updated => write!(f, "guest {name}: rebuilt"),
            Outcome::Differs => {
                write!(f, "guest {name}: {name}.elf is not what its sources give (run `cargo xtask guests`)")
            }
            Outcome::OtherTools(why) => write!(f, "skipped: guest {name}: {why}"),
        }
    }
}

/// Rebuilds every guest, or only compares with `check`. None if the cross compiler is not installed.
///
/// # Errors
///
/// Sources do not compile, or files cannot be read or written.
pub fn rebuild(workspace: &Workspace, check: bool) -> Result<Option<Vec<Guest>>> {
    if !runs(COMPILER, "--version") {
        return Ok(None);
    }
    let tools = tool_versions()?;
    let scratch = workspace.scratch().join("guests");
    fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    let guests = folders(&workspace.root().join("machines/guests"))?;
    guests.iter().map(|folder| rebuild_one(folder, &scratch, &tools, check)).collect::<Result<_>>().map(Some)
}

/// The chore: rebuilds or compares, and prints what became of each guest.
pub(crate) fn run(workspace: &Workspace, check: bool) -> Result<bool> {
    let Some(guests) = rebuild(workspace, check)? else {
        println!("{}", Skip { name: "guests".to_owned(), why: MISSING.to_owned() });
        return Ok(true);
    };
    for guest in &guests {
        println!("{guest}");
    }
    Ok(guests.iter().all(|guest| guest.outcome != Outcome::Differs))
}

/// The folders of guests below `place`, sorted; none if there is no such place.
fn folders(place: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    if place.is_dir() {
        for entry in fs::read_dir(place).with_context(|| format!("cannot read {}", place.display()))? {
            let folder = entry?.path();
            if folder.join("build.args").is_file() {
                folders.push(folder);
            }
        }
    }
    folders.sort();
    Ok(folders)
}

/// The first line of what each tool says of its version, with its end.
fn tool_versions() -> Result<String> {
    let mut versions = String::new();
    for tool in [COMPILER, LINKER] {
        let text = output_of(Command::new(tool).arg("--version"))?;
        versions.push_str(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim());
        versions.push('\n');
    }
    Ok(versions)
}

fn rebuild_one(folder: &Path, scratch: &Path, tools: &str, check: bool) -> Result<Guest> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let built = scratch.join(format!("{name}.elf"));
    let mut compiler = Command::new(COMPILER);
    compiler.current_dir(folder).env("LC_ALL", "C").arg("@build.args").arg("-o").arg(&built);
    output_of(&mut compiler).with_context(|| format!("guest {name}"))?;
    let outcome = settle(folder, &name, &built, tools, check).with_context(|| format!("guest {name}"))?;
    Ok(Guest { name, outcome })
}

/// Compares `built` with the committed file, and replaces that unless this is a `check`.
fn settle(folder: &Path, name: &str, built: &Path, tools: &str, check: bool) -> Result<Outcome> {
    let committed = folder.with_file_name(format!("{name}.elf"));
    let tools_file = folder.join("build.tools");
    let fresh = fs::read(built)?;
    ensure!(fresh.starts_with(b"\x7fELF"), "the compiler did not make an ELF file");
    let same = fs::read(&committed).is_ok_and(|old| old == fresh);
    if check {
        if same {
            return Ok(Outcome::Same);
        }
        // With no record of the tools the file has to be the same.
        return Ok(match fs::read_to_string(&tools_file) {
            Ok(made_with) if made_with != tools && committed.is_file() => {
                let (made_with, tools) =
                    (made_with.trim().replace('\n', ", "), tools.trim().replace('\n', ", "));
                Outcome::OtherTools(format!("made with {made_with}; here is {tools}"))
            }
            _ => Outcome::Differs,
        });
    }
    if !same {
        fs::write(&committed, fresh)?;
    }
    if fs::read_to_string(&tools_file).ok().as_deref() != Some(tools) {
        fs::write(&tools_file, tools)?;
    }
    Ok(if same { Outcome::Same } else { Outcome::Updated })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene {
        place: tempfile::TempDir,
        folder: PathBuf,
    }

    impl Scene {
        fn new() -> Self {
            let place = tempfile::tempdir().unwrap();
            let folder = place.path().join("demo");
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("build.args"), "-O2\n").unwrap();
            Self { place, folder }
        }

        fn settle(&self, content: &[u8], tools: &str, check: bool) -> Result<Outcome> {
            let built = self.place.path().join("built");
            fs::write(&built, content).unwrap();
            settle(&self.folder, "demo", &built, tools, check)
        }
    }

    #[test]
    fn guest_is_written_once_and_then_unchanged() {
        let scene = Scene::new();
        assert_eq!(scene.settle(b"\x7fELF one", "gcc 1\n", false).unwrap(), Outcome::Updated);
        assert_eq!(scene.settle(b"\x7fELF one", "gcc 1\n", false).unwrap(), Outcome::Same);
        assert_eq!(fs::read(scene.place.path().join("demo.elf")).unwrap(), b"\x7fELF one");
    }

    #[test]
    fn check_finds_a_guest_that_is_not_what_its_sources_give() {
        let scene = Scene::new();
        assert_eq!(scene.settle(b"\x7fELF one", "gcc 1\n", true).unwrap(), Outcome::Differs);
        scene.settle(b"\x7fELF one", "gcc 1\n", false).unwrap();
        assert_eq!(scene.settle(b"\x7fELF two", "gcc 1\n", true).unwrap(), Outcome::Differs);
        assert_eq!(
            fs::read(scene.place.path().join("demo.elf")).unwrap(),
            b"\x7fELF one",
            "a check writes nothing"
        );
    }

    #[test]
    fn check_with_other_tools_forgives_other_bytes_only_if_the_tools_are_on_record() {
        let scene = Scene::new();
        scene.settle(b"\x7fELF one", "gcc 1\n", false).unwrap();
        assert!(matches!(scene.settle(b"\x7fELF two", "gcc 2\n", true).unwrap(), Outcome::OtherTools(_)));
        assert_eq!(scene.settle(b"\x7fELF one", "gcc 2\n", true).unwrap(), Outcome::Same);
        fs::remove_file(scene.folder.join("build.tools")).unwrap();
        assert_eq!(scene.settle(b"\x7fELF two", "gcc 2\n", true).unwrap(), Outcome::Differs);
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert!(Scene::new().settle(b"#!/bin/sh", "gcc 1\n", false).is_err());
    }

    #[test]
    fn folders_without_a_response_file_are_no_guests() {
        let scene = Scene::new();
        fs::create_dir(scene.place.path().join("include")).unwrap();
        assert_eq!(folders(scene.place.path()).unwrap(), std::slice::from_ref(&scene.folder));
        assert!(folders(&scene.place.path().join("nowhere")).unwrap().is_empty());
    }
}
