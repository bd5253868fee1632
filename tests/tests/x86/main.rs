//! x86 machines of the catalog, run as `flatland run` does: guests that are assembled here, and Debian's SeaBIOS.
//!
//! Where there is no KVM or no firmware each test says that it is skipped.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy exempts test functions, not the functions that they share"
)]

mod command;
mod firmware;
mod linux;
mod mini;
mod pc;
mod pvh;
mod seabios;

/// Whether there is KVM; if not it is said.
fn has_kvm(test: &str) -> bool {
    let missing = machines::accel::look_for_kvm().err();
    if let Some(missing) = &missing {
        tests::skip(test, &missing.to_string());
    }
    missing.is_none()
}
