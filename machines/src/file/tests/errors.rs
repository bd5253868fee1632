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
    assert_eq!(refused_machine("[machine\nname = 1"), "");
    assert_eq!(refused_machine(""), "");
}

#[test]
fn tables_and_keys_of_the_machine() {
    assert_eq!(refused_machine("[[device]]"), "");
    assert_eq!(refused_machine("[machine]"), "");
    assert_eq!(refused_machine("machine = 1"), "");
    assert_eq!(refused_machine("[machine]\nname = 1"), "");
    assert_eq!(refused_machine("[machine]\nname = \"m\"\nmemroy = 1"), "");
    assert_eq!(refused_machine("[machine]\nname = \"m\"\nmemory = \"17E\""), "");
    assert_eq!(refused_machine("[machine]\nname = \"m\"\n[devices]"), "");
    assert_eq!(refused_machine("[machine]\nname = \"m\"\n[device]"), "");
}

#[test]
fn unknown_keys_with_and_without_a_near_one() {
    assert_eq!(refused_region(r#"name = "x", kind = "ram", size = 1, prioirty = 1"#), "");
    assert_eq!(refused_region(r#"name = "x", kind = "ram", size = 1, colour = 1"#), "");
}

#[test]
fn missing_keys() {
    assert_eq!(refused_region(r#"kind = "ram", size = 1"#), "");
    assert_eq!(refused_region(r#"name = "x", size = 1"#), "");
    assert_eq!(refused_region(r#"name = "x", kind = "ram""#), "");
    assert_eq!(refused_region(r#"name = "x", kind = "alias", size = 1"#), "");
    assert_eq!(refused_device("name = \"d\""), "");
    assert_eq!(refused_device("type = \"t\""), "");
    assert_eq!(refused_cpu("harts = 1"), "");
    assert_eq!(refused_machine("machine = { name = \"m\" }\nspace = [{ name = \"s\" }]"), "");
}

#[test]
fn wrong_types() {
    assert_eq!(refused_region(r#"name = "x", kind = 1, size = 1"#), "");
    assert_eq!(refused_region(r#"name = "x", kind = "ram", size = 1.5"#), "");
    assert_eq!(refused_region(r#"name = "x", kind = "ram", size = 1, enabled = "no""#), "");
    assert_eq!(refused_region(r#"name = "x", kind = "ram", size = 1, into = "all", priority = "1""#), "");
    assert_eq!(refused_region(r#"name = "x", kind = "ram", size = 1, into = ["all"]"#), "");
    assert_eq!(refused_device("name = \"d\"\ntype = \"t\"\nmap = 1"), "");
    assert_eq!(refused_device("name = \"d\"\ntype = \"t\"\nmap = [{ into = \"all\" }, 1]"), "");
    assert_eq!(refused_device("name = \"d\"\ntype = \"t\"\nwire = \"x\""), "");
    assert_eq!(refused_device("name = \"d\"\ntype = \"t\"\nwire = { irq = 1 }"), "");
    assert_eq!(refused_cpu("type = \"rv64\"\nboot = 1"), "");
    assert_eq!(refused_machine("region = 1\nmachine = { name = \"m\" }"), "");
    assert_eq!(refused_machine("region = [1]\nmachine = { name = \"m\" }"), "");
}

#[test]
fn words_sizes_addresses_and_bounds() {
    assert_eq!(refused_region(r#"name = "x", kind = "rma", size = 1"#), "");
    assert_eq!(refused_region(r#"name = "x", kind = "mmio", size = 1"#), "");
    assert_eq!(refused_region(r#"name = "vga-window", kind = "ram", size = "12Q""#), "");
    assert_eq!(refused_region(r#"name = "x", kind = "ram", size = -1"#), "");
    assert_eq!(refused_region(r#"name = "x", kind = "ram", size = 1, into = "all", at = "16E""#), "");
    assert_eq!(refused_region(r#"name = "x", kind = "ram", size = 1, into = "all", at = "0x1 000""#), "");
    assert_eq!(
        refused_region(r#"name = "x", kind = "ram", size = 1, into = "all", priority = 2147483648"#), "");
    assert_eq!(refused_cpu("type = \"rv32\""), "");
    assert_eq!(refused_cpu("type = \"rv64\"\nharts = 0"), "");
    assert_eq!(refused_cpu("type = \"rv64\"\nharts = 33"), "");
    assert_eq!(refused_cpu("type = \"rv64\"\ntimebase = 0"), "");
    assert_eq!(refused_cpu("type = \"rv64\"\nboot = { kernel-at = \"x\" }"), "");
}

#[test]
fn ranges_that_end_above_2_64() {
    assert_eq!(
        refused_region(r#"name = "x", kind = "ram", size = "4K", into = "all", at = "0xfffffffffffff001""#), "");
    assert_eq!(refused_region(r#"name = "x", kind = "alias", target = "all", size = "16E", offset = 1"#), "");
    let highest = r#"name = "x", kind = "ram", size = "4K", into = "all", at = "0xfffffffffffff000""#;
    let text = format!(
        "machine = {{ name = \"m\" }}\nregion = [{{ name = \"all\", kind = \"container\", size = \"16E\" }}, {{ {highest} }}]"
    );
    assert!(MachineSpec::from_toml("m.toml", &text).is_ok());
}

#[test]
fn keys_that_do_not_go_together() {
    assert_eq!(refused_region(r#"name = "x", kind = "ram", size = 1, target = "all""#), "");
    assert_eq!(refused_region(r#"name = "x", kind = "container", size = 1, file = "f""#), "");
    assert_eq!(refused_region(r#"name = "x", kind = "ram", size = 1, at = 0"#), "");
    assert_eq!(refused_region(r#"name = "x", kind = "ram", size = "memory""#), "");
    assert_eq!(refused_device("name = \"d\"\ntype = \"t\"\nat = 1\nmap = []"), "");
    assert_eq!(
        refused_machine("machine = { name = \"m\" }\ndevice = [{ name = \"d\", type = \"t\", at = 0 }]"), "");
    assert_eq!(
        refused_machine(
            "machine = { name = \"m\" }\ndevice = [{ name = \"d\", type = \"t\", map = { at = 0 } }]"
        ), "");
    assert_eq!(refused_machine("machine = { name = \"m\" }\ncpu = { type = \"rv64\" }"), "");
}

#[test]
fn names_that_are_taken_or_cannot_be() {
    assert_eq!(refused_region(r#"name = "all", kind = "ram", size = 1"#), "");
    assert_eq!(refused_region(r#"name = "", kind = "ram", size = 1"#), "");
    let device = "[[device]]\nname = \"d\"\ntype = \"t\"\n";
    assert_eq!(refused(&format!("{device}{device}")), "");
    assert_eq!(refused_device("name = \"cpu\"\ntype = \"t\""), "");
    assert_eq!(refused_device("name = \"a.b\"\ntype = \"t\""), "");
    assert_eq!(
        refused_machine(
            "machine = { name = \"m\" }\nspace = [{ name = \"s\", root = \"x\" }, { name = \"s\" }]"
        ), "");
}

#[test]
fn references_that_lead_nowhere() {
    assert_eq!(refused_region(r#"name = "x", kind = "ram", size = 1, into = "al""#), "");
    assert_eq!(refused_region(r#"name = "x", kind = "alias", size = 1, target = "vga.vram""#), "");
    assert_eq!(
        refused_machine("machine = { name = \"m\" }\nspace = [{ name = \"s\", root = \"system\" }]"), "");
    assert_eq!(refused_device("name = \"d\"\ntype = \"t\"\nmap = { into = \"nowhere\" }"), "");
    assert_eq!(refused_device("name = \"plic\"\ntype = \"t\"\nwire = { irq = [\"plic:1\", \"plc:2\"] }"), "");
    assert_eq!(refused_device("name = \"d\"\ntype = \"t\"\nwire = { irq = \"cpu\" }"), "");
    assert_eq!(refused_device("name = \"d\"\ntype = \"t\"\nwire = { irq = \"d:1:2\" }"), "");
    assert_eq!(refused_device("name = \"d\"\ntype = \"t\"\nwire = { irq = [] }"), "");
    assert_eq!(refused_cpu("type = \"rv64\"\nspace = \"memroy\""), "");
}

#[test]
fn json_has_the_same_errors_with_its_own_places() {
    let refused = |text: &str| MachineSpec::from_json("m.json", text).unwrap_err().to_string();
    assert_eq!(refused("{\n  \"machine\": {\"name\": \"m\", \"memory\": \"12Q\"}\n}"), "");
    assert_eq!(refused("{\n  \"machine\": {\"nmae\": \"m\"}\n}"), "");
    assert_eq!(refused("[]"), "");
    assert_eq!(refused("{\"machine\": }"), "");
}
