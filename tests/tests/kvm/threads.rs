//! Several vCPUs, and callbacks that change what their guests run on.

use crate::board::{Board, CODE, Registers, Running, SAY, times};
use iced_x86::code_asm::*;
use machines::kvm::{Start, VcpuControl, VcpuEnd};
use memory_core::{AddrRange, RegionRef, Width};
use memory_dispatch::{Listener, Refusal, Section};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};

/// Writes of a guest; each changes slots.
fn rounds() -> u32 {
    times(300) as u32
}

const SECOND: u64 = 0x1800;

/// A guest that writes [`rounds`] down to 0 to the registers at `segment`, and says `name` then.
fn writes(board: &Board, at: u64, segment: u32, name: u32) {
    board.load_at(at, 16, |a| {
        a.mov(ax, segment)?;
        a.mov(es, ax)?;
        a.mov(cx, rounds())?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.mov(word_ptr(0).es(), cx)?;
        a.dec(cx)?;
        a.jne(again)?;
        a.mov(al, name)?;
        a.out(SAY, al)?;
        a.hlt()
    });
}

/// Registers at `address` whose every write moves a bank between two places.
fn mover(board: &mut Board, address: u64, bank: u64) -> Arc<Registers> {
    let region = board.ram_at(bank, 0x1000, &format!("bank {bank:x}"));
    let registers =
        Registers::new(|_, _| 0, move |_, _, value| region.set_address(bank + (value & 1) * 0x2000).unwrap());
    board.registers(address, &registers);
    registers
}

fn real(ip: u64) -> Start {
    Start::Real { segment: 0, ip: ip as u16 }
}

#[test]
fn vcpus_whose_callbacks_change_slots_do_not_wait_for_each_other() {
    let Some(mut board) = Board::new("vcpus_whose_callbacks_change_slots_do_not_wait_for_each_other") else {
        return;
    };
    // in the RAM that both run in: each move splits and joins slots
    let first = mover(&mut board, 0x3_0000, 0x8_0000);
    let second = mover(&mut board, 0x4_0000, 0xa_0000);
    writes(&board, CODE, 0x3000, 1);
    writes(&board, SECOND, 0x4000, 2);
    let Running { vcpu, mut kvm } = board.start(false, &real(CODE));
    let other = kvm.start_vcpu(&real(SECOND)).unwrap();
    let mut said = [board.said(), board.said()];
    said.sort_unstable();
    assert_eq!(said, [1, 2]);
    let expected: Vec<u64> = (1..=rounds().into()).rev().collect();
    assert_eq!(first.values(), expected);
    assert_eq!(second.values(), expected);
    [&vcpu, &other].into_iter().for_each(VcpuControl::stop);
    assert_eq!(
        [&vcpu, &other].map(|vcpu| vcpu.wait_ended().end.clone()),
        [VcpuEnd::Stopped, VcpuEnd::Stopped]
    );
}

#[test]
fn a_device_moves_itself_in_its_callback() {
    let Some(mut board) = Board::new("a_device_moves_itself_in_its_callback") else { return };
    let region = Arc::new(OnceLock::<RegionRef>::new());
    let itself = region.clone();
    let registers =
        Registers::new(|_, _| 0, move |_, _, value| itself.get().unwrap().set_address(value << 16).unwrap());
    region.set(board.registers(0x3_0000, &registers)).unwrap();
    board.load(16, |a| {
        for (segment, next) in [(0x3000u32, 5u32), (0x5000, 4), (0x4000, 3), (0x5000, 9)] {
            a.mov(ax, segment)?;
            a.mov(es, ax)?;
            a.mov(word_ptr(0).es(), next)?;
        }
        a.out(SAY, al)?;
        a.hlt()
    });
    let _running = board.run();
    board.said();
    assert_eq!(registers.values(), [5, 4, 3]);
    // it was not there any more for the last write, and the RAM below was
    assert_eq!(board.word(0x5_0000), 9);
}

#[test]
fn a_read_that_stops_its_vcpu_is_complete_in_the_report() {
    let Some(mut board) = Board::new("a_read_that_stops_its_vcpu_is_complete_in_the_report") else { return };
    let control = Arc::new(OnceLock::<VcpuControl>::new());
    let own = control.clone();
    let registers = Registers::new(
        move |_, _| {
            own.wait().stop();
            0x1234_5678
        },
        |_, _, _| (),
    );
    board.registers(0x3_0000, &registers);
    board.load(16, |a| {
        a.mov(ax, 0x3000)?;
        a.mov(es, ax)?;
        a.mov(ebx, dword_ptr(0).es())?;
        // not reached
        a.mov(word_ptr(0x2000), 1)?;
        a.hlt()
    });
    let running = board.run();
    control.set(running.vcpu.clone()).unwrap();
    let report = running.vcpu.wait_ended();
    assert_eq!(report.end, VcpuEnd::Stopped);
    let registers = report.registers.as_deref().unwrap();
    assert!(registers.contains("rbx=0000000012345678"), "{registers}");
    assert_eq!(board.memory.load(0x2000, Width::W2, Default::default()), Ok(0));
}

