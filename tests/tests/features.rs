//! `docs/features.md` speaks of what is there.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// Names of all functions in Rust files below `folder`.
fn functions(folder: &Path, names: &mut HashSet<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let after_fn = text.split("fn ").skip(1);
            // a property test has arguments
            names.extend(after_fn.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())));
        }
    }
}

#[test]
fn every_row_of_the_map_of_features_is_whole_and_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut names = HashSet::new();
    for part in ["memory-core", "memory-flatview", "memory-dispatch", "devices", "machines", "tests"] {
        functions(&root.join(part), &mut names);
    }
    let text = fs::read_to_string(root.join("docs/features.md")).unwrap();
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    assert!(rows.len() > 40);
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert!(cells.len() == 4 && cells.iter().all(|cell| !cell.is_empty()), "{row}");
        for test in cells[3].split_whitespace() {
            let name = test.trim_matches('`');
            assert!(names.contains(name), "there is no test `{name}`");
            assert_eq!(test, format!("`{name}`"), "{row}");
        }
    }
}
