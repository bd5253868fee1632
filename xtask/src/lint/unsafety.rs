//! `unsafe` stands in few, named places, and every crate says that it has none.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, Package};
use proc_macro2::{TokenStream, TokenTree};
use walkdir::WalkDir;

use super::{Finding, source};
use crate::workspace::Workspace;

/// A package that may have unsafe code, the files and folders (with their `/`) where, and why.
struct Exception {
    package: &'static str,
    places: &'static [&'static str],
    reason: &'static str,
}

/// The only unsafe code of the workspace.
const EXCEPTIONS: [Exception; 2] = [
    Exception {
        package: "memory-core",
        places: &["memory-core/src/host.rs", "memory-core/src/host/"],
        reason: "host memory is lent as safe types by this one module",
    },
    Exception {
        package: "machines",
        places: &["machines/src/kvm/sys.rs", "machines/src/kvm/sys/"],
        reason: "the kernel's KVM is lent as safe types by this one module",
    },
];

/// Packages that do not inherit the workspace's lints: what `tests` does is not built into anything.
const OWN_LINTS: [&str; 1] = ["tests"];

/// Looks through every file of Rust in the workspace, tests, benches and examples included, and every crate root.
///
/// # Errors
///
/// Sources or manifests cannot be read.
pub fn check(workspace: &Workspace, metadata: &Metadata) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in metadata.workspace_packages() {
        let folder = package.manifest_path.parent().context("a manifest lies in no folder")?;
        for entry in WalkDir::new(folder).into_iter().filter_entry(|entry| !is_build_output(entry.path())) {
            let entry = entry.with_context(|| format!("cannot read {folder}"))?;
            if entry.file_type().is_file()
                && entry.path().extension().is_some_and(|extension| extension == "rs")
            {
                findings.extend(check_file(workspace, entry.path())?);
            }
        }
        findings.extend(check_roots(workspace, package)?);
        findings.extend(check_manifest(workspace, package)?);
    }
    Ok(findings)
}

/// Whether `folder` is what cargo builds into. Its name alone does not tell: a module may be called `target`.
fn is_build_output(folder: &Path) -> bool {
    folder.ends_with("target") && folder.join("CACHEDIR.TAG").is_file()
}

/// Whether `place`, a file from the top level, is `covered`, or lies in it if that is a folder with its `/`.
pub(super) fn covers(covered: &str, place: &str) -> bool {
    if covered.ends_with('/') { place.starts_with(covered) } else { place == covered }
}

fn check_file(workspace: &Workspace, path: &Path) -> Result<Vec<Finding>> {
    let place = workspace.relative(path);
    let allowed =
        EXCEPTIONS.iter().flat_map(|exception| exception.places).any(|covered| covers(covered, &place));
    if allowed {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {place}"))?;
    check_text(&place, &text)
}

/// Looks for the word itself among the tokens, so that macros are seen through and comments are not.
fn check_text(place: &str, text: &str) -> Result<Vec<Finding>> {
    let tokens: TokenStream =
        text.parse().map_err(|error| anyhow::anyhow!("{place} is no Rust that xtask can read: {error}"))?;
    let mut lines = Vec::new();
    lines_with_unsafe(tokens, &mut lines);
    let allowed: Vec<_> =
        EXCEPTIONS.iter().map(|known| format!("{} ({})", known.places.join(", "), known.reason)).collect();
    let what = format!("has unsafe code; it may only stand in {}", allowed.join("; "));
    Ok(lines.into_iter().map(|line| Finding::new(format!("{place}:{line}"), what.clone())).collect())
}

fn lines_with_unsafe(tokens: TokenStream, lines: &mut Vec<usize>) {
    for token in tokens {
        match token {
            TokenTree::Ident(word) if word == "unsafe" => lines.push(word.span().start().line),
            TokenTree::Group(group) => lines_with_unsafe(group.stream(), lines),
            _ => {}
        }
    }
}

/// Every library and program without an exception says `#![forbid(unsafe_code)]`.
fn check_roots(workspace: &Workspace, package: &Package) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if EXCEPTIONS.iter().all(|exception| exception.package != package.name.as_str()) {
        for root in source::roots(package) {
            if !forbids_unsafe(&source::parse(&root)?) {
                findings
                    .push(Finding::new(workspace.relative(&root), "does not say #![forbid(unsafe_code)]"));
            }
        }
    }
    Ok(findings)
}

