//! The picture that a display makes of video memory, row by row as they change.

use super::format::Format;
use crate::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, PoisonError, Weak};
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
}

/// What draws its pictures itself, since they change their size or are no linear frame buffers.
pub(crate) trait Draw: Send + Sync {
    /// The picture as it is now.
    fn draw(&self) -> Result<Frame, MemoryError>;
}

/// A picture that a display shows. Any thread may look.
pub struct Surface {
    source: Source,
    /// Rows that were drawn so far.
    drawn: AtomicU64,
}

enum Source {
    /// A part of video memory.
    Linear(Linear),
    /// A device, which is held weakly.
    Device(Weak<dyn Draw>),
}

/// A picture that lies in video memory.
struct Linear {
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
    pub(crate) fn new(
        geometry: Geometry,
        vram: RegionRef,
        block: Arc<RamBlock>,
        space: &Arc<AddressSpace>,
    ) -> Self {
        let (space, picture) = (Arc::downgrade(space), Mutex::default());
        Self::of(Source::Linear(Linear { geometry, vram, block, space, picture }))
    }

    /// The pictures that a device draws.
    pub(crate) fn drawn<D: Draw + 'static>(device: Weak<D>) -> Self {
        Self::of(Source::Device(device))
    }

    fn of(source: Source) -> Self {
        Self { source, drawn: AtomicU64::new(0) }
    }

    /// Rows that were drawn since the machine was made.
    pub fn rows_drawn(&self) -> u64 {
        self.drawn.load(Ordering::Relaxed)
    }

    /// The picture as it is now. Of a part of video memory only rows in which something was written since the last look are
    /// drawn anew, to the host's page.
    ///
    /// # Errors
    /// A look from inside a listener; a display that is gone.
    pub fn look(&self) -> Result<Frame, MemoryError> {
        let frame = match &self.source {
            Source::Linear(linear) => linear.look()?,
            Source::Device(device) => {
                let device = device.upgrade().ok_or_else(|| MemoryError::Gone("display".into()))?;
                device.draw()?
            }
        };
        self.drawn.fetch_add(frame.redrawn.into(), Ordering::Relaxed);
        Ok(frame)
    }
}

impl Linear {
    fn picture(&self) -> MutexGuard<'_, Picture> {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) -> Result<Frame, MemoryError> {
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
        Ok(Frame { width, height, rgb: picture.pixels.clone(), redrawn })
    }
}

impl std::fmt::Debug for Surface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let geometry = match &self.source {
            Source::Linear(linear) => Some(linear.geometry),
            Source::Device(_) => None,
        };
        f.debug_struct("Surface").field("geometry", &geometry).finish_non_exhaustive()
    }
}
