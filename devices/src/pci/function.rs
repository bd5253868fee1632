//! A PCI function: what every one has, for a device to embed.

use super::bar::{Bar, BarKind};
use super::bus::PciBus;
use super::config::ConfigSpace;
use super::device::PciDevice;
use super::hex::HexBytes;
use super::msi::{Message, MsiSetup};
use super::msix::{MsixSetup, MsixTable};
use super::registers::*;
use super::setup::FunctionSetup;
use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use crate::{DeviceError, DmaPort, Realize};
use memory_core::{AccessRules, MemoryError, Methods, Region, TxAttrs, Width};
use memory_dispatch::{AddressSpace, SpaceConfig};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// What every PCI function has: configuration space, base address registers, its own view of memory as a bus master,
/// its interrupt pin and messages. A device embeds one in a serde field called `pci`, realises it with a
/// [`FunctionSetup`], and returns it from [`PciDevice::function`].
///
/// All methods may be called from any thread. Those that send messages dispatch: they are called with no lock of the
/// device held.
#[derive(Default)]
pub struct PciFunction {
    /// Lock order: after locks of the device, before the bus's and the writers' lock, so that the map always follows the
    /// registers. Not held while messages are sent or the device's hooks run.
    core: Mutex<Core>,
    wiring: OnceLock<Wiring>,
}

/// What of a function changes.
#[derive(Default)]
struct Core {
    config: ConfigSpace,
    msix: MsixTable,
    /// What the device drives its pin to, whether that is disabled or not.
    pin: bool,
    /// Where each base address register shows its region now.
    mapped: [Option<u64>; 7],
}

struct Wiring {
    bus: Arc<PciBus>,
    devfn: u8,
    bridge: bool,
    bars: Vec<Bar>,
    msi: Option<MsiSetup>,
    msix: Option<MsixSetup>,
    /// All of the system's memory, as long as the function may master the bus.
    master: Region,
    space: Arc<AddressSpace>,
    /// Held for their drop only.
    _keeps: Vec<Region>,
}

impl PciFunction {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the function of `device` on a bus: where the machine file says, unless `setup` says where. Called once, when
    /// the device is realised; the guest sees the function when the machine has all of the device.
    ///
    /// # Errors
    /// A bus or a slot that there is not, a ROM that cannot be read, a snapshot of another function, a region that is refused.
    pub fn realize<D: PciDevice>(
        &self,
        ctx: &mut Realize<'_>,
        device: &Arc<D>,
        mut setup: FunctionSetup,
    ) -> Result<(), DeviceError> {
        let (bus, devfn) = match setup.home.take() {
            Some((bus, devfn)) => {
                ctx.sit_at_home(&bus, devfn, device)?;
                (bus, devfn)
            }
            None => {
                let several = setup.config.byte(HEADER_TYPE) & MULTI_FUNCTION != 0;
                let seat = ctx.sit(device, several)?;
                if seat.multifunction {
                    setup = setup.multifunction();
                }
                setup = super::rom::add(ctx, &seat, setup)?;
                (seat.bus, seat.devfn)
            }
        };
        if setup.config.byte(INTERRUPT_PIN) > 4 {
            return Err(DeviceError::Property { property: "pin", reason: "pins are 1 to 4".to_owned() });
        }
        self.add_msix(ctx, device, &mut setup)?;
        let (master, container, space) = bus_master(ctx)?;
        setup.keeps.push(container);
        self.merge(&setup)?;
        let FunctionSetup { bars, msi, msix, keeps, bridge, .. } = setup;
        let wiring = Wiring { bus, devfn, bridge, bars, msi, msix, master, space, _keeps: keeps };
        // a device is realised once
        let _ = self.wiring.set(wiring);
        Ok(())
    }

    /// The registers that the function begins with: those of a snapshot, or those after power on.
    fn merge(&self, setup: &FunctionSetup) -> Result<(), DeviceError> {
        let mut core = self.core();
        let wrong = |reason: String| DeviceError::Property { property: "pci", reason };
        let mut config = setup.config.clone();
        if !core.config.is_empty() {
            if let Some(at) = config.conflict(&core.config.bytes) {
                return Err(wrong(format!("`config` is that of another function, by offset {at:#x}")));
            }
            config.bytes.clone_from(&core.config.bytes);
        }
        core.config = config;
        let fresh = setup.msix.map(MsixTable::new).unwrap_or_default();
        let (sizes, wanted) =
            ((core.msix.entries.len(), core.msix.pending.len()), (fresh.entries.len(), fresh.pending.len()));
        match sizes {
            (0, 0) => core.msix = fresh,
            saved if saved == wanted => {}
            _ => {
                return Err(wrong(
                    "`msix-table` and `msix-pending` are those of another function".to_owned(),
                ));
            }
        }
        Ok(())
    }

