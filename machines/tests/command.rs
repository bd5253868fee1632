//! The `flatland` command as people and scripts meet it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy exempts test functions, not the functions that they share"
)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn flatland(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flatland")).args(args).stdin(Stdio::null()).output().unwrap()
}

/// Runs what must be refused: status 2, nothing printed, one message that holds all of `parts`.
fn refused(args: &[&str], parts: &[&str]) {
    let output = flatland(args);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
    assert!(output.stdout.is_empty(), "{args:?}");
    assert_eq!(error.lines().count(), 1, "{args:?}: {error}");
    for part in parts {
        assert!(error.contains(part), "{args:?}: no `{part}` in: {error}");
    }
}

fn good(args: &[&str]) -> String {
    let output = flatland(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A board around `rest`, in a file of its own.
fn board(folder: &Path, rest: &str) -> String {
    let text = format!(
        "[machine]\nname = \"board\"\n[[space]]\nname = \"memory\"\nroot = \"system\"\n\
         [[region]]\nname = \"system\"\nkind = \"container\"\nsize = \"16E\"\n{rest}"
    );
    let path = folder.join("board.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn region(name: &str, kind: &str, rest: &str) -> String {
    format!("[[region]]\nname = \"{name}\"\nkind = \"{kind}\"\n{rest}\n")
}

#[test]
fn shipped_guest_runs_by_default_and_its_end_is_the_commands() {
    for args in [&[][..], &["run"], &["run", "riscv-virt", "--smp", "2", "--memory", "64M"]] {
        let report = good(args);
        assert!(report.contains("all 27 checks passed"), "{report}");
    }
}

#[test]
fn board_without_a_cpu_points_at_its_map() {
    refused(&["run", "pc-example"], &["no CPU", "flatland mtree pc-example"]);
}

#[test]
fn unknown_machines_devices_spaces_and_addresses_are_refused() {
    refused(&["mtree", "pc-exmaple"], &["pc-exmaple", "pc-example", "riscv-virt"]);
    refused(&["devices", "uart"], &["`uart`", "uart16550"]);
    refused(&["find", "pc-example", "0xzz"], &["0xzz"]);
    refused(&["find", "pc-example", "0", "--space", "io"], &["memory"]);
    refused(&["check", "riscv-virt", "--set", "uart9.backend=stdio"], &["--set", "uart9"]);
    refused(&["check", "riscv-virt", "--set", "uart0"], &["DEVICE.PROPERTY=VALUE"]);
    refused(&["check", "riscv-virt", "--smp", "0"], &["cpu.harts"]);
    refused(&["check", "riscv-virt", "--memory", "12Q"], &["12Q"]);
    refused(&["run", "riscv-virt", "--kernel", "/nowhere/kernel"], &["/nowhere/kernel"]);
}

#[test]
fn mistakes_in_machine_files_are_told_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let ram =
        |name, at: &str| region(name, "ram", &format!("size = \"64K\"\ninto = \"system\"\nat = \"{at}\""));
    let alias = |name, target| region(name, "alias", &format!("target = \"{target}\"\nsize = 16"));
    let device = |rest: &str| format!("[[device]]\ntype = \"uart16550\"\nname = \"uart0\"\n{rest}\n");
    let cases: [(String, &[&str]); 14] = [
        (region("a", "ram", "size = 16\nprioirty = 1"), &["board.toml:14:1", "prioirty", "priority"]),
        (region("a", "rma", "size = 16"), &["board.toml:12:8", "rma", "ram"]),
        (region("a", "ram", "size = 16\ninto = \"sytem\""), &["sytem", "system"]),
        (
            ram("a", "0x1000") + &ram("b", "0x2000"),
            &[
                "region.b.at",
                "`a`",
                "0000000000001000-0000000000010fff",
                "`b`",
                "0000000000002000-0000000000011fff",
            ],
        ),
        (ram("a", "0xfffffffffffff000"), &["region.a.at", "2^64"]),
        (alias("a", "b") + &alias("b", "a"), &["region.a.target", "looks back"]),
        (region("a", "rom", "size = \"4K\"\nfile = \"gone.bin\""), &["region.a.file", "gone.bin"]),
        (device("at = 0\nbackened = \"none\""), &["board.toml:14:1", "backened"]),
        (device("at = 0\nbackend = 5"), &["board.toml:14:", "backend"]),
        (device("map = { region = \"rges\", at = 0 }"), &["rges", "regs"]),
        (device("at = 0\nwire = { irq = \"plic:10\" }"), &["plic"]),
        (device("at = 0\nwire = { iqr = \"cpu:meip\" }\n[cpu]\ntype = \"rv64\""), &["iqr", "irq"]),
        (device("at = 0\nwire = { irq = \"cpu:meip:7\" }\n[cpu]\ntype = \"rv64\""), &["1 inputs", "7"]),
        (device("").replace("uart16550", "uart16551"), &["uart16551", "uart16550"]),
    ];
    for (rest, parts) in cases {
        let file = board(folder.path(), &rest);
        refused(&["check", &file], parts);
        refused(&["run", &file], parts);
    }
    let file = folder.path().join("broken.toml");
    std::fs::write(&file, "[machine\n").unwrap();
    refused(&["check", file.to_str().unwrap()], &["broken.toml:1:9"]);
}

#[test]
fn flash_file_of_the_wrong_size_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("flash.bin"), [0; 100]).unwrap();
    let flash =
        "[[device]]\ntype = \"cfi-flash\"\nname = \"flash\"\nat = 0\nsize = \"1M\"\nfile = \"flash.bin\"\n";
    refused(&["check", &board(folder.path(), flash)], &["device.flash", "flash.bin", "100"]);
}

