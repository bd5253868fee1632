//! The MMIO transport (virtio 1.2, section 4.2), version 2.

use super::Backend;
use super::registers::*;
use super::serve::work_off;
use super::state::{QueueRegisters, State, set_half};
use crate::sync::{Arc, AtomicBool, Mutex, MutexGuard, OnceLock, Ordering, PoisonError};
use crate::{
    Device, DeviceError, DeviceInfo, DmaPort, EventWorker, FdtNode, FdtPlace, Inspector, IrqLine, Property,
};
use crate::{Realize, ResetType};
use memory_core::{AccessRules, BusFault, EventNotifier, IoEvent, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};
use virtio_queue::QueueT;

/// A slot for a virtio device on the bus of the board, empty without a back end.
///
/// Notifications are ioeventfds: the driver's write signals an event, and a worker of the device's own serves the
/// queue. Buffers are reached through [`DmaMemory`](memory_dispatch::DmaMemory), by what the device's DMA may do.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VirtioMmio {
    /// What is in the slot.
    #[serde(default, with = "super::shared", skip_serializing_if = "Option::is_none")]
    backend: Option<Backend>,

    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    /// Whether a strange access was logged; a guest must not fill the log.
    #[serde(skip)]
    logged: AtomicBool,
    /// Held while a queue is served, which a reset and the stop of a queue wait for: nothing is written after them. Lock order: before the state.
    #[serde(skip)]
    serving: Mutex<()>,

    /// Held while the interrupt line is set; never while dispatching.
    #[serde(default)]
    state: Mutex<State>,
}

#[derive(Debug)]
struct Wiring {
    irq: IrqLine,
    dma: DmaPort,
    events: Vec<EventNotifier>,
    _regs: Region,
    /// Ends with the device.
    _worker: Option<EventWorker>,
}

