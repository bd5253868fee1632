//! How long a reader waits while others commit.

use super::{Topic, Wanted};
use crate::board::{Board, STRIDE};
use crate::figure::{Figure, Unit};
use crate::harness::{Stat, addition};
use crate::stream::Dice;
use anyhow::Result;
use memory_core::{TxAttrs, Width};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub const TOPIC: Topic = Topic { name: "stall", figures: &["stall"], measure: run };

const RANGES: u64 = 10_000;
const COMMITS: u64 = 1_000;
const ACCESSES: u64 = 1_000_000;
/// No run takes longer, however long commits take.
const PATIENCE: Duration = Duration::from_secs(4);
const RUNS: usize = 5;

/// Times of single accesses, in nanoseconds: one counter each up to 64 us, and one for all beyond.
struct Histogram {
    counts: Vec<u64>,
    total: u64,
    longest: u64,
}

impl Histogram {
    fn new() -> Self {
        Self { counts: vec![0; 1 << 16], total: 0, longest: 0 }
    }

    fn note(&mut self, nanoseconds: u64) {
        let last = self.counts.len() - 1;
        self.counts[(nanoseconds as usize).min(last)] += 1;
        self.total += 1;
        self.longest = self.longest.max(nanoseconds);
    }

    /// What all but one in `one_in` accesses stayed within.
    fn percentile(&self, one_in: u64) -> f64 {
        let beyond = self.total / one_in;
        let mut seen = 0;
        for (nanoseconds, count) in self.counts.iter().enumerate().rev() {
            seen += count;
            if seen > beyond {
                let is_last = nanoseconds + 1 == self.counts.len();
                return if is_last { self.longest as f64 } else { nanoseconds as f64 };
            }
        }
        0.0
    }
}

/// What a run found.
struct Run {
    times: Histogram,
    commits: u64,
}

fn run(wanted: &Wanted<'_>) -> Result<Vec<Figure>> {
    let about = "A thread reads registers at random through its handle and takes the time of every access, clock included; \
                 another thread commits one change for every thousand accesses, or does nothing. Five runs of each kind in \
                 turn; medians of their percentiles.";
    let title = "a reader's accesses during commits at 10,000 ranges";
    let mut figure = Figure::new("stall", title, Unit::Microseconds, about);
    if wanted.cores.count() < 2 {
        figure.absent.push((title.to_owned(), "the host has one core".to_owned()));
        return Ok(vec![figure]);
    }
    let board = Board::new(RANGES);
    let (mut quiet, mut busy) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        quiet.push(once(wanted, &board, false));
        busy.push(once(wanted, &board, true));
    }
    let addition = Some(addition(wanted.cores));
    for (name, one_in) in [("p50", 2), ("p99", 100), ("p99.99", 10_000)] {
        let stat = |runs: &[Run]| Stat::of(runs.iter().map(|run| run.times.percentile(one_in)).collect());
        figure.row(format!("flatland, {name} without commits"), None, stat(&quiet), addition);
        figure.row(format!("flatland, {name} during commits"), None, stat(&busy), addition);
    }
    let above = figure.median("flatland, p99.99 during commits", None)
        - figure.median("flatland, p99.99 without commits", None);
    let fewest = busy.iter().map(|run| run.commits).min().unwrap_or_default();
    let what = format!("stall of a reader, p99.99 above the run without commits ({fewest} commits)");
    figure.at_most(&what, above, 5_000.0, "5 us");
    Ok(vec![figure])
}

/// A million accesses with or without commits.
fn once(wanted: &Wanted<'_>, board: &Board, commits: bool) -> Run {
    let (done, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let deadline = Instant::now() + PATIENCE;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            wanted.cores.pin(0);
            let mut change = board.changes();
            let mut count = 0;
            while count < COMMITS && Instant::now() < deadline {
                if done.load(Ordering::Relaxed) < count * (ACCESSES / COMMITS) {
                    std::hint::spin_loop();
                    continue;
                }
                if commits {
                    change();
                }
                count += 1;
            }
            if count % 2 == 1 && commits {
                change();
            }
            over.store(true, Ordering::Relaxed);
            count
        });
        let reader = scope.spawn(|| {
            wanted.cores.pin(1);
            let mut handle = board.space.handle(|| ());
            let mut dice = Dice::seeded(3);
            let mut times = Histogram::new();
            while times.total < ACCESSES || !over.load(Ordering::Relaxed) {
                let address = dice.below(RANGES) * STRIDE + 0x800;
                let start = Instant::now();
                let value = handle.load(address, Width::W4, TxAttrs::default());
                let took = start.elapsed();
                assert_eq!(value, Ok(0));
                times.note(took.as_nanos() as u64);
                done.store(times.total, Ordering::Relaxed);
            }
            times
        });
        let commits = writer.join().expect("the writer does not panic");
        Run { times: reader.join().expect("the reader does not panic"), commits }
    })
}
