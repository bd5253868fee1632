//! Transfers: any number of bytes, cut into pieces.

use super::Access;
use super::found::{Found, is_memory};
use crate::entry::EntryKind;
use memory_core::{Backing, BoundMmio, BusFault, ByteOrder, PAGE_SIZE, Permissions, RamBlock, Target, Width};
use memory_flatview::Part;

/// Bytes that a fill writes at once.
const FILL: usize = 4096;

impl Access<'_> {
    /// Reads all of `bytes`; what fails reads as 0, or as the space's policy has it.
    pub(crate) fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), BusFault> {
        self.cut(address, bytes.len(), false, |found, at, done, most| {
            let rest = bytes.get_mut(done..done + most).unwrap_or(&mut []);
            let Some((found, part)) = found.and_then(|found| Some((found, found.range.read()?))) else {
                rest.fill(self.unassigned_byte());
                return (most, self.unassigned());
            };
            self.read_piece(found, part, at, rest)
        })
    }

    fn read_piece(
        &self,
        found: &Found<'_>,
        part: &Part,
        at: u64,
        rest: &mut [u8],
    ) -> (usize, Result<(), BusFault>) {
        let (target, offset) = (part.target(), found.offset(part));
        if let Some(block) = found.readable(target) {
            let result = if self.attrs.is_memory_only() && !is_memory(target) {
                Err(BusFault::ACCESS)
            } else if self.is_overtaken(found, target.backing()) {
                return (rest.len(), self.space.read(at, rest, self.attrs));
            } else if read_block(target, block, offset, rest) {
                Ok(())
            } else {
                Err(BusFault::ERROR)
            };
            if result.is_err() {
                rest.fill(0);
            }
            return (rest.len(), result);
        }
        match target.backing() {
            Backing::Mmio(mmio) | Backing::RomDevice(_, mmio) => {
                let width = piece(mmio, offset, self.left(at, rest.len()));
                let (value, result) = match self.mmio_read(found, part, mmio, width) {
                    Ok((value, result)) => (value, result),
                    Err(fault) => (0, Err(fault)),
                };
                let rest = rest.get_mut(..width.len()).unwrap_or(&mut []);
                self.space.config().order.encode(value, rest);
                (width.len(), result)
            }
            Backing::Iommu(_) => {
                rest.fill(0);
                self.through_iommu(found, part, Permissions::READ, rest.len(), |access, to, len| {
                    access.read(to, rest.get_mut(..len).unwrap_or(&mut []))
                })
            }
            _ => {
                rest.fill(self.unassigned_byte());
                (rest.len(), self.unassigned())
            }
        }
    }

    /// Writes all of `bytes`.
    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), BusFault> {
        self.cut(address, bytes.len(), true, |found, at, done, most| {
            let rest = bytes.get(done..done + most).unwrap_or(&[]);
            match found.and_then(|found| Some((found, self.written(found)?))) {
                Some((found, part)) => self.write_piece(found, part, at, rest),
                None => (most, self.unassigned()),
            }
        })
    }

    /// Writes `len` times `byte`; holes are passed over at once.
    pub(crate) fn fill(&self, address: u64, len: usize, byte: u8) -> Result<(), BusFault> {
        let bytes = [byte; FILL];
        self.cut(address, len, true, |found, at, _, most| {
            let rest = bytes.get(..most).unwrap_or(&bytes);
            match found.and_then(|found| Some((found, self.written(found)?))) {
                Some((found, part)) => self.write_piece(found, part, at, rest),
                None => (most, self.unassigned()),
            }
        })
    }

    fn write_piece(
        &self,
        found: &Found<'_>,
        part: &Part,
        at: u64,
        rest: &[u8],
    ) -> (usize, Result<(), BusFault>) {
        let (target, offset) = (part.target(), found.offset(part));
        let debug = if self.attrs.is_debug() { target.block().map(|block| &**block) } else { None };
        if let Some(block) = debug.or_else(|| found.writable(target)) {
            let written = write_block(target, block, offset, rest);
            return (rest.len(), if written { Ok(()) } else { Err(BusFault::ERROR) });
        }
        match target.backing() {
            Backing::Mmio(mmio) | Backing::RomDevice(_, mmio) => {
                let width = piece(mmio, offset, self.left(at, rest.len()));
                let value = self.space.config().order.decode(rest.get(..width.len()).unwrap_or(&[]));
                (width.len(), self.mmio_write(found, part, mmio, width, value))
            }
            Backing::Iommu(_) => {
                self.through_iommu(found, part, Permissions::WRITE, rest.len(), |access, to, len| {
                    access.write(to, rest.get(..len).unwrap_or(&[]))
                })
            }
            Backing::Reservation => (rest.len(), self.unassigned()),
            Backing::Ram(_) | Backing::RamDevice(_) | Backing::Rom(_) => (rest.len(), Err(BusFault::DECODE)),
        }
    }

    /// Writes `bytes` to what a pin has led to, from `offset` of its region on, which was seen at `address`. If it still is they
    /// go the way of every write, events and queues included; it may as well have moved, be hidden or read-only now, and
    /// gets them all the same.
    ///
    /// # Errors
    /// The faults of all pieces, OR-ed; an access error if its device was unplugged.
    pub(crate) fn write_pinned(
        &self,
        target: &Target,
        offset: u64,
        address: u64,
        bytes: &[u8],
    ) -> Result<(), BusFault> {
        if Found::at(self.view, address).is_some_and(|found| found.writes_to(target, offset, bytes.len())) {
            return self.write(address, bytes);
        }
        match target.backing() {
            Backing::RomDevice(block, _) if self.attrs.is_debug() => {
                if write_block(target, block, offset, bytes) { Ok(()) } else { Err(BusFault::ERROR) }
            }
            Backing::RamDevice(block) => {
                if write_block(target, block, offset, bytes) {
                    Ok(())
                } else {
                    Err(BusFault::ERROR)
                }
            }
            Backing::Mmio(mmio) | Backing::RomDevice(_, mmio) => {
                self.write_registers(target, mmio, offset, bytes)
            }
            _ => self.unassigned(),
        }
    }

    /// Writes registers that the view need not show.
    fn write_registers(
        &self,
        target: &Target,
        mmio: &BoundMmio,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), BusFault> {
        if self.attrs.is_debug() {
            return Err(BusFault::ACCESS);
        }
        let (system, order) = (self.space.system(), self.space.config().order);
        system.flush_coalesced();
        let _inside = system.enter_pinned(target, EntryKind::WriteBack, mmio.rules.reentry().is_some())?;
        let callback = |offset, width, value| mmio.device.write(offset, width, value, self.attrs);
        let (mut result, mut rest, mut at) = (Ok(()), bytes, offset);
        while !rest.is_empty() {
            let width = piece(mmio, at, rest.len() as u64);
            let (now, later) = rest.split_at(width.len());
            let written = mmio.rules.write(at, width, order.decode(now), self.attrs, order, callback);
            result = BusFault::both(result, written.unwrap_or_else(|| self.unassigned()));
            (rest, at) = (later, at.wrapping_add(width.bytes()));
        }
        result
    }

    /// Bytes that a piece at `at` may take without going beyond 2^64.
    fn left(&self, at: u64, len: usize) -> u64 {
        (len as u64).min((u64::MAX - at).saturating_add(1))
    }

    /// Goes over `len` bytes from `address` on. `run` gets what is found at an address, how many bytes came before and
    /// how many there are at most, and returns how many it took.
    fn cut(
        &self,
        address: u64,
        len: usize,
        write: bool,
        mut run: impl FnMut(Option<&Found<'_>>, u64, usize, usize) -> (usize, Result<(), BusFault>),
    ) -> Result<(), BusFault> {
        let mut result = Ok(());
        let mut done = 0;
        while done < len {
            let Some(at) = address.checked_add(done as u64) else {
                // beyond the top there is nothing, and no wrapping around
                return BusFault::both(result, run(None, u64::MAX, done, len - done).1);
            };
            let found = Found::at(self.view, at);
            // a device takes what its rules let it take, even beyond the range; all else ends with its range
            let most = match &found {
                Some(found) if self.is_callback(found, write) => len - done,
                Some(found) => clamp(found.rest(), len - done),
                None => match self.view.next_from(at) {
                    Some(next) => clamp(next.range().start() - at - 1, len - done),
                    None => len - done,
                },
            };
            let (took, piece) = run(found.as_ref(), at, done, most);
            result = BusFault::both(result, piece);
            done += took.max(1);
        }
        result
    }

    fn is_callback(&self, found: &Found<'_>, write: bool) -> bool {
        let part = if write { self.written(found) } else { found.range.read() };
        match part.map(|part| part.target().backing()) {
            Some(Backing::Mmio(_)) => true,
            Some(Backing::RomDevice(..)) if write => !self.attrs.is_debug(),
            Some(Backing::RomDevice(..)) => !found.is_romd(),
            _ => false,
        }
    }

    /// One piece of a transfer through an IOMMU: `run` gets the access that goes on, the address there and as many
    /// bytes as the page holds. Returns the bytes that were dealt with.
    fn through_iommu(
        &self,
        found: &Found<'_>,
        part: &Part,
        permission: Permissions,
        len: usize,
        run: impl FnOnce(&Access<'_>, u64, usize) -> Result<(), BusFault>,
    ) -> (usize, Result<(), BusFault>) {
        match self.translate(found, part, permission) {
            Ok(onward) => {
                let len = clamp(onward.rest, len);
                (len, onward.run(self, |access| run(access, onward.address, len)))
            }
            Err(fault) => {
                // how large the refused page is nobody says: go on at the next one of the smallest size
                let into_page = found.offset(part) % PAGE_SIZE as u64;
                (clamp(found.rest().min(PAGE_SIZE as u64 - 1 - into_page), len), Err(fault))
            }
        }
    }
}

/// `rest + 1`, but at most `len`.
fn clamp(rest: u64, len: usize) -> usize {
    usize::try_from(rest).map_or(len, |rest| rest.saturating_add(1).min(len))
}

/// The width of the next piece of a transfer: the largest that the rules take, that `left` bytes hold, and that the
/// offset is a multiple of unless the device does not care.
fn piece(mmio: &BoundMmio, offset: u64, left: u64) -> Width {
    let most = Width::at_most(left).min(mmio.rules.transfer_width());
    if mmio.rules.transfers_unaligned() {
        return most;
    }
    Width::ALL.into_iter().rev().find(|width| *width <= most && width.aligned(offset)).unwrap_or(Width::W1)
}

/// The aligned accesses, as wide as can be, that make up `len` bytes at `offset`.
fn exact_pieces(offset: u64, len: usize) -> impl Iterator<Item = (usize, Width)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let left = len.checked_sub(done).filter(|left| *left > 0)?;
        let at = offset.wrapping_add(done as u64);
        let most = Width::at_most(left as u64);
        let width = Width::ALL.into_iter().rev().find(|width| *width <= most && width.aligned(at))?;
        done += width.len();
        Some((done - width.len(), width))
    })
}

/// Reads host memory: in bulk, but with exact widths where it is a real device's.
fn read_block(target: &Target, block: &RamBlock, offset: u64, bytes: &mut [u8]) -> bool {
    if !matches!(target.backing(), Backing::RamDevice(_)) {
        return block.read(offset, bytes);
    }
    exact_pieces(offset, bytes.len()).all(|(done, width)| {
        let piece = bytes.get_mut(done..done + width.len());
        match (block.load(offset.wrapping_add(done as u64), width), piece) {
            (Some(value), Some(piece)) => {
                ByteOrder::Little.encode(value, piece);
                true
            }
            _ => false,
        }
    })
}

/// Writes host memory, as [`read_block`] reads it.
fn write_block(target: &Target, block: &RamBlock, offset: u64, bytes: &[u8]) -> bool {
    if !matches!(target.backing(), Backing::RamDevice(_)) {
        return block.write(offset, bytes);
    }
    exact_pieces(offset, bytes.len()).all(|(done, width)| {
        let piece = bytes.get(done..done + width.len()).unwrap_or(&[]);
        block.store(offset.wrapping_add(done as u64), width, ByteOrder::Little.decode(piece))
    })
}

#[cfg(test)]
mod tests;
