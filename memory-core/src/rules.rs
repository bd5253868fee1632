//! Access rules of MMIO regions: which accesses a device takes, and how they become calls of its callbacks.
//!
//! This is the part of an access that knows neither trees nor threads: rules, an offset, a width and a callback
//! go in, the calls and the combined value come out.

use crate::access::{BusFault, ByteOrder, TxAttrs, Width};
use crate::sync::Arc;
use std::fmt;
use std::hint::cold_path;
use std::ops::RangeInclusive;

/// The byte order of a device's registers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Endian {
    /// Least significant byte at the lowest address.
    #[default]
    Little,
    /// Most significant byte at the lowest address.
    Big,
    /// The order of the address space through which the access came.
    Native,
}

impl Endian {
    /// The order on a bus of order `bus`.
    #[inline]
    pub const fn on(self, bus: ByteOrder) -> ByteOrder {
        match self {
            Self::Little => ByteOrder::Little,
            Self::Big => ByteOrder::Big,
            Self::Native => bus,
        }
    }
}

/// One access as an accept predicate sees it.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Bytes from the region's start.
    pub offset: u64,
    /// Width of the access as the initiator made it.
    pub width: Width,
    /// Whether it is a write.
    pub write: bool,
    /// Its transaction attributes.
    pub attrs: TxAttrs,
}

type Accepts = Arc<dyn Fn(Request) -> bool + Send + Sync>;

/// What a modelled device accepts (`valid`) and what its callback is written for (`implements`).
///
/// QEMU's name: `MemoryRegionOps` without the callbacks. The default accepts every naturally aligned access and
/// calls back with 1 to 4 bytes in little-endian order.
///
/// ```
/// use memory_core::{AccessRules, Endian, Width};
/// // 32-bit registers that the bus may read by halves, most significant byte first
/// let rules = AccessRules::new()
///     .valid(Width::W2..=Width::W4)
///     .implements(Width::W4..=Width::W4)
///     .endian(Endian::Big);
/// assert_eq!(rules.transfer_width(), Width::W4);
/// ```
#[derive(Clone)]
pub struct AccessRules {
    valid: Option<RangeInclusive<Width>>,
    valid_unaligned: bool,
    accepts: Option<Accepts>,
    impl_min: Width,
    impl_max: Width,
    impl_unaligned: bool,
    endian: Endian,
    reentry: Option<&'static str>,
    /// OR of the widths that, naturally aligned, are one call as they stand.
    direct: u8,
}

impl Default for AccessRules {
    fn default() -> Self {
        Self::new()
    }
}

impl AccessRules {
    /// The default rules.
    pub fn new() -> Self {
        Self {
            valid: None,
            valid_unaligned: false,
            accepts: None,
            impl_min: Width::W1,
            impl_max: Width::W4,
            impl_unaligned: false,
            endian: Endian::Little,
            reentry: None,
            direct: 0,
        }
        .with_direct()
    }

    /// Accepts only accesses of these widths. Without this call every width is accepted.
    #[must_use]
    pub fn valid(mut self, widths: RangeInclusive<Width>) -> Self {
        self.valid = Some(widths);
        self.with_direct()
    }

    /// Accepts accesses at offsets that are no multiple of their width too.
    #[must_use]
    pub fn valid_unaligned(mut self) -> Self {
        self.valid_unaligned = true;
        self
    }

    /// Accepts only what the predicate says; it is asked before alignment and width are looked at.
    #[must_use]
    pub fn accepts(mut self, predicate: impl Fn(Request) -> bool + Send + Sync + 'static) -> Self {
        self.accepts = Some(Arc::new(predicate));
        self.with_direct()
    }

    /// The widths that the callback is written for, 1 to 4 bytes without this call. An end below the start counts
    /// as the start.
    #[must_use]
    pub fn implements(mut self, widths: RangeInclusive<Width>) -> Self {
        self.impl_min = *widths.start();
        self.impl_max = (*widths.end()).max(self.impl_min);
        self.with_direct()
    }

    /// The callback takes offsets that are no multiple of the width.
    #[must_use]
    pub fn implements_unaligned(mut self) -> Self {
        self.impl_unaligned = true;
        self
    }

    /// The byte order of the registers.
    #[must_use]
    pub fn endian(mut self, endian: Endian) -> Self {
        self.endian = endian;
        self
    }

