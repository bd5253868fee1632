use super::*;
use crate::testing::{Bench, Board};
use serde_json::json;

const START: u64 = 0x1_ffff_fff0;
const AT: u64 = 0x10_1000;

type Rtc<'a> = Bench<'a, GoldfishRtc>;

fn rtc(board: &Board) -> Rtc<'_> {
    board.plug(json!({ "base": START }), AT)
}

fn time(rtc: &Rtc<'_>) -> u64 {
    let low = rtc.load(TIME_LOW, Width::W4);
    rtc.load(TIME_HIGH, Width::W4) << 32 | low
}

fn set_alarm(rtc: &Rtc<'_>, alarm: u64) {
    rtc.store(ALARM_HIGH, Width::W4, alarm >> 32);
    rtc.store(ALARM_LOW, Width::W4, alarm & LOW);
}

#[test]
fn reading_the_low_half_latches_the_high_half() {
    let board = Board::new();
    let rtc = rtc(&board);
    assert_eq!(rtc.load(TIME_HIGH, Width::W4), 0);
    assert_eq!(rtc.load(TIME_LOW, Width::W4), 0xffff_fff0);
    board.host.clock.step(0x10);
    assert_eq!(rtc.load(TIME_HIGH, Width::W4), 1);
    assert_eq!(time(&rtc), 0x2_0000_0000);
}

#[test]
fn setting_the_time_moves_it_and_the_alarm_with_it() {
    let board = Board::new();
    let rtc = rtc(&board);
    rtc.store(IRQ_ENABLED, Width::W4, 1);
    set_alarm(&rtc, 0x7_0000_0064);
    rtc.store(TIME_HIGH, Width::W4, 7);
    rtc.store(TIME_LOW, Width::W4, 0);
    assert_eq!(time(&rtc), 0x7_0000_0000);
    assert!(rtc.level("irq"), "7_ffff_fff0 was after the alarm");
    rtc.store(CLEAR_INTERRUPT, Width::W4, 0);
    set_alarm(&rtc, 0x8_0000_0000);
    rtc.store(TIME_HIGH, Width::W4, 0);
    assert_eq!(board.host.clock.next_deadline(), Some(0x8_0000_0000));
    rtc.device.reset(ResetType::Cold);
    assert_eq!(time(&rtc), 0, "the battery keeps the time");
}

#[test]
fn the_alarm_goes_off_once_at_its_time() {
    let board = Board::new();
    let rtc = rtc(&board);
    let levels = rtc.watch("irq", 0);
    rtc.store(IRQ_ENABLED, Width::W4, 1);
    set_alarm(&rtc, START + 1000);
    assert_eq!(rtc.load(ALARM_STATUS, Width::W4), 1);
    board.host.clock.step(999);
    assert!(levels.lock().unwrap().is_empty());
    board.host.clock.step(1);
    assert_eq!(*levels.lock().unwrap(), [true]);
    assert_eq!(rtc.load(ALARM_STATUS, Width::W4), 0);
    rtc.store(CLEAR_INTERRUPT, Width::W4, 1);
    board.host.clock.step(10_000);
    assert_eq!(*levels.lock().unwrap(), [true, false]);
}

#[test]
fn a_past_alarm_is_pending_at_once_and_shows_when_enabled() {
    let board = Board::new();
    let rtc = rtc(&board);
    set_alarm(&rtc, START - 1);
    assert!(!rtc.level("irq"));
    rtc.store(IRQ_ENABLED, Width::W4, 3);
    assert!(rtc.level("irq"));
    assert_eq!(rtc.load(IRQ_ENABLED, Width::W4), 1);
    rtc.device.reset(ResetType::Warm);
    assert!(!rtc.level("irq"));
}

#[test]
fn a_cleared_alarm_stays_silent() {
    let board = Board::new();
    let rtc = rtc(&board);
    rtc.store(IRQ_ENABLED, Width::W4, 1);
    set_alarm(&rtc, START + 10);
    rtc.store(CLEAR_ALARM, Width::W4, 0);
    board.host.clock.step(100);
    assert!(!rtc.level("irq"));
    assert_eq!(board.host.clock.next_deadline(), None);
}

#[test]
fn a_restored_clock_goes_on_where_it_was_with_its_alarm() {
    let board = Board::new();
    let rtc = rtc(&board);
    rtc.store(IRQ_ENABLED, Width::W4, 1);
    rtc.store(TIME_LOW, Width::W4, 0);
    set_alarm(&rtc, 0x1_0000_0100);
    board.host.clock.step(0x40);
    let saved = rtc.save();

    let again = Board::new();
    again.host.clock.step(5);
    let rtc: Rtc<'_> = again.plug(saved.clone(), AT);
    assert_eq!(rtc.save(), saved);
    assert_eq!(time(&rtc), 0x1_0000_0040);
    again.host.clock.step(0xbf);
    assert!(!rtc.level("irq"));
    again.host.clock.step(1);
    assert!(rtc.level("irq"));
}

#[test]
fn the_host_time_is_that_of_the_host() {
    let board = Board::new();
    let before = Base::Host.start();
    let rtc: Rtc<'_> = board.plug(json!({}), AT);
    let now = time(&rtc);
    assert!((before..=Base::Host.start()).contains(&now));
    assert_eq!(rtc.save()["base"], "host");
}

#[test]
fn a_base_that_is_neither_is_refused_and_extreme_values_do_no_harm() {
    for base in [json!("guest"), json!(-1), json!(true)] {
        let error = serde_json::from_value::<GoldfishRtc>(json!({ "base": base })).unwrap_err();
        assert!(error.to_string().contains("\"host\" or nanoseconds"), "{error}");
    }
    let board = Board::new();
    let state = json!({ "alarm": u64::MAX, "armed": true, "elapsed": u64::MAX, "offset": u64::MAX });
    let rtc: Rtc<'_> = board.plug(json!({ "base": u64::MAX, "state": state }), AT);
    board.host.clock.step(u64::MAX);
    rtc.store(TIME_HIGH, Width::W4, LOW);
    assert_eq!(rtc.load(0x20, Width::W4), 0);
    assert_eq!(board.load(rtc.at("regs", 0), Width::W8), Err(BusFault::DECODE));
    let node = &rtc.describe()[0];
    assert_eq!(node.name, "rtc@101000");
    assert!(node.properties.iter().any(|(name, _)| name == "interrupts"));
}
