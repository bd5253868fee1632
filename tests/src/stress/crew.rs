//! Those who put the machine under stress, at once or in turn, round by round.

use super::audit::audit;
use super::dice::{Dice, mix};
use super::mapper::Mapper;
use super::migrator::Migrator;
use super::plugger::Plugger;
use super::quiet::Quiet;
use super::summary::{Summary, resident};
use super::watch::{SetAtEnd, Watched, watch};
use super::worker::Worker;
use super::world::World;
use anyhow::{Context, Result, bail};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Workers where one thread does everything in turn.
const WORKERS_IN_TURN: usize = 4;

/// Threads that do something else than access.
const OTHERS: [&str; 3] = ["the mapper", "the plugger", "the migrator"];

/// Views that a worker may be on at a time: two handles, an access without one, and the DMA of the card that it leads to.
const VIEWS_A_WORKER: u64 = 4;

/// Views that the others may be on at a time, who look at maps, and what was replaced since.
const VIEWS_OF_OTHERS: u64 = 6;

/// Bytes of resident memory that may come after the second round: what allocators keep, and pages that chance had not met.
const GROWTH: u64 = 32 << 20;

/// The machine, and those who are at it.
pub(super) struct Crew {
    world: World,
    workers: Vec<Worker>,
    mapper: Mapper,
    plugger: Plugger,
    migrator: Migrator,
    /// Chooses who does the next thing, where one thread does everything.
    turns: Dice,
    /// Rings that were signals.
    rung: u64,
    alone: bool,
    summary: Summary,
}

impl Crew {
    pub(super) fn new(seed: u64, threads: usize) -> Result<Self> {
        let alone = threads <= 1;
        let workers = if alone { WORKERS_IN_TURN } else { threads };
        let world = World::new(workers)?;
        Ok(Self {
            workers: (0..workers).map(|index| Worker::new(index, seed, &world)).collect(),
            world,
            mapper: Mapper::new(seed),
            plugger: Plugger::new(seed, alone),
            migrator: Migrator::new(seed),
            turns: Dice::new(seed, 0),
            rung: 0,
            alone,
            summary: Summary { seed, threads, ..Summary::default() },
        })
    }

    /// One round of everybody at once, for some time, and some removals after it.
    pub(super) fn round_at_once(&mut self, time: Duration) -> Result<()> {
        self.begin()?;
        let start = Instant::now();
        let Self { world, workers, mapper, plugger, migrator, .. } = self;
        let world = &*world;
        let stop = AtomicBool::new(false);
        let names = (0..workers.len()).map(|index| Watched::new(format!("worker {index}")));
        let all: Vec<Watched> = OTHERS.into_iter().map(Watched::new).chain(names).collect();
        let [maps, plugs, migrates, works @ ..] = &*all else { bail!("nobody is watched") };
        thread::scope(|scope| {
            let stop = &stop;
            for (worker, me) in workers.iter_mut().zip(works) {
                scope.spawn(move || {
                    me.during(|| {
                        repeat(world, stop, me, || worker.step(world));
                        // whoever waits for it must not wait for ever
                        worker.end(world);
                    });
                });
            }
            scope.spawn(move || maps.during(|| repeat(world, stop, maps, || mapper.step(world))));
            scope.spawn(|| plugs.during(|| repeat(world, stop, plugs, || plugger.step(world))));
            scope.spawn(move || migrates.during(|| repeat(world, stop, migrates, || migrator.step(world))));
            watch(&all, stop, start + time);
        });
        let took = start.elapsed();
        self.remove_quietly();
        self.end(took)
    }

    /// Some removals beside which nothing else happens.
    fn remove_quietly(&mut self) {
        let Self { world, workers, plugger, .. } = self;
        let world = &*world;
        if world.ledger.has_failed() {
            return;
        }
        let quiet = &Quiet::new(workers.len());
        let removes = Watched::new("the plugger, when all is quiet,");
        let names =
            (0..workers.len()).map(|index| Watched::new(format!("worker {index}, when all is quiet,")));
        let all: Vec<Watched> = std::iter::once(removes).chain(names).collect();
        let Some((removes, leaves)) = all.split_first() else { return };
        thread::scope(|scope| {
            for (worker, me) in workers.iter_mut().zip(leaves) {
                scope.spawn(move || quiet.leave(me, worker, world));
            }
            scope.spawn(move || quiet.remove(removes, plugger, world));
            watch(&all, &AtomicBool::new(false), Instant::now());
        });
    }

    /// One round of everybody in turn, by chance, for so many steps.
    pub(super) fn round_in_turn(&mut self, steps: u64) -> Result<()> {
        self.begin()?;
        let start = Instant::now();
        let all = [Watched::new("the thread that does everything")];
        thread::scope(|scope| {
            scope.spawn(|| watch(&all, &AtomicBool::new(false), start));
            let [me] = &all;
            me.during(|| self.take_turns(steps, me));
        });
        self.end(start.elapsed())
    }

