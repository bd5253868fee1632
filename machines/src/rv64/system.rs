//! Instructions that change how the hart goes on: CSR accesses, returns from traps, fences, WFI.

use super::bus::Bus;
use super::core::Core;
use super::decode::{Kind, Op, SINK};
use super::status::Mode;
use super::trap::{Cause, Trap};

impl<B: Bus> Core<B> {
    /// Executes `op`, at `pc`, which is one of these instructions; gives the address of the next one.
    pub(super) fn system(&mut self, op: Op, pc: u64) -> Result<u64, Trap> {
        let next = pc.wrapping_add(op.len.into());
        let illegal = Err(Trap::illegal(op.raw));
        match op.kind {
            Kind::Csrrw | Kind::Csrrs | Kind::Csrrc | Kind::Csrrwi | Kind::Csrrsi | Kind::Csrrci => {
                if self.access_csr(op).is_none() {
                    return illegal;
                }
            }
            Kind::Ecall => {
                let cause = match self.mode {
                    Mode::User => Cause::EcallU,
                    Mode::Supervisor => Cause::EcallS,
                    Mode::Machine => Cause::EcallM,
                };
                return Err(Trap::new(cause, 0));
            }
            Kind::Ebreak => return Err(Trap::new(Cause::Breakpoint, pc)),
            Kind::Mret if self.mode == Mode::Machine => return Ok(self.leave(Mode::Machine)),
            Kind::Sret if self.mode == Mode::Machine || self.supervisor_unless(self.csrs.status.tsr()) => {
                return Ok(self.leave(Mode::Supervisor));
            }
            Kind::Wfi if self.mode == Mode::Machine || self.supervisor_unless(self.csrs.status.tw()) => {
                self.waiting = true;
            }
            Kind::SfenceVma
                if self.mode == Mode::Machine || self.supervisor_unless(self.csrs.status.tvm()) =>
            {
                self.forget_translations();
            }
            Kind::FenceI => self.code_stale = true,
            _ => return illegal,
        }
        Ok(next)
    }

    fn supervisor_unless(&self, trapped: bool) -> bool {
        self.mode == Mode::Supervisor && !trapped
    }

    /// A CSR instruction; `None` if it is illegal.
    fn access_csr(&mut self, op: Op) -> Option<()> {
        let csr = op.imm as u32;
        let operand = match op.kind {
            Kind::Csrrw | Kind::Csrrs | Kind::Csrrc => self.reg(op.rs1),
            _ => op.rs1.into(),
        };
        let old = self.read_csr(csr)?;
        match op.kind {
            Kind::Csrrw | Kind::Csrrwi => self.write_csr(csr, operand, u64::MAX)?,
            // The forms that set or clear do not write at all when the operand is x0 or 0.
            _ if op.rs1 == 0 => {}
            Kind::Csrrs | Kind::Csrrsi => self.write_csr(csr, u64::MAX, operand)?,
            _ => self.write_csr(csr, 0, operand)?,
        }
        if op.rd != SINK {
            self.set_reg(op.rd, old);
        }
        Some(())
    }
}

impl<B: Bus> Core<B> {
    /// Is WFI over: is an interrupt pending that `mie` lets through, whatever the global enables say?
    pub(super) fn is_woken(&self) -> bool {
        self.pending().intersects(self.csrs.mie)
    }
}
