//! Huge pages of the host.

use super::builder::HostMemoryError;
use crate::address::Size;
use std::fmt::Display;
use std::fs;
use std::ptr::NonNull;
use vm_memory::mmap::MmapRegionError;

/// Checks that huge pages of that size can make up a block.
pub(super) fn check(size: Size, page: Size) -> Result<(), HostMemoryError> {
    let bytes = page.bytes();
    if !bytes.is_power_of_two() || bytes < 4096 || !size.bytes().is_multiple_of(bytes) {
        let missing = "the size is no multiple of that".to_owned();
        return Err(HostMemoryError::HugePages { size, page, missing });
    }
    Ok(())
}

/// Asks the host to make `len` bytes of anonymous memory of huge pages where it has some, as QEMU does for all guest RAM. It
/// may know no such thing, and then does not.
pub(super) fn advise(base: NonNull<u8>, len: usize) {
    if cfg!(not(miri)) && len >= TRANSPARENT {
        // SAFETY: the call changes how the host holds the range, which is a mapping, and nothing of what is in it.
        unsafe { libc::madvise(base.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
    }
}

/// Bytes in a huge page that the host makes by itself; memory that is less has no use for one.
const TRANSPARENT: usize = 2 << 20;

fn shift(page: Size) -> u32 {
    page.bytes().trailing_zeros()
}

pub(super) fn map_flags(page: Size) -> i32 {
    let shift = i32::try_from(shift(page)).unwrap_or_default();
    libc::MAP_HUGETLB | shift << libc::MAP_HUGE_SHIFT
}

pub(super) fn memfd_flags(page: Size) -> u32 {
    libc::MFD_HUGETLB | shift(page) << libc::MAP_HUGE_SHIFT
}

/// Says what the host lacks, if that is huge pages.
pub(super) fn map_error(size: Size, page: Option<Size>, reason: MmapRegionError) -> HostMemoryError {
    match page {
        Some(page) => HostMemoryError::HugePages { size, page, missing: missing(page, &reason) },
        None => HostMemoryError::Map { size, reason },
    }
}

/// The same of what the host refused before or after the mapping.
pub(super) fn host_error(size: Size, page: Option<Size>, error: HostMemoryError) -> HostMemoryError {
    match (page, error) {
        (Some(page), HostMemoryError::Host { source, .. }) => {
            HostMemoryError::HugePages { size, page, missing: missing(page, &source) }
        }
        (_, error) => error,
    }
}

fn missing(page: Size, reason: &dyn Display) -> String {
    let folder = format!("/sys/kernel/mm/hugepages/hugepages-{}kB", page.bytes() / 1024);
    let count = |name: &str| fs::read_to_string(format!("{folder}/{name}")).ok()?.trim().parse::<u64>().ok();
    match (count("nr_hugepages"), count("free_hugepages")) {
        (Some(all), Some(free)) => format!("{free} of {all} are free, see {folder}/nr_hugepages ({reason})"),
        _ => format!("the host has none of that size: there is no {folder} ({reason})"),
    }
}
