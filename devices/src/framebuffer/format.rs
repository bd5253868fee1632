//! How pixels lie in memory.

use serde::{Deserialize, Serialize};

/// The form of a pixel, in the order of its bytes in little-endian memory. The names are those of the Linux kernel.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Four bytes: blue, green, red, nothing.
    #[default]
    Xrgb8888,
    /// Three bytes: blue, green, red.
    Rgb888,
    /// Two bytes: five bits of red, six of green, five of blue, from the top.
    Rgb565,
}

impl Format {
    /// Bytes of a pixel.
    pub fn bytes(self) -> u32 {
        match self {
            Self::Xrgb8888 => 4,
            Self::Rgb888 => 3,
            Self::Rgb565 => 2,
        }
    }

    /// Red, green and blue of a pixel.
    pub(super) fn rgb(self, pixel: &[u8]) -> [u8; 3] {
        match (self, pixel) {
            (Self::Rgb565, [low, high, ..]) => {
                let bits = u16::from_le_bytes([*low, *high]);
                let scale = |value: u16, most: u16| u8::try_from(value * 255 / most).unwrap_or(u8::MAX);
                [scale(bits >> 11, 31), scale(bits >> 5 & 63, 63), scale(bits & 31, 31)]
            }
            (_, [blue, green, red, ..]) => [*red, *green, *blue],
            _ => [0; 3],
        }
    }
}
