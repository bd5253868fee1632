//! Debian's kernel, and those of its modules that make up KVM on AMD's processors.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use object::{Object, ObjectSection};
use walkdir::WalkDir;

use super::home;
use crate::debian;
use crate::workspace::{Workspace, output_of};

/// Depends on the newest kernel, in the build for virtual machines, which is the smallest.
const NEWEST: &str = "linux-image-cloud-amd64";
/// What the modules are loaded for.
const WANTED: &str = "kvm_amd";

/// A kernel that was unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    /// How the kernel calls itself.
    pub(super) release: String,
    /// What is booted.
    pub(super) image: PathBuf,
    /// The modules in the order in which they are to be loaded.
    pub(super) modules: Vec<PathBuf>,
}

impl Kernel {
    /// The kernel in `target/kvm-nested`, or else it is fetched. Any number of processes may ask at once.
    ///
    /// # Errors
    ///
    /// It is not there, and Debian's archive cannot be reached or holds something else.
    pub(super) fn ensure(workspace: &Workspace) -> Result<Self> {
        let home = home(workspace);
        fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        let lock = File::create(home.join("lock")).context("cannot make the lock of target/kvm-nested")?;
        lock.lock().context("cannot lock target/kvm-nested")?;
        let folder = home.join("kernel");
        if !folder.exists() {
            debian::tools_for("the kernel")?;
            fetch(&home, &folder)?;
        }
        Self::in_folder(&folder)
    }

    /// The kernel that [`fetch`] has put there.
    fn in_folder(folder: &Path) -> Result<Self> {
        let files = |path: &Path| -> Result<Vec<PathBuf>> {
            let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
            let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
            files.sort();
            Ok(files)
        };
        let image = files(&folder.join("boot"))?.into_iter().next().context("there is no kernel")?;
        let name = image.file_name().unwrap_or_default().to_string_lossy();
        let release = name.trim_start_matches("vmlinuz-").to_owned();
        Ok(Self { release, modules: files(&folder.join("modules"))?, image })
    }
}

