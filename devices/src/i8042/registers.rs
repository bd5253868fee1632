//! Registers and commands of the 8042 as IBM programmed it ("PS/2 Hardware Interface Technical Reference"), and of the
//! keyboard and the mouse behind it.

/// Status at port 0x64: a byte waits at port 0x60.
pub(crate) const STATUS_OBF: u8 = 0x01;
/// Set by the self test, through the command byte.
pub(crate) const STATUS_SYSTEM: u8 = 0x04;
/// The last write was a command. It is always set, as on QEMU: nobody looks.
pub(crate) const STATUS_COMMAND: u8 = 0x08;
/// The keyboard's lock is open.
pub(crate) const STATUS_UNLOCKED: u8 = 0x10;
/// The byte that waits is the mouse's.
pub(crate) const STATUS_AUX_OBF: u8 = 0x20;

/// Command byte: interrupt when a byte of the keyboard waits; of the mouse.
pub(crate) const MODE_KBD_INT: u8 = 0x01;
pub(crate) const MODE_AUX_INT: u8 = 0x02;
/// What [`STATUS_SYSTEM`] is.
pub(crate) const MODE_SYSTEM: u8 = 0x04;
/// The clock of the keyboard is held: nothing comes from it.
pub(crate) const MODE_DISABLE_KBD: u8 = 0x10;
pub(crate) const MODE_DISABLE_AUX: u8 = 0x20;
/// Scan codes are translated to set 1.
pub(crate) const MODE_TRANSLATE: u8 = 0x40;

/// Output port: 0 resets the processor.
pub(crate) const OUT_RESET: u8 = 0x01;
pub(crate) const OUT_A20: u8 = 0x02;
pub(crate) const OUT_KBD_OBF: u8 = 0x10;
pub(crate) const OUT_AUX_OBF: u8 = 0x20;
/// Lines of the output port that nothing is connected to.
pub(crate) const OUT_ONES: u8 = 0xcc;

/// Commands at port 0x64.
pub(crate) const READ_MODE: u8 = 0x20;
pub(crate) const WRITE_MODE: u8 = 0x60;
pub(crate) const DISABLE_AUX: u8 = 0xa7;
pub(crate) const ENABLE_AUX: u8 = 0xa8;
pub(crate) const TEST_AUX: u8 = 0xa9;
pub(crate) const SELF_TEST: u8 = 0xaa;
pub(crate) const TEST_KBD: u8 = 0xab;
pub(crate) const DISABLE_KBD: u8 = 0xad;
pub(crate) const ENABLE_KBD: u8 = 0xae;
pub(crate) const READ_INPUT_PORT: u8 = 0xc0;
pub(crate) const READ_OUTPUT_PORT: u8 = 0xd0;
pub(crate) const WRITE_OUTPUT_PORT: u8 = 0xd1;
pub(crate) const WRITE_KBD_OBF: u8 = 0xd2;
pub(crate) const WRITE_AUX_OBF: u8 = 0xd3;
pub(crate) const WRITE_AUX: u8 = 0xd4;
pub(crate) const DISABLE_A20: u8 = 0xdd;
pub(crate) const ENABLE_A20: u8 = 0xdf;
/// This and those above pulse the lines of the output port that are 0 in the low four bits.
pub(crate) const PULSE: u8 = 0xf0;

/// What the self tests say if all is well.
pub(crate) const SELF_TEST_PASSED: u8 = 0x55;
pub(crate) const LINE_TEST_PASSED: u8 = 0x00;
/// The input port: the keyboard is not locked.
pub(crate) const INPUT_PORT: u8 = 0x80;

/// What a keyboard or a mouse answers.
pub(crate) const ACK: u8 = 0xfa;
pub(crate) const RESEND: u8 = 0xfe;
pub(crate) const TEST_PASSED: u8 = 0xaa;
