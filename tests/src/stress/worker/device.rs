//! Accesses to the devices that stay.

use super::{ATTRS, Worker};
use crate::stress::fixture::{BELL, FLASH, FLASH_MEMORY, POST, RING, W8, canary};
use crate::stress::layout::{BELL_AT, EPOCH_AT, FLASH_AT, FLASH_SIZE, Switch};
use crate::stress::world::World;
use memory_core::BusFault;
use std::sync::atomic::Ordering;

impl Worker {
    /// Reads a word of the ROM device, which is memory or a register, or writes one.
    pub(super) fn use_flash(&mut self, world: &World) {
        let (offset, way) = (self.dice.below(FLASH_SIZE / 8) * 8, self.way());
        if self.dice.once_in(3) {
            match self.store(world, way, (FLASH_AT + offset, W8), offset) {
                Ok(()) => self.deeds.flash += 1,
                Err(fault) => {
                    self.wrong(world, format_args!("the flash at {offset:#x} takes no write: {fault:?}"))
                }
            }
            return;
        }
        let glimpse = world.chart.glimpse();
        let result = self.load(world, way, FLASH_AT + offset, W8);
        let (memory, register) = (canary(FLASH_MEMORY, offset), canary(FLASH, offset));
        let right = match world.chart.held(glimpse) {
            Some(layout) => result == Ok(if layout.has(Switch::Romd) { memory } else { register }),
            None => result == Ok(memory) || result == Ok(register),
        };
        if !right {
            self.wrong(world, format_args!("the flash at {offset:#x} gives {result:x?} for {glimpse:?}"));
        }
    }

    /// Rings, posts, or reads the bell, at one of its two places.
    pub(super) fn use_bell(&mut self, world: &World) {
        let (place, way) = (BELL_AT[self.dice.below(2) as usize], self.way());
        let place = if self.dice.once_in(4) { place } else { world.chart.layout().bell_at() };
        let kind = self.dice.below(8);
        let glimpse = world.chart.glimpse();
        let result = match kind {
            0..3 => self.store(world, way, (place + RING, W8), kind),
            3..7 => {
                let next = self.index << 48 | (self.deeds.posted + 1);
                self.store(world, way, (place + POST, W8), next)
            }
            _ => {
                let read = self.load(world, way, place + 0x80, W8);
                let right = read == Ok(canary(BELL, 0x80)) || read == Err(BusFault::DECODE);
                if !right {
                    self.wrong(world, format_args!("the bell says {read:x?}"));
                }
                read.map(drop)
            }
        };
        match (kind, result) {
            (0..3, Ok(())) => self.deeds.rings += 1,
            (3..7, Ok(())) => self.deeds.posted += 1,
            _ => {}
        }
        let there = world.chart.held(glimpse).map(|layout| layout.bell_at() == place);
        let right = match result {
            Ok(()) => there != Some(false),
            Err(fault) => fault == BusFault::DECODE && there != Some(true),
        };
        if !right {
            self.wrong(world, format_args!("the bell at {place:#x} gives {result:?} for {glimpse:?}"));
        }
    }

    /// Reads two registers that are always replaced together: a transfer is on one map, and on none that a commit replaced
    /// before it began.
    pub(super) fn read_epoch(&mut self, world: &World) {
        let committed = world.epochs.gone.load(Ordering::SeqCst);
        let mut bytes = [0; 16];
        let result = if self.dice.once_in(2) {
            self.vcpu.read(EPOCH_AT, &mut bytes, ATTRS)
        } else {
            let (space, base) = self.space(world);
            space.read(base + EPOCH_AT, &mut bytes, ATTRS)
        };
        let begun = world.epochs.come.load(Ordering::SeqCst);
        let both = u128::from_le_bytes(bytes);
        let (low, high) = (both as u64, (both >> 64) as u64);
        self.note(result.map(|()| low));
        if result != Ok(()) || low != high || !(committed..=begun).contains(&low) {
            let what = format_args!("epochs {low} and {high}, {result:?}, of {committed} to {begun}");
            self.wrong(world, what);
        }
    }
}
