//! The program as those who drive QEMU meet it: its command line, its sockets, its end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy exempts test functions, not the functions that they share"
)]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const FLATLAND: &str = env!("CARGO_BIN_EXE_flatland");
const SOON: Duration = Duration::from_secs(60);

/// The program under QEMU's name.
fn qemu(args: &[&str]) -> Command {
    let mut command = Command::new(FLATLAND);
    command.arg0("/usr/bin/qemu-system-x86_64").args(args).stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> Output {
    qemu(args).output().unwrap()
}

/// What must be refused: status 1, and a message that begins with the program's name and has all of `parts`.
fn refused(args: &[&str], parts: &[&str]) {
    let output = output(args);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {error}");
    assert!(output.stdout.is_empty(), "{args:?}");
    assert!(error.starts_with("qemu-system-x86_64: ") && error.lines().count() == 1, "{args:?}: {error}");
    for part in parts {
        assert!(error.contains(part), "{args:?}: no `{part}` in: {error}");
    }
}

/// A program that runs, and is killed if a test forgets it.
struct Running {
    child: Child,
    folder: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Waits for the end, and returns the status.
    fn end(&mut self) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < SOON {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::yield_now();
        }
        panic!("the program does not end");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

struct Peer {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Peer {
    fn of(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self { reader: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// A command of qtest, and its reply.
    fn ask(&mut self, command: &str) -> String {
        self.say(&format!("{command}\n"));
        self.line()
    }

    fn json(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// A command of QMP, and what it returns.
    fn run(&mut self, command: &str, arguments: &Value) -> Value {
        self.say(&json!({ "execute": command, "arguments": arguments }).to_string());
        self.json()
    }

    fn event(&mut self) -> (String, Value) {
        let event = self.json();
        (event["event"].as_str().unwrap_or_else(|| panic!("{event}")).to_owned(), event["data"].clone())
    }
}

/// Starts the program as QEMU's test library does: it listens at two sockets, and the program connects to them.
fn start(args: &[&str]) -> (Running, Peer, Peer) {
    let folder = tempfile::tempdir().unwrap();
    let (qtest_path, qmp_path) = (folder.path().join("qtest"), folder.path().join("qmp"));
    let (qtest, qmp) = (UnixListener::bind(&qtest_path).unwrap(), UnixListener::bind(&qmp_path).unwrap());
    let qtest_option = format!("unix:{}", qtest_path.display());
    let chardev = format!("socket,path={},id=char0", qmp_path.display());
    let library = ["-qtest", &qtest_option, "-qtest-log", "/dev/null", "-chardev", &chardev];
    let rest = ["-mon", "chardev=char0,mode=control", "-display", "none", "-audio", "none"];
    let child = qemu(&[&library[..], &rest, args, &["-accel", "qtest"]].concat()).spawn().unwrap();
    let running = Running { child, folder };
    let qtest = Peer::of(qtest.accept().unwrap().0);
    let mut qmp = Peer::of(qmp.accept().unwrap().0);
    assert!(qmp.json().get("QMP").is_some());
    assert_eq!(qmp.run("qmp_capabilities", &json!({})), json!({ "return": {} }));
    (running, qtest, qmp)
}

#[test]
fn test_libraries_find_a_machine_behind_both_sockets_and_end_it_by_a_signal() {
    let (mut running, mut qtest, mut qmp) = start(&[
        "-M",
        "none",
        "-device",
        "pc-testdev",
        "-device",
        "ib700,id=dog",
        "-watchdog-action",
        "pause",
    ]);
    assert_eq!(qtest.ask("endianness"), "OK little");
    assert_eq!(qtest.ask("outl 0xe0 0x12345678"), "OK");
    assert_eq!(qtest.ask("inb 0xe1"), "OK 0x0056");
    assert_eq!(qtest.ask("outb 0x443 0"), "OK");
    assert_eq!(qtest.ask("clock_step 30000000000"), "OK 30000000000");
    assert_eq!(qmp.event(), ("WATCHDOG".to_owned(), json!({ "action": "pause" })));
    assert_eq!(qmp.event().0, "STOP");
    assert_eq!(qmp.run("query-status", &json!({}))["return"]["status"], "watchdog");
    running.signal("-TERM");
    let killed = json!({ "guest": false, "reason": "host-signal" });
    assert_eq!(qmp.event(), ("SHUTDOWN".to_owned(), killed));
    assert_eq!(running.end(), Some(0));
}

#[test]
fn a_machine_outlives_its_clients_of_qtest_and_ends_by_qmp() {
    let (mut running, mut qtest, mut qmp) = start(&["-S", "-machine", "none,usb=off", "-nodefaults"]);
    assert_eq!(qtest.ask("clock_step 5"), "OK 5");
    qtest.say("readb 0\nreadb ");
    drop(qtest);
    assert_eq!(qmp.run("query-status", &json!({}))["return"]["status"], "prelaunch");
    qmp.say(r#"{"execute":"cont"}{"execute":"quit"}"#);
    assert_eq!(qmp.event().0, "RESUME");
    assert_eq!((qmp.json(), qmp.json()), (json!({ "return": {} }), json!({ "return": {} })));
    assert_eq!(qmp.event(), ("SHUTDOWN".to_owned(), json!({ "guest": false, "reason": "host-qmp-quit" })));
    assert_eq!(running.end(), Some(0));
    assert!(running.folder.path().join("qtest").exists(), "the sockets are their makers'");
}

#[test]
fn the_command_that_ends_the_machine_has_its_reply() {
    for _ in 0..5 {
        let (mut running, mut qtest, mut qmp) =
            start(&["-M", "none", "-device", "ib700", "-watchdog-action", "reset", "-no-reboot"]);
        assert_eq!(qtest.ask("outb 0x443 14"), "OK");
        assert_eq!(qtest.ask("clock_step 2000000000"), "OK 2000000000");
        assert_eq!(qmp.event().0, "WATCHDOG");
        assert_eq!(qmp.event().0, "SHUTDOWN");
        assert_eq!(running.end(), Some(0));
    }
}

#[test]
fn a_client_of_qtest_may_end_what_it_sends_and_hear_the_replies() {
    let (mut running, mut qtest, _qmp) = start(&["-M", "none"]);
    qtest.say("clock_set 7\ninb 0x10\n");
    qtest.stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    qtest.reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "OK 7\nOK 0x00ff\n");
    running.signal("-TERM");
    assert_eq!(running.end(), Some(0));
}

#[test]
fn timers_that_never_end_do_not_keep_the_machine_from_ending() {
    let board = "[machine]\nname = \"b\"\n[[space]]\nname = \"memory\"\nroot = \"system\"\n[[region]]\nname = \"system\"\n\
                 kind = \"container\"\nsize = \"16E\"\n[[space]]\nname = \"ports\"\nroot = \"io\"\n[[region]]\nname = \"io\"\n\
                 kind = \"container\"\nsize = \"64K\"\n[[device]]\ntype = \"mc146818rtc\"\nname = \"rtc\"\n\
                 map = { into = \"io\", at = \"0x70\" }\n";
    let folder = tempfile::tempdir().unwrap();
    let (file, socket) = (folder.path().join("b.toml"), folder.path().join("qmp"));
    std::fs::write(&file, board).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    let qmp = format!("unix:{}", socket.display());
    let mut command = Command::new(FLATLAND);
    command.args(["run", file.to_str().unwrap(), "--accel", "none", "--qtest", "stdio", "--qmp", &qmp]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut running = Running { child, folder };
    let _qmp = Peer::of(listener.accept().unwrap().0);
    // periodic interrupts, 8192 in a second, for three hundred years
    let mut input = running.child.stdin.take().unwrap();
    input.write_all(b"outb 0x70 0x0a\noutb 0x71 0x23\noutb 0x70 0x0b\noutb 0x71 0x42\ninb 0x71\n").unwrap();
    let mut replies = BufReader::new(running.child.stdout.take().unwrap()).lines();
    let said: Vec<String> = replies.by_ref().take(5).map(Result::unwrap).collect();
    assert_eq!(said, ["OK", "OK", "OK", "OK", "OK 0x0042"]);
    input.write_all(b"clock_step 9000000000000000000\n").unwrap();
    running.signal("-TERM");
    assert_eq!(running.end(), Some(0));
}

#[test]
fn a_socket_is_made_where_nobody_listens_and_serves_one_client_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qtest");
    let qtest = format!("unix:{},server=on", path.display());
    let child =
        Command::new(FLATLAND).args(["run", "none", "--accel", "none", "--qtest", &qtest]).spawn().unwrap();
    let mut running = Running { child, folder };
    let connect = || {
        let start = Instant::now();
        loop {
            match UnixStream::connect(&path) {
                Ok(stream) => return Peer::of(stream),
                Err(error) => assert!(start.elapsed() < SOON, "{error}"),
            }
            std::thread::yield_now();
        }
    };
    assert_eq!(connect().ask("clock_step 3"), "OK 3");
    assert_eq!(connect().ask("clock_step 4"), "OK 7");
    running.signal("-TERM");
    assert_eq!(running.end(), Some(0));
    assert!(!path.exists());
}

#[test]
fn what_it_does_not_have_is_refused_by_name() {
    refused(&["-foo"], &["-foo: invalid option"]);
    refused(&["-M", "foo"], &["-machine foo", "unsupported machine type"]);
    refused(&["-M", "none,foo=on"], &["Property 'none-machine.foo' not found"]);
    refused(&["-M", "none", "-device", "nope"], &["-device nope", "'nope' is not a valid device model name"]);
    refused(&["-M", "none", "-device", "ib700,foo=1"], &["-device ib700", "Property 'ib700.foo' not found"]);
    refused(&["-M", "none", "-device", "ib700,id=a", "-device", "ib700,id=a"], &["Duplicate device ID 'a'"]);
    refused(&["-M", "none", "-accel", "tcg"], &["-accel tcg", "invalid accelerator"]);
    refused(&["-display", "gtk"], &["-display gtk", "'gtk'"]);
    refused(&["-M"], &["-M: requires an argument"]);
    refused(&["disk.img"], &["disk.img", "-drive"]);
    refused(&["-M", "none", "-drive", "file=x,if=ide"], &["-drive if=ide"]);
    refused(&["-M", "none", "-serial", "chardev:c"], &["-serial chardev:c", "Chardev 'c' not found"]);
    refused(&["-M", "none", "-mon", "chardev=c,mode=control"], &["-mon c", "Chardev 'c' not found"]);
    refused(&["-M", "none", "-mon", "chardev=c"], &["mode 'readline'"]);
    refused(&["-M", "none", "-qtest", "unix:/nowhere/socket"], &["/nowhere/socket"]);
    refused(&["-M", "none", "-action", "panic=maybe"], &["-action panic=maybe", "'maybe'"]);
    refused(&["-M", "none", "-m", "12Q"], &["-m 12Q"]);
    refused(&["-M", "virt", "-accel", "qtest", "-global", "uart16550.foo=1"], &["'uart16550.foo' not found"]);
}

#[test]
fn help_lists_what_there_is_and_a_name_or_a_word_makes_the_program_qemu() {
    let text = |args: &[&str]| {
        let output = output(args);
        assert!(output.status.success(), "{args:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(text(&["-machine", "help"]).contains("riscv-virt\n"));
    assert!(text(&["-device", "help"]).contains("name \"ib700\"\n"));
    assert!(text(&["-accel", "help"]).contains("qtest\n"));
    assert!(text(&["-help"]).contains("-watchdog-action\n"));
    let same = Command::new(FLATLAND).args(["qemu", "-machine", "help"]).output().unwrap();
    assert_eq!(String::from_utf8(same.stdout).unwrap(), text(&["-machine", "help"]));
    let other = Command::new(FLATLAND).args(["qemu", "-foo"]).output().unwrap();
    assert_eq!((other.status.code(), other.stdout.len()), (Some(1), 0));
    assert!(String::from_utf8(other.stderr).unwrap().contains("-foo: invalid option"));
}

#[test]
fn boot_devices_of_the_first_start_and_of_others_are_those_that_were_said_last() {
    for (args, first, later) in [
        (&["-boot", "order=", "-boot", "order=c"][..], ["0x0000", "0x0002"], ["0x0000", "0x0002"]),
        (&["-boot", "once=a", "-boot", "once=d,order=nda"], ["0x0000", "0x0003"], ["0x0010", "0x0034"]),
        (&["-boot", "once=a", "-no-fd-bootchk"], ["0x0001", "0x0001"], ["0x0031", "0x0012"]),
    ] {
        let (mut running, mut qtest, mut qmp) = start(args);
        let mut told = || {
            [0x38, 0x3d].map(|index| {
                qtest.ask(&format!("outb 0x70 {index:#x}"));
                qtest.ask("inb 0x71").replace("OK ", "")
            })
        };
        assert_eq!(told(), first, "{args:?}");
        qmp.say(r#"{"execute":"system_reset"}"#);
        let said = [qmp.json(), qmp.json()];
        assert!(said.iter().any(|line| line["event"] == "RESET"), "{said:?}");
        assert_eq!(told(), later, "{args:?}");
        running.signal("-TERM");
        assert_eq!(running.end(), Some(0));
    }
    refused(&["-boot", "once=x", "-accel", "qtest"], &["rtc.boot-once", "boot devices"]);
}

#[test]
fn firmware_is_told_of_processors_that_nobody_runs() {
    for board in ["pc", "q35"] {
        let (mut running, mut qtest, _qmp) = start(&["-M", board, "-smp", "4,maxcpus=6"]);
        let mut item = |key: u16| {
            qtest.ask(&format!("outw 0x510 {key:#x}"));
            [qtest.ask("inb 0x511"), qtest.ask("inb 0x511")]
        };
        assert_eq!(item(5), ["OK 0x0004", "OK 0x0000"]);
        assert_eq!(item(0xf), ["OK 0x0006", "OK 0x0000"]);
        qtest.ask("outb 0x70 0x5f");
        assert_eq!(qtest.ask("inb 0x71"), "OK 0x0003");
        running.signal("-TERM");
        assert_eq!(running.end(), Some(0));
    }
    refused(&["-smp", "2,maxcpus=1"], &["-smp 2,maxcpus=1", "maxcpus"]);
}

/// What fw_cfg has in a file.
fn fw_cfg_file(qtest: &mut Peer, name: &str) -> Vec<u8> {
    let mut read = |key: u16, len: usize| -> Vec<u8> {
        qtest.ask(&format!("outw 0x510 {key:#x}"));
        let bytes = (0..len).map(|_| qtest.ask("inb 0x511"));
        bytes.map(|said| u8::from_str_radix(said.trim_start_matches("OK 0x"), 16).unwrap()).collect()
    };
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
    let count = number(&read(0x19, 4));
    let directory = read(0x19, 4 + 64 * count);
    let mut entries = directory[4..].chunks(64);
    let entry = entries.find(|entry| entry[8..].starts_with(format!("{name}\0").as_bytes()));
    let entry = entry.unwrap_or_else(|| panic!("there is no {name}"));
    read(u16::try_from(number(&entry[4..6])).unwrap(), number(&entry[..4]))
}

#[test]
fn firmware_is_told_of_memory_where_the_bridge_has_put_it() {
    const GIB: u64 = 1 << 30;
    for (board, low) in [("pc", 3 * GIB), ("q35", 2 * GIB)] {
        let (mut running, mut qtest, _qmp) = start(&["-M", board, "-m", "4G"]);
        let map = fw_cfg_file(&mut qtest, "etc/e820");
        let long = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
        let ranges: Vec<_> =
            map.chunks(20).map(|entry| (long(&entry[..8]), long(&entry[8..16]), entry[16])).collect();
        assert_eq!(ranges, [(0, low, 1), (4 * GIB, 4 * GIB - low, 1)], "{board}");
        running.signal("-TERM");
        assert_eq!(running.end(), Some(0));
    }
}

/// What a stretch of memory holds, in hexadecimal.
fn memory(qtest: &mut Peer, at: u64, len: usize) -> String {
    qtest.ask(&format!("read {at:#x} {len:#x}"))
}

#[test]
fn the_extended_top_of_low_ram_has_the_size_that_is_said() {
    let (mut running, mut qtest, _qmp) = start(&["-M", "q35", "-global", "mch.extended-tseg-mbytes=32"]);
    qtest.ask("outl 0xcf8 0x8000009c");
    qtest.ask("outl 0xcfc 0x3f0a00");
    assert_eq!(qtest.ask("readb 0x5ffffff"), "OK 0x0000000000000000");
    assert_eq!(qtest.ask("readb 0x6000000"), "OK 0x00000000000000ff");
    running.signal("-TERM");
    assert_eq!(running.end(), Some(0));
}

#[test]
fn a_pc_has_power_management() {
    let (mut running, mut qtest, mut qmp) = start(&["-M", "pc", "-no-shutdown"]);
    for (register, value) in [(0x40, 0x601), (0x80, 1)] {
        qtest.ask(&format!("outl 0xcf8 {:#x}", 0x8000_0b00_u32 | register));
        qtest.ask(&format!("outl 0xcfc {value:#x}"));
    }
    assert_eq!(qtest.ask("inl 0x608"), "OK 0x0000");
    assert_eq!(qtest.ask("clock_step 1000000000"), "OK 1000000000");
    assert_eq!(qtest.ask("inl 0x608"), "OK 0x369e99");
    assert_eq!(qtest.ask("outb 0xb2 0xf1"), "OK");
    assert_eq!((qtest.ask("inb 0xb2"), qtest.ask("inw 0x604")), ("OK 0x00f1".into(), "OK 0x0001".into()));
    // the timer's carry interrupts
    assert_eq!(qtest.ask("irq_intercept_in ioapic"), "OK");
    assert_eq!(qtest.ask("outw 0x602 1"), "OK");
    qtest.say("clock_step 3000000000\n");
    let said: Vec<_> =
        std::iter::from_fn(|| Some(qtest.line()).filter(|line| line.starts_with("IRQ"))).collect();
    // among those of the timer chip
    assert_eq!(said.iter().filter(|line| !line.ends_with(" 0")).collect::<Vec<_>>(), ["IRQ raise 9"]);
    assert_eq!(qtest.ask("outw 0x604 0x2001"), "OK");
    assert_eq!(qmp.event().0, "SHUTDOWN");
    running.signal("-TERM");
    assert_eq!(running.end(), Some(0));
}

#[test]
fn a_pcs_interrupt_controllers_go_by_their_paths() {
    for (board, bridge, other) in [("pc", "i440fx", "q35"), ("q35", "q35", "i440fx")] {
        let (mut running, mut qtest, _qmp) = start(&["-M", board, "-m", "0"]);
        for path in ["ioapic", "/machine/ioapic", &format!("/machine/{bridge}/ioapic")] {
            assert_eq!(qtest.ask(&format!("irq_intercept_in {path}")), "OK", "{path}");
        }
        for path in [&format!("/machine/{other}/ioapic"), "/machine/ioapic/", &format!("/machine//{bridge}")]
        {
            assert!(qtest.ask(&format!("irq_intercept_in {path}")).starts_with("FAIL"), "{path}");
        }
        // no memory is as much as there is without the option
        assert_eq!(qtest.ask("writeb 0x7ffffff 0x5a"), "OK");
        assert_eq!(qtest.ask("readw 0x7ffffff"), "OK 0x000000000000005a");
        running.signal("-TERM");
        assert_eq!(running.end(), Some(0));
    }
}

#[test]
fn maps_of_pcs_call_their_parts_as_qemu_does() {
    let both = [
        "pc.ram",
        "pc.bios",
        "pc.rom",
        "isa-bios",
        "vga-lowmem",
        "smram-region",
        "ioapic",
        "fwcfg",
        "fwcfg.dma",
        "apm-io",
    ];
    let own = [("pc", "piix3-reset-control"), ("q35", "lpc-reset-control")];
    for (board, reset) in own {
        let (mut running, _qtest, mut qmp) = start(&["-M", board]);
        let said = qmp.run("human-monitor-command", &json!({ "command-line": "info mtree" }));
        let tree = said["return"].as_str().unwrap();
        assert!(tree.lines().any(|line| line.trim_end() == "address-space: I/O"), "{tree}");
        for name in both.iter().chain([&reset]) {
            let is_said = |line: &str| {
                line.split("): ")
                    .nth(1)
                    .is_some_and(|rest| rest.trim_start_matches("alias ").split(' ').next() == Some(name))
            };
            assert!(tree.lines().any(is_said), "{board} has no {name}: {tree}");
        }
        assert!(tree.contains("00000000000001ce-00000000000001d1 (prio 0, i/o): vbe"), "{tree}");
        running.signal("-TERM");
        assert_eq!(running.end(), Some(0));
    }
}

#[test]
fn lines_of_the_test_device_lead_to_both_interrupt_controllers() {
    for board in ["pc", "q35"] {
        let (mut running, mut qtest, mut qmp) = start(&["-M", board, "-device", "pc-testdev,id=t"]);
        assert_eq!(qtest.ask("irq_intercept_in ioapic"), "OK");
        assert_eq!(qtest.ask("outb 0x2004 1"), "IRQ raise 4");
        assert_eq!(qtest.line(), "OK");
        assert_eq!(qtest.ask("outb 0x2017 1"), "IRQ raise 23");
        assert_eq!(qtest.line(), "OK");
        assert_eq!(qtest.ask("outb 0x2004 0"), "IRQ lower 4");
        assert_eq!(qtest.line(), "OK");
        let said = qmp.run("device_add", &json!({ "driver": "pc-testdev", "id": "u" }));
        assert_eq!(said, json!({ "return": {} }));
        running.signal("-TERM");
        assert_eq!(running.end(), Some(0));
    }
}

#[test]
fn several_options_for_the_machine_count_together() {
    let logs = ["-d", "guest_errors", "-trace", "pci*"];
    let machine = ["-M", "q35", "-machine", "usb=off", "-machine", "smm=on"];
    let (mut running, mut qtest, _qmp) = start(&[&machine[..], &logs].concat());
    qtest.ask("outl 0xcf8 0x80000000");
    assert_eq!(qtest.ask("inl 0xcfc"), "OK 0x29c08086");
    running.signal("-TERM");
    assert_eq!(running.end(), Some(0));
    refused(&["-M", "none", "-machine", "foo=on"], &["Property 'none-machine.foo' not found"]);
}

#[test]
fn flash_is_in_the_place_of_the_rom_and_is_shown_below_1_mib() {
    let folder = tempfile::tempdir().unwrap();
    let image = |name: &str, first: u8| {
        let path = folder.path().join(name);
        let bytes: Vec<u8> = (0..0x1_0000_u32).map(|at| first.wrapping_add(at.to_le_bytes()[0])).collect();
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let (code, variables) = (image("code", 0x10), image("variables", 0x80));
    let drive =
        |path: &std::path::Path, rest: &str| format!("if=pflash,format=raw,file={}{rest}", path.display());
    let (code_drive, variables_drive) = (drive(&code, ",readonly=on"), drive(&variables, ""));
    for board in ["pc", "q35"] {
        let (mut running, mut qtest, _qmp) =
            start(&["-M", board, "-S", "-drive", &code_drive, "-drive", &variables_drive]);
        for (at, found) in
            [(0xffff_0000, "0x10111213"), (0xf_0000, "0x10111213"), (0xfffe_0000, "0x80818283")]
        {
            assert_eq!(memory(&mut qtest, at, 4), format!("OK {found}"), "{board} {at:#x}");
        }
        for (write, at) in
            [("0x40", 0xfffe_0000_u64), ("0x01", 0xfffe_0000), ("0x40", 0xffff_0000), ("0x01", 0xffff_0000)]
        {
            qtest.ask(&format!("write {at:#x} 1 {write}"));
        }
        qtest.ask("write 0xfffe0000 1 0xff");
        qtest.ask("write 0xffff0000 1 0xff");
        assert_eq!(memory(&mut qtest, 0xfffe_0000, 2), "OK 0x0081", "programmed");
        assert_eq!(memory(&mut qtest, 0xffff_0000, 2), "OK 0x1011", "read-only");
        running.signal("-TERM");
        assert_eq!(running.end(), Some(0));
        image("variables", 0x80);
    }
    let named = format!("if=none,id=f,format=raw,file={}", code.display());
    let (mut running, mut qtest, _qmp) = start(&["-M", "q35,pflash0=f", "-drive", &named]);
    assert_eq!(memory(&mut qtest, 0xf_0000, 2), "OK 0x1011");
    running.signal("-TERM");
    assert_eq!(running.end(), Some(0));
    let three = ["-drive", &code_drive, "-drive", &code_drive, "-drive", &code_drive];
    refused(&three, &["-drive if=pflash", "more than 2 units"]);
    refused(&["-drive", "if=pflash,unit=1,file=x"], &["-drive if=pflash", "unit 1 is there without unit 0"]);
    refused(&["-drive", "if=pflash,file=/nowhere"], &["-drive if=pflash,unit=0", "could not load the image"]);
    refused(&["-M", "none", "-pflash", "x"], &["-drive if=pflash", "no such interface"]);
    refused(&["-M", "pc,pflash0=g"], &["can't find value 'g'"]);
}

/// Which of a board's slots have a VGA.
fn slots_of_vgas(args: &[&str]) -> Vec<u32> {
    let (mut running, mut qtest, _qmp) = start(args);
    let has_vga = |slot: &u32| {
        qtest.ask(&format!("outl 0xcf8 {:#x}", 0x8000_0000 | slot << 11));
        qtest.ask("inl 0xcfc") == "OK 0x11111234"
    };
    let slots = (0..32).filter(has_vga).collect();
    running.signal("-TERM");
    assert_eq!(running.end(), Some(0));
    slots
}

#[test]
fn a_pc_has_a_vga_unless_somebody_wants_none_or_another_one() {
    assert_eq!(slots_of_vgas(&[]), [2]);
    assert_eq!(slots_of_vgas(&["-M", "q35", "-nodefaults", "-vga", "std"]), [1]);
    assert!(slots_of_vgas(&["-nodefaults"]).is_empty());
    assert!(slots_of_vgas(&["-M", "q35", "-vga", "none"]).is_empty());
    assert_eq!(slots_of_vgas(&["-device", "VGA,addr=5"]), [5]);
    let in_json = r#"{"driver": "VGA", "id": "v", "addr": "6", "vgamem_mb": 8}"#;
    assert_eq!(slots_of_vgas(&["-device", in_json]), [6]);
    refused(&["-device", "{"], &["-device {", "JSON parse error"]);
    refused(&["-vga", "qxl"], &["-vga qxl", "'qxl' is not supported"]);
}

#[test]
fn options_reach_the_parts_of_a_board() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("serial");
    let serial = format!("file,path={},id=s0", log.display());
    let args = ["-M", "virt", "-m", "64", "-smp", "2", "-chardev", &serial, "-serial", "chardev:s0"];
    let (mut running, mut qtest, mut qmp) = start(&args);
    assert_eq!(qtest.ask("writeb 0x83ffffff 0x5a"), "OK");
    assert_eq!(qtest.ask("readw 0x83ffffff"), "OK 0x000000000000005a");
    assert_eq!(qtest.ask("writeb 0x10000000 0x41"), "OK");
    assert_eq!(std::fs::read(&log).unwrap(), b"A");
    let sizes = qmp.run("query-memory-size-summary", &json!({}))["return"].clone();
    assert_eq!(sizes, json!({ "base-memory": 64 << 20, "plugged-memory": 0 }));
    qmp.say(r#"{"execute":"quit"}"#);
    assert_eq!(running.end(), Some(0));
}

#[test]
fn drives_of_the_command_line_are_there_for_devices_that_come_later() {
    let null = "if=none,id=drive1,file=null-co://,file.read-zeroes=on,format=raw";
    let disk = "virtio-blk-pci,id=drv0,drive=drive0,addr=4.0";
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(0x10000).unwrap();
    let drive = format!("if=none,id=drive0,file={},format=raw", file.path().display());
    let memory = "memory-backend-ram,id=mb1,size=1M";
    let (mut running, mut qtest, mut qmp) = start(&[
        "-M",
        "pc",
        "-drive",
        &drive,
        "-drive",
        null,
        "-drive",
        "if=none,id=empty",
        "-device",
        disk,
        "-object",
        memory,
    ]);
    let ok = json!({ "return": {} });
    let add = |drive: &str, id: &str, addr: &str| json!({ "driver": "virtio-blk-pci", "drive": drive, "id": id, "addr": addr });
    assert_eq!(qmp.run("device_add", &add("drive1", "drv1", "6.0")), ok);
    let shared = json!({ "driver": "ivshmem-plain", "id": "iv1", "addr": "7", "memdev": "mb1" });
    assert_eq!(qmp.run("device_add", &shared), ok);
    let empty = qmp.run("device_add", &add("empty", "drv2", "8"));
    assert_eq!(empty["error"]["class"], "GenericError");
    for (slot, id) in [(4u32, "0x10011af4"), (6, "0x10011af4"), (7, "0x11101af4"), (8, "0xffffffff")] {
        assert_eq!(qtest.ask(&format!("outl 0xcf8 {:#x}", 0x8000_0000 | slot << 11)), "OK");
        assert_eq!(qtest.ask("inl 0xcfc"), format!("OK {id}"), "{slot}");
    }
    let resize = json!({ "device": "drive0", "size": 4096 });
    assert_eq!(qmp.run("block_resize", &resize), ok);
    assert_eq!(file.as_file().metadata().unwrap().len(), 4096);
    assert_eq!(qmp.run("device_del", &json!({ "id": "drv1" })), ok);
    // the guest lets go
    assert_eq!(qtest.ask("outl 0xae08 0x40"), "OK");
    assert_eq!(qmp.event().0, "DEVICE_DELETED");
    running.signal("-TERM");
    assert_eq!(running.end(), Some(0));
}
