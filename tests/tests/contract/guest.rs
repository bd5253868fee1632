//! A guest that does anything at all, and the watchdog that says when it never came back.

use crate::board::{Board, RAM, RAM_SIZE, Slot};
use memory_core::{TxAttrs, Width};
use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How long a test may take that takes a second.
const DEADLINE: Duration = Duration::from_secs(120);

/// Numbers that look random and are the same in each run (splitmix64).
pub struct Dice(u64);

impl Dice {
    /// Dice that fall differently for each name.
    pub fn new(name: &str) -> Self {
        Self(name.bytes().fold(1, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into())))
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `end`, or 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.roll() % end.max(1)
    }

    fn width(&mut self) -> Width {
        Width::ALL[self.below(4) as usize]
    }

    /// An offset: mostly where registers are, sometimes at the end, sometimes anywhere.
    fn offset(&mut self, size: u64) -> u64 {
        let last = size.saturating_sub(1);
        match self.below(8) {
            0 => self.below(size),
            1 => last - self.below(16).min(last),
            2 | 3 => self.below(size.min(0x40)),
            4 => self.below(size.min(0x40)) & !3,
            _ => self.below(size.min(0x1000)) & !3,
        }
    }

    /// A value: small, huge, an address, a single bit, any.
    fn value(&mut self, regions: &[(u64, u64)]) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << self.below(64),
            3 => RAM + self.below(RAM_SIZE),
            4 => {
                let (address, size) = regions[self.below(regions.len() as u64) as usize];
                address + self.offset(size)
            }
            5 | 6 => self.below(0x100),
            _ => self.roll(),
        }
    }
}

/// Any accesses to any place of `slots`, `count` of them, while the clock goes on and lines and console do as they like.
pub fn misbehave(board: &Board, slots: &[&Slot], dice: &mut Dice, count: u64) {
    let places: Vec<(u64, u64)> = slots.iter().flat_map(|slot| slot.places()).collect();
    if places.is_empty() {
        return;
    }
    slots.iter().for_each(|slot| slot.place_bars());
    let inputs: Vec<_> = slots.iter().flat_map(|slot| &slot.inputs).collect();
    let mut vcpu = board.space.handle(|| ());
    let attrs = [TxAttrs::default(), TxAttrs::UNSPECIFIED, TxAttrs::DEBUG, TxAttrs::MEMORY_ONLY];
    for _ in 0..count {
        let (start, size) = places[dice.below(places.len() as u64) as usize];
        let address = start + dice.offset(size);
        let attrs = attrs[dice.below(16).saturating_sub(12) as usize];
        let mut bytes = [0; 64];
        let bytes = &mut bytes[..dice.below(64) as usize];
        // what the bus answers is the guest's business
        match dice.below(12) {
            0 => _ = vcpu.read(address, bytes, attrs),
            1 => {
                bytes.fill_with(|| dice.roll() as u8);
                _ = vcpu.write(address, bytes, attrs);
            }
            2..=6 => _ = vcpu.load(address, dice.width(), attrs),
            _ => _ = vcpu.store(address, dice.width(), dice.value(&places), attrs),
        }
        if dice.below(16) == 0 {
            let most = 1 << dice.below(34);
            board.host.clock.step(dice.below(most));
        }
        if dice.below(32) == 0 {
            board.host.console.feed(&[dice.roll() as u8]);
        }
        if dice.below(8) == 0 && !inputs.is_empty() {
            inputs[dice.below(inputs.len() as u64) as usize].set(dice.below(2) == 1);
        }
    }
}

/// Runs what might hang. If it does the whole process ends, with a message: nothing else ends a thread.
pub fn in_time<R>(what: &str, run: impl FnOnce() -> R) -> R {
    let (done, wait) = channel::<()>();
    let message = format!("{what}: still not done after {DEADLINE:?}, it hangs");
    let watchdog = thread::spawn(move || {
        if wait.recv_timeout(DEADLINE) == Err(RecvTimeoutError::Timeout) {
            // `eprintln` would be captured, and lost with the process
            let _ = writeln!(std::io::stderr(), "{message}");
            std::process::abort();
        }
    });
    let result = run();
    drop(done);
    watchdog.join().unwrap();
    result
}
