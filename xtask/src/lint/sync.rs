//! One module of each crate names atomics, locks and threads: `sync`.
//!
//! Under the loom build that module names loom's instead, and what another module named by itself would escape every
//! model. The check reads code, not text: comments, strings and tests do not count, names inside macro calls do.

use std::path::Path;

use anyhow::Result;
use cargo_metadata::Metadata;
use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{ImplItem, Item, ItemUse, Macro, UseTree};

use super::source::{self, attributes_of, attributes_of_impl_item, only_for_tests};
use super::{Finding, unsafety};
use crate::workspace::Workspace;

/// Packages that loom never sees, and the one that is made of it.
const EXEMPT: [&str; 3] = ["loom-models", "tests", "xtask"];

/// Modules besides `sync` that may name something, and why.
const EXCEPTIONS: [Exception; 2] = [
    Exception { place: "memory-core/src/host.rs", names: "atomic", reason: GUEST_MEMORY },
    Exception { place: "memory-core/src/host/", names: "atomic", reason: GUEST_MEMORY },
];

const GUEST_MEMORY: &str =
    "guest memory's atomics are host memory that the guest shares: always the real ones";

/// What one module, or the modules of one folder, may name.
struct Exception {
    /// A file, or a folder with its `/`, from the top level.
    place: &'static str,
    /// The module of `std::sync` that it may name.
    names: &'static str,
    /// Why; printed with a finding in that place, which is about something else then.
    reason: &'static str,
}

/// Crates that `sync` stands for, besides the standard library's modules. `crossbeam` is a family.
const CRATES: [&str; 4] = ["arc_swap", "dashmap", "loom", "parking_lot"];

/// Looks through the libraries and programs of every layer.
///
/// # Errors
///
/// Sources cannot be read.
pub fn check(workspace: &Workspace, metadata: &Metadata) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in metadata.workspace_packages() {
        if EXEMPT.contains(&package.name.as_str()) {
            continue;
        }
        for root in source::roots(package) {
            let folder = root.parent().unwrap_or(&root).to_owned();
            for source in source::module_tree(&root)? {
                if !is_sync_module(source.path.strip_prefix(&folder).unwrap_or(&source.path)) {
                    findings.extend(check_file(&workspace.relative(&source.path), &source.content));
                }
            }
        }
    }
    Ok(findings)
}

/// Whether `path`, from the crate root's folder, is the crate's `sync` module or a part of it.
fn is_sync_module(path: &Path) -> bool {
    path == Path::new("sync.rs") || path.starts_with("sync")
}

/// Looks through one file, which stands for `place` in what is found.
fn check_file(place: &str, file: &syn::File) -> Vec<Finding> {
    let exception = EXCEPTIONS.iter().find(|exception| unsafety::covers(exception.place, place));
    let mut names = Names::default();
    names.visit_file(file);
    names
        .found
        .into_iter()
        .filter(|(path, _)| !exception.is_some_and(|exception| exception.allows(path)))
        .map(|(path, span)| {
            let mut what = format!("names {}; only the crate's sync module does that", path.join("::"));
            if let Some(exception) = exception {
                what.push_str(&format!(
                    " (std::sync::{} is allowed here: {})",
                    exception.names, exception.reason
                ));
            }
            Finding::new(format!("{place}:{}", span.start().line), what)
        })
        .collect()
}

impl Exception {
    fn allows(&self, path: &[String]) -> bool {
        matches!(path, [krate, sync, module, ..]
            if (krate == "std" || krate == "core") && sync == "sync" && module == self.names)
    }
}

/// Whether a path belongs into `sync`. Paths of one name do not get here unless they are imported.
fn belongs_into_sync(path: &[String]) -> bool {
    let Some(first) = path.first() else { return false };
    let second = path.get(1).map(String::as_str);
    match first.as_str() {
        "std" => matches!(second, Some("sync" | "thread")),
        "core" | "alloc" => second == Some("sync"),
        krate => CRATES.contains(&krate) || krate == "crossbeam" || krate.starts_with("crossbeam_"),
    }
}

/// Collects the paths that belong into `sync`.
#[derive(Default)]
struct Names {
    found: Vec<(Vec<String>, Span)>,
}

impl Names {
    fn see(&mut self, path: Vec<String>, span: Span) {
        if belongs_into_sync(&path) {
            self.found.push((path, span));
        }
    }

    fn see_import(&mut self, prefix: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| {
            let mut path = prefix.to_vec();
            path.push(plain(name));
            path
        };
        match tree {
            UseTree::Path(part) => self.see_import(&with(&part.ident), &part.tree),
            UseTree::Name(name) if name.ident == "self" => self.see(prefix.to_vec(), name.span()),
            UseTree::Name(name) => self.see(with(&name.ident), name.span()),
            UseTree::Rename(name) => {
                let path = if name.ident == "self" { prefix.to_vec() } else { with(&name.ident) };
                // Under another name the standard library would not be known again.
                if let [krate] = path.as_slice()
                    && ["std", "core", "alloc"].contains(&krate.as_str())
                {
                    self.found.push((path, name.span()));
                } else {
                    self.see(path, name.span());
                }
            }
            UseTree::Glob(glob) => {
                // `use std::*` brings `sync` and `thread` along.
                if let [krate] = prefix
                    && ["std", "core", "alloc"].contains(&krate.as_str())
                {
                    self.found.push((vec![krate.clone(), "*".to_owned()], glob.span()));
                } else {
                    self.see(prefix.to_vec(), glob.span());
                }
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.see_import(prefix, tree)),
        }
    }

