use super::*;
use crate::i440fx::I440fx;
use crate::testing::{Bench, Board, PCI};
use memory_core::Width::{W1, W2, W4};
use serde_json::json;

const PLACE: &str = "2.0";
const INDEX: u64 = 0x1ce;
const DATA: u64 = 0x1cf;
const VRAM: u64 = 0xe000_0000;
const MMIO: u64 = 0xfebf_0000;
/// A mode is set, and shows as a linear frame buffer.
const LFB: u64 = 0x41;

struct Display<'a> {
    board: &'a Board,
    vga: Bench<'a, Vga>,
    _host: Bench<'a, I440fx>,
}

impl<'a> Display<'a> {
    fn new(board: &'a Board) -> Self {
        let host = board.plug(json!({}), 1 << 60);
        let vga = board.plug_pci(json!({}), PLACE);
        board.set_config(PLACE, 0x10, W4, VRAM);
        board.set_config(PLACE, 0x18, W4, MMIO);
        board.set_config(PLACE, 4, W2, 2);
        Self { board, vga, _host: host }
    }

    fn dispi(&self, index: u64) -> u64 {
        self.board.output(INDEX, W2, index);
        self.board.input(DATA, W2)
    }

    fn set_dispi(&self, index: u64, value: u64) {
        self.board.output(INDEX, W2, index);
        self.board.output(DATA, W2, value);
    }

    fn set_mode(&self, width: u64, height: u64, bits: u64) {
        self.set_dispi(4, 0);
        for (index, value) in [(1, width), (2, height), (3, bits), (4, LFB)] {
            self.set_dispi(index, value);
        }
    }

    /// Sets an indexed register, by the port of its index.
    fn set(&self, port: u64, index: u64, value: u64) {
        self.board.output(port, W2, value << 8 | index);
    }

    fn get(&self, port: u64, index: u64) -> u64 {
        self.board.output(port, W1, index);
        self.board.input(port + 1, W1)
    }

    fn load(&self, address: u64) -> u64 {
        self.board.load(PCI + address, W1).unwrap()
    }

    fn store(&self, address: u64, value: u64) {
        self.board.store(PCI + address, W1, value).unwrap();
    }

    fn vram(&self, offset: u64) -> u64 {
        self.load(VRAM + offset)
    }

    fn look(&self) -> Frame {
        self.vga.device.surface().unwrap().look().unwrap()
    }

    /// Four planes at 0xa0000, 64 KiB, all planes written, no plane chained.
    fn set_planar(&self) {
        for (index, value) in [(2, 0xf), (4, 0x06)] {
            self.set(0x3c4, index, value);
        }
        for (index, value) in [(3, 0), (5, 0), (6, 0x05), (7, 0xf), (8, 0xff)] {
            self.set(0x3ce, index, value);
        }
    }
}

fn pixel(frame: &Frame, x: u32, y: u32) -> [u8; 3] {
    let at = (y * frame.width + x) as usize * 3;
    frame.rgb[at..at + 3].try_into().unwrap()
}

#[test]
fn the_function_has_the_identity_and_the_base_address_registers_of_qemus() {
    let board = Board::new();
    let display = Display::new(&board);
    let config = |at| board.config(PLACE, at, W4);
    assert_eq!([0, 8, 0x2c].map(config), [0x1111_1234, 0x0300_0002, 0x1100_1af4]);
    board.set_config(PLACE, 0x10, W4, 0xffff_ffff);
    board.set_config(PLACE, 0x18, W4, 0xffff_ffff);
    assert_eq!([0x10, 0x14, 0x18].map(config), [0xff00_0008, 0, 0xffff_f000]);
    board.set_config(PLACE, 0x18, W4, MMIO);
    assert_eq!(board.load(PCI + MMIO + 0x600, W4), Ok(8));
    assert_eq!(board.load(PCI + MMIO + 0x604, W4), Ok(0x1e1e_1e1e));
    assert_eq!(board.load(PCI + MMIO + 0x500, W2), Ok(0xb0c5));
    board.store(PCI + MMIO + 0x40c, W1, 0).unwrap();
    display.set(0x3c4, 2, 0x0f);
    assert_eq!(board.load(PCI + MMIO + 0x405, W1), Ok(0x0f));
}

