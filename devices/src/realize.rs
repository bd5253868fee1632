//! What a device is given when it is realised.

use crate::clock::Timer;
use crate::deferred::Deferred;
use crate::device::DeviceError;
use crate::dma::DmaPort;
use crate::host::Host;
use crate::irq::{IrqInputs, IrqLine};
use crate::pci::{Buses, PciBus, Seat};
use crate::sync::Arc;
use memory_core::{
    AccessRules, BusFault, Memory, MemoryError, Methods, Owner, RamBlock, Region, RegionRef, Size, TxAttrs,
    Width,
};
use memory_dispatch::{AddressSpace, Entry};

/// A region that the machine may map.
#[derive(Clone, Debug)]
pub struct Export {
    /// Its name among those of the device.
    pub name: String,
    /// The region.
    pub region: RegionRef,
}

/// Lines that the machine may lead somewhere.
#[derive(Clone, Debug)]
pub struct Output {
    /// Their name among those of the device.
    pub name: String,
    /// The lines, by number.
    pub lines: Vec<IrqLine>,
}

/// What of the machine a device may reach.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// What the machine offers.
    pub host: &'a Host,
    /// Where the device's DMA goes.
    pub dma: &'a Arc<AddressSpace>,
    /// The requester id that its DMA carries.
    pub requester: u16,
    /// Regions by the names of the machine file: declared ones, and `DEVICE.REGION` of the devices before.
    pub region: &'a dyn Fn(&str) -> Option<RegionRef>,
    /// The PCI buses, and where the device is to be plugged in.
    pub buses: Buses<'a>,
}

/// What a device has made of itself, for the machine.
#[derive(Default)]
pub struct Realized {
    /// The regions that the machine may map.
    pub exports: Vec<Export>,
    /// The lines that the machine may lead somewhere.
    pub outputs: Vec<Output>,
    /// Where lines may lead, by the name of the group.
    pub inputs: Vec<(String, IrqInputs)>,
    /// The buses that devices may be plugged into.
    pub buses: Vec<Arc<PciBus>>,
    /// The places that the device has taken on buses, to be [activated](Seat::activate) when the machine has all of it, and to be
    /// kept as long as it is plugged in.
    pub seats: Vec<Seat>,
}

/// What a device makes itself of: regions, lines, timers.
///
/// Regions belong to the device and start unmapped; the ones that are made here are exported under their names, for
/// the machine to map. The handles are the device's to keep: a region goes with its handle.
pub struct Realize<'a> {
    memory: &'a Memory,
    owner: Owner,
    around: Surroundings<'a>,
    realized: Realized,
}

impl<'a> Realize<'a> {
    /// What the device that `owner` stands for is given.
    pub fn new(memory: &'a Memory, owner: Owner, around: Surroundings<'a>) -> Self {
        Self { memory, owner, around, realized: Realized::default() }
    }

    /// The machine's memory, for regions of kinds that have no method here: pass [`Realize::owner`] to the builder.
    pub fn memory(&self) -> &Memory {
        self.memory
    }

    /// The device as an owner of regions.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// What the machine offers.
    pub fn host(&self) -> &Host {
        self.around.host
    }

    /// A region of the machine file: one that it declares, or `DEVICE.REGION` of a device before this one.
    ///
    /// # Errors
    /// If there is none of that name; `property` is the property that names it.
    pub fn region(&self, property: &'static str, name: &str) -> Result<RegionRef, DeviceError> {
        (self.around.region)(name).ok_or_else(|| DeviceError::Property {
            property,
            reason: format!("there is no region `{name}` before this device"),
        })
    }

    /// Exports a region for the machine to map, or to look at through an alias.
    pub fn export(&mut self, name: impl Into<String>, region: &RegionRef) {
        self.realized.exports.push(Export { name: name.into(), region: region.clone() });
    }

    /// The name of a block of registers in maps: many devices have one called `regs`.
    fn map_name(&self, export: &str) -> String {
        let path = self.owner.path();
        format!("{}.{export}", path.rsplit('/').next().unwrap_or(path))
    }

    /// Makes and exports a block of registers whose callbacks are methods of the device.
    ///
    /// # Errors
    /// As for every region that is made.
    pub fn mmio<D, R, W>(
        &mut self,
        name: &str,
        size: impl Into<Size>,
        rules: AccessRules,
        device: &Arc<D>,
        (read, write): (R, W),
    ) -> Result<Region, MemoryError>
    where
        D: Send + Sync + 'static,
        R: Fn(&D, u64, Width, TxAttrs) -> Result<u64, BusFault> + Copy + Send + Sync + 'static,
        W: Fn(&D, u64, Width, u64, TxAttrs) -> Result<(), BusFault> + Copy + Send + Sync + 'static,
    {
        let region = self.memory.mmio(self.map_name(name), size, rules, Methods::new(device, read, write));
        let region = region.owner(&self.owner).build()?;
        self.export(name, &region);
        Ok(region)
    }

