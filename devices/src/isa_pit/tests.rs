use super::*;
use crate::testing::{Bench, Board};
use serde_json::json;

type Pit<'a> = Bench<'a, IsaPit>;

const SECOND: u64 = 1_000_000_000;

fn pit(board: &Board) -> Pit<'_> {
    board.plug(json!({}), 0x40)
}

impl Pit<'_> {
    /// A control word: counter, bytes (1 low, 2 high, 3 both), mode, BCD.
    fn control(&self, counter: u64, bytes: u64, mode: u64, bcd: u64) {
        self.store(3, Width::W1, (counter << 6) | (bytes << 4) | (mode << 1) | bcd);
    }

    fn write(&self, counter: u64, count: u64) {
        self.store(counter, Width::W1, count & 0xff);
        self.store(counter, Width::W1, count >> 8);
    }

    fn latched(&self, counter: u64) -> u64 {
        self.store(3, Width::W1, counter << 6);
        self.load(counter, Width::W1) + 256 * self.load(counter, Width::W1)
    }

    fn status(&self, counter: u64) -> u64 {
        self.store(3, Width::W1, 0xe0 | (2 << counter));
        self.load(counter, Width::W1)
    }

    fn out(&self, counter: u64) -> bool {
        self.status(counter) & 0x80 != 0
    }

    /// Steps the machine's clock to where so many more clocks of the counters have passed.
    fn clocks(&self, clocks: u64) {
        let hertz = u128::from(1_193_182u32);
        let now = u128::from(self.board.host.clock.now());
        let target = now * hertz / 1_000_000_000 + u128::from(clocks);
        let nanos = (target * 1_000_000_000).div_ceil(hertz) - now;
        self.board.host.clock.step(u64::try_from(nanos).unwrap());
    }

    fn speaker(&self) -> u64 {
        self.board.load(self.at("speaker", 0), Width::W1).unwrap()
    }

    fn gate(&self, level: bool) {
        self.board.store(self.at("speaker", 0), Width::W1, u64::from(level)).unwrap();
    }
}

#[test]
fn a_pc_begins_with_eighteen_interrupts_a_second() {
    let board = Board::new();
    let pit = pit(&board);
    let levels = pit.watch("irq", 0);
    board.host.clock.step(SECOND);
    let edges = levels.lock().unwrap().iter().filter(|level| **level).count();
    assert_eq!(edges, 19, "the first is that the line is high, as at a quarter of each period");
    assert_eq!(pit.status(0), 0x36 + 0x80 * u64::from(pit.level("irq")));
}

#[test]
fn mode_0_raises_its_output_when_the_count_is_over() {
    let board = Board::new();
    let pit = pit(&board);
    pit.control(0, 3, 0, 0);
    assert!(!pit.level("irq"));
    assert_eq!(pit.status(0), 0x70, "no count yet");
    pit.write(0, 1000);
    assert_eq!((pit.status(0), pit.latched(0)), (0x30, 1000));
    pit.clocks(999);
    assert_eq!((pit.level("irq"), pit.latched(0)), (false, 1));
    pit.clocks(1);
    assert_eq!((pit.level("irq"), pit.latched(0)), (true, 0));
    pit.clocks(5);
    assert_eq!((pit.level("irq"), pit.latched(0)), (true, 0xfffb));
    assert_eq!(board.host.clock.next_deadline(), None, "once");
    pit.store(0, Width::W1, 10);
    assert!(!pit.level("irq"), "half a count stops it");
    pit.clocks(100_000);
    pit.store(0, Width::W1, 0);
    pit.clocks(10);
    assert!(pit.level("irq"));
}

#[test]
fn mode_0_holds_its_count_while_the_gate_is_low() {
    let board = Board::new();
    let pit = pit(&board);
    pit.gate(true);
    pit.control(2, 3, 0, 0);
    pit.write(2, 100);
    pit.clocks(40);
    pit.gate(false);
    pit.clocks(1000);
    assert_eq!((pit.latched(2), pit.out(2)), (60, false));
    pit.gate(true);
    pit.clocks(59);
    assert!(!pit.out(2));
    pit.clocks(1);
    assert!(pit.out(2) && pit.speaker() & 0x20 != 0);
}