impl VirtioMmio {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sizes(&self) -> &'static [u16] {
        self.backend.as_ref().map_or(&[], |backend| backend.queues())
    }

    fn features(&self) -> u64 {
        let own = |backend: &Backend| backend.features() | F_INDIRECT_DESC | F_EVENT_IDX | F_VERSION_1;
        self.backend.as_ref().map_or(0, own)
    }

    fn interrupt(&self, state: &State) {
        if let Some(wiring) = self.wiring.get() {
            wiring.irq.set(state.interrupt_status != 0);
        }
    }

    fn log_once(&self, offset: u64, what: &str) {
        if !self.logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(offset, "a virtio driver {what}");
        }
    }

    /// The driver is wrong: it has to begin anew.
    fn need_reset(&self, state: &mut State) {
        state.status |= NEEDS_RESET;
        state.interrupt_status |= CONFIGURATION;
        self.interrupt(state);
    }

    fn power_on(&self) {
        let _serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        *state = State::new(self.sizes(), state.epoch + 1);
        self.interrupt(&state);
    }

    /// The worker's handler: works off what the driver has put into a queue.
    fn serve(&self, index: usize) {
        let _serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((backend, wiring)) = self.backend.as_ref().zip(self.wiring.get()) else { return };
        let Some((mut state, served)) = work_off(&**backend, &self.state, &wiring.dma, index) else { return };
        if served.interrupts {
            state.interrupt_status |= USED_BUFFER;
            self.interrupt(&state);
        }
        if served.malformed {
            self.log_once(QUEUE_NOTIFY, "gave a malformed buffer");
            self.need_reset(&mut state);
        } else if served.more
            && let Some(event) = wiring.events.get(index)
        {
            event.signal();
        }
    }

    fn read(&self, offset: u64, width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        if offset >= CONFIG {
            return Ok(self.read_config(offset - CONFIG, width));
        }
        if width != Width::W4 {
            self.log_once(offset, "reads a register with the wrong width");
            return Ok(0);
        }
        let mut state = self.state();
        let most = usize::try_from(state.queue_sel).ok().and_then(|index| self.sizes().get(index).copied());
        Ok(match offset {
            MAGIC_VALUE => MAGIC,
            VERSION => MODERN,
            DEVICE_ID => self.backend.as_ref().map_or(0, |backend| backend.id().into()),
            VENDOR_ID => VENDOR,
            DEVICE_FEATURES => match state.device_features_sel {
                0 => self.features() & 0xffff_ffff,
                1 => self.features() >> 32,
                _ => 0,
            },
            QUEUE_NUM_MAX => most.unwrap_or_default().into(),
            QUEUE_READY => state.selected().is_some_and(|queue| queue.ready).into(),
            INTERRUPT_STATUS => state.interrupt_status.into(),
            STATUS => state.status.into(),
            // no shared memory: length and base of all ones
            SHM_LEN_LOW..=SHM_BASE_HIGH => 0xffff_ffff,
            CONFIG_GENERATION => state.config_generation.into(),
            _ => {
                self.log_once(offset, "reads a register that cannot be read");
                0
            }
        })
    }

    fn read_config(&self, offset: u64, width: Width) -> u64 {
        let config = self.backend.as_ref().map(|backend| backend.config()).unwrap_or_default();
        let byte = |at: u64| {
            let index = offset.checked_add(at).and_then(|index| usize::try_from(index).ok());
            index.and_then(|index| config.get(index)).copied().unwrap_or_default()
        };
        (0..width.bytes()).map(|at| u64::from(byte(at)) << (8 * at)).sum()
    }

    fn write(&self, offset: u64, width: Width, value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        // no device here has configuration that can be written
        if offset >= CONFIG || width != Width::W4 || self.backend.is_none() {
            self.log_once(offset, "writes what cannot be written");
            return Ok(());
        }
        match offset {
            STATUS => self.write_status(value as u8),
            QUEUE_READY => self.write_ready(value & 1 != 0),
            // of a queue that there is, which signals an event and comes not here
            QUEUE_NOTIFY => self.log_once(offset, "notifies a queue that is not there"),
            _ => self.write_register(offset, value),
        }
        Ok(())
    }

    fn write_status(&self, status: u8) {
        if status == 0 {
            return self.power_on();
        }
        let mut state = self.state();
        let wanted = state.driver_features;
        let fits = wanted & !self.features() == 0 && wanted & F_VERSION_1 != 0;
        // that a reset is needed only a reset changes
        let mut status = status & !NEEDS_RESET | state.status & NEEDS_RESET;
        if !fits {
            status &= !FEATURES_OK;
        }
        let begins = status & DRIVER_OK != 0 && state.status & DRIVER_OK == 0;
        state.status = status;
        drop(state);
        if begins && let Some(wiring) = self.wiring.get() {
            // what came before the driver was there, input for example
            wiring.events.iter().for_each(EventNotifier::signal);
        }
    }

    /// A queue is taken up if all of it lies in memory that the device may use as a queue is used.
    fn write_ready(&self, ready: bool) {
        if !ready {
            // the memory is the driver's again when this returns
            let _serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(queue) = self.state().selected() {
                queue.ready = false;
            }
            return;
        }
        let (index, registers, event_idx) = {
            let mut state = self.state();
            let event_idx = state.driver_features & F_EVENT_IDX != 0;
            let index = usize::try_from(state.queue_sel).unwrap_or(usize::MAX);
            let Some(queue) = state.selected() else { return };
            (index, QueueRegisters { ready: true, ..*queue }, event_idx)
        };
        let most = self.sizes().get(index).copied().unwrap_or_default();
        let memory = self.wiring.get().and_then(|wiring| wiring.dma.memory());
        let queue = registers.queue(most, event_idx);
        let valid = queue.zip(memory).is_some_and(|(queue, memory)| queue.is_valid(&memory));
        let mut state = self.state();
        if !valid {
            self.log_once(QUEUE_READY, "sets up a queue in what is no memory for it");
            return self.need_reset(&mut state);
        }
        if let Some(queue) = state.queues.get_mut(index) {
            queue.ready = true;
        }
    }

    fn write_register(&self, offset: u64, value: u64) {
        let state = &mut *self.state();
        let negotiated = state.status & FEATURES_OK != 0;
        match offset {
            DEVICE_FEATURES_SEL => state.device_features_sel = value as u32,
            DRIVER_FEATURES_SEL => state.driver_features_sel = value as u32,
            DRIVER_FEATURES if negotiated => self.log_once(offset, "changes features that were agreed on"),
            DRIVER_FEATURES => match state.driver_features_sel {
                0 => set_half(&mut state.driver_features, false, value),
                1 => set_half(&mut state.driver_features, true, value),
                _ => {}
            },
            QUEUE_SEL => state.queue_sel = value as u32,
            INTERRUPT_ACK => {
                state.interrupt_status &= !(value as u32);
                self.interrupt(state);
            }
            _ => {
                let Some(queue) = state.selected().filter(|queue| !queue.ready) else {
                    return self.log_once(offset, "changes a queue that is in use, or not there");
                };
                match offset {
                    QUEUE_NUM => queue.size = u16::try_from(value).unwrap_or_default(),
                    QUEUE_DESC_LOW | QUEUE_DESC_HIGH => {
                        set_half(&mut queue.descriptors, offset == QUEUE_DESC_HIGH, value);
                    }
                    QUEUE_DRIVER_LOW | QUEUE_DRIVER_HIGH => {
                        set_half(&mut queue.driver, offset == QUEUE_DRIVER_HIGH, value);
                    }
                    QUEUE_DEVICE_LOW | QUEUE_DEVICE_HIGH => {
                        set_half(&mut queue.device, offset == QUEUE_DEVICE_HIGH, value);
                    }
                    _ => self.log_once(offset, "writes a register that cannot be written"),
                }
            }
        }
    }

    /// The event of each queue, and the thread that serves them.
    fn notifications(
        self: &Arc<Self>,
        ctx: &Realize<'_>,
        regs: &Region,
    ) -> Result<(Vec<EventNotifier>, Option<EventWorker>), DeviceError> {
        let host = |source| DeviceError::Host { what: "an eventfd", source };
        let Some(backend) = &self.backend else { return Ok((Vec::new(), None)) };
        let events = self.sizes().iter().map(|_| EventNotifier::new());
        let events = events.collect::<Result<Vec<_>, _>>().map_err(host)?;
        for (queue, event) in events.iter().enumerate() {
            let notify = IoEvent::new(QUEUE_NOTIFY, Width::W4, event.clone());
            regs.add_ioevent(notify.value(queue as u64))?;
        }
        backend.open(ctx.host(), &events)?;
        let looking = ctx.host().looking;
        let name = format!("virtio-{}", backend.id());
        let worker = || EventWorker::new(&name, &events, ctx.entry(), self, Self::serve);
        let worker = if looking { None } else { Some(worker()?) };
        Ok((events, worker))
    }
}

