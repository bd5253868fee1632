//! The first process of the machine that `cargo xtask kvm-nested` boots: loads the modules of KVM, runs the tests,
//! and switches the machine off.
//!
//! Everything that the chore wants to know goes to the first serial port, what this says with a mark before it; the
//! kernel's own messages go elsewhere.
#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
use linux::main_of_machine;

#[cfg(not(target_os = "linux"))]
fn main_of_machine() {}

fn main() {
    main_of_machine();
}

#[cfg(target_os = "linux")]
mod linux {
    use rustix::mount::{MountFlags, mount};
    use rustix::system::{RebootCommand, init_module, reboot};
    use std::fs::{self, File, OpenOptions};
    use std::io::{self, Write};
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};
    use xtask::kvm_nested::{MARK, place};
    use xtask::{Skip, Workspace};

    /// Where tests write that they are skipped.
    const SKIPS: &str = "/tmp/skips";
    /// Cases of tests that make them up: it is all interpreted.
    const CASES: &str = "10";
    /// The first serial port.
    const SERIAL: &str = "/dev/ttyS0";

    /// Does it all. The machine ends in any case: the kernel does not outlive its first process.
    pub fn main_of_machine() {
        let outcome = mount_devices().and_then(|()| OpenOptions::new().write(true).open(SERIAL));
        let Ok(mut serial) = outcome else {
            println!("{MARK}no serial port: {outcome:?}");
            return;
        };
        let ended = run(&mut serial);
        let said = match ended {
            Ok(code) => writeln!(serial, "{MARK}ended {code}"),
            Err(error) => writeln!(serial, "{MARK}error {error}"),
        };
        // what was written has left the port before the machine does
        let drained = said.and_then(|()| Ok(rustix::termios::tcdrain(&serial)?));
        if let Err(error) = drained {
            println!("{MARK}{SERIAL} cannot be written: {error}");
        }
        let _ = reboot(RebootCommand::Restart);
    }

    fn mount_devices() -> io::Result<()> {
        for (kind, target) in [
            ("devtmpfs", "/dev"),
            ("devpts", "/dev/pts"),
            ("proc", "/proc"),
            ("sysfs", "/sys"),
            ("tmpfs", "/tmp"),
        ] {
            fs::create_dir_all(target)?;
            mount(kind, target, kind, MountFlags::empty(), None)?;
        }
        Ok(())
    }

    /// Runs the tests, and returns the code that the first program ended with in which one failed, or 255 for a signal.
    fn run(serial: &mut File) -> Result<i32, String> {
        load_modules()?;
        let why = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
        OpenOptions::new().read(true).write(true).open("/dev/kvm").map_err(why("/dev/kvm"))?;
        writeln!(serial, "{MARK}begin").map_err(why(SERIAL))?;
        let mut code = 0;
        for program in files_in(place::TESTS)? {
            let ended = run_tests(&program, serial).map_err(why(place::TESTS))?;
            code = if code == 0 { ended } else { code };
        }
        for line in fs::read_to_string(SKIPS).unwrap_or_default().lines() {
            writeln!(serial, "{MARK}skip {line}").map_err(why(SERIAL))?;
        }
        Ok(code)
    }

    fn run_tests(program: &Path, serial: &File) -> io::Result<i32> {
        let output = || serial.try_clone().map(Stdio::from);
        let mut tests = Command::new(program);
        // the kernel hands on what stands behind `--` on its command line
        tests
            .args(std::env::args_os().skip(1))
            .env(Skip::LOG, SKIPS)
            .env(Workspace::SCRATCH, place::SCRATCH)
            .env("RUST_BACKTRACE", "0")
            .env("PROPTEST_CASES", CASES)
            .env(tests::INTERPRETED, "1");
        tests.stdin(Stdio::null()).stdout(output()?).stderr(output()?);
        Ok(tests.status()?.code().unwrap_or(255))
    }

    /// Loads what is in the folder of modules, in the order of the names.
    fn load_modules() -> Result<(), String> {
        for path in files_in(place::MODULES)? {
            let load = fs::read(&path).and_then(|image| Ok(init_module(&image, c"")?));
            load.map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }

    /// In the order of the names.
    fn files_in(folder: &str) -> Result<Vec<PathBuf>, String> {
        let why = |error: io::Error| format!("{folder}: {error}");
        let entries = fs::read_dir(folder).map_err(why)?;
        let paths: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
        let mut paths = paths.map_err(why)?;
        paths.sort();
        Ok(paths)
    }
}