#[test]
fn mode_1_is_low_for_its_count_after_each_trigger() {
    let board = Board::new();
    let pit = pit(&board);
    pit.control(2, 3, 1, 0);
    pit.write(2, 50);
    pit.clocks(100);
    assert!(pit.out(2), "no trigger yet");
    pit.gate(true);
    assert!(!pit.out(2));
    pit.clocks(30);
    pit.write(2, 20);
    pit.clocks(19);
    assert!(!pit.out(2), "a new count waits for the next trigger");
    pit.clocks(1);
    assert!(pit.out(2));
    pit.gate(false);
    pit.gate(true);
    pit.clocks(10);
    assert!(!pit.out(2));
    pit.gate(false);
    pit.gate(true);
    pit.clocks(19);
    assert!(!pit.out(2), "triggered again");
    pit.clocks(1);
    assert!(pit.out(2));
}

#[test]
fn mode_2_pulses_each_period_and_loads_a_new_count_after_it() {
    let board = Board::new();
    let pit = pit(&board);
    pit.control(0, 3, 2, 0);
    pit.write(0, 1000);
    let levels = pit.watch("irq", 0);
    let edges = || std::mem::take(&mut *levels.lock().unwrap()).iter().filter(|level| **level).count();
    edges();
    assert_eq!(pit.latched(0), 1000);
    pit.clocks(999);
    assert_eq!((edges(), pit.latched(0), pit.out(0)), (0, 1, false));
    pit.clocks(1);
    assert_eq!((edges(), pit.latched(0), pit.out(0)), (1, 1000, true));
    pit.clocks(9_400);
    assert_eq!(edges(), 9);
    pit.write(0, 100);
    assert_eq!(pit.status(0) & 0x40, 0x40, "not counted yet");
    pit.clocks(599);
    assert_eq!((edges(), pit.latched(0)), (0, 1));
    pit.clocks(1);
    assert_eq!((edges(), pit.latched(0), pit.status(0) & 0x40), (1, 100, 0));
    pit.clocks(1000);
    assert_eq!(edges(), 10);
}

#[test]
fn mode_3_is_a_square_wave_of_even_and_odd_counts() {
    let board = Board::new();
    let pit = pit(&board);
    pit.gate(true);
    for (count, high) in [(10, 5), (11, 6), (2, 1)] {
        pit.control(2, 3, 3, 0);
        pit.write(2, count);
        let wave: Vec<_> = (0..2 * count)
            .map(|_| {
                let out = pit.out(2);
                pit.clocks(1);
                out
            })
            .collect();
        let expected: Vec<_> = (0..2 * count).map(|clock| clock % count < high).collect();
        assert_eq!(wave, expected, "{count}");
    }
    pit.control(2, 3, 3, 0);
    pit.write(2, 1000);
    pit.clocks(100);
    assert_eq!(pit.latched(2), 800, "it counts by twos");
    pit.clocks(450);
    assert_eq!((pit.latched(2), pit.out(2)), (900, false));
    pit.gate(false);
    assert!(pit.out(2));
    pit.clocks(100);
    pit.gate(true);
    pit.clocks(499);
    assert!(pit.out(2), "a rising gate begins a period");
    pit.clocks(1);
    assert!(!pit.out(2));
}

#[test]
fn modes_4_and_5_strobe_once_after_the_count_or_a_trigger() {
    let board = Board::new();
    let pit = pit(&board);
    pit.gate(true);
    let strobes_after = |clocks: u64| {
        pit.clocks(clocks - 1);
        let before = pit.out(2);
        pit.clocks(1);
        let strobe = pit.out(2);
        pit.clocks(1);
        (before, strobe, pit.out(2)) == (true, false, true)
    };
    pit.control(2, 3, 4, 0);
    pit.write(2, 30);
    assert!(strobes_after(30));
    pit.clocks(70_000);
    pit.control(2, 3, 5, 0);
    pit.write(2, 40);
    pit.clocks(100);
    pit.gate(false);
    pit.gate(true);
    assert!(strobes_after(40));
    pit.control(0, 3, 4, 0);
    let levels = pit.watch("irq", 0);
    pit.write(0, 30);
    pit.clocks(10_000);
    assert_eq!(*levels.lock().unwrap(), [true, false, true]);
}