    /// Lets the device be reached again from inside its own callback, for the stated reason, which printed maps tell. Without
    /// this call such an access is an access error: a device whose own DMA reaches its registers in the middle of a command is
    /// what guests break out by.
    ///
    /// ```
    /// use memory_core::AccessRules;
    /// let rules = AccessRules::new().allow_reentry("messages to itself are queued");
    /// assert_eq!(rules.reentry(), Some("messages to itself are queued"));
    /// assert_eq!(AccessRules::new().reentry(), None);
    /// ```
    #[must_use]
    pub fn allow_reentry(mut self, reason: &'static str) -> Self {
        self.reentry = Some(reason);
        self
    }

    /// The rules of accesses that are one call as they stand.
    pub fn direct(&self) -> DirectRules {
        DirectRules { widths: self.direct, endian: self.endian, reentry: self.reentry.is_some() }
    }

    fn with_direct(mut self) -> Self {
        let direct = |width: &Width| {
            self.accepts.is_none()
                && self.valid.as_ref().is_none_or(|valid| valid.contains(width))
                && (self.impl_min..=self.impl_max).contains(width)
        };
        self.direct = Width::ALL.into_iter().filter(direct).fold(0, |all, width| all | width as u8);
        self
    }

    /// Why re-entry is allowed, if it is.
    pub fn reentry(&self) -> Option<&'static str> {
        self.reentry
    }

    /// The widest piece that a transfer is cut into.
    pub fn transfer_width(&self) -> Width {
        self.valid.as_ref().map_or(Width::W4, |valid| *valid.end())
    }

    /// Whether a transfer's pieces may lie at offsets that are no multiple of their width.
    pub fn transfers_unaligned(&self) -> bool {
        self.impl_unaligned
    }

    /// The value of a write in the device's byte order.
    pub fn device_value(&self, width: Width, value: u64, bus: ByteOrder) -> u64 {
        self.direct().reordered(width, value, bus)
    }

    /// Whether an access is accepted: the predicate, then alignment, then width.
    pub fn accept(&self, request: Request) -> bool {
        self.accepts.as_ref().is_none_or(|accepts| accepts(request))
            && (self.valid_unaligned || request.width.aligned(request.offset))
            && self.valid.as_ref().is_none_or(|valid| valid.contains(&request.width))
    }

    #[inline]
    fn is_direct(&self, offset: u64, width: Width) -> bool {
        self.direct().takes(offset, width)
    }

    /// Reads through `callback`, which gets an offset and a width that the device implements. The value is in
    /// the order of the bus. `None` means that the access is not accepted and the callback was not called.
    ///
    /// Where the callback fails, its bytes read as 0 and the faults are OR-ed.
    #[inline]
    pub fn read(
        &self,
        offset: u64,
        width: Width,
        attrs: TxAttrs,
        bus: ByteOrder,
        mut callback: impl FnMut(u64, Width) -> Result<u64, BusFault>,
    ) -> Option<(u64, Result<(), BusFault>)> {
        let order = self.endian.on(bus);
        let (value, result) = if self.is_direct(offset, width) {
            match callback(offset, width) {
                Ok(value) => (value & width.mask(), Ok(())),
                Err(fault) => (0, Err(fault)),
            }
        } else {
            if !self.accept(Request { offset, width, write: false, attrs }) {
                return None;
            }
            self.read_pieces(offset, width, order, &mut callback)
        };
        Some((if order == bus { value } else { width.swap_bytes(value) }, result))
    }

    /// Writes through `callback`; `value` is in the order of the bus. `None` means that the access is not accepted, or
    /// that the device cannot do it without reading first; the callback was not called.
    #[inline]
    pub fn write(
        &self,
        offset: u64,
        width: Width,
        value: u64,
        attrs: TxAttrs,
        bus: ByteOrder,
        mut callback: impl FnMut(u64, Width, u64) -> Result<(), BusFault>,
    ) -> Option<Result<(), BusFault>> {
        let order = self.endian.on(bus);
        let value = self.device_value(width, value, bus);
        if self.is_direct(offset, width) {
            return Some(callback(offset, width, value));
        }
        if !self.accept(Request { offset, width, write: true, attrs }) {
            return None;
        }
        self.write_pieces(offset, width, value, order, &mut callback)
    }

    /// Whether pieces of the access's own place and of `impl_max` at most suit the callback.
    fn suits(&self, offset: u64, width: Width) -> bool {
        self.impl_unaligned || width.min(self.impl_max).aligned(offset)
    }

    fn read_pieces(
        &self,
        offset: u64,
        width: Width,
        order: ByteOrder,
        callback: &mut dyn FnMut(u64, Width) -> Result<u64, BusFault>,
    ) -> (u64, Result<(), BusFault>) {
        let piece = width.clamp(self.impl_min, self.impl_max);
        let first = if self.suits(offset, width) { offset } else { offset & !(piece.bytes() - 1) };
        let lead = offset - first;
        let mut value = 0;
        let mut result = Ok(());
        let mut at = 0;
        while at < lead + width.bytes() {
            match callback(first.wrapping_add(at), piece) {
                // how far above the bottom of the value the piece's lowest bit belongs
                Ok(bits) => value |= shift(bits & piece.mask(), Self::place(at, lead, piece, width, order)),
                Err(fault) => result = BusFault::both(result, Err(fault)),
            }
            at += piece.bytes();
        }
        (value & width.mask(), result)
    }

    fn write_pieces(
        &self,
        offset: u64,
        width: Width,
        value: u64,
        order: ByteOrder,
        callback: &mut dyn FnMut(u64, Width, u64) -> Result<(), BusFault>,
    ) -> Option<Result<(), BusFault>> {
        let suits = self.suits(offset, width);
        let step = |at: u64| {
            if suits {
                return Some(width.clamp(self.impl_min, self.impl_max));
            }
            let rest = Width::at_most(width.bytes() - at).min(self.impl_max);
            let aligned =
                Width::ALL.into_iter().rev().find(|w| *w <= rest && w.aligned(offset.wrapping_add(at)))?;
            (aligned >= self.impl_min).then_some(aligned)
        };
        // look before the first call, so that a write which cannot be done changes nothing
        let mut at = 0;
        while at < width.bytes() {
            at += step(at)?.bytes();
        }
        let mut result = Ok(());
        at = 0;
        while at < width.bytes() {
            let piece = step(at)?;
            let bits = shift(value, -Self::place(at, 0, piece, width, order)) & piece.mask();
            result = BusFault::both(result, callback(offset.wrapping_add(at), piece, bits));
            at += piece.bytes();
        }
        Some(result)
    }

    /// How many bits above the bottom of the access's value the piece at `at` bytes (of which `lead` come before
    /// the access) has its lowest bit.
    fn place(at: u64, lead: u64, piece: Width, width: Width, order: ByteOrder) -> i64 {
        let from_start = at as i64 - lead as i64;
        8 * match order {
            ByteOrder::Little => from_start,
            ByteOrder::Big => width.bytes() as i64 - piece.bytes() as i64 - from_start,
        }
    }
}

