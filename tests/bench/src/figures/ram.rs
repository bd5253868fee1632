//! Loads and stores of guest RAM through a vCPU's handle.

use super::{Topic, Wanted};
use crate::bus::name;
use crate::figure::{Figure, Unit};
use crate::harness::{Contestant, PLACEMENTS, Plan, Results, measure};
use crate::ram::{Bases, Cell, Machine, Parts, guest_memory};
use crate::stream::Stream;
use anyhow::Result;
use machina_core::address::GPA;
use memory_core::{TxAttrs, Width};
use rsemu::core::space as rsemu;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use vm_memory::{ByteValued, Bytes, GuestAddress, GuestMemoryMmap};

pub const TOPIC: Topic = Topic {
    name: "ram",
    figures: &[
        "ram-load-4",
        "ram-load-8",
        "ram-store-4",
        "ram-store-8",
        "ram-gigabyte-load",
        "ram-gigabyte-store",
    ],
    measure: run,
};

const RAW: &str = "limit: raw access by a table of bases";
const GUEST_MEMORY: &str = "vm-memory's GuestMemoryMmap";

fn run(wanted: &Wanted<'_>) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let small = [
        ("ram-load-4", "4-byte RAM load in 256 pages", 4, false),
        ("ram-load-8", "8-byte RAM load in 256 pages", 8, false),
        ("ram-store-4", "4-byte RAM store in 256 pages", 4, true),
        ("ram-store-8", "8-byte RAM store in 256 pages", 8, true),
    ];
    for (id, title, width, stores) in small {
        if wanted.has(id) {
            let figure = Figure::new(id, title, Unit::Nanoseconds, about(stores)).on("regions");
            figures.push(in_256_pages(wanted, figure, width, stores));
        }
    }
    let large = [
        ("ram-gigabyte-load", "8-byte RAM load, random over 1 GiB", false),
        ("ram-gigabyte-store", "8-byte RAM store, random over 1 GiB", true),
    ];
    for (id, title, stores) in large {
        if wanted.has(id) {
            let figure = Figure::new(id, title, Unit::Nanoseconds, about(stores));
            figures.push(in_a_gigabyte(wanted, figure, stores));
        }
    }
    Ok(figures)
}

fn about(stores: bool) -> &'static str {
    if stores {
        "One thread, through a handle. Each store ends before the next begins (its address depends on a time stamp taken \
         by `rdtscp`); the loop with the stamp is subtracted."
    } else {
        "One thread, through a handle. The next address depends on the value that was loaded; the empty loop is subtracted."
    }
}

fn in_256_pages(wanted: &Wanted<'_>, mut figure: Figure, width: u64, stores: bool) -> Figure {
    for count in [1, 8, 64] {
        let parts = Parts::of_256_pages(count);
        let stream = parts.stream(width);
        match (width, count) {
            (4, 1) => compare::<AtomicU32, u32, 1, 0x40000>(wanted, &mut figure, parts, &stream, stores),
            (4, 8) => compare::<AtomicU32, u32, 8, 0x8000>(wanted, &mut figure, parts, &stream, stores),
            (4, _) => compare::<AtomicU32, u32, 64, 0x1000>(wanted, &mut figure, parts, &stream, stores),
            (_, 1) => compare::<AtomicU64, u64, 1, 0x20000>(wanted, &mut figure, parts, &stream, stores),
            (_, 8) => compare::<AtomicU64, u64, 8, 0x4000>(wanted, &mut figure, parts, &stream, stores),
            _ => compare::<AtomicU64, u64, 64, 0x800>(wanted, &mut figure, parts, &stream, stores),
        }
    }
    judge(&mut figure, &[Some(1.0), Some(8.0), Some(64.0)]);
    let (ours, raw) = (figure.median(name::HANDLE, Some(1.0)), figure.median(RAW, Some(1.0)));
    let what = format!("{}, 1 region: beside the raw access", figure.title);
    figure.ratio_at_most(&what, ours / raw, 1.5, "a raw access by a table of bases");
    figure
}

fn in_a_gigabyte(wanted: &Wanted<'_>, mut figure: Figure, stores: bool) -> Figure {
    let parts = Parts { count: 1, size: 1 << 30 };
    // as many pages as these are: no TLB holds them
    let stream = parts.long_stream(8, 1 << 16);
    compare::<AtomicU64, u64, 1, 0x800_0000>(wanted, &mut figure, parts, &stream, stores);
    judge(&mut figure, &[None]);
    figure
}

fn judge(figure: &mut Figure, places: &[Option<f64>]) {
    for at in places {
        let ours = figure.median(name::HANDLE, *at);
        let theirs = figure.median(GUEST_MEMORY, *at);
        let regions =
            at.map_or(String::new(), |at| format!(", {at} region{}", if at > 1.0 { "s" } else { "" }));
        let what = format!("{}{regions}", figure.title);
        let raw = figure.median(RAW, *at) / theirs;
        let of = format!("GuestMemoryMmap's read_obj or write_obj; the raw access itself: {raw:.2} x");
        figure.ratio_at_most(&what, ours / theirs, 0.5, &of);
    }
}

