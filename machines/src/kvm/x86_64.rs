//! What is x86-64's own: how a vCPU starts, its identification, its interrupts and their controllers, what is told of it.
//!
//! All that the other files know of an architecture is named `arch` there: [`Start`], [`prepare`] and [`make_irqchip`] for
//! a machine, [`start`] for a vCPU, [`give_interrupt`] and [`takes_interrupts`] for its loop, [`registers`],
//! [`instruction`] and [`internal_error`] for a report. Another one is another file with these.

use super::mailbox::Mailbox;
use super::sys::{Vcpu, Vm};
use kvm_bindings::{
    CpuId, KVM_INTERNAL_ERROR_DELIVERY_EV, KVM_INTERNAL_ERROR_EMULATION,
    KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES, KVM_INTERNAL_ERROR_SIMUL_EX,
    KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, KVM_MAX_CPUID_ENTRIES, KVM_MP_STATE_RUNNABLE, kvm_mp_state,
    kvm_pit_config, kvm_segment, kvm_sregs,
};
use kvm_ioctls::{Error, VcpuFd};

/// Three pages that the kernel of Intel hosts wants for itself, and one before them: where PCs have nothing, and below the
/// 16 MiB in which their firmware is.
const TSS_ADDRESS: usize = 0xfeff_d000;
const IDENTITY_MAP_ADDRESS: u64 = 0xfeff_c000;

const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// Bit 1 is always set.
const RFLAGS: u64 = 2;
const RFLAGS_IOPL_3: u64 = 3 << 12;

/// Selectors of [`Start::Kernel`].
const KERNEL_CODE: u16 = 0x10;
const KERNEL_DATA: u16 = 0x18;
const KERNEL_TASK: u16 = 0x20;

/// Where and in which mode a vCPU starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// As after a reset: real mode, 16 bytes below 4 GiB. With interrupt controllers in the kernel all vCPUs but the first
    /// wait for the first to start them.
    Reset,
    /// Real mode, at `segment * 16 + ip`; all segments are the same.
    Real {
        /// Of all segment registers.
        segment: u16,
        /// The first instruction.
        ip: u16,
    },
    /// Protected mode without paging, flat segments of 4 GiB.
    Flat {
        /// The first instruction.
        eip: u32,
        /// The stack.
        esp: u32,
    },
    /// Protected mode without paging, as Linux's 32-bit boot protocol and PVH want it at a kernel's entry: code segment 0x10,
    /// data segments 0x18, task 0x20, the other registers 0.
    Kernel {
        /// The first instruction.
        eip: u32,
        /// What PVH's start information is handed over by.
        ebx: u32,
        /// What Linux's boot parameters are handed over by.
        esi: u32,
        /// Where a table of five descriptors is that says the same of the segments.
        gdt: u64,
    },
    /// 64-bit mode in ring 0, flat segments.
    Long {
        /// The first instruction.
        rip: u64,
        /// The stack.
        rsp: u64,
        /// The address of the page tables' root.
        cr3: u64,
    },
    /// 64-bit mode in ring 3, flat segments. Port instructions are allowed.
    User {
        /// The first instruction.
        rip: u64,
        /// The stack.
        rsp: u64,
        /// The address of the page tables' root.
        cr3: u64,
    },
}

/// Interrupt controllers in the kernel: the PICs, the I/O APIC and a local APIC for each vCPU, and the timer. Made before
/// the first vCPU.
pub(super) fn make_irqchip(vm: &Vm) -> Result<(), Error> {
    vm.fd().create_irq_chip()?;
    vm.fd().create_pit2(kvm_pit_config::default())
}

/// What a machine needs before its first vCPU.
pub(super) fn prepare(vm: &Vm) -> Result<(), Error> {
    vm.fd().set_identity_map_address(IDENTITY_MAP_ADDRESS)?;
    vm.fd().set_tss_address(TSS_ADDRESS)
}

