//! The embedded CPU, and what guests take to come up.

use super::{Topic, Wanted};
use crate::figure::{Figure, Unit};
use crate::harness::{Contestant, Plan, Stat, addition, measure};
use anyhow::{Context, Result};
use devices::{Clock, Console, Host};
use machines::boot::BootRequest;
use machines::catalog;
use machines::machine::Machine;
use machines::rv64::{Bus, Hart, HartLines, bench_loop};
use machines::space_bus::SpaceBus;
use machines::vcpu::Vcpu;
use memory_core::{BusFault, HostPage, PAGE_SIZE, Width};
use memory_dispatch::AddressSpace;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tests::session::{self, Session};
use xtask::{Workspace, firmware};

pub const TOPIC: Topic =
    Topic { name: "guest", figures: &["rv64", "guest-report", "guest-u-boot"], measure: run };

const ROUNDS: usize = 9;

fn run(wanted: &Wanted<'_>) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    if wanted.has("rv64") {
        figures.push(rv64(wanted)?);
    }
    if wanted.has("guest-report") {
        let title = "time to the shipped guest's report";
        let request = BootRequest::default();
        let stat = boots(&request, |session| {
            session.expect("checks passed");
        })?;
        figures.push(boot(wanted, ("guest-report", title), stat, 0.15));
    }
    if wanted.has("guest-u-boot") {
        figures.push(u_boot(wanted)?);
    }
    Ok(figures)
}

/// A bus that lends no page: each instruction that is fetched and each word that is loaded or stored goes through dispatch.
struct Dispatched(SpaceBus);

impl Bus for Dispatched {
    #[inline]
    fn load(&mut self, addr: u64, width: Width) -> Result<u64, BusFault> {
        self.0.load(addr, width)
    }

    #[inline]
    fn store(&mut self, addr: u64, width: Width, value: u64) -> Result<(), BusFault> {
        self.0.store(addr, width, value)
    }

    fn compare_exchange(
        &mut self,
        addr: u64,
        width: Width,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, BusFault> {
        self.0.compare_exchange(addr, width, current, new)
    }

    fn page(&mut self, _: u64, _: bool) -> Option<HostPage> {
        None
    }

    #[inline]
    fn generation(&self) -> u64 {
        self.0.generation()
    }

    fn park(&mut self) {
        self.0.park();
    }

    fn unpark(&mut self) {
        self.0.unpark();
    }
}

fn rv64(wanted: &Wanted<'_>) -> Result<Figure> {
    let about = "One hart of `riscv-virt` in a loop of loads, stores and arithmetic: through pages of host memory that it keeps, and \
                 with each fetch, load and store through dispatch.";
    let title = "instructions of the embedded CPU";
    let mut figure = Figure::new("rv64", title, Unit::Mips, about);
    let host = Host::new(Clock::real(), Console::new(std::io::sink()));
    let machine = Machine::build(catalog::load("riscv-virt")?, host)?;
    let space = machine.cpu_space().context("the board has an address space")?;
    let code = 0x8000_0000;
    space.write_rom(code, &bench_loop()).map_err(|fault| anyhow::anyhow!("no RAM at {code:#x}: {fault}"))?;
    let bus = |space: &Arc<AddressSpace>| SpaceBus::new(space.handle(|| ()));
    fn hart<B: Bus>(bus: B, code: u64) -> Hart<B> {
        let mut hart = Hart::new(0, bus, Arc::new(HartLines::new()), Arc::new(|| 0));
        hart.set_boot(code, 0, code + PAGE_SIZE as u64);
        hart
    }
    const PAGES: &str = "flatland, through pages";
    const DISPATCH: &str = "flatland, through dispatch";
    let contestants = vec![
        Contestant::new(PAGES, |_| {
            let mut hart = hart(bus(space), code);
            Box::new(move |count| {
                hart.advance(count as u64);
            })
        }),
        Contestant::new(DISPATCH, |_| {
            let mut hart = hart(Dispatched(bus(space)), code);
            Box::new(move |count| {
                hart.advance(count as u64);
            })
        }),
    ];
    let plan = Plan { sample: Duration::from_millis(1), rounds: 151, ..Plan::SLOW };
    let results = measure(wanted.cores, 1, plan, contestants);
    for (name, floor) in [(PAGES, 100.0), (DISPATCH, 25.0)] {
        let time = results.of(name);
        let mips = |nanoseconds: f64| 1e3 / nanoseconds;
        let stat = Stat { median: mips(time.median), low: mips(time.high), high: mips(time.low) };
        figure.row(name, None, stat, None);
        let what = name.replace("flatland, ", "embedded CPU, ");
        figure.verdict(&what, Unit::Mips.show(stat.median), format!(">= {floor} MIPS"), stat.median >= floor);
    }
    Ok(figure)
}

/// Boots `riscv-virt` several times and takes the time from before the machine is built until `script` has seen what it
/// waits for.
fn boots(request: &BootRequest, script: impl Fn(&Session) + Sync) -> Result<Stat> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let spec = catalog::load("riscv-virt")?;
        let took = Mutex::new(Duration::ZERO);
        let start = Instant::now();
        session::run(spec, request, |session| {
            script(session);
            *took.lock().expect("nobody panicked") = start.elapsed();
            session.quit();
        });
        times.push(took.into_inner().expect("nobody panicked").as_nanos() as f64);
    }
    Ok(Stat::of(times))
}

fn boot(wanted: &Wanted<'_>, (id, title): (&str, &str), stat: Stat, seconds: f64) -> Figure {
    let about = "`riscv-virt` as it comes, four harts. From before the machine is built until its console has shown what is waited for.";
    let mut figure = Figure::new(id, title, Unit::Milliseconds, about);
    figure.row("flatland", None, stat, Some(addition(wanted.cores)));
    figure.at_most(title, stat.median, seconds * 1e9, &format!("{seconds} s"));
    figure
}

fn u_boot(wanted: &Wanted<'_>) -> Result<Figure> {
    let title = "time to U-Boot's prompt, without its countdown";
    let firmware = match firmware::ensure(&Workspace::here()) {
        Ok(firmware) => firmware,
        Err(error) => {
            let mut figure = Figure::new("guest-u-boot", title, Unit::Milliseconds, "");
            figure.absent.push((title.to_owned(), format!("{error:#}")));
            return Ok(figure);
        }
    };
    let request = BootRequest {
        firmware: Some(firmware.fw_jump),
        kernel: Some(firmware.u_boot),
        ..BootRequest::default()
    };
    let stat = boots(&request, |session| {
        session.expect("Hit any key to stop autoboot");
        session.send("\n");
        session.expect("\n=> ");
    })?;
    Ok(boot(wanted, ("guest-u-boot", title), stat, 0.3))
}
