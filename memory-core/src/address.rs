//! Sizes and ranges that reach the top of a 64-bit address space.

use std::fmt;

/// A number of bytes from 0 to 2^64, both included.
///
/// A `u64` cannot say 2^64, and a region that spans a whole address space has just that size.
///
/// ```
/// use memory_core::Size;
/// assert_eq!(Size::FULL.bytes(), 1 << 64);
/// assert_eq!(Size::new(0x1000), Some(Size::from(0x1000u64)));
/// assert_eq!(Size::new((1 << 64) + 1), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(u128);

impl Size {
    /// No bytes at all.
    pub const ZERO: Self = Self(0);
    /// 2^64 bytes: a whole address space.
    pub const FULL: Self = Self(1 << 64);

    /// A size of `bytes`, or `None` above 2^64.
    pub const fn new(bytes: u128) -> Option<Self> {
        if bytes <= 1 << 64 { Some(Self(bytes)) } else { None }
    }

    /// The number of bytes, at most 2^64.
    pub const fn bytes(self) -> u128 {
        self.0
    }

    /// The offset of the last byte, or `None` if there is no byte.
    pub const fn last(self) -> Option<u64> {
        match self.0 {
            0 => None,
            n => Some((n - 1) as u64),
        }
    }

    /// Whether there is no byte.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl From<u64> for Size {
    fn from(bytes: u64) -> Self {
        Self(u128::from(bytes))
    }
}

impl From<u32> for Size {
    fn from(bytes: u32) -> Self {
        Self(u128::from(bytes))
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A range of addresses with at least one byte; both ends are included, so that a range may end at the
/// top of the address space.
///
/// ```
/// use memory_core::{AddrRange, Size};
/// let all = AddrRange::from_size(0, Size::FULL).unwrap();
/// assert_eq!(all, AddrRange::ALL);
/// assert_eq!(AddrRange::from_size(0x1000, Size::FULL), None); // would end above 2^64
/// let page = AddrRange::new(0x1000, 0x1fff).unwrap();
/// assert!(all.contains_range(page));
/// assert_eq!(page.size().bytes(), 0x1000);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddrRange {
    start: u64,
    last: u64,
}

impl AddrRange {
    /// Every address: 0 to 2^64 - 1.
    pub const ALL: Self = Self { start: 0, last: u64::MAX };

    /// The range from `start` to `last`, both included, or `None` if `last` is below `start`.
    pub const fn new(start: u64, last: u64) -> Option<Self> {
        if start <= last { Some(Self { start, last }) } else { None }
    }

    /// The `size` bytes from `start` on, or `None` if there are none or they would end above 2^64.
    pub fn from_size(start: u64, size: Size) -> Option<Self> {
        let last = start.checked_add(size.last()?)?;
        Some(Self { start, last })
    }

    /// The `len` bytes from `start` on, or `None` if there are none or they would end above 2^64.
    pub fn from_len(start: u64, len: usize) -> Option<Self> {
        Self::from_size(start, Size::from(len as u64))
    }

    /// The first address.
    #[inline]
    pub const fn start(self) -> u64 {
        self.start
    }

    /// The last address, included.
    #[inline]
    pub const fn last(self) -> u64 {
        self.last
    }

    /// The number of bytes, at least 1.
    pub const fn size(self) -> Size {
        Size((self.last - self.start) as u128 + 1)
    }

    /// Whether `address` lies inside.
    #[inline]
    pub const fn contains(self, address: u64) -> bool {
        // one comparison and not two: whether an address is above the start may be anybody's guess
        address.wrapping_sub(self.start) <= self.last - self.start
    }

    /// Whether all of `other` lies inside.
    pub const fn contains_range(self, other: Self) -> bool {
        self.start <= other.start && other.last <= self.last
    }

    /// What both ranges have in common, or `None` if that is nothing.
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.last.min(other.last))
    }

    /// Whether the two ranges share a byte.
    pub const fn overlaps(self, other: Self) -> bool {
        self.start <= other.last && other.start <= self.last
    }

    /// The smallest range that holds both.
    pub fn hull(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), last: self.last.max(other.last) }
    }
}

impl fmt::Debug for AddrRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}-{:#x}", self.start, self.last)
    }
}

/// 16 hexadecimal digits each, inclusive, as QEMU's monitor prints ranges.
impl fmt::Display for AddrRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.start, self.last)
    }
}