    /// Makes and exports a ROM device over `block`.
    ///
    /// # Errors
    /// As for every region that is made.
    pub fn rom_device<D, R, W>(
        &mut self,
        name: &str,
        block: Arc<RamBlock>,
        rules: AccessRules,
        device: &Arc<D>,
        (read, write): (R, W),
    ) -> Result<Region, MemoryError>
    where
        D: Send + Sync + 'static,
        R: Fn(&D, u64, Width, TxAttrs) -> Result<u64, BusFault> + Copy + Send + Sync + 'static,
        W: Fn(&D, u64, Width, u64, TxAttrs) -> Result<(), BusFault> + Copy + Send + Sync + 'static,
    {
        let identifier = format!("{}/{name}", self.owner.path());
        let region =
            self.memory.rom_device(self.map_name(name), block, rules, Methods::new(device, read, write));
        let region = region.owner(&self.owner).identifier(identifier).build()?;
        self.export(name, &region);
        Ok(region)
    }

    /// Makes and exports a region of host memory.
    ///
    /// # Errors
    /// As for every region that is made.
    pub fn ram(&mut self, name: &str, block: Arc<RamBlock>) -> Result<Region, MemoryError> {
        let region = self.memory.ram(name, block).owner(&self.owner).build()?;
        self.export(name, &region);
        Ok(region)
    }

    /// Makes and exports a container.
    ///
    /// # Errors
    /// As for every region that is made.
    pub fn container(&mut self, name: &str, size: impl Into<Size>) -> Result<Region, MemoryError> {
        let region = self.memory.container(name, size).owner(&self.owner).build()?;
        self.export(name, &region);
        Ok(region)
    }

    /// Makes and exports an alias.
    ///
    /// # Errors
    /// As for every region that is made.
    pub fn alias(
        &mut self,
        name: &str,
        target: &RegionRef,
        offset: u64,
        size: impl Into<Size>,
    ) -> Result<Region, MemoryError> {
        let region = self.memory.alias(name, target, offset, size).owner(&self.owner).build()?;
        self.export(name, &region);
        Ok(region)
    }

    /// An output line.
    pub fn output(&mut self, name: &str) -> IrqLine {
        let line = IrqLine::new();
        self.realized.outputs.push(Output { name: name.to_owned(), lines: vec![line.clone()] });
        line
    }

    /// `count` output lines of one name.
    pub fn outputs(&mut self, name: &str, count: u32) -> Vec<IrqLine> {
        let lines: Vec<_> = (0..count).map(|_| IrqLine::new()).collect();
        self.realized.outputs.push(Output { name: name.to_owned(), lines: lines.clone() });
        lines
    }

    /// `count` input lines of one name; `set` gets the number of the line and its new level.
    pub fn inputs<D: Send + Sync + 'static>(
        &mut self,
        name: &str,
        count: u32,
        device: &Arc<D>,
        set: fn(&D, u32, bool),
    ) {
        self.realized.inputs.push((name.to_owned(), IrqInputs::new(count, device, set)));
    }

    /// The way into the device for what is no access and has no method here: a back end's thread.
    pub fn entry(&self) -> Entry {
        self.around.dma.entry(self.owner.id())
    }

    /// A timer of the machine's clock that enters the device through the re-entrancy guard.
    pub fn timer<D: Send + Sync + 'static>(&self, device: &Arc<D>, fire: fn(&D)) -> Timer {
        self.around.host.clock.timer(self.entry(), device, fire)
    }

    /// Work that the device puts off until nobody is in the middle of anything; it enters the device through the
    /// re-entrancy guard.
    pub fn deferred<D: Send + Sync + 'static>(&self, device: &Arc<D>, run: fn(&D)) -> Deferred {
        Deferred::new(&self.around.host.clock, self.entry(), device, run)
    }

    /// The device's port for DMA.
    pub fn dma(&self) -> DmaPort {
        DmaPort::new(self.around.dma, self.dma_attrs())
    }

    /// What the device's DMA carries.
    pub fn dma_attrs(&self) -> TxAttrs {
        TxAttrs::requester(self.around.requester)
    }

    /// Where the device's DMA goes, for [`Locked`](memory_dispatch::Locked). Keep no strong reference to it.
    pub fn dma_space(&self) -> &Arc<AddressSpace> {
        self.around.dma
    }

    /// Exports a bus that devices after this one may be plugged into.
    pub fn export_bus(&mut self, bus: &Arc<PciBus>) {
        self.realized.buses.push(bus.clone());
    }

    /// The buses that there are, and where the device is to be plugged in.
    pub(crate) fn buses(&self) -> Buses<'a> {
        self.around.buses
    }

    /// Takes a place on a bus, which the machine keeps from then on.
    pub(crate) fn add_seat(&mut self, seat: Seat) {
        self.realized.seats.push(seat);
    }

    /// What was exported, wired and taken, for the machine.
    pub fn finish(self) -> Realized {
        self.realized
    }
}
