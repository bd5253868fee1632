//! `flatland screenshot`.

use super::board::Changes;
use clap::Args;
use devices::framebuffer::{Frame, Surface};
use devices::{Clock, Console, Host};
use machines::boot::{BootPlan, BootRequest};
use machines::machine::Machine;
use machines::runner::Runner;
use machines::sync::{Arc, thread};
use memory_core::TxAttrs;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Args, Clone, Debug)]
pub(crate) struct ScreenshotArgs {
    /// A machine file, or a machine of the catalog
    machine: String,
    /// The file to write; `-` is standard output
    #[arg(long, short, value_name = "FILE", default_value = "screenshot.png")]
    output: PathBuf,
    /// The display, if the machine has several
    #[arg(long, value_name = "DEVICE")]
    display: Option<String>,
    /// Put a file into memory before, as the first address space shows it; several times for several files
    #[arg(long, value_name = "ADDRESS=FILE")]
    load: Vec<String>,
    /// Run a machine that has a CPU for so long before, in seconds
    #[arg(long, value_name = "SECONDS")]
    after: Option<f64>,
    /// Image that runs first, in M-mode: an ELF file, or a raw image
    #[arg(long, value_name = "FILE")]
    firmware: Option<PathBuf>,
    /// Image that the firmware starts; without firmware it runs in M-mode
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    #[command(flatten)]
    changes: Changes,
}

pub(crate) fn screenshot(args: &ScreenshotArgs) -> anyhow::Result<ExitCode> {
    let spec = args.changes.load(&args.machine)?;
    let machine = Machine::build(spec, Host::new(Clock::real(), Console::new(std::io::sink())))?;
    let surface = surface(&machine, args.display.as_deref())?;
    for load in &args.load {
        put(&machine, load)?;
    }
    match args.after {
        Some(seconds) => run(&machine, args, seconds)?,
        None if args.firmware.is_some() || args.kernel.is_some() => {
            anyhow::bail!("--firmware and --kernel need --after, which runs them")
        }
        None => {}
    }
    let png = png(&surface.look()?)?;
    write(&args.output, &png)?;
    Ok(ExitCode::SUCCESS)
}

/// The display of a name, or the only one.
fn surface(machine: &Machine, name: Option<&str>) -> anyhow::Result<Arc<Surface>> {
    let displays: Vec<_> = machine
        .devices()
        .iter()
        .filter_map(|device| Some((device.name.to_string(), device.device()?.surface()?)))
        .collect();
    let names: Vec<_> = displays.iter().map(|(name, _)| format!("`{name}`")).collect();
    match (displays.as_slice(), name) {
        ([], _) => anyhow::bail!("the machine has no display"),
        ([(_, only)], None) => Ok(only.clone()),
        (_, None) => {
            anyhow::bail!("the machine has several displays: --display is one of {}", names.join(", "))
        }
        (displays, Some(name)) => {
            let found = displays.iter().find(|(known, _)| known == name).map(|(_, surface)| surface.clone());
            found.ok_or_else(|| anyhow::anyhow!("--display: `{name}` is none of {}", names.join(", ")))
        }
    }
}

/// Loads what `ADDRESS=FILE` says.
fn put(machine: &Machine, load: &str) -> anyhow::Result<()> {
    let Some((address, file)) = load.split_once('=') else {
        anyhow::bail!("--load: `{load}` is not of the form ADDRESS=FILE");
    };
    let digits = address.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16));
    let address = digits.unwrap_or_else(|| address.parse());
    let Ok(address) = address else { anyhow::bail!("--load: `{load}` begins with no address") };
    let bytes = std::fs::read(file).map_err(|error| anyhow::anyhow!("--load: {file}: {error}"))?;
    let Some(space) = machine.spaces().first().cloned() else {
        anyhow::bail!("the machine has no address space")
    };
    let loaded = space.write(address, &bytes, TxAttrs::default());
    loaded.map_err(|fault| anyhow::anyhow!("--load: {file}: at {address:#x}: {fault}"))
}

/// Runs the machine for a while, or until it powers off.
fn run(machine: &Machine, args: &ScreenshotArgs, seconds: f64) -> anyhow::Result<()> {
    let Ok(time) = Duration::try_from_secs_f64(seconds) else {
        anyhow::bail!("--after: {seconds} is no time")
    };
    let request = BootRequest {
        firmware: args.firmware.clone(),
        kernel: args.kernel.clone(),
        ..BootRequest::default()
    };
    let plan = BootPlan::new(machine, &request)?;
    let runner = Runner::new(machine);
    let control = runner.control();
    // ends with the process, should the machine power off before
    thread::spawn(move || {
        thread::sleep(time);
        control.quit();
    });
    runner.run(&plan)?;
    Ok(())
}

fn png(frame: &Frame) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, frame.width, frame.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&frame.rgb)?;
    writer.finish()?;
    Ok(bytes)
}

fn write(path: &Path, png: &[u8]) -> anyhow::Result<()> {
    if path == Path::new("-") {
        return Ok(std::io::stdout().lock().write_all(png)?);
    }
    let write = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(png)?;
        file.flush()
    };
    write().map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}
