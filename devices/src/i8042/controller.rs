//! What the 8042 remembers, and what it does at a command.

use super::keyboard::Keyboard;
use super::mouse::Mouse;
use super::registers::*;
use serde::{Deserialize, Serialize};

/// Whose a byte is that waits at port 0x60.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Waiting {
    /// None waits: the last one is read again.
    #[default]
    Nothing,
    Keyboard,
    Mouse,
}

/// The controller, the keyboard and the mouse.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Controller {
    /// The command byte.
    mode: u8,
    /// The self test was passed.
    system: bool,
    /// The output port without what is computed.
    output_port: u8,
    /// A command that waits for its argument at port 0x60.
    command: Option<u8>,
    data: u8,
    waiting: Waiting,
    keyboard: Keyboard,
    mouse: Mouse,
}

impl Default for Controller {
    fn default() -> Self {
        Self {
            mode: MODE_KBD_INT | MODE_AUX_INT,
            system: false,
            output_port: OUT_RESET | OUT_A20 | OUT_ONES,
            command: None,
            data: 0,
            waiting: Waiting::Nothing,
            keyboard: Keyboard::default(),
            mouse: Mouse::default(),
        }
    }
}

impl Controller {
    /// Port 0x64.
    pub(crate) fn status(&self) -> u8 {
        let waiting = match self.waiting {
            Waiting::Nothing => 0,
            Waiting::Keyboard => STATUS_OBF,
            Waiting::Mouse => STATUS_OBF | STATUS_AUX_OBF,
        };
        STATUS_COMMAND | STATUS_UNLOCKED | if self.system { STATUS_SYSTEM } else { 0 } | waiting
    }

    /// Port 0x60. Reading takes the byte that waits; [`Controller::fetch`] brings the next, once the interrupt lines are low.
    pub(crate) fn read_data(&mut self) -> u8 {
        self.waiting = Waiting::Nothing;
        self.data
    }

    /// Whether the byte that waits interrupts: line 1, line 12.
    pub(crate) fn interrupts(&self) -> (bool, bool) {
        let enabled = |waiting, bit| self.waiting == waiting && self.mode & bit != 0;
        (enabled(Waiting::Keyboard, MODE_KBD_INT), enabled(Waiting::Mouse, MODE_AUX_INT))
    }

    /// Address line 20 is let through.
    pub(crate) fn a20(&self) -> bool {
        self.output_port & OUT_A20 != 0
    }

    pub(crate) fn mode(&self) -> u8 {
        self.mode
    }

    fn translates(&self) -> bool {
        self.mode & MODE_TRANSLATE != 0
    }

    /// Shows a byte at port 0x60, instead of one that nobody has read.
    fn show(&mut self, data: u8, waiting: Waiting) {
        (self.data, self.waiting) = (data, waiting);
    }

    /// Takes the next byte of the mouse or the keyboard, if there is room and their clocks run.
    pub(crate) fn fetch(&mut self) {
        if self.waiting != Waiting::Nothing {
            return;
        }
        if self.mode & MODE_DISABLE_AUX == 0
            && let Some(byte) = self.mouse.queue.pop()
        {
            self.show(byte, Waiting::Mouse);
        } else if self.mode & MODE_DISABLE_KBD == 0
            && let Some(byte) = self.keyboard.pop()
        {
            self.show(byte, Waiting::Keyboard);
        }
    }

    /// A write to port 0x64; true if it resets the machine.
    pub(crate) fn write_command(&mut self, command: u8) -> bool {
        let mut resets = false;
        match command {
            READ_MODE => self.show(self.mode, Waiting::Keyboard),
            WRITE_MODE | WRITE_KBD_OBF | WRITE_AUX_OBF | WRITE_AUX | WRITE_OUTPUT_PORT => {
                self.command = Some(command);
            }
            DISABLE_AUX => self.mode |= MODE_DISABLE_AUX,
            ENABLE_AUX => self.mode &= !MODE_DISABLE_AUX,
            DISABLE_KBD => self.mode |= MODE_DISABLE_KBD,
            ENABLE_KBD => self.mode &= !MODE_DISABLE_KBD,
            SELF_TEST => {
                self.system = true;
                self.show(SELF_TEST_PASSED, Waiting::Keyboard);
            }
            TEST_AUX | TEST_KBD => self.show(LINE_TEST_PASSED, Waiting::Keyboard),
            READ_INPUT_PORT => self.show(INPUT_PORT, Waiting::Keyboard),
            READ_OUTPUT_PORT => self.show(self.output_port(), Waiting::Keyboard),
            DISABLE_A20 => self.output_port &= !OUT_A20,
            ENABLE_A20 => self.output_port |= OUT_A20,
            PULSE.. => resets = command & OUT_RESET == 0,
            // a mode bit that a few BIOSes have, and others: nothing happens
            _ => {}
        }
        self.fetch();
        resets
    }

    fn output_port(&self) -> u8 {
        self.output_port
            | match self.waiting {
                Waiting::Nothing => 0,
                Waiting::Keyboard => OUT_KBD_OBF,
                Waiting::Mouse => OUT_AUX_OBF,
            }
    }

    /// A write to port 0x60; true if it resets the machine.
    pub(crate) fn write_data(&mut self, data: u8) -> bool {
        let mut resets = false;
        match self.command.take() {
            Some(WRITE_MODE) => {
                self.mode = data;
                self.system = data & MODE_SYSTEM != 0;
            }
            Some(WRITE_KBD_OBF) => self.show(data, Waiting::Keyboard),
            Some(WRITE_AUX_OBF) => self.show(data, Waiting::Mouse),
            Some(WRITE_OUTPUT_PORT) => {
                self.output_port = data & !(OUT_KBD_OBF | OUT_AUX_OBF);
                resets = data & OUT_RESET == 0;
            }
            // to write to a device starts its clock
            Some(WRITE_AUX) => {
                self.mode &= !MODE_DISABLE_AUX;
                self.mouse.write(data);
            }
            _ => {
                self.mode &= !MODE_DISABLE_KBD;
                let translated = self.translates();
                self.keyboard.write(data, translated);
            }
        }
        self.fetch();
        resets
    }
}
