//! The tests of KVM on a kernel of Debian's that QEMU interprets: there `/dev/kvm` is KVM on an AMD processor that does
//! all that a real one does, whatever the host has.
//!
//! The kernel comes out of Debian's package and is not installed; the tests are linked statically, and lie with the modules
//! of KVM in an initramfs that is made on the spot. The machine's first serial port is what the tests say.

mod console;
mod initramfs;
mod kernel;
mod machine;
mod programs;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

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
    /// The test program.
    pub const TESTS: &str = "/kvm-tests";
    /// Modules, whose names sort in the order in which they are to be loaded.
    pub const MODULES: &str = "/modules";
}

/// The program that interprets the kernel.
const QEMU: &str = "qemu-system-x86_64";

/// Which tests to run, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// Run only tests whose name contains this.
    pub filter: Option<String>,
    /// Give up after so long, and fail.
    #[arg(long, default_value_t = 300)]
    pub seconds: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { filter: None, seconds: 300 }
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
    initramfs::write(&image, &programs, &kernel.modules)?;
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
