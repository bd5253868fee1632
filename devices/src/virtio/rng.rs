//! The entropy device (virtio 1.2, section 5.4).

use super::{Chains, Malformed, VirtioDevice};
use crate::{DeviceError, Host};
use memory_core::EventNotifier;
use serde::{Deserialize, Serialize};
use std::io::Write;

/// Bytes that one buffer gets at most.
const MOST: usize = 0x1_0000;

/// Random bytes from the host.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VirtioRng {}

#[typetag::serde(name = "virtio-rng")]
impl VirtioDevice for VirtioRng {
    fn id(&self) -> u32 {
        virtio_bindings::virtio_ids::VIRTIO_ID_RNG
    }

    fn queues(&self) -> &'static [u16] {
        &[64]
    }

    fn open(&self, _host: &Host, _wake: &[EventNotifier]) -> Result<(), DeviceError> {
        Ok(())
    }

    fn serve(&self, _queue: usize, chains: &mut Chains<'_>) -> Result<(), Malformed> {
        while let Some(mut chain) = chains.take()? {
            let mut bytes = vec![0; chain.writer.available_bytes().min(MOST)];
            let written = match getrandom::fill(&mut bytes) {
                Ok(()) => chain.writer.write(&bytes).unwrap_or_default(),
                Err(error) => {
                    tracing::warn!(%error, "the host has no entropy");
                    0
                }
            };
            chains.give_back(chain, written)?;
        }
        Ok(())
    }
}
