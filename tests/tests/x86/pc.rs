//! Guests on `pc` and `q35`.

use crate::firmware::{DEBUG, HANDLER, real_with_handler, request};
use crate::has_kvm;
use iced_x86::code_asm::*;
use machines::catalog;
use machines::runner::Stopped;
use tests::session;

/// Ticks that the guest halts for.
const TICKS: u32 = 3;

/// Firmware that halts until the timer has ticked, says so, and resets the machine.
fn ticks() -> Vec<u8> {
    let main = |a: &mut CodeAssembler| {
        a.cli()?;
        a.mov(sp, 0x7000)?;
        a.mov(word_ptr(0x2000), 0)?;
        // vector 0x20, to which the first PIC's input 0 leads, and no other
        a.mov(word_ptr(0x80), HANDLER)?;
        a.mov(word_ptr(0x82), 0xf000u32)?;
        for (port, value) in [(0x20u32, 0x11u32), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0xfe)] {
            a.mov(al, value)?;
            a.out(port, al)?;
        }
        // a hundred times in a second
        for (port, value) in [(0x43u32, 0x34u32), (0x40, 0x9c), (0x40, 0x2e)] {
            a.mov(al, value)?;
            a.out(port, al)?;
        }
        a.sti()?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.hlt()?;
        a.cmp(word_ptr(0x2000), TICKS)?;
        a.jb(again)?;
        a.cli()?;
        a.mov(dx, DEBUG)?;
        for byte in *b"ticked " {
            a.mov(al, u32::from(byte))?;
            a.out(dx, al)?;
        }
        a.mov(dx, 0xcf9)?;
        for value in [2u32, 6] {
            a.mov(al, value)?;
            a.out(dx, al)?;
        }
        a.hlt()
    };
    real_with_handler(main, |a| {
        a.inc(word_ptr(0x2000))?;
        a.mov(al, 0x20)?;
        a.out(0x20, al)?;
        a.iret()
    })
}

#[test]
fn a_timer_wakes_a_guest_that_halts_before_a_reset_and_after() {
    if !has_kvm("a_timer_wakes_a_guest_that_halts_before_a_reset_and_after") {
        return;
    }
    for machine in ["pc", "q35"] {
        let (request, _file) = request(&ticks());
        let stopped = session::run(catalog::load(machine).unwrap(), &request, |session| {
            for _ in 0..3 {
                session.expect("ticked ");
            }
            session.quit();
        });
        assert_eq!(stopped, Stopped::Quit);
    }
}
