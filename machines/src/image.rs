//! Images that are loaded into memory: ELF files and raw ones.

use memory_core::{AddrRange, Backing, Size};
use memory_dispatch::AddressSpace;
use object::elf::{FileHeader32, FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endian, Endianness};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Why an image cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the host says.
        source: io::Error,
    },
    /// The file is larger than what it is for.
    #[error("{} is larger than {most} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How much there is room for.
        most: Size,
    },
    /// The file begins as an ELF file does, and is not a whole one.
    #[error("{name}: not a usable ELF file: {reason}")]
    Elf {
        /// The image.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The image does not lie in memory as a whole.
    #[error("{name}: {range} is not all memory of the machine")]
    NoMemory {
        /// The image.
        name: String,
        /// Where it was to be.
        range: AddrRange,
    },
    /// The image ends above 2^64.
    #[error("{name}: {len:#x} bytes at {address:#x} end above 2^64")]
    Overflow {
        /// The image.
        name: String,
        /// Where it was to begin.
        address: u64,
        /// Its length.
        len: u64,
    },
    /// Two images want the same place.
    #[error("{first} at {first_range} and {second} at {second_range} overlap")]
    Overlap {
        /// One image.
        first: String,
        /// Its place.
        first_range: AddrRange,
        /// The other.
        second: String,
        /// Its place.
        second_range: AddrRange,
    },
}

/// The largest image file that is read, far above every firmware and kernel.
const MOST: u64 = 1 << 30;

/// Reads a whole file of at most `most` bytes.
///
/// # Errors
/// A file that cannot be read or is larger.
pub(crate) fn read_file(path: &Path, most: Size) -> Result<Vec<u8>, ImageError> {
    let failed = |source| ImageError::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let limit = u64::try_from(most.bytes()).unwrap_or(u64::MAX).min(MOST);
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(ImageError::TooLarge { path: path.to_owned(), most: Size::from(limit) });
    }
    Ok(bytes)
}

/// Bytes and where they go; what a segment has beyond its bytes is zero.
#[derive(Clone, Debug)]
struct Segment {
    range: AddrRange,
    bytes: Vec<u8>,
}

/// An image with its place.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    entry: u64,
    segments: Vec<Segment>,
}

impl Image {
    /// Reads an image file: an ELF file says itself where it goes, anything else goes to `at`.
    ///
    /// # Errors
    /// A file that cannot be read, a broken ELF file, or a place beyond 2^64.
    pub fn load(path: &Path, at: u64) -> Result<Self, ImageError> {
        let bytes = read_file(path, Size::FULL)?;
        Self::from_bytes(&path.display().to_string(), &bytes, at)
    }

    /// As [`Image::load`], from memory; `name` is for messages.
    ///
    /// # Errors
    /// A broken ELF file, or a place beyond 2^64.
    pub fn from_bytes(name: &str, bytes: &[u8], at: u64) -> Result<Self, ImageError> {
        let broken = |reason: &str| ImageError::Elf { name: name.to_owned(), reason: reason.to_owned() };
        if !bytes.starts_with(b"\x7fELF") {
            return Self::raw(name, bytes.to_vec(), at);
        }
        match bytes.get(4) {
            Some(1) => Self::from_elf::<FileHeader32<Endianness>>(name, bytes),
            Some(2) => Self::from_elf::<FileHeader64<Endianness>>(name, bytes),
            _ => Err(broken("unknown class")),
        }
    }

    /// An image that is what it is, at `at`.
    ///
    /// # Errors
    /// A place beyond 2^64.
    pub(crate) fn raw(name: &str, bytes: Vec<u8>, at: u64) -> Result<Self, ImageError> {
        let len = bytes.len() as u64;
        let segment = Segment::new(name, at, bytes, len)?;
        Ok(Self { name: name.to_owned(), entry: at, segments: segment.into_iter().collect() })
    }

    fn from_elf<E: FileHeader<Endian = Endianness>>(name: &str, bytes: &[u8]) -> Result<Self, ImageError> {
        let broken = |reason: String| ImageError::Elf { name: name.to_owned(), reason };
        let explain = |error: object::Error| broken(error.to_string());
        let header = E::parse(bytes).map_err(explain)?;
        let endian = header.endian().map_err(explain)?;
        if !endian.is_little_endian() || header.e_machine(endian) != object::elf::EM_RISCV {
            return Err(broken("it is not for little-endian RISC-V".to_owned()));
        }
        let mut segments = Vec::new();
        for program in header.program_headers(endian, bytes).map_err(explain)? {
            if program.p_type(endian) != PT_LOAD {
                continue;
            }
            let data = program.data(endian, bytes);
            let data =
                data.map_err(|()| broken("a segment reaches beyond the end of the file".to_owned()))?;
            let (address, len) = (program.p_paddr(endian).into(), program.p_memsz(endian).into());
            if len < data.len() as u64 {
                return Err(broken("a segment has more bytes than memory".to_owned()));
            }
            segments.extend(Segment::new(name, address, data.to_vec(), len)?);
        }
        if segments.is_empty() {
            return Err(broken("it has nothing to load".to_owned()));
        }
        Ok(Self { name: name.to_owned(), entry: header.e_entry(endian).into(), segments })
    }

