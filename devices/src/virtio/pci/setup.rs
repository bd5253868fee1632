//! What the transport is made of as a PCI function: the same ids, registers and capabilities as QEMU's.

use super::VirtioPci;
use super::registers::*;
use crate::pci::registers::CAP_VENDOR;
use crate::pci::{BarKind, FunctionSetup, Identity, MsixSetup};
use crate::sync::Arc;
use crate::{DeviceError, Realize};
use memory_core::{AccessRules, EventNotifier, IoEvent, Methods, Region, TxAttrs, Width};

/// Who defines the ids of virtio devices.
const VENDOR: u16 = 0x1af4;
/// What is added to a device's type for its modern id.
const MODERN_ID: u16 = 0x1040;
/// The base address registers: legacy registers, MSI-X table, structures.
const LEGACY_BAR: u8 = 0;
const MSIX_BAR: u8 = 1;
const MODERN_BAR: u8 = 4;
/// Where the capability of the table is.
const MSIX: u8 = 0x98;

/// Types that there are here, with the transitional id, the class, and how many bytes of configuration QEMU has.
const TYPES: [(u32, u16, u16, u64); 3] =
    [(2, 0x1001, 0x0100, 60), (3, 0x1003, 0x0780, 12), (4, 0x1005, 0x00ff, 0)];

/// A read and a write of registers.
type Access = (fn(&VirtioPci, u64, Width) -> u64, fn(&VirtioPci, u64, Width, u64));

impl VirtioPci {
    fn row(&self) -> (u32, u16, u16, u64) {
        let id = self.backend.id();
        let found = TYPES.into_iter().find(|(kind, ..)| *kind == id);
        found.unwrap_or((id, 0x1000, 0x00ff, 0))
    }

    fn identity(&self) -> Identity {
        let (kind, transitional, class, _) = self.row();
        let kind = kind as u16;
        let identity = Identity { vendor: VENDOR, class, ..Identity::default() };
        if self.disable_legacy {
            Identity { device: MODERN_ID.wrapping_add(kind), revision: 1, ..identity }
        } else {
            Identity { device: transitional, subsystem: (VENDOR, kind), ..identity }
        }
    }

    fn registers(
        self: &Arc<Self>,
        ctx: &Realize<'_>,
        (name, size): (&str, u64),
        (read, write): Access,
    ) -> Result<Region, DeviceError> {
        let callbacks = Methods::new(
            self,
            move |device: &Self, offset, width, _: TxAttrs| Ok(read(device, offset, width)),
            move |device: &Self, offset, width, value, _: TxAttrs| {
                write(device, offset, width, value);
                Ok(())
            },
        );
        let name = format!("{name}-{}", self.backend.typetag_name());
        Ok(ctx.memory().mmio(name, size, AccessRules::new(), callbacks).owner(ctx.owner()).build()?)
    }

    /// The structures in their region, with an event for each queue.
    fn structures(
        self: &Arc<Self>,
        ctx: &Realize<'_>,
        events: &[EventNotifier],
    ) -> Result<Vec<Region>, DeviceError> {
        let bar = ctx.memory().container("virtio-pci", MODERN_SIZE).owner(ctx.owner()).build()?;
        let parts: [(&str, u64, Access); 4] = [
            (
                "virtio-pci-common",
                COMMON,
                (|d, at, w| d.read_modern(COMMON + at, w), |d, at, w, v| d.write_modern(COMMON + at, w, v)),
            ),
            ("virtio-pci-isr", ISR_STATUS, (|d, at, w| d.read_modern(ISR_STATUS + at, w), |_, _, _, _| ())),
            (
                "virtio-pci-device",
                DEVICE,
                (|d, at, w| d.read_modern(DEVICE + at, w), |d, at, w, v| d.write_modern(DEVICE + at, w, v)),
            ),
            ("virtio-pci-notify", NOTIFY, (|_, _, _| 0, |d, at, w, v| d.write_modern(NOTIFY + at, w, v))),
        ];
        let mut regions = Vec::new();
        for (name, at, access) in parts {
            let region = self.registers(ctx, (name, STRUCTURE), access)?;
            bar.map(at, &region)?;
            if at == NOTIFY {
                for (queue, event) in (0..).zip(events) {
                    let offset = queue * u64::from(NOTIFY_MULTIPLIER);
                    region.add_ioevent(IoEvent::new(offset, Width::W2, event.clone()))?;
                }
            }
            regions.push(region);
        }
        regions.insert(0, bar);
        Ok(regions)
    }

    pub(super) fn setup(
        self: &Arc<Self>,
        ctx: &Realize<'_>,
        events: &[EventNotifier],
    ) -> Result<(FunctionSetup, Vec<Region>), DeviceError> {
        let mut regions = self.structures(ctx, events)?;
        let mut setup = FunctionSetup::new(self.identity()).interrupt_pin(1);
        if let Some(bar) = regions.first() {
            setup = setup.bar(MODERN_BAR, BarKind::Memory64 { prefetchable: true }, bar)?;
        }
        if !self.disable_legacy {
            let config = self.row().3.max(self.backend.config().len() as u64);
            let size = (LEGACY_CONFIG_MSIX + config).next_power_of_two();
            let region =
                self.registers(ctx, ("virtio-pci-legacy", size), (Self::read_legacy, Self::write_legacy))?;
            for (queue, event) in (0..).zip(events) {
                region.add_ioevent(IoEvent::new(QUEUE_NOTIFY, Width::W2, event.clone()).value(queue))?;
            }
            setup = setup.bar(LEGACY_BAR, BarKind::Io, &region)?;
            regions.push(region);
        }
        add_capabilities(&mut setup);
        if self.vector_count() > 0 {
            let (msix, size) = MsixSetup::exclusive(MSIX, self.vector_count(), MSIX_BAR);
            let bar = ctx.memory().container("virtio-pci-msix", size).owner(ctx.owner()).build()?;
            setup = setup.bar(MSIX_BAR, BarKind::Memory32 { prefetchable: false }, &bar)?.msix(msix)?;
            regions.push(bar);
        }
        Ok((setup, regions))
    }
}

/// The capabilities that tell where the structures are, and the one for accesses through configuration space.
fn add_capabilities(setup: &mut FunctionSetup) {
    let config = setup.config();
    let parts = [
        (0x40, CAP_COMMON, COMMON),
        (0x50, CAP_ISR, ISR_STATUS),
        (0x60, CAP_DEVICE, DEVICE),
        (0x70, CAP_NOTIFY, NOTIFY),
    ];
    for (at, kind, offset) in parts {
        let len = if kind == CAP_NOTIFY { 20 } else { 16 };
        let mut body = vec![len, kind, MODERN_BAR, 0, 0, 0];
        body.extend((offset as u32).to_le_bytes());
        body.extend((STRUCTURE as u32).to_le_bytes());
        if kind == CAP_NOTIFY {
            body.extend(NOTIFY_MULTIPLIER.to_le_bytes());
        }
        config.add_capability(at, CAP_VENDOR, &body);
    }
    let mut body = vec![20, CAP_CONFIG_ACCESS];
    body.resize(18, 0);
    config.add_capability(CONFIG_ACCESS as u8, CAP_VENDOR, &body);
    config.set_writable(CONFIG_ACCESS + 4, &[0xff]);
    config.set_writable(CONFIG_ACCESS_OFFSET, &[0xff; 12]);
}
