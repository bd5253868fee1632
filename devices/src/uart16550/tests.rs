use super::*;
use crate::testing::{Bench, Board};
use registers::{IER_DLM, LCR, LSR, MSR};
use serde_json::json;

const AT: u64 = 0x1000_0000;

type Uart<'a> = Bench<'a, Uart16550>;

fn uart(board: &Board) -> Uart<'_> {
    board.plug(json!({ "backend": "stdio" }), AT)
}

fn get(uart: &Uart<'_>, register: u8) -> u8 {
    u8::try_from(uart.load(register.into(), Width::W1)).unwrap()
}

fn set(uart: &Uart<'_>, register: u8, value: u8) {
    uart.store(register.into(), Width::W1, value.into());
}

fn iir(uart: &Uart<'_>) -> u8 {
    get(uart, IIR_FCR)
}

#[test]
fn output_goes_to_the_console_and_the_transmitter_is_always_empty() {
    let board = Board::new();
    let uart = uart(&board);
    for byte in b"hi\n" {
        assert_eq!(get(&uart, LSR), 0x60);
        set(&uart, RBR_THR_DLL, *byte);
    }
    // a wider access is one of the register at its start
    uart.store(0, Width::W4, 0x4142_4321);
    assert_eq!(board.take_output(), b"hi\n!");
    assert_eq!(get(&uart, IER_DLM), 0);
}

#[test]
fn the_divisor_hides_behind_dlab() {
    let board = Board::new();
    let uart = uart(&board);
    set(&uart, IER_DLM, 5);
    set(&uart, LCR, 0x83);
    set(&uart, RBR_THR_DLL, 0x34);
    set(&uart, IER_DLM, 0x12);
    assert_eq!((get(&uart, RBR_THR_DLL), get(&uart, IER_DLM)), (0x34, 0x12));
    assert_eq!(uart.save()["state"]["divisor"], 0x1234);
    set(&uart, LCR, 3);
    assert_eq!((get(&uart, IER_DLM), get(&uart, LCR)), (5, 3));
    assert_eq!(board.take_output(), b"");
}

#[test]
fn an_empty_transmitter_asks_when_enabled_and_after_each_byte_until_iir_is_read() {
    let board = Board::new();
    let uart = uart(&board);
    let levels = uart.watch("irq", 0);
    set(&uart, RBR_THR_DLL, b'a');
    assert!(levels.lock().unwrap().is_empty());
    set(&uart, IER_DLM, 2);
    assert_eq!(*levels.lock().unwrap(), [true]);
    assert_eq!((iir(&uart), iir(&uart)), (2, 1));
    assert_eq!(*levels.lock().unwrap(), [true, false]);
    // enabling what is enabled asks for nothing
    set(&uart, IER_DLM, 2);
    assert!(!uart.level("irq"));
    for _ in 0..3 {
        set(&uart, RBR_THR_DLL, b'b');
        assert!(uart.level("irq"));
        assert_eq!(iir(&uart), 2);
        assert!(!uart.level("irq"));
    }
    set(&uart, RBR_THR_DLL, b'c');
    set(&uart, IER_DLM, 0);
    assert!(!uart.level("irq"));
    assert_eq!(iir(&uart), 1);
}

#[test]
fn input_asks_while_there_is_some_and_comes_before_the_transmitter() {
    let board = Board::new();
    let uart = uart(&board);
    assert_eq!(board.host.console.feed(b"xy"), 2);
    assert_eq!(get(&uart, LSR), 0x61);
    assert!(!uart.level("irq"));
    set(&uart, IER_DLM, 3);
    assert_eq!((iir(&uart), iir(&uart)), (4, 4));
    assert_eq!(get(&uart, RBR_THR_DLL), b'x');
    assert_eq!(iir(&uart), 4);
    assert_eq!(get(&uart, RBR_THR_DLL), b'y');
    assert_eq!(get(&uart, LSR), 0x60);
    assert!(uart.level("irq"));
    assert_eq!((iir(&uart), iir(&uart)), (2, 1));
    assert!(!uart.level("irq"));
    assert_eq!(get(&uart, RBR_THR_DLL), 0);
    board.host.console.feed(b"z");
    assert!(uart.level("irq"));
}

#[test]
fn input_waits_in_the_back_end_until_there_is_room() {
    let board = Board::new();
    let uart = uart(&board);
    set(&uart, IIR_FCR, 0x87);
    set(&uart, IER_DLM, 1);
    let text: Vec<u8> = (1..=100).collect();
    assert_eq!(board.host.console.feed(&text), 100);
    assert_eq!(uart.save()["state"]["received"].as_array().unwrap().len(), 16);
    let mut got = Vec::new();
    while get(&uart, LSR) & 1 != 0 {
        let left = text.len() - got.len();
        // 8 bytes trigger; fewer are a timeout
        assert_eq!(iir(&uart), if left >= 8 { 0xc4 } else { 0xcc });
        got.push(get(&uart, RBR_THR_DLL));
    }
    assert!(got == text);
    assert_eq!(iir(&uart), 0xc1);
}

