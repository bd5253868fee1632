//! Dirty logs of regions: what we mark ourselves together with what listeners know.

use crate::listener::Entry;
use crate::section::Section;
use crate::sync::Arc;
use crate::system::{MemorySystem, SystemInner};
use memory_core::{AddrRange, DirtyClients, DirtySnapshot, MemoryError, RamBlock, RegionRef};
use memory_flatview::{FlatRange, Part};

/// What a listener is asked.
type Ask = fn(&Entry, &Section);

impl MemorySystem {
    /// Begins to note writes to all RAM and ROM for `clients`, those of blocks that come later included. QEMU's name:
    /// `memory_global_dirty_log_start`.
    ///
    /// Like any other change it takes effect at the outermost commit, and not at all if a listener refuses.
    /// Whatever is written from then on, by whomever, is noted.
    ///
    /// ```
    /// use memory_core::{AddrRange, DirtyClients, RamBlock, Size, TxAttrs, Width};
    /// use memory_dispatch::{MemorySystem, SpaceConfig};
    /// let system = MemorySystem::new();
    /// let root = system.memory().container("system", Size::FULL).build()?;
    /// let ram = system.memory().ram("ram", RamBlock::anonymous(0x10_0000u64)?).build()?;
    /// root.map(0x8000_0000, &ram)?;
    /// let space = system.address_space("memory", &root, SpaceConfig::default())?;
    /// system.start_dirty_log(DirtyClients::MIGRATION)?;
    /// space.store(0x8000_4000, Width::W4, 7, TxAttrs::default())?;
    /// let sent = system.snapshot_and_clear(&ram, DirtyClients::MIGRATION, 0, 0x10_0000)?;
    /// assert_eq!((sent.count(), sent.pages().next()), (1, Some(0x4000)));
    /// system.stop_dirty_log(DirtyClients::MIGRATION)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A listener's refusal, or a call from a listener.
    pub fn start_dirty_log(&self, clients: DirtyClients) -> Result<(), MemoryError> {
        self.relog(|before| before | clients)
    }

    /// Ends what [`MemorySystem::start_dirty_log`] began. What was noted stays to be read; regions that asked for
    /// themselves, by [`RegionRef::set_log`], go on.
    ///
    /// # Errors
    /// As there.
    pub fn stop_dirty_log(&self, clients: DirtyClients) -> Result<(), MemoryError> {
        self.relog(|before| before - clients)
    }

    fn relog(&self, change: impl FnOnce(DirtyClients) -> DirtyClients) -> Result<(), MemoryError> {
        let memory = self.memory();
        memory.transaction(|_| {
            let before = memory.read(|tree| tree.global_log())?;
            memory.set_global_log(change(before))
        })
    }

    /// Has listeners mark in the logs what was written to `region`, or to all memory, without us. QEMU's name:
    /// `memory_region_sync_dirty_bitmap`, `memory_global_dirty_log_sync`.
    ///
    /// # Errors
    /// A call from a listener.
    pub fn sync_dirty_log(&self, region: Option<&RegionRef>) -> Result<(), MemoryError> {
        let block = match region {
            Some(region) => match self.block_in(region)? {
                Some(block) => Some(block),
                None => return Ok(()),
            },
            None => None,
        };
        self.sync_block(block.as_ref())
    }

    /// The same for host memory, through whichever region it was written.
    fn sync_block(&self, block: Option<&Arc<RamBlock>>) -> Result<(), MemoryError> {
        let wanted = |range: &FlatRange| match block {
            Some(block) => shows(range, block, (0, u64::MAX)).map(|_| range.range()),
            None => Some(range.range()),
        };
        self.memory().read(|_| self.inner().ask(wanted, |entry, section| entry.listener.log_sync(section)))
    }

