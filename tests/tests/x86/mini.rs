//! Guests on `x86-mini`.

use crate::firmware::{COM1, DEBUG, EXIT, HIGH, LOW, MARK, MARK_VALUE, flat, real, request};
use crate::has_kvm;
use devices::{Clock, Console, Host};
use iced_x86::code_asm::*;
use machines::accel::Accel;
use machines::boot::{BootPlan, BootRequest};
use machines::catalog;
use machines::machine::Machine;
use machines::runner::{Runner, Stopped};
use tests::session::{self, Session};

fn run(image: &[u8], script: impl FnOnce(&Session) + Send) -> Stopped {
    let (request, _file) = request(image);
    session::run(catalog::load("x86-mini").unwrap(), &request, script)
}

/// The registers of the test device.
const TEST: u32 = 0xd000_0000;

#[test]
fn firmware_runs_from_the_reset_vector_and_talks_on_the_serial_port() {
    if !has_kvm("firmware_runs_from_the_reset_vector_and_talks_on_the_serial_port") {
        return;
    }
    let guest = real(|a| {
        let (mut say, mut wait, mut over) = (a.create_label(), a.create_label(), a.create_label());
        a.mov(dx, COM1)?;
        for byte in *b"who? " {
            a.mov(al, u32::from(byte))?;
            a.out(dx, al)?;
        }
        // echoes until the end of the line
        a.set_label(&mut wait)?;
        a.mov(dx, COM1 + 5)?;
        a.in_(al, dx)?;
        a.test(al, 1)?;
        a.je(wait)?;
        a.mov(dx, COM1)?;
        a.in_(al, dx)?;
        a.cmp(al, u32::from(b'\n'))?;
        a.je(over)?;
        a.set_label(&mut say)?;
        a.out(dx, al)?;
        a.jmp(wait)?;
        a.set_label(&mut over)?;
        a.mov(al, 20)?;
        a.out(EXIT, al)?;
        a.hlt()
    });
    let stopped = run(&guest, |session| {
        session.expect("who? ");
        session.send("flatland");
        session.expect("flatland");
        session.send("\n");
    });
    assert_eq!(stopped, Stopped::PoweredOff { code: 41 });
}

#[test]
fn firmware_is_rom_below_4_gib_and_below_1_mib_and_lies_over_ram() {
    if !has_kvm("firmware_is_rom_below_4_gib_and_below_1_mib_and_lies_over_ram") {
        return;
    }
    let guest = flat(|a| {
        let mut failed = a.create_label();
        for place in [LOW + MARK, HIGH + MARK] {
            // what is written is lost, and the next read sees the same
            a.mov(dword_ptr(place), 0)?;
            a.cmp(dword_ptr(place), MARK_VALUE as i32)?;
            a.jne(failed)?;
        }
        // RAM around it, up to its end and no further
        for place in [0xd_fffcu32, 0x10_0000, 0x7ff_fffc] {
            a.mov(dword_ptr(place), 0x1234_5678)?;
            a.cmp(dword_ptr(place), 0x1234_5678)?;
            a.jne(failed)?;
        }
        a.mov(dword_ptr(0x800_0000), 1)?;
        a.cmp(dword_ptr(0x800_0000), 0)?;
        a.jne(failed)?;
        a.mov(eax, 1)?;
        a.out(EXIT, eax)?;
        a.set_label(&mut failed)?;
        a.mov(eax, 2)?;
        a.out(EXIT, eax)?;
        a.hlt()
    });
    assert_eq!(run(&guest, |_| ()), Stopped::PoweredOff { code: 3 });
}

#[test]
fn the_clocks_ram_keeps_what_a_guest_writes_and_its_battery_is_good() {
    if !has_kvm("the_clocks_ram_keeps_what_a_guest_writes_and_its_battery_is_good") {
        return;
    }
    let guest = real(|a| {
        let mut failed = a.create_label();
        // a place of the firmware's, written, and read after another
        for (register, value) in [(0x5fu32, 0x5au32), (0x60, 0xc3)] {
            a.mov(al, register)?;
            a.out(0x70, al)?;
            a.mov(al, value)?;
            a.out(0x71, al)?;
        }
        // register D: valid RAM and time
        for (register, value) in [(0x5fu32, 0x5au32), (0x60, 0xc3), (0x0d, 0x80)] {
            a.mov(al, register)?;
            a.out(0x70, al)?;
            a.in_(al, 0x71)?;
            a.cmp(al, value as i32)?;
            a.jne(failed)?;
        }
        a.mov(al, 1)?;
        a.out(EXIT, al)?;
        a.hlt()?;
        a.set_label(&mut failed)?;
        a.mov(al, 2)?;
        a.out(EXIT, al)?;
        a.hlt()
    });
    assert_eq!(run(&guest, |_| ()), Stopped::PoweredOff { code: 3 });
}

