//! How things are measured: all contestants of a figure in turn, in short samples, over and over; then the medians.
//!
//! What others do on the host then hits all contestants alike, and a sample is too short to be interrupted often.

use crate::pin::Cores;
use crate::stream::Work;
use serde::Serialize;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const NO_PANIC: &str = "what is measured does not panic";

/// Something that is measured: makes each thread's work, in that thread.
pub struct Contestant<'a> {
    name: String,
    work: Box<dyn Fn(usize) -> Work<'a> + Sync + 'a>,
}

impl<'a> Contestant<'a> {
    /// `work` makes the work of the thread of that number.
    pub fn new(name: impl Into<String>, work: impl Fn(usize) -> Work<'a> + Sync + 'a) -> Self {
        Self { name: name.into(), work: Box::new(work) }
    }
}

/// How long and how often to measure.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Time of one sample, about.
    pub sample: Duration,
    /// Samples of each contestant, at most.
    pub rounds: usize,
    /// Time for each contestant, about; five samples are taken in any case.
    pub budget: Duration,
    /// As many operations as a sample has are done before it.
    pub warm: bool,
}

impl Plan {
    /// For what takes nanoseconds.
    pub const FAST: Self = Self {
        sample: Duration::from_micros(80),
        rounds: 301,
        budget: Duration::from_millis(120),
        warm: true,
    };
    /// The same for each of several placements.
    pub const FAST_EACH: Self = Self { rounds: Self::FAST.rounds / PLACEMENTS, ..Self::FAST };
    /// For what takes microseconds or more.
    pub const SLOW: Self = Self {
        sample: Duration::from_micros(500),
        rounds: 101,
        budget: Duration::from_millis(200),
        warm: false,
    };
}

/// Nanoseconds of one operation, over all samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Stat {
    /// Half of the samples took less.
    pub median: f64,
    /// A tenth of the samples took less.
    pub low: f64,
    /// A tenth of the samples took more.
    pub high: f64,
}

impl Stat {
    /// Of samples in any order.
    pub fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let at = |part: usize| samples.get(samples.len() * part / 10).copied().unwrap_or_default();
        Self { median: at(5), low: at(1), high: at(9) }
    }

    /// Less what the loop itself takes.
    pub fn less(self, loop_itself: f64) -> Self {
        let less = |value: f64| (value - loop_itself).max(0.01);
        Self { median: less(self.median), low: less(self.low), high: less(self.high) }
    }
}

/// What was measured of one contestant.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// Nanoseconds of one operation in each sample, the loop included.
    samples: Vec<f64>,
}

impl Measured {
    /// Its time, the loop included.
    pub fn stat(&self) -> Stat {
        Stat::of(self.samples.clone())
    }
}

/// How often a machine is made anew for a figure whose contestants have much memory: where the host places it decides which
/// of it shares a set of a cache, and shifts a contestant's time by half for as long as it lives there.
pub const PLACEMENTS: usize = 5;

/// What a figure's contestants took, with the calibration of the same rounds.
pub struct Results {
    measured: Vec<Measured>,
    /// Nanoseconds of one of the dependent additions of the calibration.
    pub addition: f64,
}

impl Results {
    /// The time of a contestant.
    pub fn of(&self, name: &str) -> Stat {
        let found = self.measured.iter().find(|measured| measured.name == name);
        found.unwrap_or_else(|| panic!("no contestant `{name}`")).stat()
    }

    /// The samples of several measurements of the same contestants, as if they were of one.
    pub fn pooled(all: Vec<Self>) -> Self {
        let additions = all.iter().map(|results| results.addition).collect();
        let mut all = all.into_iter();
        let mut measured = all.next().map(|results| results.measured).unwrap_or_default();
        for results in all {
            for (one, more) in measured.iter_mut().zip(results.measured) {
                one.samples.extend(more.samples);
            }
        }
        Self { measured, addition: Stat::of(additions).median }
    }

    /// All of them, in their order.
    pub fn all(&self) -> &[Measured] {
        &self.measured
    }
}

