use super::registers::*;
use super::*;
use crate::testing::{Bench, Board};
use serde_json::{Value, json};

const AT: u64 = 0x10_0070;
const SECOND: u64 = 1_000_000_000;
const UIP_HOLD: u64 = 244_140;

type Rtc<'a> = Bench<'a, Mc146818Rtc>;

/// An RTC that starts on a Saturday.
fn rtc(board: &Board) -> Rtc<'_> {
    with(board, json!({}))
}

fn with(board: &Board, mut properties: Value) -> Rtc<'_> {
    let object = properties.as_object_mut().unwrap();
    object.entry("base").or_insert(json!("2006-06-17T16:01:21"));
    board.plug(properties, AT)
}

impl Rtc<'_> {
    fn get(&self, register: u8) -> u8 {
        self.store(0, Width::W1, register.into());
        self.load(1, Width::W1) as u8
    }

    fn put(&self, register: u8, value: u8) {
        self.store(0, Width::W1, register.into());
        self.store(1, Width::W1, value.into());
    }

    /// Year with century, month, day, hour, minute, second as they are in the registers.
    fn time(&self) -> [u64; 6] {
        let of = |register| u64::from(self.get(register));
        [of(CENTURY) << 8 | of(YEAR), of(MONTH), of(DAY_OF_MONTH), of(HOURS), of(MINUTES), of(SECONDS)]
    }

    fn put_time(&self, time: [u64; 6]) {
        let [year, month, day, hour, minute, second] = time;
        let fields = [(CENTURY, year >> 8), (YEAR, year), (MONTH, month), (DAY_OF_MONTH, day), (HOURS, hour)];
        for (register, value) in fields.into_iter().chain([(MINUTES, minute), (SECONDS, second)]) {
            self.put(register, value as u8);
        }
    }

    /// Sets the time of day in the mode `b`, half a second before the next update.
    fn set_in_mode(&self, b: u8, [hour, minute, second]: [u64; 3]) {
        self.put(REG_B, b);
        self.put(REG_A, 0x76);
        self.put_time([0x2011, 2, 2, hour, minute, second]);
        self.put(REG_A, 0x26);
    }

    fn time_of_day(&self) -> [u64; 3] {
        [self.get(HOURS), self.get(MINUTES), self.get(SECONDS)].map(u64::from)
    }

    fn step(&self, nanos: u64) {
        self.board.host.clock.step(nanos);
    }

    fn irq(&self) -> bool {
        self.level("irq")
    }
}

#[test]
fn the_rtc_starts_with_the_time_that_its_base_says() {
    let board = Board::new();
    let rtc = rtc(&board);
    assert_eq!(rtc.time(), [0x2006, 0x06, 0x17, 0x16, 0x01, 0x21]);
    assert_eq!(rtc.get(DAY_OF_WEEK), 7);
    assert_eq!([REG_A, REG_B, REG_C, REG_D].map(|register| rtc.get(register)), [0x26, B_24H, 0, D_VRT]);
    rtc.step(SECOND - 1);
    assert_eq!(rtc.get(SECONDS), 0x21);
    rtc.step(1);
    assert_eq!(rtc.get(SECONDS), 0x22);
    rtc.step(8 * 3600 * SECOND);
    assert_eq!((rtc.time(), rtc.get(DAY_OF_WEEK)), ([0x2006, 0x06, 0x18, 0, 0x01, 0x22], 1));
}

#[test]
fn the_hosts_time_is_shown_in_bcd_and_binary() {
    let board = Board::new();
    let before = Base::Utc.start();
    let rtc = with(&board, json!({ "base": "utc" }));
    let bcd = rtc.time();
    rtc.put(REG_B, B_24H | B_DM);
    let binary = rtc.time().map(i64::try_from).map(Result::unwrap);
    let decode = |value: u64| i64::try_from(value >> 4).unwrap() * 10 + i64::try_from(value & 15).unwrap();
    assert_eq!(bcd.map(decode)[1..], binary[1..]);
    let [year, month, day, hour, minute, second] = binary;
    let year = (year >> 8) * 100 + (year & 0xff);
    let shown = calendar::DateTime { year, month, day, hour, minute, second }.seconds();
    let seconds = |nanos: i128| i64::try_from(nanos / 1_000_000_000).unwrap();
    assert!((seconds(before)..=seconds(Base::Utc.start())).contains(&shown));
}

