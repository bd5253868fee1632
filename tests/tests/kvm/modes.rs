//! The same guests in each mode of the processor: what they see, and what is seen from outside.

use crate::board::{Board, CODE, Registers, Running, SAY};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use machines::kvm::Start;
use memory_core::{AccessRules, AddrRange, DirtyClients, EventNotifier, IoEvent, RamBlock, Width};
use std::sync::Arc;

/// Where the guest waits for a byte that is not 0.
const GO: u64 = 0x2000;
const STACK: u64 = 0x7000;
/// Where it says by a plain store that it has come so far.
const HERE: u64 = 0x2100;
/// The page tables: the first gigabyte as it is, in pages of 2 MiB, for all rings.
const TABLES: u64 = 0x8000;

/// A mode that a guest runs in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Real,
    /// 32 bits without paging.
    Flat,
    /// 64 bits, ring 0.
    Long,
    /// 64 bits, ring 3.
    User,
}

/// What a guest does, in any mode. Addresses are below a megabyte, values have 16 bits.
#[derive(Clone, Copy)]
enum Step {
    Write(u64, u32),
    /// Reads, and says what.
    Read(u64),
    Out(u32, u32),
    In(u32),
    /// Waits to be told to go on.
    Wait,
}

use Step::{In, Out, Read, Wait, Write};

impl Mode {
    fn bits(self) -> u32 {
        match self {
            Self::Real => 16,
            Self::Flat => 32,
            Self::Long | Self::User => 64,
        }
    }

    fn start(self, board: &Board) -> Start {
        let store = |address: u64, value: u64| {
            board.memory.store(address, Width::W8, value, Default::default()).unwrap();
        };
        // present, writable, for users
        store(TABLES, (TABLES + 0x1000) | 7);
        store(TABLES + 0x1000, (TABLES + 0x2000) | 7);
        for page in 0..512u64 {
            store(TABLES + 0x2000 + 8 * page, page << 21 | 0x87);
        }
        match self {
            Self::Real => Start::Real { segment: 0, ip: CODE as u16 },
            Self::Flat => Start::Flat { eip: CODE as u32, esp: STACK as u32 },
            Self::Long => Start::Long { rip: CODE, rsp: STACK, cr3: TABLES },
            Self::User => Start::User { rip: CODE, rsp: STACK, cr3: TABLES },
        }
    }

    /// The memory at an address, with what has to be loaded for it.
    fn at(self, a: &mut CodeAssembler, address: u64) -> Result<AsmMemoryOperand, IcedError> {
        match self {
            Self::Real => {
                a.mov(ax, (address >> 4) as u32)?;
                a.mov(es, ax)?;
                a.mov(di, (address & 0xf) as u32)?;
                Ok(ptr(di).es())
            }
            Self::Flat => {
                a.mov(edi, address as u32)?;
                Ok(ptr(edi))
            }
            Self::Long | Self::User => {
                a.mov(rdi, address)?;
                Ok(ptr(rdi))
            }
        }
    }

    fn step(self, a: &mut CodeAssembler, step: Step) -> Result<(), IcedError> {
        match step {
            Write(address, value) => {
                let at = self.at(a, address)?;
                a.mov(cx, value)?;
                a.mov(word_ptr(at), cx)
            }
            Read(address) => {
                let at = self.at(a, address)?;
                a.mov(ax, word_ptr(at))?;
                a.out(SAY, ax)
            }
            Out(port, value) => {
                a.mov(dx, port)?;
                a.mov(ax, value)?;
                a.out(dx, ax)
            }
            In(port) => {
                a.mov(dx, port)?;
                a.in_(ax, dx)?;
                a.out(SAY, ax)
            }
            Wait => {
                let mut again = a.create_label();
                let at = self.at(a, GO)?;
                a.set_label(&mut again)?;
                a.cmp(byte_ptr(at), 0)?;
                a.je(again)?;
                a.mov(byte_ptr(at), 0)
            }
        }
    }

