//! A base address register that moves while vCPUs run.

use super::super::Wanted;
use super::guest::{Board, NEIGHBOURS, REGISTERS};
use crate::figure::{Figure, Unit};
use crate::harness::{Stat, addition};
use anyhow::{Context, Result};
use machines::kvm::KvmConfig;
use memory_core::{RamBlock, Region, RegionRef};
use std::time::Instant;

const ROUNDS: usize = 201;
const BARS: u64 = 200;
const BAR_SIZE: u64 = 0x1_0000;
const HOME: u64 = 0x4000_0000;

const RAM: &str = "flatland, a BAR of RAM: its slot is deleted and made";
const REGISTER: &str = "flatland, a BAR of registers: no slot changes";
const NO_KVM: &str = "flatland, the BAR of RAM without an accelerator";

pub fn figure() -> Figure {
    let about = "200 BARs of 64 KiB of RAM, each a memory slot, and 256 pages of registers. One of them moves, and back, in commits of their \
                 own, while so many vCPUs count in guest memory. The kernel waits for its readers each time that slots change; to change a slot the vCPUs \
                 are taken out of the guest.";
    Figure::new("kvm-slots", "KVM: one BAR among 200 moves while vCPUs run", Unit::Microseconds, about)
        .on("vCPUs")
}

pub fn measure(wanted: &Wanted<'_>, mut figure: Figure) -> Result<Figure> {
    let addition = Some(addition(wanted.cores));
    for vcpus in (0..=2).take(wanted.cores.count().max(2)) {
        let all = || samples(vcpus);
        let samples = std::thread::scope(|scope| scope.spawn(all).join()).expect("no sample panics")?;
        for (name, samples) in [RAM, REGISTER, NO_KVM].into_iter().zip(samples) {
            figure.row(name, Some(vcpus as f64), Stat::of(samples), addition);
        }
    }
    Ok(figure)
}

/// A board with the BARs.
struct Bars {
    board: Board,
    bars: Vec<Region>,
}

impl Bars {
    fn new() -> Result<Self> {
        let board = Board::new()?;
        let mut bars = Vec::new();
        let memory = board.system.memory();
        for index in 0..BARS {
            let bar = memory.ram(format!("bar{index}"), RamBlock::anonymous(BAR_SIZE)?).build()?;
            board.root.map_overlap(HOME + index * 2 * BAR_SIZE, &bar, 1)?;
            bars.push(bar);
        }
        Ok(Self { board, bars })
    }

    /// The BAR that moves, and its places.
    fn bar(&self) -> Result<(&RegionRef, [u64; 2])> {
        let index = BARS / 2;
        let home = HOME + index * 2 * BAR_SIZE;
        let bar = self.bars.get(index as usize).context("there are BARs")?;
        Ok((bar.by_ref(), [home, home + BAR_SIZE]))
    }

    /// The registers that move, and their places.
    fn register(&self) -> Result<(&RegionRef, [u64; 2])> {
        let last = NEIGHBOURS - 1;
        let home = REGISTERS + last * 0x1000;
        let register = self.board.registers.get(last as usize).context("there are registers")?;
        Ok((register, [home, home + 0x1000]))
    }
}

/// Nanoseconds of one move of each contestant.
fn samples(vcpus: u64) -> Result<[Vec<f64>; 3]> {
    let (accelerated, plain) = (Bars::new()?, Bars::new()?);
    let mut kvm = accelerated.board.kvm(KvmConfig::default())?;
    for id in 0..vcpus {
        accelerated.board.count(&mut kvm, id)?;
    }
    let mut samples = <[Vec<f64>; 3]>::default();
    for round in 0..ROUNDS {
        for step in 0..3 {
            let index = (round + step) % 3;
            let (region, places) = match index {
                0 => accelerated.bar()?,
                1 => accelerated.register()?,
                _ => plain.bar()?,
            };
            // there in one round, and back in the next
            let begun = Instant::now();
            region.set_address(places[(round + 1) % 2])?;
            samples[index].push(begun.elapsed().as_nanos() as f64);
        }
    }
    Ok(samples)
}
