//! A PCI function for tests of accesses, as QEMU's `pci-testdev` (specification "QEMU PCI test device"): registers in memory, the same in
//! ports, and RAM.
//!
//! Base address registers 0 (memory) and 1 (ports) begin with a header that tells the guest how to do a test; register 2 is
//! RAM of 64 bits' address, if the machine file asks for it.
//!
//! | offset | width | register |
//! |---|---|---|
//! | 0 | 1 | test: a write begins the test of that number (write-only) |
//! | 1 | 1 | width of the writes of the test: 1; 0 if there is no such test |
//! | 4 | 4 | offset of the writes in this base address register |
//! | 8 | 4 | data to write |
//! | 12 | 4 | writes since the test began |
//! | 16 | 48 | name of the test, ended by 0 |
//!
//! Test 0 runs the callback for each write, in test 1 each write signals an event, and in test 2 each write of the right
//! data.

use crate::pci::{BarKind, FunctionSetup, Identity, PciDevice, PciFunction};
use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use crate::{Device, DeviceError, DeviceInfo, Inspector, Property, Realize, ResetType};
use memory_core::{
    AccessRules, BusFault, EventNotifier, IoEvent, Methods, RamBlock, Region, RegionBuilder, TxAttrs, Width,
};
use serde::{Deserialize, Serialize};

/// Bytes of the memory registers.
pub const MMIO_SIZE: u64 = 0x1000;
/// Bytes of the port registers.
pub const PIO_SIZE: u64 = 0x100;
/// Where the writes of the first test go; those of the others follow.
const TARGET: u64 = 0x40;
/// What the writes of the last test have to be.
const MATCH: u8 = 0xfa;
/// What those of the others are said to be.
const DATA: u8 = 0xce;
/// The tests of each base address register.
const TESTS: [&str; 3] = ["no-eventfd", "wildcard-eventfd", "datamatch-eventfd"];

/// The device.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PciTestdev {
    /// Bytes of base address register 2, a power of two; none without it.
    #[serde(default)]
    membar: u64,
    /// Whether there is memory behind it.
    #[serde(default)]
    membar_backed: bool,
    /// The interrupt pin that the function says it has, 1 to 4; none without it, as in QEMU.
    #[serde(default)]
    pin: u8,

    #[serde(skip)]
    wiring: OnceLock<Wiring>,

    #[serde(default)]
    pci: PciFunction,
    /// Held for an instant.
    #[serde(default)]
    state: Mutex<State>,
}

#[derive(Debug)]
struct Wiring {
    /// The events of tests 1 and 2, of memory and ports.
    events: [[EventNotifier; 2]; 2],
    _regions: Vec<Region>,
}

/// The test that runs, if any, and its writes.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct State {
    test: Option<(u8, u8)>,
    count: u32,
}

const IDENTITY: Identity =
    Identity { vendor: 0x1b36, device: 0x0005, revision: 0, class: 0x00ff, interface: 0, subsystem: (0, 0) };

