//! Runs a litmus test: four harts on four threads, a thousand instances of it in memory at once.

use super::op::{Cell, FIRST, ONE, Op, RESULTS, code};
use super::sequential::Outcome;
use crate::rv64::tests::asm::*;
use crate::rv64::tests::machine::*;
use crate::sync::{Arc, thread};
use std::collections::BTreeMap;

const HARTS: usize = 4;
/// Instances of a test in one turn.
pub const INSTANCES: u64 = 1024;
/// Where the first instance's cells are; each has a line of its own.
const CELLS: u64 = BASE + 0x1_0000;
const LINE: u64 = 64;
const INSTANCE: u64 = 4 * LINE;
/// Where the results are, a part for each hart.
const RESULT: u64 = BASE + 0xa_0000;
const RESULT_PART: u64 = 0x1_0000;
/// The counter at which the harts of a copy meet, a line for each.
const MEETING: u64 = BASE + 0x8000;

const MEET: u32 = 19;
const COUNT: u32 = 22;
const TARGET: u32 = 23;
const STEP: u32 = 24;
const POINTER: u32 = 18;
/// How many turns a hart waits for the others: for some microseconds, since one of them may not be running.
const PATIENCE: i32 = 200;

/// Makes a hart's waits after the meetings, of up to 31 turns: the one that came last goes on before the others see it,
/// and without waits that differ the harts would hardly ever be in an instance at once.
const JITTER: u32 = 25;

/// What each hart executes: for each instance meet, wait a little, do `ops`, keep the results.
fn program(ops: &[Op]) -> Vec<u32> {
    let mut program = vec![
        amo(0, 3, ZERO, ONE, MEET),
        addi(T2, ZERO, PATIENCE),
        ld(T0, MEET, 0),
        b(5, T0, TARGET, 12),
        addi(T2, T2, -1),
        b(1, T2, ZERO, -12),
        r(OP, 1, 0, JITTER, JITTER, JITTER),
        addi(JITTER, JITTER, 5),
        i(OP_IMM, 5, T2, JITTER, 40),
        i(OP_IMM, 7, T2, T2, 31),
        b(0, T2, ZERO, 12),
        addi(T2, T2, -1),
        b(1, T2, ZERO, -4),
    ];
    program.extend(code(ops));
    program.extend((0..RESULTS as u32).map(|index| sd(FIRST + index, POINTER, 8 * index as i32)));
    for cell in [A0, A1, A2] {
        program.push(addi(cell, cell, INSTANCE as i32));
    }
    program.extend([addi(POINTER, POINTER, 16), r(OP, 0, 0, TARGET, TARGET, STEP), addi(COUNT, COUNT, -1)]);
    let back = -4 * program.len() as i32;
    program.extend([b(1, COUNT, ZERO, back), j(ZERO, 0)]);
    program
}

/// How often each outcome was seen in `turns` turns. A test of two harts is done twice at once, by two pairs.
pub fn run(harts: &[&[Op]], watch: &[Cell], turns: usize) -> BTreeMap<Outcome, u64> {
    let machine = Machine::new();
    for (index, hart) in (0..HARTS).zip(harts.iter().cycle()) {
        machine.load_program(BASE + 0x400 * index as u64, &program(hart));
    }
    let copies = (HARTS / harts.len()).max(1);
    let mut seen = BTreeMap::new();
    for _ in 0..turns {
        turn(&machine, harts.len(), copies);
        for copy in 0..copies {
            for instance in 0..INSTANCES {
                let outcome = outcome(&machine, harts, watch, copy, instance);
                *seen.entry(outcome).or_insert(0) += 1;
            }
        }
    }
    seen
}

/// Where the cells of an instance are. The copies take turns in memory, so that their instances do not share lines.
fn cells(copy: usize, instance: u64) -> u64 {
    CELLS + 0x4_0000 * copy as u64 + INSTANCE * instance
}

/// One turn: memory is cleared, then all harts run to their end.
fn turn(machine: &Arc<Machine>, harts: usize, copies: usize) {
    assert!(machine.ram.write(MEETING - BASE, &vec![0; (RAM - (MEETING - BASE)) as usize]));
    thread::scope(|scope| {
        for index in 0..harts * copies {
            scope.spawn(move || {
                let mut hart = machine.hart(index as u64);
                crate::vcpu::Vcpu::set_boot(&mut hart, BASE + 0x400 * index as u64, 0, 0);
                let first = cells(index / harts, 0);
                let set = [
                    (A0, first),
                    (A1, first + LINE),
                    (A2, first + 2 * LINE),
                    (POINTER, RESULT + RESULT_PART * index as u64),
                    (MEET, MEETING + LINE * (index / harts) as u64),
                    (ONE, 1),
                    (ONE + 1, 2),
                    (COUNT, INSTANCES),
                    (JITTER, 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(2 * index as u64 + 1)),
                    (TARGET, harts as u64),
                    (STEP, harts as u64),
                ];
                for (register, value) in set {
                    hart.set_register(register as u8, value);
                }
                while hart.register(COUNT as u8) != 0 {
                    hart.advance(10_000);
                }
            });
        }
    });
}

fn outcome(machine: &Machine, harts: &[&[Op]], watch: &[Cell], copy: usize, instance: u64) -> Outcome {
    let mut outcome = Vec::new();
    for (index, ops) in harts.iter().enumerate() {
        let part = RESULT + RESULT_PART * (copy * harts.len() + index) as u64 + 16 * instance;
        let results = ops.iter().filter(|op| op.reads()).count() as u64;
        outcome.extend((0..results).map(|result| machine.peek(part + 8 * result)));
    }
    outcome.extend(watch.iter().map(|cell| machine.peek(cells(copy, instance) + LINE * *cell as u64)));
    outcome
}
