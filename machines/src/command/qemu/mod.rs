//! `flatland qemu`, and what the program is under a name that ends in `-system-x86_64`: QEMU's command line.
//!
//! It takes the options that programs which drive QEMU's devices use, with the same words for mistakes and the same status, 1. It
//! connects as a client to the sockets that it is told.

mod backends;
mod board;
mod display;
mod firmware;
mod keys;
mod options;
mod processors;

use super::outside::{Driven, Log, Outside};
use super::print;
use anyhow::{Context, bail};
use devices::plug_names;
use machines::accel::Accel;
use machines::boot::{BootPlan, BootRequest};
use machines::catalog;
use machines::file::MachineSpec;
use machines::machine::Machine;
use options::{CommandLine, Help};
use std::path::Path;
use std::process::ExitCode;

/// What the name under which the program is called ends in if it is to be QEMU.
const NAME: &str = "-system-x86_64";

/// The status for mistakes of the user's.
const MISUSE: u8 = 1;

/// The program's name and the words after it, if this command line is QEMU's.
pub(crate) fn is_meant(words: &[String]) -> Option<(String, &[String])> {
    let (first, rest) = words.split_first()?;
    let name = Path::new(first).file_name().map_or(first.clone(), |name| name.to_string_lossy().into_owned());
    if name.ends_with(NAME) {
        return Some((name, rest));
    }
    match rest.split_first() {
        Some((command, rest)) if command == "qemu" => Some((format!("{name} qemu"), rest)),
        _ => None,
    }
}

/// Does what the command line says.
pub(crate) fn main(name: &str, words: &[String]) -> ExitCode {
    run(words).unwrap_or_else(|error| {
        eprintln!("{name}: {error:#}");
        ExitCode::from(MISUSE)
    })
}

fn run(words: &[String]) -> anyhow::Result<ExitCode> {
    let line = CommandLine::parse(words)?;
    if let Some(help) = line.help {
        print(helped(help))?;
        return Ok(ExitCode::SUCCESS);
    }
    line.check_drives()?;
    let spec = line.board()?;
    let accel = line.accel(&spec)?;
    let outside = line.outside()?;
    let driven = Driven::new(spec, &outside, accel)?;
    let life = driven.machine().lifecycle();
    *driven.machine().backends() = line.backends()?;
    life.change_actions(|actions| *actions = line.actions);
    if line.paused {
        life.start_paused();
    }
    let plan = line.boot_plan(driven.machine(), accel)?;
    if let Some(path) = &line.pidfile {
        std::fs::write(path, format!("{}\n", std::process::id()))
            .with_context(|| path.display().to_string())?;
    }
    driven.run(&plan)
}

impl CommandLine {
    fn accel(&self, spec: &MachineSpec) -> anyhow::Result<Accel> {
        let accel = match self.accel.as_deref() {
            Some("qtest" | "none") => Accel::None,
            None if self.qtest.is_some() => Accel::None,
            None => Accel::of(spec),
            Some("kvm") => Accel::Kvm,
            Some("rv64") => Accel::Rv64,
            Some(other) => bail!("-accel {other}: invalid accelerator {other}"),
        };
        if self.qtest.is_some() && accel != Accel::None {
            bail!("-qtest: goes with -accel qtest");
        }
        accel.check(spec)?;
        Ok(accel)
    }

    fn outside(&self) -> anyhow::Result<Outside> {
        let mut qmp = self.qmp.clone();
        for id in &self.monitors {
            let chardev = self.chardev(&format!("chardev:{id}")).with_context(|| format!("-mon {id}"))?;
            qmp.push(chardev.endpoint().with_context(|| format!("-mon {id}"))?);
        }
        let qtest_log = self.qtest_log.clone().unwrap_or(Log::Stderr);
        Ok(Outside { qtest: self.qtest.clone(), qtest_log, qmp })
    }

    /// What is in memory when the CPU starts. What `-bios` has put into a ROM of the board is there already.
    fn boot_plan(&self, machine: &Machine, accel: Accel) -> anyhow::Result<BootPlan> {
        let has_firmware = firmware::is_in(&machine.spec());
        let request = BootRequest {
            firmware: self.bios.as_ref().filter(|_| accel != Accel::None || !has_firmware).map(Into::into),
            kernel: self.kernel.as_ref().map(Into::into),
            bootargs: self.append.clone().unwrap_or_default(),
        };
        Ok(match accel {
            Accel::None => BootPlan::without_cpu(machine, &request)?,
            _ => BootPlan::new(machine, &request)?,
        })
    }
}

fn helped(help: Help) -> String {
    let lines = |names: &mut dyn Iterator<Item = String>| names.map(|name| name + "\n").collect::<String>();
    match help {
        Help::Version => format!("Flatland {} with QEMU's command line\n", env!("CARGO_PKG_VERSION")),
        Help::Options => lines(&mut options::names().map(|name| format!("-{name}"))),
        Help::Machines => {
            "Supported machines are:\n".to_owned() + &lines(&mut catalog::names().map(str::to_owned))
        }
        Help::Devices => lines(&mut plug_names().into_iter().map(|name| format!("name \"{name}\""))),
        Help::Accels => "Accelerators supported in QEMU binary:\nkvm\nqtest\nrv64\n".to_owned(),
    }
}
