use super::tco::TICK;
use crate::i440fx::I440fx;
use crate::ich9_lpc::Ich9Lpc;
use crate::testing::{Bench, Board};
use crate::{Device, PowerRequest, ResetType};
use memory_core::Width::{self, W1, W2, W4};
use serde_json::{Value, json};

const PLACE: &str = "1f.0";
const PMBASE: u64 = 0xb000;
const TCO: u64 = PMBASE + 0x60;
const RCBA: u64 = 0xfed1_c000;
const GCS: u64 = RCBA + 0x3410;
const NO_REBOOT: u64 = 0x20;
const TIMEOUT: u64 = 8;
const HALT: u64 = 0x800;

/// A chipset, set up as firmware does it.
struct Chipset<'a> {
    board: &'a Board,
    bridge: Bench<'a, Ich9Lpc>,
    _host: Bench<'a, I440fx>,
}

impl<'a> Chipset<'a> {
    fn new(board: &'a Board, properties: Value) -> Self {
        let host = board.plug(json!({}), 1 << 60);
        let bridge = board.plug_pci(properties, PLACE);
        Self { board, bridge, _host: host }
    }

    fn ready(board: &'a Board, properties: Value) -> Self {
        let chipset = Self::new(board, properties);
        board.set_config(PLACE, 0x40, W4, PMBASE | 1);
        board.set_config(PLACE, 0x44, W1, 0x80);
        board.set_config(PLACE, 0xf0, W4, RCBA | 1);
        chipset
    }

    fn read(&self, register: u64) -> u64 {
        self.board.input(TCO + register, W2)
    }

    fn write(&self, register: u64, value: u64) {
        self.board.output(TCO + register, W2, value);
    }

    /// Has the watchdog run out after so many ticks; a second time, it is to reset the machine or not.
    fn start_watchdog(&self, ticks: u64, reboot: bool) {
        self.write(8, HALT);
        self.write(4, 0xffff);
        self.write(6, 0xffff);
        let gcs = self.board.load(GCS, W4).unwrap();
        let gcs = if reboot { gcs & !NO_REBOOT } else { gcs | NO_REBOOT };
        self.board.store(GCS, W4, gcs).unwrap();
        self.write(0x12, ticks);
        self.write(0, 4);
        self.write(8, 0);
    }

    fn step(&self, nanos: u64) {
        self.board.host.clock.step(nanos);
    }

    fn apm(&self, offset: u64, value: u64) {
        self.board.store(self.bridge.at("apm", offset), W1, value).unwrap();
    }
}

#[test]
fn ports_and_registers_show_where_and_when_configuration_space_says() {
    let board = Board::new();
    let _chipset = Chipset::new(&board, json!({}));
    let config = |at| board.config(PLACE, at, W4);
    assert_eq!([0x40, 0x44, 0xa0, 0xa4, 0xf0].map(config), [1, 0, 0, 0, 0]);
    board.set_config(PLACE, 0x40, W4, 0xffff_ffff);
    board.set_config(PLACE, 0xf0, W4, 0xffff_fffe);
    assert_eq!([0x40, 0xf0].map(config), [0xff81, 0xffff_c000]);
    let there = |base| board.input(base + 0x70, W1) == 3;
    board.set_config(PLACE, 0x40, W4, PMBASE);
    assert!(!there(PMBASE), "not enabled");
    board.set_config(PLACE, 0x44, W1, 0xff);
    assert_eq!((config(0x44), there(PMBASE)), (0x87, true));
    board.set_config(PLACE, 0x41, W1, 0x06);
    assert!(there(0x600) && !there(PMBASE));
    board.set_config(PLACE, 0x40, W4, 0);
    assert!(!there(0x600) && !there(0), "nothing is at 0");
    assert!(board.load(GCS, W4).is_err());
    board.set_config(PLACE, 0xf0, W4, RCBA | 1);
    assert_eq!(board.load(GCS, W4), Ok(NO_REBOOT));
    assert_eq!(
        [0x3100, 0x3108, 0x3140].map(|at| board.load(RCBA + at, W4).unwrap()),
        [0x4_2210, 0x1000_4321, 0x3210]
    );
    board.store(RCBA + 0x3ffd, W1, 0xaa).unwrap();
    assert_eq!(board.load(RCBA + 0x3ffc, W4), Ok(0xaa00));
    board.set_config(PLACE, 0xf0, W4, RCBA + 0x8001);
    assert_eq!(board.load(RCBA + 0x8000 + 0x3ffc, W4), Ok(0xaa00));
    assert!(board.load(GCS, W4).is_err());
}

