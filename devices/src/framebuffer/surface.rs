//! The picture that a display makes of video memory, row by row as they change.

use super::format::Format;
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use memory_core::{DirtyClients, MemoryError, RamBlock, RegionRef};
use memory_dispatch::AddressSpace;

/// Where the picture lies in video memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from a row to the next one.
    pub stride: u32,
    /// Of the first row in video memory.
    pub offset: u64,
    /// The form of a pixel.
    pub format: Format,
}

#[derive(Default)]
struct Picture {
    /// Red, green and blue of each pixel; nothing before the first look.
    pixels: Vec<u8>,
    /// Rows that were drawn so far.
    drawn: u64,
}

/// A picture of video memory. Any thread may look.
pub struct Surface {
    geometry: Geometry,
    vram: RegionRef,
    block: Arc<RamBlock>,
    /// Whose listeners know of writes, too. Weak: a device keeps no machine alive.
    space: Weak<AddressSpace>,
    /// Held while rows are drawn; no device runs meanwhile.
    picture: Mutex<Picture>,
}

/// What a look at a surface found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Red, green and blue of each pixel, row by row.
    pub rgb: Vec<u8>,
    /// Rows that had to be drawn anew for this frame.
    pub redrawn: u32,
}

impl Surface {
    pub(super) fn new(
        geometry: Geometry,
        vram: RegionRef,
        block: Arc<RamBlock>,
        space: &Arc<AddressSpace>,
    ) -> Self {
        Self { geometry, vram, block, space: Arc::downgrade(space), picture: Mutex::default() }
    }

    fn picture(&self) -> MutexGuard<'_, Picture> {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rows that were drawn since the machine was made.
    pub fn rows_drawn(&self) -> u64 {
        self.picture().drawn
    }

    /// The picture as it is now. Only rows in which something was written since the last look are drawn anew, to the host's
    /// page.
    ///
    /// # Errors
    /// A look from inside a listener.
    pub fn look(&self) -> Result<Frame, MemoryError> {
        let Geometry { width, height, stride, offset, format } = self.geometry;
        let len = u64::from(stride) * u64::from(height);
        // the marks are taken before the data is read: what is written in between is drawn now, or marked again
        let display = DirtyClients::DISPLAY;
        let changed = match self.space.upgrade() {
            Some(space) => space.memory_system().snapshot_and_clear(&self.vram, display, offset, len)?,
            None => self.block.dirty().snapshot_and_clear(display, offset, len),
        };
        let mut picture = self.picture();
        let all = picture.pixels.is_empty();
        let row_bytes = width as usize * 3;
        picture.pixels.resize(row_bytes * height as usize, 0);
        let mut line = vec![0; width as usize * format.bytes() as usize];
        let mut redrawn = 0;
        for row in 0..height {
            let start = offset + u64::from(row) * u64::from(stride);
            if !(all || changed.is_dirty(start, line.len() as u64)) || !self.block.read(start, &mut line) {
                continue;
            }
            let at = row as usize * row_bytes;
            let pixels = picture.pixels.get_mut(at..at + row_bytes).unwrap_or(&mut []);
            for (to, from) in pixels.chunks_exact_mut(3).zip(line.chunks_exact(format.bytes() as usize)) {
                to.copy_from_slice(&format.rgb(from));
            }
            redrawn += 1;
        }
        picture.drawn += u64::from(redrawn);
        Ok(Frame { width, height, rgb: picture.pixels.clone(), redrawn })
    }
}

impl std::fmt::Debug for Surface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surface").field("geometry", &self.geometry).finish_non_exhaustive()
    }
}
