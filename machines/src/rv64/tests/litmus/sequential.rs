//! The outcomes of a litmus test in which one operation happens after the other: the slow oracle.

use super::op::{Cell, Op};
use std::collections::BTreeSet;

/// The results of all harts in their order, then what the watched cells hold at last.
pub type Outcome = Vec<u64>;

#[derive(Clone)]
struct State<'a> {
    memory: [u64; 3],
    /// What each hart has still to do, and its results.
    harts: Vec<(&'a [Op], Vec<u64>)>,
}

/// The outcomes of every interleaving of `harts`.
pub fn outcomes(harts: &[&[Op]], watch: &[Cell]) -> BTreeSet<Outcome> {
    let mut found = BTreeSet::new();
    let harts = harts.iter().map(|ops| (*ops, Vec::new())).collect();
    explore(&State { memory: [0; 3], harts }, watch, &mut found);
    found
}

fn explore(state: &State<'_>, watch: &[Cell], found: &mut BTreeSet<Outcome>) {
    let mut over = true;
    for hart in 0..state.harts.len() {
        let mut next = state.clone();
        let Some((op, rest)) = state.harts[hart].0.split_first() else { continue };
        over = false;
        next.harts[hart].0 = rest;
        step(*op, &mut next.memory, &mut next.harts[hart].1);
        explore(&next, watch, found);
    }
    if over {
        let results = state.harts.iter().flat_map(|(_, results)| results).copied();
        found.insert(results.chain(watch.iter().map(|cell| state.memory[*cell as usize])).collect());
    }
}

fn step(op: Op, memory: &mut [u64; 3], results: &mut Vec<u64>) {
    let last = results.last().copied().unwrap_or(0);
    match op {
        Op::Write(cell, value) | Op::WriteFrom(cell, value) | Op::WriteIf(cell, value) => {
            memory[cell as usize] = value;
        }
        Op::WriteNext(cell) => memory[cell as usize] = last + 1,
        Op::Read(cell) | Op::ReadBehind(cell) => results.push(memory[cell as usize]),
        Op::Fence(_) => {}
        Op::Swap(cell, value, _) => results.push(std::mem::replace(&mut memory[cell as usize], value)),
        Op::Add(cell, value, _) | Op::Pair(cell, value) => {
            results.push(memory[cell as usize]);
            memory[cell as usize] += value;
        }
    }
}
