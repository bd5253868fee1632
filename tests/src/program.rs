//! The `flatland` program, for tests that are of another package.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use xtask::{Workspace, kvm_nested};

/// The program, built first if it is not up to date: that of the profile that the tests are of.
///
/// # Panics
/// If it cannot be built.
pub fn flatland() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if std::env::var_os(Workspace::SCRATCH).is_some() {
            // nothing can be built here
            return Workspace::here().scratch().join(kvm_nested::FLATLAND);
        }
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let mut cargo = Workspace::here().cargo();
        let built =
            cargo.args(["build", "--quiet", "-p", "machines", "--profile", profile]).status().unwrap();
        assert!(built.success());
        // cargo puts programs beside the folder of the test that runs, wherever that is
        let test = std::env::current_exe().unwrap();
        test.ancestors().nth(2).unwrap().join("flatland")
    })
}
