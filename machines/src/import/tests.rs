use super::*;
use memory_flatview::print::PrintOptions;
use std::fmt::Write;

/// A dump from lines in short: `LEVEL START LAST PRIO KIND NAME` for a region, and others with any indent.
fn dump(lines: &str) -> String {
    let mut text = String::new();
    for line in lines.lines() {
        let short = line.trim_start();
        let parts: Vec<_> = short.splitn(6, ' ').collect();
        match parts[..] {
            ["AS" | "Root", ..] => writeln!(text, " {short}").unwrap(),
            ["No" | "Dispatch", ..] => writeln!(text, "  {short}").unwrap(),
            [first, ..] if !first.chars().all(|c| c.is_ascii_digit()) && !first.ends_with(':') => {
                writeln!(text, "{line}").unwrap();
            }
            [level, start, last, priority, kind, ref name @ ..] if level.len() < 5 => {
                let indent = 2 * level.parse::<usize>().unwrap();
                let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
                let range = range(number(start), number(last));
                let name = name.first().copied().unwrap_or_default();
                writeln!(text, "{:indent$}{range} (prio {priority}, {kind}): {name}", "").unwrap();
            }
            [first, ..] if first.ends_with(':') => writeln!(text, "{short}").unwrap(),
            _ => writeln!(text, "{line}").unwrap(),
        }
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
             AS \"CPU \"0\", root: x\", root: root of {odd}
             Root memory region: root of {odd}
             1 0 ff 0 ram {odd}
             1 100 1ff 0 i/o alias no alias
             1 200 2ff 0 i/o alias x @y 0
             1 300 3ff 0 ram
             1 400 4ff 0 ram pci@80000.mem @0000000000000010
             1 500 5ff 0 ram odd [disabled]"
        ),
    );
}

#[test]
fn owners_are_taken_off_where_all_lines_have_one() {
    let tree = |first: &str, second: &str| {
        format!(
            "address-space: memory
             1 0 {ALL} 0 i/o system{first}
             2 0 ff 0 ram ram [disabled]{second}
             2 100 1ff 0 i/o uart orphan{second}
             2 200 2ff 0 ram more{second}"
        )
    };
    let flat = |owner: &str| {
        format!(
            "FlatView #0\n AS \"memory\", root: system\n Root memory region: system
             1 100 1ff 0 i/o uart orphan{owner}
             1 200 2ff 0 ram more{owner}"
        )
    };
    let owner = " owner:{dev path=/machine/a} parent:{obj path=/machine}";
    agrees(&tree(" orphan", owner), &flat(owner));
    agrees(&tree("", ""), &flat(""));
    // not everywhere: then it is part of the name
    let found = differences(&tree("", owner), &flat(""));
    assert!(found.iter().any(|line| line.contains("`more owner:{dev")), "{found:?}");
}

#[test]
fn accelerators_and_dispatch_tables_of_flat_views_are_passed_over() {
    agrees(
        &format!("address-space: memory\n1 0 {ALL} 0 i/o system\n2 0 ff 0 ram ram\n2 100 1ff 0 ram b KVM"),
        "(qemu) info mtree -f -d\nFlatView #0\n AS \"memory\", root: system, alias x\n \
         Root memory region: system\n1 0 ff 0 ram ram KVM\n1 100 1ff 0 ram b KVM KVM\n  Dispatch\n    \
         Physical sections\n      #0 @0..f (unassigned)\n\n",
    );
}

#[test]
fn alias_looks_at_a_section_before_a_tree_and_at_its_own_kind() {
    let tree = format!(
        "address-space: memory
         1 0 {ALL} 0 i/o system
         2 0 ff 0 ram ram
         2 1000 10ff 0 ram alias a @ram {}
         2 2000 20ff 0 i/o alias b @both {}
         2 3000 30ff 0 ram alias c @inner {}

         memory-region: ram
         1 500 8ff 0 ram ram

         memory-region: both
         1 0 ff 0 ram both

         memory-region: both
         1 0 ff 0 i/o both
         2 0 ff 0 ram inner",
        range(0x200, 0x2ff),
        range(0, 0xff),
        range(0, 0xff)
    );
    agrees(
        &tree,
        "FlatView #0\n AS \"memory\", root: system\n Root memory region: system
1 0 ff 0 ram ram\n1 1000 10ff 0 ram ram @0000000000000200
1 2000 20ff 0 ram inner\n1 3000 30ff 0 ram inner",
    );
}