#[test]
fn registers_keep_the_bits_that_there_are_at_the_ports_of_the_display() {
    let board = Board::new();
    let display = Display::new(&board);
    for (port, index, kept) in [(0x3c4, 2, 0x0f), (0x3c4, 4, 0x0e), (0x3ce, 5, 0x7b), (0x3ce, 8, 0xff)] {
        display.set(port, index, 0xff);
        assert_eq!(display.get(port, index), kept, "{port:#x} {index}");
    }
    assert_eq!(board.input(0x3d4, W1), 0xff, "the display is a monochrome one");
    display.set(0x3b4, 0x0e, 0x12);
    assert_eq!(display.get(0x3b4, 0x0e), 0x12);
    board.output(0x3c2, W1, 0x01);
    assert_eq!((board.input(0x3b5, W1), display.get(0x3d4, 0x0e), board.input(0x3cc, W1)), (0xff, 0x12, 1));
    // the first eight registers can be locked, but for a bit
    display.set(0x3d4, 0, 0x55);
    display.set(0x3d4, 0x11, 0x80);
    display.set(0x3d4, 0, 0xaa);
    display.set(0x3d4, 7, 0xff);
    assert_eq!([0, 7].map(|index| display.get(0x3d4, index)), [0x55, 0x10]);
    let status = [0, 0].map(|_: i32| board.input(0x3da, W1));
    assert_eq!(status[0] ^ status[1], 9, "a retrace comes and goes");
}

#[test]
fn attributes_take_index_and_data_in_turn_and_the_palette_three_parts() {
    let board = Board::new();
    let _display = Display::new(&board);
    board.output(0x3c2, W1, 1);
    board.input(0x3da, W1);
    for value in [0x03, 0xff, 0x13, 0xff] {
        board.output(0x3c0, W1, value);
    }
    board.output(0x3c0, W1, 0x03);
    assert_eq!(board.input(0x3c1, W1), 0x3f);
    board.input(0x3da, W1);
    board.output(0x3c0, W1, 0x13);
    assert_eq!((board.input(0x3c1, W1), board.input(0x3c0, W1)), (0x0f, 0));
    board.output(0x3c8, W1, 0xff);
    for value in 1..=6 {
        board.output(0x3c9, W1, value);
    }
    assert_eq!((board.input(0x3c8, W1), board.input(0x3c7, W1)), (1, 0), "the last is followed by the first");
    board.output(0x3c7, W1, 0xff);
    let parts = [(); 6].map(|()| board.input(0x3c9, W1));
    assert_eq!((parts, board.input(0x3c7, W1)), ([1, 2, 3, 4, 5, 6], 3));
}

#[test]
fn planes_are_written_and_read_in_all_modes_through_the_latches() {
    let board = Board::new();
    let display = Display::new(&board);
    let planes = |address: u64| [0, 1, 2, 3].map(|plane| display.vram(4 * address + plane));
    display.set_planar();
    display.set(0x3c4, 2, 0b0101);
    display.store(0xa_0000, 0x81);
    assert_eq!(planes(0), [0x81, 0, 0x81, 0], "only the planes that are written");
    display.set(0x3c4, 2, 0xf);
    for plane in 0..4 {
        display.set(0x3ce, 4, plane);
        assert_eq!(display.load(0xa_0000), if plane & 1 == 0 { 0x81 } else { 0 });
    }
    // mode 1 copies what was read last
    display.set(0x3ce, 5, 1);
    display.store(0xa_0001, 0xff);
    assert_eq!(planes(1), [0x81, 0, 0x81, 0]);
    // mode 2: a colour, for the bits of the mask; the others are the latches'
    display.set(0x3ce, 5, 2);
    display.set(0x3ce, 8, 0x0f);
    display.store(0xa_0002, 0b1010);
    assert_eq!(planes(2), [0x80, 0x0f, 0x80, 0x0f]);
    // mode 3: set/reset, for the bits of the rotated value
    display.set(0x3ce, 5, 3);
    display.set(0x3ce, 8, 0xff);
    display.set(0x3ce, 0, 0b0001);
    display.set(0x3ce, 3, 4);
    display.store(0xa_0003, 0x0f);
    assert_eq!(planes(3), [0xf1, 0, 0x01, 0]);
    // mode 0 with set/reset for plane 3, XOR with the latches
    for (index, value) in [(5, 0), (0, 0b1000), (1, 0b1000), (3, 0x18)] {
        display.set(0x3ce, index, value);
    }
    display.store(0xa_0004, 0x0f);
    assert_eq!(planes(4), [0x8e, 0x0f, 0x8e, 0xff]);
    // read mode 1: where the colour is
    display.set(0x3ce, 5, 8);
    display.set(0x3ce, 2, 0b1010);
    assert_eq!(display.load(0xa_0004), 0x0f & !0x8e);
    display.set(0x3ce, 7, 0);
    assert_eq!(display.load(0xa_0004), 0xff, "nothing counts");
}

