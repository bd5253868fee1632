//! Any registered device, chosen by the input, through what a guest and its owner can do: registers, clock, lines, input,
//! resets, snapshots from which it goes on. It answers, and a restored device is what was saved.

use crate::board::{Board, RAM, RAM_SIZE, ROOM, Slot, load, minimal, save};
use arbitrary::{Arbitrary, Unstructured};
use devices::{Clock, DeviceInfo, Inspector, ResetType, device_types};
use memory_core::{TxAttrs, Width};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Steps of one run, at most.
const STEPS: usize = 200;
/// Restores of one run, at most: each makes a board.
const RESTORES: usize = 3;
/// Moments of one step of the clock at which timers run, at most.
const FIRINGS: usize = 1000;
/// The largest number that a property is set to.
const PROPERTY: u32 = 1 << 20;
/// How long a device may take to go; it takes no time, unless the host is busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is done to the device.
#[derive(Arbitrary, Debug, Clone, Copy)]
enum Step {
    Load {
        at: At,
        width: u8,
        debug: bool,
    },
    Store {
        at: At,
        width: u8,
        value: Number,
    },
    Read {
        at: At,
        len: u8,
    },
    Write {
        at: At,
        len: u8,
        value: Number,
    },
    /// Something for the device to find in memory.
    Memory {
        at: u16,
        value: Number,
    },
    Clock {
        nanos: u64,
        shift: u8,
    },
    Line {
        line: u8,
        level: bool,
    },
    Input {
        byte: u8,
    },
    Reset {
        warm: bool,
    },
    Restore,
    Inspect,
}

/// A place in a region: where registers are, at the end, or anywhere.
#[derive(Arbitrary, Debug, Clone, Copy)]
struct At {
    region: u8,
    offset: Offset,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Offset {
    Register(u8),
    Low(u16),
    FromEnd(u8),
    Anywhere(u64),
}

/// A value: small, an address in memory, one of the device's own addresses, any.
#[derive(Arbitrary, Debug, Clone, Copy)]
enum Number {
    Small(u8),
    Memory(u32),
    Register(At),
    Bit(u8),
    Any(u64),
}

/// Runs the steps that the bytes say, on a device that they say.
pub(super) fn body(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let Some((info, value)) = choose(&mut bytes) else { return };
    let Ok(device) = load(value) else { return };
    let mut board = Board::new();
    let Ok(mut slot) = board.try_plug(0, device) else { return };
    slot.place_bars();
    let mut restores = 0;
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        let Ok(step) = bytes.arbitrary::<Step>() else { break };
        match step {
            Step::Restore if restores < RESTORES => {
                restores += 1;
                (board, slot) = restore(info, board, slot);
            }
            _ => apply(&board, &slot, step),
        }
    }
    slot.device().reset(ResetType::Cold);
    let weak = slot.device.clone();
    let detached = board.system.detach(slot.plug.take().expect("plugged in"));
    drop(slot);
    let deadline = Instant::now() + PATIENCE;
    assert_eq!(detached.wait(deadline), Ok(()), "{}: somebody is inside", info.tag);
    // a thread of the device's own may be about to let go of it
    while weak.strong_count() > 0 {
        assert!(Instant::now() < deadline, "{}: somebody holds it", info.tag);
        std::thread::yield_now();
    }
}

/// A type, and what a machine file says of the device: what has to be said, and perhaps one property more.
fn choose(bytes: &mut Unstructured<'_>) -> Option<(&'static DeviceInfo, Value)> {
    let types = device_types();
    let number = usize::from(bytes.arbitrary::<u8>().ok()?);
    let info = types.get(number % types.len()).copied()?;
    let mut value = minimal(info);
    if info.tag == "virtio-mmio" {
        let backends = [
            json!({ "type": "virtio-rng" }),
            json!({ "type": "virtio-console", "backend": "stdio" }),
            json!({ "type": "virtio-blk", "image": "/dev/null" }),
        ];
        if let Some(backend) = backends.get(usize::from(bytes.arbitrary::<u8>().ok()?) % 4) {
            value["backend"] = backend.clone();
        }
    } else if let Some((property, number)) = bytes.arbitrary::<Option<(u8, u32)>>().ok()? {
        let property = info.properties.get(usize::from(property) % info.properties.len().max(1));
        if let Some(property) = property {
            value[property.name] = json!(number % PROPERTY);
        }
    }
    Some((info, value))
}

