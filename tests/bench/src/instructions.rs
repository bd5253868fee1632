//! Instructions of single operations, counted by Valgrind: exact where time is not, so that a regression shows on any machine.
//!
//! Each kernel runs twice in processes of their own, with different counts of operations; what making the machine takes is
//! in both, and cancels out.

use crate::board::Board;
use crate::bus::{Bus, Layout, flatland};
use crate::figures::Pci;
use crate::ram::{BASE, Machine, Parts};
use crate::stream::{LENGTH, Stream, Work};
use anyhow::{Context, Result, bail};
use memory_core::{TxAttrs, Width};
use memory_dispatch::Direction;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Does so many operations on a machine that it makes.
type Kernel = fn(usize);

/// A kernel's name, what one operation is, and how many of them tell it.
const KERNELS: [(&str, &str, usize, Kernel); 8] = [
    ("handle-hit", "4-byte MMIO read through a handle, 64 pages in turn", LENGTH, handle_hit),
    ("handle-miss", "the same, 16,384 pages in turn: more than the table remembers", LENGTH, handle_miss),
    ("space-load", "4-byte MMIO read without a handle, 64 pages", LENGTH, space_load),
    ("ram-load", "8-byte RAM load through a handle", LENGTH, ram_load),
    ("map-unmap", "map and unmap of 4 KiB of RAM", LENGTH, map_unmap),
    ("commit-1000", "commit of one change among 1,000 ranges", 64, commit),
    ("commit-partial", "the same, seen by 250 further spaces through partial aliases", 4, commit_partial),
    ("commit-whole", "commit of one BAR, seen by 250 spaces that are whole aliases", 32, commit_whole),
];

/// What is committed.
#[derive(Default, Serialize, Deserialize)]
struct Expectations {
    /// What built the program that was counted: another compiler makes other instructions.
    compiler: String,
    /// By kernel.
    kernels: BTreeMap<String, Expected>,
}

impl Expectations {
    /// Those of a file; none, if it is not there.
    fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("cannot read {}", path.display()))
    }

    fn write(&self, path: &Path) -> Result<()> {
        const HEAD: &str = "# Instructions of one operation each, as `cargo xtask bench --instructions --accept` counted them in a\n\
                            # release build. A count above the tolerance (a part of it) is a regression.\n\n";
        let text = toml::to_string(self)?;
        fs::write(path, format!("{HEAD}{text}")).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// What was committed of a kernel.
#[derive(Serialize, Deserialize)]
struct Expected {
    /// Instructions of one operation, the loop included.
    instructions: f64,
    /// How much more is no regression: a part of `instructions`.
    tolerance: f64,
}

/// Runs a kernel; for the processes that are counted.
pub fn kernel(name: &str, count: usize) -> Result<()> {
    let found = KERNELS.iter().find(|(kernel, ..)| *kernel == name);
    let (.., run) = found.with_context(|| format!("there is no kernel `{name}`"))?;
    run(count);
    Ok(())
}

/// Counts every kernel and compares it with `expectations`, or replaces those; false if one takes more than it should.
pub fn run(expectations: &Path, accept: bool) -> Result<bool> {
    let mut committed = Expectations::read(expectations)?;
    let compiler = compiler()?;
    if !accept && compiler != committed.compiler {
        println!("skipped: instructions: counted with {}, this is {compiler}", committed.compiler);
        return Ok(true);
    }
    committed.compiler = compiler;
    let mut all_well = true;
    println!("{:<15} {:>12} {:>12} {:>8}", "kernel", "instructions", "expected", "change");
    for (name, about, count, _) in KERNELS {
        let few = counted(name, 2 * count)?;
        let many = counted(name, 6 * count)?;
        let instructions = (many as f64 - few as f64) / (4 * count) as f64;
        let known = committed.kernels.get(name);
        let change = known.map(|known| instructions / known.instructions - 1.0);
        let tolerance = known.map_or(0.03, |known| known.tolerance);
        let (well, verdict) = match change {
            _ if accept => (true, "accepted"),
            None => (false, "NOT EXPECTED: accept it"),
            Some(change) if change > tolerance => (false, "MORE than expected"),
            Some(change) if change < -tolerance => (true, "fewer: accept them"),
            Some(_) => (true, "ok"),
        };
        all_well &= well;
        let expected = known.map_or("-".to_owned(), |known| format!("{:.1}", known.instructions));
        let change = change.map_or("-".to_owned(), |change| format!("{:+.1} %", 100.0 * change));
        println!("{name:<15} {instructions:>12.1} {expected:>12} {change:>8} {verdict} ({about})");
        let instructions = (instructions * 10.0).round() / 10.0;
        committed.kernels.insert(name.to_owned(), Expected { instructions, tolerance });
    }
    if accept {
        committed.write(expectations)?;
    }
    Ok(all_well)
}

/// The compiler's version and what it builds for.
fn compiler() -> Result<String> {
    let output = Command::new("rustc").arg("--version").output().context("cannot run rustc")?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(format!("{version}, {}", std::env::consts::ARCH))
}

/// Instructions of a process that does `count` operations of a kernel.
fn counted(kernel: &str, count: usize) -> Result<u64> {
    let program = std::env::current_exe().context("this program has no path")?;
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    command.args(["--kernel", kernel, "--count", &count.to_string()]);
    let output = command.output().context("cannot run valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    let number = text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    match number.filter(|_| output.status.success()) {
        Some(number) => Ok(number),
        None => bail!("{kernel} was not counted: {}", text.trim()),
    }
}

/// One address in each of `pages` pages, in turn, starting from `base`.
fn in_turn(base: u64, pages: u64) -> Stream {
    let mut next = 0;
    Stream::new(base, 2, LENGTH.max(pages as usize), |_| {
        next += 1;
        base + (next - 1) % pages * 0x1000
    })
}

fn handle_hit(count: usize) {
    let layout = Layout::pages(64);
    flatland::ByHandle(flatland::Machine::new(&layout)).reads(&in_turn(layout.start(), 64))(count);
}

fn handle_miss(count: usize) {
    let layout = Layout::pages(16384);
    flatland::ByHandle(flatland::Machine::new(&layout)).reads(&in_turn(layout.start(), 16384))(count);
}

fn space_load(count: usize) {
    let layout = Layout::pages(64);
    flatland::BySpace(flatland::Machine::new(&layout)).reads(&in_turn(layout.start(), 64))(count);
}

fn ram_load(count: usize) {
    let machine = Machine::new(Parts::of_256_pages(1));
    let mut handle = machine.space.handle(|| ());
    let stream = in_turn(BASE, 256);
    let mut work: Work<'_> =
        stream.chase(|address| handle.load(address, Width::W8, TxAttrs::default()).unwrap_or(1));
    work(count);
}

fn map_unmap(count: usize) {
    let machine = Machine::new(Parts::of_256_pages(1));
    for _ in 0..count {
        let guard = machine.space.map(BASE, 4096, Direction::Write, TxAttrs::default()).expect("RAM");
        guard.unmap(4096).expect("no more than was mapped");
    }
}

fn commit(count: usize) {
    let board = Board::new(1_000);
    let mut change = board.changes();
    (0..count).for_each(|_| change());
}

fn commit_partial(count: usize) {
    let board = Board::new(1_000).with_further(250, true);
    let mut change = board.changes();
    (0..count).for_each(|_| change());
}

fn commit_whole(count: usize) {
    Pci::new().map(count);
}