#[test]
fn counts_are_read_by_halves_latched_and_in_bcd() {
    let board = Board::new();
    let pit = pit(&board);
    pit.gate(true);
    pit.control(2, 3, 2, 1);
    pit.write(2, 0x1234);
    pit.clocks(34);
    assert_eq!(pit.latched(2), 0x1200);
    pit.write(2, 0);
    pit.clocks(1200);
    assert_eq!(pit.latched(2), 0, "10000");
    pit.clocks(1);
    assert_eq!(pit.latched(2), 0x9999);
    pit.control(2, 1, 2, 0);
    pit.store(2, Width::W1, 0x80);
    assert_eq!((pit.load(2, Width::W1), pit.load(2, Width::W1)), (0x80, 0x80));
    pit.control(2, 2, 2, 0);
    pit.store(2, Width::W1, 0x80);
    pit.clocks(1);
    assert_eq!((pit.load(2, Width::W1), pit.load(2, Width::W1)), (0x7f, 0x7f));
    pit.control(2, 3, 2, 0);
    pit.write(2, 0x8000);
    pit.store(3, Width::W1, 0x80);
    pit.clocks(0x1000);
    pit.store(3, Width::W1, 0x80);
    assert_eq!((pit.load(2, Width::W1), pit.load(2, Width::W1)), (0, 0x80), "the first latch counts");
    assert_eq!((pit.load(2, Width::W1), pit.load(2, Width::W1)), (0, 0x70));
}

#[test]
fn a_read_back_latches_status_and_count_of_several_counters() {
    let board = Board::new();
    let pit = pit(&board);
    pit.control(1, 1, 2, 0);
    pit.store(1, Width::W1, 18);
    pit.control(0, 3, 4, 1);
    pit.write(0, 0x99);
    pit.store(3, Width::W1, 0xc6);
    pit.clocks(7);
    pit.store(3, Width::W1, 0xc6);
    let mut bytes = [0, 0, 0, 1, 1].map(|counter| pit.load(counter, Width::W1));
    assert_eq!(bytes, [0xb9, 0x99, 0x00, 0x94, 18]);
    bytes = [0, 0, 1, 1, 1].map(|counter| pit.load(counter, Width::W1));
    assert_eq!(bytes, [0x92, 0, 11, 11, 11], "then what they count");
    assert_eq!(pit.load(3, Width::W1), 0);
}

#[test]
fn the_speakers_port_has_gate_data_output_and_a_refresh_bit_that_changes() {
    let board = Board::new();
    let pit = pit(&board);
    let first = pit.speaker();
    assert_eq!((first ^ pit.speaker()) & 0x10, 0x10);
    board.store(pit.at("speaker", 0), Width::W1, 0xff).unwrap();
    assert_eq!(pit.speaker() & 0x2f, 0x23);
    board.store(pit.at("speaker", 0), Width::W1, 0xfc).unwrap();
    assert_eq!(pit.speaker() & 0x0f, 0);
}

#[test]
fn an_impossibly_fast_timer_costs_no_more_than_a_fast_one() {
    let board = Board::new();
    let pit = pit(&board);
    let levels = pit.watch("irq", 0);
    for (mode, count) in [(2, 1), (2, 2), (3, 2), (3, 1)] {
        pit.control(0, 1, mode, 0);
        pit.store(0, Width::W1, count);
        let before = levels.lock().unwrap().len();
        board.host.clock.step(SECOND / 100);
        let edges = levels.lock().unwrap().len() - before;
        assert!(edges <= 3 * 500, "{mode} {count}: {edges}");
        assert!(edges > 100 || count == 1, "{mode} {count}: {edges}");
    }
}

#[test]
fn a_restored_pit_goes_on_where_it_was() {
    let board = Board::new();
    let pit = pit(&board);
    pit.control(0, 3, 2, 0);
    pit.write(0, 1000);
    pit.gate(true);
    pit.control(2, 3, 0, 0);
    pit.write(2, 5000);
    pit.clocks(300);
    pit.gate(false);
    pit.clocks(300);
    let saved = pit.save();
    let other = Board::new();
    other.host.clock.step(12345);
    let pit: Pit<'_> = other.plug(saved.clone(), 0x40);
    assert_eq!(pit.save(), saved);
    assert_eq!((pit.latched(0), pit.latched(2)), (400, 4700));
    let levels = pit.watch("irq", 0);
    pit.clocks(400);
    assert_eq!(*levels.lock().unwrap(), [true, false, true]);
    pit.device.reset(ResetType::Cold);
    assert_eq!(pit.latched(0), 0);
}
