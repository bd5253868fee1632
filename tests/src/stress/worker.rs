//! A thread that accesses the machine, and knows what it must find.

mod device;
mod held;
mod hotplug;
mod ram;

use super::dice::{Dice, mix};
use super::fixture::W8;
use super::layout::{BUS_AT, COUNTERS, COUNTERS_AT, PAGE, RAM_SIZE, STRETCHES_AT, WORDS_END, in_veil};
use super::world::World;
use held::Held;
use memory_core::{BusFault, TxAttrs, Width};
use memory_dispatch::VcpuHandle;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Pages of RAM.
pub const PAGES: usize = (RAM_SIZE / PAGE) as usize;

/// What a worker has done that has to be found elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Deeds {
    /// Accesses of any kind.
    pub accesses: u64,
    /// Additions to each counter.
    pub adds: [u64; COUNTERS as usize],
    /// Writes to the registers over RAM.
    pub veil: u64,
    /// Writes to the ROM device.
    pub flash: u64,
    /// Rings of the bell.
    pub rings: u64,
    /// The last number posted to the bell.
    pub posted: u64,
    /// Writes to the counting registers of cards.
    pub counted: u64,
}

/// A worker: what it owns of RAM with a model of that, its handles, and what it holds on to.
pub struct Worker {
    index: u64,
    dice: Dice,
    vcpu: VcpuHandle,
    bus: VcpuHandle,
    held: Vec<Held>,
    /// What its words hold, by their index among its own.
    words: Vec<u64>,
    /// What its stretch holds.
    stretch: Vec<u8>,
    /// The last value that it wrote, unlike all others.
    last: u64,
    /// The pages that it wrote in this round.
    dirty: Vec<bool>,
    /// Chooses the pages that it writes by its own choice, about half of them.
    round: u64,
    digest: u64,
    /// What it has done.
    pub deeds: Deeds,
}

/// By which way an access goes.
#[derive(Clone, Copy, Debug)]
enum Way {
    Handle,
    HandleTransfer,
    Space,
    SpaceTransfer,
    BusHandle,
    Bus,
}

const WAYS: [Way; 6] =
    [Way::Handle, Way::HandleTransfer, Way::Space, Way::SpaceTransfer, Way::BusHandle, Way::Bus];

const ATTRS: TxAttrs = TxAttrs { requester: 0, flags: memory_core::TxFlags::empty() };

impl Worker {
    /// Worker `index` of a machine.
    pub fn new(index: usize, seed: u64, world: &World) -> Self {
        let kick = |world: &World| {
            let books = world.ledger.clone();
            move || {
                books.kicks.fetch_add(1, Ordering::Relaxed);
            }
        };
        let workers = world.turn / 8;
        let stretch = (COUNTERS_AT - STRETCHES_AT) / workers / 8 * 8;
        Self {
            index: index as u64,
            dice: Dice::new(seed, 16 + index as u64),
            vcpu: world.space.handle_named(format!("vcpu {index}"), kick(world)),
            bus: world.bus.handle_named(format!("bus {index}"), kick(world)),
            held: Vec::new(),
            words: vec![0; (WORDS_END / 8).div_ceil(workers) as usize],
            stretch: vec![0; stretch as usize],
            last: (index as u64 + 1) << 56,
            dirty: vec![false; PAGES],
            round: 0,
            digest: index as u64,
            deeds: Deeds::default(),
        }
    }

    /// Begins a round.
    pub fn begin(&mut self, round: u64) {
        self.round = round;
        self.dirty.fill(false);
    }

    /// Does one thing.
    pub fn step(&mut self, world: &World) {
        match self.dice.below(100) {
            0..20 => self.store_word(world),
            20..24 => self.store_drawn_word(world),
            24..44 => self.load_word(world),
            44..50 => self.store_part_of_word(world),
            50..55 => self.use_stretch(world),
            55..59 => self.add(world),
            59..63 => self.use_flash(world),
            63..69 => self.use_bell(world),
            69..73 => self.read_epoch(world),
            73..87 => self.use_card(world),
            87..92 => self.hold(world),
            92..98 => self.use_held(world),
            98 => self.release(world),
            _ => self.park(),
        }
    }

    /// Lets go of the maps that its handles are on.
    pub fn park(&mut self) {
        self.vcpu.park();
        self.bus.park();
    }

    /// Lets go of all that it holds, and of its maps.
    pub fn end(&mut self, world: &World) {
        while !self.held.is_empty() {
            self.release(world);
        }
        self.park();
    }

    /// Whether it wrote a page in this round.
    pub fn wrote(&self, page: usize) -> bool {
        self.dirty.get(page).copied().unwrap_or(false)
    }