    /// Takes the paths out of a macro call's tokens, which need not be Rust.
    fn see_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut start = Span::call_site();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.see_path(std::mem::take(&mut path), start);
                        start = name.span();
                    }
                    path.push(plain(&name));
                    colons = 0;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' && !path.is_empty() => colons += 1,
                other => {
                    if let TokenTree::Group(group) = other {
                        if colons == 2 {
                            // `std::{sync, thread}`: enough to know that it is spread out.
                            self.see_group(&path, group.stream());
                        }
                        self.see_tokens(group.stream());
                    }
                    self.see_path(std::mem::take(&mut path), start);
                    colons = 0;
                }
            }
        }
        self.see_path(path, start);
    }

    fn see_group(&mut self, prefix: &[String], tokens: TokenStream) {
        for token in tokens {
            if let TokenTree::Ident(name) = token {
                let mut path = prefix.to_vec();
                path.push(plain(&name));
                self.see(path, name.span());
            }
        }
    }

    fn see_path(&mut self, path: Vec<String>, span: Span) {
        if path.len() > 1 {
            self.see(path, span);
        }
    }
}

fn plain(name: &proc_macro2::Ident) -> String {
    name.to_string().trim_start_matches("r#").to_owned()
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast Item) {
        if !only_for_tests(attributes_of(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if !only_for_tests(attributes_of_impl_item(item)) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.see_import(&[], &item.tree);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.see(vec![plain(&item.ident)], item.span());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.see_path(path.segments.iter().map(|segment| plain(&segment.ident)).collect(), path.span());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.see_tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        found_in("devices/src/uart.rs", text)
    }

    fn found_in(place: &str, text: &str) -> Vec<String> {
        check_file(place, &syn::parse_file(text).unwrap())
            .into_iter()
            .map(|finding| finding.to_string())
            .collect()
    }

    #[test]
    fn every_way_to_name_a_primitive_is_found() {
        for text in [
            "use std::sync::Arc;",
            "use ::std::sync::Arc;",
            "use core::sync::atomic::AtomicU8;",
            "use alloc::sync::Arc;",
            "use std::{fmt, sync::{Mutex, RwLock}};",
            "use std::{fmt, thread};",
            "use std::sync::{self};",
            "use std as s;",
            "use std::*;",
            "use arc_swap::ArcSwap;",
            "use crossbeam_utils::CachePadded;",
            "use crossbeam::channel;",
            "use dashmap;",
            "use loom::model;",
            "use parking_lot::Mutex;",
            "extern crate loom;",
            "struct S { lock: std::sync::Mutex<u8> }",
            "fn f() -> impl Send { let _ = Some(std::thread::current()); }",
            "fn f() { std::thread::spawn(|| ()); }",
            "fn f() { loom::model!(|| ()); }",
            "fn f() { println!(\"{:?}\", (1, std::thread::current().id())); }",
            "macro_rules! m { () => { use std::{fmt, sync}; } }",
            "impl S { fn f(x: &std::sync::atomic::AtomicU8) {} }",
        ] {
            assert!(!findings(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn other_names_comments_strings_and_tests_are_not_found() {
        for text in [
            "use crate::sync::{Arc, Mutex};",
            "use std::{fmt, collections::BTreeMap};",
            "//! Uses std::sync::Arc.\n/// See std::thread.\nfn f() {} // loom::model",
            "/** std::sync */ fn f() { let _ = \"std::sync::Mutex\"; }",
            "#[cfg(test)] mod tests { use std::sync::Arc; }",
            "#[cfg(test)] use std::sync::Arc;",
            "#[test] fn f() { std::thread::yield_now(); }",
            "impl S { #[cfg(test)] fn f() { std::thread::yield_now(); } }",
            "fn f(loom: u8) { g(loom); println!(\"{}\", loom); }",
            "fn f() { dispatch::sync::flush(); my_std::sync(); }",
        ] {
            assert_eq!(findings(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn finding_names_file_line_and_path() {
        let found = findings("\n\nuse std::sync::Arc;");
        assert!(found[0].starts_with("devices/src/uart.rs:3: names std::sync::Arc;"), "{found:?}");
    }

    #[test]
    fn guest_memory_may_name_atomics_and_nothing_else() {
        for place in ["memory-core/src/host.rs", "memory-core/src/host/page.rs"] {
            assert_eq!(
                found_in(place, "use std::sync::atomic::{AtomicU64, Ordering};"),
                Vec::<String>::new()
            );
            assert_eq!(found_in(place, "use std::sync::Mutex;").len(), 1);
            assert_eq!(found_in(place, "use loom::sync::atomic::AtomicU64;").len(), 1);
        }
        assert_eq!(found_in("memory-core/src/hosted.rs", "use std::sync::atomic::AtomicU64;").len(), 1);
    }

    #[test]
    fn only_the_crates_own_sync_module_is_exempt() {
        assert!(is_sync_module(Path::new("sync.rs")));
        assert!(is_sync_module(Path::new("sync/map.rs")));
        assert!(!is_sync_module(Path::new("uart/sync.rs")));
        assert!(!is_sync_module(Path::new("synchronous.rs")));
    }
}