#[test]
fn alias_of_an_alias_and_of_nested_bridges_of_one_name_is_followed() {
    let tree = format!(
        "address-space: memory
         1 0 {ALL} 0 i/o system
         2 1000 1fff 0 i/o alias bridge @bridge {0}

         memory-region: bridge
         1 1000 1fff 0 i/o bridge
         2 1000 17ff 0 i/o alias bridge @bridge {1}

         memory-region: bridge
         1 1000 17ff 0 i/o bridge
         2 1100 11ff 0 ram alias window @window {2}

         memory-region: window
         1 1100 11ff 0 ram alias window @ram {3}

         memory-region: ram
         1 0 fff 0 ram ram",
        range(0, 0xfff),
        range(0, 0x7ff),
        range(0, 0xff),
        range(0x40, 0x13f)
    );
    agrees(
        &tree,
        "FlatView #0\n AS \"memory\", root: system\n Root memory region: system
1 1100 11ff 0 ram ram @0000000000000040",
    );
}

#[test]
fn alias_without_a_section_looks_at_the_first_of_the_name_in_the_trees() {
    let tree = format!(
        "address-space: memory
         1 0 {ALL} 0 i/o system
         2 0 ff 0 ram alias a @b {0}
         2 1000 10ff 0 ram alias b @c {1}
         2 2000 27ff 0 ram c

         address-space: I/O
         1 0 fff 0 ram c",
        range(0, 0xff),
        range(0x400, 0x4ff)
    );
    agrees(
        &tree,
        "FlatView #0\n AS \"memory\", root: system\n Root memory region: system
1 0 ff 0 ram c @0000000000000400\n1 1000 10ff 0 ram c @0000000000000400\n1 2000 27ff 0 ram c
FlatView #1\n AS \"I/O\", root: c\n Root memory region: c\n1 0 fff 0 ram c",
    );
}

#[test]
fn region_that_shows_its_own_parent_is_refused() {
    let tree = format!(
        "address-space: memory
         1 0 {ALL} 0 i/o system
         2 0 ff 0 i/o alias a @inner {0}

         address-space: other
         1 0 {ALL} 0 i/o outer
         2 0 ff 0 i/o inner
         3 0 ff 0 i/o alias b @outer {0}",
        range(0, 0xff)
    );
    assert_eq!(error(&tree, None), "a.mtree:6: region `outer` would show itself");
}

#[test]
fn names_with_at_signs_are_split_where_a_target_is() {
    let tree = format!(
        "address-space: memory
         1 0 {ALL} 0 i/o system
         2 0 ff 0 ram alias a @b @c {0}
         2 100 1ff 0 ram alias d @pci@8 @e {0}

         memory-region: b @c
         1 0 ff 0 ram b @c

         memory-region: e
         1 0 ff 0 ram e",
        range(0, 0xff)
    );
    agrees(
        &tree,
        "FlatView #0\n AS \"memory\", root: system\n Root memory region: system
1 0 ff 0 ram b @c\n1 100 1ff 0 ram e",
    );
}

#[test]
fn sizes_reach_two_to_the_64th_and_beyond_it_nothing_is_seen() {
    let tree = format!(
        "address-space: memory
         1 0 {ALL} 0 i/o system
         2 0 {ALL} -1 ram all
         2 ffffffffffff0000 {ALL} 0 i/o top
         3 fffffffffffff000 {ALL} 0 rom rom

         address-space: I/O
         1 1000 ffff 0 ram io"
    );
    let tree = dump(&tree)
        + "\naddress-space: wrapped\n  0000000000000000-ffffffffffffffff (prio 0, i/o): w\n    \
           [DETECTED OVERFLOW!] 0000000140000000-00000000bfffffff (prio 0, i/o): max_ram\n      \
           0000000140000000-00000001400000ff (prio 0, ram): low\n";
    agrees(
        &tree,
        &format!(
            "FlatView #0\n AS \"memory\", root: system\n Root memory region: system
1 0 fffffffffffeffff -1 ram all\n1 ffffffffffff0000 ffffffffffffefff 0 i/o top
1 fffffffffffff000 {ALL} 0 rom rom
FlatView #1\n AS \"I/O\", root: io\n Root memory region: io\n1 0 efff 0 ram io
FlatView #2\n AS \"wrapped\", root: w\n Root memory region: w\n1 140000000 1400000ff 0 ram low"
        ),
    );
}

