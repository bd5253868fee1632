//! Saying that a test did not run in full.

use std::fs::OpenOptions;
use std::io::Write;

use xtask::Skip;

/// Says that the test `name` lacks something outside the project, and `why`; the test returns right after this.
///
/// libtest counts such a test as passed, since it knows nothing of it. `cargo xtask test` names it and counts it as
/// skipped: it tells the test processes a file in the environment ([`Skip::LOG`]), and this adds a line to it. `name`
/// is that of the test itself, and a test that has said this must not fail afterwards.
///
/// ```
/// fn disassembler_agrees_with_objdump() {
///     if std::process::Command::new("riscv64-unknown-elf-objdump").arg("--version").output().is_err() {
///         return tests::skip("disassembler_agrees_with_objdump", "binutils-riscv64-unknown-elf is not installed");
///     }
///     // The test proper.
/// }
/// ```
///
/// # Panics
///
/// The file that the environment names cannot be written: the skip would go unseen.
pub fn skip(name: &str, why: &str) {
    let skip = Skip { name: name.to_owned(), why: why.to_owned() };
    eprintln!("{skip}");
    if let Some(path) = std::env::var_os(Skip::LOG) {
        // One write in append mode, so that lines of several processes do not mix.
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .and_then(|mut log| log.write_all(skip.to_line().as_bytes()))
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    }
}