    /// Runs the steps, and says 0xd0e after them.
    fn run(self, board: &Board, steps: &[Step]) -> Running {
        board.load(self.bits(), |a| {
            steps.iter().try_for_each(|step| self.step(a, *step))?;
            a.mov(ax, 0xd0e)?;
            a.out(SAY, ax)?;
            // a user may not halt
            let mut ever = a.create_label();
            a.set_label(&mut ever)?;
            a.jmp(ever)
        });
        board.start(false, &self.start(board))
    }
}

/// Once for each mode, on a board of its own.
fn each_mode(name: &str, check: impl Fn(&mut Board, Mode)) {
    for mode in [Mode::Real, Mode::Flat, Mode::Long, Mode::User] {
        let Some(mut board) = Board::new(name) else { return };
        check(&mut board, mode);
    }
}

fn go(board: &Board) {
    board.memory.store(GO, Width::W1, 1, Default::default()).unwrap();
}

fn done(board: &Board) {
    assert_eq!(board.said(), 0xd0e);
}

fn block(value: u64) -> Arc<RamBlock> {
    let block = RamBlock::anonymous(0x1000u64).unwrap();
    assert!(block.store(0x10, Width::W2, value));
    block
}

#[test]
fn a_guest_in_each_mode_sees_ram_rom_registers_and_ports() {
    each_mode("a_guest_in_each_mode_sees_ram_rom_registers_and_ports", |board, mode| {
        let rom_block = block(0x4242);
        let rom = board.tree().rom("rom", rom_block.clone()).build().unwrap();
        board.map(0x3_0000, rom);
        // RAM in one place, and to be read only in another
        let shadow = board.ram_at(0x4_0000, 0x1000, "shadow");
        let window = board.tree().alias("window", &shadow, 0, 0x1000u64).read_only().build().unwrap();
        board.map(0x5_0000, window);
        let registers = Registers::new(|offset, _| 0x5500 + offset, |_, _, _| ());
        board.registers(0x6_0000, &registers);
        let device = Registers::new(|offset, _| 0x7700 + offset, |_, _, _| ());
        let region = board.tree().mmio("ports", 8u64, AccessRules::new(), device.clone()).build().unwrap();
        board.map_port(0x300, region);
        let running = mode.run(
            board,
            &[
                Write(0x3_0010, 1),
                Read(0x3_0010),
                Write(0x4_0010, 0x1234),
                Read(0x5_0010),
                Write(0x5_0010, 2),
                Read(0x4_0010),
                Write(0x6_0020, 3),
                Read(0x6_0024),
                Out(0x302, 4),
                In(0x304),
                // nobody is there
                In(0x400),
            ],
        );
        let said = [(); 7].map(|()| board.said());
        assert_eq!(said, [0x4242, 0x1234, 0x1234, 0x5524, 0x7704, 0xffff, 0xd0e], "{mode:?}");
        assert_eq!(rom_block.load(0x10, Width::W2), Some(0x4242));
        assert_eq!(board.word(0x4_0010), 0x1234);
        assert_eq!(*registers.written.lock().unwrap(), [(0x20, Width::W2, 3)]);
        assert_eq!(*device.written.lock().unwrap(), [(2, Width::W2, 4)]);
        running.vcpu.stop();
        let report = running.vcpu.wait_ended();
        assert!(
            report.accesses.iter().all(|seen| seen.port || seen.address >> 16 != 4),
            "{mode:?}: {report}"
        );
    });
}

