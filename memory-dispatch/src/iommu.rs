//! IOMMUs as dispatch has them: entries that are kept, and announcements that are passed on.

mod iotlb;
mod notifier;

pub(crate) use iotlb::Iotlb;
pub use iotlb::{IOTLB_ENTRIES, IotlbStats};
pub use notifier::{IommuError, IommuNotice, IommuNotifierGuard, IommuPort};
pub(crate) use notifier::{Notifiers, hear_late};
