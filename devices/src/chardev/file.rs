//! A file that takes output.

use super::Chardev;
use crate::DeviceError;
use crate::sync::{AtomicBool, Ordering};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file that takes output and gives no input.
pub(super) struct FileChardev {
    path: PathBuf,
    file: File,
    failed: AtomicBool,
}

impl FileChardev {
    /// Makes the file, or empties the one that is there.
    pub(super) fn create(path: &Path) -> Result<Self, DeviceError> {
        match File::create(path) {
            Ok(file) => Ok(Self { path: path.to_owned(), file, failed: AtomicBool::new(false) }),
            Err(source) => Err(DeviceError::File { path: path.to_owned(), source }),
        }
    }
}

impl Chardev for FileChardev {
    fn write(&self, bytes: &[u8]) {
        // one call of the host per write: bytes of two threads do not mix
        if let Err(error) = (&self.file).write_all(bytes)
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(path = %self.path.display(), %error, "output is lost");
        }
    }

    fn read(&self, _most: usize) -> Vec<u8> {
        Vec::new()
    }

    fn on_input(&self, _wake: Box<dyn Fn() + Send + Sync>) {}
}
