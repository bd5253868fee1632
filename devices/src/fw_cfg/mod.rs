//! QEMU's firmware configuration interface: named files and numbers that a machine hands its firmware.
//!
//! [`FwCfg`] has its registers in memory, [`FwCfgIo`] on the ports of a PC; what is behind them is the same.

mod dma;
mod interface;
mod io;
mod items;
mod mmio;
mod pc;
mod registers;
mod state;
#[cfg(test)]
mod tests;

pub use io::FwCfgIo;
pub use items::FwCfgFile;
pub use mmio::FwCfg;
pub use pc::{E820Entry, E820Kind, NumaNode, Uuid};
