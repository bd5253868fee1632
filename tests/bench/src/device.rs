//! The device behind every address: a register that holds 0, with the callbacks that each bus wants.
//!
//! `KIND` makes different types of it, whose code is at different places, so that a call through a `dyn` reference cannot
//! be predicted by its place alone.

use memory_core::{BusFault, Mmio, TxAttrs, Width};
use std::sync::atomic::{AtomicU64, Ordering};

/// The register.
#[derive(Debug, Default)]
pub struct Register<const KIND: u32> {
    value: AtomicU64,
}

impl<const KIND: u32> Register<KIND> {
    #[inline]
    fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed).rotate_left(KIND)
    }

    #[inline]
    fn set(&self, value: u64) {
        self.value.store(value.rotate_right(KIND), Ordering::Relaxed);
    }

    /// For callbacks that fill in bytes.
    #[inline]
    fn fill(&self, bytes: &mut [u8]) {
        let value = self.get().to_le_bytes();
        let len = bytes.len().min(8);
        bytes[..len].copy_from_slice(&value[..len]);
    }

    /// For callbacks that are given bytes.
    #[inline]
    fn take(&self, bytes: &[u8]) {
        let mut value = [0; 8];
        let len = bytes.len().min(8);
        value[..len].copy_from_slice(&bytes[..len]);
        self.set(u64::from_le_bytes(value));
    }
}

impl<const KIND: u32> Mmio for Register<KIND> {
    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.get())
    }

    fn write(&self, _: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        self.set(value);
        Ok(())
    }
}

impl<const KIND: u32> dbs_device::DeviceIo for Register<KIND> {
    fn read(&self, _: dbs_device::IoAddress, _: dbs_device::IoAddress, data: &mut [u8]) {
        self.fill(data);
    }

    fn write(&self, _: dbs_device::IoAddress, _: dbs_device::IoAddress, data: &[u8]) {
        self.take(data);
    }

    fn pio_read(&self, _: dbs_device::PioAddress, _: dbs_device::PioAddress, data: &mut [u8]) {
        self.fill(data);
    }

    fn pio_write(&self, _: dbs_device::PioAddress, _: dbs_device::PioAddress, data: &[u8]) {
        self.take(data);
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl<const KIND: u32> vm_device::DeviceMmio for Register<KIND> {
    fn mmio_read(&self, _: vm_device::bus::MmioAddress, _: u64, data: &mut [u8]) {
        self.fill(data);
    }

    fn mmio_write(&self, _: vm_device::bus::MmioAddress, _: u64, data: &[u8]) {
        self.take(data);
    }
}

impl<const KIND: u32> vm_device::DevicePio for Register<KIND> {
    fn pio_read(&self, _: vm_device::bus::PioAddress, _: u16, data: &mut [u8]) {
        self.fill(data);
    }

    fn pio_write(&self, _: vm_device::bus::PioAddress, _: u16, data: &[u8]) {
        self.take(data);
    }
}

impl<const KIND: u32> machina_memory::MmioOps for Register<KIND> {
    fn read(&self, _: u64, _: u32) -> u64 {
        self.get()
    }

    fn write(&self, _: u64, _: u32, value: u64) {
        self.set(value);
    }
}

impl<const KIND: u32> rsemu::core::space::MemOps for Register<KIND> {
    fn read(
        &self,
        _: u64,
        data: &mut [u8],
        _: rsemu::core::space::MemAttrs,
    ) -> rsemu::core::space::MemResult {
        self.fill(data);
        Ok(())
    }

    fn write(&self, _: u64, data: &[u8], _: rsemu::core::space::MemAttrs) -> rsemu::core::space::MemResult {
        self.take(data);
        Ok(())
    }

    fn constraints(&self) -> rsemu::core::space::AccessConstraints {
        rsemu::core::space::AccessConstraints::ANY
    }
}

/// The device number `$index`, of one type, or of four in turn if `$mixed`: `$make` with `$Kind` standing for the type.
macro_rules! device {
    ($mixed:expr, $index:expr, $Kind:ident => $make:expr) => {
        match if $mixed { $index % 4 } else { 0 } {
            1 => {
                type $Kind = $crate::device::Register<1>;
                $make
            }
            2 => {
                type $Kind = $crate::device::Register<2>;
                $make
            }
            3 => {
                type $Kind = $crate::device::Register<3>;
                $make
            }
            _ => {
                type $Kind = $crate::device::Register<0>;
                $make
            }
        }
    };
}
pub(crate) use device;