#[test]
fn registers_of_the_watchdog_are_as_the_datasheet_has_them_after_power_on() {
    let board = Board::new();
    let chipset = Chipset::ready(&board, json!({}));
    let words = [0, 2, 4, 6, 8, 0xa, 0xc, 0xe, 0x10, 0x12].map(|register| chipset.read(register));
    assert_eq!(words, [0, 0, 0, 0, 0, 8, 0, 0, 3, 4]);
    assert_eq!(board.input(TCO + 8, W4), 0x0008_0000);
    for (register, value) in [(0xa, 0x1234), (0xc, 0x5678), (0xe, 0x9a), (0x10, 0xbc), (0x12, 0xffff)] {
        chipset.write(register, value);
        assert_eq!(chipset.read(register), value, "{register:#x}");
    }
    board.output(TCO + 0xd, W1, 0x11);
    assert_eq!(chipset.read(0xc), 0x1178, "byte by byte");
    board.output(TCO + 2, W1, 0x21);
    board.output(TCO + 3, W1, 0x43);
    assert_eq!((chipset.read(2), chipset.read(4)), (0x4321, 6));
    chipset.write(4, 6);
    assert_eq!(chipset.read(4), 0);
}

#[test]
fn the_watchdog_counts_ticks_down_runs_out_and_starts_anew() {
    let board = Board::new();
    let chipset = Chipset::ready(&board, json!({}));
    chipset.start_watchdog(13, false);
    for left in (1..=13).rev() {
        assert_eq!((chipset.read(0), chipset.read(4)), (left, 0));
        chipset.step(TICK);
    }
    assert_eq!((chipset.read(0), chipset.read(4), chipset.read(6)), (13, TIMEOUT, 0));
    chipset.write(4, TIMEOUT);
    assert_eq!(chipset.read(4), 0);
    chipset.step(12 * TICK);
    chipset.write(0, 0);
    chipset.step(13 * TICK);
    assert_eq!((chipset.read(4), chipset.read(6)), (TIMEOUT, 0), "it was reloaded in between");
    chipset.step(13 * TICK);
    assert_eq!((chipset.read(4), chipset.read(6)), (TIMEOUT, 6));
    chipset.write(6, 6);
    assert_eq!((chipset.read(6), board.take_power()), (0, vec![]));
    chipset.write(8, HALT);
    assert_eq!(board.host.clock.next_deadline(), None);
}

#[test]
fn ten_bits_of_the_timer_count() {
    let board = Board::new();
    let chipset = Chipset::ready(&board, json!({}));
    chipset.start_watchdog(0xffff, false);
    chipset.step(1022 * TICK);
    assert_eq!((chipset.read(0) & 0x3ff, chipset.read(4)), (1, 0));
    chipset.step(TICK);
    assert_eq!(chipset.read(4), TIMEOUT);
}

