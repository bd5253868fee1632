//! A batch: many programs in one image, with what each starts from and where it leaves what it did.

use crate::frame::{BASE, CSRS, DELEGATED, LOG_ENTRY, frame, slot};
use crate::generator::{Item, Setting, WILD, program};
use crate::random::Random;

const PAGE: u64 = 4096;
/// Items of a program.
const ITEMS: usize = 40;
/// Bytes of the window of a program without translation.
const WINDOW: u64 = 1024;
/// Where the pages of a program under Sv39 are.
const VIRTUAL: u64 = 0x4000_0000;
/// Where S-mode has the image, since it may not execute pages of U-mode.
const FRAME: u64 = 0xc000_0000;
/// Root, middle and last table, then four pages of data, then one for LR and SC.
const PAGES: u64 = 8;
/// Entries of the last table.
const ENTRIES: u64 = 8;
/// An address at which the board has nothing.
const HOLE: u64 = 0x0800_0000;

const V: u64 = 1;
const R: u64 = 1 << 1;
const W: u64 = 1 << 2;
const X: u64 = 1 << 3;
const U: u64 = 1 << 4;
const A: u64 = 1 << 6;
const D: u64 = 1 << 7;

/// One program and where its parts are.
pub struct Program {
    pub setting: Setting,
    /// Does PMP refuse some of its data?
    protected: bool,
    pub items: Vec<Item>,
    /// Address of the first instruction, and of the context, the log and the memory: its window, or its pages.
    pub code: u64,
    pub context: u64,
    pub log: u64,
    pub memory: u64,
}

impl Program {
    fn parcels(&self) -> usize {
        self.items.iter().map(|item| item.parcels.len()).sum()
    }

    fn end(&self) -> u64 {
        self.code + 2 * self.parcels() as u64
    }

    /// Every item with its address and bits, a line each.
    pub fn listing(&self) -> String {
        let mut at = self.code;
        let mut text = format!("{:?}\n", self.setting);
        for item in &self.items {
            let bits: Vec<_> = item.parcels.iter().map(|parcel| format!("{parcel:04x}")).collect();
            text += &format!("{at:#x}  {:<12} {}\n", item.name, bits.join(" "));
            at += 2 * item.parcels.len() as u64;
        }
        text
    }
}

/// Programs, and the image that holds them.
pub struct Batch {
    pub programs: Vec<Program>,
    /// What is at [`BASE`].
    pub image: Vec<u8>,
    /// Where in the image code ends: what comes behind it is compared.
    pub state: usize,
}

impl Batch {
    /// `count` programs that follow from `seed`: each fourth without translation, the others in S- and U-mode.
    pub fn new(seed: u64, count: usize) -> Self {
        let mut random = Random::new(seed);
        let settings = [Setting::Bare, Setting::Bare, Setting::Supervisor, Setting::User];
        let mut programs: Vec<_> = (0..count)
            .map(|index| {
                let setting = settings[index % settings.len()];
                let mut items = program(&mut random, setting, ITEMS);
                let protected = setting != Setting::Bare && index % 8 >= 4;
                // QEMU at times calls an AMO that PMP refuses a load: from s1 to s0, whose page is open.
                for amo in items.iter_mut().filter(|item| protected && item.name == "amo") {
                    amo.parcels[0] &= 0x7fff;
                }
                Program { setting, protected, items, code: 0, context: 0, log: 0, memory: 0 }
            })
            .collect();
        let state = lay_out(&mut programs);
        let end = programs.iter().map(|program| program.memory + PAGES * PAGE).max().unwrap_or(BASE);
        let mut batch = Self { programs, image: vec![0; (end - BASE) as usize], state };
        batch.fill(&mut random);
        batch
    }

