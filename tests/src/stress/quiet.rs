//! Removals beside which nothing else happens.
//!
//! While everybody is at it, whoever waits for a card is woken all the time: each commit does it, and each worker that comes
//! to a newer map. A wake-up that is lost goes unseen there. Here each worker leaves the card once and then does nothing.

use super::plugger::Plugger;
use super::watch::Watched;
use super::worker::Worker;
use super::world::World;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

/// Removals after a round.
const TURNS: usize = 48;

/// Where the workers and the plugger meet.
pub(super) struct Quiet {
    meet: Barrier,
    /// Something is wrong: set before all meet at the end of a turn, and looked at after that.
    over: AtomicBool,
}

impl Quiet {
    /// For so many workers, and the plugger.
    pub(super) fn new(workers: usize) -> Self {
        Self { meet: Barrier::new(workers + 1), over: AtomicBool::new(false) }
    }

    /// Does `turn` for each removal, and says so, until something is wrong.
    fn turns(&self, me: &Watched, mut turn: impl FnMut(usize)) {
        me.during(|| {
            for index in 0..TURNS {
                turn(index);
                self.meet.wait();
                me.beat();
                if self.over.load(Ordering::SeqCst) {
                    break;
                }
            }
        });
    }

    /// Takes cards out, and waits for each.
    pub(super) fn remove(&self, me: &Watched, plugger: &mut Plugger, world: &World) {
        self.turns(me, |turn| {
            let slot = &world.slots[turn % world.slots.len()];
            plugger.plug(world, slot);
            self.meet.wait();
            // all come to be on a map that shows the card
            self.meet.wait();
            slot.unplug();
            plugger.wait_for_all(world, slot);
            self.over.store(world.ledger.has_failed(), Ordering::SeqCst);
        });
    }

    /// Uses each card, and leaves it while it is taken out.
    pub(super) fn leave(&self, me: &Watched, worker: &mut Worker, world: &World) {
        self.turns(me, |turn| {
            let slot = &world.slots[turn % world.slots.len()];
            self.meet.wait();
            worker.visit(world, slot);
            self.meet.wait();
            worker.leave(world, slot);
        });
        worker.park();
    }
}
