//! Accesses to RAM: at its place, where registers may cover it, and through an alias that moves.

use super::{ATTRS, Way, Worker};
use crate::stress::fixture::{VEIL, W8, canary};
use crate::stress::layout::{
    ALIAS_AT, ALIAS_SIZE, BUS_AT, COUNTERS, COUNTERS_AT, Glimpse, PAGE, Seen, possible,
};
use crate::stress::world::World;
use memory_core::{BusFault, Width};
use std::sync::atomic::Ordering::Relaxed;

impl Worker {
    /// One of its words, as an address: in RAM, or at one of the places of the alias.
    fn own_address(&mut self, world: &World) -> u64 {
        if !self.dice.once_in(3) {
            return self.own_word(world);
        }
        let place = ALIAS_AT[self.dice.below(2) as usize];
        // mostly where it is now
        let place = if self.dice.once_in(4) { place } else { world.chart.layout().alias_at() };
        place + self.dice.below(ALIAS_SIZE / world.turn) * world.turn + self.index * 8
    }

    /// What an access that began at a glimpse may have seen.
    fn seen(&self, world: &World, glimpse: Glimpse, address: u64) -> Vec<Seen> {
        match world.chart.held(glimpse) {
            Some(layout) => vec![layout.seen(address, world.turn)],
            None => possible(address, world.turn),
        }
    }

    pub(super) fn store_word(&mut self, world: &World) {
        let (address, way) = (self.own_address(world), self.way());
        let mut value = self.fresh();
        // parts of words that were stored one by one may have come to look like it
        let holds = |worker: &Self, seen: &Seen, value| match seen {
            Seen::Ram(offset, _) => worker.word(world, *offset) == value,
            _ => false,
        };
        while possible(address, world.turn).iter().any(|seen| holds(self, seen, value)) {
            value = self.fresh();
        }
        let glimpse = world.chart.glimpse();
        let result = self.store(world, way, (address, W8), value);
        let seen = self.seen(world, glimpse, address);
        self.find_stored((address, value), world, result, &seen);
    }

    /// Stores a word that a display has to draw, if there is one.
    pub(super) fn store_drawn_word(&mut self, world: &World) {
        let (offset, way) = (self.own_bare_word(world), self.way());
        let value = self.fresh();
        let mut result = Ok(());
        world.sessions.during(self.index as usize, offset / PAGE, || {
            result = self.store(world, way, (offset, W8), value);
        });
        self.set_word(world, offset, value);
        if result != Ok(()) {
            self.wrong(world, format_args!("a store at {offset:#x} gave {result:?}"));
        }
    }

    /// Finds where a value went that was stored while the address showed one of `seen`.
    pub(super) fn find_stored(
        &mut self,
        (address, value): (u64, u64),
        world: &World,
        result: Result<(), BusFault>,
        seen: &[Seen],
    ) {
        let mut hits: Vec<(u64, bool)> = Vec::new();
        for seen in seen {
            if let Seen::Ram(offset, _) = seen
                && world.block.load(*offset, W8) == Some(value)
            {
                let writable = seen == &Seen::Ram(*offset, true);
                hits.retain(|hit| hit.0 != *offset || hit.1);
                if !hits.iter().any(|hit| hit.0 == *offset) {
                    hits.push((*offset, writable));
                }
            }
        }
        let veil = seen.iter().any(|seen| matches!(seen, Seen::Veil(_)));
        let refusing = seen.iter().any(|seen| matches!(seen, Seen::Nothing | Seen::Ram(_, false)));
        match (result, hits.as_slice()) {
            (Ok(()), [(offset, true)]) => self.set_word(world, *offset, value),
            (Ok(()), []) if veil => self.deeds.veil += 1,
            (Err(BusFault::DECODE), []) if refusing => {}
            _ => self.wrong(
                world,
                format_args!("a store at {address:#x} gave {result:?} and went to {hits:x?} of {seen:x?}"),
            ),
        }
    }

    pub(super) fn load_word(&mut self, world: &World) {
        let (address, way) = (self.own_address(world), self.way());
        let glimpse = world.chart.glimpse();
        let result = self.load(world, way, address, W8);
        let seen = self.seen(world, glimpse, address);
        let right = seen.iter().any(|seen| match (seen, result) {
            (Seen::Ram(offset, _), Ok(value)) => value == self.word(world, *offset),
            (Seen::Veil(offset), Ok(value)) => value == canary(VEIL, *offset),
            (Seen::Nothing, Err(fault)) => fault == BusFault::DECODE,
            _ => false,
        });
        if !right {
            self.wrong(world, format_args!("a load at {address:#x} gave {result:x?}, and may see {seen:x?}"));
        }
    }

