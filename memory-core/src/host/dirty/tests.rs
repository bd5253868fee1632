use super::*;
use crate::access::Width;
use crate::host::RamBlock;
use crate::sync::Arc;

const DISPLAY: DirtyClients = DirtyClients::DISPLAY;
const MIGRATION: DirtyClients = DirtyClients::MIGRATION;

/// 200 pages, logged for displays.
fn logged() -> (Arc<RamBlock>, u64) {
    let page = crate::host::host_page_size();
    let block = RamBlock::anonymous(200 * page).unwrap();
    block.dirty().start(DISPLAY);
    (block, page)
}

/// The pages that `write` marks.
fn marked(block: &RamBlock, write: impl FnOnce()) -> Vec<u64> {
    write();
    let taken = block.dirty().snapshot_and_clear(DISPLAY, 0, u64::MAX);
    taken.pages().map(|offset| offset / block.dirty().page_size()).collect()
}

#[test]
fn typed_stores_mark_their_pages() {
    let (block, page) = logged();
    assert_eq!(marked(&block, || assert!(block.store(3 * page, Width::W8, 1))), [3]);
    assert_eq!(
        marked(&block, || assert!(block.store(5 * page - 1, Width::W2, 1))),
        [4, 5],
        "unaligned, over a seam"
    );
    assert!(marked(&block, || assert!(!block.store(200 * page, Width::W1, 1))).is_empty());
    assert!(marked(&block, || assert_eq!(block.load(0, Width::W8), Some(0))).is_empty());
}

#[test]
fn bulk_writes_and_fills_mark_all_that_they_touch() {
    let (block, page) = logged();
    let bytes = vec![1; 3 * page as usize];
    assert_eq!(marked(&block, || assert!(block.write(62 * page + 1, &bytes))), [62, 63, 64, 65]);
    let all: Vec<_> = (0..200).collect();
    assert_eq!(marked(&block, || assert!(block.fill(0, 200 * page, 7))), all);
    assert!(marked(&block, || assert!(block.write(0, &[]))).is_empty());
}

#[test]
fn an_exchange_marks_if_it_wrote() {
    let (block, page) = logged();
    let exchange = |current| block.compare_exchange(9 * page, Width::W4, current, 5);
    assert!(marked(&block, || assert_eq!(exchange(1), Some(Err(0)))).is_empty());
    assert_eq!(marked(&block, || assert_eq!(exchange(0), Some(Ok(0)))), [9]);
}

#[test]
fn writes_through_a_host_page_are_marked() {
    let block = RamBlock::anonymous(0x10_0000u64).unwrap();
    block.dirty().start(DISPLAY);
    let page = block.page(0x8000).unwrap();
    let at = [0x8000 / block.dirty().page_size()];
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    assert_eq!(marked(&block, || page.store_u8(1, 1, relaxed)), at);
    assert_eq!(marked(&block, || page.store_u16(2, 1, relaxed)), at);
    assert_eq!(marked(&block, || page.store_u32(4, 1, relaxed)), at);
    assert_eq!(marked(&block, || page.store_u64(8, 1, relaxed)), at);
    assert_eq!(marked(&block, || assert_eq!(page.update_u32(4, |old| old + 1), 1)), at);
    assert_eq!(marked(&block, || assert_eq!(page.update_u64(8, |old| old + 1), 1)), at);
    assert_eq!(marked(&block, || assert_eq!(page.compare_exchange_u32(4, 2, 3), Ok(2))), at);
    assert_eq!(marked(&block, || assert_eq!(page.compare_exchange_u64(8, 2, 3), Ok(2))), at);
    assert!(marked(&block, || assert_eq!(page.compare_exchange_u64(8, 2, 3), Err(3))).is_empty());
}

#[test]
fn clients_are_told_apart_and_start_clean() {
    let (block, page) = logged();
    let log = block.dirty();
    assert!(block.store(0, Width::W1, 1));
    log.start(MIGRATION);
    log.start(MIGRATION);
    assert_eq!(log.clients(), DISPLAY | MIGRATION);
    assert!(block.store(70 * page, Width::W1, 1));
    log.clear(DISPLAY, 70 * page, 1);
    assert!(log.is_dirty(DISPLAY, 0, 1) && !log.is_dirty(DISPLAY, page, 199 * page));
    assert!(!log.is_dirty(MIGRATION, 0, 70 * page) && log.is_dirty(MIGRATION, 0, 70 * page + 1));
    log.stop(MIGRATION);
    assert!(log.clients().contains(MIGRATION), "started twice");
    log.stop(MIGRATION);
    assert!(block.store(71 * page, Width::W1, 1));
    assert!(log.is_dirty(MIGRATION, 70 * page, 1) && !log.is_dirty(MIGRATION, 71 * page, 1));
    log.start(MIGRATION);
    assert!(!log.is_dirty(MIGRATION, 0, u64::MAX), "a first start forgets");
}

#[test]
fn a_snapshot_takes_just_what_it_covers() {
    let (block, page) = logged();
    assert!(block.fill(0, 200 * page, 1));
    let taken = block.dirty().snapshot_and_clear(DISPLAY, 10 * page + 5, 60 * page);
    assert_eq!(
        (taken.count(), taken.pages().next(), taken.pages().last()),
        (61, Some(10 * page), Some(70 * page))
    );
    assert!(
        taken.is_dirty(0, 10 * page + 1)
            && !taken.is_dirty(0, 10 * page)
            && !taken.is_dirty(71 * page, u64::MAX)
    );
    assert!(!taken.is_dirty(20 * page, 0));
    let rest = block.dirty().snapshot_and_clear(DISPLAY, 0, u64::MAX);
    assert_eq!((rest.count(), rest.is_dirty(10 * page, 61 * page)), (139, false));
}

/// Writers count up each its own page; whoever takes a page's mark and then reads it sees all writes that are not
/// marked again.
#[test]
fn no_write_is_lost_between_writers_and_a_reader_that_clears() {
    const WRITES: u64 = if cfg!(miri) { 100 } else { 20_000 };
    let (block, page) = logged();
    let seen = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3u64)
            .map(|index| {
                let block = &block;
                scope.spawn(move || {
                    (1..=WRITES).for_each(|value| assert!(block.store(index * page, Width::W8, value)))
                })
            })
            .collect();
        let mut seen = [0; 3];
        let mut look = || {
            for offset in block.dirty().snapshot_and_clear(DISPLAY, 0, u64::MAX).pages() {
                seen[(offset / page) as usize] = block.load(offset, Width::W8).unwrap();
            }
        };
        while !writers.iter().all(|writer| writer.is_finished()) {
            look();
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        look();
        seen
    });
    assert_eq!(seen, [WRITES; 3]);
}

/// A log that starts while others write: what a reader finds after the start, and what is marked, are together all.
#[test]
fn a_start_misses_no_write() {
    for round in 1..=if cfg!(miri) { 20 } else { 500u64 } {
        let block = RamBlock::anonymous(0x1000u64).unwrap();
        let barrier = std::sync::Barrier::new(2);
        let found = std::thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                (1..=round).for_each(|value| assert!(block.store(0, Width::W8, value)));
            });
            barrier.wait();
            block.dirty().start(DISPLAY);
            block.load(0, Width::W8).unwrap()
        });
        assert!(found == round || block.dirty().is_dirty(DISPLAY, 0, 8), "{found} of {round}");
    }
}
