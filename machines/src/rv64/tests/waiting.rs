//! WFI, wake-ups, kicks and stops, with harts on threads of their own.

use super::super::{Hart, HartLines, Irq, Pause};
use super::asm::*;
use super::machine::*;
use crate::sync::{Arc, Ordering, thread};
use crate::vcpu::{Vcpu, VcpuExit};

const COUNT: u64 = BASE + 0x3000;
const MIE: u32 = 0x304;

#[test]
fn wfi_waits_for_an_enabled_interrupt_whatever_the_global_enable_says() {
    let mut run = Run::new(&[WFI, addi(A2, ZERO, 1)]);
    run.write_csr(MIE, 1 << 7);
    assert_eq!(run.hart.advance(10), Pause::Waiting);
    run.at(4);
    let lines = run.hart.lines();
    lines.set(Irq::MEIP, true);
    assert_eq!(run.hart.advance(10), Pause::Waiting, "that one is not enabled");
    lines.set(Irq::MTIP, true);
    assert_eq!(run.hart.advance(1), Pause::Done);
    run.at(8);
    assert_eq!(run.reg(A2), 1);
}

#[test]
fn an_interrupt_after_wfi_returns_behind_it() {
    let mut run = Run::new(&[WFI, NOP]);
    run.write_csr(MIE, 1 << 7);
    run.write_csr(0x300, 1 << 3);
    assert_eq!(run.hart.advance(10), Pause::Waiting);
    run.hart.lines().set(Irq::MTIP, true);
    run.hart.advance(1);
    run.trapped(1 << 63 | 7, 0, 4);
}

#[test]
fn wfi_with_an_interrupt_pending_goes_on() {
    let mut run = Run::new(&[WFI, NOP]);
    run.write_csr(MIE, 1 << 1);
    run.write_csr(0x344, 1 << 1);
    run.steps(2).at(8);
}

/// A hart that sleeps in WFI and counts how often MSIP woke it. The other side lowers the line when it sees the
/// count, and raises it again when the hart has said that it saw it low. Every round needs its wake-up, so a lost one never ends.
#[test]
fn no_wake_up_of_a_sleeping_hart_is_lost() {
    const ROUNDS: u64 = 2_000;
    let machine = Machine::new();
    let program = [
        WFI,
        ld(A2, A0, 0),
        addi(A2, A2, 1),
        sd(A2, A0, 0),
        // Wait until the line is low again.
        csrrs(A3, 0x344, ZERO),
        i(OP_IMM, 7, A3, A3, 8),
        b(1, A3, ZERO, -8),
        sd(A2, A0, 8),
        j(ZERO, -32),
    ];
    machine.load_program(BASE, &program);
    let (mut hart, lines) = hart_on(&machine);
    let thread = thread::spawn(move || hart.run());
    for round in 1..=ROUNDS {
        lines.set(Irq::MSIP, true);
        while machine.peek(COUNT) != round {
            thread::yield_now();
        }
        lines.set(Irq::MSIP, false);
        while machine.peek(COUNT + 8) != round {
            thread::yield_now();
        }
    }
    lines.request_stop();
    assert_eq!(thread.join().unwrap(), VcpuExit::Stopped);
    assert_eq!(machine.parked.load(Ordering::SeqCst), 0);
}

fn hart_on(machine: &Arc<Machine>) -> (Hart<TestBus>, Arc<HartLines>) {
    let mut hart = machine.hart(0);
    hart.set_register(A0 as u8, COUNT);
    hart.poke_csr(MIE, 1 << 3);
    let lines = hart.lines();
    (hart, lines)
}

#[test]
fn a_sleeping_hart_is_parked_holds_no_memory_and_can_be_kicked_and_stopped() {
    let machine = Machine::new();
    machine.load_program(BASE, &[sd(A1, A0, 0), WFI, sd(A1, A0, 8), j(ZERO, 0)]);
    let (mut hart, lines) = hart_on(&machine);
    hart.set_register(A0 as u8, BANK);
    let thread = thread::spawn(move || {
        let exit = hart.run();
        (hart, exit)
    });
    let wait = |condition: &dyn Fn() -> bool| {
        while !condition() {
            thread::yield_now();
        }
    };
    wait(&|| machine.parked.load(Ordering::SeqCst) == 1);
    assert_eq!(Arc::strong_count(&machine.banks[0]), 1);
    // A kick takes it out and back in; the guest stays in its WFI.
    lines.kick();
    wait(&|| machine.parks.load(Ordering::SeqCst) == 2);
    lines.request_stop();
    let (hart, exit) = thread.join().unwrap();
    assert_eq!((exit, hart.pc()), (VcpuExit::Stopped, BASE + 8));
    assert_eq!(machine.parked.load(Ordering::SeqCst), 0);
}

#[test]
fn a_stop_that_came_first_is_not_lost_and_can_be_taken_back() {
    let mut run = Run::new(&[j(ZERO, 0)]);
    let lines = run.hart.lines();
    lines.request_stop();
    assert_eq!(run.hart.run(), VcpuExit::Stopped);
    assert_eq!(run.hart.retired(), 0);
    lines.clear_stop();
    assert_eq!(run.hart.advance(100), Pause::Done);
    assert_eq!(run.hart.retired(), 100);
}

#[test]
fn a_guest_that_only_traps_can_be_stopped() {
    // No vector: the handler is in a hole, so that every fetch traps again.
    let mut run = Run::new(&[ECALL]);
    run.write_csr(0x305, 0);
    let lines = run.hart.lines();
    let mut hart = run.hart;
    let thread = thread::spawn(move || hart.run());
    lines.request_stop();
    assert_eq!(thread.join().unwrap(), VcpuExit::Stopped);
}
