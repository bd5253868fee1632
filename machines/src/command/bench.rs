//! `flatland bench`.

use super::board::Changes;
use super::print;
use clap::{Args, Subcommand};
use machines::catalog;
use machines::rv64::{Hart, HartLines, bench_loop};
use machines::space_bus::SpaceBus;
use machines::sync::Arc;
use machines::vcpu::Vcpu;
use memory_core::PAGE_SIZE;
use std::process::ExitCode;
use std::time::Instant;

#[derive(Args, Clone, Debug)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Instructions a second of the embedded CPU, in a loop of loads, stores and arithmetic on `riscv-virt`
    Cpu,
}

/// Instructions in one round; the best of several rounds counts, since others use the host as well.
const ROUND: u64 = 50_000_000;
const ROUNDS: usize = 5;

pub(crate) fn bench(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let What::Cpu = args.what;
    let machine = Changes::default().build(catalog::DEFAULT)?;
    let Some(space) = machine.cpu_space() else { anyhow::bail!("the machine has no address space") };
    let code = 0x8000_0000;
    space.write_rom(code, &bench_loop())?;
    let mut hart =
        Hart::new(0, SpaceBus::new(space.handle(|| ())), Arc::new(HartLines::new()), Arc::new(|| 0));
    hart.set_boot(code, 0, code + PAGE_SIZE as u64);
    let mut rates: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let (before, start) = (hart.retired(), Instant::now());
            hart.advance(ROUND);
            (hart.retired() - before) as f64 / start.elapsed().as_secs_f64() / 1e6
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    let (median, best) = (rates.get(ROUNDS / 2), rates.last());
    print(format!(
        "rv64: {:.0} million instructions a second (median of {ROUNDS} rounds; best {:.0})\n",
        median.copied().unwrap_or(0.0),
        best.copied().unwrap_or(0.0)
    ))?;
    Ok(ExitCode::SUCCESS)
}
