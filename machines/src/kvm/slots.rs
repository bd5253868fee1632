//! The memory slots of a machine: which parts of the map the kernel knows as memory.

use super::marks::Marks;
use super::sys::{SlotPlace, Vm};
use crate::sync::Arc;
use memory_core::{AddrRange, Backing, DirtyClients, RamBlock};
use memory_dispatch::{Section, SectionPart};
use memory_flatview::RangeFlags;
use std::collections::{BTreeMap, BTreeSet};

/// The kernel refused to change a memory slot.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// No slot is left.
    #[error("no memory slot is left for {range:?}: the kernel has {most}")]
    Full {
        /// Guest addresses.
        range: AddrRange,
        /// How many there are.
        most: u32,
    },
    /// The kernel's error.
    #[error("cannot {what} the memory slot of {range:?}: {error}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// Guest addresses.
        range: AddrRange,
        /// What the kernel says.
        error: kvm_ioctls::Error,
    },
}

/// A memory slot, as it was when it was looked at.
#[derive(Clone, Debug)]
pub struct MemorySlot {
    /// The kernel's number of it.
    pub id: u32,
    /// Guest addresses, whole pages.
    pub range: AddrRange,
    /// The host memory that it shows.
    pub block: Arc<RamBlock>,
    /// Bytes of the block before the slot's first.
    pub offset: u64,
    /// Writes exit.
    pub read_only: bool,
    /// The kernel notes which pages are written.
    pub logged: bool,
    /// How many slots the machine had made before this one: another value in the same place is another slot.
    pub serial: u64,
}

/// The slots. Changed by one thread at a time, which holds the writers' lock, while no vCPU is in the guest.
pub(super) struct SlotTable {
    vm: Arc<Vm>,
    /// By the first guest address.
    slots: BTreeMap<u64, Slot>,
    /// Below `used`.
    free: BTreeSet<u32>,
    used: u32,
    most: u32,
    /// Slots made so far.
    made: u64,
    /// The kernel has read-only slots. Otherwise what would be one exits.
    has_read_only: bool,
    page_size: u64,
}

struct Slot {
    id: u32,
    place: SlotPlace,
    serial: u64,
    /// What of the kernel's log is in the block's for all clients that it has now, and still in the kernel's.
    marks: Marks,
}

impl SlotTable {
    pub(super) fn new(vm: Arc<Vm>) -> Self {
        let most = u32::try_from(vm.kvm().get_nr_memslots()).unwrap_or(u32::MAX);
        // the kernel maps guests by pages of 4 KiB on all that it is built for here
        let page_size = memory_core::PAGE_SIZE as u64;
        let has_read_only = vm.fd().check_extension(kvm_ioctls::Cap::ReadonlyMem);
        let (slots, free) = Default::default();
        Self { vm, slots, free, used: 0, most, made: 0, has_read_only, page_size }
    }

    /// What of a range of the map has a slot.
    fn wanted(&self, section: &Section) -> Option<SlotPlace> {
        wanted(section, self.page_size).filter(|place| self.has_read_only || !place.read_only)
    }

    /// Whether a range of the map has a slot.
    pub(super) fn has(&self, section: &Section) -> bool {
        self.wanted(section).is_some()
    }

    /// The slots, by address.
    pub(super) fn all(&self) -> Vec<MemorySlot> {
        let slot = |Slot { id, place, serial, .. }: &Slot| {
            let SlotPlace { guest: range, block, offset, read_only, logged } = place.clone();
            MemorySlot { id: *id, range, block, offset, read_only, logged, serial: *serial }
        };
        self.slots.values().map(slot).collect()
    }

    /// Makes the slot of a range that has come.
    pub(super) fn add(&mut self, section: &Section) -> Result<(), SlotError> {
        let Some(place) = self.wanted(section) else { return Ok(()) };
        let range = place.guest;
        let id = self.free.first().copied().unwrap_or(self.used);
        if id >= self.most {
            return Err(SlotError::Full { range, most: self.most });
        }
        self.vm.set_slot(id, &place).map_err(|error| SlotError::Refused { what: "make", range, error })?;
        self.free.remove(&id);
        self.used = self.used.max(id + 1);
        let (serial, marks) = (self.made, Marks::default());
        self.made += 1;
        self.slots.insert(range.start(), Slot { id, place, serial, marks });
        Ok(())
    }

    /// Deletes the slot of a range that has gone.
    pub(super) fn delete(&mut self, section: &Section) -> Result<(), SlotError> {
        let Some(range) = self.wanted(section).map(|place| place.guest) else { return Ok(()) };
        let Some(slot) = self.slots.get(&range.start()) else { return Ok(()) };
        let id = slot.id;
        self.vm.delete_slot(id).map_err(|error| SlotError::Refused { what: "delete", range, error })?;
        self.slots.remove(&range.start());
        self.free.insert(id);
        Ok(())
    }