/// The device as it was saved, on a machine that has just begun.
fn restore(info: &DeviceInfo, board: Board, slot: Slot) -> (Board, Slot) {
    let saved = save(&*slot.device());
    let restored = load(saved.clone()).unwrap_or_else(|error| panic!("{}: {error}: {saved}", info.tag));
    drop((slot, board));
    let board = Board::new();
    let slot = board.plug(0, restored);
    // a thread that serves queues goes on at once
    if saved.get("backend").is_none_or(|_| info.tag != "virtio-mmio") {
        assert_eq!(save(&*slot.device()), saved, "{}: restored", info.tag);
    }
    (board, slot)
}

/// Steps the clock by `nanos`, or to where so many timers have run: one that fires for centuries of a machine's time would take
/// days of ours.
fn step_clock(clock: &Clock, nanos: u64) {
    let target = clock.now().saturating_add(nanos);
    for _ in 0..FIRINGS {
        let next = clock.next_deadline().unwrap_or(target).min(target);
        clock.step(next.saturating_sub(clock.now()));
        if clock.now() == target && clock.next_deadline().is_none_or(|deadline| deadline > target) {
            return;
        }
    }
}

fn apply(board: &Board, slot: &Slot, step: Step) {
    let width = |number: u8| Width::ALL[usize::from(number & 3)];
    // what the bus answers is the guest's business
    match step {
        Step::Load { at, width: number, debug } => {
            let attrs = if debug { TxAttrs::DEBUG } else { TxAttrs::default() };
            let _ = board.space.load(address(slot, at), width(number), attrs);
        }
        Step::Store { at, width: number, value } => {
            let _ =
                board.space.store(address(slot, at), width(number), resolve(slot, value), TxAttrs::default());
        }
        Step::Read { at, len } => {
            let mut bytes = vec![0; usize::from(len & 0x3f)];
            let _ = board.space.read(address(slot, at), &mut bytes, TxAttrs::default());
        }
        Step::Write { at, len, value } => {
            let bytes = resolve(slot, value).to_le_bytes().repeat(8);
            let bytes = bytes.get(..usize::from(len & 0x3f)).unwrap_or(&[]);
            let _ = board.space.write(address(slot, at), bytes, TxAttrs::default());
        }
        Step::Memory { at, value } => {
            let bytes = resolve(slot, value).to_le_bytes();
            board.space.write(RAM + u64::from(at), &bytes, TxAttrs::default()).unwrap();
        }
        Step::Clock { nanos, shift } => step_clock(&board.host.clock, nanos >> (shift & 63)),
        Step::Line { line, level } => {
            if let Some(line) = slot.inputs.get(usize::from(line) % slot.inputs.len().max(1)) {
                line.set(level);
            }
        }
        Step::Input { byte } => _ = board.host.console.feed(&[byte]),
        Step::Reset { warm } => reset(slot, if warm { ResetType::Warm } else { ResetType::Cold }),
        Step::Inspect => {
            let mut out = Inspector::new();
            slot.device().inspect(&mut out);
            let _ = out.to_string();
        }
        Step::Restore => {}
    }
}

/// Resetting twice is resetting once.
fn reset(slot: &Slot, kind: ResetType) {
    slot.device().reset(kind);
    let (once, edges) = (save(&*slot.device()), slot.edges.load(Ordering::Relaxed));
    slot.device().reset(kind);
    assert_eq!(save(&*slot.device()), once, "{kind:?}");
    assert_eq!(slot.edges.load(Ordering::Relaxed), edges, "{kind:?}: a line moved");
}

fn address(slot: &Slot, at: At) -> u64 {
    let places = slot.places();
    let Some((start, size)) = places.get(usize::from(at.region) % places.len().max(1)) else {
        return RAM;
    };
    let offset = match at.offset {
        Offset::Register(number) => u64::from(number) * 4,
        Offset::Low(offset) => offset.into(),
        Offset::FromEnd(distance) => size.wrapping_sub(distance.into()),
        Offset::Anywhere(offset) => offset % (*size).max(1),
    };
    start + offset % ROOM
}

fn resolve(slot: &Slot, number: Number) -> u64 {
    match number {
        Number::Small(value) => value.into(),
        Number::Memory(offset) => RAM + u64::from(offset) % RAM_SIZE,
        Number::Register(at) => address(slot, at),
        Number::Bit(bit) => 1 << (bit & 63),
        Number::Any(value) => value,
    }
}
