//! The block device (virtio 1.2, section 5.2).

use super::{Chain, Chains, Malformed, VirtioDevice};
use crate::sync::{AtomicU64, OnceLock, Ordering};
use crate::{DeviceError, Host};
use memory_core::EventNotifier;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_ID_BYTES,
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID,
    VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
};

/// Bytes in a sector, whatever the disk has.
const SECTOR: u64 = 512;
/// Descriptors of the queue.
const QUEUE: u16 = 128;
/// Bytes that are moved at a time.
const BLOCK: usize = 0x1_0000;

/// A disk in a file: raw, sector by sector. Without a file it reads as zeroes, and what is written is lost.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VirtioBlk {
    /// The file. Relative paths start where those of the machine file do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<PathBuf>,
    /// Bytes of a disk without a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// What people who change the disk's size call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The guest cannot write, and the file is not opened to be written.
    #[serde(default)]
    read_only: bool,
    /// What the guest gets as the disk's identifier, 20 bytes at most; the file's name without this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    serial: Option<String>,

    #[serde(skip)]
    disk: OnceLock<Disk>,
}

#[derive(Debug)]
struct Disk {
    /// What holds the data, if anything does.
    file: Option<File>,
    /// Set when somebody changes the size; no order with what is read of the file: what is not there is an error of the host's.
    sectors: AtomicU64,
}

impl Disk {
    fn sectors(&self) -> u64 {
        self.sectors.load(Ordering::Relaxed)
    }
}

impl VirtioBlk {
    fn sectors(&self) -> u64 {
        self.disk.get().map_or(0, Disk::sectors)
    }

    fn identifier(&self) -> [u8; VIRTIO_BLK_ID_BYTES as usize] {
        let name = self.image.as_ref().and_then(|image| image.file_name());
        let name = name.map(|name| name.to_string_lossy().into_owned());
        let text = self.serial.clone().or(name).unwrap_or_default();
        let mut identifier = [0; VIRTIO_BLK_ID_BYTES as usize];
        identifier.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        identifier
    }

    /// The file, and its length in bytes.
    fn open_image(&self, path: &Path) -> io::Result<(File, u64)> {
        let file = OpenOptions::new().read(true).write(!self.read_only).open(path)?;
        let bytes = file.metadata()?.len();
        Ok((file, bytes))
    }

