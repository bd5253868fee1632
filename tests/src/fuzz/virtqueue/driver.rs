//! The guest: its memory, and what a hostile driver puts into it.

use arbitrary::Arbitrary;
use memory_core::{AccessRules, BusFault, Mmio, RamBlock, Region, Size, TxAttrs, Width};
use memory_dispatch::{AddressSpace, MemorySystem, SpaceConfig};
use std::ops::Range;
use std::sync::Arc;

/// RAM, then ROM, then registers; nothing above.
const RAM: u64 = 0x8000_0000;
const RAM_SIZE: u64 = 0x8000;
const ROM: u64 = RAM + RAM_SIZE;
const ROM_SIZE: u64 = 0x1000;
const REGS: u64 = ROM + ROM_SIZE;

/// What rings are like.
#[derive(Arbitrary, Debug, Clone)]
pub(super) struct Layout {
    pub queue: u8,
    /// The queue's size as a power of two.
    size: u8,
    pub event_idx: bool,
    /// Where both rings go on.
    pub next: u16,
    descriptors: Place,
    available: Place,
    used: Place,
}

/// An address.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub(super) enum Place {
    /// Where one expects it.
    Usual,
    /// In RAM, in units of 16 bytes.
    Ram(u16),
    Byte(u16),
    /// Around the end of RAM, in ROM.
    Rom(u16),
    Registers(u8),
    Anywhere(u64),
}

impl Place {
    fn address(self, usual: u64) -> u64 {
        match self {
            Self::Usual => usual,
            Self::Ram(at) => RAM + u64::from(at) * 16 % RAM_SIZE,
            Self::Byte(at) => RAM + u64::from(at) % RAM_SIZE,
            Self::Rom(at) => ROM - 0x100 + u64::from(at) % (ROM_SIZE + 0x100),
            Self::Registers(at) => REGS + u64::from(at),
            Self::Anywhere(at) => at,
        }
    }
}

/// A length.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub(super) enum Length {
    Header,
    Sectors(u8),
    Small(u8),
    Any(u32),
}

impl Length {
    fn bytes(self) -> u32 {
        match self {
            Self::Header => 16,
            Self::Sectors(count) => u32::from(count % 8) * 512,
            Self::Small(bytes) => bytes.into(),
            Self::Any(bytes) => bytes,
        }
    }
}

/// What the driver, or the host, does.
#[derive(Arbitrary, Debug, Clone)]
pub(super) enum Step {
    /// A descriptor in the table, or in some other place, where an indirect table may be.
    Descriptor {
        index: u8,
        elsewhere: Option<u16>,
        at: Place,
        len: Length,
        flags: u8,
        next: u8,
    },
    /// The header of a request to a disk.
    Request {
        at: u16,
        kind: u8,
        sector: u8,
    },
    /// An entry of the available ring, by its slot.
    Available {
        slot: u8,
        head: u8,
    },
    /// A buffer more: the entry, and the index.
    Offer {
        head: u8,
    },
    /// The ring's index.
    Index {
        index: u16,
    },
    Poke {
        at: u16,
        value: u64,
    },
    Input {
        byte: u8,
    },
    Serve,
}

struct Registers;

impl Mmio for Registers {
    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        panic!("a queue reads registers")
    }

    fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> {
        panic!("a queue writes registers")
    }
}

pub(super) struct Guest {
    pub space: Arc<AddressSpace>,
    pub descriptors: u64,
    pub available: u64,
    pub used: u64,
    size: u16,
    ram: Arc<RamBlock>,
    rom: Arc<RamBlock>,
    _regions: Vec<Region>,
    _system: MemorySystem,
}

impl Guest {
    pub fn new(layout: &Layout) -> Self {
        let system = MemorySystem::new();
        let memory = system.memory();
        let root = memory.container("system", Size::FULL).build().unwrap();
        let block = |size: u64| RamBlock::anonymous(size).unwrap();
        let (ram, rom) = (block(RAM_SIZE), block(ROM_SIZE));
        let regions = vec![
            memory.ram("ram", ram.clone()).build().unwrap(),
            memory.rom("rom", rom.clone()).build().unwrap(),
            memory.mmio("regs", 0x100u64, AccessRules::new(), Arc::new(Registers)).build().unwrap(),
        ];
        for (address, region) in [RAM, ROM, REGS].into_iter().zip(&regions) {
            root.map(address, region).unwrap();
        }
        let space = system.address_space("memory", &root, SpaceConfig::default()).unwrap();
        let guest = Self {
            space,
            descriptors: layout.descriptors.address(RAM),
            available: layout.available.address(RAM + 0x1000),
            used: layout.used.address(RAM + 0x2000),
            size: 1 << (layout.size % 8),
            ram,
            rom,
            _regions: regions.into_iter().chain([root]).collect(),
            _system: system,
        };
        guest.put(guest.available.wrapping_add(2), &layout.next.to_le_bytes());
        guest.put(guest.used.wrapping_add(2), &layout.next.to_le_bytes());
        guest
    }

    pub fn size(&self) -> u16 {
        self.size
    }

    /// Writes to RAM; elsewhere nothing.
    fn put(&self, address: u64, bytes: &[u8]) {
        let _ = self.ram.write(address.wrapping_sub(RAM), bytes);
    }

    fn get(&self, address: u64) -> u16 {
        self.ram.load(address.wrapping_sub(RAM), Width::W2).unwrap_or(0) as u16
    }

