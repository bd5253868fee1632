//! What a function is made of.

use super::bar::{Bar, BarKind, ROM_BAR};
use super::bus::PciBus;
use super::config::{CONFIG_SIZE, ConfigSpace, EXPRESS_CONFIG_SIZE};
use super::msi::MsiSetup;
use super::msix::MsixSetup;
use super::registers::*;
use crate::DeviceError;
use crate::sync::Arc;
use memory_core::{MemoryError, Region, RegionRef};

/// What a function says that it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// Who made it.
    pub vendor: u16,
    /// What it is, by that maker.
    pub device: u16,
    /// The revision of the device.
    pub revision: u8,
    /// Class and subclass, in the upper and the lower byte.
    pub class: u16,
    /// The programming interface.
    pub interface: u8,
    /// Who made the board, and what board it is; QEMU's own if both are 0.
    pub subsystem: (u16, u16),
}

/// What boards say that say nothing of their own, as in QEMU.
const SUBSYSTEM: (u16, u16) = (0x1af4, 0x1100);

/// What a function is made of, for [`PciFunction::realize`](super::PciFunction::realize): its registers after power on,
/// which bits of them a guest can change, its base address registers, its capabilities.
#[derive(Debug)]
#[must_use = "a function is made of it by `PciFunction::realize`"]
pub struct FunctionSetup {
    pub(super) config: ConfigSpace,
    pub(super) bars: Vec<Bar>,
    pub(super) msi: Option<MsiSetup>,
    pub(super) msix: Option<MsixSetup>,
    pub(super) home: Option<(Arc<PciBus>, u8)>,
    pub(super) keeps: Vec<Region>,
    pub(super) bridge: bool,
}

impl FunctionSetup {
    /// A function with a header of type 0 and nothing else.
    pub fn new(identity: Identity) -> Self {
        let mut setup = Self::with_header(identity, CONFIG_SIZE);
        let (vendor, device) = if identity.subsystem == (0, 0) { SUBSYSTEM } else { identity.subsystem };
        setup.config.set_word(SUBSYSTEM_VENDOR_ID, vendor);
        setup.config.set_word(SUBSYSTEM_ID, device);
        setup
    }

    /// A PCI Express function with a header of type 0 and nothing else, which has 4096 bytes of configuration space.
    pub fn express(identity: Identity) -> Self {
        let small = Self::new(identity);
        let mut config = ConfigSpace::new(EXPRESS_CONFIG_SIZE);
        config.set(0, &small.config.bytes);
        init_header(&mut config);
        Self { config, ..small }
    }

    /// A bridge, with a header of type 1.
    pub fn bridge(identity: Identity) -> Self {
        let mut setup = Self::with_header(identity, CONFIG_SIZE);
        setup.config.set_byte(HEADER_TYPE, 1);
        setup.bridge = true;
        setup
    }

    fn with_header(identity: Identity, size: usize) -> Self {
        let mut config = ConfigSpace::new(size);
        config.set_word(VENDOR_ID, identity.vendor);
        config.set_word(DEVICE_ID, identity.device);
        config.set_byte(REVISION_ID, identity.revision);
        config.set_byte(CLASS_CODE, identity.interface);
        config.set_word(CLASS_CODE + 1, identity.class);
        init_header(&mut config);
        let (bars, keeps) = Default::default();
        Self { config, bars, msi: None, msix: None, home: None, keeps, bridge: false }
    }

