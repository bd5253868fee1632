//! Each mistake, and the text that it is told with.

use super::*;

/// The error of a machine that starts with two regions and a space, on lines 1 to 4, and goes on with `text`.
fn refused(text: &str) -> String {
    let start = concat!(
        "machine = { name = \"m\" }\n",
        "space = [{ name = \"memory\", root = \"all\" }]\n",
        "region = [{ name = \"all\", kind = \"container\", size = \"16E\" },\n",
        "{ name = \"r\", kind = \"ram\", size = \"1M\" }]\n",
    );
    MachineSpec::from_toml("m.toml", &format!("{start}{text}")).unwrap_err().to_string()
}

/// The error of a machine whose one region, besides the container `all`, has these keys on line 3.
fn refused_region(keys: &str) -> String {
    let text = format!(
        "machine = {{ name = \"m\" }}\nregion = [{{ name = \"all\", kind = \"container\", size = \"16E\" }},\n{{ {keys} }}]"
    );
    MachineSpec::from_toml("m.toml", &text).unwrap_err().to_string()
}

fn refused_device(keys: &str) -> String {
    refused(&format!("[[device]]\n{keys}"))
}

fn refused_cpu(keys: &str) -> String {
    refused(&format!("[cpu]\n{keys}"))
}

fn refused_machine(text: &str) -> String {
    MachineSpec::from_toml("m.toml", text).unwrap_err().to_string()
}

#[test]
fn text_that_is_no_toml() {
    assert_eq!(refused_machine("[machine\nname = 1"), "m.toml:1:9: not TOML: unclosed table, expected `]`");
    assert_eq!(refused_machine(""), "m.toml:1:1: missing key `machine`");
}

#[test]
fn tables_and_keys_of_the_machine() {
    assert_eq!(refused_machine("[[device]]"), "m.toml:1:1: missing key `machine`");
    assert_eq!(refused_machine("[machine]"), "m.toml:1:1: machine: missing key `name`");
    assert_eq!(refused_machine("machine = 1"), "m.toml:1:11: machine: expected a table, found an integer");
    assert_eq!(
        refused_machine("[machine]\nname = 1"),
        "m.toml:2:8: machine.name: expected a string, found an integer"
    );
    assert_eq!(
        refused_machine("[machine]\nname = \"m\"\nmemroy = 1"),
        "m.toml:3:1: machine: unknown key `memroy`, did you mean `memory`? known keys: name, description, memory"
    );
    assert_eq!(
        refused_machine("[machine]\nname = \"m\"\nmemory = \"17E\""),
        "m.toml:3:10: machine.memory: \"17E\" is not a size (bytes as an integer, as \"0x...\", or with a suffix K, M, G, T, P or E; at most \"16E\")"
    );
    assert_eq!(
        refused_machine("[machine]\nname = \"m\"\n[devices]"),
        "m.toml:3:2: unknown key `devices`, did you mean `device`? known keys: machine, region, space, device, cpu"
    );
    assert_eq!(
        refused_machine("[machine]\nname = \"m\"\n[device]"),
        "m.toml:3:1: device: expected an array of tables ([[device]]), found a table"
    );
}

