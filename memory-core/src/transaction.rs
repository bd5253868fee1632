//! An open level of a transaction.

use crate::error::MemoryError;
use crate::memory::Memory;
use crate::region::RegionRef;
use std::marker::PhantomData;

/// An open level of a transaction: a savepoint. It belongs to its thread.
///
/// [`Transaction::commit`] hands its changes to the level outside, or, if it is the outermost one, publishes them.
/// Dropped without, it takes them back, sibling order included. Levels close in the reverse order of their opening.
///
/// ```
/// use memory_core::{Memory, MemoryError, Size};
/// let memory = Memory::new();
/// let bus = memory.container("bus", Size::FULL).build()?;
/// let bar = memory.container("bar", 0x1000u64).build()?;
/// let outer = memory.begin()?;
/// bus.map(0x1000, &bar)?;
/// let inner = memory.begin()?;
/// bar.set_address(0x2000)?;
/// drop(inner); // a change of mind
/// outer.commit()?;
/// assert_eq!(bar.address()?, Some(0x1000));
/// # Ok::<(), MemoryError>(())
/// ```
#[must_use = "a transaction that is dropped is rolled back"]
#[derive(Debug)]
pub struct Transaction {
    memory: Memory,
    level: usize,
    open: bool,
    /// Not `Send`: the thread holds the lock.
    thread: PhantomData<*const ()>,
}

impl Transaction {
    pub(crate) fn new(memory: Memory, level: usize) -> Self {
        Self { memory, level, open: true, thread: PhantomData }
    }

    /// Keeps the changes of this level; the outermost level publishes them.
    ///
    /// # Errors
    /// Why the changes were refused; they are taken back then.
    pub fn commit(mut self) -> Result<(), MemoryError> {
        self.open = false;
        self.memory.close(self.level, true)
    }

    /// Has everything that shows `region` looked at again at the commit.
    ///
    /// # Errors
    /// [`MemoryError::InsideCommit`] if a commit goes on.
    pub fn touch(&self, region: &RegionRef) -> Result<(), MemoryError> {
        let id = region.id();
        self.memory.with_state(|state| {
            state.touch(id);
            Ok(())
        })
    }

    /// Has the commit told to the sink even if nothing changes: it has something new to show.
    ///
    /// # Errors
    /// [`MemoryError::InsideCommit`] if a commit goes on.
    pub fn ask(&self) -> Result<(), MemoryError> {
        self.memory.with_state(|state| {
            state.ask();
            Ok(())
        })
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.open && self.memory.close(self.level, false).is_err() {
            tracing::error!("transaction levels were closed out of order");
        }
    }
}
