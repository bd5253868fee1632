//! Access rules of MMIO regions against a literal model.
//!
//! The model is one of bytes. A callback of `n` bytes at an offset stands for `n` bytes at these offsets, in the
//! device's order; an access stands for its bytes in the order of the bus. So an access is which callbacks there are
//! (semantics 4, points 1 and 2), and which of their bytes are those of the access.

mod model;

use arbitrary::{Arbitrary, Unstructured};
use memory_core::{AccessRules, BusFault, ByteOrder, Endian, Mmio, RamBlock, Region, Size, TxAttrs, Width};
use memory_dispatch::{AddressSpace, MemorySystem, SpaceConfig, Unassigned};
use model::Model;
use std::sync::{Arc, Mutex};

/// Accesses of one run, at most.
const ACCESSES: usize = 32;
/// Bytes of the RAM behind the device.
const RAM: u64 = 0x1000;

/// What the device is like, and where it is.
#[derive(Arbitrary, Debug, Clone, Copy)]
struct Setup {
    valid: Option<(u8, u8)>,
    valid_unaligned: bool,
    /// The predicate refuses offsets with one of these bits set.
    refused: Option<u8>,
    implements: (u8, u8),
    implements_unaligned: bool,
    endian: u8,
    big_bus: bool,
    all_ones: bool,
    /// Offsets with one of these bits set answer with an error.
    faulty: Option<u8>,
    size: u8,
    at: Corner,
}

/// Where the device is: somewhere, or so that it ends at 2^64.
#[derive(Arbitrary, Debug, Clone, Copy)]
enum Corner {
    Low(u16),
    Top,
}

/// One access, near the device.
#[derive(Arbitrary, Debug, Clone, Copy)]
struct Access {
    write: bool,
    /// As a transfer of that many bytes, or else as a single access.
    transfer: Option<u8>,
    width: u8,
    /// From 16 bytes before the device.
    at: u8,
    value: u64,
    through_handle: bool,
}

/// A call of the callbacks: offset, width, and the value if it was a write.
type Call = (u64, Width, Option<u64>);

fn width(number: u8) -> Width {
    Width::ALL[usize::from(number & 3)]
}

/// What the registers read as, which is different for every offset and width.
fn register(offset: u64, width: Width) -> u64 {
    let mixed = offset.wrapping_add(width.bytes() << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29) & width.mask()
}

fn is_faulty(faulty: Option<u8>, offset: u64) -> bool {
    faulty.is_some_and(|bits| offset as u8 & bits != 0)
}

struct Recorder {
    faulty: Option<u8>,
    calls: Mutex<Vec<Call>>,
}

impl Recorder {
    fn record(&self, offset: u64, width: Width, value: Option<u64>) -> Result<(), BusFault> {
        self.calls.lock().unwrap().push((offset, width, value));
        if is_faulty(self.faulty, offset) { Err(BusFault::ERROR) } else { Ok(()) }
    }
}

impl Mmio for Recorder {
    fn read(&self, offset: u64, width: Width, _: TxAttrs) -> Result<u64, BusFault> {
        self.record(offset, width, None)?;
        // the bits above count for nothing
        Ok(register(offset, width) | if width == Width::W8 { 0 } else { !width.mask() })
    }

    fn write(&self, offset: u64, width: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        self.record(offset, width, Some(value))
    }
}

impl Setup {
    /// The rules as the model has them: widths in order, as [`AccessRules::implements`] takes them.
    fn model(&self) -> Model {
        let (min, max) = (width(self.implements.0), width(self.implements.1));
        Model {
            valid: self.valid.map(|(min, max)| (width(min), width(max))),
            valid_unaligned: self.valid_unaligned,
            refused: self.refused,
            implements: (min, max.max(min)),
            implements_unaligned: self.implements_unaligned,
            device: match (self.endian % 3, self.big_bus) {
                (0, _) | (2, false) => ByteOrder::Little,
                _ => ByteOrder::Big,
            },
            bus: if self.big_bus { ByteOrder::Big } else { ByteOrder::Little },
            all_ones: self.all_ones,
            faulty: self.faulty,
            start: self.start(),
            size: self.size(),
        }
    }

    fn size(&self) -> u64 {
        1 + u64::from(self.size & 0x3f)
    }

    fn start(&self) -> u64 {
        match self.at {
            Corner::Low(at) => 16 + u64::from(at),
            Corner::Top => 0u64.wrapping_sub(self.size()),
        }
    }

