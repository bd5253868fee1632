//! The parts that a machine has so far, how they are found by name, and how a device is added to them.

use crate::file::{DeviceSpec, FileError, MachineSpec, Origin, Placement, Problem, RegionRef as Name, Shows};
use crate::plugged::Plugged;
use crate::sync::Arc;
use devices::pci::{Buses, SlotRequest};
use devices::{Device, DeviceError, Host, Realize, Surroundings};
use memory_core::{Mapping, MemoryError, Region, RegionRef};
use memory_dispatch::{AddressSpace, MemorySystem};
use std::cell::RefCell;

/// One region, where it is to be mapped, and who says so.
pub(crate) type Place<'a> = (RegionRef, &'a Placement, &'a Origin);

/// The parts that a machine has so far.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) system: &'a MemorySystem,
    pub(crate) regions: &'a [Region],
    pub(crate) devices: &'a [Arc<Plugged>],
}

impl Parts<'_> {
    /// The region of that name.
    pub(crate) fn find(&self, name: &Name) -> Option<RegionRef> {
        match name {
            Name::Declared(name) => {
                let found = self.regions.iter().find(|region| **region.name() == **name);
                found.map(|region| region.by_ref().clone())
            }
            Name::Exported { device, region } => self.device(device)?.export(Some(region)).cloned(),
        }
    }

    fn device(&self, name: &str) -> Option<&Arc<Plugged>> {
        self.devices.iter().find(|plugged| plugged.name == *name)
    }

    /// Where `name` leads, or an error about `key`.
    pub(crate) fn resolve(&self, name: &Name, origin: &Origin, key: &str) -> Result<RegionRef, FileError> {
        self.find(name).ok_or_else(|| match name {
            Name::Declared(name) => origin.error(key, format!("there is no region `{name}`")),
            Name::Exported { device, region } => {
                let known = self.device(device).map(|plugged| plugged.export_names()).unwrap_or_default();
                let problem =
                    Problem::UnknownReference { what: "region", name: format!("{device}.{region}"), known };
                origin.problem(key, problem)
            }
        })
    }

    /// Makes a device, unmapped and unwired.
    pub(crate) fn make_device(
        &self,
        said: &DeviceSpec,
        host: &Host,
        dma: &Arc<AddressSpace>,
    ) -> Result<Arc<Plugged>, FileError> {
        let device: Box<dyn Device> = said.deserialize_properties()?;
        let device: Arc<dyn Device> = device.into();
        let memory = self.system.memory();
        let object: Arc<dyn std::any::Any + Send + Sync> = device.clone();
        let owner = memory.owner(format!("/machine/{}", said.name), Arc::downgrade(&object));
        let uses = RefCell::new(Vec::new());
        let region = |name: &str| {
            let exported = name.split_once('.').map(|(device, region)| Name::Exported {
                device: device.to_owned(),
                region: region.to_owned(),
            });
            self.find(&Name::Declared(name.to_owned())).or_else(|| {
                let found = self.find(exported.as_ref()?)?;
                uses.borrow_mut().extend(name.split_once('.').map(|(device, _)| device.to_owned()));
                Some(found)
            })
        };
        let known: Vec<_> = self.devices.iter().flat_map(|plugged| plugged.buses()).cloned().collect();
        let buses = Buses { known: &known, slot: Some(&said.slot) };
        let around = Surroundings { host, dma, requester: said.requester, region: &region, buses };
        let mut realize = Realize::new(memory, owner.clone(), around);
        // the guard first: should the device fail half-way, it goes as an unplugged one does
        let plug = memory.plug(&owner, device.clone());
        device.realize(&mut realize).map_err(|error| match &error {
            DeviceError::Property { property, reason } => said.origin.error(property, reason.clone()),
            error => said.origin.error("", error.to_string()),
        })?;
        let entry = self.system.entry(owner.id());
        let realized = realize.finish();
        if realized.seats.is_empty() && said.slot != SlotRequest::default() {
            let key = if said.slot.bus.is_some() { "bus" } else { "addr" };
            return Err(said.origin.error(key, format!("a `{}` is plugged into no bus", said.type_name)));
        }
        for seat in &realized.seats {
            let has_bus =
                |plugged: &&Arc<Plugged>| plugged.buses().iter().any(|bus| Arc::ptr_eq(bus, seat.bus()));
            uses.borrow_mut().extend(self.devices.iter().find(has_bus).map(|plugged| plugged.name.clone()));
        }
        Ok(Arc::new(Plugged::new(&said.name, plug, entry, (realized, uses.take()))))
    }

    /// Where the regions of a device are to be mapped.
    pub(crate) fn places<'s>(
        &self,
        said: &'s DeviceSpec,
        plugged: &Plugged,
    ) -> Result<Vec<Place<'s>>, FileError> {
        let place = |map: &'s crate::file::MapSpec| {
            let name = map.region.as_deref();
            let region = plugged.export(name).cloned().ok_or_else(|| {
                let known = plugged.export_names().join(", ");
                match name {
                    Some(name) => map.origin.error(
                        "region",
                        format!("`{}` exports no region `{name}`; it exports: {known}", said.name),
                    ),
                    None => {
                        map.origin.error("", format!("say which region of `{}` is meant: {known}", said.name))
                    }
                }
            })?;
            Ok((region, &map.placement, &map.origin))
        };
        said.maps.iter().map(place).collect()
    }

    /// Maps everything that `places` says, in one transaction. What no single mapping is to blame for is said of `whole`.
    pub(crate) fn map(&self, places: &[Place<'_>], whole: &Origin) -> Result<(), FileError> {
        let result = self.system.memory().transaction(|_| {
            places.iter().try_for_each(|(region, placement, origin)| {
                let into = self.resolve(&placement.into, origin, "into")?;
                let mapping = Mapping {
                    priority: placement.priority,
                    overlap: placement.overlap,
                    shows: match placement.shows {
                        Shows::Both => memory_core::Shows::Both,
                        Shows::Reads => memory_core::Shows::Reads,
                        Shows::Writes => memory_core::Shows::Writes,
                    },
                };
                let mapped = into.map_with(placement.at, region, mapping);
                mapped.map_err(|error| MapError::Here(origin.error("at", error.to_string())))
            })
        });
        result.map_err(|error| match error {
            MapError::Here(error) => error,
            MapError::Commit(error) => at_commit(&error, places, whole),
        })
    }
}

