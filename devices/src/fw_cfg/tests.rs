use super::registers::*;
use super::*;
use crate::testing::{Bench, Board, RAM};
use crate::{Device, FdtValue, ResetType};
use memory_core::{BusFault, Width};
use serde_json::json;

const AT: u64 = 0x1010_0000;
/// Where requests are put.
const REQUEST: u64 = RAM + 0x1000;

type Config<'a> = Bench<'a, FwCfg>;

fn config(board: &Board) -> Config<'_> {
    let files = json!([{ "name": "opt/a", "text": "first" }, { "name": "opt/b", "text": "" }]);
    board.plug(json!({ "files": files }), AT)
}

fn select(config: &Config<'_>, key: u16) {
    config.store(SELECTOR.start, Width::W2, key.swap_bytes().into());
}

/// The first bytes of an item, read as a string of bytes through the data register.
fn item<const N: usize>(config: &Config<'_>, key: u16) -> [u8; N] {
    select(config, key);
    [(); N].map(|()| u8::try_from(config.load(DATA.start, Width::W1)).unwrap())
}

/// Runs a request and returns its control field afterwards.
fn dma(config: &Config<'_>, control: u32, length: u32, address: u64) -> u32 {
    let request = [&control.to_be_bytes()[..], &length.to_be_bytes(), &address.to_be_bytes()].concat();
    let board = config.board;
    assert!(board.ram.write(REQUEST - RAM, &request));
    config.store(DMA.start, Width::W8, REQUEST.swap_bytes());
    (board.ram.load(REQUEST - RAM, Width::W4).unwrap() as u32).swap_bytes()
}

fn ram(board: &Board, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    assert!(board.ram.read(offset, &mut bytes));
    bytes
}

const SELECT_READ: u32 = 0b1010;

#[test]
fn items_are_strings_of_bytes_and_end_in_zeros() {
    let mut board = Board::new();
    board.host.harts = 4;
    let config = config(&board);
    assert_eq!(item(&config, KEY_SIGNATURE), *b"QEMU\0\0");
    assert_eq!(item(&config, KEY_ID), [3, 0, 0, 0]);
    assert_eq!(item(&config, KEY_NB_CPUS), [4, 0, 0]);
    assert_eq!(item(&config, 0x20), *b"first\0");
    assert_eq!(item(&config, 0x21), [0]);
    assert_eq!(item(&config, 0x22), [0]);
    assert_eq!(item(&config, 0x8020), [0], "of another architecture");
    assert_eq!(item(&config, 0x4020), *b"first", "the bit for writing means nothing");
    // wider reads keep the order of bytes, and go on where the last ended
    select(&config, 0x20);
    assert_eq!(config.load(0, Width::W2).to_le_bytes()[..2], *b"fi");
    assert_eq!(config.load(0, Width::W8).to_le_bytes(), *b"rst\0\0\0\0\0");
}

#[test]
fn the_directory_lists_files_with_size_key_and_name() {
    let board = Board::new();
    let config = config(&board);
    let directory: [u8; 4 + 2 * 64 + 1] = item(&config, KEY_FILE_DIR);
    assert_eq!(directory[..4], [0, 0, 0, 2]);
    assert_eq!(directory[4..18], *b"\0\0\0\x05\0\x20\0\0opt/a\0");
    assert_eq!(directory[68..82], *b"\0\0\0\0\0\x21\0\0opt/b\0");
    assert_eq!(directory[132], 0);
}

#[test]
fn dma_reads_items_and_zeros_past_their_end() {
    let board = Board::new();
    let config = config(&board);
    assert!(board.ram.fill(0, 16, 0xee));
    assert_eq!(dma(&config, 0x20 << 16 | SELECT_READ, 8, RAM), 0);
    assert_eq!(ram(&board, 0, 9), b"first\0\0\0\xee");
    // the selected item goes on where the data register left it
    select(&config, 0x20);
    config.load(0, Width::W1);
    assert_eq!(dma(&config, 0b0100, 2, 0), 0, "skip");
    assert_eq!(dma(&config, 0b0010, 3, RAM), 0);
    assert_eq!(ram(&board, 0, 4), b"st\0s");
    // an item that is not there is all zeros
    assert_eq!(dma(&config, 0x999 << 16 | SELECT_READ, 2, RAM), 0);
    assert_eq!(ram(&board, 0, 3), b"\0\0\0");
    assert_eq!(dma(&config, 0x20 << 16 | 0b1000, 7, 0), 0, "select alone");
    assert_eq!(config.load(0, Width::W1), u64::from(b'f'));
}

