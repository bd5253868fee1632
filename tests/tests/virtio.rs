//! U-Boot on `riscv-virt` works with virtio devices: a scripted session.

use machines::boot::BootRequest;
use machines::catalog;
use machines::file::MachineSpec;
use machines::runner::Stopped;
use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;
use tempfile::NamedTempFile;
use tests::session::{self, Session};
use xtask::Workspace;
use xtask::firmware;

/// The firmware, or `None` and a line in the log of skipped tests.
fn request(test: &str) -> Option<BootRequest> {
    match firmware::ensure(&Workspace::here()) {
        Ok(firmware) => Some(BootRequest {
            firmware: Some(firmware.fw_jump),
            kernel: Some(firmware.u_boot),
            ..BootRequest::default()
        }),
        Err(error) => {
            tests::skip(test, &format!("{error:#}"));
            None
        }
    }
}

/// The polynomial of U-Boot's `crc32`.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 != 0 { 0xedb8_8320 } else { 0 })
    })
}

/// Bytes that do not repeat soon.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// A FAT file system of 8 MiB without a partition table, with two files.
fn fat_image(files: &[(&str, &[u8])]) -> NamedTempFile {
    let mut disk = Cursor::new(vec![0; 8 << 20]);
    fatfs::format_volume(&mut disk, fatfs::FormatVolumeOptions::new()).unwrap();
    let file_system = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new()).unwrap();
    for (name, content) in files {
        file_system.root_dir().create_file(name).unwrap().write_all(content).unwrap();
    }
    file_system.unmount().unwrap();
    let mut image = NamedTempFile::new().unwrap();
    image.write_all(disk.get_ref()).unwrap();
    image
}

fn disk(spec: &mut MachineSpec, image: &Path, read_only: bool) {
    let image = image.display();
    spec.attach(&format!("{{ type = \"virtio-blk\", image = \"{image}\", read-only = {read_only} }}"))
        .unwrap();
}

fn prompt(session: &Session) {
    session.expect("Hit any key to stop autoboot");
    session.send("\n");
    session.expect("\n=> ");
}

/// What U-Boot says the checksum of memory is.
fn sum(session: &Session, address: &str, len: usize) -> String {
    let text = session.command(&format!("crc32 {address} {len:x}"));
    text.rsplit("==> ").next().unwrap()[..8].to_owned()
}

#[test]
fn u_boot_reads_and_writes_a_virtio_disk() {
    let Some(request) = request("u_boot_reads_and_writes_a_virtio_disk") else { return };
    let (kernel, readme) = (noise(300_000), b"hello from the disk\n");
    let image = fat_image(&[("kernel.img", &kernel), ("readme.txt", readme)]);
    let protected = fat_image(&[]);
    let mut first = vec![0; 0x4000];
    image.reopen().unwrap().read_exact(&mut first).unwrap();
    let mut spec = catalog::load("riscv-virt").unwrap();
    disk(&mut spec, image.path(), false);
    disk(&mut spec, protected.path(), true);
    spec.attach("{ type = \"virtio-rng\" }").unwrap();
    let stopped = session::run(spec, &request, |session| {
        prompt(session);
        session.command("virtio scan");
        let info = session.command("virtio info");
        assert!(info.contains("Device 0") && info.contains("Capacity: 8.0 MB"), "{info}");
        assert!(info.contains("Device 1"), "{info}");

        let read = session.command("virtio read 84000000 0 20");
        assert!(read.contains("32 blocks read: OK"), "{read}");
        assert_eq!(sum(session, "84000000", first.len()), format!("{:08x}", crc32(&first)));

        // U-Boot polls and acknowledges nothing: the line is still raised, and the PLIC has it pending
        let pending = session.command("md.l 0c001000 1");
        assert!(pending.contains("00000002") || pending.contains("00000006"), "{pending}");

        let listed = session.command("ls virtio 0");
        assert!(listed.contains("300000") && listed.contains("KERNEL.IMG"), "{listed}");
        assert!(
            listed.contains("20") && listed.contains("README.TXT") && listed.contains("2 file(s)"),
            "{listed}"
        );
        let loaded = session.command("load virtio 0 84000000 kernel.img");
        assert!(loaded.contains("300000 bytes read"), "{loaded}");
        assert_eq!(sum(session, "84000000", kernel.len()), format!("{:08x}", crc32(&kernel)));

        session.command("mw.l 84000000 cafe1234 80");
        let written = session.command("virtio write 84000000 3fff 1");
        assert!(written.contains("1 blocks written: OK"), "{written}");
        session.command("virtio device 1");
        let refused = session.command("virtio write 84000000 3fff 1");
        assert!(!refused.contains("written: OK"), "{refused}");
        session.send("poweroff\n");
    });
    assert_eq!(stopped, Stopped::PoweredOff { code: 0 });
    let last_sector = |image: &NamedTempFile| {
        let mut file = image.reopen().unwrap();
        let mut sector = [0; 512];
        file.seek(SeekFrom::Start(0x3fff * 512)).unwrap();
        file.read_exact(&mut sector).unwrap();
        sector
    };
    assert_eq!(last_sector(&image)[..8], [0x34, 0x12, 0xfe, 0xca, 0x34, 0x12, 0xfe, 0xca]);
    assert_eq!(last_sector(&protected), [0; 512]);
}
