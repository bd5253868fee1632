//! A PS/2 mouse, as far as programs ask it: nobody moves it.

use super::queue::Queue;
use super::registers::{ACK, RESEND, TEST_PASSED};
use serde::{Deserialize, Serialize};

const SCALING_1: u8 = 0xe6;
const SCALING_2: u8 = 0xe7;
const SET_RESOLUTION: u8 = 0xe8;
const READ_STATUS: u8 = 0xe9;
const STREAM_MODE: u8 = 0xea;
const READ_DATA: u8 = 0xeb;
const END_WRAP: u8 = 0xec;
const WRAP: u8 = 0xee;
const REMOTE_MODE: u8 = 0xf0;
const READ_ID: u8 = 0xf2;
const SET_RATE: u8 = 0xf3;
const ENABLE: u8 = 0xf4;
const DISABLE: u8 = 0xf5;
const SET_DEFAULTS: u8 = 0xf6;
const RESET: u8 = 0xff;

const STATUS_REMOTE: u8 = 0x40;
const STATUS_ENABLED: u8 = 0x20;
const STATUS_SCALING_2: u8 = 0x10;

/// Identifications: a plain mouse, one with a wheel, one with five buttons.
const PLAIN: u8 = 0;
const WHEEL: u8 = 3;
const FIVE_BUTTONS: u8 = 4;
/// Rates that, set one after the other, ask for a wheel; once it has one, for five buttons.
const ASK_WHEEL: [u8; 3] = [200, 100, 80];
const ASK_BUTTONS: [u8; 3] = [200, 200, 80];

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Mouse {
    pub(crate) queue: Queue,
    status: u8,
    resolution: u8,
    rate: u8,
    identification: u8,
    /// All but two commands come back as they are.
    wrapping: bool,
    /// A command that waits for its argument.
    command: Option<u8>,
    /// The last rates, the oldest first.
    rates: [u8; 3],
}

impl Default for Mouse {
    fn default() -> Self {
        let (queue, command, rates) = Default::default();
        Self {
            queue,
            status: 0,
            resolution: 2,
            rate: 100,
            identification: PLAIN,
            wrapping: false,
            command,
            rates,
        }
    }
}

impl Mouse {
    fn set_defaults(&mut self) {
        (self.status, self.resolution, self.rate) = (0, 2, 100);
        (self.identification, self.wrapping) = (PLAIN, false);
    }

    /// Nothing has moved.
    fn packet(&self) -> &'static [u8] {
        if self.identification == PLAIN { &[ACK, 0x08, 0, 0] } else { &[ACK, 0x08, 0, 0, 0] }
    }

    /// A byte from the controller.
    pub(crate) fn write(&mut self, byte: u8) {
        if self.wrapping && byte != END_WRAP && byte != RESET {
            return self.queue.answer(&[byte]);
        }
        if let Some(command) = self.command.take() {
            match command {
                SET_RATE => self.set_rate(byte),
                _ => self.resolution = byte,
            }
            return self.queue.answer(&[ACK]);
        }
        match byte {
            SCALING_1 => self.status &= !STATUS_SCALING_2,
            SCALING_2 => self.status |= STATUS_SCALING_2,
            STREAM_MODE => self.status &= !STATUS_REMOTE,
            REMOTE_MODE => self.status |= STATUS_REMOTE,
            END_WRAP => self.wrapping = false,
            WRAP => self.wrapping = true,
            ENABLE => self.status |= STATUS_ENABLED,
            DISABLE => self.status &= !STATUS_ENABLED,
            SET_RESOLUTION | SET_RATE => self.command = Some(byte),
            SET_DEFAULTS => self.set_defaults(),
            READ_STATUS => return self.queue.answer(&[ACK, self.status, self.resolution, self.rate]),
            READ_DATA => return self.queue.answer(self.packet()),
            READ_ID => return self.queue.answer(&[ACK, self.identification]),
            RESET => {
                self.set_defaults();
                return self.queue.answer(&[ACK, TEST_PASSED, PLAIN]);
            }
            _ => return self.queue.answer(&[RESEND]),
        }
        self.queue.answer(&[ACK]);
    }

    fn set_rate(&mut self, rate: u8) {
        self.rate = rate;
        self.rates.rotate_left(1);
        if let Some(last) = self.rates.last_mut() {
            *last = rate;
        }
        match self.rates {
            ASK_WHEEL => self.identification = WHEEL,
            ASK_BUTTONS => self.identification = FIVE_BUTTONS,
            _ => {}
        }
    }
}
