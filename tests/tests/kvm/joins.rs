//! No thread of a vCPU is left when its guest has ended, however that came.

use crate::board::{Board, CODE, Registers, Running};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use machines::kvm::{Start, VcpuEnd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use std::{fs, thread};

const DEVICE: u64 = 0x20_0000;
/// The kernel takes a thread that was joined off its list a moment later.
const MOMENT: Duration = Duration::from_secs(20);

/// A guest that writes a register first, which tells which thread it runs on.
fn start(
    board: &mut Board,
    code: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
) -> (Running, PathBuf) {
    let (tell, told): (_, Receiver<PathBuf>) = channel();
    let tells = move |_, _, _| _ = tell.send(fs::read_link("/proc/thread-self").unwrap());
    board.registers(DEVICE, &Registers::new(|_, _| 0, tells));
    board.load(32, |a| {
        a.mov(dword_ptr(DEVICE), 1)?;
        code(a)
    });
    let running = board.start(false, &Start::Flat { eip: CODE as u32, esp: 0x7000 });
    let thread = Path::new("/proc").join(told.recv().unwrap());
    (running, thread)
}

fn is_gone(thread: &Path) {
    let deadline = Instant::now() + MOMENT;
    while thread.exists() {
        assert!(Instant::now() < deadline, "{} stays", thread.display());
        thread::yield_now();
    }
}

fn runs_on(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.jmp(again)
}

#[test]
fn no_thread_of_a_vcpu_stays_behind() {
    let board = || Board::new("no_thread_of_a_vcpu_stays_behind");
    if board().is_none() {
        return;
    }
    type Code = fn(&mut CodeAssembler) -> Result<(), IcedError>;
    let halts: Code = |a| a.hlt();
    let faults: Code = |a| {
        a.mov(dword_ptr(0x2000), 0)?;
        a.mov(dword_ptr(0x2004), 0)?;
        a.lidt(dword_ptr(0x2000))?;
        a.ud2()
    };
    let guests =
        [(runs_on as Code, VcpuEnd::Stopped), (halts, VcpuEnd::Stopped), (faults, VcpuEnd::Shutdown)];
    for (code, end) in guests {
        let mut first = board().unwrap();
        let (running, thread) = start(&mut first, code);
        if end == VcpuEnd::Stopped {
            assert_eq!(fs::read_to_string(thread.join("comm")).unwrap(), "vcpu 0\n");
        }
        drop(running);
        is_gone(&thread);
        // the machine stays, and so does what is known of its vCPU
        let mut second = board().unwrap();
        let (running, thread) = start(&mut second, code);
        if end == VcpuEnd::Stopped {
            running.vcpu.stop();
        }
        assert_eq!(running.vcpu.wait_ended().end, end);
        is_gone(&thread);
    }
    // one that is paused
    let mut board = board().unwrap();
    let (running, thread) = start(&mut board, runs_on);
    running.vcpu.pause();
    drop(running);
    is_gone(&thread);
}