    /// Takes the marks of `len` bytes at `offset` of a region's host memory, and clears them; listeners are asked before,
    /// and told after. Look at the data after this, and no write is lost. QEMU's name:
    /// `memory_region_snapshot_and_clear_dirty`.
    ///
    /// Marks of what an accelerator's guest wrote are to be taken by this alone, not from the block's log: some
    /// accelerators note a page again only when they are told that its mark was taken.
    ///
    /// # Errors
    /// A region without host memory, or a call from a listener.
    pub fn snapshot_and_clear(
        &self,
        region: &RegionRef,
        client: DirtyClients,
        offset: u64,
        len: u64,
    ) -> Result<DirtySnapshot, MemoryError> {
        let block = self.block_of(region)?;
        self.sync_block(Some(&block))?;
        let taken = block.dirty().snapshot_and_clear(client, offset, len);
        self.tell_cleared(&block, (offset, len))?;
        Ok(taken)
    }

    /// Clears the marks of `len` bytes at `offset` of a region's host memory. QEMU's name: `memory_region_reset_dirty`.
    ///
    /// # Errors
    /// As for [`MemorySystem::snapshot_and_clear`].
    pub fn clear_dirty(
        &self,
        region: &RegionRef,
        clients: DirtyClients,
        offset: u64,
        len: u64,
    ) -> Result<(), MemoryError> {
        let block = self.block_of(region)?;
        block.dirty().clear(clients, offset, len);
        self.tell_cleared(&block, (offset, len))
    }

    fn tell_cleared(&self, block: &Arc<RamBlock>, bytes: (u64, u64)) -> Result<(), MemoryError> {
        let wanted = |range: &FlatRange| shows(range, block, bytes);
        self.memory().read(|_| self.inner().ask(wanted, |entry, section| entry.listener.log_clear(section)))
    }

    fn block_in(&self, region: &RegionRef) -> Result<Option<Arc<RamBlock>>, MemoryError> {
        self.memory().read(|tree| tree.get(region.id())?.kind().block().cloned())
    }

    fn block_of(&self, region: &RegionRef) -> Result<Arc<RamBlock>, MemoryError> {
        self.block_in(region)?.ok_or_else(|| MemoryError::WrongKind {
            region: region.name().clone(),
            kind: "without host memory",
            why: "has no dirty log",
        })
    }
}

impl SystemInner {
    /// Calls `ask` for what `wanted` takes of each logged range of each space, and each listener that hears the space. Called
    /// with the writers' lock held, so that maps of listeners stand still.
    fn ask(self: &Arc<Self>, wanted: impl Fn(&FlatRange) -> Option<AddrRange>, ask: Ask) {
        let spaces = self.live_spaces();
        for space in &spaces {
            let entries = self.listeners().hearing(space.id());
            if entries.is_empty() {
                continue;
            }
            let view = space.published().load_full();
            for range in view.ranges().filter(|range| !range.log().is_empty()) {
                let Some(wanted) = wanted(range) else { continue };
                let section = Section::new(space.id(), range, wanted);
                entries.iter().for_each(|entry| ask(entry, &section));
            }
            self.reclaim().retire(Box::new((view, entries)));
        }
        self.reclaim().retire(Box::new(spaces));
    }
}

/// The addresses of `range` that show one of `len` bytes at `offset` of a block.
fn shows(range: &FlatRange, block: &Arc<RamBlock>, (offset, len): (u64, u64)) -> Option<AddrRange> {
    let last = len.checked_sub(1).map(|more| offset.saturating_add(more))?;
    let wanted = AddrRange::new(offset, last)?;
    let parts = [range.read(), range.write()].into_iter().flatten();
    let of_block = |part: &&Part| part.target().block().is_some_and(|shown| Arc::ptr_eq(shown, block));
    let part = parts.into_iter().find(of_block)?;
    let (start, bytes) = (range.range().start(), range.range().last() - range.range().start());
    let shown = AddrRange::new(part.offset(), part.offset().saturating_add(bytes))?.intersection(wanted)?;
    let at = |offset: u64| start + (offset - part.offset());
    AddrRange::new(at(shown.start()), at(shown.last()))
}
