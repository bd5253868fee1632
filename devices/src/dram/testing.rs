//! A board for the unit tests of host bridges: memory that they have to show.

use crate::sync::Arc;
use crate::testing::Board;
use memory_core::{RamBlock, Region, Size, TxAttrs, Width};
use memory_dispatch::{AddressSpace, SpaceConfig};
use serde_json::json;

/// A board with memory for a host bridge to show.
pub(crate) struct Pc {
    pub(crate) board: Board,
    pub(crate) space: Arc<AddressSpace>,
    _kept: [Region; 3],
    shown: Region,
}

/// What PCI answers wherever RAM does not.
pub(crate) const PCI_BYTE: u8 = 0xbb;

impl Pc {
    pub(crate) fn new(ram: u64) -> Self {
        let mut board = Board::new();
        let memory = board.memory().clone();
        let system = memory.container("pc-system", Size::FULL).build().unwrap();
        let ram = memory.ram("pc-ram", RamBlock::anonymous(ram).unwrap()).build().unwrap();
        let pci = memory.container("pc-pci", Size::FULL).build().unwrap();
        system.map_overlap(0, &pci, -1).unwrap();
        let block = RamBlock::anonymous(0x10_0000u64).unwrap();
        let shown = memory.ram("what PCI shows", block).build().unwrap();
        pci.map(0, &shown).unwrap();
        let space = board.system.address_space("pc", &system, SpaceConfig::default()).unwrap();
        for (name, region) in [("memory", &pci), ("pc-system", &system), ("pc-ram", &ram)] {
            board.regions.insert(name.to_owned(), region.by_ref().clone());
        }
        Self { board, space, _kept: [system, ram, pci], shown }
    }

    /// Has nobody claim PCI memory any more.
    pub(crate) fn unclaim(&self) {
        self.shown.set_enabled(false).unwrap();
    }

    pub(crate) fn load(&self, address: u64) -> u64 {
        self.space.load(address, Width::W1, TxAttrs::default()).unwrap()
    }

    pub(crate) fn store(&self, address: u64, value: u64) {
        self.space.store(address, Width::W1, value, TxAttrs::default()).unwrap();
    }

    pub(crate) fn config(&self, offset: usize) -> u64 {
        self.board.config("0.0", offset, Width::W1)
    }

    pub(crate) fn set(&self, offset: usize, value: u64) {
        self.board.set_config("0.0", offset, Width::W1, value);
    }
}

/// What a host bridge is told of them.
pub(crate) fn properties() -> serde_json::Value {
    json!({ "memory": "memory", "system": "pc-system", "ram": "pc-ram" })
}
