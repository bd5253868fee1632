//! Accesses: how a view, the rules of its regions and the policy of its space make one out of an address.

use crate::chain;
use crate::space::{AddressSpace, Unassigned};
use crate::sync::Arc;
use memory_core::{
    Backing, BoundMmio, BusFault, ByteOrder, HostPage, PAGE_SIZE, Permissions, RamBlock, Target, TxAttrs,
    Width,
};
use memory_flatview::{FlatRange, Part, RangeFlags, View};

/// The most IOMMUs that one access may be translated by.
const MAX_TRANSLATIONS: usize = 8;

/// A range that was found at an address.
pub(crate) struct Found<'a> {
    pub(crate) range: &'a FlatRange,
    /// Bytes from the range's start.
    into: u64,
}

impl<'a> Found<'a> {
    #[inline]
    pub(crate) fn at(view: &'a View, address: u64) -> Option<Self> {
        Some(Self::inside(view.find(address)?, address))
    }

    /// `range` is known to hold `address`.
    #[inline]
    pub(crate) fn inside(range: &'a FlatRange, address: u64) -> Self {
        Self { range, into: address.wrapping_sub(range.range().start()) }
    }

    /// The offset of the address in the region of `part`.
    #[inline]
    fn offset(&self, part: &Part) -> u64 {
        part.offset().wrapping_add(self.into)
    }

    /// The bytes from the address to the end of the range, less one.
    #[inline]
    fn rest(&self) -> u64 {
        let range = self.range.range();
        range.last() - range.start() - self.into
    }

    fn is_romd(&self) -> bool {
        self.range.flags().contains(RangeFlags::ROMD)
    }

    fn is_read_only(&self) -> bool {
        self.range.flags().contains(RangeFlags::READ_ONLY)
    }

    /// The host memory that reads go to.
    #[inline]
    fn readable(&self, target: &'a Target) -> Option<&'a RamBlock> {
        match target.backing() {
            Backing::Ram(block) | Backing::RamDevice(block) | Backing::Rom(block) => Some(block),
            Backing::RomDevice(block, _) if self.is_romd() => Some(block),
            _ => None,
        }
    }

    /// The host memory that a guest's writes go to.
    #[inline]
    fn writable(&self, target: &'a Target) -> Option<&'a RamBlock> {
        match target.backing() {
            Backing::Ram(block) | Backing::RamDevice(block) if !self.is_read_only() => Some(block),
            _ => None,
        }
    }
}

/// The page of host memory at `address`, if all of it is in the range and takes such accesses directly.
pub(crate) fn page(found: Found<'_>, address: u64, write: bool) -> Option<HostPage> {
    let part = if write { found.range.write()? } else { found.range.read()? };
    if !address.is_multiple_of(PAGE_SIZE as u64) || found.rest() < PAGE_SIZE as u64 - 1 {
        return None;
    }
    let target = part.target();
    let direct = if write { found.writable(target) } else { found.readable(target) };
    direct?;
    target.block()?.page(found.offset(part))
}

fn is_memory(target: &Target) -> bool {
    matches!(target.backing(), Backing::Ram(_) | Backing::RamDevice(_) | Backing::Rom(_))
}

/// Accesses on one view of one space, with the same attributes.
pub(crate) struct Access<'a> {
    pub(crate) space: &'a AddressSpace,
    pub(crate) view: &'a View,
    pub(crate) attrs: TxAttrs,
    /// IOMMUs gone through so far.
    translations: usize,
}

impl<'a> Access<'a> {
    #[inline]
    pub(crate) fn new(space: &'a AddressSpace, view: &'a View, attrs: TxAttrs) -> Self {
        Self { space, view, attrs, translations: 0 }
    }

    /// What a read gets where nobody answers or the access is not accepted.
    #[cold]
    fn unassigned_read(&self, width: Width) -> Result<u64, BusFault> {
        self.unassigned().map(|()| width.mask())
    }

    /// What a write gets there, or a read but for the value.
    fn unassigned(&self) -> Result<(), BusFault> {
        if self.attrs.is_memory_only() {
            return Err(BusFault::ACCESS);
        }
        match self.space.config().unassigned {
            Unassigned::DecodeError => Err(BusFault::DECODE),
            Unassigned::AllOnes => Ok(()),
        }
    }

