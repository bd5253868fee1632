//! What Flatland's accesses and commits take, beside the limits of the hardware and beside other crates' buses.
//!
//! `cargo xtask bench` runs it. Every figure is a ratio to something that was measured in the same process a moment
//! before or after: others use the host as well.
#![forbid(unsafe_code)]

mod board;
mod bus;
mod device;
mod figure;
mod figures;
mod harness;
mod instructions;
mod page;
mod pin;
mod plot;
mod ram;
mod report;
mod stream;

use anyhow::{Context, Result, bail};
use clap::Parser;
use figures::{TOPICS, Wanted};
use pin::Cores;
use std::path::PathBuf;
use std::process::ExitCode;

/// What to measure, and where to write it.
#[derive(Parser)]
struct Cli {
    /// Measure only figures whose id contains this.
    #[arg(default_value = "")]
    filter: String,
    /// Print the ids of all figures, and measure nothing.
    #[arg(long)]
    list: bool,
    /// Write all numbers to a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables into the generated part of this page, and plots into a folder of its name beside it.
    #[arg(long, value_name = "FILE", conflicts_with = "filter")]
    page: Option<PathBuf>,
    /// Count instructions under Valgrind instead, and compare them with this file.
    #[arg(long, value_name = "FILE")]
    instructions: Option<PathBuf>,
    /// Replace that file by what was counted.
    #[arg(long, requires = "instructions")]
    accept: bool,
    /// Only do the operation of this name: for the processes that are counted.
    #[arg(long, hide = true)]
    kernel: Option<String>,
    /// So often.
    #[arg(long, hide = true, default_value_t = 1)]
    count: usize,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    if let Some(name) = &cli.kernel {
        instructions::kernel(name, cli.count)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(expectations) = &cli.instructions {
        let well = instructions::run(expectations, cli.accept)?;
        return Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    measure(&cli)?;
    Ok(ExitCode::SUCCESS)
}

fn measure(cli: &Cli) -> Result<()> {
    let ids: Vec<&str> = TOPICS.iter().flat_map(|topic| topic.figures).copied().collect();
    if cli.list {
        ids.iter().for_each(|id| println!("{id}"));
        return Ok(());
    }
    if !ids.iter().any(|id| id.contains(&cli.filter)) {
        bail!("no figure has `{}` in its id; there are {}", cli.filter, ids.join(", "));
    }
    let cores = Cores::of_host();
    if !cores.can_pin() {
        println!("the host does not let threads be pinned: figures are less steady");
    }
    let wanted = Wanted { cores: &cores, filter: &cli.filter };
    let mut figures = Vec::new();
    for topic in TOPICS {
        if topic.figures.iter().any(|id| wanted.has(id)) {
            let done = (topic.measure)(&wanted).with_context(|| format!("cannot measure {}", topic.name))?;
            done.iter().for_each(report::print);
            figures.extend(done);
        }
    }
    println!("\n== summary\n{}", report::columns(&report::summary(&figures)));
    if let Some(path) = &cli.json {
        let text = serde_json::to_string_pretty(&figures)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &cli.page {
        page::write(path, &cores, &figures).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