    fn put(&mut self, address: u64, value: u64) {
        let at = (address - BASE) as usize;
        self.image[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    fn fill(&mut self, random: &mut Random) {
        for (word, index) in frame(self.programs[0].context).iter().zip(0..) {
            self.image[4 * index..4 * index + 4].copy_from_slice(&word.to_le_bytes());
        }
        let programs = std::mem::take(&mut self.programs);
        for (index, program) in programs.iter().enumerate() {
            // At the end a breakpoint, whose trap finishes the program.
            let mut at = (program.code - BASE) as usize;
            for parcel in program.items.iter().flat_map(|item| &item.parcels).chain(&[0x9002]) {
                self.image[at..at + 2].copy_from_slice(&parcel.to_le_bytes());
                at += 2;
            }
            let next = programs.get(index + 1).map_or(0, |next| next.context);
            self.context(program, next, random);
        }
        self.programs = programs;
    }

    fn context(&mut self, program: &Program, next: u64, random: &mut Random) {
        let mut slots = [0; slot::COUNT];
        slots[1..32].fill_with(|| random.value());
        let (pointers, wild) = match program.setting {
            Setting::Bare => (self.window(program, random), HOLE),
            _ => (self.pages(program, random), random.pick(&[HOLE, 1 << 38, 0x4_0000_0000])),
        };
        for (register, pointer) in [2, 8, 9].into_iter().zip(pointers) {
            slots[register] = pointer;
        }
        slots[WILD as usize] = wild;
        slots[slot::END] = program.end();
        slots[slot::START] = program.code;
        slots[slot::LOG] = program.log;
        slots[slot::NEXT] = next;
        if program.setting != Setting::Bare {
            slots[slot::SATP] = 8 << 60 | program.memory >> 12;
            slots[slot::STVEC] = FRAME + DELEGATED;
            // What ends programs and what S-mode asks of M-mode is never delegated.
            slots[slot::MEDELEG] = random.next() & random.next() & 0xb3ff & !(1 << 3 | 1 << 9);
        }
        slots[slot::MSTATUS] = status(program.setting, random);
        slots[slot::PMP..slot::PMP + 5].copy_from_slice(&protection(program, random));
        for (index, value) in slots.into_iter().enumerate() {
            self.put(program.context + 8 * index as u64, value);
        }
    }

    /// Fills the window of a program without translation; gives `sp`, `s0` and `s1`.
    fn window(&mut self, program: &Program, random: &mut Random) -> [u64; 3] {
        for at in (0..WINDOW).step_by(8) {
            let value = random.value();
            self.put(program.memory + at, value);
        }
        let any = u64::from(random.below(512));
        let any = if random.one_in(2) { any & !7 } else { any };
        [program.memory + 512, program.memory + 256, program.memory + 256 + any]
    }

    /// Makes the tables and pages of a program under Sv39; gives `sp`, `s0` and `s1`.
    fn pages(&mut self, program: &Program, random: &mut Random) -> [u64; 3] {
        let root = program.memory;
        let (middle, last, data) = (root + PAGE, root + 2 * PAGE, root + 3 * PAGE);
        let user = if program.setting == Setting::User { U } else { 0 };
        let entry = |phys: u64, flags: u64| phys >> 12 << 10 | flags;
        // The image is where it is, but not to be written.
        self.put(root + 2 * 8, entry(BASE, V | R | X | A | user));
        self.put(root + 3 * 8, entry(BASE, V | R | X | A | D));
        self.put(root + 8, entry(middle, V));
        self.put(middle, entry(last, V));
        // A large page of code, sometimes one that is not aligned.
        let large = if random.one_in(8) { BASE + PAGE } else { BASE };
        self.put(middle + 8, entry(large, flags(random, user) & !W));
        for index in 0..ENTRIES {
            let (page, flags) = match index {
                // An SC that fails is a store for protection and page tables here, as the manual allows, and none on
                // QEMU: its page is dirty from the start, and open.
                1 => (4, V | R | W | D | user | A & random.next()),
                _ => (random.below(4), flags(random, user)),
            };
            let page = data + PAGE * u64::from(page);
            self.put(last + 8 * index, entry(page, flags));
        }
        for at in (data..data + 5 * PAGE).step_by(8) {
            let value = random.value();
            self.put(at, value);
        }
        let mut pointer = || {
            if random.one_in(8) {
                return VIRTUAL + 0x20_0000 + 0x400;
            }
            let page = VIRTUAL + PAGE * u64::from(1 + random.below(ENTRIES as u32 - 1));
            // Under PMP nothing crosses a page: QEMU asks PMP as if the second part came behind the first in
            // physical memory, too.
            let offsets = [0, 0x100, 0x7f8, 0x801, 0xf82, 0xfc0, 0xff8, 0xffc];
            page + if program.protected { random.pick(&offsets[1..4]) } else { random.pick(&offsets) }
        };
        [pointer() & !7, VIRTUAL + PAGE + 0x400, pointer()]
    }
}

/// Gives each program its places; returns the offset of the first that is not code.
fn lay_out(programs: &mut [Program]) -> usize {
    let mut at = BASE + 0x1000;
    for program in programs.iter_mut() {
        program.code = at;
        at = program.end() + 2;
    }
    at = at.next_multiple_of(PAGE);
    let state = (at - BASE) as usize;
    for program in programs.iter_mut() {
        program.context = at;
        at += 8 * slot::COUNT as u64;
    }
    for program in programs.iter_mut() {
        program.log = at;
        at += (8 * LOG_ENTRY * program.parcels()) as u64;
    }
    at = at.next_multiple_of(PAGE);
    for program in programs.iter_mut() {
        program.memory = at;
        at += if program.setting == Setting::Bare { WINDOW } else { PAGES * PAGE };
        at = at.next_multiple_of(PAGE);
    }
    state
}

/// `pmpcfg0` and four addresses: all is open but for, in half of the programs under Sv39, two ranges in their data.
fn protection(program: &Program, random: &mut Random) -> [u64; 5] {
    const OPEN: u64 = 0x1f;
    let mut place = || {
        let page = program.memory + PAGE * u64::from(3 + random.below(4));
        let offset = random.pick(&[0, 0x80, 0x100, 0x7f0, 0x800, 0xf80, 0xfc0]) + random.below(64);
        // Multiples of 8 bytes: QEMU looks at the first and the last byte of an access only, and misses a range between.
        (page + u64::from(offset & !7)) >> 2
    };
    let mut addresses = [place(), place(), place(), u64::MAX >> 10];
    if !program.protected {
        return [OPEN << 24, addresses[0], addresses[1], addresses[2], addresses[3]];
    }
    let mut config = OPEN << 24;
    for (index, address) in addresses.iter_mut().enumerate().take(3).skip(1) {
        // The mode is off, TOR or NAPOT; W without R is reserved.
        let mode = random.pick(&[0u64, 1, 1, 3, 3]);
        let rights = random.pick(&[0u64, 1, 3, 4, 5, 7]);
        config |= (rights | mode << 3) << (8 * index);
        if mode == 3 {
            let size = random.pick(&[1u64, 3, 7, 0x1f, 0x1ff]);
            *address = *address & !size | size >> 1;
        }
    }
    [config, addresses[0], addresses[1], addresses[2], addresses[3]]
}

/// The flags of a page: most of the time nearly all.
fn flags(random: &mut Random, user: u64) -> u64 {
    let mut flags = V | R | W | X | A | D | user;
    for bit in [V, R, W, X, U, A, D] {
        if random.one_in(6) {
            flags ^= bit;
        }
    }
    if random.one_in(16) {
        flags |= 1 << (54 + random.below(10));
    }
    flags
}

/// `mstatus` at the start: the mode in MPP, TW and TSR set below M-mode, the rest as it comes.
fn status(setting: Setting, random: &mut Random) -> u64 {
    const SPIE_SPP_SUM_MXR_TVM: u64 = 1 << 5 | 1 << 8 | 1 << 18 | 1 << 19 | 1 << 20;
    const TW_TSR: u64 = 1 << 21 | 1 << 22;
    let any = random.next() & random.next() & SPIE_SPP_SUM_MXR_TVM;
    match setting {
        Setting::Bare => 3 << 11 | any,
        Setting::Supervisor => 1 << 11 | TW_TSR | any,
        Setting::User => TW_TSR | any,
    }
}

/// The name of slot `index` of a context.
pub fn slot_name(index: usize) -> String {
    match index {
        0..32 => format!("x{index}"),
        slot::LOG => "the number of traps".into(),
        slot::MSTATUS => "mstatus".into(),
        _ => CSRS
            .get(index.wrapping_sub(slot::CSRS))
            .map_or("the frame's own".into(), |(_, name)| (*name).into()),
    }
}
