//! The one who plugs cards in and out.

use super::card::{Leaving, Slot};
use super::dice::Dice;
use super::world::World;
use memory_dispatch::WaitError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Longer than any wait takes, unless a wake-up is lost.
const LONG: Duration = Duration::from_secs(20);

/// Plugs and unplugs, and waits until nobody is inside.
pub struct Plugger {
    dice: Dice,
    /// Whether other threads can end a wait.
    alone: bool,
    /// Removals that were waited for.
    pub removals: u64,
}

impl Plugger {
    /// One who has plugged nothing in yet. Who is `alone` asks, and does not wait.
    pub fn new(seed: u64, alone: bool) -> Self {
        Self { dice: Dice::new(seed, 2), alone, removals: 0 }
    }

    /// Plugs a card in or out, or waits for some that are out.
    pub fn step(&mut self, world: &World) {
        let slot = world.slot(&mut self.dice);
        match self.dice.below(8) {
            0..4 => self.plug(world, slot),
            4..6 => {
                slot.unplug();
                if self.dice.once_in(2) {
                    self.wait_for_all(world, slot);
                }
            }
            _ => self.wait_for_all(world, slot),
        }
    }

    /// Plugs a card in, where there is none.
    pub(super) fn plug(&mut self, world: &World, slot: &std::sync::Arc<Slot>) {
        if !slot.is_free() {
            return;
        }
        let serial = world.serials.fetch_add(1, Ordering::SeqCst) + 1;
        if let Err(error) = slot.plug(&world.root, &world.bus, serial) {
            world.ledger.wrong(format_args!("card {serial} is not plugged in: {error}"));
        }
    }

    /// Waits for the cards that were in a slot.
    pub(super) fn wait_for_all(&mut self, world: &World, slot: &Slot) {
        for leaving in slot.take_leaving() {
            let deadline = if self.alone { Instant::now() } else { Instant::now() + LONG };
            self.wait(world, slot, leaving, deadline);
        }
    }

    fn wait(&mut self, world: &World, slot: &Slot, leaving: Leaving, deadline: Instant) {
        match leaving.detached().wait(deadline) {
            Ok(()) => {
                slot.note_left(&leaving);
                self.removals += 1;
                // it looks once more when the deadline has woken it
                let woken = self.alone || Instant::now() < deadline;
                world.ledger.check(woken, || "a wait was ended by its deadline alone".to_owned());
            }
            Err(WaitError::Deadline { .. }) if self.alone => slot.put_back(leaving),
            Err(error) => world.ledger.wrong(format_args!("a wait fails: {error}")),
        }
    }

    /// Waits for all that are out, when nobody is inside anything.
    pub fn settle(&mut self, world: &World) {
        for slot in &world.slots {
            slot.hold(None);
            for leaving in slot.take_leaving() {
                match leaving.detached().wait(Instant::now()) {
                    Ok(()) => {
                        slot.note_left(&leaving);
                        self.removals += 1;
                    }
                    Err(error) => world.ledger.wrong(format_args!("when all is quiet: {error}")),
                }
            }
        }
    }

    /// Plugs everything out, at the end of a run.
    pub fn end(&mut self, world: &World) {
        for slot in &world.slots {
            slot.unplug();
        }
        self.settle(world);
    }
}
