//! Accesses to cards, which come and go.

use super::{Way, Worker};
use crate::stress::card::{ADD, COUNT, EJECT, HOLD, IDENTITY_END, SELF, STORE, Slot, identified};
use crate::stress::fixture::W8;
use crate::stress::layout::{CARD_MEMORY, COUNTERS, COUNTERS_AT};
use crate::stress::world::World;
use memory_core::{BusFault, Width};

/// The ways of a worker's handles.
const HANDLES: [Way; 2] = [Way::Handle, Way::BusHandle];

impl Worker {
    /// Has its handles be on maps that show the card in a slot.
    pub fn visit(&mut self, world: &World, slot: &Slot) {
        for way in HANDLES {
            let found = self.load(world, way, slot.address(), W8);
            if found.is_err() {
                self.wrong(world, format_args!("a card that stays gives {found:?}"));
            }
        }
    }

    /// Leaves a card that is being taken out, by parking or by using it until it is gone, and does nothing more.
    pub fn leave(&mut self, world: &World, slot: &Slot) {
        (0..self.dice.below(5000)).for_each(|_| std::hint::spin_loop());
        if self.dice.once_in(2) {
            return self.park();
        }
        for way in HANDLES {
            while self.load(world, way, slot.address(), W8).is_ok() {
                std::thread::yield_now();
            }
        }
    }

    /// Uses the card in some slot, if there is one.
    pub(super) fn use_card(&mut self, world: &World) {
        let slot = world.slot(&mut self.dice);
        let at = slot.address();
        match self.dice.below(64) {
            0..24 => self.identify(world, slot),
            24..36 => {
                if self.command(world, at + COUNT, 0) {
                    self.deeds.counted += 1;
                }
            }
            36..48 => {
                let (offset, value) = (self.own_bare_word(world), self.fresh() & Width::W4.mask());
                if self.command(world, at + STORE, value << 32 | offset) {
                    let word = self.word(world, offset) & !Width::W4.mask() | value;
                    self.set_word(world, offset, word);
                }
            }
            48..52 => {
                let other = world.slot(&mut self.dice).address() + CARD_MEMORY;
                self.command(world, at + HOLD, other);
            }
            52..60 => {
                let counter = self.dice.below(COUNTERS);
                if self.command(world, at + ADD, counter) {
                    self.deeds.adds[counter as usize] += 1;
                    self.note_written(COUNTERS_AT, 8);
                }
            }
            60..63 => {
                self.command(world, at + SELF, at);
            }
            _ => {
                self.command(world, at + EJECT, 0);
            }
        }
    }

    /// Reads who the card is: one that came before this, and that nobody has waited to be gone.
    fn identify(&mut self, world: &World, slot: &Slot) {
        let (offset, way) = (self.dice.below(IDENTITY_END / 8) * 8, self.way());
        let left = slot.left();
        let result = self.load(world, way, slot.address() + offset, W8);
        let newest = slot.newest();
        let right = match result {
            Ok(value) => {
                let (serial, at) = identified(value);
                at == offset && left < serial && serial <= newest
            }
            Err(fault) => fault == BusFault::DECODE,
        };
        if !right {
            let result = result.map(identified);
            self.wrong(
                world,
                format_args!("register {offset:#x} of a card {left}..={newest} gives {result:?}"),
            );
        }
    }

    /// Writes a register of a card; whether there was one.
    fn command(&mut self, world: &World, register: u64, value: u64) -> bool {
        let way = self.way();
        let result = self.store(world, way, (register, W8), value);
        if !matches!(result, Ok(()) | Err(BusFault::DECODE)) {
            let own = if register & 0xff == SELF { Err(BusFault::ERROR) } else { Ok(()) };
            // its own registers are out of a card's reach
            if result != own {
                self.wrong(world, format_args!("a card fails at {register:#x} with {result:?}"));
            }
        }
        result == Ok(())
    }
}
