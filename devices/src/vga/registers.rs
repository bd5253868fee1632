//! The registers of the VGA (IBM's "PS/2 Hardware Interface Technical Reference, Video Subsystem") by index and port.

use serde::{Deserialize, Serialize};

/// Sequencer: which planes are written.
pub(super) const SR_PLANE_WRITE: u8 = 2;
/// Sequencer: how addresses select planes.
pub(super) const SR_MEMORY_MODE: u8 = 4;
/// SR_MEMORY_MODE: addresses do not select odd and even planes.
pub(super) const SR_SEQUENTIAL: u8 = 1 << 2;
/// SR_MEMORY_MODE: the low two bits of an address select one of four planes.
pub(super) const SR_CHAIN_4: u8 = 1 << 3;

/// Graphics controller, by index.
pub(super) const GR_SET_RESET: u8 = 0;
pub(super) const GR_ENABLE_SET_RESET: u8 = 1;
pub(super) const GR_COLOR_COMPARE: u8 = 2;
pub(super) const GR_DATA_ROTATE: u8 = 3;
pub(super) const GR_READ_MAP: u8 = 4;
pub(super) const GR_MODE: u8 = 5;
pub(super) const GR_MISC: u8 = 6;
pub(super) const GR_COLOR_DONT_CARE: u8 = 7;
pub(super) const GR_BIT_MASK: u8 = 8;
/// GR_MISC: pictures rather than text.
pub(super) const GR_GRAPHICS: u8 = 1 << 0;
/// GR_MODE: a byte is a pixel.
pub(super) const GR_256_COLORS: u8 = 1 << 6;

/// Bits of sequencer registers that there are.
const SR_MASKS: [u8; 8] = [0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0x00, 0x00, 0xff];
/// Bits of graphics registers that there are.
const GR_MASKS: [u8; 16] = [0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff, 0, 0, 0, 0, 0, 0, 0];
/// Miscellaneous output: the ports of the display are 0x3d4 to 0x3da rather than 0x3b4 to 0x3ba.
const MISC_COLOR: u8 = 1 << 0;
/// Input status 1: the display shows no pixel, and returns to its top.
const STATUS_RETRACE: u8 = 0x09;
/// CRT controller: registers 0 to 7 keep their values, but for a bit of register 7.
const CR_LOCK: (u8, u8) = (0x11, 0x80);
const CR_OVERFLOW: u8 = 7;
const CR_OVERFLOW_UNLOCKED: u8 = 0x10;

/// Bytes by index; what is beyond the end reads as 0 and is not kept. Saved without the zeros at the end.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(transparent)]
pub(super) struct Bank(Vec<u8>);

impl Bank {
    /// The register `index`.
    pub(super) fn get(&self, index: impl Into<usize>) -> u8 {
        self.0.get(index.into()).copied().unwrap_or_default()
    }

    /// Sets the register `index`, if that is below 768.
    pub(super) fn set(&mut self, index: impl Into<usize>, value: u8) {
        let index = index.into();
        if index >= 768 {
            return;
        }
        if index >= self.0.len() {
            self.0.resize(index + 1, 0);
        }
        if let Some(register) = self.0.get_mut(index) {
            *register = value;
        }
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }
}

/// The registers that ports 0x3b4 to 0x3da reach.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Registers {
    misc: u8,
    feature: u8,
    status: u8,
    pub(super) sequencer: Bank,
    sequencer_index: u8,
    pub(super) graphics: Bank,
    graphics_index: u8,
    pub(super) crt: Bank,
    crt_index: u8,
    pub(super) attributes: Bank,
    attribute_index: u8,
    /// The next write to the attribute controller is data.
    attribute_data: bool,
    /// Red, green and blue of 256 colours, six bits each, or eight.
    pub(super) palette: Bank,
    palette_mask: u8,
    palette_reading: bool,
    read_color: u8,
    write_color: u8,
    /// Which of a colour's three parts is next.
    part: u8,
    /// The parts that have come.
    parts: [u8; 2],
}

impl Registers {
    /// Whether the port is one of the display that is not there now.
    fn is_elsewhere(&self, port: u16) -> bool {
        let color = self.misc & MISC_COLOR != 0;
        matches!(port, 0x3b0..=0x3bf) && color || matches!(port, 0x3d0..=0x3df) && !color
    }

