//! `flatland run` on a terminal: raw while the guest runs, and as it was after every end.

#![cfg(target_os = "linux")]

use std::fs;
use std::process::{Child, Command};
use tempfile::TempDir;
use tests::program;
use tests::terminal::{Signal, Terminal, end_of, signal};

/// `Ctrl-A x`.
const QUIT: &[u8] = b"\x01x";

/// Says `>`, and from then on whatever is typed.
const ECHO: &[u32] = &[
    0x1000_0537, // lui a0, 0x10000
    0x03e0_0593, // li a1, '>'
    0x00b5_0023, // sb a1, 0(a0)
    0x0055_4583, // lbu a1, 5(a0)
    0x0015_f593, // andi a1, a1, 1
    0xfe05_8ce3, // beqz a1, .-8
    0x0005_4583, // lbu a1, 0(a0)
    0x00b5_0023, // sb a1, 0(a0)
    0xfedf_f06f, // j .-20
];
/// Powers off.
const OFF: &[u32] = &[
    0x0010_0537, // lui a0, 0x100
    0x0000_55b7, // lui a1, 0x5
    0x5555_8593, // addi a1, a1, 0x555
    0x00b5_2023, // sw a1, 0(a0)
    0x0000_006f, // j .
];

/// What runs a guest; its image goes with the folder.
fn guest(code: &[u32]) -> (TempDir, Command) {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("guest.bin");
    fs::write(&image, code.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>()).unwrap();
    let mut command = Command::new(program::flatland());
    // one hart: several that share the port would take the bytes of each other
    command.args(["run", "riscv-virt", "--smp", "1", "--firmware"]).arg(image);
    (folder, command)
}

/// Starts the guest, has `end` end it when it runs, and expects that all is as before.
fn restores(what: &str, end: impl FnOnce(&mut Terminal, &Child)) {
    let mut terminal = Terminal::open().unwrap();
    let before = terminal.modes();
    let (_folder, mut command) = guest(ECHO);
    let running = terminal.start(&mut command);
    terminal.expect(b">");
    assert_ne!(terminal.modes(), before, "it is raw");
    end(&mut terminal, &running);
    let output = end_of(running);
    assert!(output.status.success(), "{what}: {output:?}");
    assert_eq!(terminal.modes(), before, "{what}");
}

#[test]
fn signals_and_ctrl_a_x_end_the_guest_and_restore_the_terminal() {
    for kind in [Signal::INT, Signal::TERM, Signal::HUP] {
        restores(&format!("{kind:?}"), |_, running| signal(running, kind));
    }
    restores("Ctrl-A x", |terminal, _| terminal.send(QUIT));
}

#[test]
fn ctrl_c_that_is_typed_is_the_guests() {
    restores("Ctrl-C", |terminal, _| {
        // a terminal that is not raw shows `^C`
        terminal.send(b"\x03.");
        terminal.expect(b"\x03.");
        terminal.send(b"\x01\x01.");
        terminal.expect(b"\x01.");
        terminal.send(QUIT);
    });
}

/// With one more file that may be open each time there is a run that has all but what it needs for signals.
#[test]
fn a_run_that_cannot_begin_leaves_the_terminal_as_it_was() {
    let (_folder, command) = guest(OFF);
    let terminal = Terminal::open().unwrap();
    let before = terminal.modes();
    for files in 3..256 {
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("ulimit -n {files} && exec \"$@\""), "sh"]);
        limited.arg(command.get_program()).args(command.get_args());
        let output = end_of(terminal.start(&mut limited));
        assert_eq!(terminal.modes(), before, "{files} files: {output:?}");
        if output.status.success() {
            return assert!(files > 3, "it never lacked anything");
        }
    }
    panic!("it never began");
}
