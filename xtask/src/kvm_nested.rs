//! The tests of KVM on a kernel of Debian's that QEMU interprets: there `/dev/kvm` is KVM on an AMD processor that does
//! all that a real one does, whatever the host has.
//!
//! The kernel comes out of Debian's package and is not installed; the tests are linked statically, and lie with the modules
//! of KVM and what the tests boot in an initramfs that is made on the spot. The machine's first serial port is what the tests
//! say.

mod console;
mod initramfs;
mod kernel;
mod machine;
mod programs;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::firmware;
use crate::tally::Skip;
use crate::workspace::{Workspace, runs};
use kernel::Kernel;
use programs::Programs;

/// What the first process puts before what it says.
pub const MARK: &str = "@flatland ";

/// Where things lie in the initramfs.
pub mod place {
    /// The first process.
    pub const INIT: &str = "/init";
    /// The test programs, which are run in the order of their names.
    pub const TESTS: &str = "/tests";
    /// The [scratch folder](crate::Workspace::scratch) of the tests: firmware and the kernel as on the host, and the
    /// program `flatland`.
    pub const SCRATCH: &str = "/scratch";
    /// Modules, whose names sort in the order in which they are to be loaded.
    pub const MODULES: &str = "/scratch/kvm-nested/kernel/modules";
}

/// The program `flatland` in the scratch folder.
pub const FLATLAND: &str = "flatland";

/// The program that interprets the kernel.
const QEMU: &str = "qemu-system-x86_64";

/// When it is given up. It was seen to take two minutes on two cores with a load of 20.
const SECONDS: u64 = 900;

/// Which tests to run, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// Run only tests whose name contains this.
    pub filter: Option<String>,
    /// Give up after so long, and fail.
    #[arg(long, default_value_t = SECONDS)]
    pub seconds: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { filter: None, seconds: SECONDS }
    }
}

/// Debian's newest kernel for virtual machines, a bzImage: the one in `target/kvm-nested`, or else it is fetched.
///
/// # Errors
///
/// It is not there and cannot be fetched.
pub fn kernel(workspace: &Workspace) -> Result<PathBuf> {
    Ok(Kernel::ensure(workspace)?.image)
}

/// Boots the kernel and runs the tests; true if all that ran passed, and some did. What is missing for it is said.
///
/// # Errors
///
/// The programs cannot be built, or QEMU cannot be started.
pub fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    let skipped = |why: String| {
        println!("{}", Skip { name: "kvm-nested".to_owned(), why });
        Ok(true)
    };
    if let Some(why) = missing() {
        return skipped(why);
    }
    let kernel = match Kernel::ensure(workspace) {
        Ok(kernel) => kernel,
        Err(error) => return skipped(format!("no kernel: {error:#}")),
    };
    let home = home(workspace);
    let programs = Programs::build(workspace)?;
    let image = home.join("initramfs");
    initramfs::write(&image, &contents(workspace, &programs, &kernel)?)?;
    println!("kvm-nested: {} under {QEMU}", kernel.release);
    let started = Instant::now();
    let machine = machine::Machine {
        kernel: &kernel.image,
        initramfs: &image,
        messages: &home.join("kernel.log"),
        filter: options.filter.as_deref(),
    };
    let outcome = machine.run(Duration::from_secs(options.seconds))?;
    println!("\n{outcome}\nkvm-nested: {} s", started.elapsed().as_secs());
    Ok(outcome.is_well())
}

/// The files of the machine: where they lie in it, and where they come from.
fn contents(workspace: &Workspace, programs: &Programs, kernel: &Kernel) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut files = vec![(place::INIT.into(), programs.init.clone())];
    let tests = Path::new(place::TESTS);
    files.extend(programs.tests.iter().map(|(name, program)| (tests.join(name), program.clone())));
    // without the firmware the tests that boot it say that it is missing
    let firmware = firmware::ensure(workspace).ok();
    let firmware = firmware.iter().flat_map(|firmware| firmware.images());
    let (scratch, here) = (Path::new(place::SCRATCH), workspace.scratch());
    for file in kernel.modules.iter().chain([&kernel.image]).map(PathBuf::as_path).chain(firmware) {
        let name = file.strip_prefix(&here).context("what was fetched lies elsewhere")?;
        files.push((scratch.join(name), file.to_owned()));
    }
    files.push((scratch.join(FLATLAND), programs.flatland.clone()));
    Ok(files)
}

/// What the host lacks.
fn missing() -> Option<String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Some("the tests of KVM are for Linux on x86-64".to_owned());
    }
    if !runs(QEMU, "--version") {
        return Some(format!("{QEMU} is not installed (package qemu-system-x86)"));
    }
    programs::missing()
}

/// Where everything is kept.
fn home(workspace: &Workspace) -> PathBuf {
    workspace.scratch().join("kvm-nested")
}
