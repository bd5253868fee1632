//! CVE-2024-3446: virtio devices work off their queues in bottom halves, which QEMU's guard did not cover: the buffer of a
//! request lies over the device's own registers, whose reset frees the request that is being finished.

use crate::board::{Board, Dma, Model, Plugged};
use devices::{Deferred, Timer};
use memory_core::BusFault;
use memory_dispatch::chain;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

const REGS: u64 = 0x20_0000;
const OTHER: u64 = 0x30_0000;
/// Starts the work: by the bottom half, or by the timer.
const NOTIFY: u64 = 0x50;
const NOTIFY_LATER: u64 = 0x54;
/// 0 resets the device.
const STATUS: u64 = 0x70;
/// Where the guest says where the answer of its request goes.
const REQUEST: u64 = 0x1000;
const LATER: u64 = 500;

struct Virtio {
    dma: Dma,
    work: OnceLock<Deferred>,
    timer: OnceLock<Timer>,
    /// Requests that are open, by number; each is freed once.
    open: Mutex<Vec<usize>>,
    freed: Mutex<Vec<usize>>,
    answered: Mutex<Vec<Result<(), BusFault>>>,
    /// The bottom half ran while its own device was being accessed.
    ran_inside: AtomicBool,
    in_access: AtomicBool,
    made: AtomicUsize,
}

impl Model for Virtio {
    fn read(&self, _: u64) -> Result<u64, BusFault> {
        Ok(0)
    }

    fn write(&self, offset: u64, value: u64) -> Result<(), BusFault> {
        self.in_access.store(true, Ordering::SeqCst);
        match offset {
            NOTIFY | NOTIFY_LATER => {
                self.open.lock().unwrap().push(self.made.fetch_add(1, Ordering::SeqCst));
                if offset == NOTIFY {
                    self.work.get().unwrap().schedule();
                } else {
                    let timer = self.timer.get().unwrap();
                    timer.set(timer.clock().now() + LATER);
                }
            }
            STATUS if value == 0 => {
                let open = std::mem::take(&mut *self.open.lock().unwrap());
                self.freed.lock().unwrap().extend(open);
            }
            _ => {}
        }
        self.in_access.store(false, Ordering::SeqCst);
        Ok(())
    }
}

impl Virtio {
    /// Answers the requests that are open, each of which is open while its answer is written.
    fn handle_queue(&self) {
        self.ran_inside.fetch_or(self.in_access.load(Ordering::SeqCst), Ordering::SeqCst);
        let open = self.open.lock().unwrap().clone();
        for request in open {
            let to = self.dma.read_u32(REQUEST).unwrap();
            let answered = self.dma.write(to, &0u32.to_le_bytes());
            self.answered.lock().unwrap().push(answered);
            self.open.lock().unwrap().retain(|other| *other != request);
            self.freed.lock().unwrap().push(request);
        }
    }
}

/// Writes on what it is told: a device between the device and itself.
struct Forwarder {
    dma: Dma,
    to: AtomicU64,
}

impl Model for Forwarder {
    fn read(&self, _: u64) -> Result<u64, BusFault> {
        Ok(0)
    }

    fn write(&self, _: u64, value: u64) -> Result<(), BusFault> {
        self.dma.write(self.to.load(Ordering::SeqCst), &(value as u32).to_le_bytes())
    }
}

fn plug(board: &Board) -> Plugged<Virtio> {
    let virtio = board.plug(
        REGS,
        Virtio {
            dma: board.dma(),
            work: OnceLock::new(),
            timer: OnceLock::new(),
            open: Mutex::default(),
            freed: Mutex::default(),
            answered: Mutex::default(),
            ran_inside: AtomicBool::default(),
            in_access: AtomicBool::default(),
            made: AtomicUsize::default(),
        },
    );
    let work = Deferred::new(&board.clock, virtio.entry.clone(), &virtio.device, Virtio::handle_queue);
    let timer = board.clock.timer(virtio.entry.clone(), &virtio.device, Virtio::handle_queue);
    assert!(virtio.device.work.set(work).is_ok() && virtio.device.timer.set(timer).is_ok());
    virtio
}

/// Has the device work a request off whose answer resets it, directly or by way of another device.
fn answer_resets_the_device(notify: u64, answer_to: u64) {
    let board = Board::new();
    let virtio = plug(&board);
    let forwarder = board.plug(OTHER, Forwarder { dma: board.dma(), to: AtomicU64::new(REGS + STATUS) });
    let device = &virtio.device;
    board.store(REQUEST, answer_to);
    board.store(REGS + notify, 0);
    assert_eq!(device.answered.lock().unwrap().len(), 0, "nothing is worked off inside the access");
    board.clock.step(LATER);
    assert_eq!(*device.answered.lock().unwrap(), [Err(BusFault::ACCESS)]);
    assert_eq!(*device.freed.lock().unwrap(), [0], "freed once");
    assert_eq!(forwarder.device.dma.faults().len(), usize::from(answer_to == OTHER));
    assert!(!device.ran_inside.load(Ordering::SeqCst) && chain::is_idle());
    // the next request has a good answer, and a reset by the guest frees what is open
    board.store(REQUEST, 0x2000);
    board.store(0x2000, 0xff);
    board.store(REGS + notify, 0);
    board.clock.step(LATER);
    assert_eq!((board.load(0x2000), device.answered.lock().unwrap()[1]), (0, Ok(())));
    board.store(REGS + notify, 0);
    board.store(REGS + STATUS, 0);
    board.clock.step(LATER);
    assert_eq!(*device.freed.lock().unwrap(), [0, 1, 2]);
}

#[test]
fn cve_2024_3446_a_bottom_half_whose_answer_resets_the_device_gets_a_fault() {
    answer_resets_the_device(NOTIFY, REGS + STATUS);
}

#[test]
fn cve_2024_3446_a_timer_whose_answer_resets_the_device_gets_a_fault() {
    answer_resets_the_device(NOTIFY_LATER, REGS + STATUS);
}

#[test]
fn cve_2024_3446_a_bottom_half_or_timer_that_comes_back_through_another_device_gets_a_fault() {
    answer_resets_the_device(NOTIFY, OTHER);
    answer_resets_the_device(NOTIFY_LATER, OTHER);
}
