use super::*;
use crate::catalog;
use crate::file::MachineSpec;
use crate::runner::{Runner, Stopped};
use devices::{Clock, Console, Host, PowerRequest};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};

/// Ports and RAM, and nothing else.
const BOARD: &str = r#"
    machine = { name = "board", memory = "1M" }
    space = [{ name = "memory", root = "system" }, { name = "ports", root = "io", unassigned = "all-ones" }]
    [[region]]
    name = "system"
    kind = "container"
    size = "16E"
    [[region]]
    name = "io"
    kind = "container"
    size = "64K"
    [[region]]
    name = "ram"
    kind = "ram"
    size = "memory"
    into = "system"
    at = 0
    [[device]]
    type = "sifive-test"
    name = "finisher"
    at = "0x200000"
"#;

/// The client's end of a connection.
struct Client {
    stream: UnixStream,
    lines: std::io::Lines<BufReader<UnixStream>>,
}

impl Client {
    fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn hear(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().expect("the connection is open").unwrap()).unwrap()
    }

    /// The reply to a command, without events before it.
    fn ask(&mut self, request: &str) -> Value {
        self.say(request.as_bytes());
        let mut heard = self.hear();
        while heard.get("event").is_some() {
            heard = self.hear();
        }
        heard
    }

    fn run(&mut self, command: &str, arguments: Value) -> Value {
        let request = json!({ "execute": command, "arguments": arguments, "id": 1 });
        let mut reply = self.ask(&request.to_string());
        assert_eq!(reply["id"], 1);
        reply.as_object_mut().unwrap().remove("return").unwrap_or_else(|| panic!("{command}: {reply}"))
    }

    fn refused(&mut self, command: &str, arguments: Value) -> (String, String) {
        let reply = self.ask(&json!({ "execute": command, "arguments": arguments }).to_string());
        let text = |name: &str| reply["error"][name].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned();
        (text("class"), text("desc"))
    }

    fn human(&mut self, line: &str) -> String {
        let reply = self.run("human-monitor-command", json!({ "command-line": line }));
        let text = reply.as_str().unwrap();
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{text:?}");
        text.replace("\r\n", "\n")
    }

    /// The name and the data of the next event.
    fn event(&mut self) -> (String, Value) {
        let event = self.hear();
        let time = &event["timestamp"];
        assert!(
            time["seconds"].as_u64() > Some(1_600_000_000) && time["microseconds"].as_u64() < Some(1_000_000)
        );
        (event["event"].as_str().unwrap_or_else(|| panic!("{event}")).to_owned(), event["data"].clone())
    }
}

fn connect(qmp: &Qmp) -> Client {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qmp");
    let listener = UnixListener::bind(&path).unwrap();
    let link = format!("unix:{},server=off", path.display()).parse::<crate::endpoint::Endpoint>().unwrap();
    qmp.start(link.open().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
    Client { stream, lines }
}

/// Runs a board with a client that has not negotiated, until the client has seen enough.
fn with_greeted(spec: MachineSpec, talk: impl FnOnce(&mut Client, &Machine) + Send) -> Stopped {
    let host = Host::new(Clock::stepped(), Console::new(std::io::sink()));
    let machine = Arc::new(Machine::build(spec, host).unwrap());
    let qmp = Qmp::new(&machine);
    let runner = Runner::new(&machine);
    struct QuitInTheEnd<'a>(&'a Machine);
    impl Drop for QuitInTheEnd<'_> {
        fn drop(&mut self) {
            self.0.lifecycle().post(Wish::Quit(crate::lifecycle::Cause::HostUi));
        }
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            let _quit = QuitInTheEnd(&machine);
            talk(&mut connect(&qmp), &machine);
        });
        runner.run_without_cpus().unwrap()
    })
}

fn board() -> MachineSpec {
    MachineSpec::from_toml("board.toml", BOARD).unwrap()
}

/// The same with a client that has negotiated.
fn with_client(talk: impl FnOnce(&mut Client, &Machine) + Send) -> Stopped {
    with_greeted(board(), |client, machine| {
        assert!(client.hear().get("QMP").is_some());
        client.run("qmp_capabilities", json!({}));
        talk(client, machine);
    })
}

fn generic(desc: &str) -> (String, String) {
    ("GenericError".to_owned(), desc.to_owned())
}