    pub fn apply(&self, step: &Step) {
        match step {
            Step::Descriptor { index, elsewhere, at, len, flags, next } => {
                let table = elsewhere.map_or(self.descriptors, |at| RAM + u64::from(at) * 16 % RAM_SIZE);
                let mut bytes = at.address(RAM + 0x4000 + u64::from(*index) * 0x200).to_le_bytes().to_vec();
                bytes.extend(len.bytes().to_le_bytes());
                bytes.extend(u16::from(flags & 7).to_le_bytes());
                bytes.extend(u16::from(*next).to_le_bytes());
                self.put(table.wrapping_add(u64::from(index & 0x7f) * 16), &bytes);
            }
            Step::Request { at, kind, sector } => {
                let kinds = [0u32, 1, 4, 8, 11];
                let kind = kinds.get(usize::from(*kind)).copied().unwrap_or(u32::from(*kind) % 2);
                let mut bytes = kind.to_le_bytes().to_vec();
                bytes.extend([0; 4]);
                bytes.extend(u64::from(*sector).to_le_bytes());
                self.put(RAM + u64::from(*at) % RAM_SIZE, &bytes);
            }
            Step::Available { slot, head } => self.entry((*slot).into(), *head),
            Step::Offer { head } => {
                let index = self.get(self.available.wrapping_add(2));
                self.entry(index, *head);
                self.put(self.available.wrapping_add(2), &index.wrapping_add(1).to_le_bytes());
            }
            Step::Index { index } => self.put(self.available.wrapping_add(2), &index.to_le_bytes()),
            Step::Poke { at, value } => self.put(RAM + u64::from(*at) % RAM_SIZE, &value.to_le_bytes()),
            Step::Input { .. } | Step::Serve => {}
        }
    }

    fn entry(&self, index: u16, head: u8) {
        let slot = u64::from(index % self.size);
        self.put(self.available.wrapping_add(4 + 2 * slot), &u16::from(head).to_le_bytes());
    }

    /// The content of RAM.
    pub fn memory(&self) -> Vec<u8> {
        let mut bytes = vec![0; RAM_SIZE as usize];
        assert!(self.ram.read(0, &mut bytes));
        bytes
    }

    pub fn rom_is_untouched(&self) {
        let mut bytes = vec![1; ROM_SIZE as usize];
        assert!(self.rom.read(0, &mut bytes) && bytes.iter().all(|byte| *byte == 0), "ROM was written");
    }

    /// Which bytes of RAM the device may write: the used ring, and what any descriptor says that it may. `None` where such
    /// bytes are those of descriptors or of a ring, which change while they are used then.
    pub fn may_be_written(&self, memory: &[u8], size: u16) -> Option<Vec<bool>> {
        let entries = u64::from(size);
        let used = extent(self.used, 6 + 8 * entries);
        let mut fixed = vec![extent(self.descriptors, 16 * entries), extent(self.available, 6 + 2 * entries)];
        let mut buffers = Vec::new();
        for (address, len, flags) in table(memory, extent(self.descriptors, 16 * entries)) {
            if flags & 4 != 0 {
                let indirect = extent(address, len.into());
                fixed.push(indirect.clone());
                let inner = table(memory, indirect).filter(|(.., flags)| flags & 2 != 0);
                buffers.extend(inner.map(|(address, len, _)| extent(address, len.into())));
            }
            if flags & 2 != 0 {
                buffers.push(extent(address, len.into()));
            }
        }
        let mut allowed = vec![false; memory.len()];
        for (index, part) in [used].into_iter().chain(buffers).enumerate() {
            let apart = |other: &Range<usize>| {
                part.is_empty() || other.is_empty() || part.end <= other.start || other.end <= part.start
            };
            let overlaps_used = index > 0 && !apart(&extent(self.used, 6 + 8 * entries));
            if overlaps_used || !fixed.iter().all(apart) {
                return None;
            }
            allowed[part].fill(true);
        }
        Some(allowed)
    }

    /// What the used ring has got: heads that are descriptors, and lengths that are no more than may be written. `used` is
    /// where the ring went on, and by how many.
    pub fn given_back(&self, memory: &[u8], used: (u16, u16), size: u16) {
        let at = extent(self.used, 6 + 8 * u64::from(size)).start;
        let word = |at: usize| u32::from_le_bytes(memory[at..at + 4].try_into().unwrap());
        for index in 0..used.1 {
            let slot = usize::from(used.0.wrapping_add(index) % size);
            let head = word(at + 4 + 8 * slot);
            assert!(head < size.into(), "descriptor {head} of {size} was given back");
        }
        if used.1 > 0 {
            let index = word(at) >> 16;
            assert_eq!(index, u32::from(used.0.wrapping_add(used.1)), "the index of the used ring");
        }
    }
}

/// The part of `len` bytes from an address on that is in RAM, as offsets there.
fn extent(address: u64, len: u64) -> Range<usize> {
    let clip = |at: u128| at.clamp(RAM.into(), (RAM + RAM_SIZE).into()) as usize - RAM as usize;
    clip(address.into())..clip(u128::from(address) + u128::from(len))
}

/// The descriptors in a part of RAM: address, length, flags.
fn table(memory: &[u8], part: Range<usize>) -> impl Iterator<Item = (u64, u32, u16)> + '_ {
    memory[part].chunks_exact(16).map(|bytes| {
        let address = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        let len = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
        (address, len, u16::from_le_bytes([bytes[12], bytes[13]]))
    })
}
