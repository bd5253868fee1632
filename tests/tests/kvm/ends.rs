//! Guests that end themselves, and what is reported of them.

use crate::board::{Board, CODE, Registers, SAY, in_time};
use iced_x86::code_asm::*;
use machines::kvm::{SeenAccess, Start, VcpuEnd};
use memory_core::{AccessRules, RamBlock};

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
    assert!(matches!(report.end, VcpuEnd::InternalError(_) | VcpuEnd::Shutdown), "{report}");
    assert!(!board.has_said());
}

#[test]
fn an_instruction_that_the_kernel_cannot_emulate_ends_the_guest_with_its_place() {
    let name = "an_instruction_that_the_kernel_cannot_emulate_ends_the_guest_with_its_place";
    let Some(mut board) = Board::new(name) else { return };
    let registers = Registers::plain();
    board.registers(0x20_0000, &registers);
    board.load(32, |a| {
        a.out(SAY, al)?;
        // a register loaded by the arithmetic unit: KVM's emulator has next to nothing of that
        a.fld(dword_ptr(0x20_0010))?;
        a.out(SAY, al)?;
        a.hlt()
    });
    let running = board.start(false, &Start::Flat { eip: CODE as u32, esp: 0x7000 });
    board.said();
    let report = running.vcpu.wait_ended();
    assert!(matches!(report.end, VcpuEnd::InternalError(_)), "{report}");
    assert!(report.to_string().starts_with("the kernel could not emulate the guest: "), "{report}");
    assert_eq!(report.code.as_deref().and_then(|code| code.get(..2)), Some(&[0xd9, 0x05][..]), "{report}");
    assert!(registers.reads.lock().unwrap().is_empty());
    assert!(!board.has_said());
}

#[test]
fn a_guest_that_writes_rom_and_then_fails_is_reported_with_the_write() {
    let Some(mut board) = Board::new("a_guest_that_writes_rom_and_then_fails_is_reported_with_the_write")
    else {
        return;
    };
    let rom = board.tree().rom("rom", RamBlock::anonymous(0x1000u64).unwrap()).build().unwrap();
    board.map(0x20_0000, rom);
    board.load(32, |a| {
        a.mov(dword_ptr(0x20_0010), 0x1234_5678u32)?;
        a.mov(dword_ptr(0x2000), 0)?;
        a.mov(dword_ptr(0x2004), 0)?;
        a.lidt(dword_ptr(0x2000))?;
        a.ud2()
    });
    let running = board.start(false, &Start::Flat { eip: CODE as u32, esp: 0x7000 });
    let report = running.vcpu.wait_ended();
    assert_eq!(report.end, VcpuEnd::Shutdown);
    let wrote = SeenAccess { port: false, write: true, address: 0x20_0010, value: 0x1234_5678, len: 4 };
    assert_eq!(report.accesses, [wrote]);
    assert!(report.to_string().contains("memory 0x200010 write of 4: 0x12345678"), "{report}");
}

#[test]
fn a_guest_that_is_stopped_is_reported_with_the_bytes_of_its_next_instruction() {
    let name = "a_guest_that_is_stopped_is_reported_with_the_bytes_of_its_next_instruction";
    let Some(board) = Board::new(name) else { return };
    board.load(16, |a| {
        a.out(SAY, al)?;
        let mut ever = a.create_label();
        a.set_label(&mut ever)?;
        a.jmp(ever)
    });
    let running = board.run();
    board.said();
    running.vcpu.stop();
    let report = running.vcpu.wait_ended();
    assert_eq!(report.code.as_deref().and_then(|code| code.get(..2)), Some(&[0xeb, 0xfe][..]), "{report}");
    assert!(report.to_string().contains("code: eb fe"), "{report}");
}

/// A device that hides RAM which the kernel refuses, and whose removal cannot be refused.
#[test]
fn a_change_that_cannot_be_refused_and_yet_is_ends_the_guests() {
    let Some(mut board) = Board::new("a_change_that_cannot_be_refused_and_yet_is_ends_the_guests") else {
        return;
    };
    let far = 1 << 60;
    let cover =
        board.tree().mmio("cover", 0x1000u64, AccessRules::new(), Registers::plain()).build().unwrap();
    board.root.map_overlap(far, &cover, 2).unwrap();
    board.ram_at(far, 0x1000, "far");
    board.load(16, |a| {
        a.out(SAY, al)?;
        let mut ever = a.create_label();
        a.set_label(&mut ever)?;
        a.jmp(ever)
    });
    let mut running = board.run();
    let late = running.kvm.start_vcpu(&Start::Real { segment: 0, ip: CODE as u16 }).unwrap();
    let halts = CODE + 0x100;
    board.load_at(halts, 16, |a| {
        a.out(SAY, al)?;
        a.hlt()
    });
    let halted = running.kvm.start_vcpu(&Start::Real { segment: 0, ip: halts as u16 }).unwrap();
    (0..3).for_each(|_| _ = board.said());
    assert!(cover.unmap().is_err(), "this can be refused");
    assert!(running.vcpu.ended().is_none());
    drop(cover);
    for vcpu in [&running.vcpu, &late, &halted] {
        let vcpu = vcpu.clone();
        let report = in_time("a vCPU does not end", move || vcpu.wait_ended());
        assert!(matches!(&report.end, VcpuEnd::MapLost(why) if why.contains("memory slot")), "{report}");
    }
}

#[test]
fn a_vcpu_that_could_not_start_is_tried_again() {
    const NAME: &str = "a_vcpu_that_could_not_start_is_tried_again";
    let Some(board) = Board::new(NAME) else { return };
    board.load(16, |a| {
        a.out(SAY, al)?;
        a.hlt()
    });
    let mut kvm = board.kvm(false);
    // page tables where no processor has memory
    let nowhere = Start::Long { rip: CODE, rsp: 0x7000, cr3: 1 << 60 };
    if kvm.start_vcpu(&nowhere).is_ok() {
        return tests::skip(NAME, "this kernel takes any page tables");
    }
    assert!(kvm.start_vcpu(&nowhere).is_err());
    let vcpu = kvm.start_vcpu(&Start::Real { segment: 0, ip: CODE as u16 }).unwrap();
    board.said();
    kvm.start_vcpu(&Start::Real { segment: 0, ip: CODE as u16 }).unwrap();
    board.said();
    assert!(vcpu.ended().is_none());
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
