use super::*;
use crate::boot::{BootError, BootPlan, BootRequest, CpuStart};
use crate::catalog;
use crate::machine::Machine;
use devices::{Clock, Console, Host};
use memory_core::TxAttrs;
use std::io::Write;

fn machine() -> Machine {
    let host = Host::new(Clock::stepped(), Console::new(std::io::sink()));
    Machine::build(catalog::load("x86-mini").unwrap(), host).unwrap()
}

fn boot(machine: &Machine, kernel: &[u8], bootargs: &str) -> Result<CpuStart, BootError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(kernel).unwrap();
    let kernel = Some(file.path().to_owned());
    let request = BootRequest { kernel, bootargs: bootargs.to_owned(), ..BootRequest::default() };
    BootPlan::new(machine, &request)?.load(machine)
}

fn refused(kernel: &[u8], bootargs: &str) -> String {
    boot(&machine(), kernel, bootargs).unwrap_err().to_string()
}

fn bytes<const N: usize>(machine: &Machine, address: u64) -> [u8; N] {
    let mut bytes = [0; N];
    machine.cpu_space().unwrap().read(address, &mut bytes, TxAttrs::default()).unwrap();
    bytes
}

fn word(machine: &Machine, address: u64) -> u32 {
    u32::from_le_bytes(bytes(machine, address))
}

fn long(machine: &Machine, address: u64) -> u64 {
    u64::from_le_bytes(bytes(machine, address))
}

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A bzImage of protocol 2.15 with one sector of set-up behind the first, whose kernel is 300 bytes, and takes 32 MiB at 16 MiB.
fn bzimage() -> Vec<u8> {
    let mut image = vec![0; 1024];
    image[0x1f1] = 1;
    put(&mut image, 0x202, b"HdrS");
    put(&mut image, 0x206, &0x020fu16.to_le_bytes());
    image[0x211] = 1;
    put(&mut image, 0x214, &0x10_0000u32.to_le_bytes());
    put(&mut image, 0x238, &2047u32.to_le_bytes());
    put(&mut image, 0x258, &0x100_0000u64.to_le_bytes());
    put(&mut image, 0x260, &0x200_0000u32.to_le_bytes());
    image.extend([0xab; 300]);
    image
}

/// An ELF file of 8 bytes at 1 MiB, with a note that says that PVH begins at 0x100004.
fn pvh() -> Vec<u8> {
    let mut image = vec![0; 0x200];
    put(&mut image, 0, b"\x7fELF\x02\x01\x01");
    put(&mut image, 16, &[2, 0, 62, 0, 1]);
    // where the two program headers are, and how large
    put(&mut image, 32, &64u64.to_le_bytes());
    put(&mut image, 24, &0x10_0000u64.to_le_bytes());
    put(&mut image, 52, &64u16.to_le_bytes());
    put(&mut image, 54, &56u16.to_le_bytes());
    put(&mut image, 56, &2u16.to_le_bytes());
    let mut header = |at: usize, kind: u32, offset: u64, len: u64| {
        put(&mut image, at, &kind.to_le_bytes());
        for (field, value) in [(8, offset), (16, 0x10_0000), (24, 0x10_0000), (32, len), (40, len)] {
            put(&mut image, at + field, &value.to_le_bytes());
        }
    };
    header(64, 1, 0x180, 8);
    header(120, 4, 0x100, 20);
    put(&mut image, 0x180, b"kernel!!");
    for (field, value) in [(0, 4u32), (4, 4), (8, 18), (16, 0x10_0004)] {
        put(&mut image, 0x100 + field, &value.to_le_bytes());
    }
    put(&mut image, 0x10c, b"Xen\0");
    image
}

/// RAM below 640 KiB, what the BIOS has, and the rest of 128 MiB.
const MAP: [(u64, u64, u32); 3] = [(0, 0x9_fc00, 1), (0x9_fc00, 0x6_0400, 2), (0x10_0000, 0x7f0_0000, 1)];

