//! The addresses of a measurement, and the loops over them.

use std::hint::black_box;
use std::sync::Arc;

/// A thread's work: does so many operations.
pub type Work<'a> = Box<dyn FnMut(usize) + 'a>;

/// A sequence of addresses in random order, the same in every run.
///
/// They are kept as 32-bit multiples of a unit, so that the sequence itself takes little of the caches.
#[derive(Clone)]
pub struct Stream {
    base: u64,
    shift: u32,
    entries: Arc<[u32]>,
}

/// Addresses in a sequence: more than branch predictors learn by heart, and 16 KiB.
pub const LENGTH: usize = 4096;

impl Stream {
    /// `length` addresses, a power of two, from `pick`; all lie `base` or up to 2^32 units of `1 << shift` bytes above it.
    pub fn new(base: u64, shift: u32, length: usize, mut pick: impl FnMut(&mut Dice) -> u64) -> Self {
        let mut dice = Dice::seeded(base);
        let mut entry = || {
            let address = pick(&mut dice);
            u32::try_from((address - base) >> shift).expect("within 2^32 units of the base")
        };
        let entries = (0..length.next_power_of_two()).map(|_| entry()).collect();
        Self { base, shift, entries }
    }

    /// Other addresses in the same order, multiples of the same unit from `base` on.
    #[must_use]
    pub fn mapped(&self, base: u64, to: impl Fn(u64) -> u64) -> Self {
        let entry = |entry: &u32| {
            let address = to(self.base + (u64::from(*entry) << self.shift));
            u32::try_from((address - base) >> self.shift).expect("within 2^32 units of the base")
        };
        Self { base, shift: self.shift, entries: self.entries.iter().map(entry).collect() }
    }

    /// How many addresses there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Loads that depend on each other: the next address is known only when the value is. `access` gives the value,
    /// which is 0, unknown to the compiler.
    #[inline(always)]
    pub fn chase<'a>(&self, mut access: impl FnMut(u64) -> u64 + 'a) -> Work<'a> {
        let Self { base, shift, entries } = self.clone();
        let (mut at, mask) = (0, entries.len() - 1);
        Box::new(move |count| {
            let mut value = black_box(0u64);
            for _ in 0..count {
                let entry = entries.get(at & mask).copied().unwrap_or(0);
                at += 1;
                value = access(base + ((u64::from(entry) << shift) ^ value));
            }
            assert_eq!(value, 0, "a load failed");
        })
    }

    /// Stores, each of which ends before the next one begins. A store has no value to wait for: the processor's time
    /// stamp is taken after it, which waits for all that came before, and the next address depends on that.
    #[inline(always)]
    pub fn march<'a>(&self, mut access: impl FnMut(u64) + 'a) -> Work<'a> {
        let Self { base, shift, entries } = self.clone();
        let (mut at, mask) = (0, entries.len() - 1);
        Box::new(move |count| {
            let none = black_box(0u64);
            let mut value = 0;
            for _ in 0..count {
                let entry = entries.get(at & mask).copied().unwrap_or(0);
                at += 1;
                access(base + ((u64::from(entry) << shift) ^ value));
                value = stamp() & none;
            }
        })
    }

    /// The loop of [`Stream::chase`] with nothing in it.
    pub fn empty_chase(&self) -> Work<'static> {
        let mask = black_box(0u64);
        self.chase(move |address| address & mask)
    }

    /// The loop of [`Stream::march`] with nothing in it.
    pub fn empty_march(&self) -> Work<'static> {
        self.march(|address| {
            black_box(address);
        })
    }
}

/// A number that is there only when all that was begun before is done.
#[inline(always)]
fn stamp() -> u64 {
    #[cfg(target_arch = "x86_64")]
    return safe_arch::read_timestamp_counter_p(&mut 0);
    #[cfg(not(target_arch = "x86_64"))]
    {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        0
    }
}

/// Numbers that look random, the same in every run (xorshift64*).
pub struct Dice(u64);

impl Dice {
    /// Numbers that follow from `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ seed)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % limit.max(1)
    }
}
