//! Memory of views and of commits, from a program of its own: its allocator counts, which would slow down everything else.

use super::{Topic, Wanted};
use crate::figure::{Figure, Unit};
use crate::harness::Stat;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::process::Command;

pub const TOPIC: Topic = Topic { name: "footprint", figures: &["footprint"], measure: run };

/// What `src/bin/footprint.rs` prints.
#[derive(Deserialize)]
struct Footprint {
    ranges: u64,
    first_view: u64,
    further_view: u64,
    commit: u64,
}

fn run(_: &Wanted<'_>) -> Result<Vec<Figure>> {
    let program = std::env::current_exe().context("this program has no path")?.with_file_name("footprint");
    let output =
        Command::new(&program).output().with_context(|| format!("cannot run {}", program.display()))?;
    if !output.status.success() {
        bail!("{} ended with {}", program.display(), output.status);
    }
    let found: Footprint = serde_json::from_slice(&output.stdout).context("it printed something else")?;
    let about = "10,000 ranges. A view is what a further address space costs that shows all of them through a view of its \
                 own, a range of it what that costs divided by their number. What is bound once for all views (a region's callbacks and rules) shows in \
                 the first view alone. A commit: all that is allocated while one region moves, freed again or not.";
    let mut figure = Figure::new("footprint", "memory of a view and of a commit", Unit::Bytes, about);
    let each = |bytes: u64| bytes as f64 / found.ranges as f64;
    let exact = |value: f64| Stat { median: value, low: value, high: value };
    figure.row("flatland, a range of a view", None, exact(each(found.further_view)), None);
    figure.row("flatland, a range of the first view", None, exact(each(found.first_view)), None);
    figure.row("flatland, one commit", None, exact(found.commit as f64), None);
    figure.at_most("memory of a view, for each range", each(found.further_view), 96.0, "96 bytes");
    figure.at_most("allocated by a commit at 10,000 ranges", found.commit as f64, 16384.0, "16 KiB");
    Ok(vec![figure])
}
