//! The toolchains of Rust that chores call beside the one that builds the project, and what they consist of.
//!
//! Nothing here installs anything: a toolchain or a component that is missing makes a chore that needs it say so.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::tally::Skip;
use crate::workspace::output_of;

/// One installed toolchain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// How rustup calls it, with its `+`; `None` is the one that builds the project.
    name: Option<&'static str>,
    sysroot: PathBuf,
    /// The machine that it runs on and compiles for.
    host: String,
    /// Which sources the compiler was built from.
    commit: String,
    /// The major version of its LLVM.
    llvm: u32,
}

/// A part of a toolchain that may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The interpreter.
    Miri,
    /// The sources of the standard library.
    RustSrc,
}

impl Component {
    /// What rustup calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Miri => "miri",
            Self::RustSrc => "rust-src",
        }
    }

    /// A file of the toolchain that is there if the component is.
    fn witness(self) -> &'static str {
        match self {
            Self::Miri => "bin/miri",
            Self::RustSrc => "lib/rustlib/src/rust/library/Cargo.toml",
        }
    }
}

impl Toolchain {
    /// The toolchain that builds the project.
    ///
    /// # Errors
    ///
    /// Its compiler cannot be run.
    pub fn stable() -> Result<Self> {
        Self::find(None)
    }

    /// The nightly toolchain; `None`, if it is not installed, of which `chore` is then told to have been skipped.
    pub fn nightly_for(chore: &str) -> Option<Self> {
        let found = Self::find(Some("+nightly"));
        let why = |error| format!("no nightly toolchain: {error:#}");
        found.map_err(|error| println!("{}", Skip { name: chore.to_owned(), why: why(error) })).ok()
    }

    fn find(name: Option<&'static str>) -> Result<Self> {
        let print = |arguments: &[&str]| -> Result<String> {
            let mut command = Command::new("rustc");
            // what is missing stays missing: rustup would fetch a toolchain that is only named
            command.env("RUSTUP_AUTO_INSTALL", "0").args(name).args(arguments);
            let text = output_of(&mut command).context("it has no compiler that runs")?;
            Ok(String::from_utf8_lossy(&text).trim().to_owned())
        };
        let about = print(&["-vV"])?;
        let field = |key: &str| {
            let value = about.lines().find_map(|line| line.strip_prefix(key));
            value
                .map(|value| value.trim().to_owned())
                .with_context(|| format!("rustc does not say its {key}"))
        };
        let llvm = field("LLVM version:")?;
        let llvm = llvm.split('.').next().and_then(|major| major.parse().ok());
        Ok(Self {
            name,
            sysroot: print(&["--print", "sysroot"])?.into(),
            host: field("host:")?,
            commit: field("commit-hash:")?,
            llvm: llvm.context("rustc's LLVM has no number")?,
        })
    }

    /// The first of `components` that is not there.
    pub fn missing(&self, components: &[Component]) -> Option<Component> {
        components.iter().copied().find(|component| !self.sysroot.join(component.witness()).exists())
    }

    /// A call of one of its programs, `cargo` or `rustc`.
    pub fn call(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("RUSTUP_AUTO_INSTALL", "0");
        if let Some(name) = self.name {
            // what the cargo that runs this chore says of itself is not for another one
            command.env_remove("CARGO").env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN").arg(name);
        }
        command
    }

    /// The machine that it runs on and compiles for.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Which sources the compiler was built from.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// The major version of its LLVM.
    pub fn llvm(&self) -> u32 {
        self.llvm
    }

    /// The folder of the compiled standard library.
    pub fn libraries(&self) -> PathBuf {
        self.sysroot.join(Self::libraries_below(&self.host))
    }

    /// Where that folder is in any sysroot.
    pub fn libraries_below(host: &str) -> PathBuf {
        Path::new("lib/rustlib").join(host).join("lib")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_toolchain_that_builds_the_project_is_found() {
        let toolchain = Toolchain::stable().unwrap();
        assert!(toolchain.llvm() > 0 && !toolchain.commit().is_empty());
        assert!(toolchain.libraries().is_dir(), "{}", toolchain.libraries().display());
    }

    #[test]
    fn a_component_is_there_if_its_files_are() {
        let place = tempfile::tempdir().unwrap();
        let toolchain = Toolchain {
            name: None,
            sysroot: place.path().to_owned(),
            host: "x86_64-unknown-linux-gnu".into(),
            commit: "0".into(),
            llvm: 22,
        };
        let both = [Component::Miri, Component::RustSrc];
        assert_eq!(toolchain.missing(&both), Some(Component::Miri));
        fs::create_dir_all(place.path().join("bin")).unwrap();
        fs::write(place.path().join("bin/miri"), "").unwrap();
        assert_eq!(toolchain.missing(&both), Some(Component::RustSrc));
        let sources = place.path().join("lib/rustlib/src/rust/library");
        fs::create_dir_all(&sources).unwrap();
        fs::write(sources.join("Cargo.toml"), "").unwrap();
        assert_eq!(toolchain.missing(&both), None);
    }
}
