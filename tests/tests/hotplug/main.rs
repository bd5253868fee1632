//! Devices that are plugged into a machine and unplugged while it runs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy exempts test functions, not the functions that they share"
)]

mod guest;

use devices::{Clock, Console, Host};
use machines::catalog;
use machines::file::MachineSpec;
use machines::machine::{Machine, PlugError, UnplugError};
use memory_core::{BusFault, TxAttrs, Width};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Where the tests plug memory in.
const AT: u64 = 0x1_0000_0000;
const ATTRS: TxAttrs = TxAttrs::UNSPECIFIED;

fn build(spec: MachineSpec) -> Machine {
    Machine::build(spec, Host::new(Clock::stepped(), Console::new(std::io::sink()))).unwrap()
}

fn board() -> Machine {
    build(catalog::load("riscv-virt").unwrap())
}

fn plug(machine: &Machine, text: &str) -> Result<(), PlugError> {
    let said = machine.spec().device_from_toml("plugged.toml", text)?;
    machine.plug_device(said).map(drop)
}

fn plug_dimm(machine: &Machine, name: &str, at: u64) -> Result<(), PlugError> {
    plug(machine, &format!("type = \"dimm\"\nname = \"{name}\"\nsize = \"64K\"\nat = {at}\n"))
}

fn unplug(machine: &Machine, name: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    machine.unplug(name).unwrap().wait(deadline).unwrap();
}

fn load(machine: &Machine, address: u64) -> Result<u64, BusFault> {
    machine.cpu_space().unwrap().load(address, Width::W4, ATTRS)
}

fn store(machine: &Machine, address: u64, value: u64) {
    machine.cpu_space().unwrap().store(address, Width::W4, value, ATTRS).unwrap();
}

fn tree(machine: &Machine) -> String {
    machines::maps::tree_map(machine.memory(), machine.spaces(), Default::default()).unwrap().to_string()
}

fn names(machine: &Machine) -> Vec<String> {
    machine.devices().iter().map(|device| device.name.clone()).collect()
}

#[test]
fn lists_snapshots_and_maps_follow_and_the_name_can_be_used_again() {
    let machine = board();
    let (before, saved, devices) =
        (tree(&machine), machine.snapshot().unwrap().to_toml(), names(&machine).len());
    for round in 0..3 {
        plug_dimm(&machine, "dimm0", AT).unwrap();
        assert_eq!(load(&machine, AT), Ok(0), "new memory in round {round}");
        store(&machine, AT, 7);
        assert_eq!(names(&machine)[devices..], ["dimm0"]);
        assert!(tree(&machine).contains("0000000100000000-000000010000ffff (prio 0, ram): dimm0"));
        let text = machine.snapshot().unwrap().to_toml();
        let restored = build(MachineSpec::from_toml("snapshot.toml", &text).unwrap());
        assert_eq!(tree(&restored), tree(&machine), "a snapshot has what was plugged in");
        unplug(&machine, "dimm0");
        assert_eq!(load(&machine, AT), Err(BusFault::DECODE));
        assert!(machine.device("dimm0").is_none());
        assert_eq!((tree(&machine), machine.snapshot().unwrap().to_toml()), (before.clone(), saved.clone()));
    }
}

/// A transport whose device waits for its interrupt to be acknowledged, wired to two inputs of the PLIC.
fn interrupting(second: &str) -> String {
    format!(
        r#"
        type = "virtio-mmio"
        name = "extra"
        at = "0x1000_9000"
        backend = {{ type = "virtio-rng" }}
        state = {{ interrupt-status = 1 }}
        wire = {{ irq = "plic:40"{second} }}
        "#
    )
}

/// Whether the PLIC has a request of input 40.
fn is_pending(machine: &Machine) -> bool {
    load(machine, 0xc00_1004).unwrap() & 1 << 8 != 0
}

