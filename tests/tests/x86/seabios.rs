//! Debian's SeaBIOS runs on `x86-mini` to its banner, and on `pc` and `q35` to the disks that they do not have.

use crate::has_kvm;
use machines::boot::BootRequest;
use machines::catalog;
use machines::runner::Stopped;
use std::path::Path;
use std::time::Instant;
use tests::session;
use xtask::Workspace;
use xtask::firmware::{self, Firmware};

/// The firmware, or `None` and a line in the log of skipped tests.
fn images(test: &str) -> Option<Firmware> {
    if !has_kvm(test) {
        return None;
    }
    match firmware::ensure(&Workspace::here()) {
        Ok(firmware) => Some(firmware),
        Err(error) => {
            tests::skip(test, &format!("{error:#}"));
            None
        }
    }
}

fn banner(firmware: &Path) {
    let request = BootRequest { firmware: Some(firmware.to_owned()), ..BootRequest::default() };
    let start = Instant::now();
    let stopped = session::run(catalog::load("x86-mini").unwrap(), &request, |session| {
        session.expect("SeaBIOS (version ");
        println!("{}: banner after {:.3} s", firmware.display(), start.elapsed().as_secs_f64());
        session.expect("Running on KVM");
        session.quit();
    });
    assert_eq!(stopped, Stopped::Quit);
}

#[test]
fn seabios_prints_its_banner_on_x86_mini() {
    let Some(images) = images("seabios_prints_its_banner_on_x86_mini") else { return };
    banner(&images.seabios);
}

#[test]
fn seabios_for_microvm_prints_its_banner_on_x86_mini() {
    let Some(images) = images("seabios_for_microvm_prints_its_banner_on_x86_mini") else { return };
    banner(&images.seabios_microvm);
}

#[test]
fn seabios_looks_for_something_to_boot_on_pc_and_q35() {
    let Some(images) = images("seabios_looks_for_something_to_boot_on_pc_and_q35") else { return };
    let request = BootRequest { firmware: Some(images.seabios), ..BootRequest::default() };
    for machine in ["pc", "q35"] {
        let start = Instant::now();
        let stopped = session::run(catalog::load(machine).unwrap(), &request, |session| {
            // it halts for the timer while it waits for a key
            session.expect("Booting from Hard Disk...");
            println!("{machine}: boots after {:.3} s", start.elapsed().as_secs_f64());
            session.quit();
        });
        assert_eq!(stopped, Stopped::Quit);
    }
}
