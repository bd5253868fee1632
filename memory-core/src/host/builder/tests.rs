use super::*;
use crate::access::Width;
use crate::error::MemoryError;
use crate::host::{DirtyClients, PAGE_SIZE};
use crate::memory::Memory;
use crate::sync::{Mutex, Ordering};
use std::io::{Read, Seek, SeekFrom, Write};
use std::process::Command;
use vm_memory::Bytes;

fn page() -> u64 {
    host_page_size()
}

/// A file of four pages, each full of its number.
fn file() -> File {
    let mut file = tempfile::tempfile().unwrap();
    for number in 0..4 {
        file.write_all(&vec![number; page() as usize]).unwrap();
    }
    file
}

fn first_byte(mut file: &File, number: u64) -> u8 {
    let mut byte = [0];
    file.seek(SeekFrom::Start(number * page())).unwrap();
    file.read_exact(&mut byte).unwrap();
    byte[0]
}

#[test]
#[cfg_attr(miri, ignore = "there are no files")]
fn a_file_is_shared_private_or_only_read_from_an_offset_on() {
    let file = file();
    let clone = || file.try_clone().unwrap();
    let from_second = || RamBlock::builder(2 * page()).file(clone(), page());
    let shared = from_second().shared(true).build().unwrap();
    let private = from_second().build().unwrap();
    let read_only = from_second().read_only().build().unwrap();
    for block in [&shared, &private, &read_only] {
        assert_eq!((block.load(0, Width::W1), block.load(page(), Width::W1)), (Some(1), Some(2)));
    }
    assert!(private.store(0, Width::W1, 0x55) && first_byte(&file, 1) == 1);
    assert!(shared.store(page(), Width::W1, 0x66) && first_byte(&file, 2) == 0x66);
    assert!(!read_only.store(0, Width::W1, 9) && !read_only.write(0, &[9]) && !read_only.fill(0, 1, 9));
    assert_eq!(read_only.compare_exchange(0, Width::W1, 1, 9), None);
    assert_eq!((read_only.load(0, Width::W1), first_byte(&file, 1)), (Some(1), 1));
    assert!(read_only.is_read_only() && !shared.is_read_only());
    let is_lent = |block: &Arc<RamBlock>| (block.slice(0, 1).is_some(), block.page(0).is_some());
    assert_eq!((is_lent(&shared), is_lent(&read_only)), ((true, true), (false, false)), "to be written");
    let read = read_only.slice_to_read(0, 1).and_then(|slice| slice.read_obj::<u8>(0).ok());
    let lent = read_only.page_to_read(0).map(|lent| lent.load_u8(0, Ordering::Relaxed));
    assert_eq!((read, lent), (Some(1), Some(1)));
    assert_eq!((shared.file_offset(), shared.file().is_some()), (page(), true));
    assert!(RamBlock::builder(4 * page()).file(clone(), page()).build().is_err(), "it ends before");
    assert!(RamBlock::builder(page()).shared(true).build().is_err(), "shared with whom");
}

/// The other half of the test below, in a process of its own.
const ROLE: &str = "FLATLAND_TEST_SHARED_MEMORY";