    /// One request: a header, then data in one direction, then the status that the device writes.
    fn request(&self, chain: &mut Chain<'_>) -> Result<usize, Malformed> {
        let mut header = [0; 16];
        chain.reader.read_exact(&mut header).map_err(|_| Malformed)?;
        let [a, b, c, d, _, _, _, _, sector @ ..] = header;
        let (kind, sector) = (u32::from_le_bytes([a, b, c, d]), u64::from_le_bytes(sector));
        let room = chain.writer.available_bytes().checked_sub(1).ok_or(Malformed)?;
        let mut status = chain.writer.split_at(room).map_err(|_| Malformed)?;
        let result = match kind {
            VIRTIO_BLK_T_IN => self.read(chain, sector, room),
            VIRTIO_BLK_T_OUT => self.write(chain, sector),
            VIRTIO_BLK_T_FLUSH => self.flush(),
            VIRTIO_BLK_T_GET_ID => {
                let identifier = self.identifier();
                chain.writer.write_all(identifier.get(..room.min(identifier.len())).unwrap_or(&[]))
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        };
        let code = match result {
            Ok(()) => VIRTIO_BLK_S_OK,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => VIRTIO_BLK_S_UNSUPP,
            Err(error) => {
                tracing::debug!(%error, kind, sector, "a request of the guest to a disk failed");
                VIRTIO_BLK_S_IOERR
            }
        };
        status.write_all(&[code as u8]).map_err(|_| Malformed)?;
        // all that may be written counts as written, up to the status at its end
        Ok(room + 1)
    }

    /// The disk and the first byte of a transfer of `len` bytes, which has to lie on it.
    fn place(&self, sector: u64, len: usize) -> io::Result<(&Disk, u64)> {
        let disk = self.disk.get().ok_or(io::ErrorKind::NotFound)?;
        let len = u64::try_from(len).map_err(io::Error::other)?;
        let end = len.is_multiple_of(SECTOR).then(|| sector.checked_add(len / SECTOR)).flatten();
        match end {
            Some(end) if end <= disk.sectors() => Ok((disk, sector * SECTOR)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn read(&self, chain: &mut Chain<'_>, sector: u64, len: usize) -> io::Result<()> {
        let (disk, mut at) = self.place(sector, len)?;
        let mut block = vec![0; len.min(BLOCK)];
        let mut left = len;
        while left > 0 {
            let count = left.min(BLOCK);
            let bytes = block.get_mut(..count).unwrap_or(&mut []);
            if let Some(file) = &disk.file {
                file.read_exact_at(bytes, at)?;
            }
            chain.writer.write_all(bytes)?;
            at += count as u64;
            left -= count;
        }
        Ok(())
    }

    fn write(&self, chain: &mut Chain<'_>, sector: u64) -> io::Result<()> {
        if self.read_only {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let len = chain.reader.available_bytes();
        let (disk, mut at) = self.place(sector, len)?;
        let mut block = vec![0; len.min(BLOCK)];
        let mut left = len;
        while left > 0 {
            let count = left.min(BLOCK);
            let bytes = block.get_mut(..count).unwrap_or(&mut []);
            chain.reader.read_exact(bytes)?;
            if let Some(file) = &disk.file {
                file.write_all_at(bytes, at)?;
            }
            at += count as u64;
            left -= count;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.disk.get().and_then(|disk| disk.file.as_ref()).map_or(Ok(()), File::sync_data)
    }
}

#[typetag::serde(name = "virtio-blk")]
impl VirtioDevice for VirtioBlk {
    fn id(&self) -> u32 {
        virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK
    }

    fn features(&self) -> u64 {
        let always = 1 << VIRTIO_BLK_F_SEG_MAX | 1 << VIRTIO_BLK_F_BLK_SIZE | 1 << VIRTIO_BLK_F_FLUSH;
        always | u64::from(self.read_only) << VIRTIO_BLK_F_RO
    }

    fn queues(&self) -> &'static [u16] {
        &[QUEUE]
    }

    fn open(&self, host: &Host, _wake: &[EventNotifier]) -> Result<(), DeviceError> {
        if self.image.is_some() == self.size.is_some() {
            let reason = "a disk has either this or a `size`".to_owned();
            return Err(DeviceError::Property { property: "image", reason });
        }
        if host.looking {
            return Ok(());
        }
        let (file, bytes) = match &self.image {
            None => (None, self.size.unwrap_or_default()),
            Some(image) => {
                let path = host.resolve(image);
                let (file, bytes) =
                    self.open_image(&path).map_err(|source| DeviceError::File { path, source })?;
                (Some(file), bytes)
            }
        };
        // what is left of a last sector cannot be reached
        let _ = self.disk.set(Disk { file, sectors: AtomicU64::new(bytes / SECTOR) });
        Ok(())
    }

    fn resize(&self, name: &str, bytes: u64) -> Option<io::Result<()>> {
        let disk = self.disk.get().filter(|_| self.name.as_deref() == Some(name))?;
        if let Err(error) = disk.file.as_ref().map_or(Ok(()), |file| file.set_len(bytes)) {
            return Some(Err(error));
        }
        disk.sectors.store(bytes / SECTOR, Ordering::Relaxed);
        Some(Ok(()))
    }

    fn config(&self) -> Vec<u8> {
        // capacity, size_max, seg_max, geometry, blk_size
        let mut config = self.sectors().to_le_bytes().to_vec();
        config.extend(0u32.to_le_bytes());
        config.extend(u32::from(QUEUE - 2).to_le_bytes());
        config.extend([0; 4]);
        config.extend((SECTOR as u32).to_le_bytes());
        config
    }

    fn serve(&self, _queue: usize, chains: &mut Chains<'_>) -> Result<(), Malformed> {
        while let Some(mut chain) = chains.take()? {
            let written = self.request(&mut chain)?;
            chains.give_back(chain, written)?;
        }
        Ok(())
    }
}
