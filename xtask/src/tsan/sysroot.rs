//! A standard library that ThreadSanitizer sees into, made of the compiled one.
//!
//! The libraries that come with a toolchain carry their LLVM bitcode, for link-time optimisation. The pass that inserts
//! ThreadSanitizer's calls works on bitcode: `opt` of the compiler's LLVM version runs it over each library, `llc` makes
//! an object file of the result, and a sysroot gets those in place of the ones that came. This is what `-Zbuild-std`
//! does by compiling the sources, with one difference: sources that are compiled for the sanitizer have loads where
//! `Arc` has fences, and ThreadSanitizer knows nothing of fences. See [`REFERENCE_COUNTS`].

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::llvm::Llvm;
use crate::toolchain::Toolchain;
use crate::workspace::{Workspace, output_of};

/// What counts references: decrements, and exchanges that ask for no ordering because a fence comes after them.
const REFERENCE_COUNTS: [&str; 2] = ["fetch_sub", "compare_exchange_val"];

/// The widths of the atomics, in bits.
const WIDTHS: [u32; 4] = [8, 16, 32, 64];

/// Libraries that hold nothing which threads share, and no bitcode of use.
const UNTOUCHED: [&str; 4] = ["compiler_builtins", "profiler_builtins", "proc_macro", "rustc_std_workspace"];

/// The sysroot of `nightly` in `target/tsan`, made if it is not there yet.
///
/// # Errors
///
/// The toolchain has no runtime of ThreadSanitizer for its host or no bitcode, or LLVM's tools fail.
pub(super) fn instrumented(workspace: &Workspace, nightly: &Toolchain, llvm: &Llvm) -> Result<PathBuf> {
    let home = workspace.scratch().join("tsan");
    let sysroot = home.join(format!("sysroot-{}", nightly.commit()));
    if sysroot.is_dir() {
        return Ok(sysroot);
    }
    fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
    let staging = tempfile::tempdir_in(&home).context("cannot make a folder in target/tsan")?;
    let libraries = staging.path().join(Toolchain::libraries_below(nightly.host()));
    fs::create_dir_all(&libraries)?;
    let mut runtime = false;
    for entry in fs::read_dir(nightly.libraries()).context("cannot read the toolchain's libraries")? {
        let from = entry?.path();
        let Some(name) = from.file_name().and_then(|name| name.to_str()) else { continue };
        runtime |= name.contains("rt.tsan");
        let to = libraries.join(name);
        let stem = name.strip_prefix("lib").unwrap_or(name);
        let plain = UNTOUCHED.iter().any(|library| stem.starts_with(library));
        if name.ends_with(".rlib") && !plain {
            instrument(llvm, &from, &to).with_context(|| format!("cannot instrument {name}"))?;
        } else if from.is_file() {
            fs::copy(&from, &to).with_context(|| format!("cannot copy {name}"))?;
        }
    }
    ensure!(runtime, "the nightly toolchain has no runtime of ThreadSanitizer");
    assemble(llvm, &reference_counts(), &staging.path().join(WRAPPERS))?;
    // other users of the folder see it whole or not at all
    fs::rename(staging.keep(), &sysroot).context("cannot put the sysroot into its place")?;
    Ok(sysroot)
}

/// The object file of [`reference_counts`] in the sysroot.
const WRAPPERS: &str = "reference_counts.o";

/// What the linker needs, besides the sysroot, for [`reference_counts`].
pub(super) fn linker_arguments(sysroot: &Path) -> Vec<String> {
    let object = sysroot.join(WRAPPERS).to_string_lossy().into_owned();
    let wrap = |(width, operation)| format!("-Wl,--wrap=__tsan_atomic{width}_{operation}");
    std::iter::once(object).chain(wrapped().map(wrap)).collect()
}

fn wrapped() -> impl Iterator<Item = (u32, &'static str)> {
    WIDTHS.into_iter().flat_map(|width| REFERENCE_COUNTS.map(|operation| (width, operation)))
}