#[test]
fn a_device_that_comes_with_its_line_raised_interrupts_and_one_that_is_refused_does_not() {
    let machine = board();
    let refused = plug(&machine, &interrupting(", no-such = \"plic:41\"")).unwrap_err().to_string();
    assert!(refused.contains("no-such"), "{refused}");
    let overlaps = interrupting("").replace("0x1000_9000", "0x1000_8000");
    assert!(plug(&machine, &overlaps).unwrap_err().to_string().contains("overlaps"));
    assert!(!is_pending(&machine), "the machine is as it was");
    plug(&machine, &interrupting("")).unwrap();
    assert!(is_pending(&machine));
}

#[test]
fn video_memory_is_not_unplugged_under_its_display() {
    let machine = board();
    plug_dimm(&machine, "card", AT).unwrap();
    plug(
        &machine,
        "type = \"framebuffer\"\nname = \"display\"\nvram = \"card.ram\"\nwidth = 64\nheight = 64\n",
    )
    .unwrap();
    let error = machine.unplug("card").unwrap_err().to_string();
    assert_eq!(error, "`card` is used by device `display`");
    let saved = machine.snapshot().unwrap().to_toml();
    build(MachineSpec::from_toml("snapshot.toml", &saved).unwrap());
    unplug(&machine, "display");
    unplug(&machine, "card");
}

#[test]
fn a_name_can_be_used_again_while_a_pin_keeps_the_old_memory() {
    let machine = board();
    plug_dimm(&machine, "dimm0", AT).unwrap();
    store(&machine, AT, 7);
    let space = machine.cpu_space().unwrap();
    let guard = space.map(AT, 4, memory_dispatch::Direction::Read, ATTRS).unwrap();
    let mut window = space.window(memory_core::AddrRange::new(AT, AT + 3).unwrap(), ATTRS);
    unplug(&machine, "dimm0");
    plug_dimm(&machine, "dimm0", AT).unwrap();
    assert_eq!(load(&machine, AT), Ok(0));
    assert_eq!(window.load(0, Width::W4), Ok(7), "what was there when the window was made");
    window = space.window(window.range(), ATTRS);
    assert_eq!(window.load(0, Width::W4), Ok(0));
    drop(guard);
}

#[test]
fn what_cannot_be_plugged_in_leaves_the_machine_as_it_was() {
    let machine = board();
    plug_dimm(&machine, "dimm0", AT).unwrap();
    let (before, devices) = (tree(&machine), names(&machine));
    let refused = |text: &str, about: &str| {
        let error = plug(&machine, text).unwrap_err().to_string();
        assert!(error.contains(about), "{error}");
        assert_eq!((tree(&machine), names(&machine)), (before.clone(), devices.clone()), "{text}");
    };
    refused("type = \"dimm\"\nname = \"dimm0\"\nsize = \"4K\"\nat = 0x2_0000_0000\n", "dimm0");
    refused("type = \"dimm\"\nname = \"dimm1\"\nsize = \"4K\"\nat = 0x1_0000_f000\n", "overlaps");
    refused(
        "type = \"dimm\"\nname = \"dimm1\"\nsize = 1\nat = 0x2_0000_0000\n",
        "plugged.toml:3:8: device.dimm1.size",
    );
    refused("type = \"dimm\"\nname = \"dimm1\"\nsize = \"4K\"\nmap = { into = \"nowhere\" }\n", "nowhere");
    refused(
        "type = \"uart16550\"\nname = \"uart9\"\nat = 0x2_0000_0000\nwire = { irq = \"plic:999\" }\n",
        "999",
    );
    refused(
        "type = \"uart16550\"\nname = \"uart9\"\nat = 0x1_0000_0000\nwire = { irq = \"plic:20\" }\n",
        "overlaps",
    );
    // none of them is left behind to be in the way of a good one
    plug_dimm(&machine, "dimm1", 0x2_0000_0000).unwrap();
}