    /// Has the kernel note writes to a range, or not any more; what it noted must have been taken.
    pub(super) fn set_logged(&mut self, section: &Section, logged: bool) -> Result<(), SlotError> {
        let Some(range) = self.wanted(section).map(|place| place.guest) else { return Ok(()) };
        let Some(slot) = self.slots.get_mut(&range.start()) else { return Ok(()) };
        if slot.place.logged != logged {
            let place = SlotPlace { logged, ..slot.place.clone() };
            let refused = |error| SlotError::Refused { what: "log writes to", range, error };
            self.vm.set_slot(slot.id, &place).map_err(refused)?;
            slot.place = place;
            slot.marks = Marks::default();
        }
        Ok(())
    }

    /// Has the kernel note writes to a range for clients that had no part in its log. What was taken before they came is in
    /// the logs of others alone: the next look takes it again, for them too, and until then it is not cleared.
    pub(super) fn start_log(&mut self, section: &Section) -> Result<(), SlotError> {
        self.set_logged(section, true)?;
        let Some(range) = self.wanted(section).map(|place| place.guest) else { return Ok(()) };
        if let Some(slot) = self.slots.get_mut(&range.start()) {
            slot.marks = Marks::default();
        }
        Ok(())
    }

    /// Marks what guests wrote to a range in its block's log, for `clients`.
    pub(super) fn sync(&mut self, section: &Section, clients: DirtyClients) -> Result<(), SlotError> {
        let Some(range) = self.wanted(section).map(|place| place.guest) else { return Ok(()) };
        let Some(slot) = self.slots.get_mut(&range.start()).filter(|slot| slot.place.logged) else {
            return Ok(());
        };
        let refused = |error| SlotError::Refused { what: "take the log of", range, error };
        let marks = Marks::new(self.vm.take_dirty(slot.id, bytes(range)).map_err(refused)?);
        for run in marks.runs() {
            let (offset, len) = (run.start * self.page_size, (run.end - run.start) * self.page_size);
            slot.place.block.dirty().mark(clients, slot.place.offset + offset, len);
        }
        if self.vm.keeps_marks() {
            slot.marks = marks;
        }
        Ok(())
    }

    /// Has the kernel note anew what is written to `range`, where it keeps marks that are in the block's log: only those are
    /// cleared, so that what was written since is not lost.
    pub(super) fn clear(&mut self, range: AddrRange) -> Result<(), SlotError> {
        let Some((_, slot)) = self.slots.range_mut(..=range.last()).next_back() else { return Ok(()) };
        let guest = slot.place.guest;
        let Some(shown) = guest.intersection(range).filter(|_| self.vm.keeps_marks()) else { return Ok(()) };
        let page = |address: u64| (address - guest.start()) / self.page_size;
        let pages = bytes(guest) / self.page_size;
        let Some(part) = slot.marks.part(page(shown.start())..page(shown.last()) + 1, pages) else {
            return Ok(());
        };
        let refused = |error| SlotError::Refused { what: "clear the log of", range, error };
        self.vm.clear_dirty(slot.id, part.first, part.pages, &part.marks).map_err(refused)?;
        slot.marks.remove(&part);
        Ok(())
    }
}

/// How long a range is that is not all addresses.
fn bytes(range: AddrRange) -> u64 {
    (range.last() - range.start()).saturating_add(1)
}

/// What of a range the kernel can know as memory: whole pages whose host memory is whole pages too. What is left exits.
fn wanted(section: &Section, page_size: u64) -> Option<SlotPlace> {
    let read = section.read()?;
    let target = read.pin().target()?;
    let is_overlaid = !section.write().is_some_and(|write| is_same(read, write));
    let (block, read_only) = match target.backing() {
        Backing::Ram(block) | Backing::RamDevice(block) => {
            (block, is_overlaid || section.flags().contains(RangeFlags::READ_ONLY))
        }
        Backing::Rom(block) => (block, true),
        Backing::RomDevice(block, _) if section.flags().contains(RangeFlags::ROMD) => (block, true),
        _ => return None,
    };
    let range = section.range();
    let start = range.start().checked_next_multiple_of(page_size)?;
    // the byte after the last whole page, which the last of all has not
    let end = range.last().checked_add(1).unwrap_or(range.last()) & !(page_size - 1);
    let last = end.checked_sub(1).filter(|last| start < *last)?;
    let guest = AddrRange::new(start, last)?;
    let offset = read.offset().checked_add(start - range.start())?;
    let host = block.host_address(offset, last - start + 1)?;
    let logged = !section.log().is_empty();
    // memory that the host itself may not write
    let read_only = read_only || block.is_read_only();
    let place = SlotPlace { guest, block: block.clone(), offset, read_only, logged };
    (host as u64).is_multiple_of(page_size).then_some(place)
}

fn is_same(a: &SectionPart, b: &SectionPart) -> bool {
    a.region() == b.region() && a.offset() == b.offset()
}