#[test]
fn the_second_stage_tells_the_machine_unless_the_guest_or_the_board_says_no() {
    for (strapped, reboot, bites) in [(false, true, 1), (false, false, 0), (true, true, 0)] {
        let board = Board::new();
        let chipset = Chipset::ready(&board, json!({ "noreboot": strapped }));
        chipset.start_watchdog(26, reboot);
        chipset.step(2 * 26 * TICK - 1);
        assert_eq!(board.take_power(), []);
        chipset.step(1);
        assert_eq!(board.take_power(), vec![PowerRequest::Watchdog; bites], "{strapped} {reboot}");
        assert_eq!(chipset.read(6), 6);
        assert_eq!(board.host.clock.next_deadline().is_none(), bites == 1, "one bite is enough");
        chipset.bridge.device.reset(ResetType::Warm);
        board.set_config(PLACE, 0x40, W4, PMBASE);
        board.set_config(PLACE, 0x44, W1, 0x80);
        assert_eq!((chipset.read(6), chipset.read(4)), (6, 0), "the next boot can tell why it is one");
        chipset.bridge.device.reset(ResetType::Cold);
        board.set_config(PLACE, 0x40, W4, PMBASE);
        board.set_config(PLACE, 0x44, W1, 0x80);
        assert_eq!(chipset.read(6), 0);
    }
}

#[test]
fn the_lock_stays_and_keeps_the_interrupt_of_the_watchdog() {
    let board = Board::new();
    let chipset = Chipset::ready(&board, json!({}));
    board.output(PMBASE + 0x30, W4, 0x2001);
    chipset.write(8, 0x1000);
    chipset.write(8, 0);
    assert_eq!(chipset.read(8), 0x1000);
    board.output(PMBASE + 0x30, W4, 0);
    assert_eq!(board.input(PMBASE + 0x30, W4), 0x2000);
}

#[test]
fn system_management_interrupts_are_raised_as_far_as_they_are_enabled() {
    let board = Board::new();
    let chipset = Chipset::ready(&board, json!({}));
    let levels = chipset.bridge.watch("smi", 0);
    let pulses = || std::mem::take(&mut *levels.lock().unwrap()).len() / 2;
    let smi = |enable: u64| board.output(PMBASE + 0x30, W4, enable);
    for (enable, raised) in [(0, 0), (0x20, 0), (0x21, 1), (0x2001, 0)] {
        smi(enable);
        chipset.apm(0, 0x55);
        assert_eq!(pulses(), raised, "{enable:#x}");
        assert_eq!(board.input(PMBASE + 0x34, W4), 0x20);
        board.output(PMBASE + 0x34, W4, 0x20);
        assert_eq!(board.input(PMBASE + 0x34, W4), 0);
    }
    chipset.apm(1, 0x77);
    let apm = [0, 1].map(|at| board.load(chipset.bridge.at("apm", at), W1).unwrap());
    assert_eq!((apm, pulses()), ([0x55, 0x77], 0));
    board.output(TCO + 2, W1, 1);
    assert_eq!((pulses(), board.input(PMBASE + 0x34, W4)), (1, 0x2000));
    chipset.start_watchdog(2, false);
    chipset.step(2 * TICK);
    assert_eq!(pulses(), 1);
    // the lock of configuration space
    board.set_config(PLACE, 0xa0, W1, 0x10);
    smi(0x20);
    board.set_config(PLACE, 0xa0, W2, 0xff00);
    assert_eq!((board.input(PMBASE + 0x30, W4), board.config(PLACE, 0xa0, W2)), (0x21, 0xff10));
}

#[test]
fn firmware_gives_acpi_to_the_system_and_takes_it_back() {
    let board = Board::new();
    let chipset = Chipset::ready(&board, json!({}));
    let control = |width: Width| board.input(PMBASE + 4, width);
    chipset.apm(0, 2);
    assert_eq!((control(W2), board.input(PMBASE + 0x34, W4)), (1, 0));
    chipset.apm(0, 3);
    assert_eq!(control(W4), 0);
}