/// Puts a new vCPU at its start.
pub(super) fn start(vcpu: &Vcpu, id: u64, start: &Start) -> Result<(), Error> {
    let (fd, kvm) = (vcpu.fd(), vcpu.vm().kvm());
    let mut cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?;
    identify(&mut cpuid, u32::try_from(id).unwrap_or(u32::MAX));
    fd.set_cpuid2(&cpuid)?;
    if *start == Start::Reset {
        return Ok(());
    }
    let mut sregs = fd.get_sregs()?;
    let mut regs = fd.get_regs()?;
    regs.rflags = RFLAGS;
    match *start {
        Start::Reset => {}
        Start::Real { segment, ip } => {
            each_segment(&mut sregs, |register| {
                register.selector = segment;
                register.base = u64::from(segment) << 4;
            });
            (regs.rip, regs.rsp) = (ip.into(), 0);
        }
        Start::Flat { eip, esp } => {
            set_flat(&mut sregs, false, 0);
            sregs.cr0 = CR0_PE | CR0_ET;
            (regs.rip, regs.rsp) = (eip.into(), esp.into());
        }
        Start::Kernel { eip, ebx, esi, gdt } => {
            set_flat(&mut sregs, false, 0);
            each_segment(&mut sregs, |register| register.selector = KERNEL_DATA);
            sregs.cs.selector = KERNEL_CODE;
            sregs.tr = kvm_segment {
                selector: KERNEL_TASK,
                limit: 0x67,
                type_: 11,
                present: 1,
                ..Default::default()
            };
            sregs.gdt.base = gdt;
            sregs.gdt.limit = KERNEL_TASK + 7;
            sregs.cr0 = CR0_PE | CR0_ET;
            (regs.rip, regs.rbx, regs.rsi) = (eip.into(), ebx.into(), esi.into());
            (regs.rsp, regs.rbp, regs.rdi, regs.rdx) = (0, 0, 0, 0);
        }
        Start::Long { rip, rsp, cr3 } => {
            set_long(&mut sregs, cr3, 0);
            (regs.rip, regs.rsp) = (rip, rsp);
        }
        Start::User { rip, rsp, cr3 } => {
            set_long(&mut sregs, cr3, 3);
            regs.rflags |= RFLAGS_IOPL_3;
            (regs.rip, regs.rsp) = (rip, rsp);
        }
    }
    fd.set_sregs(&sregs)?;
    fd.set_regs(&regs)?;
    // one that has its start waits for nobody
    fd.set_mp_state(kvm_mp_state { mp_state: KVM_MP_STATE_RUNNABLE })
}

/// What a guest is told of its processor: the host's, as far as KVM has it, under a number of its own, and that it is a guest.
fn identify(cpuid: &mut CpuId, id: u32) {
    for entry in cpuid.as_mut_slice() {
        match entry.function {
            1 => {
                entry.ebx = entry.ebx & 0x00ff_ffff | id << 24;
                entry.ecx |= 1 << 31;
            }
            0xb | 0x1f => entry.edx = id,
            _ => {}
        }
    }
}

/// Whether a guest that halts is woken by an interrupt.
pub(super) fn takes_interrupts(vcpu: &mut Vcpu) -> bool {
    vcpu.interruptible().0
}

/// Gives the guest the interrupt that waits, or asks to be told when it takes one. Whether there is one. With controllers
/// in the kernel it does nothing.
pub(super) fn give_interrupt(vcpu: &mut Vcpu, mailbox: &Mailbox) -> Result<bool, Error> {
    if !mailbox.injects() {
        return Ok(false);
    }
    let (vector, more) = mailbox.next_vector(|| vcpu.interruptible() == (true, true));
    if let Some(vector) = vector {
        vcpu.interrupt(vector)?;
    }
    vcpu.ask_for_interrupt_window(more);
    Ok(vector.is_some() || more)
}

fn each_segment(sregs: &mut kvm_sregs, set: impl Fn(&mut kvm_segment)) {
    let kvm_sregs { cs, ds, es, fs, gs, ss, .. } = sregs;
    [cs, ds, es, fs, gs, ss].into_iter().for_each(set);
}

/// 64-bit mode with the page tables at `cr3`.
fn set_long(sregs: &mut kvm_sregs, cr3: u64, ring: u8) {
    set_flat(sregs, true, ring);
    sregs.cr0 = CR0_PE | CR0_ET | CR0_PG;
    sregs.cr3 = cr3;
    sregs.cr4 |= CR4_PAE;
    sregs.efer |= EFER_LME | EFER_LMA;
}

