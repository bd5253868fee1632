//! Pulling the kernel's dirty log.

use super::super::Wanted;
use super::guest::{Bare, Board, Order};
use crate::figure::{Figure, Unit};
use crate::harness::{Stat, addition};
use anyhow::{Context, Result, ensure};
use machines::kvm::{Kvm, KvmConfig};
use memory_core::{DirtyClients, PAGE_SIZE, RamBlock, Region};
use std::time::Instant;

const ROUNDS: usize = 51;
const HOME: u64 = 0x4000_0000;
const SIZE: u64 = 1 << 30;
/// One page in so many.
const ONE_IN: u64 = 100;
const PAGE: u64 = PAGE_SIZE as u64;
const DIRTY: u64 = SIZE / PAGE / ONE_IN;

const APART: &str = "flatland, marks cleared where they were taken";
const AT_ONCE: &str = "flatland, marks cleared in one step";
const KERNEL: &str = "limit: KVM_GET_DIRTY_LOG alone";

pub fn figure() -> Figure {
    let about = "1 GiB of RAM in one slot, of which a guest writes every hundredth page; then the pages are taken (`snapshot_and_clear`), with the \
                 kernel's manual protection or without. The limit is the kernel's call that hands out a bit for each page and protects the written ones \
                 anew, with nothing done about them.";
    Figure::new("kvm-dirty-log", "KVM: dirty log of 1 GiB, 1 % written", Unit::Microseconds, about)
}

pub fn measure(wanted: &Wanted<'_>, mut figure: Figure) -> Result<Figure> {
    let all = || {
        wanted.cores.pin(0);
        samples()
    };
    let samples = std::thread::scope(|scope| scope.spawn(all).join()).expect("no sample panics")?;
    let addition = Some(addition(wanted.cores));
    for (name, samples) in [APART, AT_ONCE, KERNEL].into_iter().zip(samples) {
        figure.row(name, None, Stat::of(samples), addition);
    }
    let ratio = figure.median(AT_ONCE, None) / figure.median(KERNEL, None);
    figure.ratio_at_most("KVM: dirty log of 1 GiB, 1 % written, taken", ratio, 2.0, "KVM_GET_DIRTY_LOG");
    Ok(figure)
}

/// A board with the RAM, and a guest that writes it.
struct Written {
    guest: Bare,
    kvm: Kvm,
    ram: Region,
    board: Board,
}

impl Written {
    fn new(plain_dirty_log: bool) -> Result<Self> {
        let board = Board::new()?;
        let ram = board.system.memory().ram("large", RamBlock::anonymous(SIZE)?).build()?;
        board.root.map(HOME, &ram)?;
        let kvm = board.kvm(KvmConfig { plain_dirty_log, ..KvmConfig::default() })?;
        let mut guest = board.bare(&kvm)?;
        guest.run(Self::ORDER)?;
        board.system.start_dirty_log(DirtyClients::MIGRATION)?;
        Ok(Self { guest, kvm, ram, board })
    }

    const ORDER: Order = Order { count: DIRTY as u32, address: HOME as u32, stride: (ONE_IN * PAGE) as u32 };

    /// Has the guest write, and takes the pages.
    fn take(&mut self) -> Result<f64> {
        self.guest.run(Self::ORDER)?;
        let begun = Instant::now();
        let taken = self.board.system.snapshot_and_clear(&self.ram, DirtyClients::MIGRATION, 0, SIZE)?;
        let took = begun.elapsed();
        let pages = taken.pages().count() as u64;
        ensure!(pages == DIRTY, "{pages} pages are marked, and {DIRTY} were written");
        Ok(took.as_nanos() as f64)
    }

    /// Has the guest write, and asks the kernel alone.
    fn ask_kernel(&mut self) -> Result<f64> {
        let slot = self.kvm.memory_slots().into_iter().find(|slot| slot.range.start() == HOME);
        let slot = slot.context("the RAM is a slot")?;
        self.guest.run(Self::ORDER)?;
        let begun = Instant::now();
        let marks = self.guest.vcpu.take_dirty_log(slot.id, SIZE)?;
        let took = begun.elapsed();
        let pages: u64 = marks.iter().map(|word| u64::from(word.count_ones())).sum();
        ensure!(pages == DIRTY, "the kernel has marked {pages} pages, and {DIRTY} were written");
        Ok(took.as_nanos() as f64)
    }
}

/// Nanoseconds of one look of each contestant.
fn samples() -> Result<[Vec<f64>; 3]> {
    let (mut apart, mut at_once) = (Written::new(false)?, Written::new(true)?);
    // what was there before the log began
    for written in [&mut apart, &mut at_once] {
        written.board.system.snapshot_and_clear(&written.ram, DirtyClients::MIGRATION, 0, SIZE)?;
    }
    let mut samples = <[Vec<f64>; 3]>::default();
    for round in 0..ROUNDS {
        for step in 0..3 {
            let index = (round + step) % 3;
            samples[index].push(match index {
                0 => apart.take()?,
                1 => at_once.take()?,
                _ => at_once.ask_kernel()?,
            });
        }
    }
    Ok(samples)
}
