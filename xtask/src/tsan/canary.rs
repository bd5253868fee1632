//! Programs that show that ThreadSanitizer sees what it should, and nothing else.
//!
//! A run without a report proves nothing if the tool is blind. So three small programs are built and run first, in just
//! the way in which the tests are: two with a race, which has to be reported, and one that hands data over by all that
//! the standard library offers for it, of which nothing must be reported.

use std::fs;

use anyhow::{Context, Result, bail};

use super::Build;
use crate::workspace::Workspace;

/// A program and whether it has a race.
struct Canary {
    name: &'static str,
    source: &'static str,
    races: bool,
}

const CANARIES: [Canary; 3] = [
    Canary { name: "unlocked", source: UNLOCKED, races: true },
    Canary { name: "relaxed", source: RELAXED, races: true },
    Canary { name: "ordered", source: ORDERED, races: false },
];

/// Two threads write a place with no lock.
const UNLOCKED: &str = "
struct Place(std::cell::UnsafeCell<u64>);
unsafe impl Sync for Place {}
static PLACE: Place = Place(std::cell::UnsafeCell::new(0));

fn main() {
    let write = |value| std::thread::spawn(move || unsafe { PLACE.0.get().write(value) });
    let threads = [write(1), write(2)];
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
";

/// One thread hands data over to the other by a flag, and both have forgotten its ordering.
const RELAXED: &str = "
use std::sync::atomic::{AtomicBool, Ordering};
struct Place(std::cell::UnsafeCell<u64>);
unsafe impl Sync for Place {}
static PLACE: Place = Place(std::cell::UnsafeCell::new(0));
static READY: AtomicBool = AtomicBool::new(false);

fn main() {
    let writer = std::thread::spawn(|| {
        unsafe { PLACE.0.get().write(1) };
        READY.store(true, Ordering::Relaxed);
    });
    while !READY.load(Ordering::Relaxed) {
        std::thread::yield_now();
    }
    assert_eq!(unsafe { PLACE.0.get().read() }, 1);
    writer.join().unwrap();
}
";

/// Locks that are fought for, condition variables, channels, scopes, and the last owner of an `Arc`, all in good order.
const ORDERED: &str = "
use std::sync::{Arc, Condvar, Mutex, OnceLock, RwLock, Weak, mpsc};
use std::thread;

fn main() {
    let sum = Mutex::new(vec![0u64; 1]);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..2000).for_each(|_| sum.lock().unwrap()[0] += 1));
        }
    });
    assert_eq!(sum.into_inner().unwrap(), [8000]);

    let turn = (Mutex::new(0), Condvar::new());
    thread::scope(|scope| {
        for parity in 0..2 {
            let turn = &turn;
            scope.spawn(move || {
                for _ in 0..200 {
                    let mut at = turn.1.wait_while(turn.0.lock().unwrap(), |at| *at % 2 != parity).unwrap();
                    *at += 1;
                    turn.1.notify_all();
                }
            });
        }
    });

    let (sender, receiver) = mpsc::channel();
    let producer = thread::spawn(move || (0..500).for_each(|n| sender.send(vec![n]).unwrap()));
    assert_eq!(receiver.iter().map(|v| v[0]).sum::<i32>(), 124_750);
    producer.join().unwrap();

    let last = Arc::new(Mutex::new(Vec::new()));
    let users: Vec<_> = (0..4).map(|n| {
        let last = last.clone();
        thread::spawn(move || last.lock().unwrap().push(n))
    }).collect();
    let mut last = last;
    let mut values = loop {
        match Arc::try_unwrap(last) {
            Ok(mutex) => break mutex.into_inner().unwrap(),
            Err(shared) => last = shared,
        }
        thread::yield_now();
    };
    values.push(4);
    users.into_iter().for_each(|user| user.join().unwrap());

    let dropped = Arc::new(vec![1u8; 64]);
    let weak: Weak<_> = Arc::downgrade(&dropped);
    let readers: Vec<_> = (0..4).map(|_| {
        let dropped = dropped.clone();
        thread::spawn(move || assert_eq!(dropped.len(), 64))
    }).collect();
    drop(dropped);
    while weak.upgrade().is_some() {
        thread::yield_now();
    }
    readers.into_iter().for_each(|reader| reader.join().unwrap());

    static ONCE: OnceLock<Vec<u8>> = OnceLock::new();
    let shared = RwLock::new(vec![0u8]);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                assert_eq!(ONCE.get_or_init(|| vec![7]), &[7]);
                shared.write().unwrap().push(1);
                assert!(!shared.read().unwrap().is_empty());
            });
        }
    });
}
";

const MANIFEST: &str =
    "[package]\nname = \"canaries\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n";

/// Builds and runs the programs.
///
/// # Errors
///
/// They cannot be built, a race goes unseen, or one is seen where there is none.
pub(super) fn check(workspace: &Workspace, build: &Build) -> Result<()> {
    let home = workspace.scratch().join("tsan/canaries");
    let programs = home.join("src/bin");
    fs::create_dir_all(&programs).with_context(|| format!("cannot make {}", programs.display()))?;
    fs::write(home.join("Cargo.toml"), MANIFEST)?;
    for canary in &CANARIES {
        fs::write(programs.join(format!("{}.rs", canary.name)), canary.source)?;
    }
    for canary in &CANARIES {
        let mut command = build.cargo(workspace, "run");
        let output = command.current_dir(&home).args(["--quiet", "--bin", canary.name]).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let reported = said.contains("WARNING: ThreadSanitizer: data race");
        let name = canary.name;
        match (canary.races, reported, output.status.success()) {
            (true, true, false) => println!("tsan: canary {name}: its race is reported"),
            (false, false, true) => println!("tsan: canary {name}: nothing is reported"),
            (true, false, true) => bail!("ThreadSanitizer does not see the race of the canary {name}"),
            (false, true, _) => {
                bail!("ThreadSanitizer reports what is no race, in the canary {name}:\n{said}")
            }
            _ => bail!("the canary {name} does not run:\n{said}"),
        }
    }
    Ok(())
}