#[test]
fn broken_images_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let guest = include_bytes!("../guests/riscv-virt.elf");
    let truncated = folder.path().join("truncated.elf");
    std::fs::write(&truncated, &guest[..5000]).unwrap();
    refused(&["run", "--kernel", truncated.to_str().unwrap()], &["truncated.elf", "ELF"]);
    let large = folder.path().join("large.bin");
    std::fs::write(&large, vec![0; 3 << 20]).unwrap();
    let large = large.to_str().unwrap();
    refused(&["run", "--memory", "2M", "--kernel", large], &["large.bin", "not all memory"]);
    refused(&["run", "--firmware", large, "--kernel", large], &["overlap"]);
}

#[test]
fn dumps_agree_or_say_where_they_do_not_or_are_no_dumps() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpus/qemu-7.2/");
    let (tree, flat) = (format!("{corpus}arm-virt-7.0.mtree"), format!("{corpus}arm-virt-7.0.flat"));
    assert!(good(&["import", &tree, "--check", &flat]).contains("memory-region: system"));
    let folder = tempfile::tempdir().unwrap();
    let changed = folder.path().join("changed.flat");
    let text = std::fs::read_to_string(&flat).unwrap().replace("gic_dist", "gic_dits");
    std::fs::write(&changed, text).unwrap();
    let output = flatland(&["import", &tree, "--check", changed.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("address space `memory`"));
    refused(&["import", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")], &["Cargo.toml"]);
    refused(&["import", "/nowhere"], &["/nowhere"]);
}

#[test]
fn maps_are_printed_as_text_and_as_json() {
    let tree = good(&["mtree", "pc-example", "--owner", "--disabled"]);
    assert!(tree.starts_with("address-space: memory\n") && tree.contains("owner:"), "{tree}");
    let flat = good(&["mtree", "pc-example", "--dispatch"]);
    assert!(flat.starts_with("FlatView #0\n"), "{flat}");
    for extra in [&["--flat"][..], &[]] {
        let json = good(&[&["mtree", "pc-example", "--json"], extra].concat());
        serde_json::from_str::<serde_json::Value>(&json).unwrap();
    }
}

/// Looking at a machine must not empty the log of the last run, nor need the other end of a socket.
#[test]
fn looking_at_a_machine_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("serial.log");
    std::fs::write(&log, "kept").unwrap();
    let uart = |name, backend| {
        format!("[[device]]\ntype = \"uart16550\"\nname = \"{name}\"\nbackend = {{ {backend} }}\n")
    };
    let devices = uart("a", "file = \"serial.log\"") + &uart("b", "socket = \"unix:nobody\"");
    good(&["check", &board(folder.path(), &devices)]);
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "kept");
}