#[typetag::serde(name = "virtio-mmio")]
impl Device for VirtioMmio {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let rules = AccessRules::new().valid(Width::W1..=Width::W4);
        let regs = ctx.mmio("regs", SIZE, rules, &self, (Self::read, Self::write))?;
        let (events, worker) = self.notifications(ctx, &regs)?;
        let wake = events.clone();
        let (irq, dma) = (ctx.output("irq"), ctx.dma());
        let wiring = Wiring { irq, dma, events, _regs: regs, _worker: worker };
        let _ = self.wiring.set(wiring);
        let mut state = self.state();
        let fresh = State::new(self.sizes(), 0);
        // a snapshot's queues are those of the back end, or none
        if state.queues.len() != fresh.queues.len() {
            state.queues = fresh.queues;
        }
        self.interrupt(&state);
        if state.is_live() {
            wake.iter().for_each(EventNotifier::signal);
        }
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        self.power_on();
    }

    fn inspect(&self, out: &mut Inspector) {
        let state = self.state();
        let backend = self.backend.as_ref().map_or("none", |backend| backend.typetag_name());
        out.field("back end", backend)
            .field("status", format!("{:#x}", state.status))
            .field("driver features", format!("{:#x}", state.driver_features))
            .field("interrupt status", state.interrupt_status)
            .field("queues ready", state.queues.iter().filter(|queue| queue.ready).count());
    }

    fn describe(&self, place: &FdtPlace<'_>) -> Vec<FdtNode> {
        let Some(regs) = place.region("regs") else { return Vec::new() };
        let node = FdtNode::new(format!("virtio_mmio@{:x}", regs.start()), &["virtio,mmio"]);
        vec![node.reg(&[regs]).interrupt(place.output("irq"))]
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "virtio-mmio",
        about: "Virtio transport (MMIO, version 2): a slot for a disk, a console or an entropy source",
        properties: &[Property {
            name: "backend",
            kind: "{ type = \"virtio-blk\", image = PATH, read-only = BOOL } | { type = \"virtio-blk\", size = \
                   BYTES } | { type = \"virtio-console\", backend = \
                   CHARDEV } | { type = \"virtio-rng\" }",
            default: Some("an empty slot"),
            about: "what is in the slot",
        }],
        example: "{}",
    }
}
