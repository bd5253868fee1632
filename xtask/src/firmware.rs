//! Fetching OpenSBI and U-Boot, which the project boots and does not ship.
//!
//! They come out of Debian's packages `opensbi` and `u-boot-qemu`, fetched with `apt-get download` and unpacked with
//! `dpkg-deb`: nothing is installed and no other rights than writing to `target` are needed. The system's package
//! lists are used where they do; otherwise lists of our own are fetched into `target`, and the system's stay as they
//! are.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::tally::Skip;
use crate::workspace::{Workspace, output_of, runs};

/// The firmware images that the boot tests use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// OpenSBI's generic build that jumps to a fixed address: M-mode, raw.
    pub fw_jump: PathBuf,
    /// U-Boot for QEMU's `virt` board in S-mode, raw.
    pub u_boot: PathBuf,
}

impl Firmware {
    /// The images in the workspace's `target/firmware`, whether they are there or not.
    fn of(workspace: &Workspace) -> Self {
        let home = home(workspace);
        Self {
            fw_jump: home.join("opensbi/generic/fw_jump.bin"),
            u_boot: home.join("u-boot/qemu-riscv64_smode/u-boot.bin"),
        }
    }

    /// The images in the workspace's `target/firmware`, if they have been fetched.
    pub fn present(workspace: &Workspace) -> Option<Self> {
        let firmware = Self::of(workspace);
        (firmware.fw_jump.is_file() && firmware.u_boot.is_file()).then_some(firmware)
    }
}

/// One package and the folder of it that is wanted.
struct Package {
    name: &'static str,
    /// The folder inside the package.
    folder: &'static str,
    /// What the folder is called in `target/firmware`.
    target: &'static str,
}

const PACKAGES: [Package; 2] = [
    Package { name: "opensbi", folder: "usr/lib/riscv64-linux-gnu/opensbi", target: "opensbi" },
    Package { name: "u-boot-qemu", folder: "usr/lib/u-boot", target: "u-boot" },
];

fn home(workspace: &Workspace) -> PathBuf {
    workspace.scratch().join("firmware")
}

/// The firmware images: those in `target/firmware`, or else they are fetched. Any number of processes may ask at once.
///
/// # Errors
///
/// They are not there, and `apt-get` or `dpkg-deb` is missing, the archive cannot be reached, or its packages do not
/// hold what is looked for.
pub fn ensure(workspace: &Workspace) -> Result<Firmware> {
    let home = home(workspace);
    fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
    // Held until the end, by the one process that fetches; the others find the images when they get it.
    let lock = File::create(home.join("lock")).context("cannot make the lock of target/firmware")?;
    lock.lock().context("cannot lock target/firmware")?;
    if let Some(firmware) = Firmware::present(workspace) {
        return Ok(firmware);
    }
    for tool in ["apt-get", "dpkg-deb"] {
        ensure!(
            runs(tool, "--version"),
            "{tool} is not installed: the firmware comes out of Debian's packages"
        );
    }
    fetch(&home)?;
    Firmware::present(workspace).context("Debian's packages do not hold the images that are looked for")
}

/// The chore: fetches, and prints where the images are.
pub(crate) fn run(workspace: &Workspace, if_available: bool) -> Result<bool> {
    match ensure(workspace) {
        Ok(firmware) => {
            println!("{}", firmware.fw_jump.display());
            println!("{}", firmware.u_boot.display());
            Ok(true)
        }
        Err(error) if if_available => {
            println!("{}", Skip { name: "firmware".to_owned(), why: format!("{error:#}") });
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

fn fetch(home: &Path) -> Result<()> {
    // Everything happens in a folder that goes away whatever happens, so that nothing half done is left.
    let staging = tempfile::tempdir_in(home).context("cannot make a folder in target/firmware")?;
    let debs = staging.path().join("debs");
    fs::create_dir(&debs)?;
    download(staging.path(), &debs).context("cannot download Debian's packages")?;
    for package in &PACKAGES {
        unpack(staging.path(), &debs, package, home).with_context(|| format!("package {}", package.name))?;
    }
    Ok(())
}

/// Puts the packages' files into `debs`.
fn download(staging: &Path, debs: &Path) -> Result<()> {
    let get = |options: &[OsString]| {
        let mut command = apt_get(options);
        command.current_dir(debs).arg("download").args(PACKAGES.iter().map(|package| package.name));
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

/// Unpacks the package out of `debs` and moves the folder that is wanted into `home`.
fn unpack(staging: &Path, debs: &Path, package: &Package, home: &Path) -> Result<()> {
    let prefix = format!("{}_", package.name);
    let deb = fs::read_dir(debs)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)))
        .context("apt-get download left no file of it")?;
    let tree = staging.join(package.name);
    output_of(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&tree))?;
    let target = home.join(package.target);
    if target.exists() {
        fs::remove_dir_all(&target).with_context(|| format!("cannot remove {}", target.display()))?;
    }
    fs::rename(tree.join(package.folder), &target).with_context(|| {
        format!("it holds no {}, or that cannot be moved to {}", package.folder, target.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_are_there_are_not_fetched_again() {
        let place = tempfile::tempdir().unwrap();
        let workspace = Workspace::at(place.path());
        assert_eq!(Firmware::present(&workspace), None);
        let wanted = Firmware::of(&workspace);
        for image in [&wanted.fw_jump, &wanted.u_boot] {
            fs::create_dir_all(image.parent().unwrap()).unwrap();
            fs::write(image, b"image").unwrap();
        }
        assert_eq!(Firmware::present(&workspace), Some(wanted.clone()));
        assert_eq!(ensure(&workspace).unwrap(), wanted);
        assert_eq!(fs::read(&wanted.fw_jump).unwrap(), b"image");
    }

    #[test]
    fn package_that_was_not_downloaded_is_an_error_and_leaves_what_was_there() {
        let place = tempfile::tempdir().unwrap();
        let (home, debs) = (place.path().join("home"), place.path().join("debs"));
        fs::create_dir_all(home.join("opensbi")).unwrap();
        fs::create_dir(&debs).unwrap();
        let package = &PACKAGES[0];
        assert!(unpack(place.path(), &debs, package, &home).is_err());
        assert!(home.join("opensbi").is_dir());
    }
}
