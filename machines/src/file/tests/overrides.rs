//! `--set`.

use super::*;

fn set(key: &str, value: &str) -> MachineSpec {
    let mut board = board();
    board.set(key, value).unwrap();
    board
}

fn property(board: &MachineSpec, device: &str, key: &str) -> Kind {
    board.device(device).unwrap().properties.get(key).unwrap().value.kind.clone()
}

#[test]
fn values_are_toml_if_they_can_be_and_text_if_not() {
    for (text, kind) in [
        ("stdio", Kind::from("stdio")),
        ("\"a b\"", Kind::from("a b")),
        ("", Kind::from("")),
        ("file:/tmp/x", Kind::from("file:/tmp/x")),
        ("2020-01-01", Kind::from("2020-01-01")),
        ("0x10", Kind::Integer(16)),
        ("64K", Kind::from("64K")),
        ("true", Kind::Boolean(true)),
        ("[1, 2]", Kind::from(vec![Value::new(1), Value::new(2)])),
    ] {
        assert_eq!(property(&set("uart0.backend", text), "uart0", "backend"), kind, "{text}");
    }
}

#[test]
fn every_kind_of_key_can_be_set() {
    assert_eq!(set("machine.memory", "1G").memory, Size::new(1 << 30));
    assert_eq!(set("cpu.harts", "2").cpu.unwrap().harts, 2);
    assert_eq!(set("cpu.boot.dtb-at", "0x1000").cpu.unwrap().boot.dtb_at, Some(0x1000));
    assert_eq!(set("uart0.at", "0x4000").device("uart0").unwrap().maps[0].placement.at, 0x4000);
    assert_eq!(set("uart0.wire.irq", "plic:3").device("uart0").unwrap().wires[0].targets[0].index, 3);
    let board = set("uart0.state.lcr", "7");
    let Kind::Table(state) = property(&board, "uart0", "state") else { panic!() };
    assert_eq!(state.get("lcr").unwrap().value.kind, Kind::Integer(7));
    assert_eq!(state.get("fifo").unwrap().value, Value::new(vec![Value::new(1), Value::new(2)]));
    let Kind::Table(new) = property(&set("vga.new.deep", "1"), "vga", "new") else { panic!() };
    assert_eq!(new.get("deep").unwrap().value.kind, Kind::Integer(1));
}

#[test]
fn an_override_changes_nothing_else_and_keeps_the_places_of_the_file() {
    let mut board = board();
    board.set("uart0.backend", "none").unwrap();
    board.set("uart0.backend", "stdio").unwrap();
    assert_eq!(board, super::board());
    let window = board.region("window").unwrap();
    assert_eq!(
        window.origin.error("at", "overlaps").to_string(),
        "board.toml:35:6: region.window.at: overlaps"
    );
    let uart = board.device("uart0").unwrap();
    assert_eq!(uart.origin.error("backend", "odd").to_string(), "--set: device.uart0.backend: odd");
}

#[test]
fn overrides_that_are_wrong_are_refused_and_change_nothing() {
    let refused = |key: &str, value: &str| {
        let mut board = board();
        let error = board.set(key, value).unwrap_err().to_string();
        assert_eq!(board, super::board(), "{key}");
        error
    };
    assert_eq!(
        refused("uart.backend", "stdio"),
        "--set: uart.backend: there is no device `uart`, did you mean `uart0`?"
    );
    assert_eq!(refused("backend", "stdio"), "--set: backend: not of the form `device.property`");
    assert_eq!(refused("uart0.", "stdio"), "--set: uart0.: not of the form `device.property`");
    assert_eq!(refused(".x", "stdio"), "--set: .x: not of the form `device.property`");
    assert_eq!(refused("uart0.backend.x", "stdio"), "--set: uart0.backend.x: `backend` is not a table");
    assert_eq!(
        refused("uart0.at", "12Q"),
        "--set: device.uart0.at: \"12Q\" is not an address (an integer, \"0x...\", or a number with a suffix K, M, G, T, P or E; below 2^64)"
    );
    assert_eq!(refused("plic.at", "0"), "--set: device.plic.at: `at` and `map` exclude each other");
    assert_eq!(
        refused("plic.name", "x"),
        "board.toml:61:16: device.uart0.wire.irq: there is no device `plic`"
    );
    assert_eq!(refused("cpu.harts", "four"), "--set: cpu.harts: expected an integer, found a string");
    assert_eq!(
        refused("cpu.hart", "4"),
        "--set: cpu: unknown key `hart`, did you mean `harts`? known keys: type, harts, space, ports, reset-pc, timebase, boot"
    );
    assert_eq!(
        refused("machine.memory", "lots"),
        "--set: machine.memory: \"lots\" is not a size (bytes as an integer, as \"0x...\", or with a suffix K, M, G, T, P or E; at most \"16E\")"
    );
    assert!(refused(&["uart0"; 18].join("."), "1").ends_with(": more than 16 keys deep"));
    let mut alone = MachineSpec::from_toml("m.toml", "machine = { name = \"m\" }").unwrap();
    assert_eq!(
        alone.set("cpu.harts", "4").unwrap_err().to_string(),
        "--set: cpu.harts: the machine has no [cpu]"
    );
}
