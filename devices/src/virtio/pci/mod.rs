//! The PCI transport (virtio 1.2, section 4.1): modern, and transitional with the legacy registers in ports.

mod legacy;
mod modern;
mod names;
mod registers;
mod setup;

use super::Backend;
use super::registers::{
    CONFIGURATION, DRIVER_OK, F_EVENT_IDX, F_INDIRECT_DESC, F_VERSION_1, FEATURES_OK, NEEDS_RESET,
    USED_BUFFER,
};
use super::serve::work_off;
use super::state::{QueueRegisters, State};
use crate::pci::{PciDevice, PciFunction};
use crate::sync::{Arc, AtomicBool, Mutex, MutexGuard, OnceLock, Ordering, PoisonError};
use crate::{Device, DeviceError, DeviceInfo, EventWorker, Inspector, Property, Realize, ResetType};
use memory_core::{EventNotifier, Region, Width};
use registers::NO_VECTOR;
use serde::{Deserialize, Serialize};
use std::io;
use virtio_queue::QueueT;

/// A virtio device on a PCI bus.
///
/// Notifications are ioeventfds where they have the width that drivers use, and a worker of the device's own serves the
/// queues. Buffers are reached as the bus master.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VirtioPci {
    /// The device behind the transport.
    #[serde(with = "super::shared::required")]
    backend: Backend,
    /// There are no legacy registers, and the device has a modern id.
    #[serde(default)]
    disable_legacy: bool,
    /// MSI-X vectors; one for each queue and one for the configuration without this, none if 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vectors: Option<u16>,

    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    /// Whether a strange access was logged; a guest must not fill the log.
    #[serde(skip)]
    logged: AtomicBool,
    /// Held while a queue is served, which a reset and the stop of a queue wait for. Lock order: before the state.
    #[serde(skip)]
    serving: Mutex<()>,

    #[serde(default)]
    pci: PciFunction,
    /// Held for an instant. Lock order: before the function's.
    #[serde(default)]
    state: Mutex<State>,
}

#[derive(Debug)]
struct Wiring {
    events: Vec<EventNotifier>,
    _regions: Vec<Region>,
    /// Ends with the device.
    _worker: Option<EventWorker>,
}

/// What the driver is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Notice {
    /// Buffers of this queue were used.
    Used(usize),
    /// The device's status has changed.
    Changed,
    /// The configuration has changed. Drivers that wait for any queue wake up, too, as on QEMU's devices.
    Configured,
}

