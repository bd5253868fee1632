//! What a worker holds on to while the map changes: windows, mappings, sections, snapshots.

use super::{ATTRS, Worker};
use crate::stress::card::Slot;
use crate::stress::fixture::{FLASH, FLASH_MEMORY, W8, canary};
use crate::stress::layout::{
    ALIAS_SIZE, BUS_AT, CARD_MEMORY, FLASH_AT, FLASH_SIZE, Layout, PAGE, Seen, alias_offset,
};
use crate::stress::world::World;
use memory_core::{AddrRange, BusFault, Target};
use memory_dispatch::{Direction, DmaMemory, MapError, MapGuard, Section, Window};
use std::sync::atomic::Ordering;
use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions};

/// Things held at a time.
const MOST: usize = 4;

/// Something that pins what it shows.
pub(super) enum Held {
    /// A window whose first byte was this byte of RAM, and whether it could be written, which it stays.
    Window(Window, u64, bool),
    /// A mapping of RAM from this byte on, and whether it is one to write.
    Mapped(MapGuard, u64, bool),
    /// A mapping of the ROM device, from this offset on.
    Flash(MapGuard, u64),
    /// The memory of a card, mapped.
    CardMapped(MapGuard, u64),
    /// The memory of a card, found.
    CardFound(Section, u64),
    /// What the bus showed.
    Snapshot(DmaMemory),
}

impl Worker {
    /// Takes hold of something.
    pub(super) fn hold(&mut self, world: &World) {
        if self.held.len() >= MOST {
            self.release(world);
        }
        let held = match self.dice.below(7) {
            0 | 1 => self.open_window(world),
            2 | 3 => self.map_ram(world),
            4 => self.map_flash(world),
            5 => self.hold_card(world),
            _ => Some(Held::Snapshot(DmaMemory::new(&world.bus, ATTRS))),
        };
        self.note(Ok(u64::from(held.is_some())));
        self.held.extend(held);
    }

    /// Uses something that it holds.
    pub(super) fn use_held(&mut self, world: &World) {
        let Some(last) = (self.held.len() as u64).checked_sub(1) else { return };
        let index = self.dice.below(last + 1) as usize;
        let mut held = self.held.swap_remove(index);
        match &mut held {
            Held::Window(window, first, writable) => self.use_window(world, window, (*first, *writable)),
            Held::Mapped(guard, first, _) => self.use_mapped(world, guard, *first),
            Held::Flash(guard, first) => self.read_flash(world, guard, *first),
            Held::CardMapped(guard, serial) => self.check_card(world, Self::serial_of(guard), *serial),
            Held::CardFound(section, serial) => self.check_card(world, Self::serial_in(section), *serial),
            Held::Snapshot(snapshot) => self.use_snapshot(world, snapshot),
        }
        self.held.push(held);
    }

    /// Lets go of something.
    pub(super) fn release(&mut self, world: &World) {
        let Some(last) = (self.held.len() as u64).checked_sub(1) else { return };
        let index = self.dice.below(last + 1) as usize;
        match self.held.swap_remove(index) {
            Held::CardMapped(guard, serial) => self.check_card(world, Self::serial_of(&guard), serial),
            Held::CardFound(section, serial) => self.check_card(world, Self::serial_in(&section), serial),
            Held::Mapped(guard, first, true) => self.unmap(world, guard, first),
            _ => {}
        }
    }

    /// Says how much of a mapping was written, or nothing, which means all of it.
    fn unmap(&mut self, world: &World, guard: MapGuard, first: u64) {
        let len = if self.dice.once_in(2) { self.dice.below(PAGE + 1) } else { PAGE };
        if len == PAGE {
            drop(guard);
        } else if guard.unmap(len as usize).is_err() {
            self.wrong(world, format_args!("a mapping at {first:#x} is not unmapped"));
        }
        if len > 0 {
            self.note_written(first, len);
        }
    }

    /// A place of RAM to hold, as an address and as the offset in RAM that it must be: at its place, or in the alias, whose
    /// place and part follow from a layout that then has to have held.
    fn place(&mut self, layout: Layout, world: &World) -> (u64, u64) {
        let page = self.own_bare_word(world) / PAGE * PAGE;
        if !self.dice.once_in(2) {
            return (page, page);
        }
        let into = self.dice.below(ALIAS_SIZE / PAGE) * PAGE;
        (layout.alias_at() + into, alias_offset(layout.alias_part(), world.turn) + into)
    }