#[test]
fn clearing_the_receiver_loses_what_it_holds_and_no_more() {
    let board = Board::new();
    let uart = uart(&board);
    board.host.console.feed(b"ab");
    // without the enable bit the clear bit does not count
    set(&uart, IIR_FCR, 2);
    assert_eq!(get(&uart, RBR_THR_DLL), b'a');
    // enabling the FIFOs clears `b`; so does clearing them, with DLAB set as well
    set(&uart, IIR_FCR, 1);
    assert_eq!(get(&uart, LSR), 0x60);
    board.host.console.feed(b"cd");
    set(&uart, LCR, 0x80);
    set(&uart, IIR_FCR, 3);
    assert_eq!((get(&uart, LCR), get(&uart, LSR)), (0x80, 0x60));
    board.host.console.feed(b"e");
    set(&uart, LCR, 0);
    assert_eq!(get(&uart, RBR_THR_DLL), b'e');
}

#[test]
fn loopback_leads_output_and_modem_lines_back() {
    let board = Board::new();
    let uart = uart(&board);
    set(&uart, IER_DLM, 2);
    iir(&uart);
    set(&uart, MCR, 0xfa);
    assert_eq!((get(&uart, MCR), get(&uart, MSR) & 0xf0), (0x1a, 0x90));
    set(&uart, RBR_THR_DLL, 0x55);
    assert!(uart.level("irq"));
    board.host.console.feed(b"q");
    assert_eq!((get(&uart, LSR), get(&uart, RBR_THR_DLL), get(&uart, LSR)), (0x61, 0x55, 0x60));
    set(&uart, MCR, 0x0b);
    assert_eq!(get(&uart, RBR_THR_DLL), b'q');
    assert_eq!(board.take_output(), b"");
}

#[test]
fn a_restored_port_goes_on_where_it_was() {
    let board = Board::new();
    let first = uart(&board);
    set(&first, IIR_FCR, 0xc1);
    set(&first, MCR, 0x03);
    set(&first, SCR, 0x99);
    set(&first, IER_DLM, 3);
    board.host.console.feed(b"in");
    let saved = first.save();

    let again = Board::new();
    let second: Uart<'_> = again.plug(saved.clone(), AT);
    assert_eq!(second.save(), saved);
    assert!(second.level("irq"));
    assert_eq!((iir(&second), get(&second, RBR_THR_DLL)), (0xcc, b'i'));
    assert_eq!((get(&second, RBR_THR_DLL), iir(&second)), (b'n', 0xc2));

    second.device.reset(ResetType::Cold);
    assert!(!second.level("irq"));
    let reset = second.save();
    second.device.reset(ResetType::Warm);
    assert_eq!((second.save(), reset["state"]["scratch"].as_u64()), (reset, Some(0)));
}

#[test]
fn a_state_that_no_port_can_have_does_no_harm() {
    let board = Board::new();
    let received = vec![7; 10_000];
    let state =
        json!({ "interrupt-enable": 255, "fifo-control": 254, "modem-control": 239, "received": received });
    let uart: Uart<'_> = board.plug(json!({ "backend": "stdio", "state": state }), AT);
    assert_eq!((get(&uart, IER_DLM), get(&uart, MCR), iir(&uart)), (15, 15, 4));
    let mut count = 0;
    while get(&uart, LSR) & 1 != 0 {
        assert_eq!(get(&uart, RBR_THR_DLL), 7);
        count += 1;
    }
    assert!((1..=64).contains(&count), "{count}");
}

#[test]
fn registers_may_stand_apart_and_the_rest_reads_as_zero() {
    let board = Board::new();
    let uart: Uart<'_> = board.plug(json!({ "reg-shift": 2 }), AT);
    uart.store(7 << 2, Width::W4, 0xabcd);
    assert_eq!(uart.load(7 << 2, Width::W1), 0xcd);
    assert_eq!(uart.load(8 << 2, Width::W1), 0);
    uart.store(0xff, Width::W1, 1);
    let node = &uart.describe()[0];
    assert_eq!((node.name.as_str(), node.is_target), ("serial@10000000", true));
    assert!(node.properties.contains(&("reg-shift".into(), FdtValue::u32(2))));
    assert!(node.properties.contains(&("clock-frequency".into(), FdtValue::u32(3_686_400))));
    let error = board.try_plug::<Uart16550>(json!({ "reg-shift": 6 }), AT).err().unwrap();
    assert_eq!(error.to_string(), "property `reg-shift`: 6 is more than 5");
}

#[test]
fn input_from_another_thread_arrives_whole_and_in_order() {
    let board = Board::new();
    let uart = uart(&board);
    set(&uart, IIR_FCR, 1);
    let text: Vec<u8> = (0..50_000u32).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
    let mut got = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for piece in text.chunks(7) {
                assert_eq!(board.host.console.feed(piece), piece.len());
            }
        });
        while got.len() < text.len() {
            if get(&uart, LSR) & 1 != 0 {
                got.push(get(&uart, RBR_THR_DLL));
            } else {
                std::thread::yield_now();
            }
        }
    });
    assert!(got == text);
}
