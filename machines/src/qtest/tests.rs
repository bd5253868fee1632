use super::*;
use crate::file::MachineSpec;
use crate::runner::Runner;
use crate::sync::Mutex;
use devices::{Clock, Console, Host, PowerRequest};
use std::io::Cursor;

/// RAM at the bottom, ROM above, a serial port with its line to a PLIC and a register that ends the machine.
const BOARD: &str = r#"
    [machine]
    name = "board"
    [[space]]
    name = "memory"
    root = "system"
    [[space]]
    name = "ports"
    root = "io"
    unassigned = "all-ones"
    [[region]]
    name = "system"
    kind = "container"
    size = "16E"
    [[region]]
    name = "io"
    kind = "container"
    size = "64K"
    [[region]]
    name = "ram"
    kind = "ram"
    size = "1M"
    into = "system"
    at = 0
    [[region]]
    name = "rom"
    kind = "rom"
    size = "4K"
    into = "system"
    at = "1M"
    [[device]]
    type = "uart16550"
    name = "uart"
    backend = "none"
    wire = { irq = "plic:10" }
    [[region]]
    name = "com1"
    kind = "alias"
    target = "uart.regs"
    size = 8
    into = "io"
    at = "0x3f8"
    [[device]]
    type = "riscv-aclint-mtimer"
    name = "mtimer"
    at = "0x2004000"
    [[device]]
    type = "riscv-plic"
    name = "plic"
    at = "0xc000000"
    [[device]]
    type = "sifive-test"
    name = "finisher"
    at = "0x200000"
"#;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn machine() -> Arc<Machine> {
    let spec = MachineSpec::from_toml("board.toml", BOARD).unwrap();
    Arc::new(Machine::build(spec, Host::new(Clock::stepped(), Console::new(io::sink()))).unwrap())
}

fn said_to(qtest: &mut Qtest, commands: &[u8]) -> String {
    let sink = Sink::default();
    let reader = Box::new(Cursor::new(commands.to_vec()));
    qtest.serve(Connection { reader, writer: Box::new(sink.clone()) });
    sink.text()
}

/// What a new machine answers.
fn said(commands: &str) -> String {
    said_to(&mut Qtest::new(&machine(), None), commands.as_bytes())
}

/// Commands with their replies, on a new machine.
fn exchange(lines: &[(&str, &str)]) {
    let commands: String = lines.iter().map(|(command, _)| format!("{command}\n")).collect();
    let replies: String = lines.iter().map(|(_, reply)| format!("{reply}\n")).collect();
    assert_eq!(said(&commands), replies);
}

#[test]
fn memory_is_read_and_written_in_all_widths() {
    exchange(&[
        ("endianness", "OK little"),
        ("writeb 0x1000 0x1ab", "OK"),
        ("readb 0x1000", "OK 0x00000000000000ab"),
        ("writew 0x1000 0x1234", "OK"),
        ("writel 0x1002 0x89abcdef", "OK"),
        ("readq 4096", "OK 0x000089abcdef1234"),
        ("writeq 0x1001 0x1122334455667788", "OK"),
        ("readl 0x1001", "OK 0x0000000055667788"),
        ("readw 010000", "OK 0x0000000000008834"),
        ("readq 0x8000000000000000", "OK 0x0000000000000000"),
        ("writeb 0x100000 1", "OK"),
        ("readb 0x100000", "OK 0x0000000000000000"),
    ]);
}

#[test]
fn blocks_go_in_hexadecimal_in_base64_and_by_a_byte() {
    exchange(&[
        ("write 0x1000 4 0x01aBcd", "OK"),
        ("read 0x1000 5", "OK 0x01abcd0000"),
        ("write 0x1000 2 0xffffffff", "OK"),
        ("read 0x1000 4", "OK 0xffffcd00"),
        ("write 0x1000 2 0x123", "OK"),
        ("read 0x1000 2", "OK 0x1200"),
        ("b64write 0x2000 5 aGVsbG8=", "OK"),
        ("read 0x2000 6", "OK 0x68656c6c6f00"),
        ("b64read 0x2000 5", "OK aGVsbG8="),
        ("b64write 0x2000 2 Y2NjYw==", "OK"),
        ("b64read 0x2000 4", "OK Y2NsbA=="),
        ("memset 0x3000 3 0x1a5", "OK"),
        ("read 0x2fff 5", "OK 0x00a5a5a500"),
        ("memset 0x3000 0 0xff", "OK"),
        ("readb 0x3000", "OK 0x00000000000000a5"),
    ]);
}

#[test]
fn blocks_of_many_pieces_arrive_whole() {
    let len = 3 * 16384 + 5;
    let bytes: Vec<u8> = (0..len).map(|at: usize| (at % 251) as u8).collect();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let commands =
        format!("write 0x1001 {len} 0x{hex}\nread 0x1001 {len}\nb64read 0x1001 {len}\nreadb 0x1001\n");
    let replies = said(&commands);
    let mut lines = replies.lines();
    assert_eq!(lines.next(), Some("OK"));
    assert!(lines.next().unwrap() == format!("OK 0x{hex}"));
    let text = lines.next().unwrap().strip_prefix("OK ").unwrap();
    let decode = base64::Engine::decode;
    assert!(decode(&base64::engine::general_purpose::STANDARD, text).unwrap() == bytes);
    assert_eq!(lines.collect::<Vec<_>>(), ["OK 0x0000000000000000"]);
}

