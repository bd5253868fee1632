use super::*;
use memory_flatview::print::PrintOptions;
use std::fmt::Write;

/// A dump from lines without the range's leading zeros: `LEVEL START LAST PRIO KIND NAME`.
fn dump(lines: &str) -> String {
    let mut text = String::new();
    for line in lines.lines().map(str::trim_start) {
        let Some((level, rest)) = line.split_once(' ').filter(|(level, _)| level.parse::<usize>().is_ok())
        else {
            text += line;
            text.push('\n');
            continue;
        };
        let parts: Vec<_> = rest.splitn(5, ' ').collect();
        let [start, last, priority, kind, name] = parts[..] else { panic!("{line}") };
        let indent = 2 * level.parse::<usize>().unwrap();
        let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let (start, last) = (number(start), number(last));
        writeln!(text, "{:indent$}{start:016x}-{last:016x} (prio {priority}, {kind}): {name}", "").unwrap();
    }
    text
}

const ALL: &str = "ffffffffffffffff";

fn read(tree: &str, flat: Option<&str>) -> Result<Imported, ImportError> {
    let flat = flat.map(dump);
    import(
        Source { file: "a.mtree", text: &dump(tree) },
        flat.as_deref().map(|text| Source { file: "a.flat", text }),
    )
}

fn differences(tree: &str, flat: &str) -> Vec<String> {
    let imported = read(tree, Some(flat)).unwrap();
    imported.differences().iter().map(ToString::to_string).collect()
}

fn agrees(tree: &str, flat: &str) {
    assert_eq!(differences(tree, flat), Vec::<String>::new());
}

fn error(tree: &str, flat: Option<&str>) -> String {
    read(tree, flat).unwrap_err().to_string()
}

fn range(start: u64, last: u64) -> String {
    format!("{start:016x}-{last:016x}")
}

#[test]
fn names_of_any_characters_are_read() {
    let odd = "a (prio 3, ram): b, c [not] @10 alias";
    agrees(
        &format!(
            "address-space: CPU \"0\", root: x
             1 0 {ALL} 0 i/o root of {odd}
             2 0 ff 0 ram {odd}
             2 100 1ff 0 i/o alias no alias
             2 200 2ff -2147483648 i/o alias x @y 0
             2 300 3ff 2147483647 ram
             2 400 4ff 0 ram pci@80000.mem @0000000000000010
             2 500 5ff 0 ram odd [disabled]
             2 600 6ff 0 ram {odd} [disabled]"
        ),
        &format!(
            "FlatView #0
             \u{20}AS \"CPU \"0\", root: x\", root: root of {odd}
             \u{20}Root memory region: root of {odd}
             1 0 ff 0 ram {odd}
             1 100 1ff 0 i/o alias no alias
             1 200 2ff 0 i/o alias x @y 0
             1 300 3ff 0 ram
             1 400 4ff 0 ram pci@80000.mem @0000000000000010
             1 500 5ff 0 ram odd [disabled]"
        )
        .replace("\n             \u{20}", "\n ")
        .replace("             ", "")
        .replace("3ff 0 ram\n", "3ff 0 ram \n"),
    );
}
