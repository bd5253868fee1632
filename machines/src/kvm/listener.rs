//! The listener that keeps the kernel's map in step with ours.

use super::gate::Gate;
use super::slots::{MemorySlot, SlotTable};
use super::sys::{Doorbell, Vm};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};
use memory_core::{AddrRange, Backing, ByteOrder, DirtyClients, IoEvent, SpaceId};
use memory_dispatch::{CoalescedRing, CoalescedWrite, Listener, Refusal, Section};

/// The kernel refused an event or a range of queued writes.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} at {address:#x}: {error}")]
pub struct InterceptError {
    /// What was tried.
    pub what: &'static str,
    /// A guest address or a port.
    pub address: u64,
    /// What the kernel says.
    pub error: kvm_ioctls::Error,
}

/// Memory slots, dirty log, events and queued writes of one address space: memory, or ports.
pub(super) struct KvmListener {
    vm: Arc<Vm>,
    gate: Arc<Gate>,
    /// Memory has slots. Held while a slot is changed; listeners are called by one thread at a time.
    slots: Option<Mutex<SlotTable>>,
}

impl KvmListener {
    /// For the space that the guest's loads and stores go to.
    pub(super) fn memory(vm: &Arc<Vm>, gate: &Arc<Gate>) -> Arc<Self> {
        let slots = Some(Mutex::new(SlotTable::new(vm.clone())));
        Arc::new(Self { vm: vm.clone(), gate: gate.clone(), slots })
    }

    /// For the space that the guest's port instructions go to.
    pub(super) fn ports(vm: &Arc<Vm>, gate: &Arc<Gate>) -> Arc<Self> {
        Arc::new(Self { vm: vm.clone(), gate: gate.clone(), slots: None })
    }

    fn slots(&self) -> Option<MutexGuard<'_, SlotTable>> {
        let slots = self.slots.as_ref()?;
        Some(slots.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the kernel knows as memory, by address.
    pub(super) fn memory_slots(&self) -> Vec<MemorySlot> {
        self.slots().map(|slots| slots.all()).unwrap_or_default()
    }

    /// The slots, with no vCPU in the guest until the commit, if they have something to do with `section`.
    fn quiet_slots(&self, section: &Section) -> Option<MutexGuard<'_, SlotTable>> {
        let slots = self.slots().filter(|slots| slots.has(section))?;
        self.gate.close();
        Some(slots)
    }

    fn is_ports(&self) -> bool {
        self.slots.is_none()
    }

    fn set_event(
        &self,
        section: &Section,
        (address, event): (u64, &IoEvent),
        assign: bool,
    ) -> Result<(), Refusal> {
        let width = event.width;
        let value = event.value.zip(width).map(|(value, width)| {
            // the kernel compares in the guest's order, the event says it in the device's: the way back is the way there
            let target = section.write().and_then(|part| part.pin().target());
            match target.map(|target| target.backing()) {
                Some(Backing::Mmio(mmio) | Backing::RomDevice(_, mmio)) => {
                    mmio.rules.device_value(width, value, ByteOrder::Little)
                }
                _ => value,
            }
        });
        let len = width.map_or(0, |width| width as u32);
        let bell = Doorbell { port: self.is_ports(), address, len, value, event: &event.event };
        let what = if assign { "add an event" } else { "remove an event" };
        Ok(self.vm.set_doorbell(&bell, assign).map_err(|error| InterceptError { what, address, error })?)
    }

    fn set_coalesced(&self, range: AddrRange, queue: bool) -> Result<(), Refusal> {
        if !self.vm.coalesces(self.is_ports()) {
            // they exit, which is as good
            return Ok(());
        }
        let what = if queue { "queue writes" } else { "no longer queue writes" };
        let refused = |error| InterceptError { what, address: range.start(), error };
        Ok(self.vm.set_coalesced(self.is_ports(), range, queue).map_err(refused)?)
    }
}

impl Listener for KvmListener {
    fn coalesced_del(&self, _: &Section, range: AddrRange) -> Result<(), Refusal> {
        self.set_coalesced(range, false)
    }

    fn ioevent_del(&self, section: &Section, address: u64, event: &IoEvent) -> Result<(), Refusal> {
        self.set_event(section, (address, event), false)
    }

    fn log_stop(&self, section: &Section, old: DirtyClients, new: DirtyClients) -> Result<(), Refusal> {
        // with no vCPU in the guest until the commit: what it would write after this look would be lost
        let Some(mut slots) = self.quiet_slots(section) else { return Ok(()) };
        slots.sync(section, old)?;
        Ok(slots.set_logged(section, !new.is_empty())?)
    }

    fn region_del(&self, section: &Section) -> Result<(), Refusal> {
        let Some(mut slots) = self.quiet_slots(section) else { return Ok(()) };
        Ok(slots.delete(section)?)
    }

    fn region_add(&self, section: &Section) -> Result<(), Refusal> {
        let Some(mut slots) = self.quiet_slots(section) else { return Ok(()) };
        Ok(slots.add(section)?)
    }

    fn log_start(&self, section: &Section, _: DirtyClients, _: DirtyClients) -> Result<(), Refusal> {
        let Some(mut slots) = self.slots() else { return Ok(()) };
        Ok(slots.start_log(section)?)
    }

    fn coalesced_add(&self, _: &Section, range: AddrRange) -> Result<(), Refusal> {
        // a guest that writes there and reads on the old map, which flushes nothing, would miss what it wrote
        self.gate.close();
        self.set_coalesced(range, true)
    }

    fn ioevent_add(&self, section: &Section, address: u64, event: &IoEvent) -> Result<(), Refusal> {
        self.set_event(section, (address, event), true)
    }

    fn log_sync(&self, section: &Section) {
        let Some(mut slots) = self.slots() else { return };
        if let Err(error) = slots.sync(section, section.log()) {
            // what cannot be known may have been written
            tracing::error!(%error, "the kernel's dirty log is lost: all of the range counts as written");
            let part = section.write().and_then(|part| Some((part.pin().target()?.block()?, part.offset())));
            if let Some((block, offset)) = part {
                let len = (section.range().last() - section.range().start()).saturating_add(1);
                block.dirty().mark(section.log(), offset, len);
            }
        }
    }

    fn log_clear(&self, section: &Section) {
        let Some(mut slots) = self.slots() else { return };
        if let Err(error) = slots.clear(section.range()) {
            tracing::warn!(%error, "pages that were taken stay marked in the kernel, and are taken again");
        }
    }

    fn commit(&self) {
        self.gate.open();
    }

    fn poisoned(&self, error: &Refusal) {
        // what a guest would do on a map that is not the machine's nobody can say
        self.gate.give_up(&error.to_string());
    }
}

/// The kernel's ring of queued writes.
pub(super) struct KernelRing {
    vm: Arc<Vm>,
    memory: SpaceId,
    ports: Option<SpaceId>,
}

impl KernelRing {
    pub(super) fn new(vm: Arc<Vm>, memory: SpaceId, ports: Option<SpaceId>) -> Arc<Self> {
        Arc::new(Self { vm, memory, ports })
    }
}

impl CoalescedRing for KernelRing {
    fn take(&self) -> Option<CoalescedWrite> {
        loop {
            let queued = self.vm.take_queued()?;
            let space = if queued.port { self.ports } else { Some(self.memory) };
            if let Some(space) = space {
                let (address, bytes, len) = (queued.address, queued.bytes, queued.len.min(8));
                return Some(CoalescedWrite { space, address, bytes, len });
            }
        }
    }
}
