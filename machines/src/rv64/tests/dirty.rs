//! Dirty logs: what a hart writes through the host pages that it keeps is marked.

use memory_core::{DirtyClients, RamBlock};

use super::asm::*;
use super::machine::*;

const CODE: DirtyClients = DirtyClients::CODE;
/// Far enough apart to be pages of their own on every host.
const FIRST: u64 = BASE + 0x4_0000;
const SECOND: u64 = BASE + 0x8_0000;

/// Whether what is at [`FIRST`] and what is at [`SECOND`] was written since the last look.
fn marked(block: &RamBlock) -> (bool, bool) {
    let taken = block.dirty().snapshot_and_clear(CODE, 0, RAM);
    (taken.is_dirty(FIRST - BASE, 8), taken.is_dirty(SECOND - BASE, 8))
}

#[test]
fn stores_amos_and_conditional_stores_of_a_hart_are_marked() {
    // the store goes the way of the page that the first one made known
    let program = [
        sd(A1, A0, 0),
        s(0, A1, A0, 1),
        sd(A1, A2, 4),
        amo(0, 3, T0, A1, A0),
        lr(3, T0, A2),
        sc(3, T1, A1, A2),
        ld(T0, A0, 0),
    ];
    let mut run = Run::new(&program).with(A0, FIRST).with(A1, 7).with(A2, SECOND);
    run.machine.ram.dirty().start(CODE);
    let expected = [
        (true, false),
        (true, false),
        (false, true),
        (true, false),
        (false, false),
        (false, true),
        (false, false),
    ];
    for (index, expected) in expected.into_iter().enumerate() {
        run = run.steps(1);
        assert_eq!(marked(&run.machine.ram), expected, "instruction {index}");
    }
    run.at(4 * program.len() as u64);
    assert_eq!(run.reg(T1), 0, "the conditional store was done");
}

#[test]
fn a_conditional_store_that_fails_marks_nothing() {
    let run = Run::new(&[sc(3, T1, A1, A0)]).with(A0, FIRST).with(A1, 7);
    run.machine.ram.dirty().start(CODE);
    let run = run.steps(1);
    assert_eq!((run.reg(T1), marked(&run.machine.ram)), (1, (false, false)));
}
