//! The KVM accelerator: a machine's map and devices under a guest that the processor runs.
//!
//! Everything that KVM has to know of a map comes to it by a listener: RAM and ROM become memory slots, dirty logs, ranges
//! whose writes are queued and events follow. What no slot shows comes back as an exit, which the vCPU's thread
//! dispatches through its [`VcpuHandle`](memory_dispatch::VcpuHandle), as any CPU does. No device knows of it.
//!
//! A commit that changes slots keeps vCPUs out of guest code until the new map is published; it waits for no dispatch. A vCPU
//! that is kicked lets go of an outdated map, one that sleeps has let go before.
//!
//! What belongs to one architecture is in one file; the rest does not know which it is.
//!
//! ```no_run
//! use machines::kvm::{Kvm, KvmConfig, Start};
//! use memory_core::{RamBlock, Size};
//! use memory_dispatch::{MemorySystem, SpaceConfig};
//!
//! let system = MemorySystem::new();
//! let root = system.memory().container("system", Size::FULL).build()?;
//! let ram = system.memory().ram("ram", RamBlock::anonymous(0x10_0000u64)?).build()?;
//! root.map(0, &ram)?;
//! let space = system.address_space("memory", &root, SpaceConfig::default())?;
//! // hlt
//! space.write(0x1000, &[0xf4], Default::default())?;
//! let mut kvm = Kvm::new(&space, None, KvmConfig::default())?;
//! let vcpu = kvm.start_vcpu(&Start::Real { segment: 0, ip: 0x1000 })?;
//! vcpu.stop();
//! println!("{}", vcpu.wait_ended());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bare;
mod gate;
mod listener;
mod mailbox;
mod marks;
mod report;
mod slots;
mod sys;
mod vcpu;
mod x86_64;

use x86_64 as arch;

pub use arch::Start;
pub use bare::BareVcpu;
pub use kvm_ioctls::VcpuExit;
pub use listener::InterceptError;
pub use report::{SeenAccess, VcpuEnd, VcpuReport};
pub use slots::{MemorySlot, SlotError};

use crate::sync::{Arc, thread};
use devices::{InterruptController, IrqInput};
use gate::Gate;
use listener::{KernelRing, KvmListener};
use mailbox::{Asked, Mailbox};
use memory_core::{EventNotifier, MemoryError};
use memory_dispatch::{AddressSpace, ListenerGuard};
use std::fmt;
use std::io;
use sys::{Vcpu, Vm};
use thread::JoinHandle;
use vcpu::{Buses, VcpuLoop};

