//! Text to specification to text to an equal specification.

use proptest::prelude::*;

use super::*;

fn again(spec: &MachineSpec) -> MachineSpec {
    let text = spec.to_toml();
    MachineSpec::from_toml("again.toml", &text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn a_board_reads_back_equal_from_its_own_text() {
    let board = board();
    assert_eq!(again(&board), board);
    assert_eq!(again(&board).to_toml(), board.to_toml());
}

#[test]
fn the_text_is_what_a_person_would_write() {
    let text = r#"[machine]
name = "m"
memory = "64M"

[[region]]
name = "system"
kind = "container"
size = "16E"

[[region]]
name = "ram"
kind = "ram"
size = "memory"
into = "system"
at = "0x80000000"
priority = 1

[[space]]
name = "memory"
root = "system"

[[device]]
type = "plic"
name = "plic"
map = [
    { region = "regs", into = "system", at = "0xc000000" },
    { into = "system", at = "0x0", overlap = true },
]
wire = { ext = ["cpu:mei", "cpu:mei:1"], err = "plic:3" }
sources = 64

[device.state]
pending = [1, 2]
deep = { x = true, "y z" = "t\n\u0001\"" }

[cpu]
type = "rv64"
harts = 2
space = "memory"
timebase = 10000000
boot = { kernel-at = "0x80200000" }
"#;
    let spec = MachineSpec::from_toml("m.toml", text).unwrap();
    let expected = text.replace(
        "deep = { x = true, \"y z\" = \"t\\n\\u0001\\\"\" }\n",
        "\n[device.state.deep]\nx = true\n\"y z\" = \"t\\n\\u0001\\\"\"\n",
    );
    assert_eq!(spec.to_toml(), expected);
    assert_eq!(again(&spec), spec);
}

#[test]
fn a_change_made_by_the_program_is_written() {
    let mut board = board();
    board.memory = Some(Size::from(12345u64));
    board.regions[1].placement = None;
    board.device_mut("vga").unwrap().maps[1].placement.at = u64::MAX;
    assert_eq!(again(&board), board);
    assert_ne!(board, super::board());
}

#[test]
fn json_says_the_same_as_toml() {
    let json = r#"{
        "machine": { "name": "m", "memory": "16M", "description": null },
        "region": [
            { "name": "system", "kind": "container", "size": "16E" },
            { "name": "ram", "kind": "ram", "size": "memory", "into": "system", "at": 2147483648 }
        ],
        "space": [{ "name": "memory", "root": "system", "endian": "big" }],
        "device": [{
            "type": "uart16550", "name": "uart0", "at": "0x10000000", "wire": { "irq": "cpu:mei" },
            "state": { "fifo": [1, 18446744073709551615], "rate": 1.5 }
        }],
        "cpu": { "type": "rv64" }
    }"#;
    let toml = r#"
        machine = { name = "m", memory = "16M" }
        cpu = { type = "rv64" }
        [[space]]
        name = "memory"
        root = "system"
        endian = "big"
        [[region]]
        name = "system"
        kind = "container"
        size = "0x1_0000_0000_0000_0000"
        [[region]]
        name = "ram"
        kind = "ram"
        size = "memory"
        into = "system"
        at = "0x8000_0000"
        [[device]]
        type = "uart16550"
        name = "uart0"
        map = { into = "system", at = 0x10000000 }
        wire = { irq = ["cpu:mei:0"] }
        state = { rate = 1.5, fifo = [1, 0xffff_ffff_ffff_ffff] }
    "#;
    let json = MachineSpec::from_json("m.json", json).unwrap();
    assert_eq!(json, MachineSpec::from_toml("m.toml", toml).unwrap());
    assert_eq!(again(&json), json);
}

#[test]
fn the_catalog_reads_and_reads_back() {
    for (file, text, regions) in [
        ("pc-example.toml", include_str!("../../../catalog/pc-example.toml"), 6),
        ("bank-switch.toml", include_str!("../../../catalog/bank-switch.toml"), 8),
    ] {
        let spec = MachineSpec::from_toml(file, text).unwrap();
        assert_eq!(spec.name, file.trim_end_matches(".toml"));
        assert_eq!(spec.regions.len(), regions, "{file}");
        assert_eq!(again(&spec), spec);
    }
}

/// Any value that a device's state can hold, a few levels deep.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::new),
        any::<i64>().prop_map(|n| Value::new(i128::from(n))),
        any::<u64>().prop_map(|n| Value::new(i128::from(n))),
        any::<f64>()
            .prop_filter("not a number", |f| !f.is_nan())
            .prop_map(|f| Value { kind: Kind::Float(f), place: Place::Nowhere }),
        any::<String>().prop_map(Value::new),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::new),
            prop::collection::vec((any::<String>(), inner), 0..6).prop_map(|entries| {
                let mut table = Table::default();
                entries.into_iter().for_each(|(key, value)| table.set(key, value));
                Value::new(table)
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_state_reads_back_equal(values in prop::collection::vec(("[a-z]{1,4}[0-9]", value()), 0..4)) {
        let mut spec = board();
        for (key, value) in values {
            spec.devices[0].properties.set(key, value);
        }
        prop_assert_eq!(again(&spec), spec);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*", key in "[a-z.]{0,12}") {
        let _ = MachineSpec::from_toml("m.toml", &text);
        let _ = MachineSpec::from_json("m.json", &text);
        let mut spec = board();
        let _ = spec.set(&key, &text);
    }

    #[test]
    fn a_damaged_board_is_refused_or_reads_back_equal(
        at in 0..BOARD.len(), cut in 0..40usize, put in "[\\[\\]{}=\",.:a-z0-9 \n-]{0,6}",
    ) {
        let end = BOARD.len().min(at + cut);
        let text = format!("{}{put}{}", &BOARD[..at], &BOARD[end..]);
        if let Ok(spec) = MachineSpec::from_toml("m.toml", &text) {
            prop_assert_eq!(again(&spec), spec);
        }
    }
}
