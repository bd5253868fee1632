//! The A extension, on host atomics.
//!
//! Every operation is sequentially consistent, which covers any `aq` and `rl`. Store-conditional is a
//! compare-exchange against the value that load-reserved saw: a location that was changed and changed back in
//! between goes unnoticed, which programs that use the pair for read-modify-write cannot tell.
//! Atomics work on memory only; on a device they are an access fault, as the platform's PMA says.

use memory_core::{BusFault, HostPage, Width};

use super::bus::Bus;
use super::core::{Core, Reservation};
use super::decode::{Kind, Op};
use super::mmu::{Access, Target};
use super::trap::{Cause, Trap};
use crate::sync::Ordering;

/// What an AMO does (its funct5), on two values that are sign-extended from the operation's width.
fn combine(funct5: i32, memory: u64, register: u64, width: Width) -> u64 {
    let mask = width.mask();
    match funct5 {
        0b00000 => memory.wrapping_add(register),
        0b00001 => register,
        0b00100 => memory ^ register,
        0b01000 => memory | register,
        0b01100 => memory & register,
        0b10000 => (memory as i64).min(register as i64) as u64,
        0b10100 => (memory as i64).max(register as i64) as u64,
        0b11000 => (memory & mask).min(register & mask),
        _ => (memory & mask).max(register & mask),
    }
}

/// The value of `width`, 4 or 8 bytes, sign-extended.
fn extend(value: u64, width: Width) -> u64 {
    if width == Width::W4 { value as i32 as u64 } else { value }
}

/// Applies `f` to the number at `addr` in one step and gives its old value.
fn update(page: &HostPage, addr: u64, width: Width, f: impl Fn(u64) -> u64) -> u64 {
    if width == Width::W4 {
        page.update_u32(addr as usize, |old| f(extend(old.into(), width)) as u32).into()
    } else {
        page.update_u64(addr as usize, f)
    }
}

/// Replaces `old` by `new` at `addr`; false if something else is there.
fn exchange(page: &HostPage, addr: u64, width: Width, old: u64, new: u64) -> bool {
    if width == Width::W4 {
        page.compare_exchange_u32(addr as usize, old as u32, new as u32).is_ok()
    } else {
        page.compare_exchange_u64(addr as usize, old, new).is_ok()
    }
}

impl<B: Bus> Core<B> {
    /// Executes `op`, which is of the A extension.
    pub(super) fn atomic(&mut self, op: Op) -> Result<(), Trap> {
        let addr = self.reg(op.rs1);
        let value = self.reg(op.rs2);
        let old = match op.kind {
            Kind::LrW => self.load_reserved(addr, Width::W4)?,
            Kind::LrD => self.load_reserved(addr, Width::W8)?,
            Kind::ScW => self.store_conditional(addr, Width::W4, value)?,
            Kind::ScD => self.store_conditional(addr, Width::W8, value)?,
            Kind::AmoW => self.read_modify_write(addr, Width::W4, value, op.imm)?,
            _ => self.read_modify_write(addr, Width::W8, value, op.imm)?,
        };
        self.set_reg(op.rd, old);
        Ok(())
    }

    /// Where an atomic access goes.
    fn atomic_target(&mut self, addr: u64, width: Width, access: Access) -> Result<Target, Trap> {
        if !width.aligned(addr) {
            let load = access == Access::Load;
            let cause = if load { Cause::LoadMisaligned } else { Cause::StoreMisaligned };
            return Err(Trap::new(cause, addr));
        }
        self.target(addr, width.bytes(), access)
    }

    fn load_reserved(&mut self, addr: u64, width: Width) -> Result<u64, Trap> {
        let target = self.atomic_target(addr, width, Access::Load)?;
        let value = match target.page {
            Some(page) if width == Width::W4 => page.load_u32(addr as usize, Ordering::SeqCst).into(),
            Some(page) => page.load_u64(addr as usize, Ordering::SeqCst),
            // An exchange of 0 for 0 changes nothing, and unlike a load runs no device.
            None => match self.bus.compare_exchange(target.phys, width, 0, 0) {
                Ok(Ok(value) | Err(value)) => value,
                Err(_) => return Err(Access::Load.access_fault(addr)),
            },
        };
        self.reservation = Some(Reservation { phys: target.phys, bytes: width.bytes(), value });
        Ok(extend(value, width))
    }

    /// 0 if the store was done, 1 if not.
    fn store_conditional(&mut self, addr: u64, width: Width, value: u64) -> Result<u64, Trap> {
        let reservation = self.reservation.take();
        let target = self.atomic_target(addr, width, Access::Store)?;
        // Without a reservation that fits, what is refused must be refused all the same.
        let seen = reservation.filter(|seen| (seen.phys, seen.bytes) == (target.phys, width.bytes()));
        let done = match (target.page, seen) {
            (Some(page), Some(seen)) => exchange(&page, addr, width, seen.value, value),
            (Some(_), None) => false,
            (None, seen) => {
                let (old, new) = seen.map_or((0, 0), |seen| (seen.value, value & width.mask()));
                let result = self.bus.compare_exchange(target.phys, width, old, new);
                result.map_err(|_| Access::Store.access_fault(addr))?.is_ok() && seen.is_some()
            }
        };
        Ok(u64::from(!done))
    }

    fn read_modify_write(&mut self, addr: u64, width: Width, value: u64, funct5: i32) -> Result<u64, Trap> {
        let register = extend(value, width);
        let f = |memory| combine(funct5, memory, register, width);
        // The page is borrowed rather than cloned when it is at hand: cloning would make harts that share a lock
        // share the page's count too.
        if let Some(page) = self.store.page(addr, width.bytes() - 1, self.data_context) {
            return Ok(extend(update(page, addr, width, f), width));
        }
        let target = self.atomic_target(addr, width, Access::Store)?;
        let old = match target.page {
            Some(page) => update(&page, addr, width, f),
            None => {
                self.update_on_bus(target.phys, width, f).map_err(|_| Access::Store.access_fault(addr))?
            }
        };
        Ok(extend(old, width))
    }

    /// As [`update`], through the bus. Each turn that fails means that another access to the place succeeded.
    fn update_on_bus(&mut self, phys: u64, width: Width, f: impl Fn(u64) -> u64) -> Result<u64, BusFault> {
        let mut current = 0;
        loop {
            let new = f(extend(current, width)) & width.mask();
            match self.bus.compare_exchange(phys, width, current, new)? {
                Ok(old) => return Ok(old),
                Err(other) => current = other,
            }
        }
    }
}
