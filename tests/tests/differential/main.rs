//! The embedded CPU against QEMU's: random programs, the same registers, traps, memory and page tables at the end.
//!
//! One image holds many programs and the [frame] that starts them, and powers the board off at last. Both sides run
//! it; QEMU has its RAM in a file, so that nothing need be asked of its monitor. What the frame kept, and
//! all the memory that programs can write, must be the same to the byte.

#[allow(dead_code)]
#[path = "../../../machines/src/rv64/tests/asm.rs"]
mod asm;
mod batch;
mod elf;
mod frame;
mod generator;
mod random;

use batch::{Batch, slot_name};
use devices::{Clock, Console, Host};
use frame::{BASE, LOG_ENTRY, slot};
use generator::Setting;
use machines::boot::{BootPlan, BootRequest};
use machines::catalog;
use machines::machine::Machine;
use machines::runner::{Runner, Stopped};
use memory_core::TxAttrs;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const QEMU: &str = "qemu-system-riscv64";
/// RV64IMAC without what this version of QEMU adds to it by default.
const CPU: &str = "rv64,f=false,d=false,h=false,v=false,zba=false,zbb=false,zbc=false,zbs=false,sstc=false";
/// How long either side may take for a batch, in seconds: a hundred times what it does.
const PATIENCE: u64 = 120;

/// What the embedded CPU makes of the image in the file `elf`: the bytes from [`Batch::state`] on.
fn ours(batch: &Batch, elf: &Path) -> Vec<u8> {
    let mut spec = catalog::load("riscv-virt").unwrap();
    spec.set("cpu.harts", "1").unwrap();
    let host = Host::new(Clock::stepped(), Console::new(std::io::sink()));
    let machine = Machine::build(spec, host).unwrap();
    let request = BootRequest { kernel: Some(elf.into()), ..BootRequest::default() };
    let plan = BootPlan::new(&machine, &request).unwrap();
    assert!(BASE + batch.image.len() as u64 <= plan.dtb().unwrap(), "the device tree lies in the image");
    let runner = Runner::new(&machine);
    let (control, (done, over)) = (runner.control(), mpsc::channel::<()>());
    let watch = thread::spawn(move || {
        if over.recv_timeout(Duration::from_secs(PATIENCE)) == Err(mpsc::RecvTimeoutError::Timeout) {
            control.quit();
        }
    });
    let stopped = runner.run(&plan).unwrap();
    drop(done);
    watch.join().unwrap();
    assert_eq!(stopped, Stopped::PoweredOff { code: 0 });
    let mut state = vec![0; batch.image.len() - batch.state];
    let space = machine.cpu_space().unwrap();
    space.read(BASE + batch.state as u64, &mut state, TxAttrs::default()).unwrap();
    state
}

/// What QEMU makes of it.
fn theirs(batch: &Batch, elf: &Path, directory: &Path) -> Vec<u8> {
    let ram = directory.join("ram");
    let size = 128 << 20;
    let backend = format!("memory-backend-file,id=ram,share=on,size={size},mem-path={}", ram.display());
    // Two harts, of which one sleeps: with one, QEMU's atomics are a load and a store, which differ in their faults.
    let output = Command::new("timeout")
        .args([&PATIENCE.to_string(), QEMU, "-machine", "virt,memory-backend=ram", "-m", "128M"])
        .args(["-object", &backend, "-cpu", CPU, "-smp", "2", "-display", "none", "-serial", "none"])
        .args(["-monitor", "none", "-net", "none", "-bios", "none", "-kernel"])
        .arg(elf)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{QEMU}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let mut state = vec![0; batch.image.len() - batch.state];
    let mut file = File::open(&ram).unwrap();
    file.seek(SeekFrom::Start(batch.state as u64)).unwrap();
    file.read_exact(&mut state).unwrap();
    state
}

/// The doubleword at `address` of what [`ours`] or [`theirs`] gave.
fn word(batch: &Batch, state: &[u8], address: u64) -> u64 {
    let at = (address - BASE) as usize - batch.state;
    u64::from_le_bytes(state[at..at + 8].try_into().unwrap())
}

/// Where the log of program `index` has its entries.
fn entries(batch: &Batch, state: &[u8], index: usize) -> impl Iterator<Item = u64> + use<> {
    let program = &batch.programs[index];
    let end = word(batch, state, program.context + 8 * slot::LOG as u64);
    (program.log..end).step_by(8 * LOG_ENTRY)
}

/// The traps that program `index` took: their causes, and whether S-mode was seen to take them from U-mode.
fn traps(batch: &Batch, state: &[u8], index: usize) -> Vec<(u64, bool)> {
    let user = batch.programs[index].setting == Setting::User;
    let trap = |entry: u64| {
        // The mode that asked M-mode to log the trap.
        let mpp = word(batch, state, entry + 24) >> 11 & 3;
        (word(batch, state, entry + 8), user && mpp == 1)
    };
    entries(batch, state, index).map(trap).collect()
}