fn forbids_unsafe(file: &syn::File) -> bool {
    file.attrs.iter().any(|attribute| {
        attribute.path().is_ident("forbid")
            && attribute
                .parse_args_with(syn::punctuated::Punctuated::<syn::Path, syn::Token![,]>::parse_terminated)
                .is_ok_and(|lints| lints.iter().any(|lint| lint.is_ident("unsafe_code")))
    })
}

/// Where `forbid` cannot stand, the workspace's lints deny unsafe code outside the module that says it expects it; they
/// only do so if the package takes them over.
fn check_manifest(workspace: &Workspace, package: &Package) -> Result<Vec<Finding>> {
    if OWN_LINTS.contains(&package.name.as_str()) {
        return Ok(Vec::new());
    }
    let path = package.manifest_path.as_std_path();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let inherits = inherits_lints(&text).with_context(|| format!("{} is no manifest", path.display()))?;
    let missing = || Finding::new(workspace.relative(path), "does not inherit the workspace's lints");
    Ok((!inherits).then(missing).into_iter().collect())
}

fn inherits_lints(manifest: &str) -> Result<bool> {
    let manifest: toml::Table = manifest.parse()?;
    let inherits =
        manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
    Ok(inherits == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        check_text("a.rs", text).unwrap().into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn unsafe_code_of_every_form_is_found() {
        for text in [
            "fn f() { unsafe { g() } }",
            "unsafe fn f() {}",
            "unsafe impl Send for S {}",
            "unsafe trait T {}",
            "unsafe extern \"C\" {}",
            "type F = unsafe fn();",
            "#[unsafe(no_mangle)] fn f() {}",
            "m!({ unsafe { g() } });",
        ] {
            assert_eq!(lines(text), ["a.rs:1"], "{text}");
        }
        assert_eq!(lines("fn f() {\n    unsafe { g() }\n}\nunsafe impl Sync for S {}"), ["a.rs:2", "a.rs:4"]);
    }

    #[test]
    fn the_word_in_comments_strings_and_other_names_is_not_found() {
        let text = "#![forbid(unsafe_code)]\n//! unsafe\n/// unsafe\nfn f() { /* unsafe */ g(\"unsafe\", r#\"unsafe\"#) }";
        assert_eq!(lines(text), Vec::<String>::new());
    }

    #[test]
    fn module_called_target_is_no_build_output() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("target");
        fs::create_dir(&folder).unwrap();
        assert!(!is_build_output(&folder));
        fs::write(folder.join("CACHEDIR.TAG"), "").unwrap();
        assert!(is_build_output(&folder));
        assert!(!is_build_output(place.path()));
    }

    #[test]
    fn only_named_places_are_covered() {
        assert!(covers("a/host.rs", "a/host.rs"));
        assert!(covers("a/host/", "a/host/page.rs"));
        assert!(!covers("a/host.rs", "a/host.rs.rs"));
        assert!(!covers("a/host/", "a/hosts/page.rs"));
    }

    #[test]
    fn root_that_only_denies_is_found() {
        let forbids = |text: &str| forbids_unsafe(&syn::parse_file(text).unwrap());
        assert!(forbids("//! Docs.\n#![forbid(unsafe_code)]"));
        assert!(forbids("#![forbid(missing_docs, unsafe_code)]"));
        assert!(!forbids("#![deny(unsafe_code)]"));
        assert!(!forbids("#![forbid(missing_docs)]"));
        assert!(!forbids("mod m { #![forbid(unsafe_code)] }"));
    }

    #[test]
    fn manifest_without_the_workspaces_lints_is_found() {
        assert!(inherits_lints("[lints]\nworkspace = true").unwrap());
        assert!(!inherits_lints("[lints]\nworkspace = false").unwrap());
        assert!(!inherits_lints("[package]\nname = \"x\"").unwrap());
        assert!(inherits_lints("[lints").is_err());
    }
}