    /// Reads a port.
    pub(super) fn read(&mut self, port: u16) -> u8 {
        if self.is_elsewhere(port) {
            return 0xff;
        }
        match port {
            0x3c0 if self.attribute_data => 0,
            0x3c0 => self.attribute_index,
            0x3c1 => self.attributes.get(self.attribute_index & 0x1f),
            0x3c2 => 0,
            0x3c4 => self.sequencer_index,
            0x3c5 => self.sequencer.get(self.sequencer_index),
            0x3c6 => self.palette_mask,
            0x3c7 => {
                if self.palette_reading {
                    3
                } else {
                    0
                }
            }
            0x3c8 => self.write_color,
            0x3c9 => self.read_palette(),
            0x3ca => self.feature,
            0x3cc => self.misc,
            0x3ce => self.graphics_index,
            0x3cf => self.graphics.get(self.graphics_index),
            0x3b4 | 0x3d4 => self.crt_index,
            0x3b5 | 0x3d5 => self.crt.get(self.crt_index),
            0x3ba | 0x3da => {
                self.attribute_data = false;
                // software that waits for a change sees one
                self.status ^= STATUS_RETRACE;
                self.status
            }
            _ => 0xff,
        }
    }

    fn read_palette(&mut self) -> u8 {
        let value = self.palette.get(usize::from(self.read_color) * 3 + usize::from(self.part));
        self.part += 1;
        if self.part >= 3 {
            (self.part, self.read_color) = (0, self.read_color.wrapping_add(1));
        }
        value
    }

    /// Writes to a port.
    pub(super) fn write(&mut self, port: u16, value: u8) {
        if self.is_elsewhere(port) {
            return;
        }
        match port {
            0x3c0 => self.write_attribute(value),
            0x3c2 => self.misc = value & !0x10,
            0x3c4 => self.sequencer_index = value & 7,
            0x3c5 => {
                let mask = SR_MASKS.get(usize::from(self.sequencer_index)).copied().unwrap_or_default();
                self.sequencer.set(self.sequencer_index, value & mask);
            }
            0x3c6 => self.palette_mask = value,
            0x3c7 => (self.read_color, self.part, self.palette_reading) = (value, 0, true),
            0x3c8 => (self.write_color, self.part, self.palette_reading) = (value, 0, false),
            0x3c9 => self.write_palette(value),
            0x3ce => self.graphics_index = value & 0x0f,
            0x3cf => {
                let mask = GR_MASKS.get(usize::from(self.graphics_index)).copied().unwrap_or_default();
                self.graphics.set(self.graphics_index, value & mask);
            }
            0x3b4 | 0x3d4 => self.crt_index = value,
            0x3b5 | 0x3d5 => self.write_crt(value),
            0x3ba | 0x3da => self.feature = value & 0x10,
            _ => {}
        }
    }

    fn write_attribute(&mut self, value: u8) {
        let data = self.attribute_data;
        self.attribute_data = !data;
        if !data {
            self.attribute_index = value & 0x3f;
            return;
        }
        let index = self.attribute_index & 0x1f;
        let mask = match index {
            0x00..=0x0f | 0x12 => 0x3f,
            0x10 => 0xef,
            0x11 => 0xff,
            0x13 | 0x14 => 0x0f,
            _ => return,
        };
        self.attributes.set(index, value & mask);
    }

    fn write_palette(&mut self, value: u8) {
        let [red, green] = &mut self.parts;
        match self.part {
            0 => *red = value,
            1 => *green = value,
            _ => {
                let first = usize::from(self.write_color) * 3;
                let (red, green) = (*red, *green);
                self.palette.set(first, red);
                self.palette.set(first + 1, green);
                self.palette.set(first + 2, value);
                (self.part, self.write_color) = (0, self.write_color.wrapping_add(1));
                return;
            }
        }
        self.part += 1;
    }

    fn write_crt(&mut self, value: u8) {
        let (lock, locked) = CR_LOCK;
        if self.crt.get(lock) & locked == 0 || self.crt_index > CR_OVERFLOW {
            self.crt.set(self.crt_index, value);
        } else if self.crt_index == CR_OVERFLOW {
            let kept = self.crt.get(CR_OVERFLOW) & !CR_OVERFLOW_UNLOCKED;
            self.crt.set(CR_OVERFLOW, kept | value & CR_OVERFLOW_UNLOCKED);
        }
    }

    /// Has the memory map show pictures in 64 KiB at 0xa0000, as the display interface does with each of its modes.
    pub(super) fn show_graphics(&mut self) {
        let misc = self.graphics.get(GR_MISC) & !0x0c | 0x04 | GR_GRAPHICS;
        self.graphics.set(GR_MISC, misc);
    }
}
