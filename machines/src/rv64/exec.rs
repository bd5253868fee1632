//! Execution: one instruction, and the tight loop over a page of them.

use memory_core::Width;

use super::bus::Bus;
use super::code::CodePage;
use super::core::Core;
use super::decode::{Kind, Op};
use super::trap::Trap;
use crate::sync::{Ordering, fence};

/// Why an instruction was not executed, or not here.
pub(super) enum Stop {
    /// It raised an exception.
    Trap(Trap),
    /// It was not decoded yet.
    Decode,
    /// It does not lie in one page.
    Cross,
    /// It is for [`Core::system`].
    System(Op),
}

impl From<Trap> for Stop {
    fn from(trap: Trap) -> Self {
        Self::Trap(trap)
    }
}

/// `value`, sign-extended from 32 bits.
#[inline(always)]
fn word(value: u64) -> u64 {
    value as i32 as u64
}

/// Signed division as the M extension defines it: by zero gives -1, overflow gives the dividend.
fn div(a: u64, b: u64) -> u64 {
    if b == 0 { u64::MAX } else { (a as i64).wrapping_div(b as i64) as u64 }
}

fn divu(a: u64, b: u64) -> u64 {
    a.checked_div(b).unwrap_or(u64::MAX)
}

fn rem(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { (a as i64).wrapping_rem(b as i64) as u64 }
}

fn remu(a: u64, b: u64) -> u64 {
    a.checked_rem(b).unwrap_or(a)
}

fn divw(a: u64, b: u64) -> u64 {
    if b as u32 == 0 { u64::MAX } else { (a as i32).wrapping_div(b as i32) as u64 }
}

fn divuw(a: u64, b: u64) -> u64 {
    word((a as u32).checked_div(b as u32).unwrap_or(u32::MAX).into())
}

fn remw(a: u64, b: u64) -> u64 {
    if b as u32 == 0 { word(a) } else { (a as i32).wrapping_rem(b as i32) as u64 }
}

fn remuw(a: u64, b: u64) -> u64 {
    word((a as u32).checked_rem(b as u32).unwrap_or(a as u32).into())
}

fn mulh(a: u64, b: u64) -> u64 {
    ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64
}

fn mulhsu(a: u64, b: u64) -> u64 {
    ((i128::from(a as i64) * i128::from(b)) >> 64) as u64
}

fn mulhu(a: u64, b: u64) -> u64 {
    ((u128::from(a) * u128::from(b)) >> 64) as u64
}

impl<B: Bus> Core<B> {
    /// Executes the decoded instructions of `page`, from `pc` on, until the code leaves the page of addresses, the
    /// map changes, [`limit`](Core::limit) instructions have retired or one cannot be executed here. `pc` and
    /// `retired` are right afterwards.
    pub(super) fn run_page(&mut self, page: &CodePage) -> Result<(), Stop> {
        let mut pc = self.pc;
        let start = pc & !0xfff;
        let mut count = 0;
        let result = loop {
            if pc & !0xfff != start || count >= self.limit || !self.is_current() {
                break Ok(());
            }
            match self.execute(page.op(pc), pc) {
                Ok(next) => pc = next,
                Err(stop) => break Err(stop),
            }
            count += 1;
        };
        self.pc = pc;
        self.retired = self.retired.wrapping_add(count);
        self.limit = self.limit.saturating_sub(count);
        result
    }