#[test]
fn a_clock_that_follows_the_host_needs_no_step() {
    let board = Board::new();
    let rtc = with(&board, json!({ "clock": "host" }));
    let (sender, raised) = std::sync::mpsc::channel();
    let sender = Mutex::new(sender);
    let input = crate::IrqInput::new(move |level| sender.lock().unwrap().send(level).unwrap());
    assert!(rtc.output("irq", 0).connect(input));
    rtc.put(REG_A, 0x26);
    rtc.put(REG_B, B_24H | B_PIE);
    assert!(raised.recv_timeout(std::time::Duration::from_secs(60)).unwrap());
}

#[test]
fn hours_carry_over_in_every_mode() {
    let board = Board::new();
    let rtc = rtc(&board);
    let cases = [
        (B_24H, [0x09, 0x59, 0x59], [0x10, 0x00, 0x00]),
        (B_24H, [0x19, 0x59, 0x59], [0x20, 0x00, 0x00]),
        (B_24H, [0x23, 0x59, 0x59], [0x00, 0x00, 0x00]),
        (B_24H | B_DM, [9, 59, 59], [10, 0, 0]),
        (B_24H | B_DM, [23, 59, 59], [0, 0, 0]),
        (0, [0x09, 0x59, 0x59], [0x10, 0, 0]),
        (0, [0x12, 0x59, 0x59], [0x01, 0, 0]),
        (0, [0x92, 0x59, 0x59], [0x81, 0, 0]),
        (0, [0x11, 0x59, 0x59], [0x92, 0, 0]),
        (0, [0x91, 0x59, 0x59], [0x12, 0, 0]),
        (B_DM, [0x0c, 59, 59], [0x01, 0, 0]),
        (B_DM, [0x8c, 59, 59], [0x81, 0, 0]),
        (B_DM, [0x0b, 59, 59], [0x8c, 0, 0]),
        (B_DM, [0x8b, 59, 59], [0x0c, 0, 0]),
    ];
    for (mode, before, after) in cases {
        rtc.set_in_mode(mode, before);
        assert_eq!(rtc.time_of_day(), before, "{mode:#x}");
        rtc.step(SECOND);
        assert_eq!(rtc.time_of_day(), after, "{mode:#x} {before:x?}");
        rtc.step(59 * SECOND);
        let [hour, minute, _] = after;
        let last = if mode & B_DM != 0 { 59 } else { 0x59 };
        assert_eq!(rtc.time_of_day(), [hour, minute, last]);
    }
}

#[test]
fn changing_the_mode_of_a_running_clock_shows_the_same_time_in_it() {
    let board = Board::new();
    let rtc = rtc(&board);
    rtc.put(REG_B, 0);
    assert_eq!(rtc.time_of_day(), [0x84, 0x01, 0x21]);
    rtc.put(REG_B, B_DM | B_24H);
    assert_eq!(rtc.time_of_day(), [16, 1, 21]);
}

#[test]
fn months_years_and_centuries_carry_over_and_leap_years_have_their_day() {
    let board = Board::new();
    let rtc = rtc(&board);
    let cases = [
        ([0x1980, 0x01, 0x01], [0x1980, 0x01, 0x02]),
        ([0x2011, 0x02, 0x28], [0x2011, 0x03, 0x01]),
        ([0x2012, 0x02, 0x28], [0x2012, 0x02, 0x29]),
        ([0x2000, 0x02, 0x28], [0x2000, 0x02, 0x29]),
        ([0x2100, 0x02, 0x28], [0x2100, 0x03, 0x01]),
        ([0x1999, 0x12, 0x31], [0x2000, 0x01, 0x01]),
        ([0x9999, 0x12, 0x31], [0x0000, 0x01, 0x01]),
    ];
    for ([year, month, day], [next_year, next_month, next_day]) in cases {
        rtc.put_time([year, month, day, 0x23, 0x59, 0x59]);
        assert_eq!(rtc.time(), [year, month, day, 0x23, 0x59, 0x59]);
        rtc.step(SECOND);
        assert_eq!(rtc.time(), [next_year, next_month, next_day, 0, 0, 0]);
    }
}

