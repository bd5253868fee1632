//! Properties through serde: into trait objects found by their tag, and errors at their keys.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::*;

#[typetag::serde(tag = "type")]
trait Gadget: std::fmt::Debug {}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Lamp {
    watts: u64,
    #[serde(default)]
    offset: i32,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    colour: Colour,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    dim: f64,
    #[serde(default)]
    state: LampState,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LampState {
    on: bool,
    levels: Vec<u8>,
    #[serde(default)]
    limits: BTreeMap<String, (u16, u16)>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Colour {
    #[default]
    White,
    WarmWhite,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    Steady,
    Blink {
        hertz: u32,
    },
    Level(u8),
}

#[typetag::serde(name = "test-lamp")]
impl Gadget for Lamp {}

/// A device with these keys, which start on line 6.
fn machine_with(type_name: &str, keys: &str) -> MachineSpec {
    let text = format!("[machine]\nname = \"m\"\n[[device]]\ntype = \"{type_name}\"\nname = \"d\"\n{keys}\n");
    MachineSpec::from_toml("m.toml", &text).unwrap()
}

fn built(keys: &str) -> serde_json::Value {
    let machine = machine_with("test-lamp", keys);
    let gadget: Box<dyn Gadget> = machine.devices[0].deserialize_properties().unwrap();
    serde_json::to_value(gadget).unwrap()
}

fn refused(keys: &str) -> String {
    let machine = machine_with("test-lamp", keys);
    machine.devices[0].deserialize_properties::<Box<dyn Gadget>>().unwrap_err().to_string()
}

#[test]
fn a_trait_object_is_built_by_its_tag() {
    let gadget = built("watts = 0xffff_ffff_ffff_ffff\nlabel = \"l\"\ndim = 1");
    assert_eq!(gadget["type"], "test-lamp");
    assert_eq!(gadget["watts"], u64::MAX);
    assert_eq!(gadget["label"], "l");
    assert_eq!(gadget["dim"], 1.0);
    let state = "state = { on = true, levels = [1, 255], limits = { a = [1, 2] } }";
    assert_eq!(built(&format!("watts = 1\n{state}"))["state"]["limits"]["a"][1], 2);
}

#[test]
fn integers_may_be_text_with_a_suffix_and_text_stays_text() {
    let gadget = built("watts = \"64K\"\noffset = \"0x10\"\nlabel = \"64K\"");
    assert_eq!((&gadget["watts"], &gadget["offset"]), (&65536.into(), &16.into()));
    assert_eq!(gadget["label"], "64K");
}

#[test]
fn enumerations_are_words_or_tables_of_one_key() {
    let gadget = built("watts = 1\ncolour = \"warm-white\"\nmode = { blink = { hertz = 2 } }");
    assert_eq!((&gadget["colour"], &gadget["mode"]["blink"]["hertz"]), (&"warm-white".into(), &2.into()));
    assert_eq!(built("watts = 1\nmode = { level = \"0x10\" }")["mode"]["level"], 16);
}

#[test]
fn what_the_device_refuses_is_told_at_its_key() {
    assert_eq!(refused(""), "m.toml:3:1: device.d: missing key `watts`");
    assert_eq!(
        refused("watts = 1\nwats = 2"),
        "m.toml:7:1: device.d: unknown key `wats`, did you mean `watts`? known keys: watts, offset, label, colour, mode, dim, state"
    );
    assert_eq!(
        refused("watts = 1\n\nsurprise = 2"),
        "m.toml:8:1: device.d: unknown key `surprise`; known keys: watts, offset, label, colour, mode, dim, state"
    );
    assert_eq!(refused("watts = true"), "m.toml:6:9: device.d.watts: expected u64, found boolean `true`");
    assert_eq!(refused("watts = \"12Q\""), "m.toml:6:9: device.d.watts: expected u64, found string \"12Q\"");
    assert_eq!(refused("watts = -1"), "m.toml:6:9: device.d.watts: expected u64, found integer `-1`");
    assert_eq!(
        refused("watts = 1\noffset = 2147483648"),
        "m.toml:7:10: device.d.offset: expected i32, found integer `2147483648`"
    );
    assert_eq!(
        refused("watts = 1\ncolour = \"wite\""),
        "m.toml:7:10: device.d.colour: unknown word `wite`, did you mean `white`? known: white, warm-white"
    );
    assert_eq!(
        refused("watts = 1\ncolour = 3"),
        "m.toml:7:10: device.d.colour: expected one of white, warm-white, found an integer"
    );
    assert_eq!(
        refused("watts = 1\nmode = { blink = { hertz = -1 } }"),
        "m.toml:7:28: device.d.mode.blink.hertz: expected u32, found integer `-1`"
    );
    assert_eq!(
        refused("watts = 1\nmode = { blink = { herz = 1 } }"),
        "m.toml:7:18: device.d.mode.blink: missing key `hertz`"
    );
    assert_eq!(
        refused("watts = 1\nmode = { level = 256 }"),
        "m.toml:7:18: device.d.mode.level: expected u8, found integer `256`"
    );
    assert_eq!(
        refused("watts = 1\nstate = 1"),
        "m.toml:7:9: device.d.state: expected struct LampState, found integer `1`"
    );
    assert_eq!(
        refused("watts = 1\nstate = { on = true }"),
        "m.toml:7:9: device.d.state: missing key `levels`"
    );
    assert_eq!(
        refused("watts = 1\n[device.state]\non = true\nlevels = [1,\n 256]"),
        "m.toml:10:2: device.d.state.levels[1]: expected u8, found integer `256`"
    );
    assert_eq!(
        refused("watts = 1\n[device.state]\non = true\nlevels = []\nlevel = 1"),
        "m.toml:10:1: device.d.state: unknown key `level`, did you mean `levels`? known keys: on, levels, limits"
    );
    assert_eq!(
        refused("watts = 1\nstate = { on = true, levels = [], limits = { a = [1, 2, 3] } }"),
        "m.toml:7:50: device.d.state.limits.a: expected 2 items, found 3"
    );
    assert_eq!(
        refused("watts = 1\nstate = { on = true, levels = [], limits = { a = [1] } }"),
        "m.toml:7:50: device.d.state.limits.a: invalid length 1, expected a tuple of size 2"
    );
}

#[test]
fn an_unknown_type_is_told_with_the_types_there_are() {
    let machine = machine_with("test-lmap", "watts = 1");
    let error = machine.devices[0].deserialize_properties::<Box<dyn Gadget>>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "m.toml:4:8: device.d.type: unknown device type `test-lmap`, did you mean `test-lamp`? known: test-lamp"
    );
}

#[test]
fn an_override_that_the_device_refuses_is_told_as_one() {
    let mut machine = machine_with("test-lamp", "watts = 1");
    machine.set("d.watts", "many").unwrap();
    let error = machine.devices[0].deserialize_properties::<Box<dyn Gadget>>().unwrap_err();
    assert_eq!(error.to_string(), "--set: device.d.watts: expected u64, found string \"many\"");
    machine.set("d.watts", "2").unwrap();
    machine.set("d.wats", "2").unwrap();
    let error = machine.devices[0].deserialize_properties::<Box<dyn Gadget>>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "--set: device.d: unknown key `wats`, did you mean `watts`? known keys: watts, offset, label, colour, mode, dim, state"
    );
}

