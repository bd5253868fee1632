//! The 16550 UART: a serial port with FIFOs.

mod port;
mod registers;
#[cfg(test)]
mod tests;

use crate::chardev::{Backend, Chardev};
use crate::sync::{Arc, AtomicBool, Mutex, MutexGuard, OnceLock, Ordering, PoisonError, Weak};
use crate::{Device, DeviceError, DeviceInfo, FdtNode, FdtPlace, FdtValue, Inspector};
use crate::{IrqLine, Property, Realize, ResetType};
use memory_core::{AccessRules, BusFault, Region, TxAttrs, Width};
use memory_dispatch::EntryKind;
use port::Port;
use registers::{IIR_FCR, Interrupt, MCR, MOST_SHIFT, RBR_THR_DLL, SCR, SIZE};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A 16550 UART. Output leaves at once; input waits in the back end until the receiver has room.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Uart16550 {
    /// What is at the other end of the line.
    #[serde(default)]
    backend: Backend,
    /// Hz of the clock that the divisor divides. A virtual line has no speed: it is told, not used.
    #[serde(default = "default_clock")]
    clock_frequency: u32,
    /// The registers are 2^n bytes apart.
    #[serde(default)]
    reg_shift: u8,

    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    /// Whether a strange access was logged; a guest must not fill the log.
    #[serde(skip)]
    logged: AtomicBool,

    /// Held while the interrupt line is set; never while the back end is called.
    #[serde(default)]
    state: Mutex<Port>,
}

/// The crystal of the boards that this UART is known from.
fn default_clock() -> u32 {
    3_686_400
}

struct Wiring {
    irq: IrqLine,
    backend: Arc<dyn Chardev>,
    _regs: Region,
}

impl fmt::Debug for Wiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wiring").field("irq", &self.irq).finish_non_exhaustive()
    }
}

impl Uart16550 {
    fn port(&self) -> MutexGuard<'_, Port> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the interrupt line in line with the port.
    fn update(&self, port: &mut Port) {
        if let Some(wiring) = self.wiring.get() {
            wiring.irq.set(port.interrupt() != Interrupt::None);
        }
    }

    /// Takes input from the back end while there is some and the receiver has room.
    fn fetch(&self) {
        let Some(wiring) = self.wiring.get() else { return };
        loop {
            // one thread at a time, so that bytes stay in order though no lock is held
            let Some(room) = self.port().begin_fetch() else { return };
            let bytes = wiring.backend.read(room);
            let mut port = self.port();
            let more = port.fetched(&bytes);
            self.update(&mut port);
            if !more {
                return;
            }
        }
    }

    /// The register at an offset.
    fn register(&self, offset: u64) -> Option<u8> {
        let register = u8::try_from(offset >> self.reg_shift.min(MOST_SHIFT)).ok();
        let register = register.filter(|register| *register <= SCR);
        if register.is_none() && !self.logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(offset, "the UART has no register there");
        }
        register
    }

    /// An access of any width reaches the register at its start, with its low byte.
    fn read(&self, offset: u64, _width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        let Some(register) = self.register(offset) else { return Ok(0) };
        let mut port = self.port();
        let value = port.read(register);
        self.update(&mut port);
        drop(port);
        if register == RBR_THR_DLL {
            self.fetch();
        }
        Ok(value.into())
    }

    fn write(&self, offset: u64, _width: Width, value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        let Some(register) = self.register(offset) else { return Ok(()) };
        let [value, ..] = value.to_le_bytes();
        let mut port = self.port();
        let sent = port.write(register, value);
        self.update(&mut port);
        drop(port);
        if let Some(bytes) = sent {
            self.transmit(&bytes);
        }
        if matches!(register, IIR_FCR | MCR) {
            // there may be room where there was none
            self.fetch();
        }
        Ok(())
    }

    /// Writes output, and only then asks for more: bytes of two harts that take turns at the interrupt stay in order.
    fn transmit(&self, bytes: &[u8]) {
        if !bytes.is_empty()
            && let Some(wiring) = self.wiring.get()
        {
            wiring.backend.write(bytes);
        }
        let mut port = self.port();
        port.transmitted();
        self.update(&mut port);
    }
}

#[typetag::serde(name = "uart16550")]
impl Device for Uart16550 {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        if self.reg_shift > MOST_SHIFT {
            let reason = format!("{} is more than {MOST_SHIFT}", self.reg_shift);
            return Err(DeviceError::Property { property: "reg-shift", reason });
        }
        let backend = self.backend.open(ctx.host())?;
        let rules = AccessRules::new().valid(Width::W1..=Width::W8).implements(Width::W1..=Width::W8);
        let regs = ctx.mmio("regs", SIZE, rules, &self, (Self::read, Self::write))?;
        let wiring = Wiring { irq: ctx.output("irq"), backend: backend.clone(), _regs: regs };
        let _ = self.wiring.set(wiring);
        self.update(&mut self.port());
        let (device, entry): (Weak<Self>, _) = (Arc::downgrade(&self), ctx.entry());
        backend.on_input(Box::new(move || {
            // input that comes while this thread is in the device is found at the next read
            if let Some(device) = device.upgrade()
                && let Ok(_link) = entry.enter(EntryKind::BackEnd)
            {
                device.fetch();
            }
        }));
        self.fetch();
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        let mut port = self.port();
        port.reset();
        self.update(&mut port);
        drop(port);
        self.fetch();
    }

    fn inspect(&self, out: &mut Inspector) {
        let mut port = self.port();
        for (name, value) in port.registers() {
            out.register(name, value);
        }
        out.field("interrupt", format_args!("{:?}", port.interrupt()));
    }

    fn describe(&self, place: &FdtPlace<'_>) -> Vec<FdtNode> {
        let Some(regs) = place.region("regs") else { return Vec::new() };
        let mut node = FdtNode::new(format!("serial@{:x}", regs.start()), &["ns16550a"])
            .reg(&[regs])
            .with("clock-frequency", FdtValue::u32(self.clock_frequency))
            .interrupt(place.output("irq"));
        if self.reg_shift > 0 {
            node = node.with("reg-shift", FdtValue::u32(self.reg_shift.into()));
        }
        vec![node.target()]
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "uart16550",
        about: "16550 UART: a serial port with FIFOs",
        properties: &[
            Property {
                name: "backend",
                kind: "\"none\" | \"stdio\" | { file = path } | { socket = \"unix:PATH\" or \"tcp:HOST:PORT\" }",
                default: Some("\"none\""),
                about: "what is at the other end of the line",
            },
            Property {
                name: "clock-frequency",
                kind: "u32",
                default: Some("3686400"),
                about: "Hz of the clock that the divisor divides, as the device tree tells it",
            },
            Property {
                name: "reg-shift",
                kind: "u8",
                default: Some("0"),
                about: "the registers are 2^n bytes apart, n at most 5",
            },
        ],
        example: "{}",
    }
}
