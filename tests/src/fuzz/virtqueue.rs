//! Virtqueues with hostile rings and descriptors, served by each back end: it comes back, writes nothing but the used
//! ring and the buffers that the driver gave it to write, and hands back nothing that was not there.

mod driver;

use arbitrary::Unstructured;
use devices::virtio::{Chains, VirtioDevice};
use devices::{Clock, Console, Host};
use driver::{Guest, Layout, Step};
use memory_core::{EventNotifier, TxAttrs};
use memory_dispatch::DmaMemory;
use serde_json::json;
use std::path::PathBuf;
use virtio_queue::{Queue, QueueT};

/// Steps of one run, at most.
const STEPS: usize = 64;
/// Bytes of the disk.
const DISK: usize = 0x2000;

thread_local! {
    /// A folder for the disk: in memory if there is such a place, since a flush waits for a real disk.
    static FOLDER: tempfile::TempDir =
        tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
}

/// Builds the rings that the bytes say, and has them served.
pub(super) fn body(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let (Ok(kind), Ok(layout)) = (bytes.arbitrary::<u8>(), bytes.arbitrary::<Layout>()) else { return };
    let console = Console::new(std::io::sink());
    let host = Host { base: disk(), ..Host::new(Clock::stepped(), console.clone()) };
    let device = device(kind);
    let most = device.queues();
    let index = usize::from(layout.queue) % most.len();
    let events: Vec<_> = most.iter().map(|_| EventNotifier::new().unwrap()).collect();
    device.open(&host, &events).unwrap();
    let guest = Guest::new(&layout);
    let Some(mut queue) = set_up(&layout, &guest, most[index]) else { return };
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        let Ok(step) = bytes.arbitrary::<Step>() else { break };
        match step {
            Step::Input { byte } => _ = console.feed(&[byte]),
            Step::Serve => {
                if !serve(&guest, &*device, index, &mut queue) {
                    // the device needs a reset
                    return;
                }
            }
            _ => guest.apply(&step),
        }
    }
    serve(&guest, &*device, index, &mut queue);
}

fn device(kind: u8) -> Box<dyn VirtioDevice> {
    let what = match kind % 4 {
        0 => json!({ "type": "virtio-rng" }),
        1 => json!({ "type": "virtio-console", "backend": "stdio" }),
        2 => json!({ "type": "virtio-blk", "image": "disk" }),
        _ => json!({ "type": "virtio-blk", "image": "disk", "read-only": true }),
    };
    serde_json::from_value(what).unwrap()
}

/// The folder with a disk whose content is that of each run.
fn disk() -> PathBuf {
    FOLDER.with(|folder| {
        let content: Vec<u8> = (0..DISK).map(|at| at as u8 ^ (at >> 8) as u8).collect();
        std::fs::write(folder.path().join("disk"), content).unwrap();
        folder.path().to_owned()
    })
}

/// The queue as a transport sets it up; `None` where a transport refuses it.
fn set_up(layout: &Layout, guest: &Guest, most: u16) -> Option<Queue> {
    let mut queue = Queue::new(most).ok()?;
    queue.try_set_size(guest.size().min(most)).ok()?;
    let halves = |address: u64| (Some(address as u32), Some((address >> 32) as u32));
    let (low, high) = halves(guest.descriptors);
    queue.set_desc_table_address(low, high);
    let (low, high) = halves(guest.available);
    queue.set_avail_ring_address(low, high);
    let (low, high) = halves(guest.used);
    queue.set_used_ring_address(low, high);
    queue.set_event_idx(layout.event_idx);
    queue.set_next_avail(layout.next);
    queue.set_next_used(layout.next);
    queue.set_ready(true);
    let taken = (queue.desc_table(), queue.avail_ring(), queue.used_ring());
    let memory = DmaMemory::new(&guest.space, TxAttrs::default());
    (taken == (guest.descriptors, guest.available, guest.used) && queue.is_valid(&memory)).then_some(queue)
}

/// Has the queue served once, and looks at what that did. Gives whether the buffers were well formed.
fn serve(guest: &Guest, device: &dyn VirtioDevice, index: usize, queue: &mut Queue) -> bool {
    let before = guest.memory();
    let allowed = guest.may_be_written(&before, queue.size());
    let (next_available, next_used) = (queue.next_avail(), queue.next_used());
    let memory = DmaMemory::new(&guest.space, TxAttrs::default());
    let result = device.serve(index, &mut Chains::new(queue, &memory));
    drop(memory);
    let taken = queue.next_avail().wrapping_sub(next_available);
    let given = queue.next_used().wrapping_sub(next_used);
    assert!(given <= taken && taken <= queue.size(), "{given} buffers given back, {taken} taken");
    guest.rom_is_untouched();
    if let Some(allowed) = allowed {
        let after = guest.memory();
        for (at, (old, new)) in before.iter().zip(&after).enumerate() {
            assert!(old == new || allowed[at], "the device wrote {new:#x} at {at:#x}");
        }
        guest.given_back(&after, (next_used, given), queue.size());
    }
    result.is_ok()
}
