//! Owners of regions, and the guard that keeps a device plugged in.

use crate::id::OwnerId;
use crate::memory::{Condemned, Memory, Unplugged};
use crate::node::NodeOwner;
use crate::sync::{Arc, AtomicBool, Weak};
use std::any::Any;
use std::fmt;

/// Who owns regions, held weakly: views and pins that show a region hold its owner strongly.
#[derive(Clone)]
pub struct Owner {
    owner: NodeOwner,
}

impl Owner {
    pub(crate) fn new(id: OwnerId, path: Arc<str>, object: Weak<dyn Any + Send + Sync>) -> Self {
        Self { owner: NodeOwner { id, path, object, unplugged: Arc::default() } }
    }

    /// The id.
    pub fn id(&self) -> OwnerId {
        self.owner.id
    }

    /// The path, for people and for RAM block identifiers.
    pub fn path(&self) -> &Arc<str> {
        &self.owner.path
    }

    pub(crate) fn node_owner(&self) -> NodeOwner {
        self.owner.clone()
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("id", &self.owner.id).field("path", &self.owner.path).finish()
    }
}

/// A device that is plugged into a machine.
///
/// Dropping the guard unmaps all regions of the device in one transaction, and then lets go of the device, whose
/// destructor runs when the last view or pin that shows one of its regions is gone. Where that cannot be done
/// at once (inside a transaction, or while another thread is in one), it is done at its end. A region of an
/// unplugged device cannot be mapped again.
///
/// ```
/// use memory_core::{AccessRules, BusFault, Memory, Methods, Size, TxAttrs, Width};
/// use std::sync::{Arc, Weak};
///
/// struct Timer;
/// impl Timer {
///     fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> { Ok(42) }
///     fn write(&self, _: u64, _: Width, _: u64, _: TxAttrs) -> Result<(), BusFault> { Ok(()) }
/// }
/// let memory = Memory::new();
/// let system = memory.container("system", Size::FULL).build()?;
/// let timer = Arc::new(Timer);
/// let weak: Weak<Timer> = Arc::downgrade(&timer);
/// let owner = memory.owner("/machine/timer", weak);
/// let callbacks = Methods::new(&timer, Timer::read, Timer::write);
/// let regs = memory.mmio("regs", 8u64, AccessRules::new(), callbacks).owner(&owner).build()?;
/// let plug = memory.plug(&owner, timer);
/// system.map(0x1000, &regs)?;
/// drop(plug);
/// assert_eq!(regs.address()?, None);
/// # Ok::<(), memory_core::MemoryError>(())
/// ```
pub struct Plug<T: ?Sized + Send + Sync + 'static> {
    memory: Memory,
    owner: OwnerId,
    path: Arc<str>,
    /// The owner's.
    mark: Arc<AtomicBool>,
    device: Option<Arc<T>>,
}

impl<T: ?Sized + Send + Sync + 'static> Plug<T> {
    pub(crate) fn new(memory: Memory, owner: &Owner, device: Arc<T>) -> Self {
        let NodeOwner { id, path, unplugged, .. } = owner.node_owner();
        Self { memory, owner: id, path, mark: unplugged, device: Some(device) }
    }

    /// The owner that the device is to its regions.
    pub fn owner(&self) -> OwnerId {
        self.owner
    }

    /// The owner's path, for people.
    pub fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// The device.
    pub fn device(&self) -> Option<&Arc<T>> {
        self.device.as_ref()
    }
}

impl<T: ?Sized + Send + Sync + 'static> Drop for Plug<T> {
    fn drop(&mut self) {
        if let Some(device) = self.device.take() {
            let (mark, device) = (self.mark.clone(), Box::new(device));
            self.memory.condemn(Condemned::Plug(Unplugged { owner: self.owner, mark, device }));
        }
    }
}

impl<T: ?Sized + Send + Sync + 'static> fmt::Debug for Plug<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plug").field("owner", &self.owner).finish_non_exhaustive()
    }
}
