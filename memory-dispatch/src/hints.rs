//! Guesses where in a view an address is found.

use crate::sync::thread_local;
use memory_flatview::{FlatRange, Position, View};
use std::cell::Cell;

/// Sets of the table; each has two ways.
const SETS: usize = 4096;

/// Below this, addresses may be ports.
const PORTS: u64 = 0x1_0000;

/// 4 bytes of ports go by one set.
const PORT_SHIFT: u32 = 2;

/// A page of memory goes by one set.
const PAGE_SHIFT: u32 = 12;

/// Where addresses were found before, in a view or another.
///
/// A guess is the position of a range, and the range that the view at hand has there must hold the address. So a guess of
/// an older view needs no generation to tell it from others: it is right or it is not, and the view says which. It is no
/// reference either, and keeps nothing alive.
pub(crate) struct Hints {
    /// Bits of an address that tell no set from another.
    shift: u32,
    table: Box<[[Position; 2]; SETS]>,
}

impl Hints {
    pub(crate) fn new() -> Self {
        Self { shift: PAGE_SHIFT, table: Box::new([[Position::FIRST; 2]; SETS]) }
    }

    /// Gets ready for another view: ports lie closer together than memory.
    pub(crate) fn suit(&mut self, view: &View) {
        let is_above = view.find(PORTS).is_some() || view.next_from(PORTS).is_some();
        self.shift = if is_above { PAGE_SHIFT } else { PORT_SHIFT };
    }

    /// The range that holds `address`, guessed or searched for.
    #[inline(always)]
    pub(crate) fn find<'v>(&mut self, view: &'v View, address: u64) -> Option<&'v FlatRange> {
        let [first, _] = self.table.get(set(address, self.shift) % SETS)?;
        if let Some(range) = view.at(*first, address) {
            return Some(range);
        }
        self.find_further(view, address)
    }

    /// As [`Hints::find`], where the first guess of the set is wrong.
    #[inline(never)]
    fn find_further<'v>(&mut self, view: &'v View, address: u64) -> Option<&'v FlatRange> {
        let [first, second] = self.table.get_mut(set(address, self.shift) % SETS)?;
        std::mem::swap(first, second);
        if view.at(*first, address).is_none() {
            *first = view.position(address)?;
        }
        view.get(*first)
    }
}

/// Guesses of a thread that has no handle, one for each of so many sets.
const RECENT: usize = 2048;

thread_local! {
    /// For all spaces of all machines that the thread has to do with: a guess is right or it is not.
    static FOUND: [Cell<Position>; RECENT] = const { [const { Cell::new(Position::FIRST) }; RECENT] };
}

/// As [`Hints::find`], by what this thread has found before.
#[inline]
pub(crate) fn find(view: &View, address: u64) -> Option<&FlatRange> {
    let shift = if address < PORTS { PORT_SHIFT } else { PAGE_SHIFT };
    let index = set(address, shift) % RECENT;
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

/// What tells the set of an address, in the low bits.
#[inline]
fn set(address: u64, shift: u32) -> usize {
    let number = address >> shift;
    (number ^ (number >> 12)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_ports_and_neighbouring_pages_have_sets_of_their_own() {
        let sets = |shift: u32, base: u64| {
            let address = |index| base + (index << shift);
            let mut sets: Vec<_> = (0..SETS as u64).map(|index| set(address(index), shift) % SETS).collect();
            sets.sort_unstable();
            sets.dedup();
            sets.len()
        };
        let memory = [0x1000_0000, 0x38_0000_0000].map(|base| sets(PAGE_SHIFT, base));
        assert_eq!((sets(PORT_SHIFT, 0), memory), (SETS, [SETS; 2]));
    }
}
