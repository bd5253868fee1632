//! `-bios` and `-drive if=pflash`: what a board's processors begin with.

use super::backends::absolute;
use super::keys::Keys;
use super::options::CommandLine;
use anyhow::{Context, bail};
use machines::file::{Extent, MachineSpec, RegionKind, RegionRef};
use memory_core::Size;
use serde_json::json;

/// Where firmware ends.
const END: u64 = 1 << 32;
/// Where what is shown of it below 1 MiB ends, and how much that is at most.
const ISA_END: u64 = 1 << 20;
const ISA_SIZE: u64 = 0x2_0000;
/// Images are whole numbers of so many bytes, which are also those that flash erases together.
const PAGE: u64 = 0x1000;
/// The largest image.
const MOST: u64 = 1 << 24;
/// How many chips of flash a PC has.
const CHIPS: usize = 2;

/// The region of a board that firmware is in.
fn rom(spec: &MachineSpec) -> Option<usize> {
    spec.regions.iter().position(|region| matches!(region.name.as_str(), "bios" | "pc.bios"))
}

/// Whether a board has firmware of its own: in its ROM, or in flash.
pub(super) fn is_in(spec: &MachineSpec) -> bool {
    rom(spec).is_some() || spec.device(&chip(0)).is_some()
}

/// The name of a chip of flash.
fn chip(unit: usize) -> String {
    format!("pflash{unit}")
}

/// The length of an image of firmware, and its path.
fn image(path: &str) -> anyhow::Result<(Size, u64, String)> {
    let refuse = "could not load the image";
    let len = std::fs::metadata(path).context(refuse)?.len();
    let size = Size::new(len.into()).filter(|_| len > 0 && len % PAGE == 0 && len <= MOST);
    let size = size.with_context(|| format!("{len} bytes are no whole number of pages up to 16 MiB"))?;
    Ok((size, len, absolute(path).context(refuse)?))
}

impl CommandLine {
    /// Puts what `-bios` or `-drive if=pflash` says in the place of a board's ROM; `chips` are the names of drives
    /// that the board is told of
    /// itself.
    pub(super) fn firmware(
        &self,
        spec: &mut MachineSpec,
        chips: [Option<String>; CHIPS],
    ) -> anyhow::Result<()> {
        let flash = self.flash(chips)?;
        if flash.iter().any(Option::is_some) {
            // of both QEMU, too, has the flash
            return put_flash(spec, flash);
        }
        let Some(path) = &self.bios else { return Ok(()) };
        let Some(rom) = rom(spec).and_then(|rom| spec.regions.get_mut(rom)) else { return Ok(()) };
        let (size, len, file) = image(path).with_context(|| format!("-bios {path}"))?;
        rom.kind = RegionKind::Rom { file: Some(file) };
        rom.size = Extent::Bytes(size);
        if let Some(placement) = &mut rom.placement {
            placement.at = END - len;
        }
        show_below_1m(spec, len, None);
        Ok(())
    }

    /// The drives that are chips of flash.
    fn flash(&self, chips: [Option<String>; CHIPS]) -> anyhow::Result<[Option<Keys>; CHIPS]> {
        let mut flash = [None, None];
        for (slot, id) in flash.iter_mut().zip(chips) {
            *slot = id.map(|id| self.drive_called(&id).cloned()).transpose()?;
        }
        for drive in &self.drives {
            let mut keys = drive.clone();
            if keys.take("if").as_deref() != Some("pflash") {
                continue;
            }
            let unit = keys.take("unit").or_else(|| keys.take("index"));
            let free = flash.iter().position(Option::is_none);
            let unit = unit.map_or(Ok(free), |unit| unit.parse().map(Some)).context("-drive if=pflash")?;
            match unit.and_then(|unit| flash.get_mut(unit)) {
                Some(slot @ None) => *slot = Some(keys),
                Some(_) => bail!("-drive if=pflash: two drives are the same unit"),
                None => bail!("-drive if=pflash: machine type does not support more than {CHIPS} units"),
            }
        }
        Ok(flash)
    }

    /// Drives that are there without a device of their own are refused, but flash: boards have no slots for them.
    pub(super) fn check_drives(&self) -> anyhow::Result<()> {
        for drive in &self.drives {
            let interface = drive.clone().take("if").unwrap_or_else(|| "ide".to_owned());
            if !matches!(interface.as_str(), "none" | "pflash") {
                bail!("-drive if={interface}: the machine has no such interface");
            }
        }
        Ok(())
    }
}

/// Has chips of flash in the place of the ROM, each below the one before it.
fn put_flash(spec: &mut MachineSpec, flash: [Option<Keys>; CHIPS]) -> anyhow::Result<()> {
    let Some(rom) = rom(spec).filter(|_| spec.region("isa-bios").is_some()) else {
        bail!("-drive if=pflash: the machine has no such interface");
    };
    let mut end = END;
    for (unit, keys) in flash.into_iter().enumerate() {
        let Some(mut keys) = keys else { continue };
        if unit > 0 && end == END {
            bail!("-drive if=pflash: unit {unit} is there without unit 0");
        }
        let place = || format!("-drive if=pflash,unit={unit}");
        let path = keys.take("file").context("the drive has no file").with_context(place)?;
        let (_, len, file) = image(&path).with_context(place)?;
        end -= len;
        let device = json!({
            "type": "cfi-flash", "name": chip(unit), "size": len, "sector-size": PAGE, "bank-width": 1, "device-width": 1,
            "file": file, "read-only": keys.switch("readonly", false)? || keys.switch("read-only", false)?,
            "map": { "region": "flash", "into": "system", "at": format!("{end:#x}") },
        });
        spec.devices.push(spec.device_from_json(&place(), &device.to_string()).with_context(place)?);
        if unit == 0 {
            let flash = RegionRef::Exported { device: chip(0), region: "flash".to_owned() };
            show_below_1m(spec, len, Some(flash));
        }
    }
    spec.regions.remove(rom);
    Ok(())
}

/// Shows the last of `len` bytes of firmware, which may be in another region than before, below 1 MiB.
fn show_below_1m(spec: &mut MachineSpec, len: u64, firmware: Option<RegionRef>) {
    let shown = len.min(ISA_SIZE);
    let Some(alias) = spec.regions.iter_mut().find(|region| region.name == "isa-bios") else { return };
    if let (RegionKind::Alias { target, offset, .. }, Some(placement)) =
        (&mut alias.kind, &mut alias.placement)
    {
        *target = firmware.unwrap_or_else(|| target.clone());
        *offset = len - shown;
        placement.at = ISA_END - shown;
        alias.size = Size::new(shown.into()).map_or(alias.size, Extent::Bytes);
    }
}
