//! The guest that comes with the program runs on `riscv-virt`, and all its checks are good.

use machines::boot::BootRequest;
use machines::catalog;
use machines::file::MachineSpec;
use machines::runner::Stopped;
use tests::session;

fn board(harts: u32, memory: &str) -> MachineSpec {
    let mut spec = catalog::load("riscv-virt").unwrap();
    spec.set("cpu.harts", &harts.to_string()).unwrap();
    spec.set("machine.memory", memory).unwrap();
    spec
}

fn passes(harts: u32, memory: &str) {
    let stopped = session::run(board(harts, memory), &BootRequest::default(), |session| {
        let report = session.expect("checks passed");
        assert!(!report.contains("[FAIL]") && !report.contains("[skip]"), "{report}");
        assert!(report.contains("all 27 "), "{report}");
    });
    assert_eq!(stopped, Stopped::PoweredOff { code: 0 });
}

#[test]
fn shipped_guest_passes_on_one_hart() {
    passes(1, "64M");
}

#[test]
fn shipped_guest_passes_on_four_harts() {
    passes(4, "128M");
}

#[test]
fn shipped_guest_passes_with_a_gigabyte_on_eight_harts() {
    passes(8, "1G");
}

#[test]
fn shipped_guest_is_interactive_and_survives_a_reset() {
    let request = BootRequest { bootargs: "interactive".into(), ..BootRequest::default() };
    let stopped = session::run(board(2, "64M"), &request, |session| {
        session.expect("checks passed");
        session.send("peek 0x80000000\n");
        session.expect("80000000");
        session.send("reset\n");
        session.expect("checks passed");
        session.send("poweroff\n");
    });
    assert_eq!(stopped, Stopped::PoweredOff { code: 0 });
}

#[test]
fn shipped_guest_skips_what_a_board_without_flash_has_not() {
    let mut spec = board(1, "64M");
    spec.devices.retain(|device| device.type_name != "cfi-flash");
    let stopped = session::run(spec, &BootRequest::default(), |session| {
        let report = session.expect("checks passed");
        assert!(report.contains("[skip]") && !report.contains("[FAIL]"), "{report}");
    });
    assert_eq!(stopped, Stopped::PoweredOff { code: 0 });
}
