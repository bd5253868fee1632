//! The models.

mod handle;
mod host;
mod intercept;
mod iommu;
mod lifetime;
mod listener;
mod publish;
mod reentry;
mod removal;

use crate::model::Model;

/// All of them.
pub static ALL: &[Model] = &[
    publish::TWO_CHANGES,
    publish::COMMITTED,
    publish::ROMD,
    publish::SPACE_MADE_AGAIN,
    handle::ACTIVE,
    handle::WAKES,
    handle::PARKS,
    handle::WAKES_TELLS,
    lifetime::MAP_GUARD,
    lifetime::RETIRED,
    lifetime::HANDLE_IN_TRANSACTION,
    lifetime::HANDLE_IN_LISTENER,
    lifetime::REMOVED_IN_TRANSACTION,
    lifetime::REMOVED_IN_LISTENER,
    lifetime::CONDEMNED,
    removal::ACCESS,
    removal::HANDLE,
    removal::MOVES_ON,
    removal::ENTRY,
    removal::ITSELF,
    host::BOUNCE,
    host::DIRTY_BIT,
    host::AT_HAND,
    host::LOG_START,
    intercept::COALESCED,
    intercept::FLUSHED,
    intercept::IOEVENT,
    iommu::IOTLB,
    iommu::NOTIFIER,
    listener::REGISTERED,
    listener::UNREGISTERED,
    listener::SPACE_DROPPED,
    reentry::TWO_THREADS,
    reentry::DMA,
];
