//! CVE-2021-3929: an NVMe controller is told to put the data of a command into its own registers. That write resets the
//! controller, which frees the queue that the command is being taken from.

use crate::board::{Board, Dma, Model};
use memory_core::BusFault;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const REGS: u64 = 0x20_0000;
/// Controller configuration; bit 0 clear resets.
const CC: u64 = 0x14;
const DOORBELL: u64 = 0x800;
/// Where the guest puts its command: the address for the data.
const COMMAND: u64 = 0x1000;
/// Where the controller puts the command's status.
const COMPLETION: u64 = 0x2000;
const DATA_TRANSFER_ERROR: u64 = 4;

struct Nvme {
    dma: Dma,
    queue: Mutex<Option<u64>>,
    busy: AtomicBool,
    freed_while_busy: AtomicBool,
    resets: AtomicUsize,
}

impl Model for Nvme {
    fn read(&self, _: u64) -> Result<u64, BusFault> {
        Ok(0)
    }

    fn write(&self, offset: u64, value: u64) -> Result<(), BusFault> {
        match offset {
            CC if value & 1 == 0 => {
                self.freed_while_busy.fetch_or(self.busy.load(Ordering::SeqCst), Ordering::SeqCst);
                self.resets.fetch_add(1, Ordering::SeqCst);
                *self.queue.lock().unwrap() = None;
            }
            CC => *self.queue.lock().unwrap() = Some(COMMAND),
            DOORBELL => {
                let queue = *self.queue.lock().unwrap();
                if let Some(command) = queue {
                    self.busy.store(true, Ordering::SeqCst);
                    self.identify(command)?;
                    self.busy.store(false, Ordering::SeqCst);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Nvme {
    /// Writes 64 bytes, zeros mostly, where the command wants them.
    fn identify(&self, command: u64) -> Result<(), BusFault> {
        let prp = self.dma.read_u32(command)?;
        let mut data = [0; 64];
        data[63] = 0x77;
        let status = if self.dma.write(prp, &data).is_ok() { 0 } else { DATA_TRANSFER_ERROR as u32 };
        self.dma.write(COMPLETION, &status.to_le_bytes())
    }
}

#[test]
fn cve_2021_3929_a_controller_whose_data_goes_to_its_own_registers_completes_with_an_error() {
    let board = Board::new();
    let nvme = board.plug(
        REGS,
        Nvme {
            dma: board.dma(),
            queue: Mutex::default(),
            busy: AtomicBool::default(),
            freed_while_busy: AtomicBool::default(),
            resets: AtomicUsize::default(),
        },
    );
    board.store(REGS + CC, 1);
    board.store(COMMAND, REGS);
    board.store(COMPLETION, 0xff);
    board.store(REGS + DOORBELL, 1);
    assert!(!nvme.device.freed_while_busy.load(Ordering::SeqCst));
    assert_eq!(
        (nvme.device.resets.load(Ordering::SeqCst), *nvme.device.queue.lock().unwrap()),
        (0, Some(COMMAND))
    );
    assert_eq!(board.load(COMPLETION), DATA_TRANSFER_ERROR, "the guest hears of it");
    assert_eq!(nvme.device.dma.faults(), [BusFault::ACCESS]);
    // the controller is as it was: a good command is carried out, and a reset from outside is one
    board.store(COMMAND, 0x3000);
    board.store(REGS + DOORBELL, 1);
    assert_eq!((board.load(COMPLETION), board.load(0x303c)), (0, 0x7700_0000));
    board.store(REGS + CC, 0);
    assert_eq!((nvme.device.resets.load(Ordering::SeqCst), nvme.device.dma.faults()), (1, vec![]));
}
