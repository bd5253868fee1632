//! `flatland run`.

use super::board::Changes;
use super::terminal::Terminal;
use clap::{Args, ValueEnum};
use devices::{Clock, Console, Host};
use machines::accel::{Accel, AccelError};
use machines::boot::{BootPlan, BootRequest};
use machines::catalog;
use machines::file::MachineSpec;
use machines::machine::Machine;
use machines::runner::{Runner, Stopped};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RunArgs {
    /// A machine file, or a machine of the catalog
    machine: Option<String>,
    /// What runs the CPU
    #[arg(long, value_enum, default_value_t)]
    accel: AccelChoice,
    /// Image that runs first: in M-mode an ELF file or a raw image, from an x86's reset vector a raw one
    #[arg(long, visible_alias = "bios", value_name = "FILE")]
    firmware: Option<PathBuf>,
    /// Image that the firmware starts; without firmware it runs in M-mode. Of an x86 a Linux bzImage, or an ELF file with a PVH
    /// entry
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Command line of the kernel
    #[arg(long, value_name = "TEXT", default_value = "")]
    append: String,
    #[command(flatten)]
    changes: Changes,
}

/// What is to run the CPU.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
enum AccelChoice {
    /// What the machine's CPU needs
    #[default]
    Auto,
    /// The host's processor, by KVM
    Kvm,
    /// The embedded RV64 CPU
    Rv64,
    /// Nothing: the devices are there, and no instruction is run
    None,
}

impl AccelChoice {
    fn choose(self, spec: &MachineSpec) -> Result<Accel, AccelError> {
        let accel = match self {
            Self::Auto => Accel::of(spec),
            Self::Kvm => Accel::Kvm,
            Self::Rv64 => Accel::Rv64,
            Self::None => Accel::None,
        };
        accel.check(spec).map(|()| accel)
    }
}

/// The guest did what nothing can run on from.
const GUEST_FAILED: u8 = 3;

pub(crate) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let spec = args.changes.load(args.machine.as_deref().unwrap_or(catalog::DEFAULT))?;
    let accel = args.accel.choose(&spec)?;
    let console = Console::new(std::io::stdout());
    let machine = Machine::build(spec, Host::new(Clock::real(), console.clone()))?;
    let request = BootRequest {
        firmware: args.firmware.clone(),
        kernel: args.kernel.clone(),
        bootargs: args.append.clone(),
    };
    let plan = match args.accel {
        AccelChoice::None => BootPlan::without_cpu(&machine, &request),
        _ => BootPlan::new(&machine, &request),
    }?;
    let runner = Runner::on(&machine, accel);
    let terminal = Terminal::open(&console, runner.control())?;
    let stopped = runner.run(&plan);
    drop(terminal);
    Ok(match stopped? {
        Stopped::PoweredOff { code } => ExitCode::from(code),
        Stopped::Quit => ExitCode::SUCCESS,
        Stopped::GuestFailed { report } => {
            eprintln!("flatland: the guest ended by {report}");
            ExitCode::from(GUEST_FAILED)
        }
    })
}