impl VirtioPci {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sizes(&self) -> &'static [u16] {
        self.backend.queues()
    }

    fn most(&self, queue: u32) -> Option<u16> {
        self.sizes().get(usize::try_from(queue).ok()?).copied()
    }

    fn features(&self) -> u64 {
        self.backend.features() | F_INDIRECT_DESC | F_EVENT_IDX | F_VERSION_1
    }

    fn events(&self) -> &[EventNotifier] {
        self.wiring.get().map_or(&[], |wiring| &wiring.events)
    }

    fn log_once(&self, offset: u64, what: &str) {
        if !self.logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(offset, "a virtio driver {what}");
        }
    }

    /// The state as it is after power on.
    fn fresh(&self, epoch: u64) -> State {
        let vectors = vec![NO_VECTOR; self.sizes().len() + 1];
        State { vectors, ..State::new(self.sizes(), epoch) }
    }

    fn power_on(&self) {
        let _serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        *state = self.fresh(state.epoch + 1);
        self.pci.set_irq(false);
    }

    /// Tells the driver, by a message or by the pin, unless it has reset the device since `epoch`. Dispatches: no lock is
    /// held.
    fn tell(&self, notice: Notice, epoch: u64) {
        let (bit, number) = match notice {
            Notice::Used(queue) => (USED_BUFFER, queue + 1),
            Notice::Changed => (CONFIGURATION, 0),
            Notice::Configured => (CONFIGURATION | USED_BUFFER, 0),
        };
        let vector = {
            let mut state = self.state();
            if state.epoch != epoch {
                return;
            }
            state.interrupt_status |= bit;
            if !self.pci.msix_enabled() {
                return self.pci.set_irq(true);
            }
            state.vectors.get(number).copied()
        };
        if let Some(vector) = vector.filter(|vector| *vector != NO_VECTOR) {
            self.pci.msix_notify(vector);
        }
    }

    /// Reads the interrupt status, which clears it and lowers the pin.
    fn take_interrupts(&self) -> u64 {
        let mut state = self.state();
        self.pci.set_irq(false);
        std::mem::take(&mut state.interrupt_status).into()
    }

    /// The worker's handler: works off what the driver has put into a queue.
    fn serve(&self, index: usize) {
        let serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(dma) = self.pci.dma() else { return };
        let Some((mut state, served)) = work_off(&*self.backend, &self.state, &dma, index) else { return };
        if served.malformed {
            state.status |= NEEDS_RESET;
        }
        let epoch = state.epoch;
        drop((state, serving));
        if served.interrupts {
            self.tell(Notice::Used(index), epoch);
        }
        if served.malformed {
            self.log_once(0, "gave a malformed buffer");
            self.tell(Notice::Changed, epoch);
        } else if served.more {
            self.notify(index as u64);
        }
    }

    fn notify(&self, queue: u64) {
        let event = usize::try_from(queue).ok().and_then(|queue| self.events().get(queue));
        match event {
            Some(event) => event.signal(),
            None => self.log_once(queue, "notifies a queue that is not there"),
        }
    }

    /// The driver is wrong: it has to begin anew.
    fn need_reset(&self) {
        let epoch = {
            let mut state = self.state();
            state.status |= NEEDS_RESET;
            state.epoch
        };
        self.tell(Notice::Changed, epoch);
    }

    /// The configuration has changed: a driver that works with the device is told.
    fn reconfigured(&self) {
        let (epoch, tells) = {
            let mut state = self.state();
            // eight bits of it show
            state.config_generation = state.config_generation.wrapping_add(1) & 0xff;
            (state.epoch, state.status & DRIVER_OK != 0)
        };
        if tells {
            self.tell(Notice::Configured, epoch);
        }
    }

    /// The driver changes the device's status. One that takes the legacy interface agrees on features without a word.
    fn write_status(&self, status: u8, legacy: bool) {
        if status == 0 {
            return self.power_on();
        }
        let mut state = self.state();
        let wanted = state.driver_features;
        let fits = wanted & !self.features() == 0 && wanted & F_VERSION_1 != 0;
        // that a reset is needed only a reset changes
        let mut status = status & !NEEDS_RESET | state.status & NEEDS_RESET;
        if !legacy && !fits {
            status &= !FEATURES_OK;
        }
        let begins = status & DRIVER_OK != 0 && state.status & DRIVER_OK == 0;
        state.status = status;
        drop(state);
        if begins {
            // what came before the driver was there, input for example
            self.events().iter().for_each(EventNotifier::signal);
        }
    }

    /// Takes a queue up if all of it lies in memory that the device may use as a queue is used.
    fn enable_queue(&self) {
        let (index, registers, event_idx) = {
            let mut state = self.state();
            let event_idx = state.driver_features & F_EVENT_IDX != 0;
            let index = usize::try_from(state.queue_sel).unwrap_or(usize::MAX);
            let Some(queue) = state.selected() else { return };
            (index, QueueRegisters { ready: true, ..*queue }, event_idx)
        };
        let most = self.sizes().get(index).copied().unwrap_or_default();
        let memory = self.pci.dma().and_then(|dma| dma.memory());
        let queue = registers.queue(most, event_idx);
        let valid = queue.zip(memory).is_some_and(|(queue, memory)| queue.is_valid(&memory));
        if !valid {
            self.log_once(registers::QUEUE_ENABLE, "sets up a queue in what is no memory for it");
            return self.need_reset();
        }
        if let Some(queue) = self.state().queues.get_mut(index) {
            queue.ready = true;
        }
    }

    /// Sets a vector: of the configuration, or of the queue that is selected. One that there is not is none.
    fn set_vector(&self, state: &mut State, of_queue: bool, value: u64) {
        let number = vector_number(state, of_queue);
        let vector = u16::try_from(value & 0xffff).unwrap_or(NO_VECTOR);
        let vector = if vector < self.vector_count() { vector } else { NO_VECTOR };
        state.vectors.get_mut(number).into_iter().for_each(|to| *to = vector);
    }

    fn vector(state: &State, of_queue: bool) -> u64 {
        state.vectors.get(vector_number(state, of_queue)).copied().unwrap_or(NO_VECTOR).into()
    }

    fn vector_count(&self) -> u16 {
        self.vectors.unwrap_or_else(|| u16::try_from(self.sizes().len() + 1).unwrap_or(1))
    }

    fn read_config(&self, offset: u64, width: Width) -> u64 {
        let config = self.backend.config();
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = config.iter().skip(at).take(width.len());
        bytes.rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }
}

