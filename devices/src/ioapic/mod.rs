//! The I/O APIC: a controller that sends interrupts as messages to the processors' local APICs.

mod registers;
mod state;
#[cfg(test)]
mod tests;

use crate::pci::Message;
use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use crate::{Deferred, Device, DeviceError, DeviceInfo, DmaPort, Inspector, Property, Realize, ResetType};
use memory_core::{AccessRules, BusFault, Methods, Region, TxAttrs, Width};
use registers::{EOI, IOREGSEL, IOWIN, PINS, REPEATS, SIZE, VERSION_WITH_EOI};
use serde::{Deserialize, Serialize};
use state::State;

/// An I/O APIC of 24 pins. Inputs `irq` are levels that are high while an interrupt is there, whatever polarity a guest sets;
/// input 0, a PC's timer, is pin 2, as boards have it. QEMU's name is the same.
///
/// Messages are writes of 4 bytes to 0xfee00000 and up in the device's DMA space. They leave once nobody is in the middle of
/// anything, in order; a second message of a pin whose first has not left yet is the same interrupt.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IoApic {
    /// 0x11, or 0x20 with the EOI register.
    #[serde(default = "default_version")]
    version: u8,
    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    /// Not held while messages are sent.
    #[serde(default)]
    state: Mutex<State>,
}

#[derive(Debug)]
struct Wiring {
    sender: Deferred,
    dma: DmaPort,
    _regs: Region,
}

const fn default_version() -> u8 {
    VERSION_WITH_EOI
}

impl IoApic {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and has what is to be sent sent soon.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        if let Some(wiring) = self.wiring.get().filter(|_| state.has_messages()) {
            wiring.sender.schedule();
        }
    }

    /// The deferred work.
    fn send(&self) {
        let Some(wiring) = self.wiring.get() else { return };
        let messages = self.state().take_messages();
        for Message { address, data } in messages {
            if let Err(fault) = wiring.dma.write(address, &data.to_le_bytes()) {
                tracing::debug!(%fault, address, data, "a message of the I/O APIC found nobody");
            }
        }
    }

    fn set_input(&self, input: u32, level: bool) {
        let pin = if input == 0 { 2 } else { input };
        self.change(|state| state.set_pin(usize::try_from(pin).unwrap_or(PINS), level));
    }

    /// A processor has ended an interrupt and says so to all: for local APICs, whatever the version.
    pub fn end_of_interrupt(&self, vector: u8) {
        self.change(|state| state.end(vector));
    }

    fn read(&self, offset: u64, width: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(match offset % REPEATS {
            IOREGSEL => self.state().selected().into(),
            IOWIN if width == Width::W4 => self.state().read(self.version).into(),
            _ => 0,
        })
    }

    fn write(&self, offset: u64, width: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let [low, ..] = value.to_le_bytes();
        match offset % REPEATS {
            IOREGSEL => self.state().select(low),
            IOWIN if width == Width::W4 => self.change(|state| state.write((value & 0xffff_ffff) as u32)),
            EOI if width == Width::W4 && self.version == VERSION_WITH_EOI => self.end_of_interrupt(low),
            _ => {}
        }
        Ok(())
    }
}

#[typetag::serde(name = "ioapic")]
impl Device for IoApic {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        if ![0x11, VERSION_WITH_EOI].contains(&self.version) {
            let reason = format!("{:#x} is neither 0x11 nor 0x20", self.version);
            return Err(DeviceError::Property { property: "version", reason });
        }
        let callbacks = Methods::new(&self, Self::read, Self::write);
        let regs = ctx.memory().mmio("ioapic", SIZE, AccessRules::new(), callbacks);
        let regs = regs.owner(ctx.owner()).build()?;
        ctx.export("regs", &regs);
        ctx.inputs("irq", PINS as u32, &self, Self::set_input);
        let (sender, dma) = (ctx.deferred(&self, Self::send), ctx.dma());
        let _ = self.wiring.set(Wiring { sender, dma, _regs: regs });
        self.change(State::check);
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        self.change(State::reset);
    }

    fn inspect(&self, out: &mut Inspector) {
        for (pin, entry, asks) in self.state().table() {
            out.field("pin", format_args!("{pin}: {entry:#018x}{}", if asks { ", asks" } else { "" }));
        }
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "ioapic",
        about: "I/O APIC of a PC: 24 inputs `irq` that become messages to local APICs, usually at 0xfec00000",
        properties: &[Property {
            name: "version",
            kind: "u8",
            default: Some("0x20"),
            about: "0x11, or 0x20 with the EOI register",
        }],
        example: "{}",
    }
}