#[test]
fn a_rom_device_that_is_switched_under_a_guest_in_each_mode_is_read_by_callback() {
    let name = "a_rom_device_that_is_switched_under_a_guest_in_each_mode_is_read_by_callback";
    each_mode(name, |board, mode| {
        let device = Registers::new(|offset, _| 0x8000 + offset, |_, _, _| ());
        let flash = board.tree().rom_device("flash", block(0x4242), AccessRules::new(), device.clone());
        let flash = board.map(0x3_0000, flash.build().unwrap());
        let at = 0x3_0010;
        let running = mode.run(board, &[Read(at), Write(at, 7), Wait, Read(at), Wait, Read(at)]);
        assert_eq!(board.said(), 0x4242);
        let slots = || running.kvm.memory_slots().iter().any(|slot| slot.range.start() == 0x3_0000);
        assert!(slots());
        flash.set_romd(false).unwrap();
        assert!(!slots());
        go(board);
        assert_eq!(board.said(), 0x8010, "{mode:?}");
        flash.set_romd(true).unwrap();
        assert!(
            running.kvm.memory_slots().iter().any(|slot| slot.range.start() == 0x3_0000 && slot.read_only)
        );
        go(board);
        assert_eq!(board.said(), 0x4242, "{mode:?}");
        done(board);
        assert_eq!(*device.written.lock().unwrap(), [(0x10, Width::W2, 7)]);
        assert_eq!(device.reads.lock().unwrap().len(), 1);
    });
}

fn event(region: &memory_core::RegionRef, offset: u64, value: Option<u64>) -> EventNotifier {
    let event = EventNotifier::new().unwrap();
    let ioevent = IoEvent::new(offset, Width::W2, event.clone());
    region.add_ioevent(value.into_iter().fold(ioevent, IoEvent::value)).unwrap();
    event
}

#[test]
fn events_of_memory_and_ports_are_signalled_in_each_mode_and_move_with_their_regions() {
    let name = "events_of_memory_and_ports_are_signalled_in_each_mode_and_move_with_their_regions";
    each_mode(name, |board, mode| {
        let (device, ports) = (Registers::plain(), Registers::plain());
        let memory = board.registers(0x3_0000, &device);
        let region = board.tree().mmio("ports", 8u64, AccessRules::new(), ports.clone()).build().unwrap();
        let io = board.map_port(0x300, region);
        let events = [
            event(&memory, 0, None),
            event(&memory, 4, Some(7)),
            event(&io, 0, None),
            event(&io, 4, Some(9)),
        ];
        let all = |memory: u64, port: u32| {
            let memory = [Write(memory, 1), Write(memory + 4, 7), Write(memory + 4, 8)];
            [memory, [Out(port, 1), Out(port + 4, 9), Out(port + 4, 10)]].concat()
        };
        let steps =
            [all(0x3_0000, 0x300), vec![Wait], all(0x4_0000, 0x310), vec![Wait], all(0x4_0000, 0x310)];
        let running = mode.run(board, &steps.concat());
        let waiting = || while board.memory.load(GO, Width::W1, Default::default()) != Ok(0) {};
        let taken = || events.each_ref().map(|event| event.take());
        // the last write of a round comes back, so those before have been
        let seen = |count: usize| while ports.values().len() < count {};
        seen(1);
        assert_eq!(taken(), [1; 4], "{mode:?}");
        memory.set_address(0x4_0000).unwrap();
        io.set_address(0x310).unwrap();
        go(board);
        waiting();
        seen(2);
        assert_eq!(taken(), [1; 4], "{mode:?}");
        memory.set_enabled(false).unwrap();
        io.set_enabled(false).unwrap();
        go(board);
        done(board);
        assert_eq!(taken(), [0; 4], "{mode:?}");
        assert_eq!((device.values(), ports.values()), (vec![8, 8], vec![10, 10]));
        drop(running);
    });
}

