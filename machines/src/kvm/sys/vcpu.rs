//! One virtual CPU of the kernel, and what it comes back with.

use super::{SharedPages, Vm, until_done};
use crate::sync::{Arc, Mutex, PoisonError};
use kvm_bindings::kvm_interrupt;
use kvm_ioctls::{Error, VcpuExit, VcpuFd};
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::signal::SIGRTMIN;

vmm_sys_util::ioctl_iow_nr!(KVM_INTERRUPT, kvm_bindings::KVMIO, 0x86, kvm_interrupt);

/// Why a vCPU came back.
#[derive(Debug)]
pub(in crate::kvm) enum Exit<'a> {
    /// Reads of `width` bytes of a port, one after the other, into the bytes.
    PortIn { port: u16, width: usize, bytes: &'a mut [u8] },
    /// Writes of `width` bytes to a port, one after the other.
    PortOut { port: u16, width: usize, bytes: &'a [u8] },
    /// A read of memory that no slot shows.
    MmioRead { address: u64, bytes: &'a mut [u8] },
    /// A write to memory that no slot shows, or that one shows to be read.
    MmioWrite { address: u64, bytes: &'a [u8] },
    /// The guest waits for an interrupt.
    Halt,
    /// The guest can be interrupted now.
    InterruptWindow,
    /// Somebody wants the thread.
    Kicked,
    /// The guest has ended itself, by a triple fault.
    Shutdown,
    /// The processor refused the guest's state.
    FailedEntry(u64),
    /// The kernel could not go on: why, as a number, and what more it says.
    InternalError(u32, Vec<u64>),
    /// What is not dealt with, as its author prints it.
    Unhandled(String),
}

/// A virtual CPU.
pub(in crate::kvm) struct Vcpu {
    /// Before the VM, whose memory its guest runs on.
    fd: VcpuFd,
    pages: Arc<SharedPages>,
    /// The guest has an interrupt that it has not been entered with. The kernel has room for one.
    is_given: bool,
    vm: Arc<Vm>,
}

impl Vcpu {
    /// The vCPU of that number.
    pub(in crate::kvm) fn new(vm: &Arc<Vm>, id: u64) -> Result<Self, Error> {
        let fd = until_done(|| vm.fd.create_vcpu(id))?;
        let pages = SharedPages::map(&fd, vm.fd.run_size())?;
        vm.share_ring(&pages);
        Ok(Self { fd, pages, is_given: false, vm: vm.clone() })
    }

    /// The descriptor, for registers.
    pub(in crate::kvm) fn fd(&self) -> &VcpuFd {
        &self.fd
    }

    /// The descriptor, to run the guest without a look at why it comes back.
    pub(in crate::kvm) fn fd_mut(&mut self) -> &mut VcpuFd {
        &mut self.fd
    }

    pub(in crate::kvm) fn vm(&self) -> &Arc<Vm> {
        &self.vm
    }

    pub(in crate::kvm) fn pages(&self) -> &Arc<SharedPages> {
        &self.pages
    }

    /// Runs the guest until something has to be done. What an exit asks for is complete when the guest runs again.
    ///
    /// # Errors
    /// What the kernel says.
    pub(in crate::kvm) fn run(&mut self) -> Result<Exit<'_>, Error> {
        // whether or not the guest has taken it, the kernel says from now on if there is room
        self.is_given = false;
        let exit = match self.fd.run() {
            Ok(exit) => exit,
            Err(error) if [libc::EINTR, libc::EAGAIN].contains(&error.errno()) => return Ok(Exit::Kicked),
            Err(error) => return Err(error),
        };
        let width = || self.pages.port_width();
        Ok(match exit {
            VcpuExit::IoIn(port, bytes) => Exit::PortIn { port, width: width(), bytes },
            VcpuExit::IoOut(port, bytes) => Exit::PortOut { port, width: width(), bytes },
            VcpuExit::MmioRead(address, bytes) => Exit::MmioRead { address, bytes },
            VcpuExit::MmioWrite(address, bytes) => Exit::MmioWrite { address, bytes },
            VcpuExit::Hlt => Exit::Halt,
            VcpuExit::IrqWindowOpen => Exit::InterruptWindow,
            // a guest without a local APIC has lowered its priority, which nobody here looks at
            VcpuExit::SetTpr => Exit::InterruptWindow,
            VcpuExit::Intr => Exit::Kicked,
            VcpuExit::Shutdown => Exit::Shutdown,
            VcpuExit::FailEntry(reason, _) => Exit::FailedEntry(reason),
            VcpuExit::InternalError => {
                let (why, more) = self.pages.internal_error();
                Exit::InternalError(why, more)
            }
            other => Exit::Unhandled(format!("{other:?}")),
        })
    }

    /// Whether the guest's interrupts are enabled, and whether one can be given to it now.
    pub(in crate::kvm) fn interruptible(&mut self) -> (bool, bool) {
        let run = self.fd.get_kvm_run();
        (run.if_flag != 0, run.ready_for_interrupt_injection != 0 && !self.is_given)
    }

    /// Has the vCPU come back as soon as the guest takes interrupts, or not.
    pub(in crate::kvm) fn ask_for_interrupt_window(&mut self, ask: bool) {
        self.fd.get_kvm_run().request_interrupt_window = ask.into();
    }

    /// Gives the guest an interrupt. There must be no interrupt controller in the kernel.
    ///
    /// # Errors
    /// What the kernel says.
    pub(in crate::kvm) fn interrupt(&mut self, vector: u8) -> Result<(), Error> {
        let interrupt = kvm_interrupt { irq: vector.into() };
        // SAFETY: the descriptor is a vCPU's, and the kernel reads the structure that it is given.
        if unsafe { ioctl_with_ref(&self.fd, KVM_INTERRUPT(), &interrupt) } != 0 {
            return Err(Error::last());
        }
        self.is_given = true;
        Ok(())
    }
}

/// A thread that can be signalled: while it is inside [`ThreadSlot::enter`]'s guard.
#[derive(Default)]
pub(in crate::kvm) struct ThreadSlot {
    /// Held to signal, so that the thread is there meanwhile.
    thread: Mutex<Option<libc::pthread_t>>,
}

impl ThreadSlot {
    /// The calling thread is the one, until the guard is dropped.
    ///
    /// # Errors
    /// What the host says of the signal's handler.
    pub(in crate::kvm) fn enter(&self) -> Result<InThread<'_>, Error> {
        receive_signals()?;
        // SAFETY: the call takes nothing and returns the thread's own name.
        let thread = unsafe { libc::pthread_self() };
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(InThread { slot: self })
    }

    /// Interrupts what the thread does in the kernel.
    pub(in crate::kvm) fn signal(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = *thread {
            // SAFETY: the thread is alive: it takes its name out, under this lock, before it ends.
            unsafe { libc::pthread_kill(thread, SIGRTMIN()) };
        }
    }
}

/// The thread is in its slot.
pub(in crate::kvm) struct InThread<'a> {
    slot: &'a ThreadSlot,
}

impl Drop for InThread<'_> {
    fn drop(&mut self) {
        *self.slot.thread.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Nothing: KVM_RUN comes back, and that is all.
extern "C" fn on_signal(_: libc::c_int) {}

/// Has the calling thread be interrupted by the signal, whatever it inherited.
fn receive_signals() -> Result<(), Error> {
    // SAFETY: a structure of numbers and an optional function, for which zeros are a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // KVM_RUN is never restarted, and what a device's callback waits for is not disturbed
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler does nothing, which is safe in any thread at any time; the set is a local one that is made before it is
    // used.
    let failed = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaction(SIGRTMIN(), &action, std::ptr::null_mut()) != 0
            || libc::sigemptyset(&mut set) != 0
            || libc::sigaddset(&mut set, SIGRTMIN()) != 0
            || libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut()) != 0
    };
    if failed { Err(Error::last()) } else { Ok(()) }
}
