//! Guests as kernels are: with page tables of 32 bits, and with two rings. A host whose KVM is nested may lack what they need
//! in ring 0: each asks first.

use crate::board::{Board, CODE, Registers, SAY};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use machines::kvm::{Start, VcpuEnd};
use memory_core::Width;

/// Where guests wait for a byte that is not 0.
const GO: u64 = 0x2000;
const STACK: u64 = 0x7000;
/// The root of the page tables, and what is below it, page by page.
const ROOT: u64 = 0x8000;
/// What other pages are seen at.
const WINDOW: u32 = 0xc000_0000;
/// Present, writable, for all rings.
const PRESENT: u64 = 7;
/// What the processor notes in page tables: read, written.
const ACCESSED: u64 = 0x20;
const DIRTY: u64 = 0x40;

fn store(board: &Board, address: u64, width: Width, value: u64) {
    board.memory.store(address, width, value, Default::default()).unwrap();
}

/// Whether the host runs a guest that says `expected`; that it does not is said, but for a host that runs all.
fn runs(name: &str, board: &Board, start: &Start, expected: &[u64]) -> bool {
    let running = board.start(false, start);
    let mut said = expected.iter().map(|expected| match board.said_if_it_runs(&running)? {
        said if said == *expected => Ok(()),
        other => Err(format!("it says {other:#x} in place of {expected:#x}")),
    });
    let Some(why) = said.find_map(Result::err) else { return true };
    assert!(!tests::is_interpreted(), "{why}");
    tests::skip(name, &format!("this host's KVM does not run what kernels do in ring 0: {why}"));
    false
}

/// Says what is in AX.
fn say(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.out(SAY, ax)
}

/// The first megabyte as it is, by pages of 4 KiB; the second table is for [`WINDOW`].
fn tables_of_32_bits(board: &Board) {
    let store = |address: u64, value: u64| store(board, address, Width::W4, value);
    store(ROOT, (ROOT + 0x1000) | PRESENT);
    store(ROOT + 4 * u64::from(WINDOW >> 22), (ROOT + 0x2000) | PRESENT);
    for page in 0..256u64 {
        store(ROOT + 0x1000 + 4 * page, page << 12 | PRESENT);
    }
}

fn turn_paging_on(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(eax, ROOT as u32)?;
    a.mov(cr3, eax)?;
    a.mov(eax, cr0)?;
    a.or(eax, 0x8000_0000u32 as i32)?;
    a.mov(cr0, eax)
}

#[test]
fn a_32_bit_guest_with_paging_reaches_what_its_tables_lead_to() {
    let name = "a_32_bit_guest_with_paging_reaches_what_its_tables_lead_to";
    let Some(mut board) = Board::new(name) else { return };
    let start = Start::Flat { eip: CODE as u32, esp: STACK as u32 };
    tables_of_32_bits(&board);
    board.load(32, |a| {
        turn_paging_on(a)?;
        a.mov(eax, 1)?;
        say(a)?;
        a.hlt()
    });
    if !runs(name, &board, &start, &[1]) {
        return;
    }
    let registers = Registers::new(|offset, _| 0x5500 + offset, |_, _, _| ());
    board.registers(0x6_0000, &registers);
    let bank = board.ram_at(0x4_0000, 0x1000, "bank");
    store(&board, 0x5_0010, Width::W2, 0x4242);
    let table = ROOT + 0x2000;
    for (entry, page) in [(0, 0x4_0000), (1, 0x6_0000)] {
        store(&board, table + 4 * entry, Width::W4, page | PRESENT);
    }
    board.load(32, |a| {
        turn_paging_on(a)?;
        a.mov(word_ptr(WINDOW + 0x10), 0x1234)?;
        a.mov(word_ptr(WINDOW + 0x1020), 3)?;
        a.mov(ax, word_ptr(WINDOW + 0x1024))?;
        say(a)?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.cmp(byte_ptr(GO), 0)?;
        a.je(again)?;
        a.mov(ax, word_ptr(WINDOW + 0x10))?;
        say(a)?;
        // the same place leads elsewhere
        a.mov(dword_ptr(table), 0x5_0000 | PRESENT as i32)?;
        a.invlpg(ptr(WINDOW))?;
        a.mov(ax, word_ptr(WINDOW + 0x10))?;
        say(a)?;
        a.hlt()
    });
    let _running = board.start(false, &start);
    assert_eq!(board.said(), 0x5524);
    assert_eq!(*registers.written.lock().unwrap(), [(0x20, Width::W2, 3)]);
    assert_eq!(board.word(0x4_0010), 0x1234);
    let noted = board.memory.load(table, Width::W4, Default::default()).unwrap() & (ACCESSED | DIRTY);
    assert_eq!(noted, ACCESSED | DIRTY);
    // under its tables, which say the same as before: RAM below the bank
    bank.set_address(0x7_0000).unwrap();
    store(&board, 0x4_0010, Width::W2, 0x9999);
    store(&board, GO, Width::W1, 1);
    assert_eq!((board.said(), board.said()), (0x9999, 0x4242));
}

