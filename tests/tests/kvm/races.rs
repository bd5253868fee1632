//! Kicks, pauses, slot changes, dirty logs and zones at once, under guests that count what they do.

use crate::board::{Board, CODE, Registers, Running, SAY, times};
use iced_x86::code_asm::*;
use machines::kvm::{Start, VcpuControl, VcpuEnd};
use memory_core::{AddrRange, DirtyClients, Width};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

const SECOND: u64 = 0x1800;
/// Slot changes while the guests run.
const MOVES: u64 = 400;

/// Counts at `count`, and writes each number to two registers of the page at `registers`: one whose writes are queued,
/// and one whose writes come back. Reads a third between them.
fn counts(board: &Board, at: u64, registers: u32, count: u32) {
    board.load_at(at, 32, |a| {
        a.out(SAY, al)?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.mov(eax, dword_ptr(count))?;
        a.inc(eax)?;
        a.mov(dword_ptr(registers), eax)?;
        a.mov(ebx, dword_ptr(registers + 0x200))?;
        a.mov(dword_ptr(registers + 0x100), eax)?;
        a.add(dword_ptr(count + 8), ebx)?;
        a.mov(dword_ptr(count), eax)?;
        a.jmp(again)
    });
}

/// Until it is told to stop.
fn over_and_over<'a>(scope: &'a thread::Scope<'a, '_>, over: &'a AtomicBool, act: impl Fn() + Send + 'a) {
    scope.spawn(move || {
        while !over.load(Ordering::SeqCst) {
            act();
            thread::yield_now();
        }
    });
}

fn pauses(vcpu: &VcpuControl) {
    vcpu.pause();
    vcpu.resume();
}

#[test]
fn accesses_are_neither_lost_nor_repeated_while_all_else_happens_at_once() {
    let name = "accesses_are_neither_lost_nor_repeated_while_all_else_happens_at_once";
    let Some(mut board) = Board::new(name) else { return };
    let devices = [0x20_0000u64, 0x21_0000].map(|at| {
        let device = Registers::new(|_, _| 3, |_, _, _| ());
        let region = board.registers(at, &device);
        region.add_coalesced(AddrRange::new(0, 3).unwrap()).unwrap();
        (device, region)
    });
    // in the RAM that both guests run in: each move splits and joins its slots
    let bank = board.ram_at(0x8_0000, 0x1000, "bank");
    counts(&board, CODE, 0x20_0000, 0x2000);
    counts(&board, SECOND, 0x21_0000, 0x2010);
    let start = |eip: u64| Start::Flat { eip: eip as u32, esp: 0x7000 };
    let Running { vcpu: first, mut kvm } = board.start(false, &start(CODE));
    let second = kvm.start_vcpu(&start(SECOND)).unwrap();
    board.said();
    board.said();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        over_and_over(scope, &over, || {
            first.kick();
            second.kick();
        });
        over_and_over(scope, &over, || pauses(&first));
        over_and_over(scope, &over, || pauses(&second));
        over_and_over(scope, &over, || {
            board.ram.set_log(DirtyClients::DISPLAY, true).unwrap();
            board.system.snapshot_and_clear(&board.ram, DirtyClients::DISPLAY, 0, 0x10_0000).unwrap();
            board.ram.set_log(DirtyClients::DISPLAY, false).unwrap();
        });
        for round in 0..times(MOVES) {
            bank.set_address(0x8_0000 + (round % 7) * 0x2000).unwrap();
            if round.is_multiple_of(16) {
                let (_, region) = &devices[(round / 16 % 2) as usize];
                region.clear_coalesced().unwrap();
                region.add_coalesced(AddrRange::new(0, 3).unwrap()).unwrap();
            }
        }
        over.store(true, Ordering::SeqCst);
    });
    // some steps with nothing in the way, so that each has done some
    for (count, vcpu) in [(0x2000, &first), (0x2010, &second)] {
        let word = || board.memory.load(count, Width::W4, Default::default()).unwrap();
        let before = word();
        while word() < before + 10 {
            assert!(vcpu.ended().is_none(), "{}", vcpu.wait_ended());
            thread::yield_now();
        }
        vcpu.stop();
        assert_eq!(vcpu.wait_ended().end, VcpuEnd::Stopped);
    }
    board.system.flush_coalesced();
    for (count, (device, _)) in [0x2000, 0x2010].into_iter().zip(&devices) {
        let word = |at: u64| board.memory.load(at, Width::W4, Default::default()).unwrap();
        let done = word(count);
        // the last round may have been under way
        let written = device.written.lock().unwrap();
        for offset in [0, 0x100] {
            let values: Vec<_> =
                written.iter().filter(|(at, ..)| *at == offset).map(|(.., value)| *value).collect();
            assert_eq!(values, (1..=values.len() as u64).collect::<Vec<_>>(), "in order, each once");
            assert!((done..=done + 1).contains(&(values.len() as u64)), "{done} of {}", values.len());
        }
        assert!((3 * done..=3 * done + 3).contains(&word(count + 8)), "what was read");
    }
}

#[test]
fn a_guest_that_never_comes_back_by_itself_is_paused_each_time() {
    let Some(board) = Board::new("a_guest_that_never_comes_back_by_itself_is_paused_each_time") else {
        return;
    };
    board.load(16, |a| {
        a.out(SAY, al)?;
        let mut ever = a.create_label();
        a.set_label(&mut ever)?;
        a.jmp(ever)
    });
    let running = board.run();
    board.said();
    // a wish that is lost would be waited for without end
    let (done, is_done) = channel();
    let vcpu = running.vcpu.clone();
    let pausing = thread::spawn(move || {
        for round in 0..times(10_000) {
            pauses(&vcpu);
            // anywhere on its way back into the guest
            (0..round % 5_000).for_each(|_| std::hint::spin_loop());
        }
        done.send(())
    });
    assert_eq!(is_done.recv_timeout(Duration::from_secs(120)), Ok(()));
    pausing.join().unwrap().unwrap();
    running.vcpu.stop();
    assert_eq!(running.vcpu.wait_ended().end, VcpuEnd::Stopped);
}
