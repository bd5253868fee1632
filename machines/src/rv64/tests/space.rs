//! A hart on an address space whose map changes under it.

use memory_core::{AccessRules, BusFault, Mmio, RamBlock, Region, Size, TxAttrs, Width};
use memory_dispatch::{AddressSpace, MemorySystem, SpaceConfig};

use super::super::{Hart, HartLines, TimeSource};
use crate::space_bus::SpaceBus;
use crate::sync::{Arc, Mutex, thread};
use crate::vcpu::{Vcpu, VcpuExit};

const RAM: u64 = 0x8000_0000;
const CELL: u64 = RAM + 0x1000;
const BANK: u64 = 0x9000_0000;
const DEVICE: u64 = 0x1000_0000;

/// Moves a window when it is written, from inside its callback.
struct Switch(Mutex<Option<Region>>);

impl Mmio for Switch {
    fn read(&self, offset: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(offset)
    }

    fn write(&self, _: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let window = self.0.lock().unwrap();
        window.as_ref().unwrap().set_alias_offset(value).map_err(|_| BusFault::ERROR)
    }
}

/// `sd a3, 16(a3)`: the hart says that it runs.
const ALIVE: u32 = 0x00d6_b823;

struct Board {
    system: MemorySystem,
    space: Arc<AddressSpace>,
    switch: Arc<Switch>,
    /// Regions that stay mapped for as long as they are held.
    _regions: Vec<Region>,
}

impl Board {
    /// Returns when the hart has executed [`ALIVE`].
    fn wait_for_hart(&self) {
        while self.space.load(CELL + 16, Width::W8, TxAttrs::default()) != Ok(CELL) {
            thread::yield_now();
        }
    }
}

/// RAM, and a window of a page onto a block of two pages that hold 1 and 2.
fn board(program: &[u32]) -> Board {
    let system = MemorySystem::new();
    let memory = system.memory();
    let root = memory.container("system", Size::FULL).build().unwrap();
    let ram = memory.ram("ram", RamBlock::anonymous(0x10000u64).unwrap()).build().unwrap();
    let block = RamBlock::anonymous(0x2000u64).unwrap();
    assert!(block.store(0, Width::W8, 1) && block.store(0x1000, Width::W8, 2));
    let banks = memory.ram("banks", block).build().unwrap();
    let window = memory.alias("window", &banks, 0, 0x1000u64).build().unwrap();
    let switch = Arc::new(Switch(Mutex::new(None)));
    let rules = AccessRules::new().implements(Width::W1..=Width::W8).valid(Width::W1..=Width::W8);
    let device = memory.mmio("switch", 0x1000u64, rules, switch.clone()).build().unwrap();
    root.map(RAM, &ram).unwrap();
    root.map(BANK, &window).unwrap();
    root.map(DEVICE, &device).unwrap();
    *switch.0.lock().unwrap() = Some(window);
    let space = system.address_space("memory", &root, SpaceConfig::default()).unwrap();
    let bytes: Vec<u8> = program.iter().flat_map(|word| word.to_le_bytes()).collect();
    space.write(RAM, &bytes, TxAttrs::default()).unwrap();
    Board { system, space, switch, _regions: vec![root, ram, banks, device] }
}

fn hart(board: &Board) -> Hart<SpaceBus> {
    let time: TimeSource = Arc::new(|| 0);
    let lines = Arc::new(HartLines::new());
    let kick = Arc::clone(&lines);
    let kicked = board.space.handle(move || kick.kick());
    let mut hart = Hart::new(0, SpaceBus::new(kicked), lines, time);
    hart.set_boot(RAM, 0, 0);
    for (register, value) in [(10, BANK), (11, DEVICE), (12, 0x1000), (13, CELL)] {
        hart.set_register(register, value);
    }
    hart
}

#[test]
fn a_device_that_moves_a_window_is_obeyed_by_the_next_load() {
    // ld t0, (a0); sd a2, (a1); ld t1, (a0); ld t2, 8(a1)
    let board = board(&[0x0005_3283, 0x00c5_b023, 0x0005_3303, 0x0085_b383]);
    let mut hart = hart(&board);
    hart.advance(4);
    assert_eq!((hart.register(5), hart.register(6), hart.register(7)), (1, 2, 8));
}

#[test]
fn a_sleeping_hart_holds_up_no_view() {
    // wfi; j 0
    let board = board(&[ALIVE, 0x1050_0073, 0x0000_006f]);
    let mut hart = hart(&board);
    let lines = hart.lines();
    let thread = thread::spawn(move || hart.run());
    board.wait_for_hart();
    let window = board.switch.0.lock().unwrap();
    // Every commit supersedes a view; the hart may hold one up on its way to sleep, but not for ever.
    for turn in 0.. {
        window.as_ref().unwrap().set_alias_offset(turn % 2 * 0x1000).unwrap();
        if turn > 10 && board.system.reclaim() == 0 {
            break;
        }
        thread::yield_now();
    }
    lines.request_stop();
    assert_eq!(thread.join().unwrap(), VcpuExit::Stopped);
}

/// Whoever learns that a commit returned sees what it did: this thread writes the round's number into the hidden
/// bank, switches to it and only then tells the number in RAM; the hart must never find an older one in the bank.
#[test]
fn a_hart_that_was_told_of_a_commit_sees_it() {
    let program = [
        ALIVE,
        0x0006_b283, // ld   t0, (a3)
        0x0005_3303, // ld   t1, (a0)
        0xfe53_7ce3, // bgeu t1, t0, -8
        0x0056_b423, // sd   t0, 8(a3)
        0x0000_006f, // j    0
    ];
    let board = board(&program);
    let mut hart = hart(&board);
    let lines = hart.lines();
    let thread = thread::spawn(move || {
        let exit = hart.run();
        (exit, hart.pc())
    });
    board.wait_for_hart();
    let switch = board.switch.0.lock().unwrap();
    let attrs = TxAttrs::default();
    let window = switch.as_ref().unwrap();
    for round in 3..3_000u64 {
        let hidden = round % 2 * 0x1000;
        assert!(bank(&board).store(hidden, Width::W8, round));
        window.set_alias_offset(hidden).unwrap();
        board.space.store(CELL, Width::W8, round, attrs).unwrap();
    }
    lines.request_stop();
    let (exit, pc) = thread.join().unwrap();
    assert_eq!(exit, VcpuExit::Stopped);
    assert_eq!(board.space.load(CELL + 8, Width::W8, attrs), Ok(0), "an outdated bank was read");
    assert!((RAM + 4..=RAM + 12).contains(&pc), "the hart left its loop for {pc:#x}");
}

/// The block of both banks.
fn bank(board: &Board) -> Arc<RamBlock> {
    board.space.page(BANK, false).unwrap().block().clone()
}
