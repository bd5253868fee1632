//! A fence of which one side costs nothing, for dirty logs and for removal.
//!
//! A writer writes guest memory and then looks whether writes are to be logged; whoever starts a log says so and then
//! looks at guest memory. Each must not look before its own word is out, or a write goes unseen. Writers are many and
//! starts are few, so the start pays for both: `membarrier(2)` runs a full fence on every thread of the process, and a
//! writer needs its compiler's promise only. Where the kernel has no such call both sides take a real fence; see
//! ADR 004.

use crate::sync::{Ordering, compiler_fence, fence};

/// Keeps the compiler from moving the writer's look before its write.
#[inline(always)]
pub fn light() {
    compiler_fence(Ordering::SeqCst);
}

/// Whether [`heavy`] fences every thread of the process. Asked before the first start; the answer does not change.
#[cfg(all(target_os = "linux", not(any(miri, flatland_loom))))]
pub fn reaches_all_threads() -> bool {
    use crate::sync::OnceLock;
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| {
        // SAFETY: the call takes no pointer and changes nothing but how later calls work.
        unsafe {
            libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0
        }
    })
}

/// As above, where there is no such call.
#[cfg(not(all(target_os = "linux", not(any(miri, flatland_loom)))))]
pub fn reaches_all_threads() -> bool {
    false
}

/// The side that pays: a full fence on this thread, and on every other one if [`reaches_all_threads`].
pub fn heavy() {
    fence(Ordering::SeqCst);
    #[cfg(all(target_os = "linux", not(any(miri, flatland_loom))))]
    if reaches_all_threads() {
        // SAFETY: as in `reaches_all_threads`. Once registered, the call does not fail.
        unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) };
    }
}
