//! Many devices: base address registers, and doorbells.

use super::{Topic, Wanted};
use crate::board::Board;
use crate::device::Register;
use crate::figure::{Figure, Unit};
use crate::harness::{Stat, addition, timed};
use anyhow::Result;
use memory_core::{AccessRules, EventNotifier, IoEvent, MemoryError, Region, Size, Width};
use memory_dispatch::{AddressSpace, MemorySystem, SpaceConfig};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const TOPIC: Topic = Topic { name: "hotplug", figures: &["pci", "ioeventfd"], measure: run };

const DEVICES: u64 = 250;
const BARS: u64 = 3;
const ALL: usize = (DEVICES * BARS) as usize;

fn run(wanted: &Wanted<'_>) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    if wanted.has("pci") {
        figures.push(pci(wanted));
    }
    if wanted.has("ioeventfd") {
        figures.push(ioeventfd(wanted)?);
    }
    Ok(figures)
}

/// A PCI bus whose BARs nobody has mapped yet, and a bus master's address space for each device.
pub struct Pci {
    pci: Region,
    bars: Vec<Region>,
    system: MemorySystem,
    _system: Region,
    _spaces: Vec<(Arc<AddressSpace>, [Region; 2])>,
}

impl Pci {
    /// With all BARs unmapped.
    pub fn new() -> Self {
        let system = MemorySystem::new();
        let memory = system.memory();
        let container = |name: String, size| memory.container(name, size).build().expect("a container");
        let root = container("system".to_owned(), Size::FULL);
        let pci = container("pci".to_owned(), Size::FULL);
        root.map_overlap(0, &pci, -1).expect("it may overlap");
        let cpu = system.address_space("memory", &root, SpaceConfig::default()).expect("a space");
        let empty = container("none".to_owned(), Size::FULL);
        let nothing = memory.alias("no alias", &empty, 0, 0x1000u64).build().expect("an alias");
        let mut spaces = vec![(cpu, [empty, nothing])];
        for device in 0..DEVICES {
            let name = format!("master{device}");
            let master = container(name.clone(), Size::FULL);
            let whole =
                memory.alias(format!("whole{device}"), &root, 0, Size::FULL).build().expect("an alias");
            master.map(0, &whole).expect("no overlap");
            let space = system.address_space(name, &master, SpaceConfig::default()).expect("a space");
            spaces.push((space, [master, whole]));
        }
        let bar = |index: u64| {
            let device = Arc::new(Register::<0>::default());
            let bar = memory.mmio(format!("bar{index}"), 0x4000u64, AccessRules::new(), device);
            bar.build().expect("a region")
        };
        let bars = (0..DEVICES * BARS).map(bar).collect();
        Self { pci, bars, system, _system: root, _spaces: spaces }
    }

    /// Maps the first `count` BARs, each in a commit of its own.
    pub fn map(&self, count: usize) -> Duration {
        let start = Instant::now();
        for (index, bar) in self.bars.iter().enumerate().take(count) {
            self.pci.map_overlap(0xc000_0000 + index as u64 * 0x4000, bar, 1).expect("it may overlap");
        }
        let took = start.elapsed();
        self.system.reclaim();
        took
    }
}

fn pci(wanted: &Wanted<'_>) -> Figure {
    let about = "250 devices with 3 BARs, and an address space for each device's DMA that is a whole alias of the system's. \
                 The time of all 750 commits.";
    let title = "250 PCI devices with 3 BARs, one commit for each BAR";
    let mut figure = Figure::new("pci", title, Unit::Milliseconds, about);
    let addition = addition(wanted.cores);
    // the first one tells what the rest would take
    let first = timed(wanted.cores, 1, || Pci::new().map(ALL)).median;
    let rounds = (2e9 / first) as usize;
    let stat = timed(wanted.cores, rounds.clamp(1, 15), || Pci::new().map(ALL));
    figure.row("flatland, 750 commits", None, stat, Some(addition));
    figure.at_most(title, stat.median, 20e6, "20 ms");
    figure
}

fn ioeventfd(wanted: &Wanted<'_>) -> Result<Figure> {
    let about = "One doorbell more is added, in a commit of its own: to one of 1,000 regions with 10 each, or to one region that \
                 has all 10,000.";
    let title = "ioeventfd added among 10,000";
    let mut figure = Figure::new("ioeventfd", title, Unit::Microseconds, about);
    let addition = addition(wanted.cores);
    const SPREAD: &str = "flatland, 1,000 regions with 10 each";
    for (name, regions, each) in [(SPREAD, 1_000, 10), ("flatland, one region with all", 1, 10_000)] {
        let stat = doorbells(wanted, regions, each)?;
        figure.row(name, None, stat, Some(addition));
    }
    figure.at_most(title, figure.median(SPREAD, None), 20_000.0, "20 us");
    Ok(figure)
}

/// The time of adding one more to the region in the middle.
fn doorbells(wanted: &Wanted<'_>, regions: u64, each: u64) -> Result<Stat> {
    let board = Board::new(regions);
    let event = EventNotifier::new()?;
    let doorbell = |number: u64| IoEvent::new(0, Width::W4, event.clone()).value(number);
    board.system.memory().transaction(|_| {
        for region in &board.regions {
            (0..each).try_for_each(|number| region.add_ioevent(doorbell(number)))?;
        }
        Ok::<(), MemoryError>(())
    })?;
    let (region, more) = (&board.regions[board.regions.len() / 2], doorbell(each));
    Ok(timed(wanted.cores, 101, || {
        let start = Instant::now();
        region.add_ioevent(more.clone()).expect("there is none like it");
        let took = start.elapsed();
        region.remove_ioevent(&more).expect("it was added");
        took
    }))
}
