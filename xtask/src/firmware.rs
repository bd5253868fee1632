//! Fetching OpenSBI, U-Boot and SeaBIOS, which the project boots and does not ship.
//!
//! They come out of Debian's packages `opensbi`, `u-boot-qemu` and `seabios`, fetched with `apt-get download` and unpacked with
//! `dpkg-deb`: nothing is installed and no other rights than writing to `target` are needed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::debian;
use crate::tally::Skip;
use crate::workspace::Workspace;

/// The firmware images that the boot tests use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// OpenSBI's generic build that jumps to a fixed address: M-mode, raw.
    pub fw_jump: PathBuf,
    /// U-Boot for QEMU's `virt` board in S-mode, raw.
    pub u_boot: PathBuf,
    /// SeaBIOS for a PC, 128 KiB.
    pub seabios: PathBuf,
    /// SeaBIOS for QEMU's `microvm`, 128 KiB.
    pub seabios_microvm: PathBuf,
}

impl Firmware {
    /// The images in the workspace's `target/firmware`, whether they are there or not.
    fn of(workspace: &Workspace) -> Self {
        let home = home(workspace);
        Self {
            fw_jump: home.join("opensbi/generic/fw_jump.bin"),
            u_boot: home.join("u-boot/qemu-riscv64_smode/u-boot.bin"),
            seabios: home.join("seabios/bios.bin"),
            seabios_microvm: home.join("seabios/bios-microvm.bin"),
        }
    }

    /// The images in the workspace's `target/firmware`, if they have been fetched.
    pub fn present(workspace: &Workspace) -> Option<Self> {
        let firmware = Self::of(workspace);
        firmware.images().iter().all(|image| image.is_file()).then_some(firmware)
    }

    pub(crate) fn images(&self) -> [&Path; 4] {
        [&self.fw_jump, &self.u_boot, &self.seabios, &self.seabios_microvm]
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

const PACKAGES: [Package; 3] = [
    Package { name: "opensbi", folder: "usr/lib/riscv64-linux-gnu/opensbi", target: "opensbi" },
    Package { name: "u-boot-qemu", folder: "usr/lib/u-boot", target: "u-boot" },
    Package { name: "seabios", folder: "usr/share/seabios", target: "seabios" },
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
    debian::tools_for("the firmware")?;
    fetch(&home)?;
    Firmware::present(workspace).context("Debian's packages do not hold the images that are looked for")
}

/// The chore: fetches, and prints where the images are.
pub(crate) fn run(workspace: &Workspace, if_available: bool) -> Result<bool> {
    match ensure(workspace) {
        Ok(firmware) => {
            firmware.images().iter().for_each(|image| println!("{}", image.display()));
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
    debian::download(staging.path(), &debs, &PACKAGES.map(|package| package.name))
        .context("cannot download Debian's packages")?;
    for package in &PACKAGES {
        unpack(staging.path(), &debs, package, home).with_context(|| format!("package {}", package.name))?;
    }
    Ok(())
}

/// Unpacks the package out of `debs` and moves the folder that is wanted into `home`.
fn unpack(staging: &Path, debs: &Path, package: &Package, home: &Path) -> Result<()> {
    let tree = staging.join(package.name);
    debian::unpack(debs, package.name, &tree)?;
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
        for image in wanted.images() {
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
