//! `flatland run` with x86 machines, as people meet it.

use crate::firmware::{DEBUG, EXIT, flat, real, request};
use crate::has_kvm;
use iced_x86::code_asm::*;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use tests::program;
use tests::terminal::{self, Signal, Terminal, end_of};

fn flatland(args: &[&str]) -> Command {
    let mut command = Command::new(program::flatland());
    command.args(args).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Says a byte and faults with no handler.
fn faulty() -> Vec<u8> {
    flat(|a| {
        a.mov(dx, DEBUG)?;
        a.mov(al, u32::from(b'!'))?;
        a.out(dx, al)?;
        a.mov(dword_ptr(0x2000), 0)?;
        a.mov(dword_ptr(0x2004), 0)?;
        a.lidt(dword_ptr(0x2000))?;
        a.ud2()
    })
}

#[test]
fn a_guest_that_fails_ends_with_status_3_and_one_that_ends_with_its_own() {
    if !has_kvm("a_guest_that_fails_ends_with_status_3_and_one_that_ends_with_its_own") {
        return;
    }
    // what the kernel has no emulation of
    let strange = flat(|a| a.fld(dword_ptr(0xc000_0000u32)));
    let ends = real(|a| {
        a.mov(al, 4)?;
        a.out(EXIT, al)?;
        a.hlt()
    });
    let failed = [
        (faulty(), "flatland: the guest ended by a triple fault\nrip="),
        (strange, "flatland: the guest ended by the kernel could not emulate the guest: "),
    ];
    let failed = failed.into_iter().map(|(image, report)| (image, 3, Some(report)));
    for (image, status, report) in failed.chain([(ends, 9, None)]) {
        let (_, file) = request(&image);
        let output = flatland(&["run", "x86-mini", "--bios"]).arg(file.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{}", said(&output));
        let said = said(&output);
        assert!(report.map_or(said.is_empty(), |report| said.starts_with(report)), "{said}");
    }
}

#[test]
fn a_guest_that_fails_leaves_the_terminal_as_it_was() {
    if !has_kvm("a_guest_that_fails_leaves_the_terminal_as_it_was") {
        return;
    }
    let (_, file) = request(&faulty());
    let mut terminal = Terminal::open().unwrap();
    let before = terminal.modes();
    let command = &mut Command::new(program::flatland());
    let guest = terminal.start(command.args(["run", "x86-mini", "--firmware"]).arg(file.path()));
    terminal.expect(b"!");
    let output = end_of(guest);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert_eq!(terminal.modes(), before);
}

#[test]
fn accelerators_that_do_not_go_with_the_machine_are_refused() {
    for (args, message) in [
        (["run", "riscv-virt", "--accel", "kvm"], "does not run the CPU of `riscv-virt`; `rv64` does"),
        (["run", "x86-mini", "--accel", "rv64"], "does not run the CPU of `x86-mini`; `kvm` does"),
        (["run", "x86-mini", "--accel", "tcg"], "possible values: auto, kvm, rv64, none"),
    ] {
        let output = flatland(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains(message), "{}", said(&output));
    }
}

#[test]
fn where_kvm_is_missing_or_not_permitted_the_message_says_which() {
    const NAME: &str = "where_kvm_is_missing_or_not_permitted_the_message_says_which";
    let mut command = flatland(&["run", "x86-mini"]);
    let part = match fs::metadata("/dev/kvm") {
        Err(_) => "there is no /dev/kvm",
        // others may not open it, and this may become another
        Ok(about) if about.mode() & 0o006 == 0 && is_root() => {
            command.uid(65_534).gid(65_534);
            "/dev/kvm may not be opened by this user"
        }
        Ok(_) => {
            return tests::skip(NAME, "there is a /dev/kvm, and no user that may not open it can be become");
        }
    };
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return tests::skip(NAME, &format!("another user may not run the program: {error}")),
    };
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains(part) && said(&output).contains("--accel none"), "{}", said(&output));
    assert_eq!(said(&output).lines().count(), 1);
}

/// Whether this process may become another user.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|about| about.uid() == 0)
}

#[test]
fn a_signal_ends_a_guest_that_never_would() {
    if !has_kvm("a_signal_ends_a_guest_that_never_would") {
        return;
    }
    let (_, file) = request(&real(|a| {
        let mut again = a.create_label();
        a.mov(dx, DEBUG)?;
        a.mov(al, u32::from(b'.'))?;
        a.out(dx, al)?;
        a.set_label(&mut again)?;
        a.jmp(again)
    }));
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut command = flatland(&["run", "x86-mini", "--firmware"]);
        let mut guest = command.arg(file.path()).stdout(Stdio::piped()).spawn().unwrap();
        // it runs
        guest.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        terminal::signal(&guest, signal);
        assert!(end_of(guest).status.success(), "{signal:?}");
    }
}