/// The address space that the DMA of `said` goes to: the first.
pub(crate) fn dma_space<'a>(
    spec: &MachineSpec,
    said: &DeviceSpec,
    spaces: &'a [Arc<AddressSpace>],
) -> Result<&'a Arc<AddressSpace>, FileError> {
    if let Some(name) = &said.dma {
        let found = spaces.iter().find(|space| space.name() == name);
        return found.ok_or_else(|| {
            let message = format!("address space `{name}` shows a device that comes after this one");
            said.origin.error("dma", message)
        });
    }
    let first = spec.spaces.first();
    let found = first.and_then(|first| spaces.iter().find(|space| space.name() == first.name));
    found.ok_or_else(|| {
        let message =
            "devices need an address space for their DMA: the first one must show a declared region";
        said.origin.error("", message)
    })
}

/// The error of a commit, at the mapping that it is about.
fn at_commit(error: &MemoryError, places: &[Place<'_>], whole: &Origin) -> FileError {
    let about = |name: &Arc<str>| places.iter().rfind(|(region, ..)| region.name() == name);
    let place = match error {
        MemoryError::Overlap { second, first, .. } => about(second).or_else(|| about(first)),
        _ => None,
    };
    match place {
        Some((_, _, origin)) => origin.error("at", error.to_string()),
        None => whole.error("", error.to_string()),
    }
}

/// Why mapping everything failed: at one mapping, or all together.
enum MapError {
    Here(FileError),
    Commit(MemoryError),
}

impl From<MemoryError> for MapError {
    fn from(error: MemoryError) -> Self {
        Self::Commit(error)
    }
}

impl From<FileError> for MapError {
    fn from(error: FileError) -> Self {
        Self::Here(error)
    }
}