impl PciTestdev {
    /// The state, with all signals so far in it.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (bar, events) in self.wiring.get().iter().flat_map(|wiring| (0..).zip(&wiring.events)) {
            for (test, event) in (1..).zip(events) {
                let signals = event.take();
                if state.test == Some((bar, test)) {
                    state.count = state.count.wrapping_add(signals as u32);
                }
            }
        }
        state
    }

    fn header(&self, bar: u8) -> Vec<u8> {
        let state = self.state();
        let found = state.test.filter(|test| test.0 == bar);
        let Some((test, name)) = found.and_then(|(_, test)| Some((test, TESTS.get(usize::from(test))?)))
        else {
            return Vec::new();
        };
        let data = if usize::from(test) + 1 == TESTS.len() { MATCH } else { DATA };
        let mut header = vec![test, 1, 0, 0];
        header.extend((TARGET as u32 + u32::from(test)).to_le_bytes());
        header.extend(u32::from(data).to_le_bytes());
        header.extend(state.count.to_le_bytes());
        let kind = if bar == 0 { "mmio" } else { "portio" };
        header.extend(format!("{kind}-{name}\0").bytes());
        header
    }

    fn read(&self, bar: u8, offset: u64, width: Width) -> u64 {
        let header = self.header(bar);
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = header.iter().skip(at).take(width.len());
        bytes.rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    fn write(&self, bar: u8, offset: u64, value: u64) {
        let mut state = self.state();
        if offset == 0 {
            *state = State { test: Some((bar, value as u8)), count: 0 };
        } else if let Some((_, test)) = state.test.filter(|test| test.0 == bar)
            && offset == TARGET + u64::from(test)
        {
            state.count = state.count.wrapping_add(1);
        }
    }

    fn registers<const BAR: u8>(
        self: &Arc<Self>,
        ctx: &Realize<'_>,
        (name, size): (&str, u64),
        events: &[EventNotifier; 2],
    ) -> Result<Region, DeviceError> {
        let callbacks = Methods::new(
            self,
            |device: &Self, offset, width, _: TxAttrs| Ok::<_, BusFault>(device.read(BAR, offset, width)),
            |device: &Self, offset, _, value, _| {
                device.write(BAR, offset, value);
                Ok(())
            },
        );
        let region: RegionBuilder = ctx.memory().mmio(name, size, AccessRules::new(), callbacks);
        let region = region.owner(ctx.owner()).build()?;
        let [any, matching] = events;
        region.add_ioevent(IoEvent::new(TARGET + 1, Width::W1, any.clone()))?;
        region.add_ioevent(IoEvent::new(TARGET + 2, Width::W1, matching.clone()).value(MATCH.into()))?;
        Ok(region)
    }
}

impl PciDevice for PciTestdev {
    fn function(&self) -> &PciFunction {
        &self.pci
    }

    fn bus_reset(&self, kind: ResetType) {
        self.reset(kind);
    }
}

#[typetag::serde(name = "pci-testdev")]
impl Device for PciTestdev {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let event =
            || EventNotifier::new().map_err(|source| DeviceError::Host { what: "an eventfd", source });
        let events = [[event()?, event()?], [event()?, event()?]];
        let [mmio_events, pio_events] = &events;
        let mmio = self.registers::<0>(ctx, ("pci-testdev-mmio", MMIO_SIZE), mmio_events)?;
        let pio = self.registers::<1>(ctx, ("pci-testdev-portio", PIO_SIZE), pio_events)?;
        let mut setup = FunctionSetup::new(IDENTITY)
            .bar(0, BarKind::Memory32 { prefetchable: false }, &mmio)?
            .bar(1, BarKind::Io, &pio)?
            .interrupt_pin(self.pin);
        let mut regions = vec![mmio, pio];
        if self.membar > 0 {
            let name = "pci-testdev-membar";
            let region = if self.membar_backed {
                ctx.memory().ram(name, RamBlock::anonymous(self.membar)?)
            } else {
                ctx.memory().container(name, self.membar)
            };
            let region = region.owner(ctx.owner()).build()?;
            setup =
                setup.bar(2, BarKind::Memory64 { prefetchable: true }, &region).map_err(
                    |error| match error {
                        DeviceError::Property { reason, .. } => {
                            DeviceError::Property { property: "membar", reason }
                        }
                        other => other,
                    },
                )?;
            regions.push(region);
        }
        let _ = self.wiring.set(Wiring { events, _regions: regions });
        self.pci.realize(ctx, &self, setup)
    }

    fn reset(&self, _kind: ResetType) {
        *self.state() = State::default();
        self.pci.reset(|_| ());
    }

    fn inspect(&self, out: &mut Inspector) {
        let state = self.state();
        let test = state.test.map_or("none".to_owned(), |(bar, test)| format!("{test} of register {bar}"));
        out.field("test", test).field("count", state.count);
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "pci-testdev",
        about: "PCI function for tests of accesses: registers in memory and ports, and RAM",
        properties: &[
            Property {
                name: "membar",
                kind: "size",
                default: Some("0"),
                about: "bytes of base address register 2, a power of two; 0 for none",
            },
            Property {
                name: "membar-backed",
                kind: "bool",
                default: Some("false"),
                about: "there is RAM behind base address register 2",
            },
            Property {
                name: "pin",
                kind: "0 to 4",
                default: Some("0"),
                about: "the interrupt pin that the function says it has, A to D; 0 for none",
            },
        ],
        example: "{}",
    }
}

#[cfg(test)]
mod tests;
