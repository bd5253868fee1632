//! Linux kernels for x86: bzImages, and ELF files with a PVH entry.
//!
//! The kernel is put where it says, the memory map and the command line below 640 KiB, and the processor begins in protected
//! mode without paging, as both of Linux's 32-bit boot protocol (`Documentation/arch/x86/boot.rst`) and PVH
//! (Xen's `docs/misc/pvh.pandoc`) want it.

use super::X86Start;
use crate::fdt::ram_ranges;
use crate::sync::Arc;
use linux_loader::configurator::linux::LinuxBootConfigurator;
use linux_loader::configurator::pvh::PvhBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::bootparam::{boot_e820_entry, boot_params};
use linux_loader::loader::elf::PvhBootCapability;
use linux_loader::loader::elf::start_info::{hvm_memmap_table_entry, hvm_start_info};
use linux_loader::loader::{BzImage, Elf, KernelLoader, KernelLoaderResult};
use memory_core::AddrRange;
use memory_dispatch::{AddressSpace, LoaderMemory};
use std::io::Cursor;
use vm_memory::{Bytes, GuestAddress};

#[cfg(test)]
mod tests;

/// Why a kernel cannot be booted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// It is no kernel that can be booted here.
    #[error(
        "{kernel}: neither a bzImage (of protocol 2.06 or later) nor an ELF file for x86-64 with a PVH entry"
    )]
    Unknown {
        /// The file.
        kernel: String,
    },
    /// It does not go into the machine's memory, or is broken.
    #[error("{kernel}: {reason}")]
    Load {
        /// The file.
        kernel: String,
        /// What is wrong.
        reason: String,
    },
    /// It needs RAM where the machine has none, or other things.
    #[error("{kernel} needs RAM at {range}; the machine has too little, or something else there")]
    NoRam {
        /// The file.
        kernel: String,
        /// Where.
        range: AddrRange,
    },
    /// The command line is too long for the kernel.
    #[error("{kernel} takes a command line of {most} bytes, and this has {len}")]
    CommandLine {
        /// The file.
        kernel: String,
        /// Its length.
        len: usize,
        /// How long it may be.
        most: usize,
    },
}

/// What is put below 640 KiB, each at its place.
const GDT: u64 = 0x500;
const START_INFO: u64 = 0x6000;
const MEMORY_MAP: u64 = 0x6100;
const ZERO_PAGE: u64 = 0x7000;
const COMMAND_LINE: u64 = 0x2_0000;
/// The end of the RAM that PCs leave to programs below 1 MiB; the BIOS's own data follow.
const LOW_END: u64 = 0x9_fc00;
const MIB: u64 = 0x10_0000;

/// None, none, code, data, and a task that is nowhere: what [`X86Start::Kernel`]'s segments are.
const DESCRIPTORS: [u64; 5] = [0, 0, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x0000_8b00_0000_0067];

/// `HdrS`, at 0x202 of a bzImage.
const BZIMAGE: &[u8] = b"HdrS";
/// The least version of the boot protocol whose header says how long the command line may be.
const PROTOCOL: u16 = 0x0206;
/// A boot loader without a number.
const LOADER_UNDEFINED: u8 = 0xff;
/// The longest command line of a kernel that does not say: x86's COMMAND_LINE_SIZE without its end.
const MOST_COMMAND_LINE: usize = 2047;
/// Of [`hvm_start_info`].
const PVH_MAGIC: u32 = 0x336e_c578;
const PVH_VERSION: u32 = 1;

/// Types of the firmware's memory map (E820), PVH's too.
const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;

/// A kernel, and what it is told.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    name: String,
    bytes: Arc<[u8]>,
    arguments: String,
}

