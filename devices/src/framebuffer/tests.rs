use super::*;
use crate::testing::{Bench, Board, RAM};
use memory_core::{AddrRange, TxAttrs, Width};
use memory_dispatch::Direction;
use serde_json::json;

/// Rows as wide as a page of any host, so that a row is a page: 16384 pixels of 4 bytes are 64 KiB.
const ROW: u64 = 0x1_0000;

fn board() -> Board {
    let mut board = Board::new();
    board.regions.insert("vram".into(), board.ram_region());
    board
}

fn display(board: &Board) -> (Bench<'_, Framebuffer>, Arc<Surface>) {
    let properties = json!({ "vram": "vram", "width": 16384, "height": 8 });
    let bench: Bench<'_, Framebuffer> = board.plug(properties, 0);
    let surface = bench.device.surface().unwrap();
    (bench, surface)
}

#[test]
fn only_rows_that_were_written_are_drawn_again() {
    let board = board();
    let (_bench, surface) = display(&board);
    assert_eq!(surface.look().unwrap().redrawn, 8, "the first look draws all");
    assert_eq!(surface.look().unwrap().redrawn, 0);
    // two pixels of row 2, one of row 5 by DMA, and beyond the picture
    board.store(RAM + 2 * ROW + 4, Width::W4, 0x0011_2233).unwrap();
    board.store(RAM + 2 * ROW + 8, Width::W4, 0x0044_5566).unwrap();
    board.space.write(RAM + 5 * ROW, &[1, 2, 3, 0], TxAttrs::default()).unwrap();
    board.store(RAM + 9 * ROW, Width::W4, 1).unwrap();
    let frame = surface.look().unwrap();
    assert_eq!(frame.redrawn, 2);
    let pixel = |row: usize, column: usize| {
        let at = (row * 16384 + column) * 3;
        [frame.rgb[at], frame.rgb[at + 1], frame.rgb[at + 2]]
    };
    assert_eq!(
        (pixel(2, 1), pixel(2, 2), pixel(5, 0), pixel(0, 0)),
        ([0x11, 0x22, 0x33], [0x44, 0x55, 0x66], [3, 2, 1], [0; 3])
    );
    assert_eq!((surface.look().unwrap().redrawn, surface.rows_drawn()), (0, 10));
}

#[test]
fn writes_through_windows_aliases_and_guards_are_drawn() {
    let board = board();
    let (_bench, surface) = display(&board);
    surface.look().unwrap();
    let bank = board.memory().alias("bank", &board.regions["vram"], 3 * ROW, ROW).build().unwrap();
    board.root.map(0xa_0000, &bank).unwrap();
    board.store(0xa_0000, Width::W1, 9).unwrap();
    let window =
        board.space.window(AddrRange::new(RAM + 4 * ROW, RAM + 5 * ROW - 1).unwrap(), TxAttrs::default());
    window.store(0, Width::W4, 5).unwrap();
    let mut guard = board.space.map(RAM + 6 * ROW, 16, Direction::Write, TxAttrs::default()).unwrap();
    assert!(guard.write(3, &[1]));
    assert_eq!(surface.look().unwrap().redrawn, 3);
}

#[test]
fn memory_is_logged_as_long_as_there_is_a_display() {
    let board = board();
    let clients = || board.ram.dirty().clients();
    let (bench, surface) = display(&board);
    assert_eq!(clients(), DirtyClients::DISPLAY);
    drop((bench, surface));
    board.system.reclaim();
    assert!(clients().is_empty());
}

#[test]
fn a_picture_that_does_not_fit_is_refused() {
    let board = board();
    let refused = |properties| board.try_plug::<Framebuffer>(properties, 0).err().unwrap().to_string();
    assert!(refused(json!({ "vram": "vram", "height": 0 })).contains("`height`"));
    assert!(refused(json!({ "vram": "vram", "stride": 100 })).contains("`stride`"));
    assert!(refused(json!({ "vram": "vram", "offset": 0xf_0000 })).contains("ends at"));
    assert!(refused(json!({ "vram": "none" })).contains("`none`"));
}

#[test]
fn pixels_of_all_formats_have_their_colours() {
    assert_eq!(Format::Xrgb8888.rgb(&[1, 2, 3, 4]), [3, 2, 1]);
    assert_eq!(Format::Rgb888.rgb(&[1, 2, 3]), [3, 2, 1]);
    assert_eq!(Format::Rgb565.rgb(&0xf800u16.to_le_bytes()), [255, 0, 0]);
    assert_eq!(Format::Rgb565.rgb(&0x07e0u16.to_le_bytes()), [0, 255, 0]);
    assert_eq!(Format::Rgb565.rgb(&0x001fu16.to_le_bytes()), [0, 0, 255]);
}
