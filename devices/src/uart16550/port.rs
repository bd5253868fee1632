//! The registers and FIFOs of the 16550: `vm-superio`'s serial port, with the interrupts of the datasheet.
//!
//! The core signals edges and keeps no FIFO control register. Here interrupts are levels, derived from what is pending
//! and enabled, so its own idea of them is not used.

use super::registers::*;
use serde::{Deserialize, Serialize, Serializer};
use std::convert::Infallible;
use std::fmt;
use vm_superio::Trigger;
use vm_superio::serial::{NoEvents, Serial, SerialState};

/// Depth of the receiver's FIFO, in bytes, when it is enabled.
const FIFO_DEPTH: usize = 16;

/// The core's interrupts lead nowhere.
#[derive(Debug)]
struct NoTrigger;

impl Trigger for NoTrigger {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// The form of a [`Port`] in a machine file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct PortState {
    divisor: u16,
    interrupt_enable: u8,
    fifo_control: u8,
    line_control: u8,
    modem_control: u8,
    scratch: u8,
    /// The transmitter has run empty, and IIR was not read since.
    transmitter_empty: bool,
    /// Received bytes that were not read yet.
    received: Vec<u8>,
}

impl Default for PortState {
    fn default() -> Self {
        Self::from(&Port::default())
    }
}

/// A 16550 without a bus, a line or an interrupt line.
#[derive(Deserialize)]
#[serde(from = "PortState")]
pub(crate) struct Port {
    core: Serial<NoTrigger, NoEvents, Vec<u8>>,
    fifo_control: Fcr,
    /// The transmitter has run empty, and IIR was not read since.
    transmitter_empty: bool,
    /// A thread fetches input for this port.
    fetching: bool,
    /// Input may have come since that thread looked.
    fetch_again: bool,
}

impl Default for Port {
    fn default() -> Self {
        Self::with_core(Serial::new(NoTrigger, Vec::new()))
    }
}

impl Port {
    fn with_core(core: Serial<NoTrigger, NoEvents, Vec<u8>>) -> Self {
        let fifo_control = Fcr::default();
        Self { core, fifo_control, transmitter_empty: false, fetching: false, fetch_again: false }
    }

    /// How many received bytes wait.
    fn received(&self) -> usize {
        Self::default_capacity().saturating_sub(self.core.fifo_capacity())
    }

    /// The room in an empty core, which is more than a 16550 has.
    fn default_capacity() -> usize {
        Serial::new(NoTrigger, std::io::sink()).fifo_capacity()
    }

    /// The register that an offset means depends on DLAB.
    fn is_divisor(&mut self) -> bool {
        self.core.read(LCR) & LCR_DLAB != 0
    }

    fn enabled(&mut self) -> Ier {
        let line_control = self.core.read(LCR);
        self.set(LCR, line_control & !LCR_DLAB);
        let enabled = Ier::from_bits_truncate(self.core.read(IER_DLM));
        self.set(LCR, line_control);
        enabled
    }

    /// Writes a register of the core. Its only errors are those of its trigger and its output, which have none.
    fn set(&mut self, register: u8, value: u8) {
        let _ = self.core.write(register, value);
    }

    fn has_fifos(&self) -> bool {
        self.fifo_control.contains(Fcr::FIFO_ENABLE)
    }

    /// What asks for service.
    pub(crate) fn interrupt(&mut self) -> Interrupt {
        let enabled = self.enabled();
        let received = self.received();
        if enabled.contains(Ier::ERBFI) && received > 0 {
            let enough = !self.has_fifos() || received >= self.fifo_control.trigger();
            return if enough { Interrupt::Received } else { Interrupt::Timeout };
        }
        if enabled.contains(Ier::ETBEI) && self.transmitter_empty {
            return Interrupt::Transmitter;
        }
        Interrupt::None
    }

    /// Reads a register.
    pub(crate) fn read(&mut self, register: u8) -> u8 {
        if register != IIR_FCR {
            return self.core.read(register);
        }
        let interrupt = self.interrupt();
        if interrupt == Interrupt::Transmitter {
            // that, and only that, is acknowledged by being read
            self.transmitter_empty = false;
        }
        interrupt as u8 | if self.has_fifos() { IIR_FIFOS_ENABLED } else { 0 }
    }

    /// Writes a register. `Some` means that bytes are on their way, to be followed by [`Port::transmitted`].
    pub(crate) fn write(&mut self, register: u8, value: u8) -> Option<Vec<u8>> {
        match register {
            RBR_THR_DLL if !self.is_divisor() => {
                self.set(RBR_THR_DLL, value);
                return Some(std::mem::take(self.core.writer_mut()));
            }
            IER_DLM if !self.is_divisor() => {
                let before = self.enabled();
                self.set(IER_DLM, value);
                if self.enabled().difference(before).contains(Ier::ETBEI) {
                    // the transmitter is empty whenever somebody can ask
                    self.transmitter_empty = true;
                }
            }
            IIR_FCR => self.set_fifo_control(Fcr::from_bits_truncate(value)),
            MCR => self.set(MCR, value & MCR_MASK),
            // a factory may write them, a guest not
            LSR | MSR => {}
            _ => self.set(register, value),
        }
        None
    }