#[test]
fn writes_to_memory_and_ports_are_queued_in_each_mode_until_somebody_looks() {
    let name = "writes_to_memory_and_ports_are_queued_in_each_mode_until_somebody_looks";
    each_mode(name, |board, mode| {
        let (device, ports) = (Registers::plain(), Registers::plain());
        let memory = board.registers(0x3_0000, &device);
        let region = board.tree().mmio("ports", 8u64, AccessRules::new(), ports.clone()).build().unwrap();
        let io = board.map_port(0x300, region);
        memory.add_coalesced(AddrRange::new(0, 0xff).unwrap()).unwrap();
        io.add_coalesced(AddrRange::new(0, 3).unwrap()).unwrap();
        let round = |value: u32| [Write(0x3_0010, value), Out(0x300, value), Out(SAY, 0xa)];
        let mut rounds: Vec<_> = (1..=4).flat_map(|value| [&round(value)[..], &[Wait]].concat()).collect();
        // nothing comes back in the second round
        rounds[6] = Write(HERE, 2);
        let looks = [Write(0x3_0010, 5), Out(0x300, 5), In(0x304)];
        let running = mode.run(board, &[&rounds[..], &looks].concat());
        let seen = || (device.values(), ports.values());
        let both = |count: u64| ((1..=count).collect::<Vec<_>>(), (1..=count).collect::<Vec<_>>());
        assert_eq!(board.said(), 0xa);
        assert_eq!(seen(), both(0), "{mode:?}: nobody has looked");
        board.system.flush_coalesced();
        assert_eq!(seen(), both(1), "{mode:?}: flushed");
        running.vcpu.pause();
        running.vcpu.resume();
        go(board);
        while board.word(HERE) == 0 {}
        assert_eq!(seen(), both(1));
        running.vcpu.pause();
        assert_eq!(seen(), both(2), "{mode:?}: paused");
        running.vcpu.resume();
        go(board);
        assert_eq!(board.said(), 0xa);
        let begun = board.tree().transaction(|_| Ok::<_, memory_core::MemoryError>(seen())).unwrap();
        assert_eq!(begun, both(3), "{mode:?}: a transaction has begun");
        go(board);
        assert_eq!(board.said(), 0xa);
        memory.clear_coalesced().unwrap();
        assert_eq!(seen(), both(4), "{mode:?}: a zone is deleted");
        go(board);
        assert_eq!(board.said(), 4, "{mode:?}");
        assert_eq!(seen(), both(5), "{mode:?}: a port of the region is read");
        done(board);
    });
}

#[test]
fn writes_of_a_guest_in_each_mode_are_noted() {
    each_mode("writes_of_a_guest_in_each_mode_are_noted", |board, mode| {
        let bank = board.ram_at(0x6_0000, 0x4000, "bank");
        bank.set_log(DirtyClients::DISPLAY, true).unwrap();
        let running = mode.run(
            board,
            &[
                Write(0x6_1000, 1),
                Out(SAY, 1),
                Wait,
                Write(0x6_1000, 2),
                Write(0x6_3000, 1),
                Out(SAY, 2),
                Wait,
            ],
        );
        let taken = || {
            let taken = board.system.snapshot_and_clear(&bank, DirtyClients::DISPLAY, 0, 0x4000).unwrap();
            taken.pages().collect::<Vec<_>>()
        };
        assert_eq!(board.said(), 1);
        assert_eq!(taken(), [0x1000], "{mode:?}");
        go(board);
        assert_eq!(board.said(), 2);
        assert_eq!(taken(), [0x1000, 0x3000], "{mode:?}");
        assert!(taken().is_empty());
        drop(running);
    });
}

#[test]
fn a_bank_moves_under_a_guest_in_each_mode() {
    each_mode("a_bank_moves_under_a_guest_in_each_mode", |board, mode| {
        let bank = board.tree().ram("bank", block(0xbeef)).build().unwrap();
        let bank = board.map(0x4_0000, bank);
        let both = [Read(0x4_0010), Read(0x5_0010)];
        let running = mode.run(board, &[&both[..], &[Wait], &both, &[Wait], &both].concat());
        let said = || (board.said(), board.said());
        assert_eq!(said(), (0xbeef, 0), "{mode:?}");
        bank.set_address(0x5_0000).unwrap();
        go(board);
        assert_eq!(said(), (0, 0xbeef), "{mode:?}");
        bank.set_enabled(false).unwrap();
        go(board);
        assert_eq!(said(), (0, 0), "{mode:?}");
        done(board);
        drop(running);
    });
}