#[test]
fn the_address_may_come_in_halves_and_the_register_reads_as_its_signature() {
    let board = Board::new();
    let config = config(&board);
    assert_eq!(&config.load(DMA.start, Width::W8).to_le_bytes(), b"QEMU CFG");
    assert_eq!(&config.load(DMA.start + 4, Width::W4).to_le_bytes()[..4], b" CFG");
    assert_eq!(config.load(DMA.start + 1, Width::W1), u64::from(b'E'));
    let request = [&[0, 0, 0, 0b1010, 0, 0, 0, 4][..], &RAM.to_be_bytes()].concat();
    assert!(board.ram.write(REQUEST - RAM, &request));
    let [high, low] =
        [REQUEST >> 32, REQUEST & 0xffff_ffff].map(|half| u64::from((half as u32).swap_bytes()));
    config.store(DMA.start, Width::W4, high);
    assert_eq!(ram(&board, 0, 4), [0; 4]);
    config.store(DMA.start + 4, Width::W4, low);
    assert_eq!(ram(&board, 0, 4), *b"QEMU");
    for width in [Width::W1, Width::W2] {
        assert_eq!(board.store(config.at("regs", DMA.start), width, 0), Err(BusFault::DECODE));
    }
    assert_eq!(board.load(config.at("regs", SELECTOR.start), Width::W2), Err(BusFault::DECODE));
    assert_eq!(board.load(config.at("regs", 0xa), Width::W2), Err(BusFault::DECODE));
}

#[test]
fn what_cannot_be_transferred_is_an_error_for_the_guest() {
    let board = Board::new();
    let config = config(&board);
    let read = 0x20 << 16 | SELECT_READ;
    assert_eq!(dma(&config, 0x20 << 16 | 0b1_1000, 4, RAM), 1, "no item can be written");
    assert_eq!(dma(&config, 0x20 << 16 | 0b1_1000, 0, RAM), 0, "nothing can be written, though");
    assert_eq!(dma(&config, read, 4, 0), 1, "nothing is mapped there");
    assert_eq!(dma(&config, read, 8, u64::MAX - 3), 1, "no wrap");
    assert_eq!(dma(&config, read, u32::MAX, RAM), 1, "4 GiB end where RAM does");
    // into its own registers
    for register in [DATA, SELECTOR, DMA] {
        let address = config.at("regs", register.start);
        assert_eq!(dma(&config, read, 8, address), 1, "{register:?}");
        config.store(DMA.start, Width::W8, address.swap_bytes());
    }
    config.store(DMA.start, Width::W8, (u64::MAX - 3).swap_bytes());
    assert_eq!(item(&config, KEY_SIGNATURE), *b"QEMU");
}

