//! CVE-2021-3750: the buffer of a USB transfer lies over the EHCI controller's own registers. The data of the packet resets
//! the controller, which frees the packet. The controller works off its list on a timer.

use crate::board::{Board, Dma, Model, RAM};
use devices::Timer;
use memory_core::BusFault;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

/// Right behind RAM, so that a transfer may cross from one into the other.
const REGS: u64 = RAM;
const USBCMD: u64 = 0;
const RUN: u64 = 1;
const RESET: u64 = 2;
const USBSTS: u64 = 4;
const HOST_SYSTEM_ERROR: u64 = 1 << 4;
/// Where the guest says where the data of its packet goes.
const QTD: u64 = 0x1000;
/// A frame, in nanoseconds.
const FRAME: u64 = 1_000_000;

struct Ehci {
    dma: Dma,
    timer: OnceLock<Timer>,
    packet: Mutex<Option<[u8; 16]>>,
    in_transfer: AtomicBool,
    freed_in_transfer: AtomicBool,
    failed: AtomicBool,
}

impl Model for Ehci {
    fn read(&self, offset: u64) -> Result<u64, BusFault> {
        let failed = self.failed.load(Ordering::SeqCst);
        Ok(if offset == USBSTS && failed { HOST_SYSTEM_ERROR } else { 0 })
    }

    fn write(&self, offset: u64, value: u64) -> Result<(), BusFault> {
        if offset == USBCMD && value & RESET != 0 {
            self.freed_in_transfer.fetch_or(self.in_transfer.load(Ordering::SeqCst), Ordering::SeqCst);
            *self.packet.lock().unwrap() = None;
        } else if offset == USBCMD && value & RUN != 0 {
            // every byte of the packet says: reset
            *self.packet.lock().unwrap() = Some([RESET as u8; 16]);
            let timer = self.timer.get().unwrap();
            timer.set(timer.clock().now() + FRAME);
        }
        Ok(())
    }
}

impl Ehci {
    fn frame(&self) {
        let Some(packet) = *self.packet.lock().unwrap() else { return };
        let Ok(buffer) = self.dma.read_u32(QTD) else { return };
        self.in_transfer.store(true, Ordering::SeqCst);
        let transferred = self.dma.write(buffer, &packet);
        self.in_transfer.store(false, Ordering::SeqCst);
        self.failed.store(transferred.is_err(), Ordering::SeqCst);
    }
}

#[test]
fn cve_2021_3750_a_packet_that_runs_into_the_controllers_registers_resets_nothing() {
    let board = Board::new();
    let no = AtomicBool::default;
    let ehci = Ehci {
        dma: board.dma(),
        timer: OnceLock::new(),
        packet: Mutex::default(),
        in_transfer: no(),
        freed_in_transfer: no(),
        failed: no(),
    };
    let ehci = board.plug(REGS, ehci);
    let timer = board.clock.timer(ehci.entry.clone(), &ehci.device, Ehci::frame);
    assert!(ehci.device.timer.set(timer).is_ok());
    // the last 8 bytes of RAM, and the first 8 of the registers
    board.store(QTD, RAM - 8);
    board.store(REGS + USBCMD, RUN);
    board.clock.step(FRAME);
    assert!(!ehci.device.freed_in_transfer.load(Ordering::SeqCst));
    assert!(ehci.device.packet.lock().unwrap().is_some());
    assert_eq!(board.load(REGS + USBSTS), HOST_SYSTEM_ERROR, "the guest hears of it");
    assert_eq!(ehci.device.dma.faults(), [BusFault::ACCESS]);
    assert_eq!(board.load(RAM - 4), 0x0202_0202, "memory before the registers was written");
    board.store(QTD, 0x2000);
    board.store(REGS + USBCMD, RUN);
    board.clock.step(FRAME);
    assert_eq!((board.load(REGS + USBSTS), board.load(0x2000)), (0, 0x0202_0202));
    board.store(REGS + USBCMD, RESET);
    assert!(ehci.device.packet.lock().unwrap().is_none(), "a reset by the guest is one");
}
