//! `flatland run`.

use super::board::Changes;
use super::outside::{Driven, Log, Outside};
use clap::{Args, ValueEnum};
use machines::accel::{Accel, AccelError};
use machines::boot::{BootPlan, BootRequest};
use machines::catalog;
use machines::endpoint::Endpoint;
use machines::file::MachineSpec;
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
    #[command(flatten)]
    protocols: Protocols,
}

/// Who drives a machine from outside.
#[derive(Args, Clone, Debug, Default)]
struct Protocols {
    /// Speak qtest: time stands still until a client moves it. A socket is connected to if somebody listens there, and made if
    /// not
    #[arg(long, value_name = "stdio|unix:PATH[,server=on|off]")]
    qtest: Option<Endpoint>,
    /// Write the commands of qtest and their replies to a file
    #[arg(long, value_name = "FILE", requires = "qtest")]
    qtest_log: Option<PathBuf>,
    /// Speak QMP; several times for several clients at once
    #[arg(long, value_name = "stdio|unix:PATH[,server=on|off]")]
    qmp: Vec<Endpoint>,
}

impl Protocols {
    fn outside(&self) -> Outside {
        let qtest_log = self.qtest_log.clone().map_or(Log::Nowhere, Log::File);
        Outside { qtest: self.qtest.clone(), qtest_log, qmp: self.qmp.clone() }
    }
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

pub(crate) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let outside = args.protocols.outside();
    // a machine without a CPU is there for those who drive it
    let is_driven = outside.qtest.is_some();
    let choice = if is_driven && args.accel == AccelChoice::Auto { AccelChoice::None } else { args.accel };
    if is_driven && choice != AccelChoice::None {
        anyhow::bail!("--qtest drives machines whose CPU stands still: it goes with `--accel none`");
    }
    let spec = args.changes.load(args.machine.as_deref().unwrap_or(catalog::DEFAULT))?;
    let accel = choice.choose(&spec)?;
    let driven = Driven::new(spec, &outside, accel)?;
    let request = BootRequest {
        firmware: args.firmware.clone(),
        kernel: args.kernel.clone(),
        bootargs: args.append.clone(),
    };
    let plan = match choice {
        AccelChoice::None => BootPlan::without_cpu(driven.machine(), &request),
        _ => BootPlan::new(driven.machine(), &request),
    }?;
    driven.run(&plan)
}
