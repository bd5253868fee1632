//! CVE-2023-0330: a script of the LSI 53C895A moves memory onto the register that starts scripts, which runs a script
//! inside the script, and so on until the host's stack is used up.

use crate::board::{Board, Dma, Model};
use memory_core::BusFault;
use std::sync::atomic::{AtomicUsize, Ordering};

const REGS: u64 = 0x20_0000;
/// DMA status; bit 5 is a bus fault.
const DSTAT: u64 = 0x0c;
const BUS_FAULT: u64 = 1 << 5;
/// The address of the next instruction; a write starts the script.
const DSP: u64 = 0x2c;
/// The script: memory moves of 4 bytes, each a source and a destination, ended by a source of 0.
const SCRIPT: u64 = 0x1000;

struct Lsi {
    dma: Dma,
    depth: AtomicUsize,
    deepest: AtomicUsize,
    status: AtomicUsize,
}

impl Model for Lsi {
    fn read(&self, offset: u64) -> Result<u64, BusFault> {
        Ok(if offset == DSTAT { self.status.swap(0, Ordering::SeqCst) as u64 } else { 0 })
    }

    fn write(&self, offset: u64, value: u64) -> Result<(), BusFault> {
        if offset == DSP {
            let depth = self.depth.fetch_add(1, Ordering::SeqCst) + 1;
            self.deepest.fetch_max(depth, Ordering::SeqCst);
            if self.run(value).is_err() {
                self.status.store(BUS_FAULT as usize, Ordering::SeqCst);
            }
            self.depth.fetch_sub(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

impl Lsi {
    fn run(&self, mut at: u64) -> Result<(), BusFault> {
        loop {
            let (source, destination) = (self.dma.read_u32(at)?, self.dma.read_u32(at + 4)?);
            if source == 0 {
                return Ok(());
            }
            let data: [u8; 4] = self.dma.read(source)?;
            self.dma.write(destination, &data)?;
            at += 8;
        }
    }
}

#[test]
fn cve_2023_0330_a_script_that_starts_itself_is_stopped_by_a_bus_fault() {
    let board = Board::new();
    let zero = AtomicUsize::default;
    let lsi = Lsi { dma: board.dma(), depth: zero(), deepest: zero(), status: zero() };
    let lsi = board.plug(REGS, lsi);
    // a good move first, then the script's own address onto the register that starts it
    for (at, value) in [(0x500, 0xabcd), (0x600, SCRIPT)] {
        board.store(at, value);
    }
    for (n, word) in [0x500, 0x504, 0x600, REGS + DSP, 0x500, 0x508].into_iter().enumerate() {
        board.store(SCRIPT + 4 * n as u64, word);
    }
    board.store(REGS + DSP, SCRIPT);
    assert_eq!(lsi.device.deepest.load(Ordering::SeqCst), 1);
    assert_eq!(board.load(REGS + DSTAT), BUS_FAULT);
    assert_eq!((board.load(0x504), board.load(0x508)), (0xabcd, 0), "it went as far as the bad move");
    assert_eq!(lsi.device.dma.faults(), [BusFault::ACCESS]);
    board.store(SCRIPT + 12, 0x50c);
    board.store(REGS + DSP, SCRIPT);
    assert_eq!((board.load(REGS + DSTAT), board.load(0x508)), (0, 0xabcd), "a good script runs to its end");
}
