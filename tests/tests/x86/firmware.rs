//! Firmware that is assembled here: 64 KiB that end at 4 GiB, and are seen at 0xf0000 too.

use iced_x86::IcedError;
use iced_x86::code_asm::*;
use machines::boot::BootRequest;
use std::io::Write;
use tempfile::NamedTempFile;

const SIZE: usize = 0x1_0000;
/// Where the image is seen below 1 MiB.
pub const LOW: u32 = 0xf_0000;
/// Where it is.
pub const HIGH: u32 = 0xffff_0000;
/// A place in it that no code is at.
pub const MARK: u32 = 0x8000;
pub const MARK_VALUE: u32 = 0x5ea_b105;

/// Where [`real_with_handler`] has its handler, in the segment 0xf000.
pub const HANDLER: u32 = 0x400;

const GDT: u32 = 0x40;
const CODE_32: u32 = 0x100;

/// Ports of `x86-mini`.
pub const DEBUG: u32 = 0x402;
pub const EXIT: u32 = 0xf4;
pub const COM1: u32 = 0x3f8;

type Code = fn(&mut CodeAssembler) -> Result<(), IcedError>;

fn assemble(bits: u32, at: u32, code: Code) -> Vec<u8> {
    let mut assembler = CodeAssembler::new(bits).unwrap();
    code(&mut assembler).unwrap();
    assembler.assemble(at.into()).unwrap()
}

fn image(parts: &[(u32, &[u8])]) -> Vec<u8> {
    let mut image = vec![0; SIZE];
    // jmp f000:0000
    let vector = [0xea, 0x00, 0x00, 0x00, 0xf0];
    let mark = MARK_VALUE.to_le_bytes();
    for (at, bytes) in [(0xfff0, &vector[..]), (MARK, &mark)].iter().chain(parts) {
        image[*at as usize..][..bytes.len()].copy_from_slice(bytes);
    }
    image
}

/// Firmware that stays in real mode, with all segments but CS at 0.
pub fn real(code: Code) -> Vec<u8> {
    image(&[(0, &assemble(16, 0, code))])
}

/// The same with a handler of interrupts at [`HANDLER`].
pub fn real_with_handler(code: Code, handler: Code) -> Vec<u8> {
    image(&[(0, &assemble(16, 0, code)), (HANDLER, &assemble(16, HANDLER, handler))])
}

/// Firmware whose `code` begins in protected mode without paging, with flat segments.
pub fn flat(code: Code) -> Vec<u8> {
    let start = assemble(16, 0, |a| {
        a.cli()?;
        a.mov(ax, 0xf000)?;
        a.mov(ds, ax)?;
        a.lgdt(ptr(GDT))?;
        a.mov(eax, cr0)?;
        a.or(eax, 1)?;
        a.mov(cr0, eax)?;
        // jmp 08:CODE_32, with an offset of 32 bits
        let [b0, b1, b2, b3] = (LOW + CODE_32).to_le_bytes();
        a.db(&[0x66, 0xea, b0, b1, b2, b3, 0x08, 0x00])
    });
    let segments = assemble(32, LOW + CODE_32, |a| {
        a.mov(eax, 0x10)?;
        a.mov(ds, ax)?;
        a.mov(es, ax)?;
        a.mov(ss, ax)?;
        a.mov(esp, 0x7000)
    });
    let code_at = CODE_32 + segments.len() as u32;
    let mut gdt = Vec::new();
    gdt.extend((23u64 | u64::from(LOW + GDT + 8) << 16).to_le_bytes());
    // none, code, data; marked as used, since the processor cannot mark what is in ROM
    for descriptor in [0u64, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff] {
        gdt.extend(descriptor.to_le_bytes());
    }
    image(&[(0, &start), (GDT, &gdt), (CODE_32, &segments), (code_at, &assemble(32, LOW + code_at, code))])
}

/// What boots `image`; the file goes with what is returned.
pub fn request(image: &[u8]) -> (BootRequest, NamedTempFile) {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(image).unwrap();
    (BootRequest { firmware: Some(file.path().to_owned()), ..BootRequest::default() }, file)
}
