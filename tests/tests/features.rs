//! `docs/features.md` speaks of what is there.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// Names of all tests in Rust files below `folder`.
fn tests_below(folder: &Path, names: &mut HashSet<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim_start) {
                is_test |= line.starts_with("#[test]");
                // a property test has arguments
                let name = line.strip_prefix("fn ").and_then(|rest| rest.split_once('('));
                if let Some((name, _)) = name
                    && std::mem::take(&mut is_test)
                {
                    names.insert(name.to_owned());
                }
            }
        }
    }
}

#[test]
fn every_row_of_the_map_of_features_is_whole_and_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut names = HashSet::new();
    for part in ["memory-core", "memory-flatview", "memory-dispatch", "devices", "machines", "tests"] {
        tests_below(&root.join(part), &mut names);
    }
    assert!(!names.contains("tests_below"), "a function is no test");
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