#[test]
fn smaller_sibling_of_equal_priority_is_on_top_and_the_first_of_equals() {
    let tree = format!(
        "address-space: memory
         1 0 {ALL} 0 i/o system
         2 0 fff 0 ram large
         2 100 1ff 0 ram small
         2 2000 2fff 0 ram first
         2 2000 2fff 0 ram second
         2 3000 3fff -3 ram below
         2 3000 7fff 2 ram above"
    );
    agrees(
        &tree,
        "FlatView #0\n AS \"memory\", root: system\n Root memory region: system
1 0 ff 0 ram large\n1 100 1ff 0 ram small\n1 200 fff 0 ram large @0000000000000200
1 2000 2fff 0 ram first\n1 3000 7fff 2 ram above",
    );
}

#[test]
fn io_region_is_a_device_if_a_flat_view_names_it() {
    let tree = format!(
        "address-space: memory
         1 0 {ALL} 0 i/o system
         2 0 fff 0 i/o device
         3 100 1ff 0 ram ram
         2 0 1fff -1 rom rom
         2 2000 2fff 0 i/o nothing"
    );
    let flat = "FlatView #0\n AS \"memory\", root: system\n Root memory region: system\n";
    let seen = "1 0 ff 0 i/o device\n1 100 1ff 0 ram ram\n1 200 fff 0 i/o device @0000000000000200
1 1000 1fff 0 rom rom @0000000000001000";
    agrees(&tree, &format!("{flat}{seen}"));
    agrees(
        &tree,
        &format!("{flat}1 0 ff -1 rom rom\n1 100 1ff 0 ram ram\n1 200 1fff 0 rom rom @0000000000000200"),
    );
    // alone, what has children is a container
    let imported = read(&tree, None).unwrap();
    let text = imported.flat_map(PrintOptions::default()).unwrap().to_string();
    assert!(!text.contains("device") && text.contains("nothing"), "{text}");
    assert_eq!(imported.differences(), [Difference::NoSpace { file: "a.mtree".to_owned() }]);
}

#[test]
fn flat_views_may_stand_in_the_same_text() {
    let text = format!(
        "address-space: memory\n1 0 {ALL} 0 i/o system\n2 0 ff 0 i/o uart

FlatView #0\n AS \"memory\", root: system\n Root memory region: system\n1 0 ff 0 i/o uart"
    );
    assert_eq!(read(&text, None).unwrap().differences(), []);
}

#[test]
fn kind_is_compared_except_where_read_only_hides_it() {
    let tree = format!("address-space: memory\n1 0 {ALL} 0 i/o system\n2 0 ff 0 ram a\n2 100 1ff 0 rom b");
    let flat = |a: &str, b: &str| {
        format!(
            "FlatView #0\n AS \"memory\", root: system\n Root memory region: system
1 0 7f 0 {a} a\n1 80 ff 0 rom a @0000000000000080\n1 100 1ff 0 {b} b"
        )
    };
    agrees(&tree, &flat("ram", "rom"));
    agrees(&tree, &flat("nv-ram", "rom"));
    assert_eq!(differences(&tree, &flat("romd", "rom")).len(), 1);
    assert_eq!(
        differences(&tree, &flat("ram", "i/o")),
        [format!(
            "address space `memory`: the map has {} `b` @0x0, the flat view has it with another kind \
             (a.flat:6)",
            range(0x100, 0x1ff)
        )]
    );
}