#[test]
fn the_century_is_found_at_the_place_of_the_ps2_too() {
    let board = Board::new();
    let rtc = rtc(&board);
    assert_eq!(rtc.get(PS2_CENTURY), 0x20);
    rtc.put(PS2_CENTURY, 0x19);
    assert_eq!(rtc.get(CENTURY), 0x19);
    rtc.step(SECOND);
    assert_eq!(rtc.time(), [0x1906, 0x06, 0x17, 0x16, 0x01, 0x22]);
}

#[test]
fn what_is_written_stays_as_written_until_the_next_update() {
    let board = Board::new();
    let rtc = rtc(&board);
    rtc.put(DAY_OF_MONTH, 0x31);
    rtc.put(MONTH, 0x02);
    assert_eq!(rtc.time()[..3], [0x2006, 0x02, 0x31]);
    rtc.put(MONTH, 0x03);
    rtc.step(SECOND);
    assert_eq!(rtc.time()[..3], [0x2006, 0x03, 0x31], "the order of writing does not matter");
    rtc.put(SECONDS, 0x75);
    rtc.step(SECOND);
    assert_eq!(rtc.time_of_day(), [0x16, 0x02, 0x16]);
}

#[test]
fn the_set_bit_stops_the_time_until_it_is_cleared() {
    let board = Board::new();
    let rtc = rtc(&board);
    rtc.step(SECOND / 4);
    rtc.put(REG_B, B_24H | B_SET | B_UIE);
    assert_eq!(rtc.get(REG_B), B_24H | B_SET, "the bit clears UIE");
    let time = [0x2011, 0x02, 0x02, 0x02, 0x04, 0x58];
    rtc.put_time(time);
    rtc.step(10 * SECOND);
    assert_eq!(rtc.time(), time);
    assert_eq!((rtc.get(REG_A), rtc.get(REG_C)), (0x26, 0));
    rtc.put(REG_B, B_24H);
    assert_eq!(rtc.time(), time);
    rtc.step(SECOND * 3 / 4 - 1);
    assert_eq!(rtc.time(), time, "the divider ran on");
    rtc.step(1);
    assert_eq!(rtc.get(SECONDS), 0x59);
}

#[test]
fn the_first_update_comes_half_a_second_after_the_divider_left_its_reset() {
    let board = Board::new();
    let rtc = rtc(&board);
    rtc.put(REG_A, 0x76);
    rtc.put_time([0x2011, 0x02, 0x02, 0x02, 0x04, 0x58]);
    rtc.step(SECOND);
    assert_eq!((rtc.get(SECONDS), rtc.get(REG_A)), (0x58, 0x76));
    rtc.put(REG_A, 0x26);
    rtc.step(SECOND / 2 - UIP_HOLD - 1);
    assert_eq!((rtc.get(SECONDS), rtc.get(REG_A)), (0x58, 0x26));
    rtc.step(1);
    assert_eq!((rtc.get(SECONDS), rtc.get(REG_A)), (0x58, 0x26 | A_UIP));
    rtc.step(UIP_HOLD);
    assert_eq!((rtc.get(SECONDS), rtc.get(REG_A)), (0x59, 0x26));
}

#[test]
fn uip_is_read_only_and_is_never_stuck() {
    let board = Board::new();
    let rtc = rtc(&board);
    rtc.step(SECOND - UIP_HOLD);
    assert_eq!(rtc.get(REG_A), 0x26 | A_UIP);
    rtc.put(REG_A, 0x26);
    assert_eq!(rtc.get(REG_A), 0x26 | A_UIP);
    rtc.put(REG_B, B_24H | B_SET);
    assert_eq!(rtc.get(REG_A), 0x26);
    rtc.put(REG_B, B_24H);
    assert_eq!(rtc.get(REG_A), 0x26 | A_UIP);
    rtc.put(REG_A, 0x26 | A_UIP);
    rtc.step(UIP_HOLD);
    assert_eq!(rtc.get(REG_A), 0x26);
    rtc.put(REG_A, 0x76 | A_UIP);
    rtc.step(SECOND);
    assert_eq!(rtc.get(REG_A), 0x76);
}