#[test]
fn unknown_keys_with_and_without_a_near_one() {
    assert_eq!(
        refused_region(r#"name = "x", kind = "ram", size = 1, prioirty = 1"#),
        "m.toml:3:39: region.x: unknown key `prioirty`, did you mean `priority`? known keys: name, kind, size, target, offset, file, into, at, priority, overlap, shows, enabled, read-only, nonvolatile, unmergeable"
    );
    assert_eq!(
        refused_region(r#"name = "x", kind = "ram", size = 1, colour = 1"#),
        "m.toml:3:39: region.x: unknown key `colour`; known keys: name, kind, size, target, offset, file, into, at, priority, overlap, shows, enabled, read-only, nonvolatile, unmergeable"
    );
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    assert_eq!(
        refused_region(r#"name = "a\u001bb", kind = "ram\n", size = 1"#),
        "m.toml:3:29: region.a\\u{1b}b.kind: unknown kind `ram\\n`, did you mean `ram`? known: container, ram, rom, alias, reservation"
    );
}

#[test]
fn missing_keys() {
    assert_eq!(refused_region(r#"kind = "ram", size = 1"#), "m.toml:3:1: region[1]: missing key `name`");
    assert_eq!(refused_region(r#"name = "x", size = 1"#), "m.toml:3:1: region.x: missing key `kind`");
    assert_eq!(refused_region(r#"name = "x", kind = "ram""#), "m.toml:3:1: region.x: missing key `size`");
    assert_eq!(
        refused_region(r#"name = "x", kind = "alias", size = 1"#),
        "m.toml:3:1: region.x: missing key `target`"
    );
    assert_eq!(refused_device("name = \"d\""), "m.toml:5:1: device.d: missing key `type`");
    assert_eq!(refused_device("type = \"t\""), "m.toml:5:1: device[0]: missing key `name`");
    assert_eq!(refused_cpu("harts = 1"), "m.toml:5:1: cpu: missing key `type`");
    assert_eq!(
        refused_machine("machine = { name = \"m\" }\nspace = [{ name = \"s\" }]"),
        "m.toml:2:10: space.s: missing key `root`"
    );
}

#[test]
fn wrong_types() {
    assert_eq!(
        refused_region(r#"name = "x", kind = 1, size = 1"#),
        "m.toml:3:22: region.x.kind: expected a string, found an integer"
    );
    assert_eq!(
        refused_region(r#"name = "x", kind = "ram", size = 1.5"#),
        "m.toml:3:36: region.x.size: expected a size, found a float"
    );
    assert_eq!(
        refused_region(r#"name = "x", kind = "ram", size = 1, enabled = "no""#),
        "m.toml:3:49: region.x.enabled: expected a boolean, found a string"
    );
    assert_eq!(
        refused_region(r#"name = "x", kind = "ram", size = 1, into = "all", priority = "1""#),
        "m.toml:3:64: region.x.priority: expected an integer, found a string"
    );
    assert_eq!(
        refused_region(r#"name = "x", kind = "ram", size = 1, into = ["all"]"#),
        "m.toml:3:46: region.x.into: expected a string, found an array"
    );
    assert_eq!(
        refused_device("name = \"d\"\ntype = \"t\"\nmap = 1"),
        "m.toml:8:7: device.d.map: expected a table or an array of tables, found an integer"
    );
    assert_eq!(
        refused_device("name = \"d\"\ntype = \"t\"\nmap = [{ into = \"all\" }, 1]"),
        "m.toml:8:26: device.d.map[1]: expected a table, found an integer"
    );
    assert_eq!(
        refused_device("name = \"d\"\ntype = \"t\"\nwire = \"x\""),
        "m.toml:8:8: device.d.wire: expected a table, found a string"
    );
    assert_eq!(
        refused_device("name = \"d\"\ntype = \"t\"\nwire = { irq = 1 }"),
        "m.toml:8:16: device.d.wire.irq: expected a string, found an integer"
    );
    assert_eq!(
        refused_cpu("type = \"rv64\"\nboot = 1"),
        "m.toml:7:8: cpu.boot: expected a table, found an integer"
    );
    assert_eq!(
        refused_machine("region = 1\nmachine = { name = \"m\" }"),
        "m.toml:1:10: region: expected an array of tables ([[region]]), found an integer"
    );
    assert_eq!(
        refused_machine("region = [1]\nmachine = { name = \"m\" }"),
        "m.toml:1:11: region[0]: expected a table, found an integer"
    );
}

#[test]
fn words_sizes_addresses_and_bounds() {
    assert_eq!(
        refused_region(r#"name = "x", kind = "rma", size = 1"#),
        "m.toml:3:22: region.x.kind: unknown kind `rma`, did you mean `ram`? known: container, ram, rom, alias, reservation"
    );
    assert_eq!(
        refused_region(r#"name = "x", kind = "mmio", size = 1"#),
        "m.toml:3:22: region.x.kind: regions of kind `mmio` come from devices; a file declares container, ram, rom, alias, reservation"
    );
    assert_eq!(
        refused_region(r#"name = "vga-window", kind = "ram", size = "12Q""#),
        "m.toml:3:45: region.vga-window.size: \"12Q\" is not a size (bytes as an integer, as \"0x...\", or with a suffix K, M, G, T, P or E; at most \"16E\")"
    );
    assert_eq!(
        refused_region(r#"name = "x", kind = "ram", size = -1"#),
        "m.toml:3:36: region.x.size: -1 is not a size (bytes as an integer, as \"0x...\", or with a suffix K, M, G, T, P or E; at most \"16E\")"
    );
    assert_eq!(
        refused_region(r#"name = "x", kind = "ram", size = 1, into = "all", at = "16E""#),
        "m.toml:3:58: region.x.at: \"16E\" is not an address (an integer, \"0x...\", or a number with a suffix K, M, G, T, P or E; below 2^64)"
    );
    assert_eq!(
        refused_region(r#"name = "x", kind = "ram", size = 1, into = "all", at = "0x1 000""#),
        "m.toml:3:58: region.x.at: \"0x1 000\" is not an address (an integer, \"0x...\", or a number with a suffix K, M, G, T, P or E; below 2^64)"
    );
    assert_eq!(
        refused_region(r#"name = "x", kind = "ram", size = 1, into = "all", priority = 2147483648"#),
        "m.toml:3:64: region.x.priority: 2147483648 is out of range (-2147483648 to 2147483647)"
    );
    assert_eq!(
        refused_cpu("type = \"rv32\""),
        "m.toml:6:8: cpu.type: unknown type `rv32`; known: rv64, x86-64"
    );
    assert_eq!(
        refused_cpu("type = \"x86-64\"\nharts = 2"),
        "m.toml:7:9: cpu.harts: 2 is out of range (1 to 1)"
    );
    assert_eq!(
        refused_cpu("type = \"x86-64\"\ntimebase = 1"),
        "m.toml:7:12: cpu.timebase: a CPU of type `x86-64` has no `timebase`"
    );
    assert_eq!(
        refused_cpu("type = \"x86-64\"\nboot = { dtb-at = 0 }"),
        "m.toml:7:19: cpu.boot.dtb-at: a CPU of type `x86-64` has no `dtb-at`"
    );
    assert_eq!(
        refused_cpu("type = \"rv64\"\nports = \"memory\""),
        "m.toml:7:9: cpu.ports: a CPU of type `rv64` has no `ports`"
    );
    assert_eq!(
        refused_cpu("type = \"x86-64\"\nports = \"memroy\""),
        "m.toml:7:9: cpu.ports: there is no space `memroy`, did you mean `memory`?"
    );
    assert_eq!(
        refused_cpu("type = \"rv64\"\nharts = 0"),
        "m.toml:7:9: cpu.harts: 0 is out of range (1 to 32)"
    );
    assert_eq!(
        refused_cpu("type = \"rv64\"\nharts = 33"),
        "m.toml:7:9: cpu.harts: 33 is out of range (1 to 32)"
    );
    assert_eq!(
        refused_cpu("type = \"rv64\"\ntimebase = 0"),
        "m.toml:7:12: cpu.timebase: 0 is out of range (1 to 18446744073709551615)"
    );
    assert_eq!(
        refused_cpu("type = \"rv64\"\nboot = { kernel-at = \"x\" }"),
        "m.toml:7:22: cpu.boot.kernel-at: \"x\" is not an address (an integer, \"0x...\", or a number with a suffix K, M, G, T, P or E; below 2^64)"
    );
}

#[test]
fn ranges_that_end_above_2_64() {
    assert_eq!(
        refused_region(r#"name = "x", kind = "ram", size = "4K", into = "all", at = "0xfffffffffffff001""#),
        "m.toml:3:61: region.x.at: `at` 0xfffffffffffff001 and size 0x1000 end above 2^64"
    );
    assert_eq!(
        refused_region(r#"name = "x", kind = "alias", target = "all", size = "16E", offset = 1"#),
        "m.toml:3:70: region.x.offset: `offset` 0x1 and size 0x10000000000000000 end above 2^64"
    );
    let highest = r#"name = "x", kind = "ram", size = "4K", into = "all", at = "0xfffffffffffff000""#;
    let text = format!(
        "machine = {{ name = \"m\" }}\nregion = [{{ name = \"all\", kind = \"container\", size = \"16E\" }}, {{ {highest} }}]"
    );
    assert!(MachineSpec::from_toml("m.toml", &text).is_ok());
}

#[test]
fn keys_that_do_not_go_together() {
    assert_eq!(
        refused_region(r#"name = "x", kind = "ram", size = 1, target = "all""#),
        "m.toml:3:48: region.x.target: a region of kind `ram` has no `target`"
    );
    assert_eq!(
        refused_region(r#"name = "x", kind = "container", size = 1, file = "f""#),
        "m.toml:3:52: region.x.file: a region of kind `container` has no `file`"
    );
    assert_eq!(
        refused_region(r#"name = "x", kind = "ram", size = 1, at = 0"#),
        "m.toml:3:44: region.x.at: `at` says nothing without `into`"
    );
    assert_eq!(
        refused_region(r#"name = "x", kind = "ram", size = "memory""#),
        "m.toml:3:36: region.x.size: \"memory\" stands for `machine.memory`, which is missing"
    );
    assert_eq!(
        refused_device("name = \"d\"\ntype = \"t\"\nat = 1\nmap = []"),
        "m.toml:8:6: device.d.at: `at` and `map` exclude each other"
    );
    assert_eq!(
        refused_machine("machine = { name = \"m\" }\ndevice = [{ name = \"d\", type = \"t\", at = 0 }]"),
        "m.toml:2:42: device.d.at: `at` is in the first address space, and the machine has none"
    );
    assert_eq!(
        refused_machine(
            "machine = { name = \"m\" }\ndevice = [{ name = \"d\", type = \"t\", map = { at = 0 } }]"
        ),
        "m.toml:2:50: device.d.map.at: `at` says nothing without `into`"
    );
    assert_eq!(
        refused_machine("machine = { name = \"m\" }\ncpu = { type = \"rv64\" }"),
        "m.toml:2:7: cpu: a CPU needs an address space, and the machine has none"
    );
}

#[test]
fn names_that_are_taken_or_cannot_be() {
    assert_eq!(
        refused_region(r#"name = "all", kind = "ram", size = 1"#),
        "m.toml:3:10: region.all.name: a second region named `all`, the first is at 2:20"
    );
    assert_eq!(
        refused_region(r#"name = "", kind = "ram", size = 1"#),
        "m.toml:3:10: region[1].name: the name is empty"
    );
    let device = "[[device]]\nname = \"d\"\ntype = \"t\"\n";
    assert_eq!(
        refused(&format!("{device}{device}")),
        "m.toml:9:8: device.d.name: a second device named `d`, the first is at 6:8"
    );
    assert_eq!(
        refused_device("name = \"cpu\"\ntype = \"t\""),
        "m.toml:6:8: device.cpu.name: a device cannot be named `cpu` (not `cpu`, not `machine`, no `.`, no `:`)"
    );
    assert_eq!(
        refused_device("name = \"a.b\"\ntype = \"t\""),
        "m.toml:6:8: device.a.b.name: a device cannot be named `a.b` (not `cpu`, not `machine`, no `.`, no `:`)"
    );
    assert_eq!(
        refused_machine(
            "machine = { name = \"m\" }\nspace = [{ name = \"s\", root = \"x\" }, { name = \"s\" }]"
        ),
        "m.toml:2:47: space.s.name: a second space named `s`, the first is at 2:19"
    );
}

#[test]
fn references_that_lead_nowhere() {
    assert_eq!(
        refused_region(r#"name = "x", kind = "ram", size = 1, into = "al""#),
        "m.toml:3:46: region.x.into: there is no region `al`, did you mean `all`?"
    );
    assert_eq!(
        refused_region(r#"name = "x", kind = "alias", size = 1, target = "vga.vram""#),
        "m.toml:3:50: region.x.target: there is no device `vga`"
    );
    assert_eq!(
        refused_machine("machine = { name = \"m\" }\nspace = [{ name = \"s\", root = \"system\" }]"),
        "m.toml:2:31: space.s.root: there is no region `system`"
    );
    assert_eq!(
        refused_device("name = \"d\"\ntype = \"t\"\nmap = { into = \"nowhere\" }"),
        "m.toml:8:16: device.d.map.into: there is no region `nowhere`"
    );
    assert_eq!(
        refused_device("name = \"plic\"\ntype = \"t\"\nwire = { irq = [\"plic:1\", \"plc:2\"] }"),
        "m.toml:8:27: device.plic.wire.irq: there is no device `plc`, did you mean `plic`?"
    );
    assert_eq!(
        refused_device("name = \"d\"\ntype = \"t\"\nwire = { irq = \"cpu\" }"),
        "m.toml:8:16: device.d.wire.irq: the machine has no [cpu]"
    );
    assert_eq!(
        refused_device("name = \"d\"\ntype = \"t\"\nwire = { irq = \"d:1:2\" }"),
        "m.toml:8:16: device.d.wire.irq: \"d:1:2\" is not a wire's end (\"TARGET[:GROUP][:INDEX]\", such as \"plic:10\")"
    );
    assert_eq!(
        refused_device("name = \"d\"\ntype = \"t\"\nwire = { irq = [] }"),
        "m.toml:8:16: device.d.wire.irq: a wire without an end"
    );
    assert_eq!(
        refused_cpu("type = \"rv64\"\nspace = \"memroy\""),
        "m.toml:7:9: cpu.space: there is no space `memroy`, did you mean `memory`?"
    );
}

#[test]
fn json_has_the_same_errors_with_its_own_places() {
    let refused = |text: &str| MachineSpec::from_json("m.json", text).unwrap_err().to_string();
    assert_eq!(
        refused("{\n  \"machine\": {\"name\": \"m\", \"memory\": \"12Q\"}\n}"),
        "m.json:2:38: machine.memory: \"12Q\" is not a size (bytes as an integer, as \"0x...\", or with a suffix K, M, G, T, P or E; at most \"16E\")"
    );
    assert_eq!(
        refused("{\n  \"machine\": {\"nmae\": \"m\"}\n}"),
        "m.json:2:15: machine: unknown key `nmae`, did you mean `name`? known keys: name, description, memory"
    );
    assert_eq!(refused("[]"), "m.json:1:1: expected a table, found an array");
    assert_eq!(refused("{\"machine\": }"), "m.json:1:13: not JSON: unexpected close brace");
}