    fn unassigned_byte(&self) -> u8 {
        if self.unassigned().is_ok() { 0xff } else { 0 }
    }

    /// The value of host memory, which is little-endian there, in the order of the space, and back.
    #[inline]
    fn ordered(&self, width: Width, value: u64) -> u64 {
        match self.space.config().order {
            ByteOrder::Little => value,
            ByteOrder::Big => width.swap_bytes(value),
        }
    }

    #[inline]
    pub(crate) fn load(&self, found: Option<Found<'_>>, address: u64, width: Width) -> Result<u64, BusFault> {
        let Some(found) = found else { return self.unassigned_read(width) };
        let Some(part) = found.range.read() else { return self.unassigned_read(width) };
        let target = part.target();
        if let Some(block) = found.readable(target) {
            if found.rest() < width.bytes() - 1 {
                return self.load_across(address, width);
            }
            if self.attrs.is_memory_only() && !is_memory(target) {
                return Err(BusFault::ACCESS);
            }
            let value = block.load(found.offset(part), width).ok_or(BusFault::ERROR)?;
            return Ok(self.ordered(width, value));
        }
        match target.backing() {
            Backing::Mmio(mmio) | Backing::RomDevice(_, mmio) => {
                let (value, result) = self.mmio_read(target, mmio, found.offset(part), width)?;
                result.map(|()| value)
            }
            Backing::Iommu(_) => {
                let onward = self.translate(&found, part, Permissions::READ)?;
                if onward.rest < width.bytes() - 1 {
                    return self.load_across(address, width);
                }
                let to = onward.address;
                onward.run(self, |access| access.load(Found::at(access.view, to), to, width))
            }
            _ => self.unassigned_read(width),
        }
    }

    /// A load that begins in memory and goes on in what follows: range by range.
    #[cold]
    fn load_across(&self, address: u64, width: Width) -> Result<u64, BusFault> {
        let mut bytes = [0; 8];
        let bytes = bytes.get_mut(..width.len()).ok_or(BusFault::ERROR)?;
        self.read(address, bytes)?;
        Ok(self.space.config().order.decode(bytes))
    }

    #[inline]
    pub(crate) fn store(
        &self,
        found: Option<Found<'_>>,
        address: u64,
        width: Width,
        value: u64,
    ) -> Result<(), BusFault> {
        let Some(found) = found else { return self.unassigned() };
        let Some(part) = found.range.write() else { return self.unassigned() };
        let target = part.target();
        if let Some(block) = found.writable(target)
            && found.rest() >= width.bytes() - 1
        {
            let stored = block.store(found.offset(part), width, self.ordered(width, value));
            return if stored { Ok(()) } else { Err(BusFault::ERROR) };
        }
        match target.backing() {
            Backing::Mmio(mmio) | Backing::RomDevice(_, mmio) if !self.attrs.is_debug() => {
                self.mmio_write(&found, target, mmio, found.offset(part), width, value)
            }
            Backing::Iommu(_) => {
                let onward = self.translate(&found, part, Permissions::WRITE)?;
                if onward.rest < width.bytes() - 1 {
                    return self.store_across(address, width, value);
                }
                let to = onward.address;
                onward.run(self, |access| access.store(Found::at(access.view, to), to, width, value))
            }
            Backing::Reservation => self.unassigned(),
            // refused memory, a debugger's write, or the end of memory
            _ => self.store_across(address, width, value),
        }
    }

    #[cold]
    fn store_across(&self, address: u64, width: Width, value: u64) -> Result<(), BusFault> {
        let mut bytes = [0; 8];
        let bytes = bytes.get_mut(..width.len()).ok_or(BusFault::ERROR)?;
        self.space.config().order.encode(value, bytes);
        self.write(address, bytes)
    }

