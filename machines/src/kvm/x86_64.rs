//! What is x86-64's own: how a vCPU starts, its identification, its interrupt controllers, its registers as text.

use super::sys::{Vcpu, Vm};
use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_pit_config, kvm_segment, kvm_sregs};
use kvm_ioctls::{Error, VcpuFd};

/// Three pages that the kernel of Intel hosts wants for itself, and one before them: below the firmware, where PCs have
/// nothing.
const TSS_ADDRESS: usize = 0xfffb_d000;
const IDENTITY_MAP_ADDRESS: u64 = 0xfffb_c000;

const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// Bit 1 is always set.
const RFLAGS: u64 = 2;

/// Where and in which mode a vCPU starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// As after a reset: real mode, 16 bytes below 4 GiB.
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
    /// 64-bit mode in ring 0, flat segments.
    Long {
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
pub(super) fn start(vcpu: &Vcpu, start: &Start) -> Result<(), Error> {
    let (fd, kvm) = (vcpu.fd(), vcpu.vm().kvm());
    fd.set_cpuid2(&kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?)?;
    let mut sregs = fd.get_sregs()?;
    let mut regs = fd.get_regs()?;
    regs.rflags = RFLAGS;
    match *start {
        Start::Reset => return Ok(()),
        Start::Real { segment, ip } => {
            each_segment(&mut sregs, |register| {
                register.selector = segment;
                register.base = u64::from(segment) << 4;
            });
            regs.rip = ip.into();
            regs.rsp = 0;
        }
        Start::Flat { eip, esp } => {
            set_flat(&mut sregs, false);
            sregs.cr0 = CR0_PE | CR0_ET;
            (regs.rip, regs.rsp) = (eip.into(), esp.into());
        }
        Start::Long { rip, rsp, cr3 } => {
            set_flat(&mut sregs, true);
            sregs.cr0 = CR0_PE | CR0_ET | CR0_PG;
            sregs.cr3 = cr3;
            sregs.cr4 |= CR4_PAE;
            sregs.efer |= EFER_LME | EFER_LMA;
            (regs.rip, regs.rsp) = (rip, rsp);
        }
    }
    fd.set_sregs(&sregs)?;
    fd.set_regs(&regs)
}

fn each_segment(sregs: &mut kvm_sregs, set: impl Fn(&mut kvm_segment)) {
    let kvm_sregs { cs, ds, es, fs, gs, ss, .. } = sregs;
    [cs, ds, es, fs, gs, ss].into_iter().for_each(set);
}

/// Flat segments: selector 8 for code, 16 for data.
fn set_flat(sregs: &mut kvm_sregs, long: bool) {
    // data, read and write, accessed; code is 11
    each_segment(sregs, |register| {
        *register = kvm_segment {
            base: 0,
            limit: u32::MAX,
            selector: 16,
            type_: 3,
            present: 1,
            s: 1,
            db: 1,
            g: 1,
            ..Default::default()
        };
    });
    sregs.cs = kvm_segment { selector: 8, type_: 11, l: long.into(), db: (!long).into(), ..sregs.cs };
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
