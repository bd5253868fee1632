use super::*;
use crate::testing::Board;
use memory_core::Width;
use serde_json::json;

const AT: u64 = 0x1_0000_0000;

#[test]
fn a_module_is_memory_of_its_size_and_survives_a_reset() {
    let board = Board::new();
    let dimm = board.plug::<Dimm>(json!({ "size": 0x2000, "slot": 3 }), AT);
    board.store(AT + 0x1ff8, Width::W8, 0x1122_3344_5566_7788).unwrap();
    dimm.device.reset(ResetType::Cold);
    assert_eq!(board.load(AT + 0x1ffc, Width::W4), Ok(0x1122_3344));
    assert!(board.load(AT + 0x2000, Width::W1).is_err());
    assert_eq!(dimm.save(), json!({ "size": 0x2000, "slot": 3, "share": false }));
}

#[test]
fn a_module_of_no_page_or_without_its_file_is_refused() {
    let board = Board::new();
    for (properties, about) in [
        (json!({ "size": 0 }), "size"),
        (json!({ "size": 0x1800 }), "size"),
        (json!({ "size": 0x1000, "share": true }), "share"),
        (json!({ "size": 0x1000, "file": "no/such/file" }), "no/such/file"),
    ] {
        let error = board.try_plug::<Dimm>(properties, AT).err().expect("a refusal").to_string();
        assert!(error.contains(about), "{error}");
    }
}

#[test]
fn a_file_gets_what_the_guest_writes_only_if_it_is_shared() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("content");
    std::fs::write(&file, [7; 0x1800]).unwrap();
    let properties = |size: u64, share: bool| json!({ "size": size, "file": file, "share": share });
    let board = Board::new();
    for share in [false, true] {
        let _dimm = board.plug::<Dimm>(properties(0x1000, share), AT);
        assert_eq!(board.load(AT, Width::W2), Ok(0x0707));
        board.store(AT, Width::W1, 9).unwrap();
        assert_eq!(std::fs::read(&file).unwrap()[0], if share { 9 } else { 7 });
    }
    let error = board.try_plug::<Dimm>(properties(0x2000, true), AT).err().expect("a refusal").to_string();
    assert!(error.contains("fewer than 0x2000"), "{error}");
}
