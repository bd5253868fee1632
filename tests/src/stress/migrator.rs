//! The one who copies RAM while it is written, going by the dirty log, as a migration does.

use super::dice::Dice;
use super::fixture::W8;
use super::layout::{PAGE, RAM_SIZE};
use super::worker::{PAGES, Worker};
use super::world::World;
use memory_core::{DirtyClients, DirtySnapshot, MemoryError};

/// Copies what the log says was written, and starts and stops another client of it.
pub struct Migrator {
    dice: Dice,
    /// RAM as far as it was copied.
    replica: Vec<u8>,
    /// The pages that the log named in this round.
    named: Vec<bool>,
    /// The pages that the log has named to displays in this session, while they want to know.
    drawn: Option<Vec<bool>>,
    /// Snapshots taken.
    pub snapshots: u64,
    /// Clients started and stopped.
    pub switches: u64,
}

impl Migrator {
    /// One who has copied nothing: RAM is all 0 then.
    pub fn new(seed: u64) -> Self {
        Self {
            dice: Dice::new(seed, 3),
            replica: vec![0; RAM_SIZE as usize],
            named: vec![false; PAGES],
            drawn: None,
            snapshots: 0,
            switches: 0,
        }
    }

    /// Begins a round: what is written from now on must be named by its end.
    ///
    /// # Errors
    /// What the memory refuses, which is nothing.
    pub fn begin(&mut self, world: &World) -> Result<(), MemoryError> {
        self.named.fill(false);
        world.system.start_dirty_log(DirtyClients::MIGRATION)
    }

    /// Copies something, or starts or stops another client.
    pub fn step(&mut self, world: &World) {
        let result = match self.dice.below(8) {
            0 if self.drawn.is_some() => {
                let mut drawn = self.drawn.take().unwrap_or_default();
                let result = self.draw(world, &mut drawn);
                self.drawn = Some(drawn);
                result
            }
            0..6 => {
                let first = self.dice.below(RAM_SIZE / PAGE);
                let pages = 1 + self.dice.below(RAM_SIZE / PAGE - first);
                self.copy(world, first * PAGE, pages * PAGE)
            }
            6 => self.switch_display(world),
            _ => world.system.sync_dirty_log(None),
        };
        if let Err(error) = result {
            world.ledger.wrong(format_args!("the dirty log fails: {error}"));
        }
    }

    fn copy(&mut self, world: &World, offset: u64, len: u64) -> Result<(), MemoryError> {
        let taken = world.system.snapshot_and_clear(&world.ram, DirtyClients::MIGRATION, offset, len)?;
        self.snapshots += 1;
        self.take(world, &taken);
        Ok(())
    }

    fn take(&mut self, world: &World, taken: &DirtySnapshot) {
        for at in taken.pages() {
            if let Some(named) = self.named.get_mut((at / PAGE) as usize) {
                *named = true;
            }
            let page = self.replica.get_mut(at as usize..(at + PAGE) as usize);
            let read = page.is_some_and(|page| world.block.read(at, page));
            world.ledger.check(read, || format!("the log names a page at {at:#x}"));
        }
    }

    /// A client of this region alone starts or stops. What workers wrote in between must have been named.
    fn switch_display(&mut self, world: &World) -> Result<(), MemoryError> {
        self.switches += 1;
        let Some(mut drawn) = self.drawn.take() else {
            world.ram.set_log(DirtyClients::DISPLAY, true)?;
            world.sessions.turn();
            self.drawn = Some(vec![false; PAGES]);
            return Ok(());
        };
        let ended = world.sessions.turn() - 1;
        let written = world.sessions.written(ended);
        self.draw(world, &mut drawn)?;
        world.ram.set_log(DirtyClients::DISPLAY, false)?;
        for page in written {
            let named = drawn.get(page as usize).copied().unwrap_or(false);
            world.ledger.check(named, || format!("page {page} was written, and no display is told"));
        }
        Ok(())
    }

    fn draw(&mut self, world: &World, drawn: &mut [bool]) -> Result<(), MemoryError> {
        let taken = world.system.snapshot_and_clear(&world.ram, DirtyClients::DISPLAY, 0, RAM_SIZE)?;
        self.snapshots += 1;
        for at in taken.pages() {
            if let Some(drawn) = drawn.get_mut((at / PAGE) as usize) {
                *drawn = true;
            }
        }
        Ok(())
    }

    /// Ends a round when nobody writes: the copy has to be RAM, and the pages that the log named those that were written.
    ///
    /// # Errors
    /// What the memory refuses, which is nothing.
    pub fn end(&mut self, world: &World, workers: &[Worker]) -> Result<(), MemoryError> {
        self.copy(world, 0, RAM_SIZE)?;
        world.system.stop_dirty_log(DirtyClients::MIGRATION)?;
        for (page, named) in self.named.iter().enumerate() {
            let wrote = workers.iter().any(|worker| worker.wrote(page));
            let say = || format!("page {page} was written: {wrote}, and is named by the log: {named}");
            world.ledger.check(wrote == *named, say);
        }
        for (offset, word) in (0..).step_by(8).zip(self.replica.as_chunks::<8>().0) {
            let copy = u64::from_le_bytes(*word);
            let there = world.block.load(offset, W8);
            let say = || format!("the copy of {offset:#x} is {copy:#x}, RAM holds {there:x?}");
            world.ledger.check(there == Some(copy), say);
        }
        Ok(())
    }
}