#[test]
#[cfg_attr(miri, ignore = "there are no processes")]
fn a_memfd_is_shared_with_another_process() {
    if let Ok(path) = std::env::var(ROLE) {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let block = RamBlock::builder(2 * page()).file(file, 0).shared(true).build().unwrap();
        assert_eq!(block.load(8, Width::W4), Some(0x1234));
        assert!(block.store(page() + 8, Width::W4, 0x5678));
        return;
    }
    let block = RamBlock::builder(2 * page()).memfd("shared").build().unwrap();
    assert!(block.store(8, Width::W4, 0x1234));
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(block.file().unwrap());
    let path = format!("/proc/{}/fd/{descriptor}", std::process::id());
    let name = "host::builder::tests::a_memfd_is_shared_with_another_process";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(ROLE, path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(block.load(page() + 8, Width::W4), Some(0x5678), "what the other process wrote");
}

#[test]
fn memory_of_the_caller_s_is_kept_until_the_block_goes() {
    struct Keeper(Vec<u64>, Arc<Mutex<bool>>);
    impl Drop for Keeper {
        fn drop(&mut self) {
            *self.1.lock().unwrap() = self.0[1] == 7;
        }
    }
    let gone = Arc::new(Mutex::new(false));
    let mut memory = vec![0u64; 16];
    let pointer = NonNull::new(memory.as_mut_ptr().cast()).unwrap();
    let keeper = Keeper(memory, gone.clone());
    // SAFETY: the vector lives in the keeper, and nobody uses it before the keeper is dropped.
    let block = unsafe { RamBlock::from_raw(pointer, 128, keeper) }.unwrap();
    assert!(block.store(8, Width::W8, 7) && !block.store(128, Width::W1, 1));
    assert!(block.discard(0, 0).is_err() && !*gone.lock().unwrap());
    drop(block);
    assert!(*gone.lock().unwrap());
}

#[test]
fn memory_of_the_callers_lends_only_pages_that_are_aligned() {
    let mut memory = vec![0u64; 3 * PAGE_SIZE / 8];
    let base = NonNull::new(memory.as_mut_ptr().cast::<u8>()).unwrap();
    let aligned = base.as_ptr().align_offset(PAGE_SIZE);
    for (offset, lends) in [(aligned, true), (aligned + 1, false), (aligned + 8, false)] {
        // SAFETY: up to the second page's end and 8 bytes more it is all inside the vector's three.
        let pointer = unsafe { base.add(offset) };
        // SAFETY: the vector outlives the block, and nobody else uses it.
        let block = unsafe { RamBlock::from_raw(pointer, PAGE_SIZE, ()) }.unwrap();
        assert_eq!(block.page(0).is_some(), lends, "{offset}");
        assert!(block.store(4, Width::W4, 7), "through the block all the same");
    }
}

#[test]
#[cfg_attr(miri, ignore = "there is no kernel to ask")]
fn pages_are_there_from_the_start_and_what_is_in_them_stays() {
    let file = file();
    let block = RamBlock::builder(4 * page()).file(file, 0).prealloc(3).build().unwrap();
    assert_eq!(block.load(3 * page(), Width::W1), Some(3));
    // what is only read is no copy, and goes on to follow its file
    let mut file = self::file();
    let followed = RamBlock::builder(4 * page()).file(file.try_clone().unwrap(), 0).read_only().prealloc(1);
    let followed = followed.build().unwrap();
    file.seek(SeekFrom::Start(2 * page())).unwrap();
    file.write_all(&[0x77]).unwrap();
    assert_eq!(followed.load(2 * page(), Width::W1), Some(0x77));
    let resident = |block: &RamBlock, pages: usize| {
        let mut there = vec![0u8; pages];
        let start = block.pointer(0, 1).unwrap().as_ptr();
        // SAFETY: the range is the block's mapping, and the vector has a byte for each of its pages.
        let result = unsafe { libc::mincore(start.cast(), pages * page() as usize, there.as_mut_ptr()) };
        assert_eq!(result, 0);
        there.iter().filter(|there| **there & 1 != 0).count()
    };
    let block = RamBlock::builder(64 * page()).prealloc(4).build().unwrap();
    assert_eq!(resident(&block, 64), 64);
    assert_eq!(resident(&RamBlock::anonymous(64 * page()).unwrap(), 64), 0);
}

#[test]
fn what_is_discarded_reads_as_zeros_and_counts_as_written() {
    let anonymous = RamBlock::anonymous(4 * page()).unwrap();
    // Miri has no files
    let memfd = (!cfg!(miri)).then(|| RamBlock::builder(4 * page()).memfd("discard").build().unwrap());
    for block in memfd.iter().chain([&anonymous]) {
        assert!(block.fill(0, 4 * page(), 7));
        block.dirty().start(DirtyClients::MIGRATION);
        block.discard(page(), 2 * page()).unwrap();
        let bytes = [0, 1, 2, 3].map(|number| block.load(number * page(), Width::W1).unwrap());
        assert_eq!(bytes, [7, 0, 0, 7]);
        let taken = block.dirty().snapshot_and_clear(DirtyClients::MIGRATION, 0, u64::MAX);
        assert_eq!(taken.count(), 2);
        assert!(block.discard(1, page()).is_err() && block.discard(0, 1).is_err());
        assert!(block.discard(4 * page(), page()).is_err(), "beyond the end");
    }
    if cfg!(miri) {
        return;
    }
    let private = RamBlock::builder(page()).file(file(), page()).build().unwrap();
    assert!(private.discard(0, page()).is_err(), "it would be the file's again");
    assert_eq!(private.load(0, Width::W1), Some(1));
}

#[test]
#[cfg_attr(miri, ignore = "there are no huge pages")]
fn huge_pages_are_had_or_the_error_says_what_is_missing() {
    const HUGE: u64 = 2 << 20;
    let odd = RamBlock::builder(HUGE + 4096).huge_pages(HUGE).build().unwrap_err();
    assert!(odd.to_string().contains("no multiple"), "{odd}");
    let odd = RamBlock::builder(0x3000u64).huge_pages(0x3000u64).build().unwrap_err();
    assert!(matches!(odd, HostMemoryError::HugePages { .. }));
    let anonymous = || RamBlock::builder(HUGE).huge_pages(HUGE);
    let memfd = || anonymous().memfd("huge");
    // a block without its pages kills whoever touches it: it must not be made, whether or not they are asked for at once
    for builder in [anonymous(), anonymous().prealloc(1), memfd(), memfd().prealloc(1)] {
        match builder.build() {
            Ok(block) => {
                assert_eq!(block.page_size(), HUGE);
                assert!(block.store(HUGE - 8, Width::W8, 7));
                block.discard(0, HUGE).unwrap();
                assert_eq!(block.load(HUGE - 8, Width::W8), Some(0));
            }
            Err(error) => {
                println!("skipped: {error}");
                assert!(matches!(error, HostMemoryError::HugePages { .. }), "{error:?}");
                assert!(error.to_string().contains("/sys/kernel/mm/hugepages/hugepages-2048kB"), "{error}");
            }
        }
    }
}

#[test]
fn a_block_is_resized_at_the_commit_and_its_owner_told_with_no_lock_held() {
    let memory = Memory::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let (note, inside) = (told.clone(), memory.clone());
    let block = RamBlock::builder(16 * page())
        .resizeable(page(), move |used| {
            note.lock().unwrap().push((used, inside.begin().is_ok()));
        })
        .build()
        .unwrap();
    let region = memory.ram("acpi", block.clone()).build().unwrap();
    let used = || (region.size().unwrap().bytes() as u64 / page(), block.used() / page());
    assert_eq!(used(), (1, 1));
    let transaction = memory.begin().unwrap();
    region.resize_ram(5 * page() - 1).unwrap();
    assert_eq!(used(), (5, 1), "not before the commit");
    drop(transaction);
    assert_eq!(used(), (1, 1));
    region.resize_ram(5 * page() - 1).unwrap();
    assert_eq!(used(), (5, 5), "whole pages");
    assert!(block.store(4 * page(), Width::W1, 9));
    region.resize_ram(2 * page()).unwrap();
    region.resize_ram(2 * page()).unwrap();
    assert_eq!(block.load(4 * page(), Width::W1), Some(9), "it is still mapped");
    assert!(matches!(region.resize_ram(17 * page()), Err(MemoryError::BlockSize { .. })));
    assert_eq!(*told.lock().unwrap(), [(5 * page(), true), (2 * page(), true)]);
    let fixed = memory.ram("fixed", RamBlock::anonymous(page()).unwrap()).build().unwrap();
    assert!(matches!(fixed.resize_ram(1u64), Err(MemoryError::WrongKind { .. })));
    assert!(RamBlock::builder(page()).resizeable(2 * page(), |_| ()).build().is_err());
}

#[test]
fn a_region_that_shows_less_than_is_in_use_leaves_that_in_use() {
    let memory = Memory::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let note = told.clone();
    let block =
        RamBlock::builder(16 * page()).resizeable(8 * page(), move |used| note.lock().unwrap().push(used));
    let block = block.build().unwrap();
    let region = memory.ram("acpi", block.clone()).size(page()).build().unwrap();
    region.set_enabled(false).unwrap();
    region.set_size(2 * page()).unwrap();
    assert_eq!((block.used(), told.lock().unwrap().len()), (8 * page(), 0));
    // until it is resized; what is taken back is not done by a later change
    region.resize_ram(2 * page()).unwrap();
    let transaction = memory.begin().unwrap();
    region.resize_ram(3 * page()).unwrap();
    drop(transaction);
    region.set_enabled(true).unwrap();
    let other = memory.ram("other", block.clone()).nomigrate().build().unwrap();
    other.resize_ram(5 * page()).unwrap();
    region.set_enabled(false).unwrap();
    assert_eq!((block.used(), &*told.lock().unwrap()), (5 * page(), &vec![2 * page(), 5 * page()]));
}

#[test]
fn blocks_are_found_by_their_identifiers_by_any_thread() {
    let memory = Memory::new();
    let block = || RamBlock::anonymous(page()).unwrap();
    let low = memory.ram("low", block()).identifier("pc.ram").build().unwrap();
    let rom = memory.rom("bios", block()).build().unwrap();
    let private = memory.ram("scratch", block()).nomigrate().build().unwrap();
    let again = memory.ram("low", block()).identifier("pc.ram").build();
    assert!(matches!(again, Err(MemoryError::DuplicateIdentifier(_))));
    let names = |memory: &Memory| memory.ram_blocks().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    // while a transaction is open
    let transaction = memory.begin().unwrap();
    let seen = std::thread::scope(|scope| scope.spawn(|| names(&memory)).join().unwrap());
    assert_eq!(seen, ["bios", "pc.ram"]);
    transaction.commit().unwrap();
    drop((low, private));
    assert_eq!(names(&memory), ["bios"]);
    assert!(memory.ram_block("pc.ram").is_none() && memory.ram_block("bios").is_some());
    drop(rom);
}