/// What the rules say of nearly every access: whether it is one call of the callback as it stands, and in which byte
/// order. Worked out when a region is bound, so that the access finds it beside the callback.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirectRules {
    /// OR of widths.
    widths: u8,
    endian: Endian,
    reentry: bool,
}

impl DirectRules {
    /// No access is one call as it stands.
    pub const NONE: Self = Self { widths: 0, endian: Endian::Little, reentry: false };

    /// Whether the access is one call as it stands. If not, the rules may accept it all the same.
    #[inline]
    pub const fn takes(self, offset: u64, width: Width) -> bool {
        self.widths & width as u8 != 0 && width.aligned(offset)
    }

    /// A value of the bus in the device's byte order, and back. What is above the width is cut off.
    #[inline(always)]
    pub fn reordered(self, width: Width, value: u64, bus: ByteOrder) -> u64 {
        if self.endian.on(bus) == bus {
            value & width.mask()
        } else {
            // a branch, which is foreseen, and not a wait for both
            cold_path();
            width.swap_bytes(value)
        }
    }

    /// Whether re-entry is allowed.
    #[inline]
    pub const fn reentry(self) -> bool {
        self.reentry
    }
}

/// `bits` moved up by `by` bits, or down if that is negative.
fn shift(bits: u64, by: i64) -> u64 {
    let moved = |by: i64, shift: fn(u64, u32) -> Option<u64>| {
        u32::try_from(by).ok().and_then(|by| shift(bits, by)).unwrap_or(0)
    };
    if by >= 0 { moved(by, u64::checked_shl) } else { moved(-by, u64::checked_shr) }
}

impl fmt::Debug for AccessRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessRules")
            .field("valid", &self.valid)
            .field("valid_unaligned", &self.valid_unaligned)
            .field("predicate", &self.accepts.is_some())
            .field("implements", &(self.impl_min..=self.impl_max))
            .field("implements_unaligned", &self.impl_unaligned)
            .field("endian", &self.endian)
            .field("reentry", &self.reentry)
            .finish()
    }
}

#[cfg(test)]
mod tests;