#[test]
fn ports_have_a_space_of_their_own_and_read_all_ones_where_nothing_is() {
    exchange(&[
        ("inb 0x3fd", "OK 0x0060"),
        ("outb 0x3ff 0x5a", "OK"),
        ("inb 0x3ff", "OK 0x005a"),
        ("inb 0x80", "OK 0x00ff"),
        ("inw 0x80", "OK 0xffff"),
        ("inl 0x80", "OK 0xffffffff"),
        ("outw 0x80 1", "OK"),
        ("outl 0x80 1", "OK"),
        ("inb 0x10000", "FAIL 0x10000 is no port"),
    ]);
}

#[test]
fn time_is_moved_by_commands_only_from_timer_to_timer() {
    // a tick of the timer takes 100 ns, and it compares with what is written at 0x2004000
    exchange(&[
        ("irq_intercept_out mtimer", "OK"),
        ("writeq 0x2004000 10000", "OK"),
        ("clock_step 999999", "OK 999999"),
        ("clock_step", "IRQ raise 0\nOK 1000000"),
        ("writeq 0x2004000 30000", "IRQ lower 0\nOK"),
        ("clock_step 500", "OK 1000500"),
        ("clock_step", "IRQ raise 0\nOK 3000000"),
        ("clock_step", "OK 3000000"),
        ("clock_set 2", "OK 3000000"),
        ("clock_step -5", "OK 3000000"),
        ("clock_set 4000000", "OK 4000000"),
        ("clock_step 0x10", "OK 4000016"),
        ("clock_step 0xffffffffffffffff", "OK 9223372036854775807"),
    ]);
}

#[test]
fn lines_of_one_device_are_watched_and_told_before_the_reply() {
    exchange(&[
        ("irq_intercept_in /machine/plic", "OK"),
        ("irq_intercept_in /machine/unattached/plic", "OK"),
        ("irq_intercept_out /machine/plic", "FAIL IRQ intercept already enabled"),
        ("irq_intercept_in uart", "FAIL IRQ intercept already enabled"),
        ("outb 0x3fc 8", "OK"),
        ("outb 0x3f9 2", "IRQ raise 10\nOK"),
        ("outb 0x3f9 0", "IRQ lower 10\nOK"),
        ("set_irq_in plic unnamed-gpio-in 5 1", "IRQ raise 5\nOK"),
        ("set_irq_in plic unnamed-gpio-in 5 1", "OK"),
        ("set_irq_in /machine/plic unnamed-gpio-in 5 0", "IRQ lower 5\nOK"),
    ]);
    exchange(&[
        ("irq_intercept_out uart16550 nothing", "FAIL No intercepts installed"),
        ("irq_intercept_out uart16550 sysbus-irq", "OK"),
        ("outb 0x3f9 2", "IRQ raise 0\nOK"),
    ]);
    exchange(&[
        ("irq_intercept_in nobody", "FAIL Unknown device"),
        ("irq_intercept_in /machine", "FAIL Unknown device"),
        ("irq_intercept_in /other/plic", "FAIL Unknown device"),
        ("irq_intercept_in uart", "FAIL No intercepts installed"),
        ("irq_intercept_in plic irq", "FAIL Interception of named in-GPIOs not yet supported"),
        ("set_irq_in nobody unnamed-gpio-in 0 1", "FAIL Unknown device"),
        ("set_irq_in plic unnamed-gpio-in 4096 1", "FAIL `plic` has no input unnamed-gpio-in 4096"),
        ("set_irq_in plic other 1 1", "FAIL `plic` has no input other 1"),
    ]);
}

