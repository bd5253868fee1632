//! The importer of maps that QEMU's monitor printed: any text is refused, with its place, or imported; and what was
//! imported prints as a map that says the same.

use machines::import::{Imported, Source, import};
use memory_flatview::print::PrintOptions;
use std::collections::HashSet;

/// Imports the text. What stands behind a line of dashes is the flat views.
pub(super) fn body(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (tree, flat) = match text.split_once("---\n") {
        Some((tree, flat)) => (tree, Some(flat)),
        None => (&*text, None),
    };
    let source = |text| Source { file: "fuzzed", text };
    match import(source(tree), flat.map(source)) {
        Err(error) => assert!(error.to_string().starts_with("fuzzed"), "{error}: no place"),
        Ok(imported) => {
            let _ = imported.differences().iter().map(ToString::to_string).count();
            if is_plain(&imported) {
                says_the_same_printed(&imported);
            }
        }
    }
}

/// Whether every region and space has a name of its own, and one that cannot be taken for something else: a dump tells
/// the others not apart.
fn is_plain(imported: &Imported) -> bool {
    let mut known = HashSet::new();
    let mut plain = |name: &str| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let letters = !name.is_empty() && name.bytes().all(is_letter);
        letters && name != "alias" && known.insert(name.to_owned())
    };
    let spaces = imported.spaces().iter().all(|space| plain(&format!("as{}", space.name())));
    spaces && imported.memory().read(|tree| tree.regions().all(|(_, node)| plain(node.name()))).unwrap()
}

fn says_the_same_printed(imported: &Imported) {
    for owners in [false, true] {
        let options = PrintOptions { disabled: true, owners, dispatch: owners, attributes: false };
        let tree = imported.tree_map(options).unwrap().to_string();
        let flat = imported.flat_map(options).unwrap().to_string();
        let source = |text| Source { file: "printed", text };
        let again = import(source(&tree), Some(source(&flat)));
        let again = again.unwrap_or_else(|error| panic!("{error}\n{tree}\n{flat}"));
        let differences = again.differences();
        assert!(differences.is_empty(), "{}\n{tree}\n{flat}", differences[0]);
    }
}
