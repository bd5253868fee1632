//! Debian's packages as archives of files: fetched and unpacked below `target`, never installed.
//!
//! The system's package lists are used where they do; otherwise lists of our own are fetched into `target`, and the
//! system's stay as they are. Nothing but the right to write to `target` is needed.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace::{output_of, runs};

/// Checks that packages can be fetched and unpacked at all; `what` is what comes out of them.
pub(crate) fn tools_for(what: &str) -> Result<()> {
    for tool in ["apt-get", "dpkg-deb"] {
        ensure!(runs(tool, "--version"), "{tool} is not installed: {what} comes out of Debian's packages");
    }
    Ok(())
}

/// Puts the files of `packages` into `debs`. Lists are kept in `staging`, if they have to be fetched.
pub(crate) fn download(staging: &Path, debs: &Path, packages: &[&str]) -> Result<()> {
    let get = |options: &[OsString]| {
        let mut command = apt_get(options);
        command.current_dir(debs).arg("download").args(packages);
        output_of(&mut command)
    };
    if get(&[]).is_ok() {
        return Ok(());
    }
    // The system's lists are empty, or too old for what the archive has now.
    let own = private_state(staging)?;
    output_of(apt_get(&own).arg("update"))?;
    get(&own)?;
    Ok(())
}

/// The file of `package` in `debs`.
pub(crate) fn file_of(debs: &Path, package: &str) -> Result<PathBuf> {
    let prefix = format!("{package}_");
    fs::read_dir(debs)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)))
        .context("apt-get download left no file of it")
}

/// Unpacks `package`, which lies in `debs`, to `tree`.
pub(crate) fn unpack(debs: &Path, package: &str, tree: &Path) -> Result<()> {
    let deb = file_of(debs, package)?;
    output_of(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(tree))?;
    Ok(())
}

/// `apt-get` that neither waits long for an archive which does not answer, nor asks anything.
fn apt_get(options: &[OsString]) -> Command {
    let mut command = Command::new("apt-get");
    command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
    for option in ["Acquire::Retries=1", "Acquire::http::Timeout=20", "Acquire::https::Timeout=20"] {
        command.args(["-o", option]);
    }
    for option in options {
        command.arg("-o").arg(option);
    }
    command
}

/// Options that make apt keep its lists and its cache below `staging`, so that anyone may fetch lists. Which packages
/// are installed, and where the archive is, it still reads from the system.
fn private_state(staging: &Path) -> Result<Vec<OsString>> {
    let (lists, cache) = (staging.join("apt/lists"), staging.join("apt/cache"));
    for folder in [lists.join("partial"), cache.join("archives/partial")] {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let option = |name: &str, path: &Path| {
        let mut option = OsString::from(format!("{name}="));
        option.push(path);
        option
    };
    Ok(vec![
        option("Dir::State::Lists", &lists),
        option("Dir::Cache", &cache),
        // The user that apt would change to as root cannot write below `target`.
        "APT::Sandbox::User=".into(),
    ])
}