/// Clears `mtval` of breakpoints: it may be the address of EBREAK, as here, or 0, as in QEMU 7.2.
fn clear_breakpoints(batch: &Batch, state: &mut [u8]) {
    for index in 0..batch.programs.len() {
        for entry in entries(batch, state, index) {
            let [epc, cause, tval] = [0, 8, 16].map(|field| word(batch, state, entry + field));
            if cause == 3 {
                assert!(tval == 0 || tval == epc, "mtval of EBREAK at {epc:#x} is {tval:#x}");
                let at = (entry + 16 - BASE) as usize - batch.state;
                state[at..at + 8].fill(0);
            }
        }
    }
}

/// What differs of program `index`, or nothing.
fn difference(batch: &Batch, index: usize, ours: &[u8], theirs: &[u8]) -> Option<String> {
    let program = &batch.programs[index];
    let next = batch.programs.get(index + 1);
    let regions = [
        ("context", program.context, program.context + 8 * slot::COUNT as u64),
        ("log", program.log, next.map_or(batch.programs[0].memory, |next| next.log)),
        ("memory", program.memory, next.map_or(BASE + batch.image.len() as u64, |next| next.memory)),
    ];
    let mut report = String::new();
    for (name, start, end) in regions {
        for address in (start..end & !7).step_by(8) {
            let (a, b) = (word(batch, ours, address), word(batch, theirs, address));
            if a == b {
                continue;
            }
            let offset = (address - start) / 8;
            let what = match name {
                "context" => slot_name(offset as usize),
                "log" => {
                    let field = ["mepc", "mcause", "mtval", "mstatus"][offset as usize % LOG_ENTRY];
                    format!("{field} of trap {}", offset / LOG_ENTRY as u64)
                }
                _ => format!("memory + {:#x}", 8 * offset),
            };
            report += &format!("{what}: ours {a:#x}, QEMU's {b:#x}\n");
        }
    }
    (!report.is_empty()).then_some(report)
}

/// Runs a batch on both sides. Gives all [`traps`] that were taken.
fn compare(seed: u64, count: usize) -> Vec<(u64, bool)> {
    let batch = Batch::new(seed, count);
    let directory = tempfile::tempdir().unwrap();
    let elf = directory.path().join("batch.elf");
    fs::write(&elf, elf::executable(&batch.image)).unwrap();
    let (mut ours, mut theirs) = (ours(&batch, &elf), theirs(&batch, &elf, directory.path()));
    clear_breakpoints(&batch, &mut ours);
    clear_breakpoints(&batch, &mut theirs);
    let differences: Vec<_> = (0..count)
        .filter_map(|index| difference(&batch, index, &ours, &theirs).map(|report| (index, report)))
        .collect();
    if let Some((index, report)) = differences.first() {
        let listing = batch.programs[*index].listing();
        panic!(
            "seed {seed}: {} of {count} programs differ; the first is {index}:\n{report}\n{listing}",
            differences.len()
        );
    }
    assert_eq!(ours, theirs, "seed {seed}: they differ outside of all programs");
    (0..count).flat_map(|index| traps(&batch, &ours, index)).collect()
}

/// Is QEMU there? If not, says that the test `name` is skipped.
fn qemu(name: &str) -> bool {
    let there = Command::new(QEMU).arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        tests::skip(name, "qemu-system-riscv64 is not installed (Debian: qemu-system-misc)");
    }
    there
}

#[test]
fn random_programs_end_as_they_do_on_qemu() {
    if !qemu("random_programs_end_as_they_do_on_qemu") {
        return;
    }
    let traps: Vec<_> = (1..=4).flat_map(|seed| compare(seed, 500)).collect();
    let delegated = traps.iter().filter(|(_, delegated)| *delegated).count();
    println!("2000 programs, {} traps, {delegated} of U-mode delegated", traps.len());
    assert!(delegated > 100, "{delegated} delegated traps show little");
    // All exceptions that this CPU has but unaligned loads, since only LR would raise them.
    for cause in [1, 2, 3, 5, 6, 7, 8, 9, 11, 12, 13, 15] {
        assert!(traps.iter().any(|trap| trap.0 == cause), "no program raised exception {cause}");
    }
}

/// `cargo test -p tests --test differential -- --ignored`
#[test]
#[ignore = "takes minutes; to be run by hand"]
fn many_random_programs_end_as_they_do_on_qemu() {
    if qemu("many_random_programs_end_as_they_do_on_qemu") {
        let traps: usize = (1000..1100).map(|seed| compare(seed, 500).len()).sum();
        println!("50000 programs, {traps} traps");
    }
}