    fn set_fifo_control(&mut self, value: Fcr) {
        // the other bits count only together with this one; changing it clears what is there
        let toggled = (self.fifo_control ^ value).contains(Fcr::FIFO_ENABLE);
        if toggled || value.contains(Fcr::FIFO_ENABLE | Fcr::RCVR_RESET) {
            self.drop_received();
        }
        let kept = value.difference(Fcr::RCVR_RESET | Fcr::XMIT_RESET);
        self.fifo_control = if value.contains(Fcr::FIFO_ENABLE) { kept } else { Fcr::empty() };
    }

    fn drop_received(&mut self) {
        let line_control = self.core.read(LCR);
        self.set(LCR, line_control & !LCR_DLAB);
        while self.core.read(LSR) & LSR_DR != 0 {
            self.core.read(RBR_THR_DLL);
        }
        self.set(LCR, line_control);
    }

    /// What was written to the transmitter is out.
    pub(crate) fn transmitted(&mut self) {
        self.transmitter_empty = true;
    }

    /// How many bytes may be fetched for the receiver, if there is room and nobody else fetches any. Then
    /// [`Port::fetched`] must follow.
    pub(crate) fn begin_fetch(&mut self) -> Option<usize> {
        if self.fetching {
            self.fetch_again = true;
            return None;
        }
        let depth = if self.has_fifos() { FIFO_DEPTH } else { 1 };
        // in loopback the receiver is cut off from the line
        let looped = self.core.read(MCR) & MCR_LOOP != 0;
        let room = if looped { 0 } else { depth.saturating_sub(self.received()) };
        self.fetching = room > 0;
        self.fetch_again = false;
        self.fetching.then_some(room)
    }

    /// Takes what was fetched, and tells whether to look for more.
    pub(crate) fn fetched(&mut self, bytes: &[u8]) -> bool {
        // a port that was put into loopback meanwhile loses them, as a cut line does
        let _ = self.core.enqueue_raw_bytes(bytes);
        self.fetching = false;
        self.fetch_again || !bytes.is_empty()
    }

    /// The state after power on; a thread that fetches goes on.
    pub(crate) fn reset(&mut self) {
        let Self { fetching, fetch_again, .. } = *self;
        *self = Self { fetching, fetch_again, ..Self::default() };
    }

    /// The registers by their names, for people.
    pub(crate) fn registers(&self) -> [(&'static str, u64); 8] {
        let state = self.core.state();
        [
            ("IER", state.interrupt_enable.into()),
            ("FCR", self.fifo_control.bits().into()),
            ("LCR", state.line_control.into()),
            ("MCR", state.modem_control.into()),
            ("LSR", state.line_status.into()),
            ("MSR", state.modem_status.into()),
            ("SCR", state.scratch.into()),
            ("divisor", u16::from_le_bytes([state.baud_divisor_low, state.baud_divisor_high]).into()),
        ]
    }
}

impl From<&Port> for PortState {
    fn from(port: &Port) -> Self {
        let core = port.core.state();
        Self {
            divisor: u16::from_le_bytes([core.baud_divisor_low, core.baud_divisor_high]),
            interrupt_enable: core.interrupt_enable,
            fifo_control: port.fifo_control.bits(),
            line_control: core.line_control,
            modem_control: core.modem_control,
            scratch: core.scratch,
            transmitter_empty: port.transmitter_empty,
            received: core.in_buffer,
        }
    }
}

impl From<PortState> for Port {
    /// Values that no port can have lose the bits, and the input, that are too many.
    fn from(state: PortState) -> Self {
        let [baud_divisor_low, baud_divisor_high] = state.divisor.to_le_bytes();
        let mut in_buffer = state.received;
        in_buffer.truncate(Self::default_capacity());
        let power_on = SerialState::default();
        let data_ready = if in_buffer.is_empty() { 0 } else { LSR_DR };
        let core = SerialState {
            baud_divisor_low,
            baud_divisor_high,
            interrupt_enable: Ier::from_bits_truncate(state.interrupt_enable).bits(),
            line_control: state.line_control,
            line_status: power_on.line_status | data_ready,
            modem_control: state.modem_control & MCR_MASK,
            scratch: state.scratch,
            in_buffer,
            ..power_on
        };
        let Ok(core) = Serial::from_state(&core, NoTrigger, NoEvents, Vec::new()) else {
            // only too much input is an error
            return Self::default();
        };
        let mut port = Self { transmitter_empty: state.transmitter_empty, ..Self::with_core(core) };
        let fifo_control = Fcr::from_bits_truncate(state.fifo_control);
        if fifo_control.contains(Fcr::FIFO_ENABLE) {
            port.fifo_control = fifo_control.difference(Fcr::RCVR_RESET | Fcr::XMIT_RESET);
        }
        port
    }
}

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        PortState::from(self).serialize(serializer)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        PortState::from(self).fmt(f)
    }
}
