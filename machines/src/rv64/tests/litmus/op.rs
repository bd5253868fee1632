//! What the harts of a litmus test do, as operations and as guest code.

use super::super::asm::*;

/// A place in memory that harts share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cell {
    X,
    Y,
    Z,
}
pub use Cell::{X, Y, Z};

/// Predecessors and successors of a fence, as its bits.
pub const RW_RW: u32 = 0x33;
pub const W_W: u32 = 0x11;
pub const R_R: u32 = 0x22;
pub const R_RW: u32 = 0x23;

/// The ordering bits of an atomic.
pub const AQ: u32 = 2;
pub const RL: u32 = 1;

/// One step of a hart. Those that read give a result each; values that are written are 1 or 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// A store of a constant.
    Write(Cell, u64),
    /// A load.
    Read(Cell),
    /// A load whose address depends on the last result.
    ReadBehind(Cell),
    /// A store of a constant, computed from the last result.
    WriteFrom(Cell, u64),
    /// A store of a constant behind a branch on the last result.
    WriteIf(Cell, u64),
    /// A store of the last result plus 1.
    WriteNext(Cell),
    /// FENCE.
    Fence(u32),
    /// AMOSWAP.D with these ordering bits.
    Swap(Cell, u64, u32),
    /// AMOADD.D.
    Add(Cell, u64, u32),
    /// LR.D and SC.D, which add, again and again until SC succeeds.
    Pair(Cell, u64),
}

impl Op {
    /// Does it give a result?
    pub fn reads(self) -> bool {
        matches!(self, Self::Read(_) | Self::ReadBehind(_) | Self::Swap(..) | Self::Add(..) | Self::Pair(..))
    }
}

/// Where a hart has its addresses: X, Y and Z in `a0`..`a2`.
fn base(cell: Cell) -> u32 {
    A0 + cell as u32
}

/// Registers with the constants 1 and 2.
pub const ONE: u32 = 20;
fn constant(value: u64) -> u32 {
    ONE + value as u32 - 1
}

/// The register of the first result; a hart has at most [`RESULTS`].
pub const FIRST: u32 = 26;
pub const RESULTS: usize = 2;

/// The guest code of `ops`.
pub fn code(ops: &[Op]) -> Vec<u32> {
    let mut code = Vec::new();
    let mut result = FIRST;
    for op in ops {
        // The last result, and where the next one goes.
        let (last, next) = (result.saturating_sub(1), result);
        match *op {
            Op::Write(cell, value) => code.push(sd(constant(value), base(cell), 0)),
            Op::Read(cell) => code.push(ld(next, base(cell), 0)),
            Op::ReadBehind(cell) => {
                code.extend([r(OP, 0, 4, T0, last, last), r(OP, 0, 0, T0, T0, base(cell)), ld(next, T0, 0)]);
            }
            Op::WriteFrom(cell, value) => {
                let value = r(OP, 0, 0, T0, T0, constant(value));
                code.extend([r(OP, 0, 4, T0, last, last), value, sd(T0, base(cell), 0)]);
            }
            Op::WriteIf(cell, value) => {
                code.extend([b(1, last, ZERO, 4), sd(constant(value), base(cell), 0)])
            }
            Op::WriteNext(cell) => code.extend([addi(T0, last, 1), sd(T0, base(cell), 0)]),
            Op::Fence(sets) => code.push(sets << 20 | 0x0f),
            Op::Swap(cell, value, order) => {
                code.push(amo(1, 3, next, constant(value), base(cell)) | order << 25);
            }
            Op::Add(cell, value, order) => {
                code.push(amo(0, 3, next, constant(value), base(cell)) | order << 25);
            }
            Op::Pair(cell, value) => code.extend([
                lr(3, next, base(cell)),
                r(OP, 0, 0, T0, next, constant(value)),
                sc(3, T1, T0, base(cell)),
                b(1, T1, ZERO, -12),
            ]),
        }
        result += u32::from(op.reads());
    }
    code
}