/// Sets the alarm, and tells after how many whole seconds it interrupts.
fn alarm_after(rtc: &Rtc<'_>, alarm: [u8; 3], most: u64) -> Option<u64> {
    let _ = rtc.get(REG_C);
    for (register, value) in [HOURS_ALARM, MINUTES_ALARM, SECONDS_ALARM].into_iter().zip(alarm) {
        rtc.put(register, value);
        assert_eq!(rtc.get(register), value);
    }
    rtc.put(REG_B, rtc.get(REG_B) | B_AIE);
    (0..=most).find(|_| {
        let went_off = rtc.irq();
        rtc.step(if went_off { 0 } else { SECOND });
        went_off
    })
}

#[test]
fn the_alarm_interrupts_when_all_that_it_cares_for_matches() {
    let board = Board::new();
    let rtc = rtc(&board);
    rtc.set_in_mode(B_24H, [0x16, 0x01, 0x21]);
    assert_eq!(alarm_after(&rtc, [0xc0, 0xff, 0x23], 10), Some(2));
    assert_eq!(rtc.get(REG_C), C_IRQF | C_AF | C_UF);
    assert!(!rtc.irq() && rtc.get(REG_C) == 0);
    rtc.set_in_mode(B_24H, [0x16, 0x01, 0x21]);
    assert_eq!(alarm_after(&rtc, [0xc0, 0xc0, 0xc0], 10), Some(1), "each second");
    rtc.set_in_mode(B_24H, [0x16, 0x01, 0x21]);
    assert_eq!(alarm_after(&rtc, [0x17, 0x00, 0x00], 4000), Some(58 * 60 + 39));
    rtc.set_in_mode(B_24H, [0x16, 0x01, 0x21]);
    assert_eq!(alarm_after(&rtc, [0xc0, 0x01, 0x20], 4000), Some(3599));
    rtc.set_in_mode(B_24H, [0x16, 0x01, 0x21]);
    assert_eq!(alarm_after(&rtc, [0x16, 0x01, 0x21], 90_000), Some(86_400), "in a day");
}

#[test]
fn an_alarm_knows_morning_from_afternoon() {
    let board = Board::new();
    let rtc = rtc(&board);
    for (mode, twelve, one, pm_one) in [(0, 0x12, 0x01, 0x81), (B_DM, 0x0c, 0x01, 0x81)] {
        rtc.set_in_mode(mode, [twelve, 0x00, 0x00]);
        assert_eq!(alarm_after(&rtc, [one, 0, 0], 90_000), Some(3600));
        rtc.set_in_mode(mode, [twelve, 0x00, 0x00]);
        assert_eq!(alarm_after(&rtc, [pm_one, 0, 0], 90_000), Some(13 * 3600));
    }
}

#[test]
fn an_alarm_at_a_time_that_never_comes_is_silent_and_nobody_waits_for_it() {
    let board = Board::new();
    let rtc = rtc(&board);
    assert_eq!(alarm_after(&rtc, [0x24, 0x00, 0x00], 10), None);
    assert_eq!(board.host.clock.next_deadline(), None);
    let _ = rtc.get(REG_C);
    rtc.put(HOURS_ALARM, 0xc0);
    rtc.put(REG_B, B_24H | B_SET | B_AIE);
    rtc.step(100 * SECOND);
    assert!(!rtc.irq() && rtc.get(REG_C) == 0, "the time does not move");
    assert_eq!(board.host.clock.next_deadline(), None);
}

#[test]
fn an_update_interrupts_once_until_register_c_is_read() {
    let board = Board::new();
    let rtc = rtc(&board);
    let levels = rtc.watch("irq", 0);
    rtc.put(REG_B, B_24H | B_UIE);
    rtc.step(3 * SECOND);
    assert_eq!(rtc.get(REG_C), C_IRQF | C_UF);
    rtc.step(SECOND - 1);
    assert_eq!(*levels.lock().unwrap(), [true, false]);
    rtc.step(1);
    assert_eq!(*levels.lock().unwrap(), [true, false, true]);
    rtc.put(REG_B, B_24H);
    assert_eq!(*levels.lock().unwrap(), [true, false, true, false], "disabled");
    rtc.put(REG_B, B_24H | B_UIE);
    assert!(rtc.irq(), "what has happened interrupts when it is enabled");
}

