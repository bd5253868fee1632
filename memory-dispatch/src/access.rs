//! Accesses: how a view, the rules of its regions and the policy of its space make one out of an address.

mod found;
mod intercept;
pub(crate) mod plain;
mod transfer;
mod translate;

use found::is_one;
pub(crate) use found::{Found, direct, is_memory, page};
pub(crate) use translate::{Reached, Way, What};

use crate::chain;
use crate::space::{AddressSpace, Unassigned};
use memory_core::{Backing, BoundMmio, BusFault, Permissions, TxAttrs, Width};
use memory_flatview::{Part, View};
use translate::Looks;

/// Accesses on one view of one space, with the same attributes.
pub(crate) struct Access<'a> {
    pub(crate) space: &'a AddressSpace,
    pub(crate) view: &'a View,
    pub(crate) attrs: TxAttrs,
    /// IOMMUs gone through so far.
    translations: usize,
    /// The access that was begun with, if this is a part of one behind an IOMMU.
    whole: Option<&'a Access<'a>>,
    /// What spaces behind IOMMUs show to all parts of it.
    behind: Looks,
}

impl<'a> Access<'a> {
    #[inline]
    pub(crate) fn new(space: &'a AddressSpace, view: &'a View, attrs: TxAttrs) -> Self {
        Self { space, view, attrs, translations: 0, whole: None, behind: Looks::default() }
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

    /// Who takes what is written to a range. A loader or a debugger means what is read there, and run, where a guest's writes
    /// go elsewhere.
    #[inline]
    fn written<'b>(&self, found: &Found<'b>) -> Option<&'b Part> {
        if self.attrs.is_debug() { found.range.read() } else { found.range.write() }
    }

    fn unassigned_byte(&self) -> u8 {
        if self.unassigned().is_ok() { 0xff } else { 0 }
    }

    /// The value of host memory, which is little-endian there, in the order of the space, and back.
    #[inline]
    fn ordered(&self, width: Width, value: u64) -> u64 {
        plain::ordered(self.space.config().order, width, value)
    }

    /// One access to what was found at `address`, see also [`plain`].
    #[inline(never)]
    pub(crate) fn load(&self, found: Option<Found<'_>>, address: u64, width: Width) -> Result<u64, BusFault> {
        let Some(found) = found else { return self.unassigned_read(width) };
        let Some(part) = found.range.read() else { return self.unassigned_read(width) };
        let target = part.target();
        if let Some(block) = found.readable(target) {
            let offset = found.offset(part);
            if !found.holds(width) || !is_one(target.backing(), offset, width) {
                return self.load_across(address, width);
            }
            if self.attrs.is_memory_only() && !is_memory(target) {
                return Err(BusFault::ACCESS);
            }
            if self.is_overtaken(&found, target.backing()) {
                return self.space.load(address, width, self.attrs);
            }
            let value = block.load(offset, width).ok_or(BusFault::ERROR)?;
            return Ok(self.ordered(width, value));
        }
        match target.backing() {
            Backing::Mmio(mmio) | Backing::RomDevice(_, mmio) => {
                let (value, result) = self.mmio_read(&found, part, mmio, width)?;
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

    /// A load that begins in memory and goes on in what follows, or is unaligned where a real device is: range by range, and
    /// piece by piece.
    #[cold]
    fn load_across(&self, address: u64, width: Width) -> Result<u64, BusFault> {
        let mut bytes = [0; 8];
        let bytes = bytes.get_mut(..width.len()).ok_or(BusFault::ERROR)?;
        self.read(address, bytes)?;
        Ok(self.space.config().order.decode(bytes))
    }

    /// As [`Access::load`].
    #[inline(never)]
    pub(crate) fn store(
        &self,
        found: Option<Found<'_>>,
        address: u64,
        width: Width,
        value: u64,
    ) -> Result<(), BusFault> {
        let Some(found) = found else { return self.unassigned() };
        let Some(part) = self.written(&found) else { return self.unassigned() };
        let target = part.target();
        if let Some(block) = found.writable(target)
            && found.holds(width)
            && is_one(target.backing(), found.offset(part), width)
        {
            let stored = block.store(found.offset(part), width, self.ordered(width, value));
            return if stored { Ok(()) } else { Err(BusFault::ERROR) };
        }
        match target.backing() {
            Backing::Mmio(mmio) | Backing::RomDevice(_, mmio) if !self.attrs.is_debug() => {
                self.mmio_write(&found, part, mmio, width, value)
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
            // refused memory, a debugger's write, the end of memory, or what a real device gets in pieces
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
        if found.range.is_overlaid() || !found.holds(width) || !width.aligned(address) {
            return Err(BusFault::ACCESS);
        }
        let block = found.writable(part.target()).ok_or(BusFault::ACCESS)?;
        let ordered = |value| self.ordered(width, value);
        let (current, new) = (ordered(current & width.mask()), ordered(new & width.mask()));
        let result =
            block.compare_exchange(found.offset(part), width, current, new).ok_or(BusFault::ACCESS)?;
        Ok(result.map(ordered).map_err(ordered))
    }

    fn mmio_read(
        &self,
        found: &Found<'_>,
        part: &Part,
        mmio: &BoundMmio,
        width: Width,
    ) -> Result<(u64, Result<(), BusFault>), BusFault> {
        if self.attrs.is_memory_only() || self.attrs.is_debug() {
            return Err(BusFault::ACCESS);
        }
        self.flush(found);
        let offset = found.offset(part);
        let _link = chain::enter(part.target().guard(), mmio.rules.reentry().is_some())?;
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
        part: &Part,
        mmio: &BoundMmio,
        width: Width,
        value: u64,
    ) -> Result<(), BusFault> {
        if self.attrs.is_memory_only() || self.attrs.is_debug() {
            return Err(BusFault::ACCESS);
        }
        if found.is_read_only() {
            return Err(BusFault::DECODE);
        }
        let offset = found.offset(part);
        if let Some(intercepts) = found.range.intercepts() {
            // as if the callback was run: what is queued here would not be seen by the next read
            chain::check_enters()?;
            if self.is_intercepted(found, part, mmio, intercepts, (offset, width, value)) {
                return Ok(());
            }
        }
        self.flush(found);
        let _link = chain::enter(part.target().guard(), mmio.rules.reentry().is_some())?;
        let order = self.space.config().order;
        let callback = |offset, width, value| mmio.device.write(offset, width, value, self.attrs);
        mmio.rules
            .write(offset, width, value, self.attrs, order, callback)
            .unwrap_or_else(|| self.unassigned())
    }
}
