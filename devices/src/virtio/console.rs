//! The console device (virtio 1.2, section 5.3) with one port.

use super::{Chains, Malformed, VirtioDevice};
use crate::chardev::{Backend, Chardev};
use crate::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use crate::{DeviceError, Host};
use memory_core::EventNotifier;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{Read, Write};

/// The queue with buffers for input.
const RECEIVE: usize = 0;
/// The queue with output.
const TRANSMIT: usize = 1;
/// Bytes that are moved at a time.
const BLOCK: usize = 4096;

/// A serial line without a speed.
#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VirtioConsole {
    /// What is at the other end.
    #[serde(default)]
    backend: Backend,
    #[serde(skip)]
    line: OnceLock<Arc<dyn Chardev>>,
    /// Input for which the driver has had no room yet.
    #[serde(skip)]
    pending: Mutex<Vec<u8>>,
}

impl fmt::Debug for VirtioConsole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtioConsole").field("backend", &self.backend).finish_non_exhaustive()
    }
}

impl VirtioConsole {
    fn pending(&self) -> MutexGuard<'_, Vec<u8>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receive(&self, line: &dyn Chardev, chains: &mut Chains<'_>) -> Result<(), Malformed> {
        loop {
            let mut pending = std::mem::take(&mut *self.pending());
            if pending.is_empty() {
                pending = line.read(BLOCK);
            }
            if pending.is_empty() {
                return Ok(());
            }
            let chain = chains.take();
            let mut chain = match chain {
                Ok(Some(chain)) => chain,
                none => {
                    // it stays until the driver has a buffer for it
                    *self.pending() = pending;
                    return none.map(drop);
                }
            };
            let written = chain.writer.write(&pending).unwrap_or_default();
            *self.pending() = pending.split_off(written.min(pending.len()));
            chains.give_back(chain, written)?;
        }
    }

    fn transmit(line: &dyn Chardev, chains: &mut Chains<'_>) -> Result<(), Malformed> {
        while let Some(mut chain) = chains.take()? {
            let mut bytes = [0; BLOCK];
            while let Ok(count @ 1..) = chain.reader.read(&mut bytes) {
                line.write(bytes.get(..count).unwrap_or(&[]));
            }
            chains.give_back(chain, 0)?;
        }
        Ok(())
    }
}

#[typetag::serde(name = "virtio-console")]
impl VirtioDevice for VirtioConsole {
    fn id(&self) -> u32 {
        virtio_bindings::virtio_ids::VIRTIO_ID_CONSOLE
    }

    fn queues(&self) -> &'static [u16] {
        &[64, 64]
    }

    fn open(&self, host: &Host, wake: &[EventNotifier]) -> Result<(), DeviceError> {
        let line = self.backend.open(host)?;
        if let Some(receive) = wake.get(RECEIVE).cloned() {
            line.on_input(Box::new(move || receive.signal()));
        }
        let _ = self.line.set(line);
        Ok(())
    }

    fn serve(&self, queue: usize, chains: &mut Chains<'_>) -> Result<(), Malformed> {
        match (self.line.get(), queue) {
            (Some(line), RECEIVE) => self.receive(&**line, chains),
            (Some(line), TRANSMIT) => Self::transmit(&**line, chains),
            _ => Ok(()),
        }
    }
}
