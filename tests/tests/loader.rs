//! `linux-loader` works on an address space, ROM included.

use devices::{Clock, Console, Host};
use linux_loader::loader::{Elf, KernelLoader};
use machines::catalog;
use machines::machine::Machine;
use memory_core::{RamBlock, TxAttrs};
use memory_dispatch::LoaderMemory;
use std::io::Cursor;
use std::path::Path;
use vm_memory::GuestAddress;

/// Address, offset in the file and length of what an ELF file of 64 bits has loaded.
fn segments(elf: &[u8]) -> Vec<(u64, usize, usize)> {
    let number = |at: usize, len: usize| {
        elf[at..at + len].iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let (table, count) = (number(0x20, 8) as usize, number(0x38, 2) as usize);
    let headers = (0..count).map(|index| table + index * 56).filter(|at| number(*at, 4) == 1);
    headers.map(|at| (number(at + 24, 8), number(at + 8, 8) as usize, number(at + 32, 8) as usize)).collect()
}

#[test]
fn linux_loader_puts_an_elf_file_where_it_belongs() {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../machines/guests/riscv-virt.elf");
    let elf = std::fs::read(guest).unwrap();
    let host = Host::new(Clock::stepped(), Console::new(std::io::sink()));
    let machine = Machine::build(catalog::load("riscv-virt").unwrap(), host).unwrap();
    let space = machine.spaces()[0].clone();
    // the end of the image lies in ROM, which a loader writes as well
    let all = segments(&elf);
    let last = all.iter().map(|(address, _, len)| address + *len as u64).max().unwrap();
    let rom = machine.memory().rom("rom", RamBlock::anonymous(0x1000u64).unwrap()).build().unwrap();
    let system = machine.spaces()[0].root().clone();
    system.map_overlap((last - 1) & !0xfff, &rom, 1).unwrap();

    let loaded = Elf::load(&LoaderMemory::new(&space), None, &mut Cursor::new(&elf), None).unwrap();
    assert_eq!(loaded.kernel_load, GuestAddress(0x8000_0000));
    assert!(!all.is_empty());
    for (address, offset, len) in all {
        let mut bytes = vec![0; len];
        space.read(address, &mut bytes, TxAttrs::default()).unwrap();
        assert!(bytes == elf[offset..offset + len], "segment at {address:#x}");
    }
}
