//! `flatland run`.

use super::board::Changes;
use super::terminal::Terminal;
use clap::Args;
use devices::{Clock, Console, Host};
use machines::boot::{BootPlan, BootRequest};
use machines::catalog;
use machines::machine::Machine;
use machines::runner::{Runner, Stopped};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RunArgs {
    /// A machine file, or a machine of the catalog
    machine: Option<String>,
    /// Image that runs first, in M-mode: an ELF file, or a raw image
    #[arg(long, value_name = "FILE")]
    firmware: Option<PathBuf>,
    /// Image that the firmware starts; without firmware it runs in M-mode
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Command line of the kernel
    #[arg(long, value_name = "TEXT", default_value = "")]
    append: String,
    #[command(flatten)]
    changes: Changes,
}

pub(crate) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let spec = args.changes.load(args.machine.as_deref().unwrap_or(catalog::DEFAULT))?;
    let console = Console::new(std::io::stdout());
    let machine = Machine::build(spec, Host::new(Clock::real(), console.clone()))?;
    let request = BootRequest {
        firmware: args.firmware.clone(),
        kernel: args.kernel.clone(),
        bootargs: args.append.clone(),
    };
    let plan = BootPlan::new(&machine, &request)?;
    let runner = Runner::new(&machine);
    let terminal = Terminal::open(&console, runner.control())?;
    let stopped = runner.run(&plan);
    drop(terminal);
    Ok(match stopped? {
        Stopped::PoweredOff { code } => ExitCode::from(code),
        Stopped::Quit => ExitCode::SUCCESS,
    })
}
