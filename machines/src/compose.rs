//! Building a machine from its specification.
//!
//! Everything is made unmapped first: declared regions, then devices in the order of the file, then aliases that look at
//! what devices export. One transaction maps it all, so that nobody ever sees half a machine, and so that mappings may
//! be written in any order.

use crate::cpu::Cpu;
use crate::file::{
    Endian, FileError, MachineSpec, Origin, RegionKind, RegionRef as Name, RegionSpec, SpaceSpec, Unassigned,
};
use crate::image;
use crate::machine::Machine;
use crate::parts::{Parts, dma_space};
use crate::plugged::Plugged;
use crate::sync::Arc;
use crate::wiring;
use devices::Host;
use memory_core::{Flags, MemoryError, RamBlock, Region, RegionBuilder, RegionRef, Size};
use memory_dispatch::{AddressSpace, MemorySystem, SpaceConfig};

impl Machine {
    /// Builds the machine that `spec` says, with what `host` offers (number of harts, timebase and base folder are
    /// those of the specification). Nothing is left of a machine that cannot be built.
    ///
    /// # Errors
    /// What is wrong, with its place in the file.
    pub fn build(spec: MachineSpec, host: Host) -> Result<Self, FileError> {
        let (harts, timebase) = spec.cpu.as_ref().map_or((1, host.timebase), |cpu| (cpu.harts, cpu.timebase));
        // all of 2^64 bytes is no RAM that a host has
        let memory = spec.memory.map_or(0, |size| u64::try_from(size.bytes()).unwrap_or(u64::MAX));
        let host = Host { harts, timebase, memory, base: spec.resolve(""), ..host };
        let mut build =
            Build { spec: &spec, system: MemorySystem::new(), regions: Vec::new(), devices: Vec::new() };
        build.declare_backed()?;
        build.declare_aliases()?;
        let mut spaces = build.make_spaces(|space| matches!(space.root, Name::Declared(_)))?;
        build.make_devices(&host, &mut spaces)?;
        build.declare_aliases()?;
        build.check_aliases()?;
        let left = build.make_spaces(|said| spaces.iter().all(|space| space.name() != said.name))?;
        spaces.extend(left);
        let order = |space: &Arc<AddressSpace>| spec.spaces.iter().position(|said| said.name == space.name());
        spaces.sort_by_key(order);
        build.map_all()?;
        let cpu = spec.cpu.as_ref().map(Cpu::new);
        wiring::connect(&spec, &build.devices, cpu.as_ref())?;
        build.devices.iter().for_each(|plugged| plugged.activate());
        let Build { system, regions, devices, .. } = build;
        Ok(Self::new(spec, cpu, devices, (spaces, regions), host, system))
    }
}

/// A machine that is being built.
struct Build<'a> {
    spec: &'a MachineSpec,
    system: MemorySystem,
    regions: Vec<Region>,
    devices: Vec<Arc<Plugged>>,
}

