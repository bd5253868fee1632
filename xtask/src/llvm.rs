//! LLVM's own tools, of the version that a compiler was built with.
//!
//! Profiles and bitcode are read by tools of the same LLVM only, near enough: the major version has to agree. Debian has
//! them as `llvm-NN`. They are used where they are installed; otherwise its packages are unpacked into `target/llvm`,
//! and nothing is installed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::debian;
use crate::workspace::{Workspace, output_of};

/// The tools of one LLVM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Llvm {
    /// The folder of the programs.
    bin: PathBuf,
    /// The folder of the library that they need, where the system does not find it by itself.
    lib: Option<PathBuf>,
}

impl Llvm {
    /// The tools of version `major`: the system's, those in `target/llvm`, or else they are fetched. Any number of
    /// processes may ask at once.
    ///
    /// # Errors
    ///
    /// They are not there, and Debian's archive cannot be reached or does not have this version.
    pub fn ensure(workspace: &Workspace, major: u32) -> Result<Self> {
        let system = Self { bin: format!("/usr/lib/llvm-{major}/bin").into(), lib: None };
        if system.works(major) {
            return Ok(system);
        }
        let home = workspace.scratch().join("llvm");
        fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        let lock = File::create(home.join("lock")).context("cannot make the lock of target/llvm")?;
        lock.lock().context("cannot lock target/llvm")?;
        let own = Self::below(&home.join(major.to_string()), major);
        if !own.works(major) {
            fetch(&home, major).with_context(|| format!("the tools of LLVM {major} cannot be had"))?;
            ensure!(own.works(major), "the tools of LLVM {major} were fetched and do not run");
        }
        Ok(own)
    }

    /// Tools that were unpacked to `tree`.
    fn below(tree: &Path, major: u32) -> Self {
        let usr = tree.join("usr/lib");
        Self {
            bin: usr.join(format!("llvm-{major}/bin")),
            lib: Some(usr.join(format!("{}-linux-gnu", std::env::consts::ARCH))),
        }
    }

    fn works(&self, major: u32) -> bool {
        let version = output_of(self.tool("llvm-profdata").arg("--version"));
        let says = |text: &[u8]| String::from_utf8_lossy(text).contains(&format!("LLVM version {major}."));
        version.is_ok_and(|text| says(&text)) && output_of(self.tool("opt").arg("--version")).is_ok()
    }

    /// The path of a tool.
    pub fn path(&self, tool: &str) -> PathBuf {
        self.bin.join(tool)
    }

    /// What programs that start tools by their paths need in their environment.
    pub fn environment(&self) -> Option<(&'static str, &OsStr)> {
        self.lib.as_ref().map(|lib| ("LD_LIBRARY_PATH", lib.as_os_str()))
    }

    /// A call of a tool.
    pub fn tool(&self, tool: &str) -> Command {
        let mut command = Command::new(self.path(tool));
        command.envs(self.environment());
        command
    }
}

/// Unpacks Debian's packages to the folder of `home` that has the version's number.
fn fetch(home: &Path, major: u32) -> Result<()> {
    debian::tools_for("it")?;
    let staging = tempfile::tempdir_in(home).context("cannot make a folder in target/llvm")?;
    let (debs, tree) = (staging.path().join("debs"), staging.path().join("tree"));
    fs::create_dir(&debs)?;
    let (tools, library) = (format!("llvm-{major}"), format!("libllvm{major}"));
    debian::download(staging.path(), &debs, &[&tools, &library])?;
    for package in [&tools, &library] {
        debian::unpack(&debs, package, &tree).with_context(|| format!("package {package}"))?;
    }
    let target = home.join(major.to_string());
    if target.exists() {
        fs::remove_dir_all(&target).with_context(|| format!("cannot remove {}", target.display()))?;
    }
    fs::rename(&tree, &target).with_context(|| format!("cannot move the tools to {}", target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_of_another_version_or_of_none_are_not_taken() {
        let place = tempfile::tempdir().unwrap();
        let llvm = Llvm::below(place.path(), 22);
        assert!(!llvm.works(22));
        fs::create_dir_all(&llvm.bin).unwrap();
        for tool in ["llvm-profdata", "opt"] {
            let path = llvm.path(tool);
            fs::write(&path, "#!/bin/sh\necho LLVM version 21.1.0\n").unwrap();
            let mut permissions = fs::metadata(&path).unwrap().permissions();
            std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
            fs::set_permissions(&path, permissions).unwrap();
        }
        assert!(llvm.works(21) && !llvm.works(22) && !llvm.works(2));
    }
}