/// Puts the newest kernel and the modules into `folder`, which appears when all is there.
fn fetch(home: &Path, folder: &Path) -> Result<()> {
    let staging = tempfile::tempdir_in(home).context("cannot make a folder in target/kvm-nested")?;
    let debs = staging.path().join("debs");
    fs::create_dir(&debs)?;
    debian::download(staging.path(), &debs, &[NEWEST]).with_context(|| format!("package {NEWEST}"))?;
    let newest = debian::file_of(&debs, NEWEST)?;
    let depends = output_of(Command::new("dpkg-deb").arg("-f").arg(newest).arg("Depends"))?;
    let package = kernel_among(&String::from_utf8_lossy(&depends))
        .with_context(|| format!("package {NEWEST} depends on no kernel"))?;
    debian::download(staging.path(), &debs, &[&package]).with_context(|| format!("package {package}"))?;
    let tree = staging.path().join("tree");
    debian::unpack(&debs, &package, &tree)?;
    let taken = staging.path().join("taken");
    take(&tree, &taken).with_context(|| format!("package {package}"))?;
    fs::rename(&taken, folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// The first package of a kernel in a list of dependencies.
fn kernel_among(depends: &str) -> Option<String> {
    let names = depends.split([',', '|']).filter_map(|one| one.split_whitespace().next());
    names.into_iter().find(|name| name.starts_with("linux-image-")).map(str::to_owned)
}

/// Copies what is wanted out of an unpacked package.
fn take(tree: &Path, taken: &Path) -> Result<()> {
    let mut modules = BTreeMap::new();
    let mut image = None;
    for entry in WalkDir::new(tree) {
        let path = entry.context("cannot read the package")?.into_path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name.starts_with("vmlinuz-") {
            image = Some(path.clone());
        } else if let Some((name, "ko" | "ko.xz")) = name.split_once('.') {
            modules.insert(name.replace('-', "_"), path.clone());
        }
    }
    let image = image.context("it holds no kernel")?;
    for folder in ["boot", "modules"] {
        fs::create_dir_all(taken.join(folder))?;
    }
    fs::copy(&image, taken.join("boot").join(image.file_name().unwrap_or_default()))?;
    let mut order = Vec::new();
    load_order(WANTED, &modules, &mut order)?;
    for (number, (name, content)) in order.iter().enumerate() {
        fs::write(taken.join("modules").join(format!("{number:02}-{name}.ko")), content)?;
    }
    Ok(())
}

/// Appends a module to those that come before it, after the modules that it depends on.
fn load_order(
    name: &str,
    modules: &BTreeMap<String, PathBuf>,
    order: &mut Vec<(String, Vec<u8>)>,
) -> Result<()> {
    if order.iter().any(|(loaded, _)| loaded == name) {
        return Ok(());
    }
    // modules never depend on each other in a circle: the kernel could not load them either
    ensure!(order.len() <= modules.len(), "modules depend on each other");
    let path = modules.get(name).with_context(|| format!("it holds no module {name}"))?;
    let content = read_module(path)?;
    let depends = depends_of(&content).with_context(|| format!("module {name}"))?;
    for before in depends.split(',').filter(|name| !name.is_empty()) {
        load_order(&before.replace('-', "_"), modules, order)?;
    }
    order.push((name.to_owned(), content));
    Ok(())
}

/// The module as the kernel takes it.
fn read_module(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_some_and(|extension| extension == "xz") {
        return output_of(Command::new("xz").arg("--decompress").arg("--stdout").arg(path));
    }
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// What a module says that it depends on: names with commas between them.
fn depends_of(module: &[u8]) -> Result<String> {
    let file = object::File::parse(module).context("it is no object file")?;
    let section = file.section_by_name(".modinfo").context("it says nothing of itself")?;
    let info = section.data().context("it is damaged")?;
    for entry in info.split(|byte| *byte == 0) {
        if let Some(depends) = entry.strip_prefix(b"depends=") {
            return Ok(String::from_utf8_lossy(depends).into_owned());
        }
    }
    bail!("it does not say what it depends on")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An object file with a section of such entries.
    fn module(info: &str) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut file = Vec::new();
        // 64 bits, little-endian; relocatable, x86-64; three section headers of 64 bytes at 64, the last has the names
        file.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        file.extend([1, 0, 62, 0, 1, 0, 0, 0]);
        for word in [0u64, 0, 64] {
            file.extend(word.to_le_bytes());
        }
        file.extend([0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
        let header = |name: u32, kind: u32, offset: usize, len: usize| {
            let mut header = [name.to_le_bytes(), kind.to_le_bytes()].concat();
            for word in [0, 0, offset as u64, len as u64, 0, 1, 0] {
                header.extend(word.to_le_bytes());
            }
            header
        };
        file.extend([0; 64]);
        file.extend(header(1, 1, 256, info.len()));
        file.extend(header(10, 3, 256 + info.len(), names.len()));
        file.extend(info.bytes());
        file.extend(names);
        file
    }

    #[test]
    fn modules_come_after_those_that_they_depend_on_and_once() {
        let place = tempfile::tempdir().unwrap();
        let mut modules = BTreeMap::new();
        for (name, info) in [
            ("kvm_amd", "license=GPL\0depends=kvm,ccp\0name=kvm_amd\0"),
            ("kvm", "depends=irqbypass\0"),
            ("ccp", "depends=rng-core\0"),
            ("rng_core", "depends=\0"),
            ("irqbypass", "depends=\0"),
            ("dccp", "depends=\0"),
        ] {
            let path = place.path().join(name);
            fs::write(&path, module(info)).unwrap();
            modules.insert(name.to_owned(), path);
        }
        let mut order = Vec::new();
        load_order("kvm_amd", &modules, &mut order).unwrap();
        let names: Vec<_> = order.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["irqbypass", "kvm", "rng_core", "ccp", "kvm_amd"]);
        modules.remove("ccp");
        let error = load_order("kvm_amd", &modules, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("no module ccp"), "{error}");
    }

    #[test]
    fn kernel_and_modules_are_taken_out_of_a_package() {
        let place = tempfile::tempdir().unwrap();
        let (tree, taken) = (place.path().join("tree"), place.path().join("taken"));
        let folder = tree.join("lib/modules/6.1/kernel/arch/x86/kvm");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(tree.join("boot")).unwrap();
        fs::write(tree.join("boot/vmlinuz-6.1-cloud"), "kernel").unwrap();
        fs::write(folder.join("kvm.ko"), module("depends=\0")).unwrap();
        fs::write(folder.join("kvm-amd.ko"), module("depends=kvm\0")).unwrap();
        fs::write(folder.join("kvm-intel.ko"), module("depends=kvm\0")).unwrap();
        take(&tree, &taken).unwrap();
        let kernel = Kernel::in_folder(&taken).unwrap();
        assert_eq!(kernel.release, "6.1-cloud");
        assert_eq!(fs::read(&kernel.image).unwrap(), b"kernel");
        let expected = ["00-kvm.ko", "01-kvm_amd.ko"].map(|name| taken.join("modules").join(name));
        assert_eq!(kernel.modules, expected);
    }

    #[test]
    fn newest_kernel_is_the_one_that_is_depended_on() {
        assert_eq!(
            kernel_among("linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)").as_deref(),
            Some("linux-image-6.1.0-56-cloud-amd64")
        );
        assert_eq!(kernel_among("kmod, linux-image-6.12 | other").as_deref(), Some("linux-image-6.12"));
        assert_eq!(kernel_among("kmod"), None);
    }
}
