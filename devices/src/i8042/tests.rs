use super::*;
use crate::testing::{Bench, Board};
use registers::*;
use serde_json::json;

type Kbc<'a> = Bench<'a, I8042>;

fn kbc(board: &Board) -> Kbc<'_> {
    board.plug(json!({}), 0x60)
}

impl Kbc<'_> {
    fn status(&self) -> u8 {
        self.board.load(self.at("cmd", 0), Width::W1).unwrap() as u8
    }

    fn command(&self, command: u8) {
        self.board.store(self.at("cmd", 0), Width::W1, command.into()).unwrap();
    }

    fn data(&self) -> u8 {
        self.board.load(self.at("data", 0), Width::W1).unwrap() as u8
    }

    fn write(&self, data: u8) {
        self.board.store(self.at("data", 0), Width::W1, data.into()).unwrap();
    }

    /// All that waits, each byte with whether it is the mouse's.
    fn drain(&self) -> Vec<(u8, bool)> {
        let mut bytes = Vec::new();
        while self.status() & STATUS_OBF != 0 {
            let of_mouse = self.status() & STATUS_AUX_OBF != 0;
            bytes.push((self.data(), of_mouse));
        }
        bytes
    }

    fn of_keyboard(&self, command: u8) -> Vec<u8> {
        self.write(command);
        self.drain().into_iter().map(|(byte, of_mouse)| (!of_mouse).then_some(byte).unwrap()).collect()
    }

    fn of_mouse(&self, command: u8) -> Vec<u8> {
        self.command(WRITE_AUX);
        self.write(command);
        self.drain().into_iter().map(|(byte, of_mouse)| of_mouse.then_some(byte).unwrap()).collect()
    }
}

#[test]
fn firmware_finds_the_controller_and_its_self_tests_pass() {
    let board = Board::new();
    let kbc = kbc(&board);
    assert_eq!(kbc.status(), 0x18);
    kbc.command(SELF_TEST);
    assert_eq!((kbc.status(), kbc.data(), kbc.status()), (0x1d, 0x55, 0x1c));
    for (command, answer) in [(TEST_KBD, 0), (TEST_AUX, 0), (READ_INPUT_PORT, 0x80), (READ_OUTPUT_PORT, 0xcf)]
    {
        kbc.command(command);
        assert_eq!(kbc.drain(), [(answer, false)], "{command:#x}");
    }
    assert_eq!(kbc.data(), 0xcf, "an empty buffer reads as its last byte");
}

#[test]
fn the_command_byte_is_read_and_written_and_has_the_system_flag() {
    let board = Board::new();
    let kbc = kbc(&board);
    let mode = |kbc: &Kbc<'_>| {
        kbc.command(READ_MODE);
        kbc.data()
    };
    assert_eq!(mode(&kbc), MODE_KBD_INT | MODE_AUX_INT);
    kbc.command(WRITE_MODE);
    kbc.write(0x65);
    assert_eq!((mode(&kbc), kbc.status()), (0x65, 0x1c));
    for (command, expected) in
        [(DISABLE_KBD, 0x75), (ENABLE_AUX, 0x55), (DISABLE_AUX, 0x75), (ENABLE_KBD, 0x65)]
    {
        kbc.command(command);
        assert_eq!(mode(&kbc), expected, "{command:#x}");
    }
    kbc.write(0xf4);
    kbc.drain();
    kbc.command(DISABLE_KBD);
    kbc.write(0xf4);
    assert_eq!((kbc.drain(), mode(&kbc)), (vec![(ACK, false)], 0x65), "to write to the keyboard starts it");
}

#[test]
fn the_output_port_opens_gate_a20_and_resets_the_machine() {
    let board = Board::new();
    let kbc = kbc(&board);
    assert!(kbc.level("a20"));
    let gate = kbc.watch("a20", 0);
    kbc.command(DISABLE_A20);
    kbc.command(ENABLE_A20);
    kbc.command(WRITE_OUTPUT_PORT);
    kbc.write(0xdd);
    kbc.command(READ_OUTPUT_PORT);
    assert_eq!(kbc.data(), 0xcd);
    kbc.command(WRITE_OUTPUT_PORT);
    kbc.write(0xdf);
    assert_eq!(*gate.lock().unwrap(), [true, false, true, false, true]);
    assert!(board.take_power().is_empty());
    kbc.command(WRITE_OUTPUT_PORT);
    kbc.write(0x02);
    for (command, resets) in [(0xfe, true), (0xf0, true), (0xff, false), (0xf1, false)] {
        board.take_power();
        kbc.command(command);
        assert_eq!(board.take_power().len(), usize::from(resets), "{command:#x}");
    }
    kbc.command(DISABLE_A20);
    kbc.device.reset(ResetType::Warm);
    assert!(kbc.level("a20") && kbc.status() == 0x18);
}

