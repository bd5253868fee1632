//! Registers of the MC146818 (Motorola, "Real-Time Clock Plus RAM") as PCs have it, by index.

/// Bytes of ports: the index, and the register that it selects.
pub(crate) const PORTS: u64 = 2;
/// Offset of the index port. It is write only: reads give all ones.
pub(crate) const INDEX: u64 = 0;
/// Bits of the index port that select a register.
pub(crate) const INDEX_MASK: u8 = 0x7f;
/// Bit of the index port that masks non-maskable interrupts of the board.
pub(crate) const NMI_MASK: u8 = 0x80;
/// Registers and bytes of RAM together.
pub(crate) const SIZE: usize = 128;

pub(crate) const SECONDS: u8 = 0x00;
pub(crate) const SECONDS_ALARM: u8 = 0x01;
pub(crate) const MINUTES: u8 = 0x02;
pub(crate) const MINUTES_ALARM: u8 = 0x03;
pub(crate) const HOURS: u8 = 0x04;
pub(crate) const HOURS_ALARM: u8 = 0x05;
/// 1 is Sunday.
pub(crate) const DAY_OF_WEEK: u8 = 0x06;
pub(crate) const DAY_OF_MONTH: u8 = 0x07;
pub(crate) const MONTH: u8 = 0x08;
/// Year of the century.
pub(crate) const YEAR: u8 = 0x09;
/// Where PCs have the century.
pub(crate) const CENTURY: u8 = 0x32;
/// Where the PS/2 had it: the same register.
pub(crate) const PS2_CENTURY: u8 = 0x37;

/// The registers that move with the time.
pub(crate) const TIME: [u8; 8] = [SECONDS, MINUTES, HOURS, DAY_OF_WEEK, DAY_OF_MONTH, MONTH, YEAR, CENTURY];

pub(crate) const REG_A: u8 = 0x0a;
/// An update of the time is close, or under way; read only.
pub(crate) const A_UIP: u8 = 0x80;
/// Divider; a PC has a crystal of 32768 Hz, which is 0x20. 0x60 and 0x70 hold the divider in reset.
pub(crate) const A_DIVIDER: u8 = 0x70;
/// The highest divider with which the clock runs.
pub(crate) const DIVIDER_RUNS: u8 = 0x20;
/// Both bits: the divider is held in reset.
pub(crate) const DIVIDER_RESET: u8 = 0x60;
/// Rate of the periodic interrupt.
pub(crate) const A_RATE: u8 = 0x0f;

pub(crate) const REG_B: u8 = 0x0b;
/// The time stands still, to be set.
pub(crate) const B_SET: u8 = 0x80;
/// Periodic interrupt enable.
pub(crate) const B_PIE: u8 = 0x40;
/// Alarm interrupt enable.
pub(crate) const B_AIE: u8 = 0x20;
/// Update-ended interrupt enable.
pub(crate) const B_UIE: u8 = 0x10;
/// Square wave enable; a PC has nothing at that pin.
pub(crate) const B_SQWE: u8 = 0x08;
/// Data mode: binary instead of BCD.
pub(crate) const B_DM: u8 = 0x04;
/// Hours from 0 to 23 instead of 1 to 12 with [`PM`].
pub(crate) const B_24H: u8 = 0x02;

/// What happened; read only, and reading clears it.
pub(crate) const REG_C: u8 = 0x0c;
/// Something happened that is enabled: the interrupt line is active.
pub(crate) const C_IRQF: u8 = 0x80;
pub(crate) const C_PF: u8 = 0x40;
pub(crate) const C_AF: u8 = 0x20;
pub(crate) const C_UF: u8 = 0x10;
/// The causes, at the places where register B enables them.
pub(crate) const C_CAUSES: u8 = C_PF | C_AF | C_UF;

/// Read only.
pub(crate) const REG_D: u8 = 0x0d;
/// Valid RAM and time: the battery was not empty.
pub(crate) const D_VRT: u8 = 0x80;

/// Bit of the hours in 12-hour mode.
pub(crate) const PM: u8 = 0x80;
/// Both bits in an alarm register: any value matches.
pub(crate) const DONT_CARE: u8 = 0xc0;

/// Low byte of the memory below 640 KiB in KiB; the high byte follows.
pub(crate) const BASE_MEMORY: u8 = 0x15;
/// The same for the memory from 1 MiB on, and once more at [`EXTENDED_MEMORY_AGAIN`].
pub(crate) const EXTENDED_MEMORY: u8 = 0x17;
pub(crate) const EXTENDED_MEMORY_AGAIN: u8 = 0x30;
/// Low byte of the memory from 16 MiB to 4 GiB in units of 64 KiB; the high byte follows.
pub(crate) const MEMORY_ABOVE_16M: u8 = 0x34;
/// Lowest of three bytes of the memory from 4 GiB on in units of 64 KiB.
pub(crate) const MEMORY_ABOVE_4G: u8 = 0x5b;
/// CPUs less one.
pub(crate) const CPUS: u8 = 0x5f;
/// What the board has: a coprocessor, a PS/2 mouse.
pub(crate) const EQUIPMENT: u8 = 0x14;
pub(crate) const EQUIPMENT_FPU_AND_MOUSE: u8 = 0x06;
/// Bit 0: boot from a floppy disk without a signature; upper half: the third boot device.
pub(crate) const BOOT_THIRD: u8 = 0x38;
/// Halves: the first boot device, the second.
pub(crate) const BOOT_FIRST: u8 = 0x3d;
