//! The kinds of region.

use crate::host::RamBlock;
use crate::id::RegionId;
use crate::iommu::BindIommu;
use crate::mmio::BindMmio;
use crate::rules::AccessRules;
use crate::sync::Arc;
use std::fmt;

/// Callbacks and the rules under which they are called.
#[derive(Clone)]
pub struct Callbacks {
    pub(crate) bind: Arc<dyn BindMmio>,
    pub(crate) rules: Arc<AccessRules>,
}

impl Callbacks {
    /// The callbacks that `bind` finds, under `rules`.
    pub fn new(rules: AccessRules, bind: impl BindMmio + 'static) -> Self {
        Self { bind: Arc::new(bind), rules: Arc::new(rules) }
    }

    /// The access rules.
    pub fn rules(&self) -> &AccessRules {
        &self.rules
    }
}

/// What a region is, with what only regions of its kind have.
#[derive(Clone)]
pub enum Kind {
    /// Groups other regions and answers no access itself.
    Container,
    /// Host memory that the guest reads and writes.
    Ram(Arc<RamBlock>),
    /// Memory of a real device: as RAM for the guest, accessed with exact widths by the host.
    RamDevice(Arc<RamBlock>),
    /// Host memory that the guest reads; its writes are refused.
    Rom(Arc<RamBlock>),
    /// Reads go to host memory or, out of ROMD mode, to the callback; writes go to the callback.
    RomDevice(Arc<RamBlock>, Callbacks),
    /// Callbacks.
    Mmio(Callbacks),
    /// Translated into another address space.
    Iommu(Arc<dyn BindIommu>),
    /// A window of another region.
    Alias {
        /// The region that is looked at.
        target: RegionId,
        /// The first byte of it that shows, in bytes from its start.
        offset: u64,
    },
    /// Claims space that is handled elsewhere; refuses accesses.
    Reservation,
}

impl Kind {
    /// The host memory behind the region, if there is some.
    pub fn block(&self) -> Option<&Arc<RamBlock>> {
        match self {
            Self::Ram(block) | Self::RamDevice(block) | Self::Rom(block) | Self::RomDevice(block, _) => {
                Some(block)
            }
            _ => None,
        }
    }

    /// The access rules, if the region has callbacks.
    pub fn rules(&self) -> Option<&AccessRules> {
        match self {
            Self::Mmio(callbacks) | Self::RomDevice(_, callbacks) => Some(&callbacks.rules),
            _ => None,
        }
    }

    /// Whether the region answers accesses of its own, besides what its children answer.
    pub fn is_leaf(&self) -> bool {
        !matches!(self, Self::Container | Self::Alias { .. })
    }

    /// The kind in a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Ram(_) => "ram",
            Self::RamDevice(_) => "ram-device",
            Self::Rom(_) => "rom",
            Self::RomDevice(..) => "rom-device",
            Self::Mmio(_) => "mmio",
            Self::Iommu(_) => "iommu",
            Self::Alias { .. } => "alias",
            Self::Reservation => "reservation",
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