#[test]
fn a_client_is_greeted_and_negotiates_before_anything_else() {
    with_greeted(board(), |client, _| {
        let greeting = client.hear();
        assert_eq!(greeting["QMP"]["capabilities"], json!([]));
        assert!(greeting["QMP"]["version"]["qemu"]["major"].is_u64(), "{greeting}");
        let expecting = "Expecting capabilities negotiation with 'qmp_capabilities'";
        let not_found = |desc: &str| ("CommandNotFound".to_owned(), desc.to_owned());
        assert_eq!(client.refused("query-status", json!({})), not_found(expecting));
        assert_eq!(client.refused("nothing", json!({})), not_found(expecting));
        let (class, desc) = client.refused("qmp_capabilities", json!({ "enable": ["oob"] }));
        assert_eq!((class.as_str(), desc.contains("oob")), ("GenericError", true));
        assert_eq!(
            client.ask(r#"{"execute":"qmp_capabilities","id":[1,null]}"#),
            json!({"return": {}, "id": [1, null]})
        );
        let complete = "Capabilities negotiation is already complete, command ignored";
        assert_eq!(client.refused("qmp_capabilities", json!({})), not_found(complete));
        assert_eq!(client.refused("nothing", json!({})), not_found("The command nothing has not been found"));
        let version = client.run("query-version", json!({}));
        assert_eq!(version, greeting["QMP"]["version"]);
        let commands = client.run("query-commands", json!({}));
        let has = |name: &str| commands.as_array().unwrap().contains(&json!({ "name": name }));
        for name in
            ["qmp_capabilities", "query-commands", "stop", "device_add", "qom-get", "human-monitor-command"]
        {
            assert!(has(name), "{name}");
        }
    });
}

#[test]
fn requests_that_are_wrong_get_an_error_with_their_id_and_the_next_one_is_served() {
    with_client(|client, _| {
        for (request, desc) in [
            (r#"{"execute":5,"id":7}"#, "QMP input member 'execute' must be a string"),
            (r#"{"foo":5,"id":7}"#, "QMP input member 'foo' is unexpected"),
            (r#"{"execute":"query-status","foo":1,"id":7}"#, "QMP input member 'foo' is unexpected"),
            (r#"{"execute":"stop","arguments":[],"id":7}"#, "QMP input member 'arguments' must be an object"),
            (r#"{"execute":"query-status","arguments":{"x":1},"id":7}"#, "Parameter 'x' is unexpected"),
            (r#"{"arguments":{},"id":7}"#, "QMP input lacks member 'execute'"),
            (r#"{"execute":"device_del","id":7}"#, "Parameter 'id' is missing"),
            (
                r#"{"execute":"device_del","arguments":{"id":5},"id":7}"#,
                "Invalid parameter type for 'id', expected: string",
            ),
            (
                r#"{"execute":"watchdog-set-action","arguments":{"action":"x"},"id":7}"#,
                "Parameter 'action' does not accept value 'x'",
            ),
        ] {
            let error = json!({ "class": "GenericError", "desc": desc });
            assert_eq!(client.ask(request), json!({ "error": error, "id": 7 }), "{request}");
        }
        for request in [
            "[1]",
            "5 ",
            "\"text\"",
            "nonsense\n",
            "}\n",
            "%p",
            "{\"a\":\"\u{1}",
            "{\u{1}",
            "{\"a\":1,\"a\":1}",
        ] {
            let reply = client.ask(request);
            assert_eq!(reply["error"]["class"], "GenericError", "{request}");
            assert_eq!(reply.as_object().unwrap().len(), 1, "{reply}");
        }
        assert_eq!(client.run("query-status", json!({}))["status"], "running");
    });
}

#[test]
fn the_machine_is_stopped_resumed_and_reset_and_its_clients_hear_of_it() {
    let stopped = with_client(|client, machine| {
        let state = |client: &mut Client| client.run("query-status", json!({}));
        assert_eq!(state(client), json!({ "running": true, "singlestep": false, "status": "running" }));
        client.run("stop", json!({}));
        assert_eq!(state(client), json!({ "running": false, "singlestep": false, "status": "paused" }));
        client.say(br#"{"execute":"cont"}"#);
        assert_eq!(client.event(), ("RESUME".to_owned(), Value::Null));
        assert_eq!(client.hear(), json!({ "return": {} }));
        client.say(br#"{"execute":"system_reset"}"#);
        let reset = |guest, reason| ("RESET".to_owned(), json!({ "guest": guest, "reason": reason }));
        assert_eq!(client.event(), reset(false, "host-qmp-system-reset"));
        assert_eq!(client.hear(), json!({ "return": {} }));
        machine.host().power.request(PowerRequest::Reset);
        assert_eq!(client.event(), reset(true, "guest-reset"));
        client.run("watchdog-set-action", json!({ "action": "none" }));
        machine.host().power.request(PowerRequest::Watchdog);
        assert_eq!(client.event(), ("WATCHDOG".to_owned(), json!({ "action": "none" })));
        client.run("set-action", json!({ "panic": "pause", "shutdown": "pause" }));
        machine.host().power.request(PowerRequest::Panicked);
        assert_eq!(client.event(), ("GUEST_PANICKED".to_owned(), json!({ "action": "pause" })));
        assert_eq!(client.event(), ("STOP".to_owned(), Value::Null));
        assert_eq!(state(client)["status"], "guest-panicked");
        client.run("cont", json!({}));
        machine.host().power.request(PowerRequest::Off { code: 0 });
        machine.lifecycle().settle();
        let (class, desc) = client.refused("cont", json!({}));
        assert_eq!(
            (class.as_str(), desc.as_str()),
            ("GenericError", "Resetting the Virtual Machine is required")
        );
        client.say(br#"{"execute":"quit","id":"q"}"#);
        assert_eq!(client.hear(), json!({ "return": {}, "id": "q" }));
        let quit = json!({ "guest": false, "reason": "host-qmp-quit" });
        assert_eq!(client.event(), ("SHUTDOWN".to_owned(), quit));
    });
    assert_eq!(stopped, Stopped::Quit);
}

#[test]
fn devices_are_added_and_deleted_and_their_end_is_told() {
    with_client(|client, machine| {
        let nope = client.refused("device_add", json!({ "driver": "nope" }));
        assert_eq!(nope, generic("'nope' is not a valid device model name"));
        assert_eq!(client.refused("device_add", json!({})), generic("Parameter 'driver' is missing"));
        let foo = client.refused("device_add", json!({ "driver": "ib700", "foo": 1 }));
        assert_eq!(foo, generic("Property 'ib700.foo' not found"));
        let size = client.refused("device_add", json!({ "driver": "dimm", "id": "m", "size": 1, "at": 0 }));
        assert_eq!(size, generic("dimm.size: 0x1 is not a multiple of 0x1000 above 0"));
        client.run("device_add", json!({ "driver": "ib700", "id": "dog" }));
        assert!(machine.device("dog").is_some());
        let twice = client.refused("device_add", json!({ "driver": "ib700", "id": "dog" }));
        assert_eq!(twice, generic("Duplicate device ID 'dog'"));
        let memory = json!({ "driver": "dimm", "id": "m0", "size": "16M", "at": "0x10000000" });
        client.run("device_add", memory);
        let summary = client.run("query-memory-size-summary", json!({}));
        assert_eq!(summary, json!({ "base-memory": 1 << 20, "plugged-memory": 16 << 20 }));
        let missing = client.refused("device_del", json!({ "id": "cat" }));
        assert_eq!(missing, ("DeviceNotFound".to_owned(), "Device 'cat' not found".to_owned()));
        client.say(br#"{"execute":"device_del","arguments":{"id":"dog"}}"#);
        let gone = json!({ "device": "dog", "path": "/machine/peripheral/dog" });
        assert_eq!(client.hear(), json!({ "return": {} }), "the reply comes first");
        assert_eq!(client.event(), ("DEVICE_DELETED".to_owned(), gone));
        assert!(machine.device("dog").is_none());
        client.run("device_add", json!({ "driver": "ib700", "id": "dog" }));
        assert_eq!(client.human("device_del dog"), "");
        assert_eq!(client.event().0, "DEVICE_DELETED");
        assert_eq!(client.human("device_del dog"), "Error: Device 'dog' not found\n");
        // neither a part of the board nor a type is what people plugged in
        for id in ["finisher", "sifive-test", "/machine/finisher", "dimm"] {
            let refused = client.refused("device_del", json!({ "id": id }));
            assert_eq!(refused, ("DeviceNotFound".to_owned(), format!("Device '{id}' not found")));
        }
        client.run("device_del", json!({ "id": "/machine/peripheral/m0" }));
        assert_eq!(client.event().0, "DEVICE_DELETED");
    });
}

#[test]
fn machines_are_listed_with_the_members_that_a_strict_client_knows() {
    with_client(|client, _| {
        let machines = client.run("query-machines", json!({}));
        let find = |member: &str, value: &str| {
            machines.as_array().unwrap().iter().find(|machine| machine[member] == value).cloned().unwrap()
        };
        let none = json!({ "name": "none", "cpu-max": 1, "hotpluggable-cpus": false, "numa-mem-supported": false, "deprecated": false });
        assert_eq!(find("name", "none"), none);
        let pc = find("alias", "pc");
        assert_eq!(
            (&pc["name"], &pc["is-default"], pc.as_object().unwrap().len()),
            (&json!("pc-i440fx-7.2"), &json!(true), 7)
        );
        assert_eq!(find("alias", "q35")["name"], "pc-q35-7.2");
        assert!(find("alias", "q35").get("is-default").is_none());
    });
}

fn client_types(client: &mut Client, arguments: Value) -> Vec<Value> {
    client.run("qom-list-types", arguments).as_array().unwrap().clone()
}

#[test]
fn properties_of_devices_are_listed_and_got_and_set_to_what_they_are() {
    with_client(|client, _| {
        let memory = json!({ "driver": "dimm", "id": "m0", "size": "16M", "at": "0x10000000" });
        client.run("device_add", memory);
        let list = |client: &mut Client, path: &str| client.run("qom-list", json!({ "path": path }));
        let has = |list: &Value, name: &str, kind: &str| {
            list.as_array().unwrap().contains(&json!({ "name": name, "type": kind }))
        };
        assert!(has(&list(client, "/"), "machine", "child<machine>"));
        assert!(has(&list(client, "/machine"), "m0", "child<dimm>"));
        assert!(has(&list(client, "/machine"), "peripheral", "child<container>"));
        assert_eq!(list(client, "/objects"), json!([{ "name": "type", "type": "string" }]));
        assert!(has(&list(client, "/machine/peripheral/m0"), "size", "int"));
        let get = |property: &str| json!({ "path": "/machine/m0", "property": property });
        assert_eq!(client.run("qom-get", get("type")), "dimm");
        assert_eq!(client.run("qom-get", get("size")), 16 << 20);
        assert_eq!(client.refused("qom-get", get("colour")), generic("Property 'dimm.colour' not found"));
        let set = |value: Value| json!({ "path": "/machine/m0", "property": "size", "value": value });
        client.run("qom-set", set(json!(16 << 20)));
        let late = "Attempt to set property 'size' on device 'm0' (type 'dimm') after it was realized";
        assert_eq!(client.refused("qom-set", set(json!(5))), generic(late));
        let nobody = client.refused("qom-list", json!({ "path": "/machine/nobody" }));
        assert_eq!(nobody, ("DeviceNotFound".to_owned(), "Device '/machine/nobody' not found".to_owned()));
        let kinds = client.run("qom-list-types", json!({ "implements": "device" }));
        assert!(kinds.as_array().unwrap().iter().any(|kind| kind["name"] == "dimm"));
        let mut abstract_ones = |kind: &str| {
            let all = client_types(client, json!({ "implements": kind, "abstract": true }));
            all.into_iter().filter(|kind| kind.get("abstract").is_some()).collect::<Vec<_>>()
        };
        let device = json!({ "name": "device", "parent": "object", "abstract": true });
        assert_eq!(abstract_ones("device"), std::slice::from_ref(&device));
        assert_eq!(abstract_ones("object"), [device, json!({ "name": "object", "abstract": true })]);
        assert_eq!(
            client_types(client, json!({ "implements": "dimm" })),
            [json!({ "name": "dimm", "parent": "device" })]
        );
        let properties = client.run("device-list-properties", json!({ "typename": "dimm" }));
        assert!(properties.as_array().unwrap().iter().any(|property| property["name"] == "size"));
    });
}

#[test]
fn people_s_commands_are_answered_as_on_a_terminal() {
    with_client(|client, machine| {
        let tree = client.human("info mtree");
        assert!(
            tree.starts_with("address-space: memory\n") && tree.contains("address-space: ports"),
            "{tree}"
        );
        assert!(client.human("info mtree -f").starts_with("FlatView #0\n"));
        assert_ne!(client.human("info mtree -o -D"), tree);
        assert!(client.human("info mtree -fdo").contains("FlatView"));
        assert!(client.human("info mtree -z").starts_with("mtree: unsupported option -z\n"));
        let devices = client.human("info qtree");
        assert!(devices.contains("  dev: sifive-test, id \"finisher\"\n    region \"regs\" 0x"), "{devices}");
        assert_eq!(client.human("info status"), "VM status: running\n");
        assert_eq!(client.human("stop"), "");
        assert_eq!(client.human("info status"), "VM status: paused\n");
        assert_eq!(client.human("cont"), "");
        assert_eq!(client.human("info name"), "board\n");
        let space = machine.cpu_space().unwrap();
        space.write(0x1000, b"\x12\x34\x56\x78Hello", Default::default()).unwrap();
        assert_eq!(client.human("x /2xw 0x1000"), "0000000000001000: 0x78563412 0x6c6c6548\n");
        assert_eq!(client.human("xp/3c 0x1004"), "0000000000001004: 'H' 'e' 'l'\n");
        assert_eq!(client.human("xp /1xg 0x1000000000"), "0000001000000000: 0x0000000000000000\n");
        assert!(client.human("xp").starts_with("unexpected end of expression\n"));
        assert!(client.human("xp /zz 0").starts_with("invalid char in format: 'z'\n"));
        assert!(client.human("x /99999999xb 0").starts_with("99999999 items are more"));
        assert_eq!(client.human("info pci"), "no PCI bus\n");
        assert_eq!(client.human(""), "");
        assert_eq!(client.human("foo bar"), "unknown command: 'foo bar'\n");
        assert_eq!(client.human("info foo"), "unknown command: 'info foo'\n");
        assert!(client.human("help").contains("xp /fmt"));
        let listed = client.human("help info");
        assert_eq!(client.human("info"), listed);
        for line in listed.lines() {
            let what = line.strip_prefix("info ").and_then(|line| line.split_once(' ')).unwrap().0;
            assert!(!client.human(&format!("info {what}")).starts_with("unknown"), "{line}");
        }
    });
}

#[test]
fn a_client_that_ends_what_it_sends_hears_the_replies_and_one_that_vanishes_is_forgotten() {
    with_greeted(catalog::load("bank-switch").unwrap(), |client, machine| {
        let request = r#"{"execute":"qmp_capabilities"}{"execute":"query-status"}{"execute":"#;
        client.say(request.as_bytes());
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        client.hear();
        assert_eq!(client.hear(), json!({ "return": {} }));
        assert_eq!(client.hear()["return"]["status"], "running");
        assert!(client.lines.next().is_none());
        let qmp = Qmp::new(&machine_again(machine));
        let mut other = connect(&qmp);
        other.hear();
        drop(other);
        let mut third = connect(&qmp);
        third.hear();
        third.run("qmp_capabilities", json!({}));
    });
}

/// Another machine of the same kind.
fn machine_again(machine: &Machine) -> Arc<Machine> {
    let host = Host::new(Clock::stepped(), Console::new(std::io::sink()));
    Arc::new(Machine::build(MachineSpec::clone(&machine.spec()), host).unwrap())
}

/// A root bus with two functions, and one behind a bridge.
const PCI: &str = r#"
    [[region]]
    name = "pci"
    kind = "container"
    size = "16E"
    into = "system"
    priority = -1
    [[device]]
    type = "i440fx"
    name = "host"
    map = [{ region = "config-address", into = "io", at = 0xcf8 }, { region = "config-data", into = "io", at = 0xcfc }]
    [[device]]
    type = "pci-bridge"
    name = "br1"
    chassis-nr = 1
    addr = "1e.0"
    [[device]]
    type = "pci-testdev"
    name = "card"
    bus = "br1"
    addr = "4"
"#;

#[test]
fn functions_on_pci_buses_are_listed_with_their_registers() {
    let spec = MachineSpec::from_toml("board.toml", &format!("{BOARD}{PCI}")).unwrap();
    with_greeted(spec, |client, machine| {
        client.hear();
        client.run("qmp_capabilities", json!({}));
        client.run("device_add", json!({ "driver": "pci-testdev", "id": "late", "addr": "5" }));
        let ports = machine.port_space().unwrap();
        let config = |at: u32, value: u32| {
            for (port, value) in [(0xcf8, at), (0xcfc, value)] {
                ports.write(port, &value.to_le_bytes(), Default::default()).unwrap();
            }
        };
        config(0x8000_2810, 0xfe00_0000);
        config(0x8000_2804, 2);
        let buses = client.run("query-pci", json!({}));
        assert_eq!((buses.as_array().unwrap().len(), &buses[0]["bus"]), (1, &json!(0)));
        let functions = buses[0]["devices"].as_array().unwrap();
        let slots: Vec<_> = functions.iter().map(|function| function["slot"].as_u64().unwrap()).collect();
        assert_eq!(slots, [0, 5, 30]);
        assert_eq!(functions[0]["class_info"], json!({ "class": 0x600, "desc": "Host bridge" }));
        assert_eq!(
            (&functions[0]["id"]["vendor"], &functions[0]["id"]["device"]),
            (&json!(0x8086), &json!(0x1237))
        );
        assert_eq!(functions[1]["qdev_id"], "late");
        let irq = |function: &Value| (function["irq_pin"].as_u64().unwrap(), function.get("irq").is_some());
        assert_eq!((irq(&functions[0]), irq(&functions[1])), ((0, false), (0, false)));
        client.run("device_add", json!({ "driver": "virtio-rng-pci", "id": "rng", "addr": "6" }));
        let with_pin = client.run("query-pci", json!({}))[0]["devices"][2].clone();
        assert_eq!((&with_pin["qdev_id"], irq(&with_pin)), (&json!("rng"), (1, true)));
        let bar = &functions[1]["regions"][0];
        assert_eq!((&bar["type"], &bar["address"]), (&json!("memory"), &json!(0xfe00_0000u32)), "{bar}");
        assert_eq!(functions[1]["regions"][1]["address"], -1);
        assert_eq!(functions[2]["pci_bridge"]["devices"], json!([]), "the bridge leads nowhere yet");
        let text = client.human("info pci");
        assert!(
            text.starts_with("  Bus  0, device   0, function 0:\n    Host bridge: PCI device 8086:1237\n"),
            "{text}"
        );
        assert!(text.contains("      BAR0: 32 bit memory at 0xfe000000 [0xfe"), "{text}");
        client.run("device_del", json!({ "id": "late" }));
        assert_eq!(client.event().0, "DEVICE_DELETED");
    });
}

#[test]
fn a_guest_that_is_asked_lets_go_of_a_function_and_a_reset_does_so_too() {
    let pcihp = "[[device]]\ntype = \"acpi-pcihp\"\nname = \"hp\"\nmap = { into = \"io\", at = 0xae00 }\n";
    let spec = MachineSpec::from_toml("board.toml", &format!("{BOARD}{PCI}{pcihp}")).unwrap();
    with_greeted(spec, |client, machine| {
        client.hear();
        client.run("qmp_capabilities", json!({}));
        let ports = machine.port_space().unwrap();
        let load = |port| ports.load(port, memory_core::Width::W4, Default::default()).unwrap();
        let late = json!({ "driver": "pci-testdev", "id": "late", "addr": "5" });
        client.run("device_add", late.clone());
        assert_eq!((load(0xae00), load(0xae04)), (0x20, 0));
        assert_eq!(client.run("device_del", json!({ "id": "late" })), json!({}));
        assert_eq!((load(0xae04), machine.device("late").is_some()), (0x20, true));
        let again = client.refused("device_del", json!({ "id": "late" }));
        assert_eq!(again, generic("Device late is already in the process of unplug"));
        let eject = |slots: u32| {
            ports.write(0xae08, &slots.to_le_bytes(), Default::default()).unwrap();
            machine.lifecycle().settle();
        };
        // what was there from the start stays, and so does what is elsewhere
        eject(1 << 30 | 1 << 6);
        assert!(machine.device("late").is_some() && machine.device("br1").is_some());
        eject(1 << 5);
        let gone = json!({ "device": "late", "path": "/machine/peripheral/late" });
        assert_eq!(client.event(), ("DEVICE_DELETED".to_owned(), gone.clone()));
        assert!(machine.device("late").is_none());
        client.run("device_add", late);
        client.run("device_del", json!({ "id": "late" }));
        client.say(br#"{"execute":"system_reset"}"#);
        assert_eq!(client.event().0, "RESET");
        assert_eq!(client.event(), ("DEVICE_DELETED".to_owned(), gone));
        assert_eq!(client.hear(), json!({ "return": {} }));
    });
}

#[test]
fn memory_is_made_by_name_for_devices_that_are_plugged_in() {
    let spec = MachineSpec::from_toml("board.toml", &format!("{BOARD}{PCI}")).unwrap();
    with_greeted(spec, |client, machine| {
        client.hear();
        client.run("qmp_capabilities", json!({}));
        machine
            .backends()
            .chardevs
            .insert("serial".to_owned(), Map::from_iter([("backend".to_owned(), json!("none"))]));
        let lines = client.run("query-chardev", json!({}));
        assert_eq!(lines, json!([{ "label": "serial", "filename": "none", "frontend-open": false }]));
        let card = |memdev: &str| json!({ "driver": "ivshmem-plain", "id": "shm", "memdev": memdev });
        assert_eq!(client.refused("device_add", card("m")), generic("Device 'm' not found"));
        let memory = json!({ "qom-type": "memory-backend-ram", "id": "m", "size": 1 << 20 });
        client.run("object-add", memory.clone());
        let twice = client.refused("object-add", memory);
        assert_eq!(twice, generic("attempt to add duplicate property 'm' to object (type 'container')"));
        let other = client.refused("object-add", json!({ "qom-type": "x", "id": "n" }));
        assert_eq!(other, generic("Parameter 'qom-type' does not accept value 'x'"));
        for (key, value) in [("size", json!("1")), ("sized", json!(1)), ("id", Value::Null)] {
            let mut wrong = json!({ "qom-type": "memory-backend-ram", "id": "n", "size": 4096 });
            wrong[key] = value;
            assert_eq!(client.refused("object-add", wrong).0, "GenericError", "{key}");
        }
        client.run("device_add", card("m"));
        client.run("object-del", json!({ "id": "m" }));
        assert_eq!(client.refused("object-del", json!({ "id": "m" })), generic("object 'm' not found"));
        assert!(machine.device("shm").is_some());
        assert_eq!(client.run("query-cpus-fast", json!({})), json!([]));
        let properties = client.run("qom-list-properties", json!({ "typename": "ivshmem-plain" }));
        assert!(properties.as_array().unwrap().iter().any(|property| property["name"] == "size"));
    });
}

#[test]
fn disks_have_names_for_those_who_resize_them() {
    let spec = MachineSpec::from_toml("board.toml", &format!("{BOARD}{PCI}")).unwrap();
    with_greeted(spec, |client, machine| {
        client.hear();
        client.run("qmp_capabilities", json!({}));
        let disk = json!({ "size": 1 << 30, "read-only": false, "drive-name": "d0" });
        machine.backends().drives.insert("d0".to_owned(), disk.as_object().unwrap().clone());
        machine.backends().drives.insert("empty".to_owned(), Map::new());
        let card =
            |drive: &str| json!({ "driver": "virtio-blk-pci", "id": "disk", "drive": drive, "addr": "4" });
        assert_eq!(
            client.refused("device_add", card("empty")),
            generic("Device needs media, but drive is empty")
        );
        let nowhere = "Property 'virtio-blk-pci.drive' can't find value 'd1'";
        assert_eq!(client.refused("device_add", card("d1")), generic(nowhere));
        client.run("device_add", card("d0"));
        assert_eq!(client.run("block_resize", json!({ "device": "d0", "size": 4096 })), json!({}));
        assert_eq!(client.run("block_resize", json!({ "node-name": "d0", "size": 512 })), json!({}));
        let nobody = "Cannot find device='x' nor node-name=''";
        assert_eq!(client.refused("block_resize", json!({ "device": "x", "size": 512 })), generic(nobody));
        let negative = client.refused("block_resize", json!({ "device": "d0", "size": -1 }));
        assert_eq!(negative, generic("Parameter 'size' expects a >0 size"));
    });
}
