//! Changes of the machine's map while a hart runs.

use memory_core::Width;

use super::asm::*;
use super::machine::*;
use crate::sync::{Arc, Ordering};
use crate::vcpu::{Vcpu, VcpuExit};

fn banks(run: &Run, values: [u64; 2]) {
    for (bank, value) in run.machine.banks.iter().zip(values) {
        assert!(bank.store(0, Width::W8, value));
    }
}

#[test]
fn a_device_that_changes_the_map_is_obeyed_by_the_next_access() {
    let run = Run::new(&[ld(A2, A0, 0), sd(ZERO, A1, 0), ld(A3, A0, 0), sd(A1, A0, 0)])
        .with(A0, BANK)
        .with(A1, SWITCH);
    banks(&run, [11, 22]);
    let run = run.steps(4);
    run.at(16);
    assert_eq!((run.reg(A2), run.reg(A3)), (11, 22));
    assert_eq!(run.machine.banks[0].load(0, Width::W8), Some(11));
    assert_eq!(run.machine.banks[1].load(0, Width::W8), Some(SWITCH));
}

#[test]
fn code_that_is_switched_away_under_itself_goes_on_in_the_new_bank() {
    let run = Run::new(&[jalr(ZERO, A0)]).with(A0, BANK).with(A1, SWITCH);
    for (bank, value) in [(0, 1), (1, 2)] {
        for (index, raw) in [sd(ZERO, A1, 0), addi(A2, ZERO, value), addi(A3, ZERO, value)].iter().enumerate()
        {
            assert!(run.machine.banks[bank].store(index as u64 * 4, Width::W4, (*raw).into()));
        }
    }
    let run = run.steps(4);
    assert_eq!((run.reg(A2), run.reg(A3)), (2, 2));
}

#[test]
fn a_change_from_outside_is_seen_between_two_instructions() {
    let run = Run::new(&[ld(A2, A0, 0), ld(A2, A0, 0), amo(0, 3, A3, A1, A0)]).with(A0, BANK).with(A1, 5);
    banks(&run, [11, 22]);
    let run = run.steps(1);
    assert_eq!(run.reg(A2), 11);
    run.machine.switch();
    let run = run.steps(1);
    assert_eq!(run.reg(A2), 22);
    run.machine.switch();
    let run = run.steps(1);
    assert_eq!(run.reg(A3), 11);
    assert_eq!(run.machine.banks[0].load(0, Width::W8), Some(16));
}

#[test]
fn a_change_drops_the_reservation() {
    let run = Run::new(&[lr(3, A2, A0), sc(3, A3, A1, A0)]).with(A0, BANK).with(A1, 5).steps(1);
    run.machine.switch();
    let run = run.steps(1);
    run.at(8);
    assert_eq!(run.reg(A3), 1);
}

#[test]
fn page_tables_are_read_anew_after_a_change() {
    // The root table is the banked page: both banks map the first gigabyte, to different places.
    let mut run = Run::new(&[ld(A2, A0, 0), ld(A2, A0, 0)]).with(A0, 0x3000);
    banks(&run, [0x8000_0000 >> 2 | 0xcf, 0x4000_0000 >> 2 | 0xcf]);
    run.machine.poke(BASE + 0x3000, 99);
    run.write_csr(0x180, 8 << 60 | BANK >> 12);
    run.write_csr(0x3b0, u64::MAX);
    run.write_csr(0x3a0, 0x1f);
    run.write_csr(0x300, 1 << 17 | 1 << 11);
    let run = run.steps(1);
    assert_eq!(run.reg(A2), 99);
    run.machine.switch();
    run.steps(1).trapped(5, 0x3000, 4);
}

#[test]
fn a_stopped_hart_holds_no_page_of_ram() {
    let mut run = Run::new(&[sd(A1, A0, 0), ld(A2, A0, 8), j(ZERO, -4)]).with(A0, BANK);
    run.hart.advance(10);
    let bank = &run.machine.banks[0];
    assert!(Arc::strong_count(bank) > 1);
    run.hart.lines().request_stop();
    assert_eq!(run.hart.run(), VcpuExit::Stopped);
    assert_eq!(Arc::strong_count(bank), 1);
    assert_eq!(run.machine.parked.load(Ordering::SeqCst), 0);
}
