//! Debian's kernel on `x86-mini`, to its first line on the console, where the host's KVM can run it.

use crate::firmware::{EXIT, flat, request};
use crate::has_kvm;
use iced_x86::code_asm::*;
use machines::boot::BootRequest;
use machines::catalog;
use machines::runner::Stopped;
use tests::session;
use xtask::{Workspace, kvm_nested};

/// What kernels do in ring 0 before they print: paging of 4 MiB pages, and instructions that an emulator may lack.
fn ring_0_is_whole() -> Result<(), String> {
    let guest = flat(|a| {
        a.mov(eax, 0x600u32)?;
        // SSE is on
        a.mov(cr4, eax)?;
        a.popcnt(ecx, eax)?;
        a.pxor(xmm0, xmm0)?;
        a.fld1()?;
        // the first 4 MiB where they are
        a.mov(dword_ptr(0x4000), 0x83)?;
        a.mov(eax, 0x610u32)?;
        a.mov(cr4, eax)?;
        a.mov(eax, 0x4000u32)?;
        a.mov(cr3, eax)?;
        a.mov(eax, cr0)?;
        a.or(eax, 0x8000_0000u32 as i32)?;
        a.mov(cr0, eax)?;
        a.mov(eax, dword_ptr(0x4000))?;
        a.mov(al, 1)?;
        a.out(EXIT, al)?;
        a.hlt()
    });
    let (request, _file) = request(&guest);
    match session::run(catalog::load("x86-mini").unwrap(), &request, |_| ()) {
        Stopped::PoweredOff { code: 3 } => Ok(()),
        Stopped::GuestFailed { report } => Err(report.lines().next().unwrap_or_default().to_owned()),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn linux_boots_to_its_first_console_line() {
    const NAME: &str = "linux_boots_to_its_first_console_line";
    if !has_kvm(NAME) {
        return;
    }
    if let Err(why) = ring_0_is_whole() {
        assert!(!tests::is_interpreted(), "{why}");
        return tests::skip(NAME, &format!("this host's KVM does not run what kernels do in ring 0: {why}"));
    }
    let kernel = match kvm_nested::kernel(&Workspace::here()) {
        Ok(kernel) => Some(kernel),
        Err(error) => return tests::skip(NAME, &format!("no kernel: {error:#}")),
    };
    let bootargs = "earlyprintk=serial,ttyS0,115200 console=ttyS0".to_owned();
    let request = BootRequest { kernel, bootargs, ..BootRequest::default() };
    let mut spec = catalog::load("x86-mini").unwrap();
    spec.set("machine.memory", "512M").unwrap();
    let stopped = session::run(spec, &request, |session| {
        session.expect("Linux version ");
        session.expect("Command line: earlyprintk=serial,ttyS0,115200 console=ttyS0");
        session.expect("BIOS-e820: [mem 0x0000000000100000-0x000000001fffffff] usable");
        session.quit();
    });
    assert_eq!(stopped, Stopped::Quit);
}
