use super::*;
use crate::testing::{Bench, Board};
use serde_json::json;

const STOP: u64 = 0;
const FEED: u64 = 2;

fn watchdog(board: &Board) -> Bench<'_, Ib700> {
    board.plug(json!({}), 0x441)
}

/// How often the machine was told.
fn bites(board: &Board) -> usize {
    let requests = board.take_power();
    assert!(requests.iter().all(|request| *request == PowerRequest::Watchdog));
    requests.len()
}

#[test]
fn the_watchdog_bites_once_when_nobody_feeds_it() {
    let board = Board::new();
    let watchdog = watchdog(&board);
    let seconds = |count: u64| board.host.clock.step(count * SECOND);
    seconds(40);
    assert_eq!(bites(&board), 0, "it sleeps after reset");
    watchdog.store(FEED, Width::W1, 14);
    seconds(1);
    watchdog.store(FEED, Width::W1, 14);
    seconds(1);
    watchdog.store(STOP, Width::W1, 1);
    seconds(4);
    assert_eq!(bites(&board), 0);
    watchdog.store(FEED, Width::W1, 13);
    seconds(3);
    assert_eq!(bites(&board), 0);
    seconds(2);
    assert_eq!(bites(&board), 1);
    seconds(100);
    assert_eq!(bites(&board), 0);
}

#[test]
fn the_low_four_bits_are_twice_the_seconds_that_thirty_is_lessened_by() {
    for value in 0..=0x1f_u64 {
        let board = Board::new();
        let watchdog = watchdog(&board);
        watchdog.store(FEED + 1, Width::W1, value);
        let time = [30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0][value as usize % 16] * SECOND;
        assert_eq!(board.host.clock.next_deadline(), Some(time), "{value}");
        board.host.clock.step(time.saturating_sub(1));
        assert_eq!(bites(&board), usize::from(time == 0));
        board.host.clock.step(1);
        assert_eq!(bites(&board), usize::from(time != 0));
    }
}

#[test]
fn ports_cannot_be_read_and_the_second_one_stops_too() {
    let board = Board::new();
    let watchdog = watchdog(&board);
    watchdog.store(FEED, Width::W1, 0);
    assert_eq!([0, 1, 2, 3].map(|port| watchdog.load(port, Width::W1)), [0xff; 4]);
    watchdog.store(STOP + 1, Width::W1, 0);
    assert_eq!(board.host.clock.next_deadline(), None);
}

#[test]
fn a_reset_stops_it_and_a_restored_one_has_the_time_that_was_left() {
    let board = Board::new();
    let watchdog = watchdog(&board);
    watchdog.store(FEED, Width::W1, 15 - 5);
    board.host.clock.step(4 * SECOND);
    let saved = watchdog.save();
    watchdog.device.reset(ResetType::Warm);
    board.host.clock.step(100 * SECOND);
    assert_eq!(bites(&board), 0);
    let second = Board::new();
    let _copy: Bench<'_, Ib700> = second.plug(saved, 0x441);
    second.host.clock.step(6 * SECOND - 1);
    assert_eq!(bites(&second), 0);
    second.host.clock.step(1);
    assert_eq!(bites(&second), 1);
}