    pub(crate) fn compare_exchange(
        &self,
        address: u64,
        width: Width,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, BusFault> {
        let found = Found::at(self.view, address).ok_or(BusFault::ACCESS)?;
        let part = found.range.write().ok_or(BusFault::ACCESS)?;
        if matches!(part.target().backing(), Backing::Iommu(_)) {
            let both = Permissions::READ | Permissions::WRITE;
            let onward = self.translate(&found, part, both)?;
            if onward.rest < width.bytes() - 1 {
                return Err(BusFault::ACCESS);
            }
            return onward.run(self, |access| access.compare_exchange(onward.address, width, current, new));
        }
        if found.range.is_overlaid() || found.rest() < width.bytes() - 1 || !width.aligned(address) {
            return Err(BusFault::ACCESS);
        }
        let block = found.writable(part.target()).ok_or(BusFault::ACCESS)?;
        let ordered = |value| self.ordered(width, value);
        let (current, new) = (ordered(current & width.mask()), ordered(new & width.mask()));
        let result =
            block.compare_exchange(found.offset(part), width, current, new).ok_or(BusFault::ACCESS)?;
        Ok(result.map(ordered).map_err(ordered))
    }

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
                let (value, result) = match self.mmio_read(target, mmio, offset, width) {
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
            match found.and_then(|found| Some((found, found.range.write()?))) {
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
                (width.len(), self.mmio_write(found, target, mmio, offset, width, value))
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
        let part = if write { found.range.write() } else { found.range.read() };
        match part.map(|part| part.target().backing()) {
            Some(Backing::Mmio(_)) => true,
            Some(Backing::RomDevice(..)) if write => !self.attrs.is_debug(),
            Some(Backing::RomDevice(..)) => !found.is_romd(),
            _ => false,
        }
    }

    fn mmio_read(
        &self,
        target: &Target,
        mmio: &BoundMmio,
        offset: u64,
        width: Width,
    ) -> Result<(u64, Result<(), BusFault>), BusFault> {
        if self.attrs.is_memory_only() || self.attrs.is_debug() {
            return Err(BusFault::ACCESS);
        }
        let _link = chain::enter(target.guard(), mmio.rules.reentry().is_some())?;
        let order = self.space.config().order;
        let callback = |offset, width| mmio.device.read(offset, width, self.attrs);
        match mmio.rules.read(offset, width, self.attrs, order, callback) {
            Some(done) => Ok(done),
            None => Ok((self.unassigned_read(width)?, Ok(()))),
        }
    }

    fn mmio_write(
        &self,
        found: &Found<'_>,
        target: &Target,
        mmio: &BoundMmio,
        offset: u64,
        width: Width,
        value: u64,
    ) -> Result<(), BusFault> {
        if self.attrs.is_memory_only() || self.attrs.is_debug() {
            return Err(BusFault::ACCESS);
        }
        if found.is_read_only() {
            return Err(BusFault::DECODE);
        }
        let _link = chain::enter(target.guard(), mmio.rules.reentry().is_some())?;
        let order = self.space.config().order;
        let callback = |offset, width, value| mmio.device.write(offset, width, value, self.attrs);
        mmio.rules
            .write(offset, width, value, self.attrs, order, callback)
            .unwrap_or_else(|| self.unassigned())
    }

    /// Asks the IOMMU behind `found` where an access goes on.
    fn translate(&self, found: &Found<'_>, part: &Part, access: Permissions) -> Result<Onward, BusFault> {
        let Backing::Iommu(iommu) = part.target().backing() else { return Err(BusFault::DECODE) };
        if self.translations >= MAX_TRANSLATIONS || self.attrs.is_memory_only() || self.attrs.is_debug() {
            return Err(BusFault::ACCESS);
        }
        let offset = found.offset(part);
        let entry = {
            let _link = chain::enter(part.target().guard(), false)?;
            iommu.translate(offset, access, self.attrs).ok_or(BusFault::ACCESS)?
        };
        let refused = found.is_read_only() && access.contains(Permissions::WRITE);
        if refused || !entry.permissions.contains(access) {
            return Err(BusFault::ACCESS);
        }
        Ok(Onward {
            space: self.space.system().space(entry.space).ok_or(BusFault::DECODE)?,
            address: (entry.translated & !entry.mask) | (offset & entry.mask),
            rest: (entry.mask - (offset & entry.mask)).min(found.rest()),
            translations: self.translations + 1,
        })
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

/// Where an access goes on behind an IOMMU.
struct Onward {
    space: Arc<AddressSpace>,
    address: u64,
    /// The bytes from the address to the end of the page, less one.
    rest: u64,
    translations: usize,
}

impl Onward {
    fn run<R>(
        &self,
        access: &Access<'_>,
        run: impl FnOnce(&Access<'_>) -> Result<R, BusFault>,
    ) -> Result<R, BusFault> {
        let view = self.space.published().load();
        run(&Access { space: &self.space, view: &view, attrs: access.attrs, translations: self.translations })
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