#[test]
fn the_test_device_tells_signals_from_callbacks_and_queued_writes_arrive() {
    if !has_kvm("the_test_device_tells_signals_from_callbacks_and_queued_writes_arrive") {
        return;
    }
    let guest = flat(|a| {
        // two signals, one by value, and a callback by another value
        a.mov(dword_ptr(TEST), 1)?;
        a.mov(dword_ptr(TEST), 2)?;
        a.mov(dword_ptr(TEST + 4), 0xcafe)?;
        a.mov(dword_ptr(TEST + 4), 0xbeef)?;
        let mut again = a.create_label();
        a.mov(ecx, 5)?;
        a.set_label(&mut again)?;
        a.mov(dword_ptr(TEST + 8), ecx)?;
        a.dec(ecx)?;
        a.jne(again)?;
        // callbacks, signals, the last value
        a.mov(eax, dword_ptr(TEST + 0x10))?;
        a.shl(eax, 4)?;
        a.or(eax, dword_ptr(TEST + 0x14))?;
        a.cmp(dword_ptr(TEST + 0x18), 1)?;
        let mut good = a.create_label();
        a.je(good)?;
        a.xor(eax, eax)?;
        a.set_label(&mut good)?;
        a.out(EXIT, al)?;
        a.hlt()
    });
    assert_eq!(run(&guest, |_| ()), Stopped::PoweredOff { code: 0x63 << 1 | 1 });
}

#[test]
fn a_triple_fault_and_a_jump_into_a_hole_end_the_run_with_a_report() {
    if !has_kvm("a_triple_fault_and_a_jump_into_a_hole_end_the_run_with_a_report") {
        return;
    }
    let faults = flat(|a| {
        a.mov(al, u32::from(b'!'))?;
        a.mov(dx, DEBUG)?;
        a.out(dx, al)?;
        a.mov(dword_ptr(0x2000), 0)?;
        a.mov(dword_ptr(0x2004), 0)?;
        a.lidt(dword_ptr(0x2000))?;
        a.ud2()
    });
    let jumps = flat(|a| {
        a.mov(al, u32::from(b'!'))?;
        a.mov(dx, DEBUG)?;
        a.out(dx, al)?;
        a.mov(eax, 0xc000_0000u32)?;
        a.jmp(eax)
    });
    for (guest, why) in [(faults, "a triple fault"), (jumps, "")] {
        let stopped = run(&guest, |session| _ = session.expect("!"));
        let Stopped::GuestFailed { report } = stopped else { panic!("{stopped:?}") };
        assert!(report.starts_with(why) && report.contains("rip="), "{report}");
        assert!(report.contains("port 0x402 write of 1: 0x21"), "{report}");
    }
}

#[test]
fn a_machine_without_an_accelerator_has_its_devices_and_runs_nothing() {
    let (request, _file) = request(&real(|a| {
        a.mov(al, 0)?;
        a.out(EXIT, al)
    }));
    let host = Host::new(Clock::real(), Console::new(std::io::sink()));
    let machine = Machine::build(catalog::load("x86-mini").unwrap(), host).unwrap();
    let plan = BootPlan::without_cpu(&machine, &request).unwrap();
    let runner = Runner::on(&machine, Accel::None);
    let control = runner.control();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| runner.run(&plan).unwrap());
        // nobody but this thread reaches the exit port
        let ports = machine.space("ports").unwrap();
        ports.write(EXIT.into(), &[7], Default::default()).unwrap();
        assert_eq!(running.join().unwrap(), Stopped::PoweredOff { code: 15 });
    });
    let mut firmware = [0];
    machine.cpu_space().unwrap().read((HIGH | 0xfff0).into(), &mut firmware, Default::default()).unwrap();
    assert_eq!(firmware, [0xea]);
    control.quit();
    let nothing = BootPlan::without_cpu(&machine, &BootRequest::default()).unwrap();
    assert_eq!(runner.run(&nothing).unwrap(), Stopped::Quit);
}

#[test]
fn a_reset_starts_the_processor_and_the_firmware_anew_and_leaves_memory() {
    if !has_kvm("a_reset_starts_the_processor_and_the_firmware_anew_and_leaves_memory") {
        return;
    }
    // counts its starts in RAM, and ends at the third
    let guest = flat(|a| {
        let mut over = a.create_label();
        a.inc(dword_ptr(0x3000))?;
        a.mov(eax, dword_ptr(0x3000))?;
        a.mov(dx, DEBUG)?;
        a.add(al, i32::from(b'0'))?;
        a.out(dx, al)?;
        a.cmp(al, i32::from(b'3'))?;
        a.je(over)?;
        a.mov(al, 1)?;
        a.out(0x92, al)?;
        let mut wait = a.create_label();
        a.set_label(&mut wait)?;
        a.jmp(wait)?;
        a.set_label(&mut over)?;
        a.mov(al, 5)?;
        a.out(EXIT, al)?;
        a.hlt()
    });
    let stopped = run(&guest, |session| _ = session.expect("123"));
    assert_eq!(stopped, Stopped::PoweredOff { code: 11 });
}