    /// The registers, to be changed before the function is there: [`ConfigSpace::set`], [`ConfigSpace::set_writable`].
    pub fn config(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    /// Has the base address register `index`, 0 to 5, show `region` where the guest says. The region's size is a power of
    /// two, and nobody else maps it.
    ///
    /// # Errors
    /// A region whose size the register cannot say.
    pub fn bar(self, index: u8, kind: BarKind, region: &RegionRef) -> Result<Self, DeviceError> {
        let last = if self.bridge { 1 } else { 5 };
        let most = if kind.is_64() { last - 1 } else { last };
        if kind == BarKind::Rom || index > most {
            return Err(DeviceError::Property {
                property: "bar",
                reason: format!("there is no base address register {index} of that kind"),
            });
        }
        self.push(index, kind, region)
    }

    /// Has the expansion ROM's base address register show `region`.
    ///
    /// # Errors
    /// A region whose size the register cannot say.
    pub fn rom(self, region: &RegionRef) -> Result<Self, DeviceError> {
        self.push(ROM_BAR, BarKind::Rom, region)
    }

    fn push(mut self, index: u8, kind: BarKind, region: &RegionRef) -> Result<Self, DeviceError> {
        let bytes = region.size()?.bytes();
        let most = if kind.is_64() { 1 << 63 } else { 1 << 31 };
        let fits = |size: &u64| size.is_power_of_two() && (kind.least()..=most).contains(size);
        let size = u64::try_from(bytes).ok().filter(fits).ok_or_else(|| DeviceError::Property {
            property: "bar",
            reason: format!(
                "region `{}` of {bytes:#x} bytes for {kind:?}, which shows a power of two from {:#x} to {most:#x}",
                region.name(),
                kind.least()
            ),
        })?;
        let bar = Bar { index, kind, size, region: region.clone() };
        bar.install(&mut self.config, self.bridge);
        self.bars.push(bar);
        Ok(self)
    }

    /// Has the function keep a region of its device, which lives as long as the function: one whose handle the device has
    /// no use for.
    pub fn keep(mut self, region: Region) -> Self {
        self.keeps.push(region);
        self
    }

    /// Says that the device has several functions, whatever the machine file does.
    pub fn multifunction(mut self) -> Self {
        let header = self.config.byte(HEADER_TYPE);
        self.config.set_byte(HEADER_TYPE, header | MULTI_FUNCTION);
        self
    }

    /// Has the function drive an interrupt pin: 1 to 4, A to D.
    pub fn interrupt_pin(mut self, pin: u8) -> Self {
        self.config.set_byte(INTERRUPT_PIN, pin);
        self
    }

    /// Gives the function message signalled interrupts.
    pub fn msi(mut self, msi: MsiSetup) -> Self {
        msi.install(&mut self.config);
        self.msi = Some(msi);
        self
    }

    /// Gives the function message signalled interrupts with a table in one of the base address registers that it has
    /// by now.
    ///
    /// # Errors
    /// A table that does not lie in its base address register, or overlaps the pending bits.
    pub fn msix(mut self, msix: MsixSetup) -> Result<Self, DeviceError> {
        msix.check(&self.bars)?;
        msix.install(&mut self.config);
        self.msix = Some(msix);
        Ok(self)
    }

    /// Puts the function on a bus of the device's own, at a fixed place, instead of where the machine file says.
    pub fn at(mut self, bus: &Arc<PciBus>, devfn: u8) -> Self {
        self.home = Some((bus.clone(), devfn));
        self
    }

    pub(super) fn region_of_bar(&self, index: u8) -> Result<RegionRef, MemoryError> {
        let bar = self.bars.iter().find(|bar| bar.index == index);
        bar.map(|bar| bar.region.clone()).ok_or_else(|| MemoryError::Gone("bar".into()))
    }
}

/// What of a header can be changed, and what says which function it is.
fn init_header(config: &mut ConfigSpace) {
    let command = Command::all().bits().to_le_bytes();
    config.set_writable(COMMAND, &command);
    config.set_clears(STATUS, &Status::ERRORS.bits().to_le_bytes());
    config.set_writable(CACHE_LINE_SIZE, &[0xff]);
    config.set_writable(INTERRUPT_LINE, &[0xff]);
    config.set_fixed(VENDOR_ID, &[0xff; 4]);
    config.set_fixed(REVISION_ID, &[0xff; 4]);
    config.set_fixed(HEADER_TYPE, &[0x7f]);
}
