//! Registers of the Goldfish RTC ("Goldfish virtual hardware", Android), 32 bits each. Times are nanoseconds since 1970.

/// Size of the block in bytes.
pub(crate) const SIZE: u64 = 0x1000;

/// Low half of the time. Reading it latches the high half; writing it sets it.
pub(crate) const TIME_LOW: u64 = 0x00;
/// High half of the time, as latched. Writing it sets that of the running time.
pub(crate) const TIME_HIGH: u64 = 0x04;
/// Low half of the alarm. Writing it arms the alarm with the high half that was written before.
pub(crate) const ALARM_LOW: u64 = 0x08;
/// High half of the alarm.
pub(crate) const ALARM_HIGH: u64 = 0x0c;
/// Bit 0: an alarm that went off raises the interrupt.
pub(crate) const IRQ_ENABLED: u64 = 0x10;
/// Any write disarms the alarm.
pub(crate) const CLEAR_ALARM: u64 = 0x14;
/// 1 while the alarm is armed; read only.
pub(crate) const ALARM_STATUS: u64 = 0x18;
/// Any write forgets that the alarm went off, and lowers the interrupt.
pub(crate) const CLEAR_INTERRUPT: u64 = 0x1c;
