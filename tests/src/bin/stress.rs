//! `cargo xtask stress`: the machine of [`tests::stress`], for as long as one likes.
#![forbid(unsafe_code)]

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use tests::stress::{Options, run};

/// Puts a machine under stress, and compares everything with what it must be.
#[derive(Debug, Parser)]
#[command(name = "stress")]
struct Cli {
    /// How long. With one thread a second is a fixed number of steps, however long they take.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Threads that access the machine, besides the three that change it; 1 has one thread do everything in turn, with a
    /// result that follows from the seed.
    #[arg(long, default_value_t = 4)]
    threads: usize,
    /// What chance follows from; another one each time without this.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let now = || SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64 % 1_000_000_000);
    let seed = cli.seed.unwrap_or_else(now);
    let options = Options { time: Duration::from_secs(cli.seconds), threads: cli.threads, seed };
    // draws nothing unless standard error is a terminal
    let bar = ProgressBar::new(cli.seconds);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} s  {msg}") {
        bar.set_style(style);
    }
    let result = run(&options, |over, so_far| {
        bar.set_position(over.as_secs());
        bar.set_message(format!(
            "{} accesses, {} commits, {} cards",
            so_far.accesses, so_far.commits, so_far.plugged
        ));
    });
    bar.finish_and_clear();
    match result {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
