//! The sources of a package as the compiler sees them: the module tree of each target, without what is only for tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::{Package, TargetKind};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Expr, ExprLit, ImplItem, Item, ItemMod, Lit, Meta, Token};

/// A source file that is not only for tests.
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it, tests included: [`only_for_tests`] tells them.
    pub content: syn::File,
}

/// The roots of the package's libraries and programs (its tests, benches and examples are not among them).
pub fn roots(package: &Package) -> Vec<PathBuf> {
    let product = |kind: &TargetKind| {
        matches!(
            kind,
            TargetKind::Bin
                | TargetKind::Lib
                | TargetKind::RLib
                | TargetKind::DyLib
                | TargetKind::CDyLib
                | TargetKind::StaticLib
                | TargetKind::ProcMacro
        )
    };
    package
        .targets
        .iter()
        .filter(|target| target.kind.iter().any(product))
        .map(|target| target.src_path.clone().into_std_path_buf())
        .collect()
}

/// The file `root` and every file that its `mod` items reach, those for tests left out.
///
/// # Errors
///
/// A file cannot be read or is no Rust, or a `mod` item has no file.
pub fn module_tree(root: &Path) -> Result<Vec<Source>> {
    let mut seen = BTreeSet::new();
    let mut sources = Vec::new();
    let folder = root.parent().unwrap_or(root).to_owned();
    let mut todo = vec![(root.to_owned(), folder)];
    while let Some((path, children)) = todo.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let content = parse(&path)?;
        outlying_modules(&content.items, &path, &children, &mut todo)?;
        sources.push(Source { path, content });
    }
    Ok(sources)
}

/// Reads a file of Rust.
///
/// # Errors
///
/// It cannot be read, or is no Rust.
pub fn parse(path: &Path) -> Result<syn::File> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    syn::parse_file(&text).with_context(|| format!("{} is no Rust that xtask can read", path.display()))
}

/// Adds the files of `mod name;` items among `items` to `todo`, each with the folder where its own children are.
fn outlying_modules(
    items: &[Item],
    file: &Path,
    children: &Path,
    todo: &mut Vec<(PathBuf, PathBuf)>,
) -> Result<()> {
    for item in items {
        let Item::Mod(module) = item else { continue };
        if only_for_tests(&module.attrs) {
            continue;
        }
        let name = module.ident.to_string();
        let name = name.trim_start_matches("r#");
        match &module.content {
            Some((_, inner)) => outlying_modules(inner, file, &children.join(name), todo)?,
            None => todo.push(outlying_module(module, name, file, children)?),
        }
    }
    Ok(())
}

fn outlying_module(module: &ItemMod, name: &str, file: &Path, children: &Path) -> Result<(PathBuf, PathBuf)> {
    if let Some(path) = stated_path(&module.attrs) {
        let path = file.parent().unwrap_or(file).join(path);
        let folder = path.parent().unwrap_or(&path).to_owned();
        return Ok((path, folder));
    }
    let flat = children.join(format!("{name}.rs"));
    let nested = children.join(name).join("mod.rs");
    let found = [flat, nested].into_iter().find(|path| path.is_file());
    let line = module.span().start().line;
    let found = found.with_context(|| format!("{}:{line}: module {name} has no file", file.display()))?;
    Ok((found, children.join(name)))
}

/// The value of `#[path = "..."]`.
fn stated_path(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    })
}

/// Whether `attributes` leave an item out of everything but tests: `#[cfg(test)]`, `#[cfg(all(test, ...))]`, `#[test]`.
pub fn only_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && attribute.parse_args::<Meta>().is_ok_and(|condition| needs_test(&condition)))
    })
}

/// Whether `condition` can only hold where `test` does.
fn needs_test(condition: &Meta) -> bool {
    let parts = |list: &syn::MetaList| list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => {
            parts(list).is_ok_and(|parts| parts.iter().any(needs_test))
        }
        Meta::List(list) if list.path.is_ident("any") => {
            parts(list).is_ok_and(|parts| !parts.is_empty() && parts.iter().all(needs_test))
        }
        _ => false,
    }
}

/// The attributes of an item of a module.
pub fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The attributes of an item of an `impl`.
pub fn attributes_of_impl_item(item: &ImplItem) -> &[Attribute] {
    match item {
        ImplItem::Const(item) => &item.attrs,
        ImplItem::Fn(item) => &item.attrs,
        ImplItem::Macro(item) => &item.attrs,
        ImplItem::Type(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, path: &str, text: &str) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn module_tree_follows_every_way_to_place_a_file_and_leaves_tests_out() {
        let place = tempfile::tempdir().unwrap();
        write(
            place.path(),
            "lib.rs",
            "mod flat; mod nested; mod inline { mod inner; } #[path = \"odd/name.rs\"] mod stated;
             #[cfg(test)] mod tests; #[cfg(all(test, unix))] mod models; mod r#type;",
        );
        write(place.path(), "flat.rs", "mod below;");
        write(place.path(), "flat/below.rs", "");
        write(place.path(), "nested/mod.rs", "mod below;");
        write(place.path(), "nested/below.rs", "");
        write(place.path(), "inline/inner.rs", "");
        write(place.path(), "odd/name.rs", "mod beside;");
        write(place.path(), "odd/beside.rs", "");
        write(place.path(), "type.rs", "");
        write(place.path(), "tests.rs", "this is no Rust, and is not read");
        let mut found: Vec<_> = module_tree(&place.path().join("lib.rs"))
            .unwrap()
            .into_iter()
            .map(|source| source.path.strip_prefix(place.path()).unwrap().to_str().unwrap().to_owned())
            .collect();
        found.sort();
        let expected = [
            "flat.rs",
            "flat/below.rs",
            "inline/inner.rs",
            "lib.rs",
            "nested/below.rs",
            "nested/mod.rs",
            "odd/beside.rs",
            "odd/name.rs",
            "type.rs",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn module_without_a_file_is_an_error_that_names_the_line() {
        let place = tempfile::tempdir().unwrap();
        write(place.path(), "lib.rs", "\nmod gone;");
        let error = module_tree(&place.path().join("lib.rs")).err().unwrap().to_string();
        assert!(error.contains("lib.rs:2: module gone"), "{error}");
    }

    #[test]
    fn only_conditions_that_imply_test_are_for_tests() {
        let for_tests = |text: &str| only_for_tests(attributes_of(&syn::parse_str::<Item>(text).unwrap()));
        assert!(for_tests("#[test] fn f() {}"));
        assert!(for_tests("#[cfg(test)] mod m {}"));
        assert!(for_tests("#[cfg(all(unix, test))] use a::b;"));
        assert!(for_tests("#[cfg(any(test, all(test, unix)))] struct S;"));
        assert!(!for_tests("#[cfg(not(test))] mod m {}"));
        assert!(!for_tests("#[cfg(any(test, unix))] mod m {}"));
        assert!(!for_tests("#[cfg(any())] mod m {}"));
        assert!(!for_tests("#[cfg(feature = \"test\")] mod m {}"));
        assert!(!for_tests("mod tests {}"));
    }
}