    /// Executes `op`, which is at `pc`, and gives the address of the next one. Nothing has changed if it stops.
    #[inline(always)]
    pub(super) fn execute(&mut self, op: Op, pc: u64) -> Result<u64, Stop> {
        let next = pc.wrapping_add(op.len.into());
        let a = self.reg(op.rs1);
        let b = self.reg(op.rs2);
        let imm = op.imm as u64;
        let to = a.wrapping_add(imm);
        let branch = |taken: bool| Ok(if taken { pc.wrapping_add(imm) } else { next });
        let value = match op.kind {
            Kind::Lui => imm,
            Kind::Auipc => pc.wrapping_add(imm),
            Kind::Jal => {
                self.set_reg(op.rd, next);
                return Ok(pc.wrapping_add(imm));
            }
            Kind::Jalr => {
                self.set_reg(op.rd, next);
                return Ok(to & !1);
            }
            Kind::Beq => return branch(a == b),
            Kind::Bne => return branch(a != b),
            Kind::Blt => return branch((a as i64) < b as i64),
            Kind::Bge => return branch(a as i64 >= b as i64),
            Kind::Bltu => return branch(a < b),
            Kind::Bgeu => return branch(a >= b),
            Kind::Lb => self.load(to, Width::W1)? as i8 as u64,
            Kind::Lh => self.load(to, Width::W2)? as i16 as u64,
            Kind::Lw => self.load(to, Width::W4)? as i32 as u64,
            Kind::Ld => self.load(to, Width::W8)?,
            Kind::Lbu => self.load(to, Width::W1)?,
            Kind::Lhu => self.load(to, Width::W2)?,
            Kind::Lwu => self.load(to, Width::W4)?,
            Kind::Sb => return Ok(self.store(to, Width::W1, b).map(|()| next)?),
            Kind::Sh => return Ok(self.store(to, Width::W2, b).map(|()| next)?),
            Kind::Sw => return Ok(self.store(to, Width::W4, b).map(|()| next)?),
            Kind::Sd => return Ok(self.store(to, Width::W8, b).map(|()| next)?),
            Kind::Addi => to,
            Kind::Slti => u64::from((a as i64) < imm as i64),
            Kind::Sltiu => u64::from(a < imm),
            Kind::Xori => a ^ imm,
            Kind::Ori => a | imm,
            Kind::Andi => a & imm,
            Kind::Slli => a.wrapping_shl(op.imm as u32),
            Kind::Srli => a.wrapping_shr(op.imm as u32),
            Kind::Srai => (a as i64).wrapping_shr(op.imm as u32) as u64,
            Kind::Addiw => word(to),
            Kind::Slliw => word(a.wrapping_shl(op.imm as u32)),
            Kind::Srliw => word((a as u32).wrapping_shr(op.imm as u32).into()),
            Kind::Sraiw => (a as i32).wrapping_shr(op.imm as u32) as u64,
            Kind::Add => a.wrapping_add(b),
            Kind::Sub => a.wrapping_sub(b),
            Kind::Sll => a.wrapping_shl(b as u32),
            Kind::Slt => u64::from((a as i64) < b as i64),
            Kind::Sltu => u64::from(a < b),
            Kind::Xor => a ^ b,
            Kind::Srl => a.wrapping_shr(b as u32),
            Kind::Sra => (a as i64).wrapping_shr(b as u32) as u64,
            Kind::Or => a | b,
            Kind::And => a & b,
            Kind::Addw => word(a.wrapping_add(b)),
            Kind::Subw => word(a.wrapping_sub(b)),
            Kind::Sllw => word((a as u32).wrapping_shl(b as u32).into()),
            Kind::Srlw => word((a as u32).wrapping_shr(b as u32).into()),
            Kind::Sraw => (a as i32).wrapping_shr(b as u32) as u64,
            Kind::Mul => a.wrapping_mul(b),
            Kind::Mulh => mulh(a, b),
            Kind::Mulhsu => mulhsu(a, b),
            Kind::Mulhu => mulhu(a, b),
            Kind::Div => div(a, b),
            Kind::Divu => divu(a, b),
            Kind::Rem => rem(a, b),
            Kind::Remu => remu(a, b),
            Kind::Mulw => word(a.wrapping_mul(b)),
            Kind::Divw => divw(a, b),
            Kind::Divuw => divuw(a, b),
            Kind::Remw => remw(a, b),
            Kind::Remuw => remuw(a, b),
            Kind::LrW | Kind::LrD | Kind::ScW | Kind::ScD | Kind::AmoW | Kind::AmoD => {
                self.atomic(op)?;
                return Ok(next);
            }
            Kind::Fence => {
                fence(Ordering::SeqCst);
                return Ok(next);
            }
            Kind::Illegal => return Err(Stop::Trap(Trap::illegal(op.raw))),
            Kind::Undecoded => return Err(Stop::Decode),
            Kind::Cross => return Err(Stop::Cross),
            Kind::FenceI
            | Kind::Ecall
            | Kind::Ebreak
            | Kind::Mret
            | Kind::Sret
            | Kind::Wfi
            | Kind::SfenceVma
            | Kind::Csrrw
            | Kind::Csrrs
            | Kind::Csrrc
            | Kind::Csrrwi
            | Kind::Csrrsi
            | Kind::Csrrci => return Err(Stop::System(op)),
        };
        self.set_reg(op.rd, value);
        Ok(next)
    }
}