#[test]
fn what_is_used_or_unknown_is_not_unplugged() {
    for (name, users) in [
        ("alias", "[[region]]\nname = \"alias\"\nkind = \"alias\"\nsize = 8\ntarget = \"dma.regs\"\n"),
        ("inside", "[[region]]\nname = \"inside\"\nkind = \"reservation\"\nsize = 8\ninto = \"dma.regs\"\n"),
        ("other", "[[device]]\ntype = \"dma-test\"\nname = \"other\"\nmap = { into = \"dma.regs\" }\n"),
        ("space", "[[space]]\nname = \"space\"\nroot = \"dma.regs\"\n"),
    ] {
        let text = format!(
            "[machine]\nname = \"used\"\n[[space]]\nname = \"memory\"\nroot = \"system\"\n\
             [[region]]\nname = \"system\"\nkind = \"container\"\nsize = \"16E\"\n\
             [[device]]\ntype = \"dma-test\"\nname = \"dma\"\nat = 0\n{users}"
        );
        let machine = build(MachineSpec::from_toml("used.toml", &text).unwrap());
        let error = machine.unplug("dma").unwrap_err().to_string();
        assert!(error.starts_with("`dma` is used by ") && error.contains(&format!("`{name}`")), "{error}");
    }
    let machine = board();
    let before = tree(&machine);
    let error = machine.unplug("plic").unwrap_err();
    assert!(matches!(&error, UnplugError::InUse { .. }), "{error}");
    assert!(matches!(machine.unplug("nobody").unwrap_err(), UnplugError::Unknown(_)));
    let transaction = machine.memory().begin().unwrap();
    assert!(matches!(machine.unplug("rtc").unwrap_err(), UnplugError::Inside));
    assert!(matches!(plug_dimm(&machine, "dimm0", AT).unwrap_err(), PlugError::Inside));
    drop(transaction);
    let inside = memory_dispatch::chain::enter(u64::MAX, false).unwrap();
    assert!(matches!(machine.unplug("rtc").unwrap_err(), UnplugError::Inside));
    drop(inside);
    assert_eq!(tree(&machine), before);
}

/// Registers of the PLIC of the board, for source 20 and the first context.
const PRIORITY: u64 = 0xc00_0000 + 4 * 20;
const ENABLE: u64 = 0xc00_2000;
const CLAIM: u64 = 0xc20_0004;

#[test]
fn lines_of_a_plugged_device_lead_where_it_says_and_are_lowered_when_it_goes() {
    let machine = board();
    store(&machine, PRIORITY, 1);
    store(&machine, ENABLE, 1 << 20);
    for _ in 0..2 {
        let uart =
            "type = \"uart16550\"\nname = \"uart9\"\nat = 0x1_0000_0000\nwire = { irq = \"plic:20\" }\n";
        plug(&machine, uart).unwrap();
        assert_eq!(load(&machine, CLAIM), Ok(0));
        // the transmitter is empty and may say so
        machine.cpu_space().unwrap().store(AT + 1, Width::W1, 2, ATTRS).unwrap();
        let line = machine.device("uart9").unwrap().outputs()[0].lines[0].clone();
        assert!(line.level());
        for _ in 0..2 {
            assert_eq!(load(&machine, CLAIM), Ok(20));
            store(&machine, CLAIM, 20);
        }
        assert_eq!(load(&machine, CLAIM), Ok(20));
        unplug(&machine, "uart9");
        assert!(!line.level());
        line.set(true);
        store(&machine, CLAIM, 20);
        assert_eq!(load(&machine, CLAIM), Ok(0), "the line is low, and whoever still has it cannot raise it");
    }
}