/// Why a machine cannot run on KVM.
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// There is no /dev/kvm, or it may not be opened.
    #[error("/dev/kvm cannot be used: {0}")]
    Unavailable(kvm_ioctls::Error),
    /// The kernel refused something.
    #[error("KVM cannot {what}: {error}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// What the kernel says.
        error: kvm_ioctls::Error,
    },
    /// The present map cannot be given to the kernel.
    #[error(transparent)]
    Map(#[from] MemoryError),
    /// The host has no thread for a vCPU.
    #[error("no thread for a vCPU: {0}")]
    Thread(#[from] io::Error),
}

fn refused(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> KvmError {
    move |error| KvmError::Refused { what, error }
}

/// How a machine runs on KVM.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KvmConfig {
    /// Interrupt controllers and timer in the kernel. A guest that halts sleeps there, and [`Kvm::connect_irq`] works; without
    /// this [`VcpuControl::interrupt`] does.
    pub irqchip: bool,
    /// Marks of the kernel's dirty log are taken and cleared in one step, as all kernels can. Without this they are cleared
    /// apart, and only where they were taken, if the kernel offers that (`KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2`).
    pub plain_dirty_log: bool,
}

/// Who is told when a vCPU has ended.
type OnEnd = Arc<dyn Fn(&VcpuReport) + Send + Sync>;

/// A machine on KVM. Dropping it stops its vCPUs and waits for their threads: not to be done from a device's callback, in a
/// transaction or in a listener, which a vCPU may be in or wait for.
pub struct Kvm {
    on_end: Option<OnEnd>,
    /// The number of the next vCPU.
    next: u64,
    /// One of that number that could not be put at its start: the kernel has it, and makes no second.
    spare: Option<Vcpu>,
    vcpus: Vec<(VcpuControl, Option<JoinHandle<()>>)>,
    gate: Arc<Gate>,
    /// Unregistered before the VM goes.
    listeners: Vec<ListenerGuard>,
    /// The one of them that makes memory slots.
    slots: Arc<KvmListener>,
    /// Held for the memory system, which has it weakly.
    _ring: Arc<KernelRing>,
    vm: Arc<Vm>,
    memory: Arc<AddressSpace>,
    ports: Option<Arc<AddressSpace>>,
    config: KvmConfig,
}

impl Kvm {
    /// Gives the kernel the map of `memory`, and keeps it in step from now on; port instructions go to `ports`.
    ///
    /// # Errors
    /// No KVM, or a map that the kernel refuses.
    pub fn new(
        memory: &Arc<AddressSpace>,
        ports: Option<&Arc<AddressSpace>>,
        config: KvmConfig,
    ) -> Result<Self, KvmError> {
        let kvm = kvm_ioctls::Kvm::new().map_err(KvmError::Unavailable)?;
        let vm = Arc::new(Vm::new(kvm, !config.plain_dirty_log).map_err(refused("make a machine"))?);
        arch::prepare(&vm).map_err(refused("prepare a machine"))?;
        if config.irqchip {
            arch::make_irqchip(&vm).map_err(refused("make interrupt controllers"))?;
        }
        let gate = Arc::<Gate>::default();
        let ring = KernelRing::new(vm.clone(), memory.id(), ports.map(|ports| ports.id()));
        let system = memory.memory_system();
        let slots = KvmListener::memory(&vm, &gate);
        let mut listeners = vec![system.listen(slots.clone(), PRIORITY, Some(memory))?];
        if let Some(ports) = ports {
            listeners.push(system.listen(KvmListener::ports(&vm, &gate), PRIORITY, Some(ports))?);
        }
        // only now, when nothing can fail any more: no vCPU has queued anything yet
        system.set_coalesced_ring(ring.clone());
        let (memory, ports, vcpus) = (memory.clone(), ports.cloned(), Vec::new());
        let (on_end, next, spare) = (None, 0, None);
        Ok(Self {
            on_end,
            next,
            spare,
            vcpus,
            gate,
            listeners,
            slots,
            _ring: ring,
            vm,
            memory,
            ports,
            config,
        })
    }

    /// Names who is told when one of the vCPUs that are made after this has ended, for whatever reason: on its thread, which does
    /// nothing else any more. `tell` does not drop the machine, which waits for the thread.
    pub fn on_end(&mut self, tell: impl Fn(&VcpuReport) + Send + Sync + 'static) {
        self.on_end = Some(Arc::new(tell));
    }

    /// Makes the next vCPU, which runs from `start` on at once, on a thread of its own.
    ///
    /// # Errors
    /// The kernel's, or no thread.
    pub fn start_vcpu(&mut self, start: &Start) -> Result<VcpuControl, KvmError> {
        let id = self.next;
        let vcpu = match self.spare.take() {
            Some(vcpu) => vcpu,
            None => Vcpu::new(&self.vm, id).map_err(refused("make a vCPU"))?,
        };
        if let Err(error) = arch::start(&vcpu, id, start) {
            self.spare = Some(vcpu);
            return Err(refused("set a vCPU's registers")(error));
        }
        self.next += 1;
        let mailbox = Arc::new(Mailbox::new(vcpu.pages().clone(), !self.config.irqchip));
        self.gate.add(&mailbox);
        let handle = |space: &Arc<AddressSpace>| {
            let kicked = mailbox.clone();
            space.handle_named(format!("vcpu {id}"), move || kicked.ask(Asked::KICK))
        };
        let (memory, ports) = (handle(&self.memory), self.ports.as_ref().map(handle));
        let run = VcpuLoop {
            vcpu,
            mailbox: mailbox.clone(),
            gate: self.gate.clone(),
            buses: Buses { memory, ports, seen: Default::default() },
        };
        let control = VcpuControl { mailbox };
        let (mailbox, gate) = (control.mailbox.clone(), self.gate.clone());
        let ends = EndsAnyway { mailbox, gate, tell: self.on_end.clone() };
        let thread = thread::Builder::new().name(format!("vcpu {id}"));
        let thread = thread.spawn(move || {
            let ends = ends;
            let report = run.run();
            ends.mailbox.end(report);
        })?;
        self.vcpus.push((control.clone(), Some(thread)));
        Ok(control)
    }

    /// Has a signal of `event` raise and lower input `gsi` of the interrupt controllers in the kernel, with no thread of ours
    /// in between.
    ///
    /// # Errors
    /// The kernel's, above all without [`KvmConfig::irqchip`].
    pub fn connect_irq(&self, event: &EventNotifier, gsi: u32) -> Result<(), KvmError> {
        self.vm.fd().register_irqfd(event.event_fd(), gsi).map_err(refused("connect an interrupt"))
    }

    /// Ends [`Kvm::connect_irq`]. One that was not connected stays so.
    ///
    /// # Errors
    /// The kernel's.
    pub fn disconnect_irq(&self, event: &EventNotifier, gsi: u32) -> Result<(), KvmError> {
        self.vm.fd().unregister_irqfd(event.event_fd(), gsi).map_err(refused("disconnect an interrupt"))
    }

    /// What the kernel knows as memory now, by address.
    pub fn memory_slots(&self) -> Vec<MemorySlot> {
        self.slots.memory_slots()
    }

    /// The vCPUs, in the order of their making.
    pub fn vcpus(&self) -> impl Iterator<Item = &VcpuControl> {
        self.vcpus.iter().map(|(control, _)| control)
    }
}

/// The kernel's map is made before those of others, and taken down after them.
const PRIORITY: i32 = 10;

impl Drop for Kvm {
    fn drop(&mut self) {
        self.vcpus.iter().for_each(|(control, _)| control.stop());
        for thread in self.vcpus.iter_mut().filter_map(|(_, thread)| thread.take()) {
            // what it has to say is in its report
            _ = thread.join();
        }
        self.listeners.clear();
    }
}

impl fmt::Debug for Kvm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kvm").field("vcpus", &self.vcpus.len()).finish_non_exhaustive()
    }
}