    /// Stores a part of a word, and reads the whole.
    pub(super) fn store_part_of_word(&mut self, world: &World) {
        let (offset, way) = (self.own_bare_word(world), self.way());
        let width = Width::ALL[self.dice.below(3) as usize];
        let at = self.dice.below(8 / width.bytes()) * width.bytes();
        let value = self.fresh() & width.mask();
        let result = if self.dice.once_in(4) {
            self.store_on_page(offset + at, width, value)
        } else {
            self.store(world, way, (offset + at, width), value)
        };
        let shift = at * 8;
        let word = self.word(world, offset) & !(width.mask() << shift) | value << shift;
        self.set_word(world, offset, word);
        let way = self.way();
        let read = self.load(world, way, offset, W8);
        if result != Ok(()) || read != Ok(word) {
            self.wrong(
                world,
                format_args!("{value:#x} at {:#x}: {result:?}; then {read:x?}, not {word:#x}", offset + at),
            );
        }
    }

    /// Stores as an embedded CPU does, which keeps a pointer to the page.
    fn store_on_page(&mut self, address: u64, width: Width, value: u64) -> Result<(), BusFault> {
        let page = self.vcpu.page(address & !(PAGE - 1), true).ok_or(BusFault::DECODE)?;
        let at = (address % PAGE) as usize;
        match width {
            Width::W1 => page.store_u8(at, value as u8, Relaxed),
            Width::W2 => page.store_u16(at, value as u16, Relaxed),
            _ => page.store_u32(at, value as u32, Relaxed),
        }
        self.note(Ok(value));
        Ok(())
    }

    /// Reads, writes or fills bytes of its stretch.
    pub(super) fn use_stretch(&mut self, world: &World) {
        let len = 1 + self.dice.below(300) as usize;
        let at = self.dice.below(self.stretch.len().saturating_sub(len) as u64 + 1) as usize;
        let len = len.min(self.stretch.len() - at);
        let address = self.stretch_at() + at as u64;
        let byte = self.fresh() as u8;
        let bytes: Vec<u8> = (0..len).map(|index| byte.wrapping_add(index as u8)).collect();
        let (kind, (space, base)) = (self.dice.below(5), self.space(world));
        let result = match kind {
            0 => space.write(base + address, &bytes, ATTRS),
            1 => self.vcpu.write(address, &bytes, ATTRS),
            2 => space.fill(base + address, len, byte, ATTRS),
            _ => Ok(()),
        };
        if let Some(model) = self.stretch.get_mut(at..at + len) {
            match kind {
                0 | 1 => model.copy_from_slice(&bytes),
                2 => model.fill(byte),
                _ => {}
            }
        }
        if kind < 3 {
            self.note_written(address, len as u64);
        }
        let mut there = vec![0; len];
        let read = match kind {
            3 => self.vcpu.read(address, &mut there, ATTRS),
            _ => space.read(base + address, &mut there, ATTRS),
        };
        self.note(Ok(there.iter().fold(0, |sum, byte| sum * 31 % 0xffff_ffff + u64::from(*byte))));
        let right = result == Ok(()) && read == Ok(()) && self.stretch.get(at..at + len) == Some(&there);
        if !right {
            self.wrong(world, format_args!("{len} bytes at {address:#x}: {result:?}, {read:?}"));
        }
    }

    /// Counts up one of the counters, by compare-exchange.
    pub(super) fn add(&mut self, world: &World) {
        let counter = self.dice.below(COUNTERS);
        let (address, way) = (COUNTERS_AT + counter * 8, self.way());
        let first = self.load(world, way, address, W8);
        let Ok(mut seen) = first else {
            return self.wrong(world, format_args!("no counter at {address:#x}: {first:?}"));
        };
        loop {
            let new = seen.wrapping_add(1);
            let result = match way {
                Way::Handle | Way::HandleTransfer => {
                    self.vcpu.compare_exchange(address, W8, seen, new, ATTRS)
                }
                Way::Space | Way::SpaceTransfer => {
                    world.space.compare_exchange(address, W8, seen, new, ATTRS)
                }
                Way::BusHandle => self.bus.compare_exchange(BUS_AT + address, W8, seen, new, ATTRS),
                Way::Bus => world.bus.compare_exchange(BUS_AT + address, W8, seen, new, ATTRS),
            };
            self.deeds.accesses += 1;
            match result {
                Ok(Ok(_)) => break,
                Ok(Err(other)) => seen = other,
                Err(fault) => return self.wrong(world, format_args!("counter {counter}: {fault:?}")),
            }
        }
        self.deeds.adds[counter as usize] += 1;
        self.note_written(address, 8);
    }
}