#[test]
fn the_keyboard_answers_what_firmware_asks() {
    let board = Board::new();
    let kbc = kbc(&board);
    assert_eq!(kbc.of_keyboard(0xff), [ACK, 0xaa]);
    assert_eq!(kbc.of_keyboard(0xf2), [ACK, 0xab, 0x83]);
    assert_eq!(kbc.of_keyboard(0xee), [0xee]);
    for command in [0xf4, 0xf5, 0xf6, 0xed, 0x07, 0xf3, 0x20, 0xf0, 0x01, 0xfa] {
        assert_eq!(kbc.of_keyboard(command), [ACK], "{command:#x}");
    }
    assert_eq!(kbc.of_keyboard(0xf0), [ACK]);
    assert_eq!(kbc.of_keyboard(0), [ACK, 1]);
    assert_eq!(kbc.of_keyboard(0xf0), [ACK]);
    assert_eq!(kbc.of_keyboard(4), [RESEND]);
    assert_eq!(kbc.of_keyboard(0xfe), [RESEND], "the last byte");
    assert_eq!(kbc.of_keyboard(0x55), [RESEND]);
    kbc.command(WRITE_MODE);
    kbc.write(MODE_TRANSLATE);
    assert_eq!(kbc.of_keyboard(0xf2), [ACK, 0xab, 0x41]);
}

#[test]
fn the_mouse_answers_and_tells_of_its_wheel_when_asked_the_secret_way() {
    let board = Board::new();
    let kbc = kbc(&board);
    assert_eq!(kbc.of_mouse(0xff), [ACK, 0xaa, 0]);
    assert_eq!(kbc.of_mouse(0xf2), [ACK, 0]);
    assert_eq!(kbc.of_mouse(0xe9), [ACK, 0, 2, 100]);
    for rate in [200, 100, 80] {
        assert_eq!(kbc.of_mouse(0xf3), [ACK]);
        assert_eq!(kbc.of_mouse(rate), [ACK]);
    }
    assert_eq!(kbc.of_mouse(0xf2), [ACK, 3]);
    assert_eq!(kbc.of_mouse(0xeb), [ACK, 8, 0, 0, 0]);
    assert_eq!(kbc.of_mouse(0xf4), [ACK]);
    assert_eq!(kbc.of_mouse(0xe9), [ACK, 0x20, 2, 80]);
    assert_eq!(kbc.of_mouse(0xee), [ACK]);
    assert_eq!((kbc.of_mouse(0xf2), kbc.of_mouse(0xec)), (vec![0xf2], vec![ACK]));
    assert_eq!(kbc.of_mouse(0x11), [RESEND]);
    kbc.of_mouse(0xf6);
    assert_eq!(kbc.of_mouse(0xf2), [ACK, 0]);
}

#[test]
fn bytes_interrupt_on_the_line_of_their_device_until_they_are_read() {
    let board = Board::new();
    let kbc = kbc(&board);
    let (kbd, mouse) = (kbc.watch("kbd", 0), kbc.watch("mouse", 0));
    kbc.write(0xff);
    assert_eq!(kbc.data(), ACK);
    assert_eq!(*kbd.lock().unwrap(), [true, false, true], "an edge for each byte");
    assert_eq!(kbc.data(), 0xaa);
    assert_eq!(*kbd.lock().unwrap(), [true, false, true, false]);
    kbc.command(WRITE_AUX_OBF);
    kbc.write(0x42);
    assert_eq!((kbc.status() & STATUS_AUX_OBF, kbc.data()), (STATUS_AUX_OBF, 0x42));
    assert_eq!(*mouse.lock().unwrap(), [true, false]);
    kbc.command(WRITE_MODE);
    kbc.write(0);
    kbc.command(WRITE_KBD_OBF);
    kbc.write(0x43);
    assert_eq!((kbc.drain(), kbd.lock().unwrap().len()), (vec![(0x43, false)], 4), "disabled");
}

#[test]
fn what_a_device_says_waits_while_its_clock_is_held() {
    let board = Board::new();
    let kbc = kbc(&board);
    kbc.write(0xff);
    kbc.command(DISABLE_KBD);
    assert_eq!(kbc.drain(), [(ACK, false)], "this one was there already");
    let saved = kbc.save();
    drop(kbc);
    let kbc: Kbc<'_> = board.plug(saved, 0x60);
    kbc.command(ENABLE_KBD);
    assert_eq!(kbc.drain(), [(0xaa, false)]);
}