    /// The table and the pending bits, in the base address registers where `setup` has them.
    fn add_msix<D: PciDevice>(
        &self,
        ctx: &Realize<'_>,
        device: &Arc<D>,
        setup: &mut FunctionSetup,
    ) -> Result<(), DeviceError> {
        let Some(msix) = setup.msix else { return Ok(()) };
        let rules = || AccessRules::new().valid(Width::W4..=Width::W8).implements(Width::W4..=Width::W4);
        let table = Methods::new(
            device,
            |device: &D, offset, width, _| Ok(device.function().core().msix.read(offset, width)),
            |device: &D, offset, width, value, _| {
                device.function().write_msix(offset, width, value);
                Ok(())
            },
        );
        let pending = Methods::new(
            device,
            |device: &D, offset, width, _| Ok(device.function().core().msix.read_pending(offset, width)),
            |_: &D, _, _, _, _| Ok(()),
        );
        let table = ctx.memory().mmio("msix-table", msix.table_size() as u64, rules(), table);
        let pending = ctx.memory().mmio("msix-pba", msix.pending_size() as u64, rules(), pending);
        for (region, (bar, offset)) in [(table, msix.table), (pending, msix.pending)] {
            let region = region.owner(ctx.owner()).build()?;
            setup.region_of_bar(bar)?.map_overlap(offset.into(), &region, 0)?;
            setup.keeps.push(region);
        }
        Ok(())
    }

    /// Looks at the registers.
    pub fn look<R>(&self, look: impl FnOnce(&ConfigSpace) -> R) -> R {
        look(&self.core().config)
    }

    /// Changes the registers as the device itself does. What follows from them, as the map does, changes with them.
    pub fn config<R>(&self, change: impl FnOnce(&mut ConfigSpace) -> R) -> R {
        let mut core = self.core();
        let result = change(&mut core.config);
        self.refresh(&mut core);
        result
    }

    /// Makes the map and the pin what the registers say.
    pub(super) fn update(&self) {
        self.refresh(&mut self.core());
    }

    fn refresh(&self, core: &mut Core) {
        let Some(wiring) = self.wiring.get() else { return };
        // a function whose device is not all there yet, or is on its way out, is neither seen nor heard
        if !wiring.bus.is_live(wiring.devfn) {
            return;
        }
        if let Err(error) = wiring.map(core) {
            tracing::warn!(%error, devfn = wiring.devfn, "a PCI function stays where it was");
        }
        let disabled = core.command().contains(Command::INTX_DISABLE);
        core.config.change_word(STATUS, Status::INTERRUPT.bits(), core.pin);
        let pin = core.config.byte(INTERRUPT_PIN);
        if let Some(pin) = pin.checked_sub(1) {
            wiring.bus.set_pin(wiring.devfn, pin & 3, core.pin && !disabled);
        }
    }

    /// What a guest reads; nothing beyond the end.
    pub(super) fn read_config(&self, offset: usize, width: Width) -> Option<u64> {
        let core = self.core();
        (offset < core.config.len()).then(|| core.config.read(offset, width))
    }

    /// What a guest's write does.
    pub(super) fn write_config(&self, offset: usize, width: Width, value: u64) {
        let messages = {
            let core = &mut *self.core();
            core.config.write(offset, width, value);
            let mut messages = Vec::new();
            if let Some(msix) = self.msix().filter(|msix| msix.is_control(offset, width.len())) {
                // messages replace the pin
                if msix.is_enabled(&core.config) {
                    core.pin = false;
                }
                messages = core.msix.ready(msix, &core.config, 0..msix.vectors.into());
            }
            if let Some(msi) = self.msi().filter(|msi| msi.overlaps(offset, width.len())) {
                if msi.is_enabled(&core.config) {
                    core.pin = false;
                }
                messages.extend(msi.written(&mut core.config));
            }
            self.refresh(core);
            messages
        };
        self.send(messages);
    }

    fn write_msix(&self, offset: u64, width: Width, value: u64) {
        let messages = {
            let core = &mut *self.core();
            let vector = core.msix.write(offset, width, value);
            self.msix().map(|msix| core.msix.ready(msix, &core.config, [vector]))
        };
        self.send(messages.unwrap_or_default());
    }

