//! The pair of 8259A interrupt controllers of a PC.

mod chip;
mod registers;
#[cfg(test)]
mod tests;

use crate::interrupt_controller::InterruptController;
use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use crate::{Device, DeviceError, DeviceInfo, Inspector, IrqLine, Realize, ResetType};
use chip::Chip;
use memory_core::{AccessRules, BusFault, Methods, Region, TxAttrs, Width};
use registers::{CASCADE, ELCR_MASK, PORTS, SPURIOUS};
use serde::{Deserialize, Serialize};

/// Two 8259A, the second behind input 2 of the first, as in a PC/AT, with EISA's edge/level registers.
///
/// Inputs `irq` 0 to 15; 2 is the cascade and leads nowhere. The output `intr` goes to the processor, which acknowledges
/// through [`InterruptController`]. The regions `master`, `slave`, `elcr-master` and `elcr-slave` lie at ports 0x20, 0xa0,
/// 0x4d0 and 0x4d1. QEMU's name is `isa-i8259`, of each chip.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct I8259 {
    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    /// Held while the output is set, so that it follows the state in order. Lock order: the lock of a device that sets an
    /// input, this one, the processor's.
    #[serde(default)]
    state: Mutex<Pair>,
}

#[derive(Debug)]
struct Wiring {
    intr: IrqLine,
    _ports: [Region; 4],
}

#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Pair {
    master: Chip,
    slave: Chip,
}

impl Pair {
    fn slave_request(&self) -> Option<u8> {
        self.slave.request(false)
    }

    fn request(&self) -> Option<u8> {
        self.master.request(true)
    }

    /// Brings the cascade in line with what the second chip asks for.
    fn cascade(&mut self) {
        let asks = self.slave_request().is_some();
        self.master.set_line(CASCADE, asks);
    }

    fn set_input(&mut self, input: u32, level: bool) {
        match u8::try_from(input) {
            Ok(CASCADE) | Err(_) => {}
            Ok(input @ 0..=7) => self.master.set_line(input, level),
            Ok(input) => {
                self.slave.set_line(input & 7, level);
                self.cascade();
            }
        }
    }

    /// The second chip's part of an acknowledge cycle. The cascade has an edge for each interrupt.
    fn acknowledge_slave(&mut self) -> u8 {
        let interrupt = self.slave_request();
        if let Some(interrupt) = interrupt {
            self.slave.acknowledge(interrupt);
        }
        self.slave.vector(interrupt.unwrap_or(SPURIOUS))
    }

    fn acknowledge(&mut self) -> u8 {
        match self.request() {
            Some(CASCADE) => {
                let vector = self.acknowledge_slave();
                self.master.set_line(CASCADE, false);
                self.master.acknowledge(CASCADE);
                self.cascade();
                vector
            }
            Some(interrupt) => {
                self.master.acknowledge(interrupt);
                self.master.vector(interrupt)
            }
            None => self.master.vector(SPURIOUS),
        }
    }
}

impl I8259 {
    fn pair(&self) -> MutexGuard<'_, Pair> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the pair, and brings the output in line with it.
    fn change<R>(&self, change: impl FnOnce(&mut Pair) -> R) -> R {
        let mut pair = self.pair();
        let result = change(&mut pair);
        if let Some(wiring) = self.wiring.get() {
            wiring.intr.set(pair.request().is_some());
        }
        result
    }

    fn set_input(&self, input: u32, level: bool) {
        self.change(|pair| pair.set_input(input, level));
    }

    fn read_master(&self, port: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.change(|pair| pair.master.read(port, true)).into())
    }

    fn write_master(&self, port: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let [value, ..] = value.to_le_bytes();
        self.change(|pair| {
            pair.master.write(port, value);
            pair.cascade();
        });
        Ok(())
    }

    fn read_slave(&self, port: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        let read = |pair: &mut Pair| {
            let value = pair.slave.read(port, false);
            pair.cascade();
            value
        };
        Ok(self.change(read).into())
    }

    fn write_slave(&self, port: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let [value, ..] = value.to_le_bytes();
        self.change(|pair| {
            pair.slave.write(port, value);
            pair.cascade();
        });
        Ok(())
    }

    fn read_elcr_master(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.pair().master.elcr().into())
    }

    fn write_elcr_master(&self, _: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let ([value, ..], [mask, _]) = (value.to_le_bytes(), ELCR_MASK);
        self.change(|pair| {
            pair.master.set_elcr(value & mask);
            pair.cascade();
        });
        Ok(())
    }

    fn read_elcr_slave(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.pair().slave.elcr().into())
    }

    fn write_elcr_slave(&self, _: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        let ([value, ..], [_, mask]) = (value.to_le_bytes(), ELCR_MASK);
        self.change(|pair| {
            pair.slave.set_elcr(value & mask);
            pair.cascade();
        });
        Ok(())
    }
}

impl InterruptController for I8259 {
    fn acknowledge(&self) -> u8 {
        self.change(Pair::acknowledge)
    }
}

#[typetag::serde(name = "i8259")]
impl Device for I8259 {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let rules = || AccessRules::new().implements(Width::W1..=Width::W1);
        let (memory, owner) = (ctx.memory().clone(), ctx.owner().clone());
        let master = Methods::new(&self, Self::read_master, Self::write_master);
        let slave = Methods::new(&self, Self::read_slave, Self::write_slave);
        let elcr_master = Methods::new(&self, Self::read_elcr_master, Self::write_elcr_master);
        let elcr_slave = Methods::new(&self, Self::read_elcr_slave, Self::write_elcr_slave);
        let ports = [
            memory.mmio("pic", PORTS, rules(), master).owner(&owner).build()?,
            memory.mmio("pic", PORTS, rules(), slave).owner(&owner).build()?,
            memory.mmio("elcr", 1u64, rules(), elcr_master).owner(&owner).build()?,
            memory.mmio("elcr", 1u64, rules(), elcr_slave).owner(&owner).build()?,
        ];
        for (name, region) in ["master", "slave", "elcr-master", "elcr-slave"].into_iter().zip(&ports) {
            ctx.export(name, region);
        }
        ctx.inputs("irq", 16, &self, Self::set_input);
        let _ = self.wiring.set(Wiring { intr: ctx.output("intr"), _ports: ports });
        self.change(|_| ());
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        self.change(|pair| {
            pair.master.reset();
            pair.slave.reset();
        });
    }

    fn inspect(&self, out: &mut Inspector) {
        let pair = self.pair();
        for (name, chip) in [("master", &pair.master), ("slave", &pair.slave)] {
            let [irr, isr, imr] = chip.registers();
            let elcr = chip.elcr();
            out.field(name, format_args!("irr={irr:02x} isr={isr:02x} imr={imr:02x} elcr={elcr:02x}"));
        }
    }

    fn interrupt_controller(self: Arc<Self>) -> Option<Arc<dyn InterruptController>> {
        Some(self)
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "i8259",
        about: "pair of 8259A interrupt controllers of a PC: inputs `irq` 0 to 15, output `intr`",
        properties: &[],
        example: "{}",
    }
}
