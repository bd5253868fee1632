//! Guest RAM of the contestants: the same sizes at the same addresses.

use crate::stream::{LENGTH, Stream};
use bytemuck::Zeroable;
use memory_core::{RamBlock, Region, Size};
use memory_dispatch::{AddressSpace, MemorySystem, SpaceConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use vm_memory::{GuestAddress, GuestMemoryMmap};

/// Where the first region lies.
pub const BASE: u64 = 1 << 32;

/// RAM in equal parts with gaps of the same size.
#[derive(Clone, Copy)]
pub struct Parts {
    /// How many, a power of two.
    pub count: u64,
    /// Bytes of each, a power of two.
    pub size: u64,
}

impl Parts {
    /// 256 pages in `count` parts.
    pub fn of_256_pages(count: u64) -> Self {
        Self { count, size: (256 << 12) / count }
    }

    /// First addresses.
    pub fn starts(self) -> impl Iterator<Item = u64> {
        (0..self.count).map(move |index| BASE + 2 * self.size * index)
    }

    /// Addresses all over the parts, multiples of `width`.
    pub fn stream(self, width: u64) -> Stream {
        self.long_stream(width, LENGTH)
    }

    /// The same, so many.
    pub fn long_stream(self, width: u64, length: usize) -> Stream {
        Stream::new(BASE, width.ilog2(), length, |dice| {
            let part = dice.below(self.count);
            BASE + 2 * self.size * part + dice.below(self.size / width) * width
        })
    }
}

/// Ours.
pub struct Machine {
    /// The RAM.
    pub space: Arc<AddressSpace>,
    _regions: Vec<Region>,
}

impl Machine {
    pub fn new(parts: Parts) -> Self {
        let system = MemorySystem::new();
        let memory = system.memory();
        let root = memory.container("system", Size::FULL).build().expect("a container");
        let space = system.address_space("memory", &root, SpaceConfig::default()).expect("a space");
        let map = |start| {
            let block = RamBlock::anonymous(parts.size).expect("host memory");
            let ram = memory.ram(format!("ram{start:x}"), block).build().expect("RAM");
            root.map(start, &ram).expect("no overlap");
            ram
        };
        let mut regions: Vec<_> = parts.starts().map(map).collect();
        regions.push(root);
        Self { space, _regions: regions }
    }
}

/// rust-vmm's.
pub fn guest_memory(parts: Parts) -> GuestMemoryMmap {
    let ranges: Vec<_> = parts.starts().map(|start| (GuestAddress(start), parts.size as usize)).collect();
    GuestMemoryMmap::from_ranges(&ranges).expect("host memory")
}

/// A word of host memory, loaded and stored as a volatile one would be: by one plain instruction.
pub trait Cell: Zeroable + Sync + 'static {
    fn get(&self) -> u64;
    fn put(&self, value: u64);
}

impl Cell for AtomicU32 {
    #[inline(always)]
    fn get(&self) -> u64 {
        u64::from(self.load(Ordering::Relaxed))
    }

    #[inline(always)]
    fn put(&self, value: u64) {
        self.store(value as u32, Ordering::Relaxed);
    }
}

impl Cell for AtomicU64 {
    #[inline(always)]
    fn get(&self) -> u64 {
        self.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn put(&self, value: u64) {
        self.store(value, Ordering::Relaxed);
    }
}

/// The limit: a table of the parts' bases, which an address indexes; the compiler knows all sizes, so nothing is checked.
pub struct Bases<C, const COUNT: usize, const WORDS: usize> {
    parts: [Box<[C; WORDS]>; COUNT],
}

impl<C: Cell, const COUNT: usize, const WORDS: usize> Bases<C, COUNT, WORDS> {
    pub fn new() -> Self {
        let part = |_| {
            let words: Box<[C]> = bytemuck::allocation::zeroed_slice_box(WORDS);
            words.try_into().unwrap_or_else(|_| unreachable!("as many as were asked for"))
        };
        Self { parts: std::array::from_fn(part) }
    }

    #[inline(always)]
    pub fn at(&self, address: u64) -> &C {
        let size = WORDS * size_of::<C>();
        let part = (address as usize / (2 * size)) % COUNT;
        // both are in bounds by the remainders, which costs no check
        &self.parts[part][(address as usize / size_of::<C>()) % WORDS]
    }
}