    fn msix(&self) -> Option<MsixSetup> {
        self.wiring.get().and_then(|wiring| wiring.msix)
    }

    fn msi(&self) -> Option<MsiSetup> {
        self.wiring.get().and_then(|wiring| wiring.msi)
    }

    fn send(&self, messages: impl IntoIterator<Item = Message>) {
        let Some(wiring) = self.wiring.get() else { return };
        for Message { address, data } in messages {
            let attrs = TxAttrs::requester(self.requester());
            if let Err(fault) = wiring.space.store(address, Width::W4, data.into(), attrs) {
                tracing::debug!(%fault, address, data, "a message of a PCI function found nobody");
            }
        }
    }

    /// Drives the interrupt pin.
    pub fn set_irq(&self, level: bool) {
        let core = &mut *self.core();
        if core.pin != level {
            core.pin = level;
            self.refresh(core);
        }
    }

    /// Whether the guest wants messages without a table.
    pub fn msi_enabled(&self) -> bool {
        self.msi().is_some_and(|msi| msi.is_enabled(&self.core().config))
    }

    /// Sends the message of a vector, by a DMA write; notes that it waits if it is masked, and does nothing unless the guest
    /// [wants messages](PciFunction::msi_enabled).
    pub fn msi_notify(&self, vector: u32) {
        let message = self.msi().and_then(|msi| msi.raise(&mut self.core().config, vector));
        self.send(message);
    }

    /// Whether the guest wants messages by the table.
    pub fn msix_enabled(&self) -> bool {
        self.msix().is_some_and(|msix| msix.is_enabled(&self.core().config))
    }

    /// Sends the message of a vector of the table, by a DMA write; sets its pending bit if it is masked, and does nothing
    /// unless the guest [wants messages](PciFunction::msix_enabled).
    pub fn msix_notify(&self, vector: u16) {
        let message = self.msix().and_then(|msix| {
            let core = &mut *self.core();
            core.msix.raise(msix, &core.config, vector)
        });
        self.send(message);
    }

    /// The requester id: bus, device and function numbers.
    pub fn requester(&self) -> u16 {
        self.wiring.get().map_or(0, |wiring| u16::from(wiring.bus.number()) << 8 | u16::from(wiring.devfn))
    }

    /// Device and function numbers, as in a requester id.
    pub fn devfn(&self) -> u8 {
        self.wiring.get().map_or(0, |wiring| wiring.devfn)
    }

    /// The bus that the function is on.
    pub fn bus(&self) -> Option<&Arc<PciBus>> {
        self.wiring.get().map(|wiring| &wiring.bus)
    }

    /// Memory as the function sees it: none of it, unless it may master the bus. Made anew for each batch of work, since the
    /// requester id changes with the numbers of buses. `None` before the function is realised.
    pub fn dma(&self) -> Option<DmaPort> {
        let wiring = self.wiring.get()?;
        Some(DmaPort::new(&wiring.space, TxAttrs::requester(self.requester())))
    }

    /// The function as after power on. `registers` puts registers of the device's own back.
    pub fn reset(&self, registers: impl FnOnce(&mut ConfigSpace)) {
        let core = &mut *self.core();
        let Some(wiring) = self.wiring.get() else { return };
        core.pin = false;
        core.config.clear_changeable(COMMAND, 4);
        core.config.clear_changeable(INTERRUPT_LINE, 1);
        core.config.set_byte(CACHE_LINE_SIZE, 0);
        for bar in &wiring.bars {
            bar.reset(&mut core.config, wiring.bridge);
        }
        if let Some(msi) = wiring.msi {
            msi.reset(&mut core.config);
        }
        if let Some(msix) = wiring.msix {
            core.config.clear_changeable(usize::from(msix.offset) + 2, 2);
            core.msix = MsixTable::new(msix);
        }
        registers(&mut core.config);
        self.refresh(core);
    }

    /// Takes the function off the map, in one transaction. It is on its bus no more; when this returns nobody sets its pin who found that it was.
    pub(super) fn leave(&self) {
        let core = &mut *self.core();
        if let Some(wiring) = self.wiring.get() {
            // the guest sees all of it or nothing; a region that its device has let go of is no error
            let unmapped = wiring.master.memory().transaction(|_| {
                for bar in &wiring.bars {
                    if let Err(error) = bar.region.unmap() {
                        tracing::debug!(%error, "a base address register of a device that went before its region");
                    }
                }
                Ok::<_, MemoryError>(())
            });
            if let Err(error) = unmapped {
                tracing::warn!(%error, devfn = wiring.devfn, "a PCI function that leaves its bus stays on the map");
            }
            core.mapped = Default::default();
        }
    }

