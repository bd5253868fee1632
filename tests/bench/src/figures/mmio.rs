//! Accesses to registers, by one thread and by several.

use super::{Topic, Wanted};
use crate::bus::{self, Bus, Layout, name};
use crate::figure::{Figure, Unit};
use crate::harness::{PLACEMENTS, Plan, Results, measure};
use crate::stream::Stream;
use anyhow::Result;

pub const TOPIC: Topic = Topic {
    name: "mmio",
    figures: &[
        "mmio-hot-read",
        "mmio-hot-write",
        "mmio-hot-mixed",
        "mmio-random",
        "mmio-random-write",
        "mmio-no-handle",
        "ports-read",
        "ports-write",
        "mmio-threads-own",
        "mmio-threads-random",
    ],
    measure: run,
};

/// What a single thread is asked for.
enum Goal {
    /// `factor` times the limit and so many nanoseconds, and no more than `dragonball` times that form.
    Handle { factor: f64, dragonball: Option<f64> },
    /// A thread without a handle.
    Space,
    /// Nothing: told for the sake of comparison.
    Told,
}

fn run(wanted: &Wanted<'_>) -> Result<Vec<Figure>> {
    let hot = || Layout::pages(256);
    let thousand = || Layout::sparse(1000);
    let near = || Goal::Handle { factor: 1.3, dragonball: None };
    let far = || Goal::Handle { factor: 3.0, dragonball: Some(0.75) };
    let singles: [(&str, &str, Layout, bool, Goal); 8] = [
        ("mmio-hot-read", "4-byte MMIO read, hot set of 256 consecutive pages", hot(), false, near()),
        ("mmio-hot-write", "4-byte MMIO write, hot set of 256 consecutive pages", hot(), true, near()),
        ("mmio-hot-mixed", "the same read with four types of devices", hot().mixed(), false, Goal::Told),
        ("mmio-random", "4-byte MMIO read, random over 1,000 sparse regions", thousand(), false, far()),
        ("mmio-random-write", "4-byte MMIO write, random over 1,000 sparse regions", thousand(), true, far()),
        (
            "mmio-no-handle",
            "4-byte MMIO read of a thread without a handle, 100 regions",
            Layout::sparse(100),
            false,
            Goal::Space,
        ),
        ("ports-read", "1-byte port read, 100 groups of 1 to 8 ports", Layout::ports(100), false, near()),
        ("ports-write", "1-byte port write, 100 groups of 1 to 8 ports", Layout::ports(100), true, near()),
    ];
    let mut figures = Vec::new();
    for (id, title, layout, writes, goal) in singles {
        if wanted.has(id) {
            figures.push(single(wanted, (id, title), &layout, writes, &goal));
        }
    }
    if wanted.has("mmio-threads-own") {
        let title = "4-byte MMIO read, each thread its own 64 of 256 regions";
        figures.push(threads(wanted, ("mmio-threads-own", title), &hot(), |layout, thread| {
            layout.stream(64 * (thread % 4), 64)
        }));
    }
    if wanted.has("mmio-threads-random") {
        let title = "4-byte MMIO read, all threads random over 1,000 sparse regions";
        figures.push(threads(wanted, ("mmio-threads-random", title), &thousand(), |layout, _| {
            layout.stream(0, layout.regions.len())
        }));
    }
    Ok(figures)
}

fn single(
    wanted: &Wanted<'_>,
    (id, title): (&str, &str),
    layout: &Layout,
    writes: bool,
    goal: &Goal,
) -> Figure {
    let about = if writes {
        "One thread. Each write ends before the next begins (its address depends on a time stamp taken by `rdtscp`); the loop with the \
         stamp is subtracted."
    } else {
        "One thread. The next address depends on the value that was read; the empty loop is subtracted."
    };
    let mut figure = Figure::new(id, title, Unit::Nanoseconds, about);
    let streams = [layout.stream(0, layout.regions.len())];
    let placed = |_| {
        let buses = bus::all(layout);
        let contestants =
            if writes { bus::writers(&buses, &streams) } else { bus::readers(&buses, &streams) };
        measure(wanted.cores, 1, Plan::FAST_EACH, contestants)
    };
    let results = Results::pooled((0..PLACEMENTS).map(placed).collect());
    figure.rows_of(&results, None, Some(name::EMPTY));
    let limit = figure.median(name::LIMIT, None);
    match goal {
        Goal::Handle { factor, dragonball } => {
            let handle = figure.median(name::HANDLE, None);
            figure.at_most(title, handle, factor * limit + 6.0, &format!("{factor} x limit + 6 ns"));
            if let Some(factor) = dragonball {
                let peer = figure.median(name::DRAGONBALL, None);
                let what = format!("{title}: beside Dragonball's form");
                figure.ratio_at_most(&what, handle / peer, *factor, name::DRAGONBALL);
            }
        }
        Goal::Space => {
            let space = figure.median(name::SPACE, None);
            // threads without a handle have a table of guesses each
            figure.at_most(title, space, 2.2 * limit + 6.0, "2.2 x limit + 6 ns");
        }
        Goal::Told => (),
    }
    figure
}

fn threads(
    wanted: &Wanted<'_>,
    (id, title): (&str, &str),
    layout: &Layout,
    stream: impl Fn(&Layout, usize) -> Stream,
) -> Figure {
    let about = "Time of one access in each thread, all threads at once, each on a core of its own. The next address \
                 depends on the value that was read; the empty loop is subtracted.";
    let mut figure = Figure::new(id, title, Unit::Nanoseconds, about).on("threads");
    let buses: Vec<Box<dyn Bus>> = bus::all(layout);
    let counts = wanted.cores.thread_counts();
    let streams: Vec<Stream> = (0..4).map(|thread| stream(layout, thread)).collect();
    for threads in &counts {
        let results = measure(wanted.cores, *threads, Plan::FAST, bus::readers(&buses, &streams));
        figure.rows_of(&results, Some(*threads as f64), Some(name::EMPTY));
    }
    if let Some(most) = counts.last().filter(|most| **most > 1) {
        let one = figure.median(name::HANDLE, Some(1.0));
        let all = figure.median(name::HANDLE, Some(*most as f64));
        let limit = |at: usize| figure.median(name::LIMIT, Some(at as f64));
        let of = format!("1 thread; the limit itself: {:.2} x", limit(*most) / limit(1));
        let what = format!("{title}: {most} threads, time per thread");
        figure.ratio_at_most(&what, all / one, 1.2, &of);
    } else {
        figure.absent.push((title.to_owned(), "the host has one core".to_owned()));
    }
    figure
}
