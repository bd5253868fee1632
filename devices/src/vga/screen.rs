//! What the VGA shows: pictures of its modes.

use super::dispi::Mode;
use super::registers::*;
use crate::framebuffer::{Format, Frame, Geometry};
use memory_core::{RamBlock, Width};

/// Rows of a screen of text, which stays black.
const TEXT: (u32, u32) = (720, 400);
/// Attribute controller: mode, which planes count, the upper bits of colours.
const AR_MODE: u8 = 0x10;
const AR_PLANES: u8 = 0x12;
const AR_COLOR_SELECT: u8 = 0x14;

/// A mode of the display interface that is a linear frame buffer of colours.
pub(super) fn linear(mode: Mode) -> Option<Geometry> {
    let format = match mode.bits {
        16 => Format::Rgb565,
        24 => Format::Rgb888,
        32 => Format::Xrgb8888,
        _ => return None,
    };
    let Mode { width, height, stride, offset, .. } = mode;
    Some(Geometry { width: width.into(), height: height.into(), stride, offset, format })
}

/// What there is to draw from, as it was at one moment.
pub(super) struct Screen<'a> {
    pub(super) memory: &'a RamBlock,
    pub(super) registers: &'a Registers,
    /// Colours have eight bits a part.
    pub(super) wide_palette: bool,
}

impl Screen<'_> {
    /// Red, green and blue of a colour of the palette.
    fn color(&self, index: u8) -> [u8; 3] {
        let part = |part: usize| {
            let value = self.registers.palette.get(usize::from(index) * 3 + part);
            if self.wide_palette { value } else { value << 2 | value >> 4 & 3 }
        };
        [part(0), part(1), part(2)]
    }

    /// The colour of a value of four planes, by the attribute controller.
    fn attribute(&self, value: u8) -> [u8; 3] {
        let attributes = &self.registers.attributes;
        let color = attributes.get(value & attributes.get(AR_PLANES) & 0xf);
        let select = attributes.get(AR_COLOR_SELECT);
        let (low, high) = if attributes.get(AR_MODE) & 0x80 != 0 {
            (0x0f, (select & 0x0f) << 4)
        } else {
            (0x3f, (select & 0x0c) << 4)
        };
        self.color(color & low | high)
    }

    fn byte(&self, at: u64) -> u8 {
        u8::try_from(self.memory.load(at, Width::W1).unwrap_or_default()).unwrap_or_default()
    }

    /// The value of four planes at pixel `x` of a row.
    fn planes(&self, row: u64, x: u32) -> u8 {
        let (address, bit) = (row + u64::from(x / 8) * 4, 7 - x % 8);
        (0..4_u8).map(|plane| (self.byte(address + u64::from(plane)) >> bit & 1) << plane).sum()
    }

    /// Five bits for each part of a colour.
    fn rgb555(&self, at: u64) -> [u8; 3] {
        let value = u16::from_le_bytes([self.byte(at), self.byte(at + 1)]);
        let scale = |shift: u32| u8::try_from((value >> shift & 31) * 255 / 31).unwrap_or(u8::MAX);
        [scale(10), scale(5), scale(0)]
    }

    /// A mode of the display interface with few colours.
    pub(super) fn draw_mode(&self, mode: Mode) -> Frame {
        frame((mode.width.into(), mode.height.into()), |x, y| {
            let row = mode.offset + u64::from(y) * u64::from(mode.stride);
            match mode.bits {
                4 => self.attribute(self.planes(row, x)),
                15 => self.rgb555(row + 2 * u64::from(x)),
                _ => self.color(self.byte(row + u64::from(x))),
            }
        })
    }

    /// A mode of the VGA's own, by its registers.
    pub(super) fn draw(&self) -> Frame {
        let Registers { graphics, crt, .. } = self.registers;
        if graphics.get(GR_MISC) & GR_GRAPHICS == 0 {
            return frame(TEXT, |_, _| [0; 3]);
        }
        let overflow = u32::from(crt.get(7_u8));
        let height = u32::from(crt.get(0x12_u8)) | (overflow & 0x02) << 7 | (overflow & 0x40) << 3;
        let width = (u32::from(crt.get(1_u8)) + 1) * 8;
        let start = u64::from(crt.get(0xc_u8)) << 8 | u64::from(crt.get(0xd_u8));
        let pitch = u64::from(crt.get(0x13_u8)) * 8;
        let scan = crt.get(9_u8);
        let repeat = (u32::from(scan & 0x1f) + 1) << (scan >> 7);
        let bytes = graphics.get(GR_MODE) & GR_256_COLORS != 0;
        frame((width, height + 1), |x, y| {
            let row = 4 * start + u64::from(y / repeat) * pitch;
            // a byte is as wide as two of the planes' pixels
            if bytes {
                self.color(self.byte(row + u64::from(x / 2)))
            } else {
                self.attribute(self.planes(row, x))
            }
        })
    }
}

/// A picture of pixels by column and row.
fn frame((width, height): (u32, u32), pixel: impl Fn(u32, u32) -> [u8; 3]) -> Frame {
    let pixel = &pixel;
    let rgb = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect();
    Frame { width, height, rgb, redrawn: height }
}