/// Which vector of the state is the configuration's, or that of the queue that is selected.
fn vector_number(state: &State, of_queue: bool) -> usize {
    let queue = usize::try_from(state.queue_sel).unwrap_or(usize::MAX);
    if of_queue { queue.saturating_add(1) } else { 0 }
}

impl PciDevice for VirtioPci {
    fn function(&self) -> &PciFunction {
        &self.pci
    }

    fn before_config_read(&self, offset: usize, width: Width) {
        if let Some((at, width)) = self.config_access(offset, width) {
            let value = self.read_modern(at, width);
            let bytes = value.to_le_bytes();
            let bytes = bytes.get(..width.len()).unwrap_or(&[]);
            self.pci.config(|config| config.set(registers::CONFIG_ACCESS_DATA, bytes));
        }
    }

    fn config_written(&self, offset: usize, width: Width) {
        if let Some((at, width)) = self.config_access(offset, width) {
            let value = self.pci.look(|config| config.read(registers::CONFIG_ACCESS_DATA, width));
            self.write_modern(at, width, value);
        }
    }

    fn activated(&self) {
        let live = {
            let state = self.state();
            self.pci.set_irq(state.interrupt_status != 0 && !self.pci.msix_enabled());
            state.is_live()
        };
        if live {
            self.events().iter().for_each(EventNotifier::signal);
        }
    }

    fn bus_reset(&self, kind: ResetType) {
        self.reset(kind);
    }
}

#[typetag::serde(name = "virtio-pci")]
impl Device for VirtioPci {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        {
            let mut state = self.state();
            let fresh = self.fresh(0);
            // a snapshot's queues are those of the back end, or none
            if state.queues.len() != fresh.queues.len() || state.vectors.len() != fresh.vectors.len() {
                *state = fresh;
            }
        }
        let host = |source| DeviceError::Host { what: "an eventfd", source };
        let events = self.sizes().iter().map(|_| EventNotifier::new());
        let events = events.collect::<Result<Vec<_>, _>>().map_err(host)?;
        let (setup, regions) = self.setup(ctx, &events)?;
        let looking = ctx.host().looking;
        self.backend.open(ctx.host(), &events)?;
        let name = format!("virtio-{}", self.backend.id());
        let worker = || EventWorker::new(&name, &events, ctx.entry(), &self, Self::serve);
        let worker = if looking { None } else { Some(worker()?) };
        self.pci.realize(ctx, &self, setup)?;
        let _ = self.wiring.set(Wiring { events, _regions: regions, _worker: worker });
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        self.power_on();
        self.pci.reset(|config| config.set(registers::CONFIG_ACCESS + 4, &[0; 16]));
    }

    fn resize_disk(&self, name: &str, bytes: u64) -> Option<io::Result<()>> {
        let resized = self.backend.resize(name, bytes)?;
        if resized.is_ok() {
            self.reconfigured();
        }
        Some(resized)
    }

    fn inspect(&self, out: &mut Inspector) {
        let state = self.state();
        out.field("back end", self.backend.typetag_name())
            .field("status", format!("{:#x}", state.status))
            .field("driver features", format!("{:#x}", state.driver_features))
            .field("interrupt status", state.interrupt_status)
            .field("queues ready", state.queues.iter().filter(|queue| queue.ready).count());
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "virtio-pci",
        about: "Virtio transport (PCI, modern and transitional) with a disk, a console or an entropy source",
        properties: &[
            Property {
                name: "backend",
                kind: "{ type = \"virtio-blk\", image = PATH, read-only = BOOL } | { type = \"virtio-blk\", size = \
                       BYTES } | { type = \"virtio-console\", backend = \
                       CHARDEV } | { type = \"virtio-rng\" }",
                default: None,
                about: "the device behind the transport",
            },
            Property {
                name: "disable-legacy",
                kind: "bool",
                default: Some("false"),
                about: "there are no legacy registers, and the device has a modern id",
            },
            Property {
                name: "vectors",
                kind: "u16",
                default: Some("one for each queue, and one"),
                about: "MSI-X vectors, none if 0",
            },
        ],
        example: "{ \"backend\": { \"type\": \"virtio-rng\" } }",
    }
}

#[cfg(test)]
mod tests;