#[test]
fn a_read_that_is_kicked_first_and_stopped_then_is_complete_in_the_report() {
    let name = "a_read_that_is_kicked_first_and_stopped_then_is_complete_in_the_report";
    let Some(mut board) = Board::new(name) else { return };
    // a kick has the thread let go of its map, which carries out what was queued, and that stops it
    board.system.coalesce(true);
    let control = Arc::new(OnceLock::<VcpuControl>::new());
    let own = control.clone();
    let queued = board.registers(0x5_0000, &Registers::new(|_, _| 0, move |_, _, _| own.wait().stop()));
    queued.add_coalesced(AddrRange::new(0, 3).unwrap()).unwrap();
    let (own, memory) = (control.clone(), board.memory.clone());
    let registers = Registers::new(
        move |_, _| {
            own.wait().kick();
            memory.store(0x5_0000, Width::W4, 1, Default::default()).unwrap();
            0x1234_5678
        },
        |_, _, _| (),
    );
    board.registers(0x3_0000, &registers);
    board.load(16, |a| {
        a.mov(ax, 0x3000)?;
        a.mov(es, ax)?;
        a.mov(ebx, dword_ptr(0).es())?;
        // not reached
        a.mov(word_ptr(0x2000), 1)?;
        a.hlt()
    });
    let running = board.run();
    control.set(running.vcpu.clone()).unwrap();
    let report = running.vcpu.wait_ended();
    assert_eq!(report.end, VcpuEnd::Stopped);
    let registers = report.registers.as_deref().unwrap();
    assert!(registers.contains("rbx=0000000012345678"), "{registers}");
    assert_eq!(board.memory.load(0x2000, Width::W2, Default::default()), Ok(0));
}

/// Says that a range has come to `at`, and waits to be told to go on.
struct Lingers {
    at: u64,
    comes: Sender<()>,
    goes_on: Mutex<Receiver<()>>,
}

impl Listener for Lingers {
    fn region_add(&self, section: &Section) -> Result<(), Refusal> {
        if section.range().start() == self.at {
            self.comes.send(())?;
            self.goes_on.lock().unwrap().recv()?;
        }
        Ok(())
    }
}

#[test]
fn a_read_that_is_stopped_while_slots_change_is_complete_in_the_report() {
    let name = "a_read_that_is_stopped_while_slots_change_is_complete_in_the_report";
    let Some(mut board) = Board::new(name) else { return };
    board.system.coalesce(true);
    let bank = board.ram_at(0x20_0000, 0x1000, "bank");
    let control = Arc::new(OnceLock::<VcpuControl>::new());
    // carried out when the vCPU lets go of its map before the gate that is closed; from then on nothing is in the way
    let (own, (go, goes)) = (control.clone(), channel());
    let stops = Registers::new(
        |_, _| 0,
        move |_, _, _| {
            own.wait().stop();
            go.send(()).unwrap();
        },
    );
    let queued = board.registers(0x5_0000, &stops);
    queued.add_coalesced(AddrRange::new(0, 3).unwrap()).unwrap();
    let (memory, (reading, is_reading), (change, changes)) = (board.memory.clone(), channel(), channel());
    let changes = Mutex::new(changes);
    let registers = Registers::new(
        move |_, _| {
            reading.send(()).unwrap();
            changes.lock().unwrap().recv().unwrap();
            memory.store(0x5_0000, Width::W4, 1, Default::default()).unwrap();
            0x1234_5678
        },
        |_, _, _| (),
    );
    board.registers(0x3_0000, &registers);
    board.load(16, |a| {
        a.mov(ax, 0x3000)?;
        a.mov(es, ax)?;
        a.mov(ebx, dword_ptr(0).es())?;
        // not reached
        a.mov(word_ptr(0x2000), 1)?;
        a.hlt()
    });
    let running = board.run();
    control.set(running.vcpu.clone()).unwrap();
    is_reading.recv().unwrap();
    // told of what comes after the accelerator has been, which has closed the gate then
    let lingers = Lingers { at: 0x30_0000, comes: change, goes_on: Mutex::new(goes) };
    let guard = board.system.listen(Arc::new(lingers), 20, Some(&board.memory)).unwrap();
    bank.set_address(0x30_0000).unwrap();
    let report = running.vcpu.wait_ended();
    assert_eq!(report.end, VcpuEnd::Stopped);
    let registers = report.registers.as_deref().unwrap();
    assert!(registers.contains("rbx=0000000012345678"), "{registers}");
    drop(guard);
}

#[test]
fn vcpus_that_have_their_start_run_at_once_with_controllers_in_the_kernel_too() {
    let name = "vcpus_that_have_their_start_run_at_once_with_controllers_in_the_kernel_too";
    let Some(board) = Board::new(name) else { return };
    // each says its number, by which it is known to its controller
    board.load(16, |a| {
        a.mov(eax, 1)?;
        a.cpuid()?;
        a.shr(ebx, 24)?;
        a.mov(eax, ebx)?;
        a.out(SAY, eax)?;
        a.cli()?;
        a.hlt()
    });
    let Running { vcpu, mut kvm } = board.start(true, &real(CODE));
    let others = [(); 2].map(|()| kvm.start_vcpu(&real(CODE)).unwrap());
    let mut said = [board.said(), board.said(), board.said()];
    said.sort_unstable();
    assert_eq!(said, [0, 1, 2]);
    others.iter().for_each(VcpuControl::stop);
    vcpu.stop();
    assert_eq!(vcpu.wait_ended().end, VcpuEnd::Stopped);
}