/// Measures all contestants with `threads` threads, each on a core of its own.
pub fn measure(cores: &Cores, threads: usize, plan: Plan, contestants: Vec<Contestant<'_>>) -> Results {
    let mut contestants = contestants;
    contestants.push(Contestant::new("calibration", |_| calibration()));
    let contestants = contestants;
    let count = contestants.len();
    let find = || {
        cores.pin(0);
        contestants.iter().map(|contestant| Size::find(contestant, plan)).collect()
    };
    // the calling thread is never pinned: what it starts would be as well
    let sizes: Vec<Size> = std::thread::scope(|scope| scope.spawn(find).join()).expect(NO_PANIC);
    let gate = Gate { threads, arrived: AtomicUsize::new(0) };
    let run = |thread: usize| {
        cores.pin(thread);
        let mut works: Vec<Work<'_>> =
            contestants.iter().map(|contestant| (contestant.work)(thread)).collect();
        let mut samples = vec![Vec::with_capacity(plan.rounds); count];
        let mut turn = 0;
        for round in 0..plan.rounds {
            for step in 0..count {
                let index = (round + step) % count;
                let (Some(size), Some(work), Some(samples)) =
                    (sizes.get(index), works.get_mut(index), samples.get_mut(index))
                else {
                    continue;
                };
                if round % size.stride != 0 {
                    continue;
                }
                turn += 1;
                gate.pass(turn);
                // what the others did has emptied the caches
                work(size.warm);
                let start = Instant::now();
                work(size.operations);
                samples.push(start.elapsed().as_nanos() as f64 / size.operations as f64);
            }
        }
        samples
    };
    let per_thread: Vec<Vec<Vec<f64>>> = std::thread::scope(|scope| {
        let run = &run;
        let started: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        started.into_iter().map(|thread| thread.join().expect(NO_PANIC)).collect()
    });
    // every thread's samples count alone: whoever is interrupted spoils his own, and not those of all
    let samples_of = |index: usize| -> Vec<f64> {
        per_thread.iter().filter_map(|thread| thread.get(index)).flatten().copied().collect()
    };
    let measured = |(index, contestant): (usize, &Contestant<'_>)| Measured {
        name: contestant.name.clone(),
        samples: samples_of(index),
    };
    let mut measured: Vec<Measured> = contestants.iter().enumerate().map(measured).collect();
    let addition = measured.pop().map_or(1.0, |calibration| calibration.stat().median);
    Results { measured, addition }
}

/// Nanoseconds of one addition of the calibration, for what is not measured in rounds.
pub fn addition(cores: &Cores) -> f64 {
    measure(cores, 1, Plan::FAST, Vec::new()).addition
}

/// Runs something that takes its own time so often, on one core.
pub fn timed(cores: &Cores, rounds: usize, mut run: impl FnMut() -> Duration + Send) -> Stat {
    let all = || {
        cores.pin(0);
        (0..rounds).map(|_| run().as_nanos() as f64).collect()
    };
    Stat::of(std::thread::scope(|scope| scope.spawn(all).join()).expect(NO_PANIC))
}

/// Additions each of which needs the result of the one before.
fn calibration() -> Work<'static> {
    Box::new(|count| {
        let (mut a, mut b) = (black_box(1u64), black_box(1u64));
        for _ in 0..count {
            (a, b) = (b, a.wrapping_add(b));
        }
        black_box((a, b));
    })
}

/// How many operations make a sample, and in which rounds a contestant takes part.
struct Size {
    operations: usize,
    /// Operations before each sample that are not measured.
    warm: usize,
    stride: usize,
}

impl Size {
    fn find(contestant: &Contestant<'_>, plan: Plan) -> Self {
        let mut work = (contestant.work)(0);
        let mut operations = 1;
        // the first sample fills caches
        work(1);
        let took = loop {
            let start = Instant::now();
            work(operations);
            let took = start.elapsed();
            if took >= plan.sample / 2 || operations >= 1 << 24 {
                break took;
            }
            operations *= 2;
        };
        let most = (plan.budget.as_secs_f64() / took.as_secs_f64().max(1e-9)) as usize;
        let warm = if plan.warm { operations } else { 0 };
        Self { operations, warm, stride: plan.rounds.div_ceil(most.clamp(5, plan.rounds)) }
    }
}

/// Where threads wait for each other.
struct Gate {
    threads: usize,
    arrived: AtomicUsize,
}

impl Gate {
    /// Waits until all threads have come to their `turn`, counted from 1.
    fn pass(&self, turn: usize) {
        self.arrived.fetch_add(1, Ordering::AcqRel);
        let mut spins = 0u32;
        while self.arrived.load(Ordering::Acquire) < turn * self.threads {
            spins += 1;
            if spins.is_multiple_of(1024) {
                // somebody else may have our partner's core
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
    }
}
