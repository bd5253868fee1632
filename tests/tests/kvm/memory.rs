//! RAM, ROM, ROM devices and registers under a guest.

use crate::board::{Board, CODE, Registers, SAY};
use iced_x86::code_asm::*;
use machines::kvm::Start;
use memory_core::{AccessRules, RamBlock, RegionRef, Width};
use std::sync::{Arc, OnceLock};

#[test]
fn loads_and_stores_reach_ram_and_registers() {
    let Some(mut board) = Board::new("loads_and_stores_reach_ram_and_registers") else { return };
    let registers = Registers::new(|offset, _| 0x5500 + offset, |_, _, _| ());
    board.registers(0x2_0000, &registers);
    board.load(16, |a| {
        a.mov(ax, 0x2000)?;
        a.mov(ds, ax)?;
        a.mov(ax, word_ptr(0x12))?;
        a.out(SAY, ax)?;
        a.mov(byte_ptr(0x21), 0x99u32)?;
        a.mov(dword_ptr(0x30), 0x1234_5678u32)?;
        a.xor(bx, bx)?;
        a.mov(ds, bx)?;
        a.mov(word_ptr(0x4000), ax)?;
        a.out(SAY, ax)?;
        a.hlt()
    });
    let _running = board.run();
    assert_eq!((board.said(), board.said()), (0x5512, 0x5512));
    assert_eq!(board.word(0x4000), 0x5512);
    let written = registers.written.lock().unwrap();
    assert_eq!(*written, [(0x21, Width::W1, 0x99), (0x30, Width::W4, 0x1234_5678)]);
}

#[test]
fn a_guests_write_to_rom_changes_nothing() {
    let Some(mut board) = Board::new("a_guests_write_to_rom_changes_nothing") else { return };
    let block = RamBlock::anonymous(0x1000u64).unwrap();
    assert!(block.store(0x10, Width::W2, 0x4242));
    let rom = board.tree().rom("rom", block.clone()).build().unwrap();
    board.map(0x3_0000, rom);
    board.load(16, |a| {
        a.mov(ax, 0x3000)?;
        a.mov(ds, ax)?;
        a.mov(word_ptr(0x10), 0x1111u32)?;
        a.mov(ax, word_ptr(0x10))?;
        a.out(SAY, ax)?;
        a.hlt()
    });
    let running = board.run();
    assert_eq!(board.said(), 0x4242);
    assert_eq!(block.load(0x10, Width::W2), Some(0x4242));
    running.vcpu.stop();
    let report = running.vcpu.wait_ended();
    let seen: Vec<_> = report.accesses.iter().map(|seen| (seen.port, seen.write, seen.address)).collect();
    assert_eq!(
        seen,
        [(false, true, 0x3_0010), (true, true, SAY.into())],
        "the write exits, the read does not"
    );
}

#[test]
fn a_rom_device_that_its_own_guest_switches_reads_by_callback_from_then_on() {
    let name = "a_rom_device_that_its_own_guest_switches_reads_by_callback_from_then_on";
    let Some(mut board) = Board::new(name) else { return };
    let region = Arc::new(OnceLock::<RegionRef>::new());
    let switched = region.clone();
    // as a flash: a command switches, from inside the callback
    let flash = Registers::new(
        |_, _| 0x80,
        move |_, _, value| switched.get().unwrap().set_romd(value == 0xff).unwrap(),
    );
    let block = RamBlock::anonymous(0x1000u64).unwrap();
    assert!(block.store(0x10, Width::W1, 0x42));
    let device = board.tree().rom_device("flash", block, AccessRules::new(), flash.clone()).build().unwrap();
    region.set(board.map(0x3_0000, device)).unwrap();
    board.load(16, |a| {
        a.mov(ax, 0x3000)?;
        a.mov(ds, ax)?;
        for command in [0x70u32, 0xff] {
            a.mov(al, byte_ptr(0x10))?;
            a.out(SAY, al)?;
            a.mov(byte_ptr(0), command)?;
        }
        a.mov(al, byte_ptr(0x10))?;
        a.out(SAY, al)?;
        a.hlt()
    });
    let _running = board.run();
    assert_eq!([board.said(), board.said(), board.said()], [0x42, 0x80, 0x42]);
    assert_eq!(flash.reads.lock().unwrap().len(), 1);
}

