//! Registers of the PCI transport (virtio 1.2, section 4.1), as offsets.

/// Legacy interface, in ports (section 4.1.4.10).
pub(super) const HOST_FEATURES: u64 = 0;
pub(super) const GUEST_FEATURES: u64 = 4;
pub(super) const QUEUE_PFN: u64 = 8;
pub(super) const QUEUE_NUM: u64 = 12;
pub(super) const QUEUE_SEL: u64 = 14;
pub(super) const QUEUE_NOTIFY: u64 = 16;
pub(super) const STATUS: u64 = 18;
pub(super) const ISR: u64 = 19;
/// With MSI-X enabled alone: what follows is the configuration of the device otherwise.
pub(super) const CONFIG_VECTOR: u64 = 20;
pub(super) const QUEUE_VECTOR: u64 = 22;

/// Bytes before the configuration of the device, without MSI-X and with it.
pub(super) const LEGACY_CONFIG: u64 = 20;
pub(super) const LEGACY_CONFIG_MSIX: u64 = 24;
/// Units of addresses of queues, and alignment of the parts of one.
pub(super) const LEGACY_PAGE: u64 = 4096;

/// Common configuration (section 4.1.4.3).
pub(super) const DEVICE_FEATURE_SELECT: u64 = 0x00;
pub(super) const DEVICE_FEATURE: u64 = 0x04;
pub(super) const DRIVER_FEATURE_SELECT: u64 = 0x08;
pub(super) const DRIVER_FEATURE: u64 = 0x0c;
pub(super) const CONFIG_MSIX_VECTOR: u64 = 0x10;
pub(super) const NUM_QUEUES: u64 = 0x12;
pub(super) const DEVICE_STATUS: u64 = 0x14;
pub(super) const CONFIG_GENERATION: u64 = 0x15;
pub(super) const QUEUE_SELECT: u64 = 0x16;
pub(super) const QUEUE_SIZE: u64 = 0x18;
pub(super) const QUEUE_MSIX_VECTOR: u64 = 0x1a;
pub(super) const QUEUE_ENABLE: u64 = 0x1c;
pub(super) const QUEUE_NOTIFY_OFF: u64 = 0x1e;
pub(super) const QUEUE_DESC: u64 = 0x20;
pub(super) const QUEUE_DRIVER: u64 = 0x28;
pub(super) const QUEUE_DEVICE: u64 = 0x30;
pub(super) const COMMON_END: u64 = 0x38;

/// No vector: no interrupt.
pub(super) const NO_VECTOR: u16 = 0xffff;

/// Structures of the modern interface in their base address register: where they begin, each with so many bytes.
pub(super) const COMMON: u64 = 0x0000;
pub(super) const ISR_STATUS: u64 = 0x1000;
pub(super) const DEVICE: u64 = 0x2000;
pub(super) const NOTIFY: u64 = 0x3000;
pub(super) const STRUCTURE: u64 = 0x1000;
pub(super) const MODERN_SIZE: u64 = 0x4000;
/// Bytes between the notification addresses of two queues.
pub(super) const NOTIFY_MULTIPLIER: u32 = 4;

/// Types of structures, for their capabilities (section 4.1.4).
pub(super) const CAP_COMMON: u8 = 1;
pub(super) const CAP_NOTIFY: u8 = 2;
pub(super) const CAP_ISR: u8 = 3;
pub(super) const CAP_DEVICE: u8 = 4;
pub(super) const CAP_CONFIG_ACCESS: u8 = 5;
/// Where the capability for accesses through configuration space is, and its parts.
pub(super) const CONFIG_ACCESS: usize = 0x84;
pub(super) const CONFIG_ACCESS_OFFSET: usize = CONFIG_ACCESS + 8;
pub(super) const CONFIG_ACCESS_LENGTH: usize = CONFIG_ACCESS + 12;
pub(super) const CONFIG_ACCESS_DATA: usize = CONFIG_ACCESS + 16;