#[test]
fn spaces_of_one_name_are_told_apart_by_what_they_show() {
    let tree = format!(
        "address-space: dma
         1 0 {ALL} 0 i/o system
         2 0 ff 0 ram a

         address-space: dma
         address-space: other
         1 0 {ALL} 0 i/o system
         2 0 ff 0 ram b"
    );
    let view = |names: &[&str], region: &str| {
        let names: String = names.iter().map(|name| format!(" AS \"{name}\", root: system\n")).collect();
        format!("FlatView #0\n{names} Root memory region: system\n1 0 ff 0 ram {region}\n\n")
    };
    agrees(&tree, &(view(&["other", "dma"], "b") + &view(&["dma"], "a")));
    let found = differences(&tree, &(view(&["dma", "more"], "b") + &view(&["dma"], "c")));
    let ff = range(0, 0xff);
    assert_eq!(
        found,
        [
            "address space `more`: only the flat views have it (a.flat:3)".to_owned(),
            format!(
                "address space `dma`: the map has {ff} `a` @0x0, the flat view has {ff} `c` @0x0 (a.flat:10)"
            ),
            "address space `other`: no flat view shows it".to_owned(),
        ]
    );
}

#[test]
fn disabled_regions_show_nothing_whether_printed_or_not() {
    let tree = format!(
        "address-space: memory
         1 0 {ALL} 0 i/o system
         2 0 ff 0 ram off [disabled]
         4 100 1ff 0 ram below one that was not printed
         5 100 1ff 0 ram below that
         2 200 2ff 0 ram alias a @gone {}

         address-space: hidden

         memory-region: gone",
        range(0, 0xff)
    );
    agrees(
        &tree,
        "FlatView #0\n AS \"memory\", root: system\n AS \"hidden\", root: system
 Root memory region: (none)\n  No rendered FlatView",
    );
}

#[test]
fn mistakes_are_named_with_file_and_line() {
    let system = format!("address-space: memory\n1 0 {ALL} 0 i/o system\n");
    let alias = |target: &str| format!("{system}2 0 ff 0 ram alias a @{target} {}", range(0, 0xff));
    let wide = format!("{system}2 0 ff 0 ram alias a @system {}", range(0, 0x1ff));
    for (text, message) in [
        (alias("nobody"), "a.mtree:3: no region of the dump is the target of alias `a`"),
        (alias("system"), "a.mtree:3: region `a` would show itself"),
        (alias("a"), "a.mtree:3: region `a` would show itself"),
        (
            wide.replace("@system", "@b") + "\n2 0 ff 0 ram b",
            "a.mtree:3: alias `a` looks at a range of another size",
        ),
        (
            format!("{system}2 100 ff 0 ram a"),
            "a.mtree:3: not a line of a memory map: the range ends before it begins",
        ),
        (
            format!("{system}2 0 ff 2147483648 ram a"),
            "a.mtree:3: not a line of a memory map: the priority is no",
        ),
        (format!("{system}2 0 ff 0 RW a"), "a.mtree:3: not a line of a memory map: the kind is none of"),
        (format!("{system}1 0 ff 0 ram a"), "a.mtree:3: a second root in one tree, which begins at line 1"),
        ("1 0 ff 0 ram a".to_owned(), "a.mtree:1: a region outside of every"),
        (format!("{system}   0000"), "a.mtree:3: not a line of a memory map: a region is indented"),
        (
            format!("{system}    é000000000000000-é"),
            "a.mtree:3: not a line of a memory map: it does not begin",
        ),
        ("memory-region: a\n1 0 ff 0 ram a".to_owned(), "a.mtree: not a memory map: it has no line"),
    ] {
        let found = error(&text, None);
        assert!(found.starts_with(message), "{found}\n{message}");
    }
    for (text, message) in [
        ("FlatView #0\n AS \"a\"\n  No rendered FlatView", "a.flat:2: not a line of a memory map: no root"),
        ("FlatView #0\n AS \"a\", root: b\n", "a.flat:1: a flat view with neither ranges nor"),
        ("FlatView #0\n1 0 ff 0 ram a\n1 ff 1ff 0 ram b", "a.flat:3: a range that does not begin above"),
        ("FlatView #0\n2 0 ff 0 ram a", "a.flat:2: not a line of a memory map: a flat view has no levels"),
        ("nonsense", "a.flat:1: not a line of a memory map: a region is indented"),
    ] {
        let found = error(&system, Some(text));
        assert!(found.starts_with(message), "{found}\n{message}");
    }
}

#[test]
fn flat_file_without_spaces_is_a_difference() {
    let tree = format!("address-space: memory\n1 0 {ALL} 0 i/o system\n");
    for flat in ["", "FlatView #0\n Root memory region: (none)\n  No rendered FlatView\n"] {
        assert_eq!(differences(&tree, flat), ["a.flat: no flat view of any address space"]);
    }
}