    /// What all results so far come to.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Compares its model with RAM, when nobody writes.
    pub fn audit(&self, world: &World) {
        for (index, word) in self.words.iter().enumerate() {
            let offset = (index as u64 * world.turn) + self.index * 8;
            if offset < WORDS_END {
                let there = world.block.load(offset, W8);
                let right = there == Some(*word);
                let name = self.index;
                let say = || format!("worker {name}: RAM at {offset:#x} holds {there:x?}, not {word:#x}");
                world.ledger.check(right, say);
            }
        }
        let mut there = vec![0; self.stretch.len()];
        let read = world.block.read(self.stretch_at(), &mut there);
        let right = read && there == self.stretch;
        world.ledger.check(right, || format!("worker {}: its stretch is not what it wrote", self.index));
    }

    fn wrong(&self, world: &World, what: std::fmt::Arguments<'_>) {
        world.ledger.wrong(format_args!("worker {}: {what}", self.index));
    }

    /// Takes a result into the digest, and counts an access.
    fn note(&mut self, result: Result<u64, BusFault>) {
        let value = result.unwrap_or_else(|fault| if fault == BusFault::DECODE { 0xdead } else { 0xbad });
        self.digest = mix(self.digest ^ value).wrapping_add(1);
        self.deeds.accesses += 1;
    }

    /// A value that nobody has written before.
    fn fresh(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The offset in RAM of one of its words, on a page that it writes in this round.
    fn own_word(&mut self, world: &World) -> u64 {
        let mut offset = 0;
        for _ in 0..8 {
            let words = WORDS_END / world.turn;
            offset = self.dice.below(words) * world.turn + self.index * 8;
            if mix(self.round ^ (offset / PAGE) << 32) & 1 == 0 {
                break;
            }
        }
        offset
    }

    /// The same, outside of what registers may cover.
    fn own_bare_word(&mut self, world: &World) -> u64 {
        loop {
            let offset = self.own_word(world);
            if !in_veil(offset) {
                return offset;
            }
        }
    }

    /// Its word at an offset in RAM that is its own.
    fn word(&self, world: &World, offset: u64) -> u64 {
        self.words.get((offset / world.turn) as usize).copied().unwrap_or(0)
    }

    /// Notes what its word at an offset in RAM holds now.
    fn set_word(&mut self, world: &World, offset: u64, value: u64) {
        if let Some(word) = self.words.get_mut((offset / world.turn) as usize) {
            *word = value;
        }
        self.note_written(offset, 8);
    }

    fn note_written(&mut self, offset: u64, len: u64) {
        for page in offset / PAGE..=(offset + len - 1) / PAGE {
            if let Some(dirty) = self.dirty.get_mut(page as usize) {
                *dirty = true;
            }
        }
    }

    fn stretch_at(&self) -> u64 {
        STRETCHES_AT + self.index * self.stretch.len() as u64
    }

    fn way(&mut self) -> Way {
        WAYS[self.dice.below(WAYS.len() as u64) as usize]
    }

    fn load(&mut self, world: &World, way: Way, address: u64, width: Width) -> Result<u64, BusFault> {
        let mut bytes = [0; 8];
        let into = &mut bytes[..width.len()];
        let result = match way {
            Way::Handle => self.vcpu.load(address, width, ATTRS),
            Way::HandleTransfer => self.vcpu.read(address, into, ATTRS).map(|()| u64::from_le_bytes(bytes)),
            Way::Space => world.space.load(address, width, ATTRS),
            Way::SpaceTransfer => world.space.read(address, into, ATTRS).map(|()| u64::from_le_bytes(bytes)),
            Way::BusHandle => self.bus.load(BUS_AT + address, width, ATTRS),
            Way::Bus => world.bus.load(BUS_AT + address, width, ATTRS),
        };
        self.note(result);
        result
    }

    fn store(
        &mut self,
        world: &World,
        way: Way,
        (address, width): (u64, Width),
        value: u64,
    ) -> Result<(), BusFault> {
        let bytes = value.to_le_bytes();
        let from = &bytes[..width.len()];
        let result = match way {
            Way::Handle => self.vcpu.store(address, width, value, ATTRS),
            Way::HandleTransfer => self.vcpu.write(address, from, ATTRS),
            Way::Space => world.space.store(address, width, value, ATTRS),
            Way::SpaceTransfer => world.space.write(address, from, ATTRS),
            Way::BusHandle => self.bus.store(BUS_AT + address, width, value, ATTRS),
            Way::Bus => world.bus.store(BUS_AT + address, width, value, ATTRS),
        };
        self.note(result.map(|()| value));
        result
    }

    fn space(&mut self, world: &World) -> (Arc<memory_dispatch::AddressSpace>, u64) {
        if self.dice.once_in(2) { (world.space.clone(), 0) } else { (world.bus.clone(), BUS_AT) }
    }
}
