//! An MF2 keyboard, as far as programs ask it: nobody types on it.

use super::queue::Queue;
use super::registers::{ACK, RESEND, TEST_PASSED};
use serde::{Deserialize, Serialize};

const SET_LEDS: u8 = 0xed;
const ECHO: u8 = 0xee;
const SCAN_CODE_SET: u8 = 0xf0;
const READ_ID: u8 = 0xf2;
const SET_RATE: u8 = 0xf3;
const ENABLE: u8 = 0xf4;
const DISABLE: u8 = 0xf5;
const SET_DEFAULTS: u8 = 0xf6;
/// From here to 0xfd: how keys behave in set 3.
const KEY_TYPES: u8 = 0xf7;
const LAST_KEY_TYPES: u8 = 0xfd;
const RESEND_LAST: u8 = 0xfe;
const RESET: u8 = 0xff;

/// The set of scan codes after a reset.
const DEFAULT_SET: u8 = 2;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Keyboard {
    pub(crate) queue: Queue,
    /// It would say which keys are pressed.
    scanning: bool,
    scan_code_set: u8,
    leds: u8,
    /// A command that waits for its argument.
    command: Option<u8>,
    /// What was said last.
    last: u8,
}

impl Default for Keyboard {
    fn default() -> Self {
        let queue = Queue::default();
        Self { queue, scanning: true, scan_code_set: DEFAULT_SET, leds: 0, command: None, last: 0 }
    }
}

impl Keyboard {
    /// The next byte that it says. The controller may translate it to set 1.
    pub(crate) fn pop(&mut self) -> Option<u8> {
        let byte = self.queue.pop()?;
        self.last = byte;
        Some(byte)
    }

    fn set_defaults(&mut self, scanning: bool) {
        (self.scanning, self.scan_code_set, self.leds) = (scanning, DEFAULT_SET, 0);
    }

    /// A byte from the controller, which translates what this one answers if `translated`.
    pub(crate) fn write(&mut self, byte: u8, translated: bool) {
        if let Some(command) = self.command.take().filter(|_| byte < SET_LEDS) {
            return self.argument(command, byte, translated);
        }
        match byte {
            SET_LEDS | SCAN_CODE_SET | SET_RATE => {
                self.command = Some(byte);
                self.queue.answer(&[ACK]);
            }
            ECHO => self.queue.answer(&[ECHO]),
            // the second byte of the identification is translated as if it were a key
            READ_ID => self.queue.answer(&[ACK, 0xab, if translated { 0x41 } else { 0x83 }]),
            ENABLE => {
                self.scanning = true;
                self.queue.answer(&[ACK]);
            }
            DISABLE | SET_DEFAULTS => {
                self.set_defaults(byte == SET_DEFAULTS);
                self.queue.answer(&[ACK]);
            }
            RESET => {
                self.set_defaults(true);
                self.queue.answer(&[ACK, TEST_PASSED]);
            }
            KEY_TYPES..=LAST_KEY_TYPES | 0x00 => self.queue.answer(&[ACK]),
            RESEND_LAST => self.queue.answer(&[self.last]),
            _ => self.queue.answer(&[RESEND]),
        }
    }

    fn argument(&mut self, command: u8, byte: u8, translated: bool) {
        match (command, byte) {
            (SET_LEDS, leds) => self.leds = leds & 0x07,
            (SCAN_CODE_SET, 0) => {
                let set = match self.scan_code_set {
                    1 if translated => 0x43,
                    2 if translated => 0x41,
                    3 if translated => 0x3f,
                    set => set,
                };
                return self.queue.answer(&[ACK, set]);
            }
            (SCAN_CODE_SET, set @ 1..=3) => self.scan_code_set = set,
            (SCAN_CODE_SET, _) => return self.queue.answer(&[RESEND]),
            _ => {}
        }
        self.queue.answer(&[ACK]);
    }
}
