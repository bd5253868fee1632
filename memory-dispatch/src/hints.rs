//! Guesses where in a view an address is found.

use crate::sync::thread_local;
use memory_flatview::{FlatRange, Position, View};
use std::cell::Cell;

/// Sets of the table; each has two ways.
const SETS: usize = 1024;

/// Below this, addresses may be ports.
const PORTS: u64 = 0x1_0000;

/// Where addresses were found before, in a view or another.
///
/// A guess is the position of a range, and the range that the view at hand has there must hold the address. So a guess of
/// an older view needs no generation to tell it from others: it is right or it is not, and the view says which. It is no
/// reference either, and keeps nothing alive.
pub(crate) struct Hints {
    /// Of the last look-up. Nothing of the address goes into it, so that a processor which expects the same range again
    /// has it at hand before the address is known.
    last: Position,
    table: Box<[[Position; 2]; SETS]>,
}

impl Hints {
    pub(crate) fn new() -> Self {
        Self { last: Position::FIRST, table: Box::new([[Position::FIRST; 2]; SETS]) }
    }

    /// The range that holds `address`, guessed or searched for.
    #[inline(always)]
    pub(crate) fn find<'v>(&mut self, view: &'v View, address: u64) -> Option<&'v FlatRange> {
        if let Some(range) = view.at(self.last, address) {
            return Some(range);
        }
        let [first, _] = self.table.get(set(address))?;
        if let Some(range) = view.at(*first, address) {
            self.last = *first;
            return Some(range);
        }
        self.find_further(view, address)
    }

    /// As [`Hints::find`], where the first guess of the set is wrong.
    #[inline(never)]
    fn find_further<'v>(&mut self, view: &'v View, address: u64) -> Option<&'v FlatRange> {
        let [first, second] = self.table.get_mut(set(address))?;
        std::mem::swap(first, second);
        if view.at(*first, address).is_none() {
            *first = view.position(address)?;
        }
        self.last = *first;
        view.get(*first)
    }
}

/// Guesses of a thread that has no handle, one for each of so many sets.
const RECENT: usize = 512;

thread_local! {
    /// For all spaces of all machines that the thread has to do with: a guess is right or it is not.
    static FOUND: [Cell<Position>; RECENT] = const { [const { Cell::new(Position::FIRST) }; RECENT] };
}

/// As [`Hints::find`], by what this thread has found before.
#[inline]
pub(crate) fn find(view: &View, address: u64) -> Option<&FlatRange> {
    let index = set(address) % RECENT;
    let guess = FOUND.with(|found| found.get(index).map(Cell::get))?;
    match view.at(guess, address) {
        Some(range) => Some(range),
        None => search(view, address, index),
    }
}

#[inline(never)]
fn search(view: &View, address: u64, index: usize) -> Option<&FlatRange> {
    let position = view.position(address)?;
    FOUND.with(|found| {
        if let Some(guess) = found.get(index) {
            guess.set(position);
        }
    });
    view.get(position)
}

/// The set of an address: ports lie closer together than memory, so 4 bytes of them go by one set, a page of memory.
#[inline]
fn set(address: u64) -> usize {
    let number = if address < PORTS { address >> 2 } else { address >> 12 };
    (number ^ (number >> 10) ^ (number >> 20)) as usize % SETS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_ports_and_neighbouring_pages_have_sets_of_their_own() {
        let sets = |step: u64, base: u64| {
            let mut sets: Vec<_> = (0..SETS as u64).map(|index| set(base + index * step)).collect();
            sets.sort_unstable();
            sets.dedup();
            sets.len()
        };
        assert_eq!((sets(4, 0), sets(4096, 0x1000_0000), sets(4096, 0x38_0000_0000)), (SETS, SETS, SETS));
    }
}
