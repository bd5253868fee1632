//! What has to balance when all is quiet.

use super::fixture::W8;
use super::layout::{COUNTERS, COUNTERS_AT};
use super::ledger::lock;
use super::worker::{Deeds, Worker};
use super::world::World;
use memory_core::{AddrRange, BusFault};
use memory_dispatch::{AddressSpace, BOUNCE_BUDGET, Direction};
use memory_flatview::oracle::{first_difference, stretches};
use memory_flatview::resolve_root;
use std::sync::atomic::Ordering::SeqCst;

/// Compares all books. Nobody is inside an access, and nothing is held.
pub fn audit(world: &World, workers: &[Worker], rung: &mut u64) {
    world.system.flush_coalesced();
    let left = world.system.reclaim();
    check(world, "replaced views are in use", 0, left as u64);
    *rung += world.event.take();
    deeds(world, workers, *rung);
    workers.iter().for_each(|worker| worker.audit(world));
    lives(world);
    for space in [&world.space, &world.bus] {
        maps(world, space);
        bounces(world, space);
    }
    world.witness.balance();
    if let Some((guest, _)) = &lock(&world.changing).listener {
        guest.balance();
    }
}

fn check(world: &World, what: &str, expected: u64, found: u64) {
    world.ledger.check(expected == found, || format!("{what}: {found}, not {expected}"));
}

/// What the workers did, and what the devices and the counters say of it.
fn deeds(world: &World, workers: &[Worker], signalled: u64) {
    let sum = |of: &dyn Fn(&Deeds) -> u64| workers.iter().map(|worker| of(&worker.deeds)).sum::<u64>();
    check(world, "writes to the veil", sum(&|deeds| deeds.veil), world.veil.writes.load(SeqCst));
    check(world, "writes to the flash", sum(&|deeds| deeds.flash), world.flash.writes.load(SeqCst));
    check(world, "rings and signals", sum(&|deeds| deeds.rings), world.bell.rung.load(SeqCst) + signalled);
    check(world, "writes to cards", sum(&|deeds| deeds.counted), world.ledger.counted.load(SeqCst));
    for counter in 0..COUNTERS {
        let there = world.block.load(COUNTERS_AT + counter * 8, W8).unwrap_or(u64::MAX);
        check(world, "additions", sum(&|deeds| deeds.adds[counter as usize]), there);
    }
    for (worker, posted) in workers.iter().zip(&world.bell.posted) {
        check(world, "posts", worker.deeds.posted, posted.load(SeqCst));
    }
}

/// Who was made, and who was dropped.
fn lives(world: &World) {
    let mut plugged: Vec<u64> = world.slots.iter().filter_map(|slot| slot.serial()).collect();
    plugged.sort_unstable();
    let alive = world.ledger.alive();
    world.ledger.check(alive == plugged, || format!("cards {alive:?} are alive, {plugged:?} are plugged in"));
    let epochs = world.ledger.epochs.left();
    world.ledger.check(epochs == 1, || format!("{epochs} epochs are alive"));
    let waiters = world.ledger.bounces.left();
    world.ledger.check(waiters == 0, || format!("{waiters} waiters for bounce buffers were not woken"));
}

/// The view against the tree, read literally, and against what listeners were told.
fn maps(world: &World, space: &AddressSpace) {
    world.witness.compare(space);
    let changing = lock(&world.changing);
    if let Some((guest, _)) = changing.listener.as_ref().filter(|(guest, _)| guest.hears(space)) {
        guest.compare(space);
    }
    let stretches = world.system.memory().read(|tree| {
        let root = resolve_root(tree, space.root().id());
        stretches(tree, root, AddrRange::ALL)
    });
    let Ok(stretches) = stretches else { return world.ledger.wrong("the tree cannot be read") };
    let ranges: Vec<_> = space.with_view(|view| view.ranges().cloned().collect());
    if let Some(difference) = first_difference(&stretches, &ranges) {
        world.ledger.wrong(format_args!("the view of {} is not the tree's: {difference}", space.name()));
    }
}

/// All bounce buffers are back.
fn bounces(world: &World, space: &std::sync::Arc<AddressSpace>) {
    let address = space.with_view(|view| {
        let flash = |name: &str| name == "flash";
        view.ranges().find(|on| on.write().is_some_and(|to| flash(to.target().name()))).map(|on| on.range())
    });
    let Some(address) = address else { return world.ledger.wrong("there is no flash") };
    let guard = space.map(address.start(), BOUNCE_BUDGET, Direction::Write, Default::default());
    let len = guard.as_ref().map(|guard| guard.len()).unwrap_or(0);
    check(world, "bytes of bounce buffers", BOUNCE_BUDGET as u64, len as u64);
    let gone = guard.is_ok_and(|guard| guard.unmap(BOUNCE_BUDGET + 1).is_err());
    world.ledger.check(gone, || "more than was mapped is unmapped".to_owned());
    let beyond = space.load(u64::MAX - 7, W8, Default::default());
    world.ledger.check(beyond == Err(BusFault::DECODE), || format!("the last word is {beyond:?}"));
}