#[test]
fn a_bzimage_is_unpacked_by_its_protocol_and_told_the_memory_and_the_command_line() {
    let machine = machine();
    let start = boot(&machine, &bzimage(), "console=ttyS0 quiet").unwrap();
    let CpuStart::X86(X86Start::Kernel { eip, ebx, esi, gdt }) = start else { panic!("{start:?}") };
    assert_eq!((eip, ebx), (0x10_0000, 0));
    // the kernel alone, not its set-up
    assert_eq!(bytes::<301>(&machine, 0x10_0000)[298..], [0xab, 0xab, 0]);
    let zero_page = u64::from(esi);
    assert_eq!(bytes(&machine, zero_page + 0x202), *b"HdrS");
    assert_eq!(bytes(&machine, zero_page + 0x210), [LOADER_UNDEFINED]);
    let arguments = u64::from(word(&machine, zero_page + 0x228));
    assert_eq!(bytes(&machine, arguments), *b"console=ttyS0 quiet\0");
    assert_eq!(bytes(&machine, zero_page + 0x1e8), [3]);
    for (index, (start, size, kind)) in (0..).zip(MAP) {
        let entry = zero_page + 0x2d0 + 20 * index;
        let found = (long(&machine, entry), long(&machine, entry + 8), word(&machine, entry + 16));
        assert_eq!(found, (start, size, kind));
    }
    // code that may be run and read, data that may be written, each 4 GiB from 0
    let flat =
        |descriptor: u64| descriptor & 0x00cf_ffff_ffff_ffff == descriptor && descriptor & 0xffff == 0xffff;
    let [code, data] = [0x10, 0x18].map(|selector| long(&machine, gdt + selector));
    assert!(flat(code) && flat(data));
    assert_eq!([code, data].map(|descriptor| descriptor >> 40 & 0xff), [0x9b, 0x93]);
}

#[test]
fn an_elf_file_begins_at_its_pvh_entry_with_start_information() {
    let machine = machine();
    let start = boot(&machine, &pvh(), "root=/dev/vda").unwrap();
    let CpuStart::X86(X86Start::Kernel { eip, ebx, esi, .. }) = start else { panic!("{start:?}") };
    assert_eq!((eip, esi), (0x10_0004, 0));
    assert_eq!(bytes(&machine, 0x10_0000), *b"kernel!!");
    let info = u64::from(ebx);
    assert_eq!([0, 4, 8, 12].map(|field| word(&machine, info + field)), [0x336e_c578, 1, 0, 0]);
    assert_eq!(bytes(&machine, long(&machine, info + 24)), *b"root=/dev/vda\0");
    let (map, entries) = (long(&machine, info + 40), word(&machine, info + 48));
    assert_eq!(entries, 3);
    for (index, (start, size, kind)) in (0..).zip(MAP) {
        let entry = map + 24 * index;
        let found = (long(&machine, entry), long(&machine, entry + 8), word(&machine, entry + 16));
        assert_eq!(found, (start, size, kind));
    }
}

#[test]
fn what_a_guest_has_made_of_a_kernel_is_written_again_at_the_next_start() {
    let machine = machine();
    let first = boot(&machine, &pvh(), "a").unwrap();
    for start in [0, 0x10_0000] {
        machine.cpu_space().unwrap().fill(start, 0xd_0000, 0xff, TxAttrs::default()).unwrap();
    }
    assert_eq!(boot(&machine, &pvh(), "a").unwrap(), first);
    assert_eq!(bytes(&machine, 0x10_0000), *b"kernel!!");
    assert_eq!(bytes(&machine, COMMAND_LINE), *b"a\0");
}

#[test]
fn kernels_that_are_broken_old_or_too_large_are_refused_with_what_is_wrong() {
    let neither = "neither a bzImage (of protocol 2.06 or later) nor an ELF file for x86-64 with a PVH entry";
    let changed = |mut image: Vec<u8>, at: usize, bytes: &[u8]| {
        put(&mut image, at, bytes);
        image
    };
    let mut no_entry = pvh();
    no_entry[0x108] = 17;
    for image in [
        b"#!/bin/sh".to_vec(),
        Vec::new(),
        changed(bzimage(), 0x206, &0x0205u16.to_le_bytes()),
        changed(pvh(), 18, &[243]),
        no_entry,
    ] {
        let error = refused(&image, "");
        assert!(error.contains(neither), "{error}");
    }
    // it unpacks itself to 16 MiB, and the machine ends at 128
    let error = refused(&changed(bzimage(), 0x260, &0x700_0001u32.to_le_bytes()), "");
    assert!(error.contains("needs RAM at") && error.contains("8000000"), "{error}");
    let error = refused(&changed(bzimage(), 0x238, &3u32.to_le_bytes()), "four");
    assert!(error.contains("takes a command line of 3 bytes, and this has 4"), "{error}");
    // a segment beyond the file, and one where no memory is
    assert!(boot(&machine(), &changed(pvh(), 64 + 32, &[0xff; 4]), "").is_err());
    assert!(boot(&machine(), &changed(pvh(), 64 + 24, &0x9000_0000u64.to_le_bytes()), "").is_err());
}

#[test]
fn damaged_headers_are_refused_or_loaded_and_never_panic() {
    let machine = machine();
    for image in [bzimage(), pvh()] {
        for at in (0..0x200).chain(0x1f1..0x270).filter(|at| *at < image.len()) {
            for value in [0, 0x7f, 0xff] {
                let mut damaged = image.clone();
                damaged[at] = value;
                _ = boot(&machine, &damaged, "");
            }
        }
        for len in [1, 0x40, 0x1f2, 0x206, 0x210, 0x260] {
            _ = boot(&machine, &image[..len.min(image.len())], "");
        }
    }
}