/// A thread that panics leaves a report too, and is waited for by no commit.
struct EndsAnyway {
    mailbox: Arc<Mailbox>,
    gate: Arc<Gate>,
    tell: Option<OnEnd>,
}

impl Drop for EndsAnyway {
    fn drop(&mut self) {
        self.gate.leave(&self.mailbox);
        // the first report stands
        let end = VcpuEnd::Panicked;
        self.mailbox.end(VcpuReport { end, registers: None, code: None, accesses: Vec::new() });
        if let (Some(tell), Some(report)) = (&self.tell, self.mailbox.ended()) {
            tell(&report);
        }
    }
}

/// A way to a vCPU from other threads; clones are the same way.
#[derive(Clone)]
pub struct VcpuControl {
    mailbox: Arc<Mailbox>,
}

impl VcpuControl {
    /// Has the vCPU end, in the guest or out of it; [`VcpuControl::wait_ended`] waits for it.
    pub fn stop(&self) {
        self.mailbox.ask(Asked::STOP);
    }

    /// Has the vCPU stay out of the guest until [`VcpuControl::resume`], however often this is called. Returns when it does,
    /// or has ended; what the kernel has queued of its writes is carried out then. Not to be called from a device's
    /// callback, which the vCPU may be in, nor in a transaction or a listener, whose lock the vCPU may wait for.
    pub fn pause(&self) {
        self.mailbox.ask(Asked::PAUSE);
        self.mailbox.wait_paused();
    }

    /// Takes back [`VcpuControl::pause`].
    pub fn resume(&self) {
        self.mailbox.take_back(Asked::PAUSE);
    }

    /// Has the vCPU leave the guest once, and let go of an outdated map. The guest does not notice.
    pub fn kick(&self) {
        self.mailbox.ask(Asked::KICK);
    }

    /// Gives the guest an interrupt, after those that wait already, as soon as it takes one. It has no effect with interrupt
    /// controllers in the kernel, which have their own inputs.
    pub fn interrupt(&self, vector: u8) {
        self.mailbox.push_vector(vector);
    }

    /// Has `controller` give the guest its interrupts, one after the other as the guest takes them; the input that is returned is
    /// for the controller's line. The controller is held weakly. It has no effect with interrupt controllers in the kernel.
    pub fn connect_controller(&self, controller: &Arc<dyn InterruptController>) -> IrqInput {
        self.mailbox.set_controller(controller);
        let mailbox = self.mailbox.clone();
        IrqInput::new(move |level| mailbox.set_intr(level))
    }

    /// What is known of the vCPU, if it has ended.
    pub fn ended(&self) -> Option<Arc<VcpuReport>> {
        self.mailbox.ended()
    }

    /// Waits until the vCPU has ended, and says what is known of it then.
    pub fn wait_ended(&self) -> Arc<VcpuReport> {
        self.mailbox.wait_ended()
    }
}

impl fmt::Debug for VcpuControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VcpuControl").finish_non_exhaustive()
    }
}
