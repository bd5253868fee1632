//! Guest memory for devices of the host's side: bulk transfers, mappings, windows.

use super::{Topic, Wanted};
use crate::bus::name;
use crate::figure::{Figure, Unit};
use crate::harness::{Contestant, Plan, measure};
use crate::ram::{BASE, Cell, Machine, Parts, guest_memory};
use anyhow::Result;
use memory_core::{AddrRange, TxAttrs, Width};
use memory_dispatch::Direction;
use std::hint::black_box;
use std::sync::atomic::AtomicU32;
use std::time::Duration;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

pub const TOPIC: Topic = Topic {
    name: "host",
    figures: &["bulk-read", "bulk-write", "map", "map-threads", "window"],
    measure: run,
};

const MEMCPY: &str = "limit: memcpy";
const PIN: &str = "limit: clone and drop of a pin";
const MAP_READ: &str = "flatland, map + unmap to read";
const MAP_WRITE: &str = "flatland, map + unmap to write";
const CHECKED: &str = "limit: raw load + bounds check";
const WINDOW: &str = "flatland, window";

const MIB: usize = 1 << 20;

fn run(wanted: &Wanted<'_>) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (id, title, writes) in
        [("bulk-read", "read of 1 MiB of RAM", false), ("bulk-write", "write of 1 MiB of RAM", true)]
    {
        if wanted.has(id) {
            figures.push(bulk(wanted, Figure::new(id, title, Unit::Microseconds, "One thread."), writes));
        }
    }
    if wanted.has("map") {
        figures.push(map(wanted));
    }
    if wanted.has("map-threads") {
        figures.push(map_threads(wanted));
    }
    if wanted.has("window") {
        figures.push(window(wanted));
    }
    Ok(figures)
}

/// A buffer that begins at a page's start, as guest memory does: the copy's speed depends on that.
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    fn new() -> Self {
        let bytes = vec![1; MIB + 4096];
        let start = bytes.as_ptr().align_offset(4096).min(4096);
        Self { bytes, start }
    }

    fn get(&self) -> &[u8] {
        &self.bytes[self.start..self.start + MIB]
    }

    fn get_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + MIB]
    }
}

fn bulk(wanted: &Wanted<'_>, mut figure: Figure, writes: bool) -> Figure {
    let parts = Parts { count: 1, size: MIB as u64 };
    let machine = Machine::new(parts);
    let theirs = guest_memory(parts);
    let (space, attrs, base) = (&machine.space, TxAttrs::default(), GuestAddress(BASE));
    let filled = Aligned::new();
    space.write(BASE, filled.get(), attrs).expect("RAM");
    theirs.write_slice(filled.get(), base).expect("RAM");
    let filled = &filled;
    let plan = Plan { rounds: 201, warm: true, ..Plan::SLOW };
    let contestants = vec![
        Contestant::new(name::HANDLE, move |_| {
            let (mut handle, mut own) = (space.handle(|| ()), Aligned::new());
            Box::new(move |count| {
                for _ in 0..count {
                    if writes {
                        handle.write(BASE, own.get(), attrs)
                    } else {
                        handle.read(BASE, own.get_mut(), attrs)
                    }
                    .expect("RAM");
                }
            })
        }),
        Contestant::new(name::SPACE, move |_| {
            let mut own = Aligned::new();
            Box::new(move |count| {
                for _ in 0..count {
                    if writes {
                        space.write(BASE, own.get(), attrs)
                    } else {
                        space.read(BASE, own.get_mut(), attrs)
                    }
                    .expect("RAM");
                }
            })
        }),
        Contestant::new(MEMCPY, move |_| {
            let mut own = Aligned::new();
            Box::new(move |count| {
                for _ in 0..count {
                    own.get_mut().copy_from_slice(black_box(filled.get()));
                    black_box(own.get_mut());
                }
            })
        }),
        Contestant::new("vm-memory's GuestMemoryMmap", |_| {
            let (mut own, theirs) = (Aligned::new(), &theirs);
            Box::new(move |count| {
                for _ in 0..count {
                    if writes {
                        theirs.write_slice(own.get(), base)
                    } else {
                        theirs.read_slice(own.get_mut(), base)
                    }
                    .expect("RAM");
                }
            })
        }),
    ];
    let results = measure(wanted.cores, 1, plan, contestants);
    figure.rows_of(&results, None, None);
    let rate = figure.median(MEMCPY, None) / figure.median(name::HANDLE, None);
    let what = figure.title.clone();
    figure.verdict(&what, format!("{rate:.2} x"), ">= 0.95 x memcpy's rate".to_owned(), rate >= 0.95);
    figure
}

