//! Guests that end themselves, and what is reported of them.

use crate::board::{Board, CODE, SAY};
use iced_x86::code_asm::*;
use machines::kvm::{SeenAccess, Start, VcpuEnd};

#[test]
fn a_triple_fault_ends_with_registers_and_the_last_accesses() {
    let Some(board) = Board::new("a_triple_fault_ends_with_registers_and_the_last_accesses") else { return };
    board.load(32, |a| {
        a.mov(eax, 0x1234_5678u32)?;
        a.out(SAY, eax)?;
        // no table of interrupts: the fault has no handler, nor has the fault of that
        a.mov(dword_ptr(0x2000), 0)?;
        a.mov(dword_ptr(0x2004), 0)?;
        a.lidt(dword_ptr(0x2000))?;
        a.ud2()
    });
    let running = board.start(false, &Start::Flat { eip: CODE as u32, esp: 0x7000 });
    assert_eq!(board.said(), 0x1234_5678);
    let report = running.vcpu.wait_ended();
    assert_eq!(report.end, VcpuEnd::Shutdown);
    let said = SeenAccess { port: true, write: true, address: SAY.into(), value: 0x1234_5678, len: 4 };
    assert_eq!(report.accesses, [said]);
    // a host may have reset the registers
    assert!(report.registers.as_ref().is_some_and(|registers| registers.contains("rip=")), "{report}");
}

#[test]
fn a_jump_into_a_hole_ends_the_guest_and_nothing_else() {
    let Some(board) = Board::new("a_jump_into_a_hole_ends_the_guest_and_nothing_else") else { return };
    board.load(32, |a| {
        a.mov(eax, 0x5000_0000u32)?;
        a.out(SAY, eax)?;
        a.jmp(eax)
    });
    let running = board.start(false, &Start::Flat { eip: CODE as u32, esp: 0x7000 });
    board.said();
    let report = running.vcpu.wait_ended();
    assert!(matches!(report.end, VcpuEnd::InternalError | VcpuEnd::Shutdown), "{report}");
    assert!(!board.has_said());
}

#[test]
fn a_guest_that_writes_without_end_is_stopped() {
    let Some(board) = Board::new("a_guest_that_writes_without_end_is_stopped") else { return };
    board.load(16, |a| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.out(SAY, al)?;
        a.jmp(again)
    });
    let running = board.run();
    board.said();
    running.vcpu.stop();
    assert_eq!(running.vcpu.wait_ended().end, VcpuEnd::Stopped);
    drop(running);
}