/// Runs the pass over each object file of a library that carries bitcode.
fn instrument(llvm: &Llvm, from: &Path, to: &Path) -> Result<()> {
    let work = tempfile::tempdir().context("cannot make a folder for object files")?;
    output_of(llvm.tool("llvm-ar").current_dir(work.path()).arg("x").arg(from))?;
    let mut members: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(work.path())? {
        members.push(entry?.path());
    }
    members.sort();
    for object in members.iter().filter(|path| path.extension().is_some_and(|extension| extension == "o")) {
        let (bitcode, passed) = (object.with_extension("bc"), object.with_extension("tsan.bc"));
        let mut section = std::ffi::OsString::from(".llvmbc=");
        section.push(&bitcode);
        output_of(llvm.tool("llvm-objcopy").arg("--dump-section").arg(section).arg(object).arg("/dev/null"))?;
        // the pass leaves functions alone that are not marked for it
        let mut opt = llvm.tool("opt");
        opt.args(["-passes=forceattrs,tsan-module,function(tsan)", "-force-attribute=sanitize_thread"]);
        output_of(opt.arg(&bitcode).arg("-o").arg(&passed))?;
        compile(llvm, &passed, object)?;
    }
    output_of(llvm.tool("llvm-ar").arg("rcs").arg(to).args(&members))?;
    Ok(())
}

fn compile(llvm: &Llvm, from: &Path, object: &Path) -> Result<()> {
    let mut llc = llvm.tool("llc");
    llc.args(["-O1", "-filetype=obj", "-relocation-model=pic", "-function-sections", "-data-sections"]);
    output_of(llc.arg(from).arg("-o").arg(object))?;
    Ok(())
}

fn assemble(llvm: &Llvm, text: &str, object: &Path) -> Result<()> {
    let source = object.with_extension("ll");
    fs::write(&source, text).with_context(|| format!("cannot write {}", source.display()))?;
    compile(llvm, &source, object)
}

/// Wrappers, in LLVM's assembly, by which ThreadSanitizer takes the operations that count references for both an acquire
/// and a release, as it would if the fence of the last owner were a load.
///
/// This sees more order than there is: a decrement that should be a release and is not goes unseen here. Loads and stores,
/// which publish and look, are left as they are, and so are exchanges that name an ordering.
fn reference_counts() -> String {
    // the C ABI's numbers of the orderings: 0 is relaxed, 4 is acquire and release
    let wrapper = |(width, operation): (u32, &str)| {
        let name = format!("__tsan_atomic{width}_{operation}");
        let int = format!("i{width}");
        if operation == "fetch_sub" {
            format!(
                "declare {int} @__real_{name}(ptr, {int}, i32)\n\
                 define {int} @__wrap_{name}(ptr %at, {int} %by, i32 %order) {{\n\
                 %old = musttail call {int} @__real_{name}(ptr %at, {int} %by, i32 4)\n\
                 ret {int} %old\n}}\n"
            )
        } else {
            format!(
                "declare {int} @__real_{name}(ptr, {int}, {int}, i32, i32)\n\
                 define {int} @__wrap_{name}(ptr %at, {int} %is, {int} %new, i32 %order, i32 %else) {{\n\
                 %relaxed = icmp eq i32 %order, 0\n\
                 %both = select i1 %relaxed, i32 4, i32 %order\n\
                 %old = musttail call {int} @__real_{name}(ptr %at, {int} %is, {int} %new, i32 %both, i32 %else)\n\
                 ret {int} %old\n}}\n"
            )
        }
    };
    wrapped().map(wrapper).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrapper_that_the_linker_is_told_of_is_defined() {
        let text = reference_counts();
        let arguments = linker_arguments(Path::new("/sysroot"));
        assert_eq!(arguments.len(), 1 + 8);
        for argument in &arguments[1..] {
            let name = argument.strip_prefix("-Wl,--wrap=").unwrap();
            assert!(text.contains(&format!("@__wrap_{name}(ptr %at")), "{name}");
            assert!(text.contains(&format!("@__real_{name}(ptr,")), "{name}");
        }
    }
}