#[test]
fn files_of_the_host_are_read_and_bad_ones_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data"), [1, 2, 3]).unwrap();
    let mut board = Board::new();
    board.host.base = folder.path().to_owned();
    let files = json!([{ "name": "opt/data", "file": "data" }]);
    let config: Config<'_> = board.plug(json!({ "files": files }), AT);
    assert_eq!(item(&config, 0x20), [1, 2, 3, 0]);
    assert_eq!(config.save()["files"], files);

    let refused = |files| board.try_plug::<FwCfg>(json!({ "files": files }), 0).err().unwrap().to_string();
    let long = "n".repeat(56);
    let cases = [
        (json!([{ "name": "a" }]), "`a` needs either"),
        (json!([{ "name": "a", "file": "data", "text": "" }]), "`a` needs either"),
        (json!([{ "name": "", "text": "" }]), "is no name"),
        (json!([{ "name": long, "text": "" }]), "is no name of 1 to 55"),
        (json!([{ "name": "a\u{0}", "text": "" }]), "has a 0"),
        (json!([{ "name": "a", "text": "" }, { "name": "a", "text": "" }]), "`a` is there twice"),
        (json!([{ "name": "a", "file": "missing" }]), "missing: "),
    ];
    for (files, reason) in cases {
        let error = refused(files);
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn a_restored_interface_goes_on_where_it_was() {
    let board = Board::new();
    let first = config(&board);
    assert_eq!(item(&first, 0x20), *b"fi");
    first.store(DMA.start, Width::W4, 0x1234);
    let saved = first.save();
    let again = Board::new();
    let second: Config<'_> = again.plug(saved.clone(), AT);
    assert_eq!(second.save(), saved);
    assert_eq!(second.load(0, Width::W1), u64::from(b'r'));
    second.device.reset(ResetType::Cold);
    assert_eq!(second.load(0, Width::W4), u64::from(u32::from_le_bytes(*b"QEMU")));

    let state = json!({ "selected": 0x20, "position": u64::MAX });
    let third: Config<'_> = board.plug(json!({ "files": saved["files"], "state": state }), 0x2000_0000);
    assert_eq!(third.load(0, Width::W8), 0);
    assert_eq!(third.describe()[0].name, "fw-cfg@20000000");
    assert!(third.describe()[0].properties.contains(&("dma-coherent".into(), FdtValue::Empty)));
}

mod io {
    use super::*;

    const PORTS: u64 = 0x510;
    const KEYS: [u16; 5] = [KEY_NOGRAPHIC, KEY_NB_CPUS, KEY_MAX_CPUS, KEY_BOOT_MENU, KEY_UUID];

    type Ports<'a> = Bench<'a, FwCfgIo>;

    fn ports(board: &Board, properties: serde_json::Value) -> Ports<'_> {
        board.plug(properties, PORTS)
    }

    fn item(ports: &Ports<'_>, key: u16, len: usize) -> Vec<u8> {
        let board = ports.board;
        board.store(PORTS, Width::W2, key.into()).unwrap();
        (0..len).map(|_| u8::try_from(board.load(PORTS + 1, Width::W1).unwrap()).unwrap()).collect()
    }

    fn half(ports: &Ports<'_>, key: u16) -> u16 {
        u16::from_le_bytes(item(ports, key, 2).try_into().unwrap())
    }

    /// The files with their keys and contents, as firmware finds them.
    fn files(ports: &Ports<'_>) -> Vec<(String, Vec<u8>)> {
        let count = u32::from_be_bytes(item(ports, KEY_FILE_DIR, 4).try_into().unwrap());
        let directory = item(ports, KEY_FILE_DIR, 4 + 64 * count as usize);
        let file = |entry: &[u8]| {
            let size = u32::from_be_bytes(entry[..4].try_into().unwrap());
            let key = u16::from_be_bytes(entry[4..6].try_into().unwrap());
            let name = String::from_utf8(entry[8..].split(|byte| *byte == 0).next().unwrap().to_vec());
            (name.unwrap(), item(ports, key, size as usize))
        };
        directory[4..].chunks(64).map(file).collect()
    }

    #[test]
    fn a_pc_without_properties_says_what_firmware_expects() {
        let mut board = Board::new();
        board.host.memory = 128 << 20;
        let ports = ports(&board, json!({}));
        assert_eq!(item(&ports, KEY_SIGNATURE, 5), b"QEMU\0");
        assert_eq!(item(&ports, KEY_ID, 4), [3, 0, 0, 0]);
        assert_eq!(item(&ports, KEY_RAM_SIZE, 9), [0, 0, 0, 8, 0, 0, 0, 0, 0]);
        assert_eq!(KEYS.map(|key| half(&ports, key)), [0, 1, 1, 0, 0]);
        assert_eq!(item(&ports, KEY_NUMA, 17), [0; 17]);
        assert_eq!(item(&ports, KEY_IRQ0_OVERRIDE, 4), [1, 0, 0, 0]);
        let ram = [&[0; 11][..], &[8, 0, 0, 0, 0, 1, 0, 0, 0]].concat();
        let wait = vec![0xff; 4];
        let expected = [
            ("bios-geometry", vec![]),
            ("bootorder", vec![]),
            ("etc/boot-fail-wait", wait),
            ("etc/e820", ram),
        ];
        assert_eq!(files(&ports), expected.map(|(name, content)| (name.to_owned(), content)));
    }

    #[test]
    fn properties_are_the_items_that_firmware_reads() {
        let board = Board::new();
        let properties = json!({
            "uuid": "4600cb32-38ec-4b2f-8acb-81c6ea54f2d8",
            "ram-size": 5_u64 << 30, "below-4g": 3_u64 << 30, "cpus": 2, "max-cpus": 3,
            "nographic": true, "boot-menu": true, "splash-time": 12, "reboot-timeout": 15,
            "boot-order": ["/a", "/b"],
            "numa": [{ "cpus": [0, 2], "memory": 7 }, { "cpus": [1], "memory": 9 }],
            "e820": [{ "start": 0xfeff_c000_u64, "size": 0x4000 }],
            "files": [{ "name": "opt/z", "text": "zed" }, { "name": "bios-geometry", "text": "1 2 3" }],
        });
        let ports = ports(&board, properties.clone());
        let uuid =
            [0x46, 0, 0xcb, 0x32, 0x38, 0xec, 0x4b, 0x2f, 0x8a, 0xcb, 0x81, 0xc6, 0xea, 0x54, 0xf2, 0xd8];
        assert_eq!(item(&ports, KEY_UUID, 17), [&uuid[..], &[0]].concat());
        assert_eq!(item(&ports, KEY_RAM_SIZE, 8), (5_u64 << 30).to_le_bytes());
        assert_eq!(KEYS.map(|key| half(&ports, key)), [1, 2, 3, 1, 0x46]);
        let numa: Vec<u8> = [2_u64, 0, 1, 0, 7, 9].into_iter().flat_map(u64::to_le_bytes).collect();
        assert_eq!(item(&ports, KEY_NUMA, 48), numa);
        let entry = |start: u64, size: u64, kind: u32| {
            [&start.to_le_bytes()[..], &size.to_le_bytes(), &kind.to_le_bytes()].concat()
        };
        let map = [entry(0xfeff_c000, 0x4000, 2), entry(0, 3 << 30, 1), entry(4 << 30, 2 << 30, 1)];
        let expected = [
            ("bios-geometry", b"1 2 3".to_vec()),
            ("bootorder", b"/a\n/b\0".to_vec()),
            ("etc/boot-fail-wait", vec![15, 0, 0, 0]),
            ("etc/boot-menu-wait", vec![12, 0]),
            ("etc/e820", map.concat()),
            ("opt/z", b"zed".to_vec()),
        ];
        assert_eq!(files(&ports), expected.map(|(name, content)| (name.to_owned(), content)));
        assert_eq!(ports.save()["uuid"], properties["uuid"]);
    }

    #[test]
    fn words_select_bytes_read_and_all_else_is_refused() {
        let board = Board::new();
        let ports = ports(&board, json!({}));
        board.store(PORTS, Width::W2, KEY_SIGNATURE.into()).unwrap();
        assert_eq!(board.load(PORTS, Width::W1), Ok(u64::from(b'Q')), "the selector's port is data, too");
        board.store(PORTS + 1, Width::W1, 0).unwrap();
        board.store(PORTS, Width::W1, 0xff).unwrap();
        assert_eq!(board.load(PORTS + 1, Width::W1), Ok(u64::from(b'E')), "bytes select nothing");
        let refused = Err(BusFault::DECODE);
        assert_eq!(board.store(PORTS + 1, Width::W2, 0), refused);
        assert_eq!(board.store(PORTS, Width::W4, 0), refused);
        assert_eq!(board.load(PORTS, Width::W2).map(|_| ()), refused);
        assert_eq!(board.load(PORTS + 1, Width::W1), Ok(u64::from(b'M')));
        ports.device.reset(ResetType::Warm);
        assert_eq!(board.load(PORTS + 1, Width::W1), Ok(u64::from(b'Q')));
    }

    #[test]
    fn dma_goes_by_halves_in_big_endian_order() {
        let board = Board::new();
        let ports = ports(&board, json!({}));
        let register = ports.at("dma", 0);
        assert_eq!(board.load(register, Width::W4), Ok(u64::from(u32::from_le_bytes(*b"QEMU"))));
        assert_eq!(board.load(register + 4, Width::W4), Ok(u64::from(u32::from_le_bytes(*b" CFG"))));
        let request = [&[0, 0, 0, 0b1010, 0, 0, 0, 4][..], &RAM.to_be_bytes()].concat();
        assert!(board.ram.write(REQUEST - RAM, &request));
        board.store(register, Width::W4, 0).unwrap();
        board.store(register + 4, Width::W4, (REQUEST as u32).swap_bytes().into()).unwrap();
        assert_eq!(ram(&board, 0, 5), b"QEMU\0");
        assert_eq!(ram(&board, REQUEST - RAM, 4), [0; 4]);
    }

    #[test]
    fn properties_that_no_pc_has_are_refused() {
        let board = Board::new();
        let refused = |properties| {
            let error = board.try_plug::<FwCfgIo>(properties, PORTS).err().unwrap().to_string();
            assert!(error.contains('`'), "{error}");
            error
        };
        assert!(refused(json!({ "cpus": 4, "max-cpus": 3 })).contains("max-cpus"));
        let twice = json!([{ "name": "a", "text": "" }, { "name": "a", "text": "" }]);
        assert!(refused(json!({ "files": twice })).contains("`a` is there twice"));
        for bad in [
            "",
            "4600cb32-38ec-4b2f-8acb",
            "4600cb3238ec4b2f8acb81c6ea54f2d8",
            "+600cb32-38ec-4b2f-8acb-81c6ea54f2d8",
        ] {
            let read = serde_json::from_value::<FwCfgIo>(json!({ "uuid": bad }));
            assert!(read.unwrap_err().to_string().contains("is no UUID"), "{bad}");
        }
    }
}
