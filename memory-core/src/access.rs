//! What travels with an access: its width, its attributes, and how it failed.

use bitflags::bitflags;
use std::fmt;

/// The width of one typed access.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Width {
    /// 1 byte.
    W1 = 1,
    /// 2 bytes.
    W2 = 2,
    /// 4 bytes.
    W4 = 4,
    /// 8 bytes.
    W8 = 8,
}

impl Width {
    /// Every width, ascending.
    pub const ALL: [Self; 4] = [Self::W1, Self::W2, Self::W4, Self::W8];

    /// The width of `bytes`, or `None` unless that is 1, 2, 4 or 8.
    pub const fn new(bytes: u64) -> Option<Self> {
        match bytes {
            1 => Some(Self::W1),
            2 => Some(Self::W2),
            4 => Some(Self::W4),
            8 => Some(Self::W8),
            _ => None,
        }
    }

    /// The largest width of at most `bytes`; 1 if `bytes` is 0.
    pub const fn at_most(bytes: u64) -> Self {
        match bytes {
            0 | 1 => Self::W1,
            2 | 3 => Self::W2,
            4..=7 => Self::W4,
            _ => Self::W8,
        }
    }

    /// The number of bytes.
    #[inline]
    pub const fn bytes(self) -> u64 {
        self as u64
    }

    /// The number of bytes, for indexing.
    #[inline]
    pub const fn len(self) -> usize {
        self as usize
    }

    /// Always false: an access has at least one byte.
    pub const fn is_empty(self) -> bool {
        false
    }

    /// The number of bits.
    #[inline]
    pub const fn bits(self) -> u32 {
        self as u32 * 8
    }

    /// All ones over this width.
    #[inline]
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }

    /// Whether `address` is a multiple of this width.
    #[inline]
    pub const fn aligned(self, address: u64) -> bool {
        address & (self.bytes() - 1) == 0
    }

    /// `value` with the order of its low `bytes()` bytes reversed.
    #[inline]
    pub const fn swap_bytes(self, value: u64) -> u64 {
        value.swap_bytes() >> (64 - self.bits())
    }
}

/// An order of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum ByteOrder {
    /// Least significant byte first.
    #[default]
    Little,
    /// Most significant byte first.
    Big,
}

impl ByteOrder {
    /// The value of up to 8 bytes in this order.
    #[inline]
    pub fn decode(self, bytes: &[u8]) -> u64 {
        let step = |value: u64, byte: &u8| (value << 8) | u64::from(*byte);
        match self {
            Self::Little => bytes.iter().rev().fold(0, step),
            Self::Big => bytes.iter().fold(0, step),
        }
    }

    /// Writes the low `bytes.len()` bytes of `value` in this order.
    #[inline]
    pub fn encode(self, value: u64, bytes: &mut [u8]) {
        let mut rest = value;
        let mut step = |byte: &mut u8| {
            *byte = rest as u8;
            rest >>= 8;
        };
        match self {
            Self::Little => bytes.iter_mut().for_each(&mut step),
            Self::Big => bytes.iter_mut().rev().for_each(&mut step),
        }
    }
}

bitflags! {
    /// Yes-or-no transaction attributes.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct TxFlags: u8 {
        /// The initiator is in its secure state.
        const SECURE = 1;
        /// The initiator runs unprivileged code.
        const USER = 2;
        /// Refuse with an access error whatever is not RAM, ROM or RAM device.
        const MEMORY_ONLY = 4;
        /// A debugger's access: may write ROM, runs no device callback, still marks pages dirty.
        const DEBUG = 8;
        /// The initiator says nothing about itself.
        const UNSPECIFIED = 16;
    }
}

/// Transaction attributes: who asks, and how. They travel with every access to the device or IOMMU.
///
/// QEMU's name: `MemTxAttrs`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct TxAttrs {
    /// Requester id (PCI bus/device/function or the like), 0 where there is none.
    pub requester: u16,
    /// The yes-or-no attributes.
    pub flags: TxFlags,
}

