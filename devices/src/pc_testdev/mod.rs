//! QEMU's test device for PCs: registers that show how accesses are split and combined, and interrupt lines by hand.

mod iomem;
mod registers;
#[cfg(test)]
mod tests;

use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use crate::{
    Device, DeviceError, DeviceInfo, Inspector, IrqLine, PlugInfo, PortPlace, Realize, ResetType, WireEnd,
};
use iomem::{Iomem, read_part, write_part};
use memory_core::{AccessRules, BusFault, Endian, Region, TxAttrs, Width};
use registers::{IOMEM, LINES, REGISTER};
use serde::{Deserialize, Serialize};

/// A test device. One register of 32 bits is seen through seven regions:
///
/// | region | on a PC | callbacks | byte order |
/// |---|---|---|---|
/// | `ioport` | port 0xe0 | 1, 2 and 4 bytes | little |
/// | `ioport-byte` | port 0xe8 | 1 byte | little |
/// | `ioport-word`, `ioport-long` | where a machine file maps them | 2 and 4 bytes | little |
/// | `byte-be`, `word-be`, `long-be` | where a machine file maps them | 1, 2 and 4 bytes | big |
///
/// `flush` (port 0xe4) takes an address whose page an accelerator should forget; `irq` (port 0x2000) is a byte for each
/// of 24 lines; `iomem` (memory 0xff000000) keeps what is written.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PcTestdev {
    #[serde(skip)]
    wiring: OnceLock<Wiring>,
    /// Held while lines are set; never while dispatching.
    #[serde(default)]
    state: Mutex<State>,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct State {
    ioport: u32,
    /// The lines, that of number *i* in bit *i*.
    lines: u32,
    iomem: Iomem,
}

#[derive(Debug)]
struct Wiring {
    lines: Vec<IrqLine>,
    _regions: Vec<Region>,
}

impl PcTestdev {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_port(&self, offset: u64, width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        Ok(read_part(self.state().ioport, offset, width))
    }

    fn write_port(&self, offset: u64, width: Width, value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        write_part(&mut self.state().ioport, offset, width, value);
        Ok(())
    }

    fn read_zero(&self, _offset: u64, _width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        Ok(0)
    }

    /// A page that is forgotten is found again as it was, so that a guest sees nothing of it.
    fn write_flush(&self, _offset: u64, _width: Width, _value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        Ok(())
    }

    fn write_line(&self, offset: u64, _width: Width, value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        let mut state = self.state();
        let bit = 1_u32.checked_shl(u32::try_from(offset).unwrap_or(u32::MAX)).unwrap_or_default();
        state.lines = if value == 0 { state.lines & !bit } else { state.lines | bit };
        self.drive(&state);
        Ok(())
    }

    fn read_iomem(&self, offset: u64, width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.state().iomem.load(offset, width))
    }

    fn write_iomem(&self, offset: u64, width: Width, value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        self.state().iomem.store(offset, width, value);
        Ok(())
    }

    /// Brings the lines to where the state has them.
    fn drive(&self, state: &State) {
        let Some(wiring) = self.wiring.get() else { return };
        for (number, line) in (0..).zip(&wiring.lines) {
            line.set(state.lines >> number & 1 != 0);
        }
    }
}

#[typetag::serde(name = "pc-testdev")]
impl Device for PcTestdev {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        use Endian::{Big, Little};
        use Width::{W1, W2, W4};
        let port = (Self::read_port, Self::write_port);
        let flush = AccessRules::new().valid(W4..=W4).implements(W4..=W4);
        let line = AccessRules::new().valid(W1..=W1).implements(W1..=W1);
        let mut regions = vec![
            ctx.mmio("flush", REGISTER, flush, &self, (Self::read_zero, Self::write_flush))?,
            ctx.mmio("irq", u64::from(LINES), line, &self, (Self::read_zero, Self::write_line))?,
            ctx.mmio("iomem", IOMEM, AccessRules::new(), &self, (Self::read_iomem, Self::write_iomem))?,
        ];
        for (name, widths, order) in [
            ("ioport", W1..=W4, Little),
            ("ioport-byte", W1..=W1, Little),
            ("ioport-word", W2..=W2, Little),
            ("ioport-long", W4..=W4, Little),
            ("byte-be", W1..=W1, Big),
            ("word-be", W2..=W2, Big),
            ("long-be", W4..=W4, Big),
        ] {
            let rules = AccessRules::new().valid(W1..=W4).implements(widths).endian(order);
            regions.push(ctx.mmio(name, REGISTER, rules, &self, port)?);
        }
        let wiring = Wiring { lines: ctx.outputs("irq", LINES), _regions: regions };
        let _ = self.wiring.set(wiring);
        self.drive(&self.state());
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        let mut state = self.state();
        *state = State::default();
        self.drive(&state);
    }

    fn inspect(&self, out: &mut Inspector) {
        let state = self.state();
        out.register("ioport", state.ioport.into()).register("lines", state.lines.into());
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "pc-testdev",
        about: "QEMU's test device for PCs: registers that show how accesses are split and combined, interrupt lines by hand",
        properties: &[],
        example: "{}",
    }
}

const fn place(region: &'static str, at: u16) -> PortPlace {
    PortPlace { region, at, option: None }
}

inventory::submit! {
    PlugInfo {
        name: "pc-testdev",
        tag: "pc-testdev",
        preset: "",
        ports: &[place("ioport", 0xe0), place("flush", 0xe4), place("ioport-byte", 0xe8), place("irq", 0x2000)],
        memory: &[("iomem", 0xff00_0000)],
        options: &[],
        wires: &[("irq", WireEnd { tag: "pc-gsi", group: "irq", first: 0 })],
    }
}
