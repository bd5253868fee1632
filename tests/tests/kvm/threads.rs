//! Several vCPUs, and callbacks that change what their guests run on.

use crate::board::{Board, CODE, Registers, Running, SAY};
use iced_x86::code_asm::*;
use machines::kvm::{Start, VcpuControl, VcpuEnd};
use memory_core::{RegionRef, Width};
use std::sync::{Arc, OnceLock};

const ROUNDS: u32 = 300;
const SECOND: u64 = 0x1800;

/// A guest that writes `ROUNDS` down to 0 to the registers at `segment`, and says `name` then.
fn writes(board: &Board, at: u64, segment: u32, name: u32) {
    board.load_at(at, 16, |a| {
        a.mov(ax, segment)?;
        a.mov(es, ax)?;
        a.mov(cx, ROUNDS)?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.mov(word_ptr(0).es(), cx)?;
        a.dec(cx)?;
        a.jne(again)?;
        a.mov(al, name)?;
        a.out(SAY, al)?;
        a.hlt()
    });
}

/// Registers at `address` whose every write moves a bank between two places.
fn mover(board: &mut Board, address: u64, bank: u64) -> Arc<Registers> {
    let region = board.ram_at(bank, 0x1000, &format!("bank {bank:x}"));
    let registers =
        Registers::new(|_, _| 0, move |_, _, value| region.set_address(bank + (value & 1) * 0x2000).unwrap());
    board.registers(address, &registers);
    registers
}

fn real(ip: u64) -> Start {
    Start::Real { segment: 0, ip: ip as u16 }
}

#[test]
fn vcpus_whose_callbacks_change_slots_do_not_wait_for_each_other() {
    let Some(mut board) = Board::new("vcpus_whose_callbacks_change_slots_do_not_wait_for_each_other") else {
        return;
    };
    // in the RAM that both run in: each move splits and joins slots
    let first = mover(&mut board, 0x3_0000, 0x8_0000);
    let second = mover(&mut board, 0x4_0000, 0xa_0000);
    writes(&board, CODE, 0x3000, 1);
    writes(&board, SECOND, 0x4000, 2);
    let Running { vcpu, mut kvm } = board.start(false, &real(CODE));
    let other = kvm.start_vcpu(&real(SECOND)).unwrap();
    let mut said = [board.said(), board.said()];
    said.sort_unstable();
    assert_eq!(said, [1, 2]);
    let expected: Vec<u64> = (1..=ROUNDS.into()).rev().collect();
    assert_eq!(first.values(), expected);
    assert_eq!(second.values(), expected);
    [&vcpu, &other].into_iter().for_each(VcpuControl::stop);
    assert_eq!(
        [&vcpu, &other].map(|vcpu| vcpu.wait_ended().end.clone()),
        [VcpuEnd::Stopped, VcpuEnd::Stopped]
    );
}

#[test]
fn a_device_moves_itself_in_its_callback() {
    let Some(mut board) = Board::new("a_device_moves_itself_in_its_callback") else { return };
    let region = Arc::new(OnceLock::<RegionRef>::new());
    let itself = region.clone();
    let registers =
        Registers::new(|_, _| 0, move |_, _, value| itself.get().unwrap().set_address(value << 16).unwrap());
    region.set(board.registers(0x3_0000, &registers)).unwrap();
    board.load(16, |a| {
        for (segment, next) in [(0x3000u32, 5u32), (0x5000, 4), (0x4000, 3), (0x5000, 9)] {
            a.mov(ax, segment)?;
            a.mov(es, ax)?;
            a.mov(word_ptr(0).es(), next)?;
        }
        a.out(SAY, al)?;
        a.hlt()
    });
    let _running = board.run();
    board.said();
    assert_eq!(registers.values(), [5, 4, 3]);
    // it was not there any more for the last write, and the RAM below was
    assert_eq!(board.word(0x5_0000), 9);
}

#[test]
fn a_read_that_stops_its_vcpu_is_complete_in_the_report() {
    let Some(mut board) = Board::new("a_read_that_stops_its_vcpu_is_complete_in_the_report") else { return };
    let control = Arc::new(OnceLock::<VcpuControl>::new());
    let own = control.clone();
    let registers = Registers::new(
        move |_, _| {
            own.wait().stop();
            0x1234_5678
        },
        |_, _, _| (),
    );
    board.registers(0x3_0000, &registers);
    board.load(16, |a| {
        a.mov(ax, 0x3000)?;
        a.mov(es, ax)?;
        a.mov(ebx, dword_ptr(0).es())?;
        // not reached
        a.mov(word_ptr(0x2000), 1)?;
        a.hlt()
    });
    let running = board.run();
    control.set(running.vcpu.clone()).unwrap();
    let report = running.vcpu.wait_ended();
    assert_eq!(report.end, VcpuEnd::Stopped);
    let registers = report.registers.as_deref().unwrap();
    assert!(registers.contains("rbx=0000000012345678"), "{registers}");
    assert_eq!(board.memory.load(0x2000, Width::W2, Default::default()), Ok(0));
}