/// Where system calls go.
const KERNEL: u64 = 0x1800;
const USER: u64 = 0x1c00;
/// What selects the kernel's code segment, and the user's with its ring.
const KERNEL_CODE: u64 = 0x08;
const USER_CODE: u64 = 0x23;

/// Has system calls go to [`KERNEL`], and goes to [`USER`] in ring 3.
fn leave_for_ring_3(a: &mut CodeAssembler) -> Result<(), IcedError> {
    // EFER with system calls on
    a.mov(ecx, 0xc000_0080u32)?;
    a.rdmsr()?;
    a.or(eax, 1)?;
    a.wrmsr()?;
    // STAR, whose upper half is the user's; LSTAR; SFMASK
    for (register, high, low) in
        [(0xc000_0081u32, 0x0013_0008u32, 0), (0xc000_0082, 0, KERNEL as u32), (0xc000_0084, 0, 0x200)]
    {
        a.mov(ecx, register)?;
        a.mov(eax, low)?;
        a.mov(edx, high)?;
        a.wrmsr()?;
    }
    a.mov(rcx, USER)?;
    a.mov(r11, 2u64)?;
    a.sysretq()
}

#[test]
fn a_64_bit_guest_in_ring_3_calls_ring_0_and_may_no_more_than_its_ring() {
    let name = "a_64_bit_guest_in_ring_3_calls_ring_0_and_may_no_more_than_its_ring";
    let Some(mut board) = Board::new(name) else { return };
    let start = Start::Long { rip: CODE, rsp: STACK, cr3: ROOT };
    store(&board, ROOT, Width::W8, (ROOT + 0x1000) | PRESENT);
    store(&board, ROOT + 0x1000, Width::W8, (ROOT + 0x2000) | PRESENT);
    // 2 MiB as they are, and 2 MiB for ring 0 alone
    store(&board, ROOT + 0x2000, Width::W8, 0x80 | PRESENT);
    store(&board, ROOT + 0x2008, Width::W8, 0x20_0083);
    board.load(64, leave_for_ring_3);
    let kernels = board.ram_at(0x20_0000, 0x1000, "kernel's");
    // says what the user has in AX, and its own ring
    board.load_at(KERNEL, 64, |a| {
        say(a)?;
        a.mov(eax, cs)?;
        say(a)?;
        a.mov(rdi, 0x20_0010u64)?;
        a.inc(word_ptr(rdi))?;
        a.sysretq()
    });
    board.load_at(USER, 64, |a| {
        for call in [1, 2] {
            a.mov(eax, call)?;
            a.syscall()?;
        }
        let mut ever = a.create_label();
        a.set_label(&mut ever)?;
        a.jmp(ever)
    });
    if !runs(name, &board, &start, &[1, KERNEL_CODE, 2, KERNEL_CODE]) {
        return;
    }
    store(&board, 0x20_0010, Width::W2, 0);
    let registers = Registers::new(|offset, _| 0x5500 + offset, |_, _, _| ());
    board.registers(0x6_0000, &registers);
    board.load_at(USER, 64, |a| {
        a.mov(eax, cs)?;
        a.syscall()?;
        a.mov(rdi, 0x6_0000u64)?;
        a.mov(word_ptr(rdi + 0x20), 3)?;
        a.mov(ax, word_ptr(rdi + 0x24))?;
        a.syscall()?;
        // the kernel's memory, with no handler: the end
        a.mov(rdi, 0x20_0010u64)?;
        a.mov(word_ptr(rdi), 0x7777)?;
        a.syscall()
    });
    let running = board.start(false, &start);
    let said = [(); 4].map(|()| board.said());
    assert_eq!(said, [USER_CODE, KERNEL_CODE, 0x5524, KERNEL_CODE]);
    assert_eq!(running.vcpu.wait_ended().end, VcpuEnd::Shutdown);
    assert!(!board.has_said());
    assert_eq!(*registers.written.lock().unwrap(), [(0x20, Width::W2, 3)]);
    assert_eq!(board.word(0x20_0010), 2);
    drop(kernels);
}
