//! An ELF file with a PVH entry, the form in which kernels for virtual machines start.

use crate::firmware::EXIT;
use crate::has_kvm;
use iced_x86::code_asm::*;
use machines::boot::BootRequest;
use machines::catalog;
use machines::runner::Stopped;
use std::io::Write;
use tempfile::NamedTempFile;
use tests::session;

/// Where it is loaded, and where it begins.
const LOAD: u64 = 0x10_0000;
/// What the start information begins with, to which EBX points.
const MAGIC: u32 = 0x336e_c578;
/// The note of the entry: `XEN_ELFNOTE_PHYS32_ENTRY`.
const ENTRY: u32 = 18;

fn elf(code: &[u8]) -> Vec<u8> {
    let header = |kind: u32, offset: u64, len: u64| {
        let places = [offset, LOAD, LOAD, len, len, 0].map(u64::to_le_bytes).concat();
        [&kind.to_le_bytes()[..], &[0; 4], &places].concat()
    };
    let note = [4, 4, ENTRY, u32::from_le_bytes(*b"Xen\0"), LOAD as u32].map(u32::to_le_bytes).concat();
    let (notes_at, code_at) = (64 + 2 * 56, 64 + 2 * 56 + note.len() as u64);
    // an executable of 64 bits for x86-64, with two program headers right behind this one
    let head = [
        &b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"[..],
        &[2, 0, 62, 0, 1, 0, 0, 0],
        &[LOAD, 64, 0].map(u64::to_le_bytes).concat(),
        &[0, 0, 64, 56, 2, 0, 0, 0].map(u16::to_le_bytes).concat(),
    ];
    let headers = [header(1, code_at, code.len() as u64), header(4, notes_at, note.len() as u64)];
    [&head.concat()[..], &headers.concat(), &note, code].concat()
}

#[test]
fn a_kernel_with_a_pvh_entry_runs_from_it_and_finds_its_start_information() {
    if !has_kvm("a_kernel_with_a_pvh_entry_runs_from_it_and_finds_its_start_information") {
        return;
    }
    let mut a = CodeAssembler::new(32).unwrap();
    let write = |a: &mut CodeAssembler| {
        let mut over = a.create_label();
        a.mov(al, 2)?;
        a.cmp(dword_ptr(ebx), MAGIC as i32)?;
        a.jne(over)?;
        a.mov(al, 1)?;
        a.set_label(&mut over)?;
        a.out(EXIT, al)?;
        a.hlt()
    };
    write(&mut a).unwrap();
    let mut kernel = NamedTempFile::new().unwrap();
    kernel.write_all(&elf(&a.assemble(LOAD).unwrap())).unwrap();
    let request = BootRequest { kernel: Some(kernel.path().to_owned()), ..BootRequest::default() };
    let stopped = session::run(catalog::load("x86-mini").unwrap(), &request, |_| ());
    assert_eq!(stopped, Stopped::PoweredOff { code: 3 });
}
