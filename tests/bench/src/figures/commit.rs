//! Commits of one change among many ranges, from the tree to the published view.

use super::{Topic, Wanted};
use crate::board::{Board, STRIDE};
use crate::bus::{Layout, dragonball, hand, machina, rsemu};
use crate::figure::{Figure, Unit};
use crate::harness::{Contestant, Plan, measure};
use crate::stream::Work;
use anyhow::Result;
use arc_swap::ArcSwap;
use machina_core::address::GPA;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

pub const TOPIC: Topic = Topic { name: "commit", figures: &["commit", "commit-spaces"], measure: run };

const OURS: &str = "flatland, one commit";

fn run(wanted: &Wanted<'_>) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    if wanted.has("commit") {
        figures.push(among_ranges(wanted));
    }
    if wanted.has("commit-spaces") {
        figures.push(among_spaces(wanted));
    }
    Ok(figures)
}

/// Work that does `change` over and over.
fn again<'a>(mut change: impl FnMut() + 'a) -> Work<'a> {
    Box::new(move |count| (0..count).for_each(|_| change()))
}

fn among_ranges(wanted: &Wanted<'_>) -> Figure {
    let about = "One region moves by half a page, in a commit of its own. Of the peers only machina-memory and rsemu render \
                 regions at all; the maps by hand remove and insert, and readers see the hole.";
    let title = "commit of one change, by the number of ranges";
    let mut figure = Figure::new("commit", title, Unit::Microseconds, about).on("ranges");
    for count in [100, 1_000, 10_000] {
        let layout = Layout {
            regions: (0..count).map(|index| (index * STRIDE, 0x1000)).collect(),
            ports: false,
            mixed: false,
        };
        let board = Board::new(count);
        let peers = Peers::new(&layout);
        let mut contestants = vec![
            Contestant::new(OURS, |_| again(board.changes())),
            Contestant::new("dbs-device behind ArcSwap: clone and replace", |_| again(|| peers.dragonball())),
            Contestant::new("rsemu: remap", |_| again(|| peers.rsemu())),
            Contestant::new("RwLock<BTreeMap> by hand: remove, insert", |_| again(|| peers.by_hand())),
        ];
        if count <= 1_000 {
            contestants
                .push(Contestant::new("machina-memory: update_flat_view", |_| again(|| peers.machina())));
        }
        let results = measure(wanted.cores, 1, Plan::SLOW, contestants);
        figure.rows_of(&results, Some(count as f64), None);
    }
    figure.absent.push((
        "machina-memory: update_flat_view among 10,000".to_owned(),
        "it compares every range with every other one".to_owned(),
    ));
    let at = |count: f64| figure.median(OURS, Some(count));
    let (few, many) = (at(100.0), at(10_000.0));
    figure.ratio_at_most("one change among 10,000 ranges beside one among 100", many / few, 3.0, "among 100");
    figure.at_most("one change among 10,000 ranges", many, 10_000.0, "10 us");
    figure
}

/// The peers' maps, and where the region that moves is.
struct Peers {
    index: usize,
    home: u64,
    /// Where the region is in each of the four.
    away: [AtomicBool; 4],
    dragonball: ArcSwap<dbs_device::device_manager::IoManager>,
    device: Arc<dyn dbs_device::DeviceIo>,
    rsemu: ::rsemu::core::space::AddressSpace,
    mapping: ::rsemu::core::space::MappingId,
    by_hand: RwLock<hand::Map>,
    machina: Mutex<machina_memory::AddressSpace>,
}

impl Peers {
    fn new(layout: &Layout) -> Self {
        let index = layout.regions.len() / 4;
        let rsemu = ::rsemu::core::space::AddressSpace::new("memory", 48);
        let mapping = *rsemu::fill(&rsemu, layout).get(index).expect("there are regions");
        // rendering takes long there, and that of many ranges is not measured
        let few = Layout {
            regions: layout.regions.iter().copied().take(1_000).collect(),
            ports: false,
            mixed: false,
        };
        Self {
            index,
            home: index as u64 * STRIDE,
            away: Default::default(),
            dragonball: ArcSwap::from_pointee(dragonball::manager(layout)),
            device: Arc::new(crate::device::Register::<0>::default()),
            rsemu,
            mapping,
            by_hand: RwLock::new(hand::map(layout)),
            machina: Mutex::new(machina_memory::AddressSpace::new(machina::root(&few))),
        }
    }

    /// Where the region is in the map of that number, and where it goes.
    fn step(&self, map: usize) -> (u64, u64) {
        let (home, away) = (self.home, self.home + 0x800);
        let was_away = self.away.get(map).is_some_and(|flag| flag.fetch_not(Ordering::Relaxed));
        if was_away { (away, home) } else { (home, away) }
    }

    fn dragonball(&self) {
        let (from, to) = self.step(0);
        let mut manager = (*self.dragonball.load_full()).clone();
        manager.unregister_device_io(&[dragonball::resource(false, from, 0x1000)]).expect("it was there");
        manager
            .register_device_io(self.device.clone(), &[dragonball::resource(false, to, 0x1000)])
            .expect("the place is free");
        self.dragonball.store(Arc::new(manager));
    }

    fn rsemu(&self) {
        let (_, to) = self.step(1);
        self.rsemu.topology().remap(self.mapping, to).expect("it is mapped");
    }

    fn by_hand(&self) {
        let (from, to) = self.step(2);
        let mut map = self.by_hand.write().expect("nobody panicked");
        if let Some(entry) = map.remove(&from) {
            map.insert(to, entry);
        }
    }

    fn machina(&self) {
        let (_, to) = self.step(3);
        let mut space = self.machina.lock().expect("nobody panicked");
        if let Some(child) = space.root_mut().subregions.get_mut(self.index) {
            child.offset = GPA::new(to);
        }
        space.update_flat_view();
    }
}

fn among_spaces(wanted: &Wanted<'_>) -> Figure {
    let about = "1,000 ranges. Each further space sees one half of them through a partial alias, and has a view of its own: \
                 the half in which one region moves, or the other.";
    let title = "commit of one change among 1,000 ranges, with further address spaces";
    let mut figure = Figure::new("commit-spaces", title, Unit::Microseconds, about).on("further spaces");
    const SEE: &str = "flatland, spaces that see the change";
    const DO_NOT: &str = "flatland, spaces that do not";
    for count in [0, 10, 250] {
        let boards = [true, false].map(|lower| Board::new(1_000).with_further(count, lower));
        let [see, do_not] = &boards;
        let contestants = vec![
            Contestant::new(SEE, |_| again(see.changes())),
            Contestant::new(DO_NOT, |_| again(do_not.changes())),
        ];
        let results = measure(wanted.cores, 1, Plan::SLOW, contestants);
        figure.rows_of(&results, Some(count as f64), None);
    }
    for count in [10.0, 250.0] {
        let each = |name| (figure.median(name, Some(count)) - figure.median(name, Some(0.0))) / count;
        let (see, do_not) = (each(SEE), each(DO_NOT));
        figure.at_most(&format!("each of {count} further spaces that see the change"), see, 2_000.0, "2 us");
        let what = format!("each of {count} further spaces that do not see the change");
        // a commit's own time differs by some hundred nanoseconds from one board to the next
        let noise = 500.0 / count;
        let nothing = format!("<= nothing (0.5 us for all = {noise} ns)");
        figure.verdict(&what, Unit::Nanoseconds.show(do_not), nothing, do_not <= noise);
    }
    figure
}