#[test]
fn the_window_moves_with_the_memory_map_and_text_has_odd_and_even_planes() {
    let board = Board::new();
    let display = Display::new(&board);
    display.set_planar();
    display.set(0x3ce, 6, 0x0d);
    display.store(0xb_8000, 0x42);
    display.store(0xa_0000, 0x99);
    assert_eq!((display.vram(0), display.load(0xa_0000)), (0x42, 0xff));
    display.set(0x3c4, 2, 0x3);
    display.set(0x3c4, 4, 0x02);
    display.set(0x3ce, 5, 0x10);
    display.set(0x3ce, 6, 0x0e);
    board.store(PCI + 0xb_8002, W2, 0x0741).unwrap();
    assert_eq!([4, 5].map(|at| display.vram(at)), [0x41, 0x07]);
    assert_eq!(board.load(PCI + 0xb_8002, W2), Ok(0x0741));
}

#[test]
fn chained_planes_are_video_memory_itself_bank_by_bank() {
    let board = Board::new();
    let display = Display::new(&board);
    let direct = || board.space.page(PCI + 0xa_0000, true).is_some();
    display.set_planar();
    assert!(!direct());
    display.set(0x3c4, 4, 0x0e);
    assert!(direct());
    display.store(0xa_0123, 0x55);
    assert_eq!(display.vram(0x123), 0x55);
    display.set(0x3c4, 2, 0x2);
    assert!(!direct(), "not all planes are written");
    display.store(0xa_0000, 0x66);
    display.store(0xa_0001, 0x77);
    assert_eq!([0, 1].map(|at| display.vram(at)), [0, 0x77]);
    display.set_mode(640, 480, 8);
    assert!(direct());
    for bank in [0, 1, 0xff] {
        display.set_dispi(5, bank);
        let value = bank ^ 0x5a;
        display.store(0xa_0010, value);
        assert_eq!((display.vram(bank * 0x1_0000 + 0x10), display.load(0xa_0010)), (value, value));
    }
    display.set_dispi(5, 0x101);
    assert_eq!(display.dispi(5), 1, "there are 256");
    display.vga.device.reset(ResetType::Warm);
    assert!(!direct());
}

#[test]
fn the_display_interface_says_what_it_can_and_mends_modes_that_do_not_fit() {
    let board = Board::new();
    let display = Display::new(&board);
    assert_eq!((display.dispi(0), display.dispi(10)), (0xb0c5, 256));
    display.set_dispi(0, 0xb0c2);
    assert_eq!(display.dispi(0), 0xb0c2);
    display.set_dispi(0, 0x1234);
    assert_eq!(display.dispi(0), 0xb0c2);
    display.set_dispi(4, 2);
    assert_eq!([1, 2, 3].map(|index| display.dispi(index)), [16000, 12000, 32]);
    display.set_mode(1024, 768, 32);
    assert_eq!([1, 2, 3, 6, 7].map(|index| display.dispi(index)), [1024, 768, 32, 1024, 4096]);
    display.set_dispi(6, 2048);
    display.set_dispi(8, 5000);
    display.set_dispi(9, 5000);
    assert_eq!([6, 7, 8, 9].map(|index| display.dispi(index)), [2048, 2048, 1024, 1280]);
    display.set_mode(0xffff, 0xffff, 77);
    assert_eq!([1, 2, 3].map(|index| display.dispi(index)), [16000, 1048, 8]);
    board.output(INDEX, W1, 4);
    assert_eq!(board.input(INDEX, W1), 0xff, "there are words alone");
    board.output(0x1d0, W2, 0);
    assert_eq!(display.dispi(3), 8);
}

#[test]
fn a_mode_clears_memory_unless_it_is_asked_not_to() {
    let board = Board::new();
    let display = Display::new(&board);
    display.set_mode(64, 64, 32);
    display.store(VRAM + 100, 7);
    display.set_dispi(4, LFB);
    assert_eq!(display.vram(100), 7, "it was set already");
    display.set_dispi(4, 0);
    display.set_dispi(4, LFB | 0x80);
    assert_eq!(display.vram(100), 7);
    display.set_mode(64, 64, 32);
    assert_eq!(display.vram(100), 0);
}

#[test]
fn linear_modes_are_drawn_row_by_row_as_they_change() {
    let board = Board::new();
    let display = Display::new(&board);
    // rows of 64 KiB, so that each has pages of its own
    display.set_mode(16000, 100, 32);
    display.set_dispi(1, 1024);
    let frame = display.look();
    assert_eq!((frame.width, frame.height, frame.redrawn), (1024, 100, 100));
    let stride = 4 * display.dispi(6);
    assert_eq!(display.look().redrawn, 0);
    board.store(PCI + VRAM + 3 * stride + 8, W4, 0x0011_2233).unwrap();
    let frame = display.look();
    assert!((1..=3).contains(&frame.redrawn), "{}", frame.redrawn);
    assert_eq!((pixel(&frame, 2, 3), pixel(&frame, 3, 3)), ([0x11, 0x22, 0x33], [0; 3]));
    display.set_dispi(9, 3);
    assert_eq!(pixel(&display.look(), 2, 0), [0x11, 0x22, 0x33]);
    display.set_mode(640, 480, 16);
    board.store(PCI + VRAM, W2, 0xf800).unwrap();
    let frame = display.look();
    assert_eq!((frame.width, frame.height, pixel(&frame, 0, 0)), (640, 480, [255, 0, 0]));
}