#[test]
fn the_periodic_interrupt_has_fifteen_rates() {
    let board = Board::new();
    let rtc = rtc(&board);
    for rate in 1..16u8 {
        let crystal: u64 = match rate {
            1 => 128,
            2 => 256,
            _ => 1 << (rate - 1),
        };
        rtc.put(REG_B, B_24H);
        rtc.put(REG_A, 0x20 | rate);
        rtc.put(REG_B, B_24H | B_PIE);
        let _ = rtc.get(REG_C);
        let start = board.host.clock.now();
        let mut ticks = 0;
        while board.host.clock.now() < start + 2 * SECOND {
            let next = board.host.clock.next_deadline().unwrap();
            rtc.step(next - board.host.clock.now());
            ticks += u64::from(rtc.get(REG_C) & C_PF != 0);
        }
        let expected = 2 * 32_768 / crystal;
        assert!((expected - 1..=expected + 1).contains(&ticks), "rate {rate}: {ticks}");
    }
    rtc.put(REG_A, 0x20);
    let _ = rtc.get(REG_C);
    rtc.step(10 * SECOND);
    assert_eq!(rtc.get(REG_C) & C_PF, 0, "rate 0 is none");
}

#[test]
fn the_time_since_the_last_tick_counts_when_the_rate_changes() {
    let board = Board::new();
    let rtc = rtc(&board);
    let next_tick = || {
        while !rtc.irq() {
            let next = board.host.clock.next_deadline().unwrap();
            rtc.step(next - board.host.clock.now());
        }
        assert_ne!(rtc.get(REG_C) & C_PF, 0);
    };
    rtc.put(REG_A, 13);
    rtc.put(REG_B, rtc.get(REG_B) | B_PIE);
    next_tick();
    let start = board.host.clock.now();
    for _ in 0..50 {
        rtc.put(REG_A, 13);
        next_tick();
        rtc.put(REG_A, 15);
        next_tick();
    }
    assert_eq!(board.host.clock.now() - start, 50 * (SECOND / 8 + SECOND / 2));
}

#[test]
fn registers_c_and_d_are_read_only_and_the_rest_is_ram() {
    let board = Board::new();
    let rtc = rtc(&board);
    rtc.put(REG_C, 0xff);
    rtc.put(REG_D, 0);
    assert_eq!((rtc.get(REG_C), rtc.get(REG_D)), (0, D_VRT));
    let ram = (0x0e..0x80).filter(|index| ![CENTURY, PS2_CENTURY].contains(index));
    for index in ram.clone() {
        rtc.put(index, !index);
    }
    rtc.device.reset(ResetType::Cold);
    assert!(ram.clone().all(|index| rtc.get(index) == !index), "and the battery keeps it");
}

#[test]
fn the_index_is_write_only_and_has_the_mask_of_the_nmi() {
    let board = Board::new();
    let rtc = rtc(&board);
    rtc.store(0, Width::W1, 0x8e);
    assert!(rtc.level("nmi-mask"));
    assert_eq!(rtc.load(0, Width::W1), 0xff);
    rtc.store(1, Width::W1, 0x55);
    assert_eq!(rtc.get(0x0e), 0x55);
    assert!(!rtc.level("nmi-mask"));
    rtc.store(0, Width::W2, 0x660e);
    assert_eq!(rtc.get(0x0e), 0x66, "index and value in one access");
}

