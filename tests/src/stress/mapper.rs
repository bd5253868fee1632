//! The one who changes the map.

use super::dice::Dice;
use super::fixture::{Registers, VEIL, W8};
use super::layout::{ALIAS_PARTS, CLUTTER_AT, CLUTTER_SIZE, Layout, PAGE, Switch};
use super::ledger::lock;
use super::witness::{Refuser, Witness};
use super::world::{Changing, World};
use memory_core::{AccessRules, MemoryError, RamBlock};
use memory_dispatch::SpaceConfig;
use std::sync::Arc;

/// Regions that nobody looks at, at most.
const CLUTTER: u64 = 48;

/// Changes the map at random, and says what it has become.
pub struct Mapper {
    dice: Dice,
    /// Changes that were committed.
    pub commits: u64,
}

/// Why a change that was begun is taken back.
enum Outcome {
    Committed,
    Abandoned,
    Refused,
}

/// Whether a change of the layout has a range come into the map, whatever else is on it.
fn adds(old: Layout, new: Layout) -> bool {
    [Switch::Romd, Switch::BellPlace].into_iter().any(|switch| old.has(switch) != new.has(switch))
}

impl Mapper {
    /// One who has changed nothing yet.
    pub fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed, 1), commits: 0 }
    }

    /// Changes something.
    pub fn step(&mut self, world: &World) {
        let mut changing = lock(&world.changing);
        let result = match self.dice.below(32) {
            0..12 => self.relayout(world),
            12..22 => world.next_epoch(&mut changing, false).map(|()| self.commits += 1),
            22..26 => self.clutter(world, &mut changing),
            26 => self.refused_epoch(world, &mut changing),
            27 => self.other_space(world, &mut changing),
            28 => self.other_listener(world, &mut changing),
            _ => {
                world.ledger.note_retired(world.system.reclaim());
                Ok(())
            }
        };
        drop(changing);
        if let Err(error) = result {
            world.ledger.wrong(format_args!("the map is not changed: {error}"));
        }
        // the list as it is right after a commit; it is emptied by what follows
        world.ledger.note_retired(world.system.reclaim());
    }

    /// Another layout: some switches, in one transaction, some in levels of it, some of which are taken back. At times the
    /// whole is abandoned, or refused.
    fn relayout(&mut self, world: &World) -> Result<(), MemoryError> {
        let mut new = world.chart.layout();
        let changes = 1 + self.dice.below(3);
        for _ in 0..changes {
            new = self.turn(new);
        }
        let detour = self.dice.once_in(4).then(|| self.turn(new));
        let outcome = match self.dice.below(12) {
            0 => Outcome::Abandoned,
            // only what adds a range for certain is told to who refuses
            1 if adds(world.chart.layout(), new) => Outcome::Refused,
            _ => Outcome::Committed,
        };
        world.chart.change(|old| match self.commit(world, (old, new), detour, outcome) {
            Ok(true) => (new, Ok(())),
            Ok(false) => (old, Ok(())),
            Err(error) => (old, Err(error)),
        })
    }

    fn turn(&mut self, layout: Layout) -> Layout {
        if self.dice.once_in(4) {
            return layout.with_alias_part(self.dice.below(ALIAS_PARTS));
        }
        let switch = Switch::ALL[self.dice.below(Switch::ALL.len() as u64) as usize];
        layout.with(switch, !layout.has(switch))
    }

    /// Whether the new layout was committed.
    fn commit(
        &mut self,
        world: &World,
        (old, new): (Layout, Layout),
        detour: Option<Layout>,
        outcome: Outcome,
    ) -> Result<bool, MemoryError> {
        let transaction = world.system.memory().begin()?;
        if let Some(detour) = detour {
            let level = world.system.memory().begin()?;
            world.switch(old, detour)?;
            drop(level);
        }
        world.switch(old, new)?;
        match outcome {
            Outcome::Abandoned => {
                drop(transaction);
                return Ok(false);
            }
            Outcome::Refused => Refuser::arm(),
            Outcome::Committed => {}
        }
        match (transaction.commit(), outcome) {
            (Ok(()), Outcome::Committed) => {
                self.commits += 1;
                Ok(true)
            }
            (Ok(()), _) => {
                let untold = Refuser::disarm();
                world.ledger.wrong(format_args!("a change is not refused; untold: {untold}"));
                Ok(true)
            }
            (Err(MemoryError::Refused(_)), Outcome::Refused) => Ok(false),
            (Err(error), _) => Err(error),
        }
    }

    /// A change that always adds ranges, refused.
    fn refused_epoch(&mut self, world: &World, changing: &mut Changing) -> Result<(), MemoryError> {
        let result = world.next_epoch(changing, true);
        let untold = Refuser::disarm();
        match result {
            Err(MemoryError::Refused(_)) => Ok(()),
            Ok(()) => {
                world.ledger.wrong(format_args!("an epoch is not refused; untold: {untold}"));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Regions of all kinds come and go, and lie on each other.
    fn clutter(&mut self, world: &World, changing: &mut Changing) -> Result<(), MemoryError> {
        let memory = world.system.memory();
        let clutter = &mut changing.clutter;
        if clutter.len() as u64 >= CLUTTER || (!clutter.is_empty() && self.dice.once_in(3)) {
            let index = self.dice.below(clutter.len() as u64) as usize;
            // a handle that is dropped unmaps its region
            drop(clutter.swap_remove(index));
            self.commits += 1;
            return Ok(());
        }
        if !clutter.is_empty() && self.dice.once_in(3) {
            let index = self.dice.below(clutter.len() as u64) as usize;
            let region = &clutter[index];
            self.commits += 1;
            return match self.dice.below(3) {
                0 => region.set_priority(self.dice.below(5) as i32 - 2),
                1 => region.set_address(CLUTTER_AT + self.dice.below(CLUTTER_SIZE / PAGE - 16) * PAGE),
                _ => region.set_size((1 + self.dice.below(15)) * PAGE),
            };
        }
        let rules = AccessRules::new().valid(W8..=W8).implements(W8..=W8);
        let region = match self.dice.below(3) {
            0 => memory.ram(
                "clutter",
                RamBlock::anonymous(16 * PAGE).map_err(|error| MemoryError::Refused(Box::new(error)))?,
            ),
            1 => memory.alias("clutter", &world.ram, self.dice.below(64) * PAGE, 4 * PAGE),
            _ => memory.mmio("clutter", 4 * PAGE, rules, Arc::new(Registers::new(VEIL))),
        };
        let region = region.nomigrate().build()?;
        let at = CLUTTER_AT + self.dice.below(CLUTTER_SIZE / PAGE - 16) * PAGE;
        world.root.map_overlap(at, &region, self.dice.below(5) as i32 - 2)?;
        clutter.push(region);
        self.commits += 1;
        Ok(())
    }

    /// An address space comes or goes.
    fn other_space(&mut self, world: &World, changing: &mut Changing) -> Result<(), MemoryError> {
        if changing.space.take().is_none() {
            let space = world.system.address_space("other", &world.root, SpaceConfig::default())?;
            let read = space.load(0, W8, Default::default());
            world.ledger.check(read.is_ok(), || format!("a new space gives {read:?}"));
            changing.space = Some(space);
        }
        self.commits += 1;
        Ok(())
    }

    /// A listener registers, and is told of all there is, or unregisters, and is told that all goes.
    fn other_listener(&mut self, world: &World, changing: &mut Changing) -> Result<(), MemoryError> {
        match changing.listener.take() {
            Some((witness, guard)) => {
                world.ledger.check(!guard.is_poisoned(), || "the guest is poisoned".to_owned());
                guard.unregister()?;
                witness.ends_empty();
            }
            None => {
                let space = self.dice.once_in(2).then_some(&world.bus);
                let witness = Witness::new("guest", space.map(|space| space.id()), &world.ledger);
                let guard = world.system.listen(witness.clone(), self.dice.below(9) as i32 - 4, space)?;
                changing.listener = Some((witness, guard));
            }
        }
        Ok(())
    }

    /// Takes away what only it has made, at the end of a run.
    ///
    /// # Errors
    /// What the memory refuses, which is nothing.
    pub fn end(&mut self, world: &World) -> Result<(), MemoryError> {
        let mut changing = lock(&world.changing);
        if changing.listener.is_some() {
            self.other_listener(world, &mut changing)?;
        }
        changing.clutter.clear();
        changing.space = None;
        Ok(())
    }
}