impl TxAttrs {
    /// Attributes of an initiator that says nothing about itself.
    pub const UNSPECIFIED: Self = Self { requester: 0, flags: TxFlags::UNSPECIFIED };
    /// Attributes of a debugger.
    pub const DEBUG: Self = Self { requester: 0, flags: TxFlags::DEBUG };
    /// Attributes of an initiator that wants memory and never a device.
    pub const MEMORY_ONLY: Self = Self { requester: 0, flags: TxFlags::MEMORY_ONLY };

    /// Attributes of the bus master `requester`.
    pub const fn requester(requester: u16) -> Self {
        Self { requester, flags: TxFlags::empty() }
    }

    /// Whether this is a debugger's access.
    #[inline]
    pub const fn is_debug(self) -> bool {
        self.flags.contains(TxFlags::DEBUG)
    }

    /// Whether devices must not be reached.
    #[inline]
    pub const fn is_memory_only(self) -> bool {
        self.flags.contains(TxFlags::MEMORY_ONLY)
    }
}

/// How a guest's access failed; never empty. The faults of the pieces of one access are OR-ed.
///
/// QEMU's name: `MemTxResult` other than `MEMTX_OK`. A fault is a value for the initiator (a bus error, a
/// completion status), never an error of the host.
// as wide as a value: a result that holds one or the other is then returned in registers, and by way of memory otherwise
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BusFault(u64);

impl BusFault {
    /// The device answered with an error.
    pub const ERROR: Self = Self(1);
    /// Nobody answers at that address, or not to that kind of access.
    pub const DECODE: Self = Self(2);
    /// Somebody is there, but the initiator may not reach it.
    pub const ACCESS: Self = Self(4);

    /// Both faults.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every fault of `other` is in this one.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The results of two pieces, OR-ed.
    pub fn both(a: Result<(), Self>, b: Result<(), Self>) -> Result<(), Self> {
        match (a, b) {
            (Ok(()), other) | (other, Ok(())) => other,
            (Err(a), Err(b)) => Err(a.union(b)),
        }
    }
}

impl fmt::Debug for BusFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BusFault({self})")
    }
}

impl fmt::Display for BusFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (fault, name) in
            [(Self::ERROR, "device error"), (Self::DECODE, "decode error"), (Self::ACCESS, "access error")]
        {
            if self.contains(fault) {
                write!(f, "{}{name}", if first { "" } else { ", " })?;
                first = false;
            }
        }
        Ok(())
    }
}

impl std::error::Error for BusFault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_powers_of_two_up_to_eight() {
        let found: Vec<_> = (0..=16).filter_map(Width::new).collect();
        assert_eq!(found, Width::ALL);
        assert_eq!([0, 1, 3, 4, 7, 8, 100].map(|bytes| Width::at_most(bytes).bytes()), [1, 1, 2, 4, 4, 8, 8]);
        for width in Width::ALL {
            assert_eq!((width.len() as u64, width.is_empty()), (width.bytes(), false));
            assert_eq!(Width::at_most(width.bytes()), width);
        }
    }

    #[test]
    fn the_faults_of_pieces_are_all_told() {
        let (decode, error) = (Err(BusFault::DECODE), Err(BusFault::ERROR));
        assert_eq!(BusFault::both(Ok(()), Ok(())), Ok(()));
        assert_eq!((BusFault::both(Ok(()), decode), BusFault::both(error, Ok(()))), (decode, error));
        let both = BusFault::both(decode, error).unwrap_err();
        assert!(both.contains(BusFault::DECODE) && both.contains(BusFault::ERROR));
        assert!(!both.contains(BusFault::ACCESS) && !BusFault::ACCESS.contains(both));
        assert_eq!(both.to_string(), "device error, decode error");
        assert_eq!(
            format!("{:?}", both.union(BusFault::ACCESS)),
            "BusFault(device error, decode error, access error)"
        );
    }
}
