use super::*;
use crate::Clock;
use memory_core::Width;

/// Nanoseconds after which the timer's highest bit changes first: 2^23 ticks of 3.579545 MHz.
const TURN: u64 = 2_343_484_438;

fn pm1(clock: &Clock) -> Pm1 {
    let mut pm1 = Pm1::default();
    pm1.run(clock);
    pm1
}

fn write(pm1: &mut Pm1, offset: u64, width: Width, value: u64) -> Option<Sleep> {
    pm1.write(Write::new(offset, width, value))
}

#[test]
fn the_timer_counts_24_bits_at_its_frequency() {
    let clock = Clock::stepped();
    let mut pm1 = pm1(&clock);
    let timer = |pm1: &Pm1| pm1.read(8, Width::W4);
    assert_eq!(timer(&pm1), 0);
    clock.step(1_000_000_000);
    assert_eq!(timer(&pm1), 3_579_545);
    write(&mut pm1, 8, Width::W4, 0);
    assert_eq!((timer(&pm1), pm1.read(9, Width::W1)), (3_579_545, 3_579_545 >> 8 & 0xff));
    clock.step(9_000_000_000);
    assert_eq!(timer(&pm1), 35_795_450 & 0xff_ffff);
    pm1.reset();
    assert_eq!(timer(&pm1), 35_795_450 & 0xff_ffff, "a reset does not stop it");
}

#[test]
fn the_timer_tells_when_its_highest_bit_changes_until_that_is_acknowledged() {
    let clock = Clock::stepped();
    let mut pm1 = pm1(&clock);
    assert_eq!(pm1.deadline(), None, "nobody asks");
    write(&mut pm1, 2, Width::W2, 1);
    assert_eq!(pm1.deadline(), Some(TURN));
    clock.step(TURN - 1);
    assert_eq!((pm1.read(0, Width::W4), pm1.wants_sci()), (0x0001_0000, false));
    clock.step(1);
    assert_eq!((pm1.read(0, Width::W4), pm1.wants_sci(), pm1.deadline()), (0x0001_0001, true, None));
    write(&mut pm1, 0, Width::W2, 0x0100);
    assert!(pm1.wants_sci(), "that was another bit");
    write(&mut pm1, 0, Width::W1, 1);
    assert!(!pm1.wants_sci());
    clock.step(TURN);
    assert!(pm1.wants_sci(), "each half of the counter");
}

#[test]
fn a_restored_timer_goes_on_from_where_it_was() {
    let clock = Clock::stepped();
    let mut first = pm1(&clock);
    write(&mut first, 2, Width::W2, 1);
    clock.step(1_000_000_000);
    let saved = serde_json::to_value(&first).unwrap();
    let other = Clock::stepped();
    other.step(77);
    let mut second: Pm1 = serde_json::from_value(saved.clone()).unwrap();
    assert_eq!(serde_json::to_value(&second).unwrap(), saved);
    second.run(&other);
    assert_eq!(second.read(8, Width::W4), 3_579_545);
    assert_eq!(second.deadline(), Some(77 + TURN - 1_000_000_000));
    assert_eq!(serde_json::to_value(&second).unwrap(), saved);
}

#[test]
fn events_raise_the_interrupt_as_far_as_they_are_enabled() {
    let clock = Clock::stepped();
    let mut pm1 = pm1(&clock);
    pm1.raise(Pm1Event::POWER_BUTTON);
    assert!(!pm1.wants_sci());
    write(&mut pm1, 3, Width::W1, 1);
    assert!(pm1.wants_sci());
    write(&mut pm1, 1, Width::W1, 1);
    assert_eq!((pm1.wants_sci(), pm1.read(0, Width::W2)), (false, 0));
    let mut gpe = Gpe::default();
    gpe.raise(33);
    gpe.write(Write::new(12, Width::W1, 0b10));
    assert!(gpe.wants_sci());
    assert_eq!((gpe.read(4, Width::W1), gpe.read(0, Width::W4)), (2, 0));
    gpe.write(Write::new(4, Width::W1, 0b10));
    assert!(!gpe.wants_sci());
}

#[test]
fn control_keeps_its_bits_but_the_one_that_sends_to_sleep() {
    let clock = Clock::stepped();
    let mut pm1 = pm1(&clock);
    assert_eq!(write(&mut pm1, 4, Width::W2, 0x1c01), None);
    assert_eq!(pm1.read(4, Width::W4), 0x1c01);
    assert_eq!(write(&mut pm1, 5, Width::W1, 0x20 | 0x04), Some(Sleep(1)));
    assert_eq!(pm1.read(4, Width::W2), 0x0401);
    pm1.set_sci_enabled(false);
    assert_eq!(pm1.read(4, Width::W2), 0x0400);
    assert_eq!([0, 1, 2, 5, 6, 7].map(|kind| Sleep(kind).is_off()), [true, false, true, false, true, true]);
}