/// Minutes if any step were quadratic in a dump's lines.
#[test]
fn large_dumps_are_read_at_once() {
    const N: u64 = 20_000;
    let system = format!("1 0 {ALL} 0 i/o system\n");
    let mut wide = format!("address-space: memory\n{system}");
    let mut flat = "FlatView #0\n AS \"memory\", root: system\n Root memory region: system\n".to_owned();
    let mut sections = "\nmemory-region: ram\n1 0 ffffffff 0 ram ram\n".to_owned();
    for i in 0..N {
        let (start, last) = (i * 0x1000, i * 0x1000 + 0x7ff);
        match i % 3 {
            0 => {
                wide += &format!("2 {start:x} {last:x} 0 ram alias a{i} @ram {}\n", range(start, last));
                flat += &format!("1 {start:x} {last:x} 0 ram ram{}\n", offset(start));
            }
            1 => {
                wide += &format!("2 {start:x} {last:x} 0 i/o device\n");
                flat += &format!("1 {start:x} {last:x} 0 i/o device\n");
            }
            _ => {
                wide += &format!("2 {start:x} {last:x} 0 ram alias s{i} @section{i} {}\n", range(0, 0x7ff));
                sections += &format!("\nmemory-region: section{i}\n1 {start:x} {last:x} 0 ram r{i}\n");
                flat += &format!("1 {start:x} {last:x} 0 ram r{i}\n");
            }
        }
    }
    // each a bus of its own that looks at the same region
    let buses: String = (0..N / 4)
        .map(|i| {
            format!("\naddress-space: bus{i}\n1 0 {ALL} 0 i/o bus\n2 0 {ALL} 0 i/o alias bus @system ffffffffffffffff-ffffffffffffffff\n")
        })
        .collect();
    let buses = buses.replace("ffffffffffffffff-", "0000000000000000-");
    let section = wide.replacen("address-space: memory", "memory-region: system", 1);
    let views = (0..N / 4).map(|i| format!(" AS \"bus{i}\", root: bus\n")).collect::<String>();
    let flat = flat.replacen(" Root", &(views + " Root"), 1);
    agrees(&format!("{wide}{buses}\n{section}{sections}"), &flat);
}

fn offset(offset: u64) -> String {
    if offset == 0 { String::new() } else { format!(" @{offset:016x}") }
}

#[test]
fn deep_dump_and_long_chain_of_aliases_are_read() {
    let mut tree = "address-space: memory\n".to_owned();
    for level in 1..=2000 {
        tree += &format!("{level} 0 fff 0 i/o level{level}\n");
    }
    tree += &format!("2001 0 fff 0 ram alias a0 @a1 {0}\n", range(0, 0xfff));
    for link in 1..3000 {
        tree += &format!(
            "\nmemory-region: a{link}\n1 0 fff 0 ram alias a{link} @a{} {}\n",
            link + 1,
            range(0, 0xfff)
        );
    }
    tree += "\nmemory-region: a3000\n1 0 fff 0 ram a3000\n";
    agrees(
        &tree,
        "FlatView #0\n AS \"memory\", root: level1\n Root memory region: level1\n1 0 fff 0 ram a3000",
    );
}

#[test]
fn overlays_and_read_only_of_our_own_prints_are_read_back() {
    let tree = format!(
        "address-space: memory
         1 0 {ALL} 0 i/o system
         2 0 ff 1 rom shadow [reads]
         2 0 ff 0 ram ram [unmergeable]
         2 100 1ff 0 i/o uart [read-only] [re-entry: it queues]"
    );
    let imported = read(&tree, None).unwrap();
    let text = imported.flat_map(PrintOptions::default()).unwrap().to_string();
    let expected = format!(
        "  {0} (prio 1, rom): shadow [unmergeable] [reads]
  {0} (prio 0, ram): ram [unmergeable] [writes]
  {1} (prio 0, i/o): uart [read-only]\n",
        range(0, 0xff),
        range(0x100, 0x1ff)
    );
    assert!(text.contains(&expected), "{text}");
    agrees(&tree, &text);
}
