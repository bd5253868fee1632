//! The DMA tester that is written with `&mut self`.

use super::registers::{self, Copy, Registers, Status};
use crate::device::{Device, DeviceError, ResetType};
use crate::info::DeviceInfo;
use crate::inspect::Inspector;
use crate::realize::Realize;
use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use memory_core::{BusFault, Region, TxAttrs, Width};
use memory_dispatch::{DmaQueue, Locked, LockedDevice};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Copies memory by DMA after the write that asks for it has given its lock up. Exports `regs`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedDmaTester {
    #[serde(default)]
    state: EngineCell,
    #[serde(skip)]
    regs: OnceLock<Region>,
}

/// The registers: a file's at first, the engine's from when the device is realised.
#[derive(Default)]
struct EngineCell {
    initial: Mutex<Registers>,
    engine: OnceLock<Arc<Locked<Engine>>>,
}

impl EngineCell {
    fn initial(&self) -> MutexGuard<'_, Registers> {
        self.initial.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<R>(&self, with: impl FnOnce(&mut Registers) -> R) -> R {
        match self.engine.get() {
            Some(engine) => engine.with(|engine, _| with(&mut engine.registers)),
            None => with(&mut self.initial()),
        }
    }
}

impl Serialize for EngineCell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with(|registers| *registers).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for EngineCell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let registers = Registers::deserialize(deserializer)?;
        Ok(Self { initial: Mutex::new(registers), engine: OnceLock::new() })
    }
}

struct Engine {
    registers: Registers,
}

impl LockedDevice for Engine {
    fn read(&mut self, offset: u64, _: Width, _: TxAttrs, _: &mut DmaQueue) -> Result<u64, BusFault> {
        Ok(self.registers.read(offset).into())
    }

    fn write(
        &mut self,
        offset: u64,
        _: Width,
        value: u64,
        _: TxAttrs,
        dma: &mut DmaQueue,
    ) -> Result<(), BusFault> {
        if let Some(Copy { src, dst, len }) = self.registers.write(offset, value as u32) {
            if len == 0 {
                self.registers.finish(Status::empty());
            } else {
                dma.read(dst, src, len);
            }
        }
        Ok(())
    }

    /// Two threads may each have a copy on its way, so what belongs to a copy travels with its requests: the tag is the
    /// destination, and what has no data is a write.
    fn dma_done(&mut self, dst: u64, data: &[u8], result: Result<(), BusFault>, dma: &mut DmaQueue) {
        match (data, result) {
            ([], Ok(())) => self.registers.finish(Status::empty()),
            ([], Err(_)) => self.registers.finish(Status::WRITE_FAULT),
            (_, Ok(())) => dma.write(dst, dst, data),
            (_, Err(_)) => self.registers.finish(Status::READ_FAULT),
        }
    }
}

#[typetag::serde(name = "dma-test-locked")]
impl Device for LockedDmaTester {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let registers = self.state.initial().masked();
        let engine = Arc::new(Locked::new(Engine { registers }, ctx.dma_space(), ctx.dma_attrs()));
        let callbacks = Arc::downgrade(&engine);
        let regs = ctx.memory().mmio("regs", registers::SIZE, super::rules(), callbacks);
        let regs = regs.owner(ctx.owner()).build()?;
        ctx.export("regs", &regs);
        // a device is realised once
        let _ = (self.state.engine.set(engine), self.regs.set(regs));
        Ok(())
    }

    fn reset(&self, _: ResetType) {
        self.state.with(|registers| *registers = Registers::default());
    }

    fn inspect(&self, out: &mut Inspector) {
        super::inspect(&self.state.with(|registers| *registers), out);
    }
}

inventory::submit! {
    DeviceInfo {
        tag: "dma-test-locked",
        about: "copies memory by DMA from behind a lock, for tests",
        properties: &[],
        example: "{}",
    }
}
