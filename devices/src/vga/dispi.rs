//! The display interface of Bochs, by which software sets modes that the VGA has not (Bochs' `vbe_dispi` interface, version 5).

use serde::{Deserialize, Serialize};

/// Registers by index.
const ID: u16 = 0;
const XRES: u16 = 1;
const YRES: u16 = 2;
const BPP: u16 = 3;
const ENABLE: u16 = 4;
const BANK: u16 = 5;
const VIRT_WIDTH: u16 = 6;
const VIRT_HEIGHT: u16 = 7;
const X_OFFSET: u16 = 8;
const Y_OFFSET: u16 = 9;
const VIDEO_MEMORY_64K: u16 = 10;

/// ENABLE: a mode of this interface is set.
const ENABLED: u16 = 0x01;
/// ENABLE: sizes read as the largest ones.
const GETCAPS: u16 = 0x02;
/// ENABLE: colours of the palette have eight bits a part.
const DAC_8BIT: u16 = 0x20;
/// ENABLE: memory stays as it is.
const NOCLEARMEM: u16 = 0x80;

/// Version 5 of the interface; it can be made to say that it is an older one.
const ID_LATEST: u16 = 0xb0c5;
const ID_FIRST: u16 = 0xb0c0;
const MAX_XRES: u16 = 16000;
const MAX_YRES: u16 = 12000;
const MAX_BPP: u16 = 32;
/// Bytes of a bank.
pub(super) const BANK_SIZE: u64 = 0x1_0000;

/// What a mode looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mode {
    pub(super) width: u16,
    pub(super) height: u16,
    /// 4, 8, 15, 16, 24 or 32.
    pub(super) bits: u16,
    /// Bytes from a row to the next one.
    pub(super) stride: u32,
    /// Of the first pixel in video memory.
    pub(super) offset: u64,
}

/// The registers.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Dispi {
    index: u16,
    id: u16,
    x_res: u16,
    y_res: u16,
    bits: u16,
    enable: u16,
    bank: u16,
    virtual_width: u16,
    x_offset: u16,
    y_offset: u16,
}

impl Default for Dispi {
    fn default() -> Self {
        let (index, x_res, y_res, enable, bank, virtual_width) = Default::default();
        let (x_offset, y_offset) = Default::default();
        Self { index, id: ID_LATEST, x_res, y_res, bits: 0, enable, bank, virtual_width, x_offset, y_offset }
    }
}

impl Dispi {
    pub(super) fn index(&self) -> u16 {
        self.index
    }

    pub(super) fn select(&mut self, index: u16) {
        self.index = index;
    }

    /// Whether a mode of this interface is set.
    pub(super) fn is_enabled(&self) -> bool {
        self.enable & ENABLED != 0
    }

    /// Whether colours have eight bits a part.
    pub(super) fn has_8bit_palette(&self) -> bool {
        self.enable & DAC_8BIT != 0
    }

    /// Where the bank begins that shows in the VGA's window.
    pub(super) fn bank_offset(&self) -> u64 {
        u64::from(self.bank) * BANK_SIZE
    }

    /// Reads a register; `memory` is the bytes of video memory.
    pub(super) fn read(&self, index: u16, memory: u64) -> u16 {
        let most = self.enable & GETCAPS != 0;
        match index {
            ID => self.id,
            XRES if most => MAX_XRES,
            XRES => self.x_res,
            YRES if most => MAX_YRES,
            YRES => self.y_res,
            BPP if most => MAX_BPP,
            BPP => self.bits,
            ENABLE => self.enable,
            BANK => self.bank,
            VIRT_WIDTH => self.virtual_width,
            VIRT_HEIGHT => self.virtual_height(memory),
            X_OFFSET => self.x_offset,
            Y_OFFSET => self.y_offset,
            VIDEO_MEMORY_64K => u16::try_from(memory / BANK_SIZE).unwrap_or(u16::MAX),
            _ => 0,
        }
    }

    /// Writes a register, and says whether video memory is to be cleared.
    pub(super) fn write(&mut self, index: u16, value: u16, memory: u64) -> bool {
        match index {
            ID if (ID_FIRST..=ID_LATEST).contains(&value) => self.id = value,
            XRES => self.x_res = value,
            YRES => self.y_res = value,
            BPP => self.bits = value,
            BANK => {
                let banks = u16::try_from(memory / BANK_SIZE).unwrap_or(u16::MAX);
                // sixteen colours lie in four planes, whose banks are a quarter as many
                let banks = if self.bits == 4 { banks / 4 } else { banks };
                self.bank = value % banks.max(1);
            }
            VIRT_WIDTH => self.virtual_width = value,
            X_OFFSET => self.x_offset = value,
            Y_OFFSET => self.y_offset = value,
            ENABLE => return self.write_enable(value, memory),
            _ => {}
        }
        self.fix(memory);
        false
    }

    fn write_enable(&mut self, value: u16, memory: u64) -> bool {
        let begins = value & ENABLED != 0 && !self.is_enabled();
        self.enable = value;
        if begins {
            (self.bank, self.virtual_width, self.x_offset, self.y_offset) = (0, 0, 0, 0);
            self.fix(memory);
        } else if value & ENABLED == 0 {
            self.bank = 0;
        }
        begins && value & NOCLEARMEM == 0
    }

    /// Bytes of a row of so many pixels.
    fn row(&self, pixels: u16) -> u32 {
        match self.bits {
            4 => u32::from(pixels) / 2,
            bits => u32::from(pixels) * u32::from(bits).div_ceil(8),
        }
    }

    fn virtual_height(&self, memory: u64) -> u16 {
        let row = u64::from(self.row(self.virtual_width)).max(1);
        u16::try_from(memory / row).unwrap_or(u16::MAX)
    }

    /// While a mode is set its registers are those of a mode that there is, and that video memory has room for.
    fn fix(&mut self, memory: u64) {
        if !self.is_enabled() {
            return;
        }
        if !matches!(self.bits, 4 | 8 | 15 | 16 | 24 | 32) {
            self.bits = 8;
        }
        self.x_res = (self.x_res & !7).clamp(8, MAX_XRES);
        self.virtual_width = (self.virtual_width & !7).clamp(self.x_res, MAX_XRES);
        if u64::from(self.row(self.virtual_width)) > memory {
            (self.x_res, self.virtual_width) = (8, 8);
        }
        let rows = self.virtual_height(memory);
        self.y_res = self.y_res.clamp(1, MAX_YRES).min(rows.max(1));
        self.x_offset = self.x_offset.min(self.virtual_width - self.x_res);
        self.y_offset = self.y_offset.min(rows.saturating_sub(self.y_res));
    }

    /// The mode, if one is set.
    pub(super) fn mode(&self) -> Option<Mode> {
        if !self.is_enabled() {
            return None;
        }
        let (stride, left) = (self.row(self.virtual_width), self.row(self.x_offset));
        let offset = u64::from(stride) * u64::from(self.y_offset) + u64::from(left);
        Some(Mode { width: self.x_res, height: self.y_res, bits: self.bits, stride, offset })
    }
}
