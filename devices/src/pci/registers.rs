//! Registers of configuration space (PCI Local Bus 3.0, chapter 6; PCI-to-PCI Bridge 1.2, chapter 3), as offsets, and
//! their bits.

/// Who made the function.
pub const VENDOR_ID: usize = 0x00;
/// What it is, by that maker.
pub const DEVICE_ID: usize = 0x02;
/// What the function may do, see [`Command`].
pub const COMMAND: usize = 0x04;
/// What has happened, see [`Status`].
pub const STATUS: usize = 0x06;
/// The revision of the device.
pub const REVISION_ID: usize = 0x08;
/// Three bytes: programming interface, subclass, class.
pub const CLASS_CODE: usize = 0x09;
/// Units of a cache line, no concern of a function's here.
pub const CACHE_LINE_SIZE: usize = 0x0c;
/// Layout of the header, and bit 7 if the device has several functions.
pub const HEADER_TYPE: usize = 0x0e;
/// The first base address register.
pub const BASE_ADDRESS_0: usize = 0x10;
/// Who made the board.
pub const SUBSYSTEM_VENDOR_ID: usize = 0x2c;
/// What board it is.
pub const SUBSYSTEM_ID: usize = 0x2e;
/// The base address register of the expansion ROM, in a header of type 0.
pub const ROM_ADDRESS: usize = 0x30;
/// Where the list of capabilities begins.
pub const CAPABILITY_LIST: usize = 0x34;
/// Which input of the interrupt controller firmware found the function at.
pub const INTERRUPT_LINE: usize = 0x3c;
/// Which pin the function drives: 0 none, 1 to 4 A to D.
pub const INTERRUPT_PIN: usize = 0x3d;
/// Where the header ends.
pub const HEADER_SIZE: usize = 0x40;

/// Bus on which a bridge is.
pub const PRIMARY_BUS: usize = 0x18;
/// Bus behind a bridge.
pub const SECONDARY_BUS: usize = 0x19;
/// The highest bus behind a bridge.
pub const SUBORDINATE_BUS: usize = 0x1a;
/// Where the ports behind a bridge begin, bits 15 to 12 in 7 to 4.
pub const IO_BASE: usize = 0x1c;
/// Where the ports behind a bridge end.
pub const IO_LIMIT: usize = 0x1d;
/// What has happened on the secondary bus.
pub const SECONDARY_STATUS: usize = 0x1e;
/// Where the memory behind a bridge begins, bits 31 to 20 in 15 to 4.
pub const MEMORY_BASE: usize = 0x20;
/// Where the memory behind a bridge ends.
pub const MEMORY_LIMIT: usize = 0x22;
/// Where the prefetchable memory behind a bridge begins.
pub const PREFETCH_BASE: usize = 0x24;
/// Where the prefetchable memory behind a bridge ends.
pub const PREFETCH_LIMIT: usize = 0x26;
/// The upper half of where it begins.
pub const PREFETCH_BASE_UPPER: usize = 0x28;
/// The upper half of where it ends.
pub const PREFETCH_LIMIT_UPPER: usize = 0x2c;
/// The base address register of the expansion ROM, in a header of type 1.
pub const BRIDGE_ROM_ADDRESS: usize = 0x38;
/// What a bridge passes on, see [`BridgeControl`].
pub const BRIDGE_CONTROL: usize = 0x3e;

/// Bit 7 of [`HEADER_TYPE`]: the device has several functions.
pub const MULTI_FUNCTION: u8 = 0x80;
/// Bit 0 of the expansion ROM's base address register: the ROM is decoded.
pub const ROM_ENABLE: u32 = 1;

/// Capability: message signalled interrupts.
pub const CAP_MSI: u8 = 0x05;
/// Capability: what the vendor wants it to be.
pub const CAP_VENDOR: u8 = 0x09;
/// Capability: message signalled interrupts with a table.
pub const CAP_MSIX: u8 = 0x11;

bitflags::bitflags! {
    /// What the function may do.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Command: u16 {
        /// Its ports are decoded.
        const IO = 0x1;
        /// Its memory is decoded.
        const MEMORY = 0x2;
        /// It may begin transactions of its own: DMA, and messages with that.
        const MASTER = 0x4;
        /// It may report a system error.
        const SERR = 0x100;
        /// Its interrupt pin stays low.
        const INTX_DISABLE = 0x400;
    }

    /// What has happened.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Status: u16 {
        /// The function asks for an interrupt, whether its pin is disabled or not.
        const INTERRUPT = 0x8;
        /// There is a list of capabilities.
        const CAPABILITIES = 0x10;
        /// The function can run at 66 MHz.
        const MHZ66 = 0x20;
        /// It takes fast back-to-back transactions.
        const FAST_BACK = 0x80;
        /// It answers with medium speed.
        const DEVSEL_MEDIUM = 0x200;
        /// Errors; each is cleared by writing 1.
        const ERRORS = 0xf900;
    }

    /// What a bridge passes on.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct BridgeControl: u16 {
        /// Legacy VGA memory and ports are behind the bridge.
        const VGA = 0x8;
        /// The secondary bus is reset as long as this is set.
        const BUS_RESET = 0x40;
        /// The discard timer has run out; cleared by writing 1.
        const DISCARD_STATUS = 0x400;
        /// All that can be written: parity, SERR, ISA, VGA, VGA with 16 bits, master abort, reset, fast back-to-back, discard timers.
        const WRITABLE = 0xbff;
    }
}