#[test]
fn parts_of_pages_are_dispatched_and_whole_pages_are_memory() {
    let Some(mut board) = Board::new("parts_of_pages_are_dispatched_and_whole_pages_are_memory") else {
        return;
    };
    // registers in the middle of a page of RAM: what is left of the page is no slot, and still RAM
    let registers = Registers::plain();
    let region =
        board.tree().mmio("registers", 0x100u64, AccessRules::new(), registers.clone()).build().unwrap();
    board.map(0x5_0800, region);
    board.load(16, |a| {
        a.mov(ax, 0x5000)?;
        a.mov(ds, ax)?;
        for (at, value) in [(0x7f0u32, 0x1111u32), (0x900, 0x2222), (0x1000, 0x3333)] {
            a.mov(word_ptr(at), value)?;
        }
        a.mov(ax, word_ptr(0x7f0))?;
        a.out(SAY, ax)?;
        a.mov(ax, word_ptr(0x810))?;
        a.out(SAY, ax)?;
        a.hlt()
    });
    let running = board.run();
    assert_eq!((board.said(), board.said()), (0x1111, 0x10));
    let words = [0x5_07f0, 0x5_0900, 0x5_1000].map(|address| board.word(address));
    assert_eq!(words, [0x1111, 0x2222, 0x3333]);
    running.vcpu.stop();
    let accesses = &running.vcpu.wait_ended().accesses;
    let exits = accesses.iter().filter(|seen| !seen.port && seen.write).map(|seen| seen.address);
    assert_eq!(exits.collect::<Vec<_>>(), [0x5_07f0, 0x5_0900]);
}

/// Page tables at 0x8000: the first gigabyte as it is, in pages of 2 MiB.
fn identity_tables(board: &Board) -> u64 {
    let (root, second, third) = (0x8000u64, 0x9000u64, 0xa000u64);
    let store = |address: u64, value: u64| {
        board.memory.store(address, Width::W8, value, Default::default()).unwrap();
    };
    // present, writable, for users
    store(root, second | 7);
    store(second, third | 7);
    for page in 0..512u64 {
        store(third + 8 * page, page << 21 | 0x87);
    }
    root
}

#[test]
fn a_64_bit_guest_in_ring_0_reaches_ram_registers_and_ports() {
    let Some(mut board) = Board::new("a_64_bit_guest_in_ring_0_reaches_ram_registers_and_ports") else {
        return;
    };
    let registers = Registers::new(|offset, _| 0x1122_3344_0000 + offset, |_, _, _| ());
    let rules = AccessRules::new().valid(Width::W1..=Width::W8).implements(Width::W1..=Width::W8);
    let region = board.tree().mmio("registers", 0x1000u64, rules, registers.clone()).build().unwrap();
    board.map(0x1000_0000, region);
    let high = board.ram_at(0x2000_0000, 0x1000, "high");
    let tables = identity_tables(&board);
    board.load(64, |a| {
        a.mov(rbx, 0x1000_0000u64)?;
        a.mov(rax, qword_ptr(rbx + 0x18))?;
        a.mov(qword_ptr(rbx + 0x20), rax)?;
        a.mov(rdi, 0x2000_0000u64)?;
        a.mov(qword_ptr(rdi), rax)?;
        a.out(SAY, eax)?;
        a.hlt()
    });
    let _running = board.start(false, &Start::Long { rip: CODE, rsp: 0x7000, cr3: tables });
    assert_eq!(board.said(), 0x3344_0018);
    assert_eq!(*registers.written.lock().unwrap(), [(0x20, Width::W8, 0x1122_3344_0018)]);
    let stored = board.memory.load(0x2000_0000, Width::W8, Default::default());
    assert_eq!(stored, Ok(0x1122_3344_0018));
    drop(high);
}

#[test]
fn a_32_bit_guest_without_paging_reaches_the_upper_half() {
    let Some(mut board) = Board::new("a_32_bit_guest_without_paging_reaches_the_upper_half") else { return };
    board.ram_at(0xc000_0000, 0x1000, "high");
    board.load(32, |a| {
        a.mov(ebx, 0xc000_0000u32)?;
        a.mov(dword_ptr(ebx + 4), 0xaabb_ccddu32)?;
        a.mov(eax, dword_ptr(ebx + 4))?;
        a.out(SAY, eax)?;
        a.hlt()
    });
    let _running = board.start(false, &Start::Flat { eip: CODE as u32, esp: 0x7000 });
    assert_eq!(board.said(), 0xaabb_ccdd);
    assert_eq!(board.word(0xc000_0004), 0xccdd);
}