#[test]
fn threads_see_the_old_map_or_the_new_one_and_nothing_else() {
    const ROUNDS: usize = 200;
    let machine = board();
    let folder = tempfile::tempdir().unwrap();
    let content = folder.path().join("content");
    std::fs::write(&content, [0xa5; 0x1000]).unwrap();
    let text = format!("type = \"dimm\"\nname = \"dimm0\"\nsize = \"4K\"\nat = {AT}\nfile = {content:?}\n");
    let (stop, hits, misses) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let (stop, hits, misses) = (&stop, &hits, &misses);
    let space = machine.cpu_space().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            scope.spawn(move || {
                let kicked = Arc::<AtomicBool>::default();
                let kick = kicked.clone();
                let name = format!("thread {thread}");
                let mut vcpu = space.handle_named(name, move || kick.store(true, Ordering::SeqCst));
                while !stop.load(Ordering::Relaxed) {
                    let found = match thread {
                        0 => space.load(AT + 0xff8, Width::W8, ATTRS),
                        _ => vcpu.load(AT + 0xff8, Width::W8, ATTRS),
                    };
                    match found {
                        Ok(0xa5a5_a5a5_a5a5_a5a5) => hits.fetch_add(1, Ordering::Relaxed),
                        Err(BusFault::DECODE) => misses.fetch_add(1, Ordering::Relaxed),
                        other => panic!("{other:x?}"),
                    };
                    if kicked.swap(false, Ordering::SeqCst) {
                        vcpu.park();
                    }
                }
            });
        }
        let _stop = guest::AtEnd(|| stop.store(true, Ordering::Relaxed));
        let moves_on = |count: &AtomicUsize| {
            let before = count.load(Ordering::Relaxed);
            guest::until("a thread sees the change", || count.load(Ordering::Relaxed) > before);
        };
        for _ in 0..ROUNDS {
            plug(&machine, &text).unwrap();
            moves_on(hits);
            unplug(&machine, "dimm0");
            moves_on(misses);
        }
    });
}

#[test]
fn a_guest_that_runs_sees_memory_come_and_go_and_sleeping_harts_hold_nothing_up() {
    const ROUNDS: usize = 20;
    let machine = board();
    let folder = tempfile::tempdir().unwrap();
    let content = folder.path().join("content");
    std::fs::write(&content, guest::PATTERN.to_le_bytes().repeat(0x200)).unwrap();
    let text = format!("type = \"dimm\"\nname = \"dimm0\"\nsize = \"4K\"\nat = {AT}\nfile = {content:?}\n");
    guest::run(&machine, folder.path(), AT, |guest| {
        for _ in 0..ROUNDS {
            guest.moves_on(guest::ABSENT);
            plug(&machine, &text).unwrap();
            guest.moves_on(guest::PRESENT);
            unplug(&machine, "dimm0");
        }
        assert_eq!(guest.count(guest::WRONG), 0);
    });
}

#[test]
fn a_virtio_disk_is_plugged_in_and_out_of_a_machine_whose_threads_look_at_it() {
    const SLOT: u64 = 0x1_1000_0000;
    const MAGIC: u64 = 0x7472_6976;
    let mut image = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut image, &[7; 2048]).unwrap();
    let machine = board();
    let text = format!(
        "type = \"virtio-mmio\"\nname = \"disk\"\nat = {SLOT}\nwire = {{ irq = \"plic:40\" }}\n\
         backend = {{ type = \"virtio-blk\", image = \"{}\" }}\n",
        image.path().display()
    );
    let space = machine.cpu_space().unwrap();
    let stop = AtomicBool::new(false);
    let looks = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut handle = space.handle(|| ());
                while !stop.load(Ordering::SeqCst) {
                    // there and itself, or not there
                    match handle.load(SLOT, Width::W4, ATTRS) {
                        Ok(MAGIC) | Err(BusFault::DECODE) => looks.fetch_add(1, Ordering::SeqCst),
                        other => panic!("{other:x?}"),
                    };
                    // a queue that is notified and not set up is a signal for the worker and nothing else
                    let _gone = handle.store(SLOT + 0x50, Width::W4, 0, ATTRS);
                }
            });
        }
        for _ in 0..20 {
            let before = looks.load(Ordering::SeqCst);
            while looks.load(Ordering::SeqCst) == before {
                std::thread::yield_now();
            }
            plug(&machine, &text).unwrap();
            assert_eq!((load(&machine, SLOT), load(&machine, SLOT + 8)), (Ok(MAGIC), Ok(2)));
            assert_eq!(load(&machine, SLOT + 0x100), Ok(4), "sectors");
            unplug(&machine, "disk");
            assert!(load(&machine, SLOT).is_err());
        }
        stop.store(true, Ordering::SeqCst);
    });
}
