//! The expansion ROM that a machine file gives a function.

use super::seat::Sitting;
use super::setup::FunctionSetup;
use crate::{DeviceError, Realize};
use memory_core::RamBlock;
use std::fs::File;
use std::io::Read;

/// The largest ROM that is taken.
const MOST: u64 = 16 << 20;
/// The smallest one that a register can show.
const LEAST: u64 = 0x800;

/// Adds the ROM of the file that the machine file names for the function, if it does and the device has none of its own.
pub(super) fn add(
    ctx: &Realize<'_>,
    seat: &Sitting,
    setup: FunctionSetup,
) -> Result<FunctionSetup, DeviceError> {
    let Some(file) = &seat.romfile else { return Ok(setup) };
    let path = ctx.host().resolve(file);
    let failed = |source| DeviceError::File { path: path.clone(), source };
    let mut bytes = Vec::new();
    File::open(&path).and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes)).map_err(failed)?;
    let len = bytes.len() as u64;
    if len == 0 || len > MOST {
        return Err(DeviceError::Property {
            property: "romfile",
            reason: format!("{} is empty or has more than {MOST:#x} bytes", path.display()),
        });
    }
    let block = RamBlock::anonymous(len.next_power_of_two().max(LEAST))?;
    let _ = block.write(0, &bytes);
    let path = ctx.owner().path();
    let name = format!("{}.rom", path.rsplit('/').next().unwrap_or(path));
    let region = ctx.memory().rom(name, block).owner(ctx.owner()).build()?;
    Ok(setup.rom(&region)?.keep(region))
}