impl Kernel {
    /// A kernel of the file `name`, told `arguments`.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn new(name: String, bytes: Vec<u8>, arguments: &str) -> Result<Self, KernelError> {
        let kernel = Self { name, bytes: bytes.into(), arguments: arguments.to_owned() };
        if kernel.is_bzimage() || kernel.is_elf() { Ok(kernel) } else { Err(kernel.unknown()) }
    }

    fn is_bzimage(&self) -> bool {
        self.bytes.get(0x202..0x206) == Some(BZIMAGE)
    }

    /// Of 64 bits, for x86-64.
    fn is_elf(&self) -> bool {
        self.bytes.starts_with(b"\x7fELF\x02\x01") && self.bytes.get(18..20) == Some(&[62, 0])
    }

    fn unknown(&self) -> KernelError {
        KernelError::Unknown { kernel: self.name.clone() }
    }

    fn broken(&self, reason: impl ToString) -> KernelError {
        KernelError::Load { kernel: self.name.clone(), reason: reason.to_string() }
    }

    /// Puts the kernel and all that it is told into memory, and says how it begins.
    ///
    /// # Errors
    /// It is broken, or does not go in.
    pub(super) fn load(&self, space: &Arc<AddressSpace>) -> Result<X86Start, KernelError> {
        let (memory, ram) = (LoaderMemory::new(space), ram_ranges(space));
        self.check_ram(&ram, 0, LOW_END - 1)?;
        let gdt: Vec<u8> = DESCRIPTORS.iter().flat_map(|descriptor| descriptor.to_le_bytes()).collect();
        memory.write_slice(&gdt, GuestAddress(GDT)).map_err(|error| self.broken(error))?;
        if self.is_bzimage() { self.load_bzimage(&memory, &ram) } else { self.load_pvh(&memory, &ram) }
    }

    fn load_bzimage(&self, memory: &LoaderMemory, ram: &[AddrRange]) -> Result<X86Start, KernelError> {
        let highest = Some(GuestAddress(MIB));
        let loaded = BzImage::load(memory, None, &mut Cursor::new(&self.bytes), highest);
        let loaded = loaded.map_err(|error| self.broken(error))?;
        let header = loaded.setup_header.ok_or_else(|| self.unknown())?;
        if header.version < PROTOCOL {
            return Err(self.unknown());
        }
        // it unpacks itself to where it would like to be, if that is above
        let wanted = if header.version >= 0x020a {
            loaded.kernel_load.0.max(header.pref_address).saturating_add(header.init_size.into())
        } else {
            0
        };
        self.check_loaded(&loaded, ram, wanted)?;
        let most = usize::try_from(header.cmdline_size).unwrap_or(usize::MAX).min(0xffff);
        self.write_arguments(memory, most)?;
        let mut params = boot_params { hdr: header, ..Default::default() };
        params.hdr.type_of_loader = LOADER_UNDEFINED;
        params.hdr.cmd_line_ptr = low(COMMAND_LINE);
        params.hdr.ramdisk_image = 0;
        params.hdr.ramdisk_size = 0;
        let map = memory_map(ram);
        let mut table = params.e820_table;
        for (entry, (addr, size, kind)) in table.iter_mut().zip(&map) {
            *entry = boot_e820_entry { addr: *addr, size: *size, r#type: *kind };
        }
        params.e820_table = table;
        params.e820_entries = u8::try_from(map.len().min(table.len())).unwrap_or(u8::MAX);
        let params = BootParams::new(&params, GuestAddress(ZERO_PAGE));
        LinuxBootConfigurator::write_bootparams(&params, memory).map_err(|error| self.broken(error))?;
        self.start(loaded.kernel_load, 0, low(ZERO_PAGE))
    }

    fn load_pvh(&self, memory: &LoaderMemory, ram: &[AddrRange]) -> Result<X86Start, KernelError> {
        let loaded = Elf::load(memory, None, &mut Cursor::new(&self.bytes), Some(GuestAddress(MIB)));
        let loaded = loaded.map_err(|error| self.broken(error))?;
        let PvhBootCapability::PvhEntryPresent(entry) = loaded.pvh_boot_cap else {
            return Err(self.unknown());
        };
        self.check_loaded(&loaded, ram, 0)?;
        self.write_arguments(memory, MOST_COMMAND_LINE)?;
        let entry_of =
            |(addr, size, type_): (u64, u64, u32)| hvm_memmap_table_entry { addr, size, type_, reserved: 0 };
        let map: Vec<_> = memory_map(ram).into_iter().map(entry_of).collect();
        let info = hvm_start_info {
            magic: PVH_MAGIC,
            version: PVH_VERSION,
            cmdline_paddr: COMMAND_LINE,
            memmap_paddr: MEMORY_MAP,
            memmap_entries: u32::try_from(map.len()).unwrap_or(u32::MAX),
            ..Default::default()
        };
        let mut params = BootParams::new(&info, GuestAddress(START_INFO));
        params.set_sections(&map, GuestAddress(MEMORY_MAP));
        PvhBootConfigurator::write_bootparams(&params, memory).map_err(|error| self.broken(error))?;
        self.start(entry, low(START_INFO), 0)
    }

    fn start(&self, entry: GuestAddress, ebx: u32, esi: u32) -> Result<X86Start, KernelError> {
        let eip = u32::try_from(entry.0).map_err(|_| self.broken("it begins above 4 GiB"))?;
        Ok(X86Start::Kernel { eip, ebx, esi, gdt: GDT })
    }

    /// The command line, with its end.
    fn write_arguments(&self, memory: &LoaderMemory, most: usize) -> Result<(), KernelError> {
        let len = self.arguments.len();
        if len > most {
            return Err(KernelError::CommandLine { kernel: self.name.clone(), len, most });
        }
        let mut bytes = self.arguments.clone().into_bytes();
        if bytes.contains(&0) {
            return Err(self.broken("the command line has a byte 0 in it"));
        }
        bytes.push(0);
        memory.write_slice(&bytes, GuestAddress(COMMAND_LINE)).map_err(|error| self.broken(error))
    }

    /// Checks that the kernel, and all up to `wanted`, is RAM.
    fn check_loaded(
        &self,
        loaded: &KernelLoaderResult,
        ram: &[AddrRange],
        wanted: u64,
    ) -> Result<(), KernelError> {
        let last = loaded.kernel_end.max(wanted).saturating_sub(1);
        self.check_ram(ram, loaded.kernel_load.0.min(last), last)
    }

    fn check_ram(&self, ram: &[AddrRange], start: u64, last: u64) -> Result<(), KernelError> {
        let range = AddrRange::new(start, last).ok_or_else(|| self.broken("it is empty"))?;
        if ram.iter().any(|ram| ram.contains_range(range)) {
            return Ok(());
        }
        Err(KernelError::NoRam { kernel: self.name.clone(), range })
    }
}

/// The places above are below 640 KiB.
fn low(address: u64) -> u32 {
    u32::try_from(address).unwrap_or(u32::MAX)
}

/// The machine's memory as firmware tells it: start, size, type. What PCs keep for the BIOS is reserved.
fn memory_map(ram: &[AddrRange]) -> Vec<(u64, u64, u32)> {
    let piece = |start: u64, last: u64, kind| {
        (start <= last).then(|| (start, (last - start).saturating_add(1), kind))
    };
    let reserved = piece(LOW_END, MIB - 1, E820_RESERVED);
    let below = ram.iter().filter_map(|ram| piece(ram.start(), ram.last().min(LOW_END - 1), E820_RAM));
    let above = ram.iter().filter_map(|ram| piece(ram.start().max(MIB), ram.last(), E820_RAM));
    below.chain(reserved).chain(above).collect()
}
