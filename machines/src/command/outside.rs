//! Running a machine, perhaps one that is driven from outside by qtest and QMP.

use super::terminal::{Terminal, stop_on_signals};
use anyhow::Context;
use devices::{Clock, Console, Host};
use machines::accel::Accel;
use machines::boot::BootPlan;
use machines::endpoint::{Endpoint, Link};
use machines::file::MachineSpec;
use machines::machine::Machine;
use machines::qmp::Qmp;
use machines::qtest::{Qtest, Replies};
use machines::runner::{Runner, Stopped};
use machines::sync::Arc;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Who drives a machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outside {
    /// Where qtest is spoken.
    pub(crate) qtest: Option<Endpoint>,
    /// Where commands of qtest and their replies are written down.
    pub(crate) qtest_log: Log,
    /// Where QMP is spoken.
    pub(crate) qmp: Vec<Endpoint>,
}

/// Where something is written down.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum Log {
    #[default]
    Nowhere,
    Stderr,
    File(PathBuf),
}

impl Log {
    fn open(&self) -> anyhow::Result<Option<Box<dyn Write + Send>>> {
        Ok(match self {
            Self::Nowhere => None,
            Self::Stderr => Some(Box::new(std::io::stderr())),
            Self::File(path) => {
                let file = std::fs::File::create(path).with_context(|| path.display().to_string())?;
                Some(Box::new(std::io::BufWriter::new(file)))
            }
        })
    }
}

/// Who drives a machine, with everything open.
struct Opened {
    qtest: Option<QtestLink>,
    qmp: Vec<Link>,
    made: Made,
}

/// A client of qtest, or a place where they come from.
struct QtestLink {
    link: Link,
    log: Option<Box<dyn Write + Send>>,
    /// The machine ends with it.
    ends: bool,
}

/// Sockets that were made, and go in the end.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        for path in &self.0 {
            // somebody may have been faster
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Outside {
    /// Whether standard input or output is taken.
    fn takes_stdio(&self) -> bool {
        self.qtest.iter().chain(&self.qmp).any(|endpoint| *endpoint == Endpoint::Stdio)
    }

    /// Connects to everybody, before there is a machine.
    fn open(&self) -> anyhow::Result<Opened> {
        let mut opened = Opened { qtest: None, qmp: Vec::new(), made: Made::default() };
        if let Some(endpoint) = &self.qtest {
            let log = self.qtest_log.open()?;
            let link = endpoint.open()?;
            opened.made.0.extend(link.made());
            // nobody could ever reach it again
            let ends = *endpoint == Endpoint::Stdio && self.qmp.is_empty();
            opened.qtest = Some(QtestLink { link, log, ends });
        }
        for endpoint in &self.qmp {
            let link = endpoint.open()?;
            opened.made.0.extend(link.made());
            opened.qmp.push(link);
        }
        Ok(opened)
    }
}

/// A machine that is about to run.
pub(crate) struct Driven {
    machine: Arc<Machine>,
    accel: Accel,
    opened: Opened,
    /// The terminal is nobody's, or that of a protocol.
    is_quiet: bool,
}

/// The guest did what nothing can run on from.
const GUEST_FAILED: u8 = 3;

impl Driven {
    /// Connects to everybody and builds the machine. Where qtest is spoken the clock is stepped, and no device has the terminal.
    pub(crate) fn new(spec: MachineSpec, outside: &Outside, accel: Accel) -> anyhow::Result<Self> {
        let is_quiet = outside.qtest.is_some() || outside.takes_stdio();
        let clock = if outside.qtest.is_some() { Clock::stepped() } else { Clock::real() };
        let console = if is_quiet { Console::new(std::io::sink()) } else { Console::new(std::io::stdout()) };
        let opened = outside.open()?;
        let machine = Arc::new(Machine::build(spec, Host::new(clock, console))?);
        Ok(Self { machine, accel, opened, is_quiet })
    }

    /// The machine.
    pub(crate) fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// Serves everybody, and runs the machine to its end.
    pub(crate) fn run(self, plan: &BootPlan) -> anyhow::Result<ExitCode> {
        let Self { machine, accel, opened, is_quiet } = self;
        let runner = Runner::on(&machine, accel);
        let console = &machine.host().console;
        let terminal = if is_quiet { None } else { Some(Terminal::open(console, runner.control())?) };
        if is_quiet {
            stop_on_signals(runner.control())?;
        }
        let Opened { qtest, qmp: links, made } = opened;
        let qmp = Qmp::new(&machine);
        let replies = match qtest {
            None => None,
            Some(QtestLink { link, log, ends }) => {
                Some(Qtest::new(&machine, log).ends_with_client(ends).start(link)?)
            }
        };
        links.into_iter().try_for_each(|link| qmp.start(link))?;
        let stopped = runner.run(plan);
        replies.iter().for_each(Replies::drain);
        qmp.drain();
        drop((made, terminal));
        Ok(match stopped? {
            Stopped::PoweredOff { code } => ExitCode::from(code),
            Stopped::Quit => ExitCode::SUCCESS,
            Stopped::GuestFailed { report } => {
                eprintln!("flatland: the guest ended by {report}");
                ExitCode::from(GUEST_FAILED)
            }
        })
    }
}
