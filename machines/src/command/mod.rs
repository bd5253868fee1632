//! The subcommands, one file each.

mod bench;
mod board;
mod check;
mod devices;
mod find;
mod import;
mod mtree;
mod outside;
mod qemu;
mod run;
mod screenshot;
mod terminal;

use clap::{Parser, Subcommand};
use std::io::Write;
use std::process::ExitCode;

/// A mistake of the user's: one message, nothing done.
const MISUSE: u8 = 2;

/// QEMU's memory API for machines that are read from files.
#[derive(Parser)]
#[command(name = "flatland", version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run a machine: a file or a name of the catalog, `riscv-virt` with the guest that comes along if none is named
    Run(run::RunArgs),
    /// Print the memory map of a machine
    Mtree(mtree::MtreeArgs),
    /// Tell who answers at an address, through which regions, and what is hidden below
    Find(find::FindArgs),
    /// List the types of device, or the properties of one
    Devices(devices::DevicesArgs),
    /// Check a machine file, and say what is wrong with it
    Check(check::CheckArgs),
    /// Rebuild a map from what QEMU's monitor printed (`info mtree -D`), and compare it
    Import(import::ImportArgs),
    /// Write what a machine's display shows to a PNG file
    Screenshot(screenshot::ScreenshotArgs),
    /// Measure
    Bench(bench::BenchArgs),
    /// Run a machine by QEMU's command line, as a program whose name ends in `-system-x86_64` does
    #[command(disable_help_flag = true)]
    Qemu {
        /// QEMU's options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
}

/// Reads the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    // a word that is no text is no option
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some((name, words)) = qemu::is_meant(&words) {
        return qemu::main(&name, words);
    }
    let result = match Cli::parse().command.unwrap_or_else(|| Command::Run(run::RunArgs::default())) {
        Command::Run(args) => run::run(&args),
        Command::Mtree(args) => mtree::mtree(&args),
        Command::Find(args) => find::find(&args),
        Command::Devices(args) => devices::devices(&args),
        Command::Check(args) => check::check(&args),
        Command::Import(args) => import::import(&args),
        Command::Screenshot(args) => screenshot::screenshot(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Qemu { options } => return qemu::main("flatland qemu", &options),
    };
    result.unwrap_or_else(|error| {
        eprintln!("flatland: {error:#}");
        ExitCode::from(MISUSE)
    })
}

/// Prints to standard output; a reader that is gone, as of `| head`, is no error.
fn print(text: impl std::fmt::Display) -> anyhow::Result<()> {
    match write!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