    fn open_window(&mut self, world: &World) -> Option<Held> {
        let glimpse = world.chart.glimpse();
        let (address, first) = self.place(world.chart.layout(), world);
        let (space, base) = self.space(world);
        let window = space.window(AddrRange::from_len(base + address, PAGE as usize)?, ATTRS);
        let layout = world.chart.held(glimpse)?;
        match layout.seen(address, world.turn) {
            Seen::Ram(byte, writable) if byte == first => Some(Held::Window(window, first, writable)),
            _ => None,
        }
    }

    /// One of its words in the page from `first` on.
    fn word_in(&mut self, world: &World, first: u64) -> u64 {
        let turn = world.turn;
        let first = first.saturating_sub(self.index * 8).div_ceil(turn) * turn + self.index * 8;
        first + self.dice.below((PAGE - turn) / turn) * turn
    }

    fn use_window(&mut self, world: &World, window: &Window, (first, writable): (u64, bool)) {
        let offset = self.word_in(world, first);
        let store = self.dice.once_in(2);
        let result = if store && !writable {
            let refused = window.store(offset - first, W8, 0) == Err(BusFault::DECODE);
            if refused { window.load(offset - first, W8) } else { Err(BusFault::ERROR) }
        } else if store {
            let value = self.fresh();
            let stored = window.store(offset - first, W8, value);
            self.set_word(world, offset, value);
            stored.and_then(|()| window.load(offset - first, W8))
        } else {
            window.load(offset - first, W8)
        };
        self.note(result);
        let beyond = window.load(PAGE - 4, W8);
        if result != Ok(self.word(world, offset)) || beyond != Err(BusFault::ACCESS) {
            self.wrong(
                world,
                format_args!("a window at {offset:#x} gives {result:x?}, beyond it {beyond:?}"),
            );
        }
    }

    fn map_ram(&mut self, world: &World) -> Option<Held> {
        let glimpse = world.chart.glimpse();
        let (address, first) = self.place(world.chart.layout(), world);
        let (space, base) = self.space(world);
        let direction = if self.dice.once_in(4) { Direction::Read } else { Direction::Write };
        let mapped = space.map(base + address, PAGE as usize, direction, ATTRS);
        let Some(layout) = world.chart.held(glimpse) else {
            // of what page, nobody knows
            let _ = mapped.map(|guard| guard.unmap(0));
            return None;
        };
        let seen = layout.seen(address, world.turn);
        match (mapped, seen) {
            (Ok(guard), Seen::Ram(offset, writable))
                if guard.is_direct()
                    && guard.len() == PAGE as usize
                    && offset == first
                    && (writable || direction == Direction::Read) =>
            {
                Some(Held::Mapped(guard, first, direction == Direction::Write))
            }
            (Err(MapError::Fault(BusFault::DECODE)), Seen::Nothing) => None,
            (Err(MapError::Fault(BusFault::DECODE)), Seen::Ram(_, false))
                if direction == Direction::Write =>
            {
                None
            }
            (mapped, _) => {
                self.wrong(world, format_args!("{address:#x} is mapped as {mapped:?}, and shows {seen:x?}"));
                None
            }
        }
    }

    fn use_mapped(&mut self, world: &World, guard: &mut MapGuard, first: u64) {
        let offset = self.word_in(world, first);
        let at = (offset - first) as usize;
        if self.dice.once_in(2) {
            let value = self.fresh();
            if guard.write(at, &value.to_le_bytes()) {
                self.set_word(world, offset, value);
            }
        }
        let mut bytes = [0; 8];
        let read = guard.read(at, &mut bytes);
        let value = u64::from_le_bytes(bytes);
        self.note(Ok(value));
        if !read || value != self.word(world, offset) {
            self.wrong(world, format_args!("a mapping at {offset:#x} gives {read}, {value:#x}"));
        }
    }