/// Measures all that have RAM, each time somewhere else in the host's memory.
fn compare<C, T, const COUNT: usize, const WORDS: usize>(
    wanted: &Wanted<'_>,
    figure: &mut Figure,
    parts: Parts,
    stream: &Stream,
    stores: bool,
) where
    C: Cell,
    T: ByteValued + Into<u64>,
{
    let at = figure.axis.is_some().then_some(parts.count as f64);
    let placed = |_| place::<C, T, COUNT, WORDS>(wanted, parts, stream, stores);
    let results = Results::pooled((0..PLACEMENTS).map(placed).collect());
    figure.rows_of(&results, at, Some(name::EMPTY));
}

/// Measures all once: `C` is the word of the limit, `T` that of `vm-memory`.
fn place<C, T, const COUNT: usize, const WORDS: usize>(
    wanted: &Wanted<'_>,
    parts: Parts,
    stream: &Stream,
    stores: bool,
) -> Results
where
    C: Cell,
    T: ByteValued + Into<u64>,
{
    let width = Width::new(size_of::<C>() as u64).unwrap_or(Width::W8);
    let machine = Machine::new(parts);
    let theirs = guest_memory(parts);
    let raw = Bases::<C, COUNT, WORDS>::new();
    let (machina, rsemu) = (machina(parts), rsemu(parts));
    let rsemu_width = if width == Width::W4 { ::rsemu::core::Width::U32 } else { ::rsemu::core::Width::U64 };
    let bytes = size_of::<C>() as u32;
    let (space, attrs) = (&machine.space, TxAttrs::default());
    let zero = T::zeroed();
    let store_ours = || {
        let mut handle = space.handle(|| ());
        stream.march(move |address| handle.store(address, width, 0, attrs).expect("RAM"))
    };
    let store_theirs = || stream.march(|address| theirs.write_obj(zero, GuestAddress(address)).expect("RAM"));
    let store_raw = || stream.march(|address| raw.at(address).put(0));
    let store_machina = || stream.march(|address| machina.write(GPA::new(address), bytes, 0));
    let store_rsemu = || {
        stream.march(|address| {
            rsemu.write(address, rsemu_width, 0, rsemu::MemAttrs::DEFAULT).expect("RAM");
        })
    };
    // memory that was never written is one page of zeros to the host, and is not what a guest has
    for mut fill in [store_ours(), store_theirs(), store_raw(), store_machina(), store_rsemu()] {
        fill(stream.len());
    }
    let contestants = if stores {
        vec![
            Contestant::new(name::HANDLE, |_| store_ours()),
            Contestant::new(RAW, |_| store_raw()),
            Contestant::new(GUEST_MEMORY, |_| store_theirs()),
            Contestant::new("machina-memory", |_| store_machina()),
            Contestant::new("rsemu", |_| store_rsemu()),
            Contestant::new(name::EMPTY, |_| stream.empty_march()),
        ]
    } else {
        vec![
            Contestant::new(name::HANDLE, |_| {
                let mut handle = space.handle(|| ());
                stream.chase(move |address| handle.load(address, width, attrs).unwrap_or(1))
            }),
            Contestant::new(RAW, |_| stream.chase(|address| raw.at(address).get())),
            Contestant::new(GUEST_MEMORY, |_| stream.chase(|address| read::<T>(&theirs, address))),
            Contestant::new("machina-memory", |_| {
                stream.chase(|address| machina.read(GPA::new(address), bytes))
            }),
            Contestant::new("rsemu", |_| {
                stream
                    .chase(|address| rsemu.read(address, rsemu_width, rsemu::MemAttrs::DEFAULT).unwrap_or(1))
            }),
            Contestant::new(name::EMPTY, |_| stream.empty_chase()),
        ]
    };
    measure(wanted.cores, 1, Plan::FAST_EACH, contestants)
}

#[inline(always)]
fn read<T: ByteValued + Into<u64>>(memory: &GuestMemoryMmap, address: u64) -> u64 {
    memory.read_obj::<T>(GuestAddress(address)).map_or(1, Into::into)
}

fn machina(parts: Parts) -> machina_memory::AddressSpace {
    let mut root = machina_memory::MemoryRegion::container("system", u64::MAX);
    for start in parts.starts() {
        root.add_subregion(machina_memory::MemoryRegion::ram("ram", parts.size).0, GPA::new(start));
    }
    machina_memory::AddressSpace::new(root)
}

fn rsemu(parts: Parts) -> rsemu::AddressSpace {
    let space = rsemu::AddressSpace::new("memory", 48);
    let mut topology = space.topology();
    for start in parts.starts() {
        let ram = rsemu::Region::ram("ram", Arc::new(rsemu::RamStore::new(parts.size)));
        topology.map(ram, start).expect("a mapping");
    }
    drop(topology);
    space
}
