//! A display of a linear frame buffer: it has no registers, and shows what lies in another device's video memory.

mod format;
mod surface;
#[cfg(test)]
mod tests;

pub use format::Format;
pub(crate) use surface::Draw;
pub use surface::{Frame, Geometry, Surface};

use crate::sync::{Arc, OnceLock};
use crate::{Device, DeviceError, DeviceInfo, Inspector, Property, Realize, ResetType};
use memory_core::{DirtyClients, RegionRef};
use serde::{Deserialize, Serialize};

/// A screen in front of video memory. It draws what has changed, by the memory's dirty log.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Framebuffer {
    /// The region with the pixels: `DEVICE.REGION`, or one that the machine declares.
    vram: String,
    #[serde(default = "default_width")]
    width: u32,
    #[serde(default = "default_height")]
    height: u32,
    /// Bytes from a row to the next one; those of a row without this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stride: Option<u32>,
    /// Of the first row in the region.
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    format: Format,

    #[serde(skip)]
    surface: OnceLock<Arc<Surface>>,
    #[serde(skip)]
    logged: OnceLock<Logged>,
}

fn default_width() -> u32 {
    640
}

fn default_height() -> u32 {
    480
}

/// Most pixels in a row, and most rows.
const MOST: u32 = 16384;

/// Video memory whose writes are noted for the display, as long as there is one.
#[derive(Debug)]
struct Logged(RegionRef);

impl Drop for Logged {
    fn drop(&mut self) {
        // video memory that is gone has no log
        let _gone = self.0.set_log(DirtyClients::DISPLAY, false);
    }
}

impl Framebuffer {
    fn geometry(&self) -> Result<Geometry, DeviceError> {
        let refuse = |property, reason: String| DeviceError::Property { property, reason };
        for (property, value) in [("width", self.width), ("height", self.height)] {
            if !(1..=MOST).contains(&value) {
                return Err(refuse(property, format!("{value} is not between 1 and {MOST}")));
            }
        }
        let row = self.width * self.format.bytes();
        let stride = self.stride.unwrap_or(row);
        if stride < row {
            return Err(refuse("stride", format!("{stride} bytes are less than a row's {row}")));
        }
        let Self { width, height, offset, format, .. } = *self;
        Ok(Geometry { width, height, stride, offset, format })
    }
}

#[typetag::serde(name = "framebuffer")]
impl Device for Framebuffer {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let geometry = self.geometry()?;
        let vram = ctx.region("vram", &self.vram)?;
        let block = ctx.memory().read(|tree| tree.get(vram.id())?.kind().block().cloned())?;
        let refuse = |reason: String| DeviceError::Property { property: "vram", reason };
        let block = block.ok_or_else(|| refuse(format!("`{}` has no memory", self.vram)))?;
        let end = u128::from(geometry.offset) + u128::from(geometry.stride) * u128::from(geometry.height);
        if end > block.size().bytes() {
            return Err(refuse(format!(
                "the picture ends at {end:#x}, `{}` at {:#x}",
                self.vram,
                block.size().bytes()
            )));
        }
        vram.set_log(DirtyClients::DISPLAY, true)?;
        let _ = self.logged.set(Logged(vram.clone()));
        let surface = Surface::new(geometry, vram, block, ctx.dma_space());
        let _ = self.surface.set(Arc::new(surface));
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {}

    fn inspect(&self, out: &mut Inspector) {
        let drawn = self.surface.get().map_or(0, |surface| surface.rows_drawn());
        out.field("size", format!("{} x {}", self.width, self.height)).field("rows drawn", drawn);
    }

    fn surface(&self) -> Option<Arc<Surface>> {
        self.surface.get().cloned()
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "framebuffer",
        about: "display of a linear frame buffer in another device's video memory",
        properties: &[
            Property { name: "vram", kind: "region", default: None, about: "where the pixels are: `DEVICE.REGION`, or a declared region" },
            Property { name: "width", kind: "u32", default: Some("640"), about: "pixels in a row" },
            Property { name: "height", kind: "u32", default: Some("480"), about: "rows" },
            Property { name: "stride", kind: "u32", default: Some("those of a row"), about: "bytes from a row to the next one" },
            Property { name: "offset", kind: "u64", default: Some("0"), about: "of the first row in the region" },
            Property {
                name: "format",
                kind: "\"xrgb8888\" | \"rgb888\" | \"rgb565\"",
                default: Some("\"xrgb8888\""),
                about: "the form of a pixel",
            },
        ],
        example: r#"{ "vram": "vram" }"#,
    }
}