    /// Where the image begins to run.
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// The image's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Checks that all of the image is memory of `space`, and none of it that of `others`.
    ///
    /// # Errors
    /// The place that is not.
    pub fn check(&self, space: &AddressSpace, others: &[Image]) -> Result<(), ImageError> {
        for segment in &self.segments {
            if !is_memory(space, segment.range) {
                return Err(ImageError::NoMemory { name: self.name.clone(), range: segment.range });
            }
            for other in others {
                if let Some(taken) = other.segments.iter().find(|taken| taken.range.overlaps(segment.range)) {
                    return Err(ImageError::Overlap {
                        first: other.name.clone(),
                        first_range: taken.range,
                        second: self.name.clone(),
                        second_range: segment.range,
                    });
                }
            }
        }
        Ok(())
    }

    /// Writes the image to memory, ROM and flash included.
    ///
    /// # Errors
    /// The place that is not memory; what comes before is written.
    pub fn write(&self, space: &AddressSpace) -> Result<(), ImageError> {
        const ZEROS: [u8; 4096] = [0; 4096];
        for segment in &self.segments {
            let failed = |_| ImageError::NoMemory { name: self.name.clone(), range: segment.range };
            space.write_rom(segment.range.start(), &segment.bytes).map_err(failed)?;
            let mut done = segment.bytes.len() as u64;
            while u128::from(done) < segment.range.size().bytes() {
                let left = segment.range.size().bytes() - u128::from(done);
                let len = usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
                let zeros = ZEROS.get(..len).unwrap_or(&ZEROS);
                space.write_rom(segment.range.start() + done, zeros).map_err(failed)?;
                done += len as u64;
            }
        }
        Ok(())
    }
}

impl Segment {
    /// The segment, or `None` if it is empty.
    fn new(name: &str, address: u64, bytes: Vec<u8>, len: u64) -> Result<Option<Self>, ImageError> {
        if len == 0 {
            return Ok(None);
        }
        let range = AddrRange::from_size(address, Size::from(len));
        let range = range.ok_or_else(|| ImageError::Overflow { name: name.to_owned(), address, len })?;
        Ok(Some(Self { range, bytes }))
    }
}

/// Whether all of `range` is host memory.
fn is_memory(space: &AddressSpace, range: AddrRange) -> bool {
    space.with_view(|view| {
        let mut at = range.start();
        loop {
            let Some(found) = view.find(at) else { return false };
            let backing = found.read().map(|part| part.target().backing());
            if !matches!(backing, Some(Backing::Ram(_) | Backing::Rom(_) | Backing::RomDevice(..))) {
                return false;
            }
            match found.range().last() {
                last if last >= range.last() => return true,
                last => at = last + 1,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: &[u8] = include_bytes!("../guests/riscv-virt.elf");

    #[test]
    fn every_truncation_of_an_elf_file_is_an_error_or_loads_less() {
        assert_eq!(Image::from_bytes("guest", GUEST, 0).unwrap().entry(), 0x8000_0000);
        for len in [4, 5, 16, 63, 64, 100, 0x1000, GUEST.len() / 2] {
            let result = Image::from_bytes("guest", &GUEST[..len], 0);
            assert!(matches!(result, Err(ImageError::Elf { .. })), "{len}");
        }
    }

    #[test]
    fn a_raw_image_goes_where_it_is_told_and_not_beyond_the_top() {
        let image = Image::from_bytes("raw", b"abc", 0x1000).unwrap();
        assert_eq!(
            (image.entry(), image.segments[0].range),
            (0x1000, AddrRange::new(0x1000, 0x1002).unwrap())
        );
        assert!(matches!(Image::from_bytes("raw", b"abc", u64::MAX), Err(ImageError::Overflow { .. })));
    }

    #[test]
    fn damaged_headers_never_panic() {
        for at in 0..0x120 {
            for value in [0, 0x7f, 0xff] {
                let mut bytes = GUEST.to_vec();
                bytes[at] = value;
                let _ = Image::from_bytes("damaged", &bytes, 0);
            }
        }
    }
}