    fn take_turns(&mut self, steps: u64, me: &Watched) {
        for _ in 0..steps {
            match self.turns.below(24) {
                0 | 1 => self.mapper.step(&self.world),
                2 => self.plugger.step(&self.world),
                3 if self.turns.once_in(8) => self.migrator.step(&self.world),
                _ => {
                    let index = self.turns.below(self.workers.len() as u64) as usize;
                    if let Some(worker) = self.workers.get_mut(index) {
                        worker.step(&self.world);
                    }
                }
            }
            me.beat();
            if self.world.ledger.has_failed() {
                break;
            }
        }
        self.workers.iter_mut().for_each(|worker| worker.end(&self.world));
    }

    fn begin(&mut self) -> Result<()> {
        let round = mix(self.summary.seed ^ self.summary.rounds);
        self.workers.iter_mut().for_each(|worker| worker.begin(round));
        Ok(self.migrator.begin(&self.world)?)
    }

    /// Compares everything with everything.
    fn end(&mut self, took: Duration) -> Result<()> {
        self.summary.time += took;
        self.judge().context("while threads were at it")?;
        self.plugger.settle(&self.world);
        self.migrator.end(&self.world, &self.workers)?;
        audit(&self.world, &self.workers, &mut self.rung);
        self.summary.rounds += 1;
        if self.summary.rounds <= 2 {
            self.summary.resident.0 = resident();
        }
        self.check_growth();
        self.judge().context("when all was quiet")
    }

    /// Nothing piles up: replaced views are listed while somebody may be on them, and no longer; memory stays as it is.
    fn check_growth(&self) {
        let ledger = &self.world.ledger;
        let most = VIEWS_A_WORKER * self.workers.len() as u64 + VIEWS_OF_OTHERS;
        let retired = ledger.retired();
        ledger
            .check(retired <= most, || format!("{retired} replaced views are listed, {most} can be in use"));
        let (start, end) = (self.summary.resident.0, resident());
        ledger.check(end <= start + GROWTH, || {
            format!("resident memory has grown from {start} to {end} bytes")
        });
    }

    fn judge(&self) -> Result<()> {
        let wrongs = self.world.ledger.wrongs();
        if wrongs.is_empty() {
            return Ok(());
        }
        let Summary { seed, threads, rounds, .. } = self.summary;
        bail!("seed {seed}, {threads} threads, round {rounds}:\n{}", wrongs.join("\n"))
    }

    /// What it has come to so far.
    pub(super) fn summary(&self) -> Summary {
        let ledger = &self.world.ledger;
        Summary {
            accesses: self.workers.iter().map(|worker| worker.deeds.accesses).sum(),
            commits: self.mapper.commits,
            plugged: ledger.plugged.load(Ordering::SeqCst),
            removals: self.plugger.removals,
            snapshots: self.migrator.snapshots,
            switches: self.migrator.switches,
            kicks: ledger.kicks.load(Ordering::Relaxed),
            grace: ledger.grace(),
            retired: ledger.retired(),
            resident: (self.summary.resident.0, resident()),
            digest: self.alone.then(|| self.digest()),
            ..self.summary.clone()
        }
    }

    /// All results, and all of RAM. Of threads at once chance has its part in it.
    fn digest(&self) -> u64 {
        let results = self.workers.iter().map(Worker::digest).fold(0, |sum, one| mix(sum ^ one));
        let counts = [self.mapper.commits, self.plugger.removals, self.migrator.snapshots, self.rung];
        let results = counts.into_iter().fold(results, |sum, one| mix(sum ^ one));
        let words =
            (0..super::layout::RAM_SIZE / 8).map(|word| self.world.block.load(word * 8, super::fixture::W8));
        words.fold(results, |sum, word| mix(sum ^ word.unwrap_or(0)))
    }

    /// Takes the machine apart, and compares what was made with what was dropped.
    pub(super) fn dismantle(mut self) -> Result<Summary> {
        let summary = self.summary();
        self.mapper.end(&self.world)?;
        self.plugger.end(&self.world);
        self.judge().context("at the end")?;
        let Self { world, workers, .. } = self;
        let ledger = world.ledger.clone();
        drop(workers);
        world.dismantle()?;
        let alive = ledger.alive();
        ledger.check(alive.is_empty(), || format!("cards {alive:?} are left when all else is gone"));
        let wrongs = ledger.wrongs();
        if !wrongs.is_empty() {
            bail!("seed {}, at the very end:\n{}", summary.seed, wrongs.join("\n"));
        }
        Ok(summary)
    }
}

/// Does a thing again and again, until it is time to stop or something is wrong. The others stop when a thread ends, by a
/// panic too.
fn repeat(world: &World, stop: &AtomicBool, me: &Watched, mut step: impl FnMut()) {
    let _stop = SetAtEnd(stop);
    while !stop.load(Ordering::Relaxed) && !world.ledger.has_failed() {
        step();
        me.beat();
    }
}