    fn rules(&self) -> AccessRules {
        let endian = [Endian::Little, Endian::Big, Endian::Native][usize::from(self.endian % 3)];
        let (min, max) = (width(self.implements.0), width(self.implements.1));
        let mut rules = AccessRules::new().implements(min..=max).endian(endian);
        if let Some((min, max)) = self.valid {
            rules = rules.valid(width(min)..=width(max));
        }
        if self.valid_unaligned {
            rules = rules.valid_unaligned();
        }
        if self.implements_unaligned {
            rules = rules.implements_unaligned();
        }
        if let Some(bits) = self.refused {
            rules = rules.accepts(move |request| request.offset as u8 & bits == 0);
        }
        rules
    }
}

/// The device, and RAM behind it if there is room.
struct Board {
    space: Arc<AddressSpace>,
    recorder: Arc<Recorder>,
    block: Arc<RamBlock>,
    _regions: Vec<Region>,
    _system: MemorySystem,
}

impl Board {
    fn new(setup: &Setup, model: &Model) -> Self {
        let system = MemorySystem::new();
        let memory = system.memory();
        let root = memory.container("system", Size::FULL).build().unwrap();
        let recorder = Arc::new(Recorder { faulty: setup.faulty, calls: Mutex::default() });
        let regs = memory.mmio("regs", setup.size(), setup.rules(), recorder.clone()).build().unwrap();
        root.map(setup.start(), &regs).unwrap();
        let block = RamBlock::anonymous(RAM).unwrap();
        let ram = memory.ram("ram", block.clone()).build().unwrap();
        if let Some(behind) = model.ram() {
            root.map(behind, &ram).unwrap();
        }
        let unassigned = if setup.all_ones { Unassigned::AllOnes } else { Unassigned::DecodeError };
        let config = SpaceConfig { order: model.bus, unassigned, ..SpaceConfig::default() };
        let space = system.address_space("bus", &root, config).unwrap();
        Self { space, recorder, block, _regions: vec![root, regs, ram], _system: system }
    }

    fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.recorder.calls.lock().unwrap())
    }
}

/// Runs the accesses that the bytes say, on a device that they say.
pub(super) fn body(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let Ok(setup) = bytes.arbitrary::<Setup>() else { return };
    // a range whose end is below its start is no rule
    if setup.valid.is_some_and(|(min, max)| width(min) > width(max)) {
        return;
    }
    let model = setup.model();
    let board = Board::new(&setup, &model);
    let mut ram = vec![0; RAM as usize];
    for _ in 0..ACCESSES {
        if bytes.is_empty() {
            break;
        }
        let Ok(access) = bytes.arbitrary::<Access>() else { break };
        let address = model.start.wrapping_sub(16).wrapping_add(u64::from(access.at));
        match access.transfer {
            Some(len) => transfer(&board, &model, &access, (address, usize::from(len % 80)), &mut ram),
            None => single(&board, &model, &access, address, &mut ram),
        }
        let mut now = vec![0; ram.len()];
        assert!(board.block.read(0, &mut now));
        assert!(now == ram, "{access:?}: the RAM behind the device");
    }
}

fn single(board: &Board, model: &Model, access: &Access, address: u64, ram: &mut [u8]) {
    let (width, attrs) = (width(access.width), TxAttrs::default());
    let mut vcpu = board.space.handle(|| ());
    if access.write {
        let expected = model.store(address, width, access.value, ram);
        let found = if access.through_handle {
            vcpu.store(address, width, access.value, attrs)
        } else {
            board.space.store(address, width, access.value, attrs)
        };
        assert_eq!((found, board.calls()), expected, "{model:?} {access:?} at {address:#x}");
    } else {
        let expected = model.load(address, width, ram);
        let found = if access.through_handle {
            vcpu.load(address, width, attrs)
        } else {
            board.space.load(address, width, attrs)
        };
        assert_eq!((found, board.calls()), expected, "{model:?} {access:?} at {address:#x}");
    }
}

fn transfer(board: &Board, model: &Model, access: &Access, (address, len): (u64, usize), ram: &mut [u8]) {
    let attrs = TxAttrs::default();
    let mut vcpu = board.space.handle(|| ());
    if access.write {
        let bytes: Vec<u8> =
            (0..len).map(|at| (access.value.rotate_left(at as u32) as u8) ^ at as u8).collect();
        let expected = model.write(address, &bytes, ram);
        let found = if access.through_handle {
            vcpu.write(address, &bytes, attrs)
        } else {
            board.space.write(address, &bytes, attrs)
        };
        assert_eq!((found, board.calls()), expected, "{model:?} {access:?} at {address:#x}");
    } else {
        let (bytes, expected, calls) = model.read(address, len, ram);
        let mut found = vec![0xa5; len];
        let result = if access.through_handle {
            vcpu.read(address, &mut found, attrs)
        } else {
            board.space.read(address, &mut found, attrs)
        };
        assert_eq!(
            (found, result, board.calls()),
            (bytes, expected, calls),
            "{model:?} {access:?} at {address:#x}"
        );
    }
}