fn map(wanted: &Wanted<'_>) -> Figure {
    let about = "One thread. A guard over one page of RAM is made and dropped, beside the reference count that it must take.";
    let mut figure = Figure::new("map", "map + unmap of 4 KiB of RAM", Unit::Nanoseconds, about);
    let results =
        measure(wanted.cores, 1, Plan::FAST, mappers(&Machine::new(Parts { count: 4, size: MIB as u64 })));
    figure.rows_of(&results, None, None);
    let pin = figure.median(PIN, None);
    for name in [MAP_READ, MAP_WRITE] {
        let what = name.replace("flatland, ", "4 KiB of RAM: ");
        figure.at_most(&what, figure.median(name, None), pin + 25.0, "clone and drop of a pin + 25 ns");
    }
    figure
}

fn map_threads(wanted: &Wanted<'_>) -> Figure {
    let about = "Each thread maps its own block; time of one map + unmap in each thread.";
    let title = "map + unmap of 4 KiB of RAM by several threads";
    let mut figure = Figure::new("map-threads", title, Unit::Nanoseconds, about).on("threads");
    let machine = Machine::new(Parts { count: 4, size: MIB as u64 });
    let counts = wanted.cores.thread_counts();
    for threads in &counts {
        let results = measure(wanted.cores, *threads, Plan::FAST, mappers(&machine));
        figure.rows_of(&results, Some(*threads as f64), None);
    }
    match counts.last().filter(|most| **most > 1) {
        Some(most) => {
            let ratio = |name| figure.median(name, Some(*most as f64)) / figure.median(name, Some(1.0));
            let of = format!("1 thread; the pin itself: {:.2} x", ratio(PIN));
            let scaled = ratio(MAP_READ);
            figure.ratio_at_most(&format!("{title}: {most} threads, time per thread"), scaled, 1.2, &of);
        }
        None => figure.absent.push((title.to_owned(), "the host has one core".to_owned())),
    }
    figure
}

fn mappers(machine: &Machine) -> Vec<Contestant<'_>> {
    let (space, attrs) = (&machine.space, TxAttrs::default());
    let own = |thread: usize| BASE + 2 * MIB as u64 * (thread as u64 % 4);
    let mapper = move |name, direction, written| {
        Contestant::new(name, move |thread| {
            Box::new(move |count| {
                for _ in 0..count {
                    let guard = space.map(own(thread), 4096, direction, attrs).expect("RAM");
                    guard.unmap(written).expect("no more than was mapped");
                }
            })
        })
    };
    vec![
        mapper(MAP_READ, Direction::Read, 0),
        mapper(MAP_WRITE, Direction::Write, 4096),
        Contestant::new(PIN, move |thread| {
            let range = AddrRange::from_len(own(thread), 4096).expect("a range");
            let section = space.find(range).expect("RAM");
            Box::new(move |count| {
                let part = section.read().expect("it can be read");
                for _ in 0..count {
                    black_box(part.pin().clone());
                }
            })
        }),
    ]
}

fn window(wanted: &Wanted<'_>) -> Figure {
    let about = "One thread, 4-byte loads in a window of 256 pages of RAM. The next offset depends on the value that was \
                 loaded; the empty loop is subtracted.";
    let mut figure = Figure::new("window", "load through a cached window", Unit::Nanoseconds, about);
    let parts = Parts::of_256_pages(1);
    let machine = Machine::new(parts);
    let theirs = guest_memory(parts);
    machine.space.fill(BASE, MIB, 0, TxAttrs::default()).expect("RAM");
    theirs.write_slice(&vec![0; MIB], GuestAddress(BASE)).expect("RAM");
    let range = AddrRange::from_len(BASE, MIB).expect("a range");
    let window = machine.space.window(range, TxAttrs::default());
    let cells: Vec<AtomicU32> = (0..MIB / 4).map(|_| AtomicU32::new(0)).collect();
    let cells = black_box(cells);
    let stream = parts.stream(4);
    let contestants = vec![
        Contestant::new(WINDOW, |_| {
            stream.chase(|address| window.load(address - BASE, Width::W4).unwrap_or(1))
        }),
        Contestant::new(CHECKED, |_| {
            stream.chase(|address| cells.get((address - BASE) as usize / 4).map_or(1, Cell::get))
        }),
        Contestant::new("vm-memory's VolatileSlice::read_obj", |_| {
            let slice = theirs.get_slice(GuestAddress(BASE), MIB).expect("RAM");
            stream.chase(move |address| slice.read_obj::<u32>((address - BASE) as usize).map_or(1, u64::from))
        }),
        Contestant::new(name::EMPTY, |_| stream.empty_chase()),
    ];
    let plan = Plan { budget: Duration::from_millis(120), ..Plan::FAST };
    let results = measure(wanted.cores, 1, plan, contestants);
    figure.rows_of(&results, None, Some(name::EMPTY));
    let ratio = figure.median(WINDOW, None) / figure.median(CHECKED, None);
    figure.ratio_at_most("load through a cached window", ratio, 1.2, "raw load + bounds check");
    figure
}