#[test]
fn firmware_finds_memory_cpus_and_boot_devices() {
    let board = Board::new();
    let properties = json!({
        "memory-below-4g": 0xc000_0000u64, "memory-above-4g": 0x1_4000_0000u64, "cpus": 4, "boot": "ncd",
        "floppy-check": false, "bytes": [[0x10, 0x40], [0x5f, 9]],
    });
    let rtc = with(&board, properties);
    let expected = [
        (0x15, 0x80),
        (0x16, 0x02),
        (0x17, 0xff),
        (0x18, 0xff),
        (0x30, 0xff),
        (0x31, 0xff),
        (0x34, 0x00),
        (0x35, 0xbf),
        (0x5b, 0x00),
        (0x5c, 0x40),
        (0x5d, 0x01),
        (0x14, 0x06),
        (0x3d, 0x24),
        (0x38, 0x31),
        (0x10, 0x40),
        (0x5f, 9),
    ];
    for (index, value) in expected {
        assert_eq!(rtc.get(index), value, "{index:#x}");
    }
    drop(rtc);
    let rtc = with(&board, json!({ "memory-below-4g": 8 << 20, "cpus": 300 }));
    assert_eq!(
        [0x17, 0x18, 0x34, 0x35, 0x5f, 0x3d, 0x38].map(|index| rtc.get(index)),
        [0, 0x1c, 0, 0, 0, 0x12, 0x30]
    );
    for boot in ["cadn", "x"] {
        let error = serde_json::from_value::<Mc146818Rtc>(json!({ "boot": boot })).unwrap_err().to_string();
        assert!(error.contains(boot), "{error}");
    }
}

#[test]
fn boot_devices_of_the_first_start_are_forgotten_with_the_first_reset() {
    let board = Board::new();
    let rtc = with(&board, json!({ "boot": "ncd", "boot-once": "a", "floppy-check": false }));
    let told = |rtc: &Rtc<'_>| (rtc.get(0x3d), rtc.get(0x38));
    assert_eq!(told(&rtc), (0x01, 0x01));
    let saved = rtc.save();
    drop(rtc);
    let rtc: Rtc<'_> = board.plug(saved, AT);
    assert_eq!(told(&rtc), (0x01, 0x01));
    rtc.device.reset(ResetType::Warm);
    assert_eq!(told(&rtc), (0x24, 0x31));
    rtc.put(0x3d, 0x55);
    rtc.device.reset(ResetType::Warm);
    assert_eq!(told(&rtc), (0x55, 0x31), "what the guest writes then stays");
}

#[test]
fn a_reset_disables_interrupts_and_leaves_the_time() {
    let board = Board::new();
    let rtc = rtc(&board);
    rtc.put(REG_B, B_24H | B_PIE | B_AIE | B_UIE | B_SQWE);
    rtc.put(SECONDS, 0x40);
    rtc.step(SECOND);
    assert!(rtc.irq());
    rtc.device.reset(ResetType::Warm);
    assert!(!rtc.irq());
    assert_eq!((rtc.get(REG_B), rtc.get(REG_C), rtc.get(SECONDS)), (B_24H, 0, 0x41));
}

#[test]
fn a_restored_rtc_goes_on_where_it_was() {
    let board = Board::new();
    let rtc = rtc(&board);
    rtc.put(REG_A, 0x2f);
    rtc.put(REG_B, B_PIE | B_DM);
    rtc.put_time([0x1363, 2, 28, 0x8b, 59, 58]);
    rtc.put(0x40, 0x5a);
    rtc.step(SECOND / 4);
    let saved = rtc.save();
    let again = Board::new();
    again.host.clock.step(77);
    let rtc: Rtc<'_> = again.plug(saved.clone(), AT);
    assert_eq!(rtc.save(), saved);
    assert_eq!((rtc.time(), rtc.get(0x40)), ([0x1363, 2, 28, 0x8b, 59, 58], 0x5a));
    rtc.step(SECOND / 4 - 40_000);
    assert!(!rtc.irq());
    rtc.step(80_000);
    assert!(rtc.irq());
    rtc.step(SECOND * 3 / 2);
    assert_eq!(rtc.time(), [0x1363, 3, 1, 0x0c, 0, 0]);
    let error = serde_json::from_value::<Mc146818Rtc>(json!({ "state": { "cmos": [1, 2] } })).unwrap_err();
    assert!(error.to_string().contains("128 bytes"), "{error}");
}

#[test]
fn a_time_that_stands_still_is_saved_with_its_registers() {
    let board = Board::new();
    let rtc = rtc(&board);
    rtc.put(REG_B, B_24H | B_SET);
    rtc.put_time([0x2033, 0x66, 0x77, 0x88, 0x99, 0xaa]);
    let again = Board::new();
    let rtc: Rtc<'_> = again.plug(rtc.save(), AT);
    assert_eq!(rtc.time(), [0x2033, 0x66, 0x77, 0x88, 0x99, 0xaa]);
}