#[test]
fn find_tells_who_answers_and_what_is_hidden() {
    let found = good(&["find", "pc-example", "0xa0000"]);
    assert!(found.contains("hidden below: ram") && found.contains("through system > "), "{found}");
    assert!(good(&["find", "riscv-virt", "0x10000000"]).contains("of /machine/uart0"));
    assert!(good(&["find", "riscv-virt", "0x50000000"]).contains("nobody answers"));
}

#[test]
fn every_type_of_device_lists_its_properties() {
    for line in good(&["devices"]).lines() {
        let tag = line.split_whitespace().next().unwrap();
        assert!(good(&["devices", tag]).starts_with(tag));
    }
}

#[test]
fn maps_say_which_registers_may_be_reentered_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let device = |name: &str, at: u32, reentrant: bool| {
        format!("[[device]]\ntype = \"dma-test\"\nname = \"{name}\"\nat = {at}\nreentrant = {reentrant}\n")
    };
    let board = board(folder.path(), &(device("guarded", 0, false) + &device("open", 0x1000, true)));
    let map = good(&["mtree", &board]);
    let line = |name: &str| map.lines().find(|line| line.contains(name)).unwrap().trim_end().to_owned();
    assert!(
        line("open.regs").ends_with("i/o): open.regs [re-entry: holds no lock while it copies]"),
        "{map}"
    );
    assert!(line("guarded.regs").ends_with("i/o): guarded.regs"), "{map}");
    assert!(good(&["mtree", &board, "--json"]).contains("\"holds no lock while it copies\""));
}

#[test]
fn a_screenshot_is_what_lies_in_video_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, png) = (folder.path().join("raw"), folder.path().join("shot.png"));
    // a red and a blue row, in little-endian 32-bit pixels
    let row = |pixel: [u8; 4]| pixel.repeat(640);
    std::fs::write(&raw, [row([0, 0, 0xff, 0]), row([0xff, 0, 0, 0])].concat()).unwrap();
    let load = format!("0xe1000000={}", raw.display());
    good(&["screenshot", "pc-example", "--load", &load, "-o", png.to_str().unwrap()]);
    let decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&png).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height, info.color_type), (640, 480, png::ColorType::Rgb));
    assert_eq!(
        (&pixels[..3], &pixels[640 * 3..640 * 3 + 3], pixels[1280 * 3]),
        (&[255, 0, 0][..], &[0, 0, 255][..], 0)
    );
}

#[test]
fn a_screenshot_of_a_vga_is_the_mode_that_is_set() {
    const FILE: &str = r#"
        [machine]
        name = "vga"
        memory = "1M"
        [[space]]
        name = "memory"
        root = "pci"
        [[region]]
        name = "pci"
        kind = "container"
        size = "4G"
        [[region]]
        name = "io"
        kind = "container"
        size = "64K"
        [[device]]
        type = "i440fx"
        name = "host"
        [[device]]
        type = "VGA"
        name = "vga"
        state = { dispi = { x-res = 64, y-res = 32, bits = 32, virtual-width = 64, enable = 0x41 } }
    "#;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("vga.toml"), FILE).unwrap();
    std::fs::write(at("raw"), [0x33, 0x22, 0x11, 0].repeat(64 + 1)).unwrap();
    // through the window, whose bank is the first
    let load = format!("0xa0000={}", at("raw"));
    good(&["screenshot", &at("vga.toml"), "--load", &load, "-o", &at("shot.png")]);
    let decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(at("shot.png")).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height), (64, 32));
    let written = [0x11, 0x22, 0x33].repeat(65);
    assert_eq!((&pixels[..195], &pixels[195..198]), (&written[..], &[0; 3][..]));
}

#[test]
fn screenshots_that_cannot_be_made_are_refused() {
    refused(&["screenshot", "riscv-virt"], &["no display"]);
    refused(&["screenshot", "pc-example", "--display", "tv"], &["--display", "`tv`", "`display`"]);
    refused(&["screenshot", "pc-example", "--load", "e1"], &["--load", "ADDRESS=FILE"]);
    refused(&["screenshot", "pc-example", "--load", "0xe1000000=/no/file"], &["--load", "/no/file"]);
    refused(&["screenshot", "pc-example", "-o", "/no/folder/shot.png"], &["/no/folder/shot.png"]);
}