#[test]
fn a_snapshot_of_a_device_reads_back_as_that_device() {
    let mut machine = machine_with("test-lamp", "watts = 1");
    let now = Lamp {
        watts: u64::MAX,
        offset: i32::MIN,
        label: None,
        colour: Colour::WarmWhite,
        mode: Mode::Level(7),
        dim: 0.1,
        state: LampState { on: true, levels: vec![1, 2], limits: BTreeMap::from([("a b".into(), (1, 2))]) },
    };
    let saved = serde_json::to_value(&now as &dyn Gadget).unwrap();
    machine.device_mut("d").unwrap().replace_properties(saved.clone()).unwrap();
    let again = MachineSpec::from_toml("snapshot.toml", &machine.to_toml()).unwrap();
    assert_eq!(again, machine);
    let restored: Box<dyn Gadget> = again.devices[0].deserialize_properties().unwrap();
    assert_eq!(serde_json::to_value(&*restored).unwrap(), saved);
}

#[test]
fn properties_that_cannot_be_written_to_a_file_are_refused() {
    let machine = machine_with("test-lamp", "watts = 1");
    let refused = |json| {
        let mut device = machine.devices[0].clone();
        let error = device.replace_properties(json).unwrap_err().to_string();
        assert_eq!(device, machine.devices[0]);
        error
    };
    assert_eq!(
        refused(serde_json::json!([1])),
        "m.toml:3:1: device.d: the device was not serialised to an object"
    );
    assert_eq!(
        refused(serde_json::json!({"type": "other", "watts": 1})),
        "m.toml:4:8: device.d.type: the properties are those of another type of device"
    );
    assert_eq!(
        refused(serde_json::json!({"at": 1})),
        "m.toml:3:1: device.d: a device cannot have a property named `at`"
    );
}