#[test]
fn modes_with_few_colours_are_drawn_by_the_palette() {
    let board = Board::new();
    let display = Display::new(&board);
    board.output(0x3c8, W1, 5);
    for value in [0x3f, 0x20, 0x00] {
        board.output(0x3c9, W1, value);
    }
    display.set_mode(64, 32, 8);
    display.store(VRAM + 64 + 1, 5);
    assert_eq!(pixel(&display.look(), 1, 1), [0xff, 0x82, 0]);
    display.set_dispi(4, LFB | 0x20);
    assert_eq!(pixel(&display.look(), 1, 1), [0x3f, 0x20, 0], "eight bits a part");
    display.set_mode(64, 32, 15);
    board.store(PCI + VRAM, W2, 0x7c1f).unwrap();
    assert_eq!(pixel(&display.look(), 0, 0), [255, 0, 255]);
    display.set_dispi(4, 0);
    display.set(0x3ce, 6, 0x0e);
    let text = display.look();
    assert_eq!((text.width, text.height), (720, 400));
    assert!(text.rgb.iter().all(|part| *part == 0));
}

#[test]
fn the_vgas_own_graphics_are_drawn_by_its_registers() {
    let board = Board::new();
    let display = Display::new(&board);
    board.output(0x3c2, W1, 1);
    // 256 colours, 320 x 200, each pixel twice as wide and high
    display.set(0x3c4, 2, 0xf);
    display.set(0x3c4, 4, 0x0e);
    display.set(0x3ce, 5, 0x40);
    display.set(0x3ce, 6, 0x05);
    for (index, value) in [(1, 79), (7, 0x1f), (9, 0x41), (0x12, 0x8f), (0x13, 40)] {
        display.set(0x3d4, index, value);
    }
    board.output(0x3c8, W1, 1);
    for value in [0, 0x3f, 0] {
        board.output(0x3c9, W1, value);
    }
    display.store(0xa_0000 + 320 + 7, 1);
    let frame = display.look();
    assert_eq!((frame.width, frame.height), (640, 400));
    let green = [(14, 2), (15, 2), (14, 3), (15, 3)].map(|(x, y)| pixel(&frame, x, y));
    assert_eq!((green, pixel(&frame, 16, 2), pixel(&frame, 14, 4)), ([[0, 0xff, 0]; 4], [0; 3], [0; 3]));
    // sixteen colours
    display.set_planar();
    display.set(0x3d4, 9, 0);
    display.set(0x3d4, 0x13, 40);
    board.input(0x3da, W1);
    for value in [0x12, 0x0f, 0x08, 0x01] {
        board.output(0x3c0, W1, value);
    }
    display.set(0x3c4, 2, 0x8);
    display.store(0xa_0000 + 5 * 80 + 1, 0x80);
    let frame = display.look();
    assert_eq!((pixel(&frame, 8, 5), pixel(&frame, 9, 5)), ([0, 0xff, 0], [0; 3]));
}

#[test]
fn a_restored_vga_has_its_mode_and_its_window() {
    let board = Board::new();
    let display = Display::new(&board);
    display.set_mode(640, 480, 32);
    display.set_dispi(5, 3);
    display.set(0x3ce, 8, 0x77);
    let saved = display.vga.save();
    let second = Board::new();
    let _host: Bench<'_, I440fx> = second.plug(json!({}), 1 << 60);
    let copy: Bench<'_, Vga> = second.plug_pci(saved.clone(), PLACE);
    assert_eq!(copy.save(), saved);
    second.store(PCI + 0xa_0004, W1, 0x12).unwrap();
    assert_eq!(second.load(PCI + VRAM + 0x3_0004, W1), Ok(0x12));
    let frame = copy.device.surface().unwrap().look().unwrap();
    assert_eq!((frame.width, pixel(&frame, 0x3_0004 / 4 % 640, 0x3_0004 / 2560)), (640, [0, 0, 0x12]));
}

#[test]
fn sizes_of_memory_that_no_register_can_say_are_refused() {
    let board = Board::new();
    let _host: Bench<'_, I440fx> = board.plug(json!({}), 1 << 60);
    for size in [0, 3, 1024] {
        let error = board.try_plug::<Vga>(json!({ "vgamem-mb": size }), 0).err().unwrap().to_string();
        assert!(error.contains("vgamem-mb"), "{error}");
    }
}