    /// Maps a part of the ROM device: its memory to be read, or a bounce buffer.
    fn map_flash(&mut self, world: &World) -> Option<Held> {
        let words = 1 + self.dice.below(FLASH_SIZE / 8);
        let first = self.dice.below(FLASH_SIZE / 8 - words + 1) * 8;
        let (space, base) = self.space(world);
        let write = self.dice.once_in(4);
        let (len, direction) =
            if write { (8, Direction::Write) } else { (words as usize * 8, Direction::Read) };
        match space.map(base + FLASH_AT + first, len, direction, ATTRS) {
            Ok(mut guard) if write => {
                let written = guard.write(0, &[1; 8]) && !guard.is_direct() && guard.unmap(8).is_ok();
                self.deeds.flash += u64::from(written);
                if !written {
                    self.wrong(world, format_args!("a bounced write to the flash at {first:#x} fails"));
                }
                None
            }
            Ok(guard) => Some(Held::Flash(guard, first)),
            Err(MapError::Busy) => {
                world.ledger.bounces.come.fetch_add(1, Ordering::SeqCst);
                let books = world.ledger.clone();
                space.when_bounce_is_free(move || {
                    books.bounces.gone.fetch_add(1, Ordering::SeqCst);
                });
                None
            }
            Err(error) => {
                self.wrong(world, format_args!("the flash at {first:#x} is not mapped: {error}"));
                None
            }
        }
    }

    /// Reads a mapping of the ROM device, which is all memory or all registers.
    fn read_flash(&mut self, world: &World, guard: &MapGuard, first: u64) {
        let mut bytes = vec![0; guard.len()];
        let read = guard.read(0, &mut bytes);
        let is = |device: u64| {
            let offsets = (first..).step_by(8);
            bytes
                .as_chunks::<8>()
                .0
                .iter()
                .zip(offsets)
                .all(|(word, at)| u64::from_le_bytes(*word) == canary(device, at))
        };
        let (memory, registers) = (is(FLASH_MEMORY), is(FLASH));
        self.note(Ok(u64::from(memory)));
        let right = read && if guard.is_direct() { memory } else { memory || registers };
        if !right {
            self.wrong(world, format_args!("a mapping of the flash from {first:#x} on is a mixture"));
        }
    }

    fn hold_card(&mut self, world: &World) -> Option<Held> {
        let slot = world.slot(&mut self.dice);
        let (left, at) = (slot.left(), slot.address() + CARD_MEMORY);
        let (space, base) = self.space(world);
        let held = if self.dice.once_in(2) {
            let guard = space.map(base + at, 16, Direction::Read, ATTRS).ok()?;
            let serial = Self::serial_of(&guard)?;
            Held::CardMapped(guard, serial)
        } else {
            let section = space.find(AddrRange::from_len(base + at, 16)?)?;
            let serial = Self::serial_in(&section)?;
            Held::CardFound(section, serial)
        };
        if let Held::CardMapped(_, serial) | Held::CardFound(_, serial) = held {
            self.check_new_card(world, slot, (left, serial));
        }
        Some(held)
    }

    fn check_new_card(&mut self, world: &World, slot: &Slot, (left, serial): (u64, u64)) {
        let newest = slot.newest();
        if !(left < serial && serial <= newest) {
            self.wrong(world, format_args!("card {serial} is held, of {left}..={newest}"));
        }
        self.check_card(world, Some(serial), serial);
    }

    /// While its memory is held a card lives.
    fn check_card(&mut self, world: &World, says: Option<u64>, serial: u64) {
        self.note(says.ok_or(BusFault::ERROR));
        let alive = world.ledger.is_alive(serial);
        if says != Some(serial) || !alive {
            self.wrong(world, format_args!("card {serial} is held, says {says:?}, and is alive: {alive}"));
        }
    }

    fn serial_of(guard: &MapGuard) -> Option<u64> {
        let mut bytes = [0; 8];
        guard.read(0, &mut bytes).then(|| u64::from_le_bytes(bytes))
    }

    fn serial_in(section: &Section) -> Option<u64> {
        let part = section.read()?;
        part.pin().target().and_then(Target::block)?.load(part.offset(), W8)
    }

    /// Writes as a virtqueue does.
    fn use_snapshot(&mut self, world: &World, snapshot: &DmaMemory) {
        let offset = self.own_bare_word(world);
        let at = GuestAddress(BUS_AT + offset);
        let value = self.fresh();
        let slices = snapshot.get_slices(at, 8, Permissions::Write);
        let slice = slices.ok().and_then(|mut slices| slices.next()?.ok());
        let written = slice.is_some_and(|slice| slice.write_slice(&value.to_le_bytes(), 0).is_ok());
        self.set_word(world, offset, value);
        let way = self.way();
        let read = self.load(world, way, offset, W8);
        if !written || read != Ok(value) {
            self.wrong(world, format_args!("a snapshot at {offset:#x} writes {written}, then {read:x?}"));
        }
    }
}