/// Flat segments: selector 8 for code, 16 for data, with the ring.
fn set_flat(sregs: &mut kvm_sregs, long: bool, ring: u8) {
    // data, read and write, accessed; code is 11
    each_segment(sregs, |register| {
        *register = kvm_segment {
            base: 0,
            limit: u32::MAX,
            selector: 16 | u16::from(ring),
            type_: 3,
            dpl: ring,
            present: 1,
            s: 1,
            db: 1,
            g: 1,
            ..Default::default()
        };
    });
    let selector = 8 | u16::from(ring);
    sregs.cs = kvm_segment { selector, type_: 11, l: long.into(), db: (!long).into(), ..sregs.cs };
}

/// The registers as text.
pub(super) fn registers(fd: &VcpuFd) -> Option<String> {
    let (regs, sregs) = (fd.get_regs().ok()?, fd.get_sregs().ok()?);
    let lines = [
        format!(
            "rip={:016x} flags={:016x} cs={:04x}@{:x}",
            regs.rip, regs.rflags, sregs.cs.selector, sregs.cs.base
        ),
        format!("rax={:016x} rbx={:016x} rcx={:016x} rdx={:016x}", regs.rax, regs.rbx, regs.rcx, regs.rdx),
        format!("rsi={:016x} rdi={:016x} rbp={:016x} rsp={:016x}", regs.rsi, regs.rdi, regs.rbp, regs.rsp),
        format!("r8 ={:016x} r9 ={:016x} r10={:016x} r11={:016x}", regs.r8, regs.r9, regs.r10, regs.r11),
        format!("r12={:016x} r13={:016x} r14={:016x} r15={:016x}", regs.r12, regs.r13, regs.r14, regs.r15),
        format!(
            "cr0={:x} cr2={:x} cr3={:x} cr4={:x} efer={:x}",
            sregs.cr0, sregs.cr2, sregs.cr3, sregs.cr4, sregs.efer
        ),
    ];
    Some(lines.join("\n"))
}

/// The guest address of the next instruction, if there is one.
pub(super) fn instruction(fd: &VcpuFd) -> Option<u64> {
    let (regs, sregs) = (fd.get_regs().ok()?, fd.get_sregs().ok()?);
    let linear = regs.rip.wrapping_add(sregs.cs.base);
    let linear = if sregs.cs.l == 0 { linear & u64::from(u32::MAX) } else { linear };
    let found = fd.translate_gva(linear).ok()?;
    (found.valid != 0).then_some(found.physical_address)
}

/// Why the kernel could not go on.
pub(super) fn internal_error(why: u32, more: &[u64]) -> String {
    match (why, more) {
        (KVM_INTERNAL_ERROR_EMULATION, [flags, rest @ ..])
            if flags & u64::from(KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0 =>
        {
            let mut bytes = rest.iter().flat_map(|word| word.to_le_bytes());
            let count = bytes.next().unwrap_or_default().min(15);
            let bytes: Vec<_> = bytes.take(count.into()).map(|byte| format!("{byte:02x}")).collect();
            format!("it has no such instruction, or cannot fetch one: {}", bytes.join(" "))
        }
        (KVM_INTERNAL_ERROR_EMULATION, _) => "it has no such instruction, or cannot fetch one".into(),
        (KVM_INTERNAL_ERROR_SIMUL_EX, _) => "an exception while another was delivered".into(),
        (KVM_INTERNAL_ERROR_DELIVERY_EV, more) => {
            format!("an exit while an interrupt or an exception was delivered, {more:x?}")
        }
        (KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, more) => {
            format!("an exit that it does not know, {more:x?}")
        }
        (other, more) => format!("its error {other}, {more:x?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_that_the_kernel_lacks_is_told_with_its_bytes() {
        let more = [1, u64::from_le_bytes([4, 0x66, 0x0f, 0xef, 0xc0, 0xaa, 0xaa, 0xaa]), u64::MAX];
        let told = internal_error(KVM_INTERNAL_ERROR_EMULATION, &more);
        assert_eq!(told, "it has no such instruction, or cannot fetch one: 66 0f ef c0");
        assert_eq!(
            internal_error(KVM_INTERNAL_ERROR_EMULATION, &[]),
            "it has no such instruction, or cannot fetch one"
        );
        assert_eq!(internal_error(99, &[0x10]), "its error 99, [10]");
    }
}