#[test]
fn what_is_malformed_is_refused_and_the_machine_goes_on() {
    let long = format!("writeb 0 {}", "9".repeat(100));
    let cases = [
        ("", "Unknown command ''"),
        ("frobnicate 1", "Unknown command 'frobnicate'"),
        ("READB 0", "Unknown command 'READB'"),
        ("module_load net slirp", "there are no modules to load"),
        ("readb", "readb: no address"),
        ("readb zero", "readb: `zero` is no address"),
        ("readb 0 1", "readb: `1` is too much"),
        ("writeb 0", "writeb: no value"),
        (&long, "writeb: `9999999999999999999999999999999999999999999999999999999999999999...` is no value"),
        ("outb 1 0xg", "outb: `0xg` is no value"),
        ("read 0 0", "no bytes to read"),
        ("b64read 0 0", "no bytes to read"),
        ("read 0 0x40000000", "1073741824 bytes are more than the 268435456 that one command moves"),
        ("memset 0 -1 0", "18446744073709551615 bytes are more than the 268435456 that one command moves"),
        (
            "write 0 0xffffffffffffffff 0x00",
            "18446744073709551615 bytes are more than the 268435456 that one command moves",
        ),
        ("write 0 4", "write: no data"),
        ("write 0 4 1234", "the data are not of the form 0xHEX"),
        ("write 0 4 0x", "the data are not of the form 0xHEX"),
        ("write 0 4 0x12xy", "the data are not of the form 0xHEX"),
        ("b64write 0 4 !", "the data are not base64: Invalid symbol 33, offset 0."),
        ("clock_step soon", "`soon` is no time"),
        ("clock_set", "clock_set: no time"),
    ];
    let lines: Vec<(&str, String)> = cases.iter().map(|(line, why)| (*line, format!("FAIL {why}"))).collect();
    exchange(&lines.iter().map(|(line, reply)| (*line, reply.as_str())).collect::<Vec<_>>());
    let mut qtest = Qtest::new(&machine(), None);
    assert_eq!(said_to(&mut qtest, b"readb \xff\nreadb 0"), "FAIL the line is no text\n");
    assert_eq!(said_to(&mut qtest, b"readb 0\r\n"), "OK 0x0000000000000000\n");
}

#[test]
fn a_line_without_end_takes_bounded_memory_and_is_answered_when_it_ends() {
    struct Endless(usize);
    impl io::Read for Endless {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.0);
            self.0 -= count;
            bytes[..count].fill(b'0');
            if self.0 == 0 && count > 0 {
                bytes[count - 1] = b'\n';
            }
            Ok(count)
        }
    }
    let sink = Sink::default();
    let mut qtest = Qtest::new(&machine(), None);
    qtest.serve(Connection { reader: Box::new(Endless(3 * LONGEST)), writer: Box::new(sink.clone()) });
    assert_eq!(sink.text(), "FAIL a line has at most 67108864 bytes\n");
    let mut reader = BufReader::new(Endless(2 * LONGEST));
    let mut line = Vec::new();
    assert_eq!(read_line(&mut reader, &mut line).unwrap(), Line::TooLong);
    assert!(line.capacity() <= 2 * LONGEST, "{}", line.capacity());
}

#[test]
fn a_client_that_takes_no_replies_is_lost_and_the_next_one_served() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut qtest = Qtest::new(&machine(), None);
    let reader = Box::new(Cursor::new(b"writeb 0 1\nwriteb 1 2\n".to_vec()));
    qtest.serve(Connection { reader, writer: Box::new(Gone) });
    assert_eq!(said_to(&mut qtest, b"readw 0\n"), "OK 0x0000000000000201\n");
}

#[test]
fn what_the_guest_asks_of_the_machine_is_done_before_the_reply() {
    let machine = machine();
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let log = seen.clone();
    let watch = machine.lifecycle().watch(move |event| log.lock().unwrap().push(format!("{event:?}")));
    let runner = Runner::new(&machine);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut qtest = Qtest::new(&machine, None);
            let text = said_to(
                &mut qtest,
                b"outb 0x3ff 7\nwritel 0x200000 0x7777\ninb 0x3ff\nwritel 0x200000 0x5555\n",
            );
            assert_eq!(text, "OK\nOK\nOK 0x0000\nOK\n");
            assert_eq!(*seen.lock().unwrap(), ["Reset(GuestReset)", "Shutdown(GuestShutdown)"]);
        });
        runner.run_without_cpus().unwrap();
    });
    drop(watch);
    machine.host().power.request(PowerRequest::Reset);
}

#[test]
fn the_reply_to_the_command_that_ends_the_machine_is_waited_for() {
    struct Slow(Sink);
    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            (0..1000).for_each(|_| thread::yield_now());
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (machine, sink) = (machine(), Sink::default());
    let mut qtest = Qtest::new(&machine, None);
    let replies = Replies(qtest.out.clone());
    thread::scope(|scope| {
        let reader = Box::new(Cursor::new(b"writel 0x200000 0x5555\n".to_vec()));
        let connection = Connection { reader, writer: Box::new(Slow(sink.clone())) };
        scope.spawn(move || qtest.serve(connection));
        Runner::new(&machine).run_without_cpus().unwrap();
        replies.drain();
        assert_eq!(sink.text(), "OK\n");
    });
    replies.drain();
}

#[test]
fn commands_and_replies_are_logged_as_qemu_does() {
    let log = Sink::default();
    let mut qtest = Qtest::new(&machine(), Some(Box::new(log.clone())));
    said_to(&mut qtest, b"inb 0x80\nfoo\n");
    let log = log.text();
    let lines: Vec<(&str, &str)> = log.lines().filter_map(|line| line.split_once("] ")).collect();
    let said: Vec<&str> = lines.iter().map(|(_, said)| *said).collect();
    assert_eq!(said, ["OPENED", "inb 0x80", "OK 0x00ff", "foo", "FAIL Unknown command 'foo'", "CLOSED"]);
    assert!(lines[1].0.starts_with("[R +0.") && lines[2].0.starts_with("[S +0."), "{log}");
}