impl Build<'_> {
    fn parts(&self) -> Parts<'_> {
        Parts { system: &self.system, regions: &self.regions, devices: &self.devices }
    }

    fn find(&self, name: &Name) -> Option<RegionRef> {
        self.parts().find(name)
    }

    fn resolve(&self, name: &Name, origin: &Origin, key: &str) -> Result<RegionRef, FileError> {
        self.parts().resolve(name, origin, key)
    }

    /// Makes the regions that look at no other.
    fn declare_backed(&mut self) -> Result<(), FileError> {
        for said in &self.spec.regions {
            let refuse = |error: MemoryError| said.origin.error("", error.to_string());
            let memory = self.system.memory();
            let name = said.name.as_str();
            let size = self.size(said)?;
            let builder = match &said.kind {
                RegionKind::Alias { .. } => continue,
                RegionKind::Container => memory.container(name, size),
                RegionKind::Reservation => memory.reservation(name, size),
                RegionKind::Ram { file } => memory.ram(name, self.block(said, size, file.as_deref())?),
                RegionKind::Rom { file } => memory.rom(name, self.block(said, size, file.as_deref())?),
            };
            self.regions.push(with_attributes(builder, said).build().map_err(refuse)?);
        }
        Ok(())
    }

    fn size(&self, said: &RegionSpec) -> Result<Size, FileError> {
        let size = self
            .spec
            .size_of(said.size)
            .ok_or_else(|| said.origin.error("size", "the machine has no `memory` for this to mean"))?;
        if size.is_zero() {
            return Err(said.origin.error("size", "a region has at least one byte"));
        }
        Ok(size)
    }

    fn block(&self, said: &RegionSpec, size: Size, file: Option<&str>) -> Result<Arc<RamBlock>, FileError> {
        let block =
            RamBlock::anonymous(size).map_err(|error| said.origin.error("size", error.to_string()))?;
        if let Some(file) = file {
            let refuse = |reason: String| said.origin.error("file", reason);
            let bytes = image::read_file(&self.spec.resolve(file), size)
                .map_err(|error| refuse(error.to_string()))?;
            if !block.write(0, &bytes) {
                return Err(refuse(format!("{file} is larger than the region's {size} bytes")));
            }
        }
        Ok(block)
    }

    /// Makes the aliases whose targets are there by now.
    fn declare_aliases(&mut self) -> Result<(), FileError> {
        loop {
            let before = self.regions.len();
            for said in &self.spec.regions {
                let RegionKind::Alias { target, offset } = &said.kind else { continue };
                let Some(target) = self.find(target).filter(|_| !self.is_made(&said.name)) else { continue };
                let size = self.size(said)?;
                let builder = self.system.memory().alias(said.name.as_str(), &target, *offset, size);
                let region = with_attributes(builder, said).build();
                self.regions.push(region.map_err(|error| said.origin.error("offset", error.to_string()))?);
            }
            if self.regions.len() == before {
                return Ok(());
            }
        }
    }

    fn is_made(&self, name: &str) -> bool {
        self.regions.iter().any(|region| **region.name() == *name)
    }

    /// Aliases that are left look at what does not exist, or at each other in a circle.
    fn check_aliases(&self) -> Result<(), FileError> {
        for said in &self.spec.regions {
            let RegionKind::Alias { target, .. } = &said.kind else { continue };
            if self.is_made(&said.name) {
                continue;
            }
            return Err(match target {
                Name::Declared(target) => {
                    let message =
                        format!("alias `{}` looks at `{target}`, which looks back at it", said.name);
                    said.origin.error("target", message)
                }
                Name::Exported { .. } => match self.resolve(target, &said.origin, "target") {
                    Err(error) => error,
                    Ok(_) => said.origin.error("target", "cannot be looked at"),
                },
            });
        }
        Ok(())
    }

    fn make_spaces(&self, wanted: impl Fn(&SpaceSpec) -> bool) -> Result<Vec<Arc<AddressSpace>>, FileError> {
        let make = |said: &SpaceSpec| {
            let root = self.resolve(&said.root, &said.origin, "root")?;
            let config = SpaceConfig {
                order: match said.endian {
                    Endian::Little => memory_core::ByteOrder::Little,
                    Endian::Big => memory_core::ByteOrder::Big,
                },
                unassigned: match said.unassigned {
                    Unassigned::DecodeError => memory_dispatch::Unassigned::DecodeError,
                    Unassigned::AllOnes => memory_dispatch::Unassigned::AllOnes,
                },
                ..SpaceConfig::default()
            };
            let space = self.system.address_space(said.name.as_str(), &root, config);
            space.map_err(|error| said.origin.error("", error.to_string()))
        };
        self.spec.spaces.iter().filter(|said| wanted(said)).map(make).collect()
    }

    /// Makes the devices, and after each the spaces that show what it exports: later devices may do DMA there.
    fn make_devices(&mut self, host: &Host, spaces: &mut Vec<Arc<AddressSpace>>) -> Result<(), FileError> {
        for said in &self.spec.devices {
            let plugged = self.parts().make_device(said, host, dma_space(self.spec, said, spaces)?)?;
            self.devices.push(plugged);
            let of_device =
                |name: &Name| matches!(name, Name::Exported { device, .. } if *device == said.name);
            spaces.extend(self.make_spaces(|space| of_device(&space.root))?);
        }
        Ok(())
    }

    /// Maps everything, in one transaction.
    fn map_all(&self) -> Result<(), FileError> {
        let mut places = Vec::new();
        for said in &self.spec.regions {
            if let Some(placement) = &said.placement {
                let region = self.resolve(&Name::Declared(said.name.clone()), &said.origin, "")?;
                places.push((region, placement, &said.origin));
            }
        }
        for (said, plugged) in self.spec.devices.iter().zip(&self.devices) {
            places.extend(self.parts().places(said, plugged)?);
        }
        self.parts().map(&places, &self.spec.origin)
    }
}

fn with_attributes(builder: RegionBuilder, said: &RegionSpec) -> RegionBuilder {
    builder
        .flags(Flags::ENABLED, said.enabled)
        .flags(Flags::READ_ONLY, said.read_only)
        .flags(Flags::NONVOLATILE, said.nonvolatile)
        .flags(Flags::UNMERGEABLE, said.unmergeable)
}