#[test]
fn the_interrupt_of_power_management_goes_where_acpi_control_leads_it() {
    let board = Board::new();
    let chipset = Chipset::ready(&board, json!({}));
    let button = chipset.bridge.input("power-button", 0);
    button.set(true);
    board.output(PMBASE + 2, W2, 0x100);
    assert_eq!(board.input(PMBASE, W2), 0x100);
    let high = |name: &str, count: usize| {
        (0..count).filter(|line| chipset.bridge.output(name, *line).level()).collect::<Vec<_>>()
    };
    for (select, isa, apic) in [
        (0, vec![9], vec![]),
        (1, vec![10], vec![]),
        (2, vec![11], vec![]),
        (4, vec![], vec![4]),
        (5, vec![], vec![5]),
    ] {
        board.set_config(PLACE, 0x44, W1, 0x80 | select);
        assert_eq!((high("isa", 16), high("pirq", 8)), (isa, apic), "{select}");
    }
    board.output(PMBASE, W2, 0x100);
    assert_eq!((high("isa", 16), high("pirq", 8)), (vec![], vec![]));
    chipset.bridge.input("gpe", 40).set(true);
    board.output(PMBASE + 0x2d, W1, 1);
    assert_eq!((board.input(PMBASE + 0x25, W1), high("pirq", 8)), (1, vec![5]));
    board.output(PMBASE + 0x25, W1, 1);
    assert_eq!(high("pirq", 8), Vec::<usize>::new());
}

#[test]
fn the_timer_of_power_management_interrupts_when_its_highest_bit_changes() {
    let board = Board::new();
    let chipset = Chipset::ready(&board, json!({}));
    board.output(PMBASE + 2, W2, 1);
    chipset.step(1_000_000_000);
    assert_eq!((board.input(PMBASE + 8, W4), board.input(PMBASE, W2)), (3_579_545, 0));
    let line = chipset.bridge.output("isa", 9);
    assert!(!line.level());
    chipset.step(1_343_484_438);
    assert!(line.level() && board.input(PMBASE, W2) == 1);
    board.output(PMBASE, W2, 1);
    assert!(!line.level());
}

#[test]
fn a_guest_that_sleeps_for_ever_powers_off() {
    let board = Board::new();
    let _chipset = Chipset::ready(&board, json!({}));
    for (kind, requests) in [(0, 1), (1, 0), (5, 0), (7, 1)] {
        board.output(PMBASE + 4, W2, 0x2000 | kind << 10);
        assert_eq!(board.take_power(), vec![PowerRequest::Off { code: 0 }; requests], "{kind}");
        assert_eq!(board.input(PMBASE + 4, W2), kind << 10);
    }
}

#[test]
fn a_restored_chipset_has_its_ports_its_watchdog_and_its_locks() {
    let board = Board::new();
    let chipset = Chipset::ready(&board, json!({}));
    chipset.start_watchdog(10, true);
    board.set_config(PLACE, 0xa0, W1, 0x10);
    chipset.step(15 * TICK);
    let saved = chipset.bridge.save();
    let second = Board::new();
    let copy = Chipset::new(&second, saved.clone());
    assert_eq!(copy.bridge.save(), saved);
    assert_eq!((copy.read(0), copy.read(4), second.load(GCS, W4)), (5, TIMEOUT, Ok(0)));
    second.set_config(PLACE, 0xa0, W1, 0);
    assert_eq!(second.config(PLACE, 0xa0, W1), 0x10);
    copy.step(5 * TICK);
    assert_eq!(second.take_power(), [PowerRequest::Watchdog]);
}

#[test]
fn firmware_finds_system_management_set_up_where_there_is_none() {
    for smm in [true, false] {
        let board = Board::new();
        let chipset = Chipset::ready(&board, json!({ "smm": smm }));
        let wanted = if smm { 0 } else { 1 << 5 };
        assert_eq!(board.input((PMBASE + 0x30) & !1, W4), wanted, "{smm}");
        chipset.bridge.device.reset(ResetType::Cold);
        board.set_config(PLACE, 0x40, W4, PMBASE);
        board.set_config(PLACE, 0x44, W1, 0x80);
        assert_eq!(board.input((PMBASE + 0x30) & !1, W4), wanted, "after a reset");
    }
}