    /// The base address registers, for people: number, kind, size, and where it shows if it does.
    pub fn bars(&self) -> Vec<(u8, BarKind, u64, Option<u64>)> {
        let core = self.core();
        let bars = self.wiring.get().map_or(&[][..], |wiring| &wiring.bars);
        let mapped = |bar: &Bar| core.mapped.get(usize::from(bar.index)).copied().flatten();
        bars.iter().map(|bar| (bar.index, bar.kind, bar.size, mapped(bar))).collect()
    }
}

impl Core {
    fn command(&self) -> Command {
        Command::from_bits_retain(self.config.word(COMMAND))
    }
}

impl Wiring {
    /// Shows each base address register where the registers say, and memory to the bus master: all that changes in one
    /// transaction.
    fn map(&self, core: &mut Core) -> Result<(), MemoryError> {
        let address = |bar: &Bar| (bar.index, bar.address(&core.config, self.bridge));
        let mut wanted = [None; 7];
        for (index, address) in self.bars.iter().map(address) {
            wanted.get_mut(usize::from(index)).into_iter().for_each(|wanted| *wanted = address);
        }
        let master = core.command().contains(Command::MASTER);
        let is_master = self.master.flags()?.contains(memory_core::Flags::ENABLED);
        if wanted == core.mapped && master == is_master {
            return Ok(());
        }
        self.master.memory().transaction(|_| {
            self.master.set_enabled(master)?;
            for bar in &self.bars {
                let at = usize::from(bar.index);
                let (old, new) = (core.mapped.get(at).copied().flatten(), wanted.get(at).copied().flatten());
                if old == new {
                    continue;
                }
                bar.region.unmap()?;
                if let Some(address) = new {
                    let into = if bar.kind == BarKind::Io { self.bus.io() } else { self.bus.memory() };
                    into.map_overlap(address, &bar.region, 1)?;
                }
            }
            Ok::<_, MemoryError>(())
        })?;
        core.mapped = wanted;
        Ok(())
    }
}

/// What a bus master sees: a container with an alias of the whole memory of the system, which begins disabled.
fn bus_master(ctx: &Realize<'_>) -> Result<(Region, Region, Arc<AddressSpace>), DeviceError> {
    let root = ctx.dma_space().root().clone();
    let size = root.size()?;
    let container = ctx.memory().container("bus master container", memory_core::Size::FULL);
    let container = container.owner(ctx.owner()).build()?;
    let master = ctx.memory().alias("bus master", &root, 0, size).owner(ctx.owner()).disabled().build()?;
    container.map(0, &master)?;
    let path = ctx.owner().path();
    let name = path.rsplit('/').next().unwrap_or(path);
    let config = SpaceConfig { order: ctx.dma_space().config().order, ..SpaceConfig::default() };
    let space = ctx.dma_space().memory_system().address_space(name, &container, config)?;
    Ok((master, container, space))
}

/// A function in a snapshot.
#[derive(Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Saved {
    #[serde(skip_serializing_if = "HexBytes::is_empty")]
    config: HexBytes,
    #[serde(skip_serializing_if = "HexBytes::is_empty")]
    msix_table: HexBytes,
    #[serde(skip_serializing_if = "HexBytes::is_empty")]
    msix_pending: HexBytes,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pin: bool,
}

impl Serialize for PciFunction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let core = self.core();
        let (entries, pending) = (core.msix.entries.clone(), core.msix.pending.clone());
        let config = HexBytes(core.config.bytes.clone());
        let saved =
            Saved { config, msix_table: HexBytes(entries), msix_pending: HexBytes(pending), pin: core.pin };
        drop(core);
        saved.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PciFunction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let saved = Saved::deserialize(deserializer)?;
        let mut config = ConfigSpace::default();
        config.bytes = saved.config.0;
        let msix = MsixTable { entries: saved.msix_table.0, pending: saved.msix_pending.0 };
        let core = Core { config, msix, pin: saved.pin, mapped: Default::default() };
        Ok(Self { core: Mutex::new(core), wiring: OnceLock::new() })
    }
}

impl fmt::Debug for PciFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PciFunction").field("devfn", &self.devfn()).finish_non_exhaustive()
    }
}
