use super::registers::*;
use super::*;
use crate::IrqLine;
use crate::testing::{Bench, Board};
use serde_json::json;

type Apic<'a> = Bench<'a, IoApic>;

const AT: u64 = 0xfec0_0000;

/// What local APICs were sent: address and data.
#[derive(Default)]
struct LocalApics {
    seen: Mutex<Vec<(u64, u64)>>,
}

impl LocalApics {
    fn read(&self, _: u64, _: Width, _: TxAttrs) -> Result<u64, BusFault> {
        Ok(0)
    }

    fn write(&self, offset: u64, _: Width, value: u64, _: TxAttrs) -> Result<(), BusFault> {
        self.seen.lock().unwrap().push((MESSAGES + offset, value));
        Ok(())
    }
}

/// A board with local APICs that note what they are sent.
struct Setup {
    board: Board,
    local: Arc<LocalApics>,
    _region: Region,
}

fn setup() -> Setup {
    let (board, local) = (Board::new(), Arc::<LocalApics>::default());
    let callbacks = Methods::new(&local, LocalApics::read, LocalApics::write);
    let region =
        board.memory().mmio("apic-msi", 0x10_0000u64, AccessRules::new(), callbacks).build().unwrap();
    board.root.map(MESSAGES, &region).unwrap();
    Setup { board, local, _region: region }
}

impl Setup {
    fn apic(&self) -> Apic<'_> {
        self.board.plug(json!({}), AT)
    }

    fn sent(&self) -> Vec<(u64, u64)> {
        self.board.host.clock.step(0);
        std::mem::take(&mut self.local.seen.lock().unwrap())
    }
}

impl Apic<'_> {
    fn get(&self, register: u8) -> u64 {
        self.store(IOREGSEL, Width::W4, register.into());
        self.load(IOWIN, Width::W4)
    }

    fn set(&self, register: u8, value: u64) {
        self.store(IOREGSEL, Width::W4, register.into());
        self.store(IOWIN, Width::W4, value);
    }

    fn entry(&self, pin: u8) -> u64 {
        self.get(IOREDTBL + 2 * pin) | (self.get(IOREDTBL + 2 * pin + 1) << 32)
    }

    fn set_entry(&self, pin: u8, entry: u64) {
        self.set(IOREDTBL + 2 * pin + 1, entry >> 32);
        self.set(IOREDTBL + 2 * pin, entry & 0xffff_ffff);
    }

    fn irq(&self, number: u32) -> IrqLine {
        self.input("irq", number)
    }
}

#[test]
fn identification_version_and_table_are_found() {
    let setup = setup();
    let apic = setup.apic();
    assert_eq!(apic.get(IOAPICVER), 0x0017_0020);
    apic.set(IOAPICID, 0xff00_0000);
    assert_eq!((apic.get(IOAPICID), apic.get(IOAPICARB)), (0x0f00_0000, 0x0f00_0000));
    assert_eq!(apic.load(IOREGSEL, Width::W4), 2);
    assert!((0..24).all(|pin| apic.entry(pin) == MASKED));
    apic.set_entry(23, u64::MAX);
    assert_eq!(apic.entry(23), !READ_ONLY);
    assert_eq!((apic.get(0x40), apic.get(0x03)), (0, 0), "there are no others");
    apic.store(IOREGSEL, Width::W1, 1);
    assert_eq!((apic.load(IOWIN, Width::W1), apic.load(IOWIN, Width::W2)), (0, 0), "only as a whole");
    apic.device.reset(ResetType::Warm);
    assert_eq!((apic.entry(23), apic.get(IOAPICID)), (MASKED, 0));
}

#[test]
fn an_edge_is_one_message_to_where_the_entry_says() {
    let setup = setup();
    let apic = setup.apic();
    apic.set_entry(4, 0x0300_0000_0000_0831);
    let line = apic.irq(4);
    line.set(true);
    assert_eq!(setup.sent(), [(0xfee0_3004, 0x0031)]);
    line.set(false);
    assert!(setup.sent().is_empty());
    apic.set_entry(4, 0x0100_0000_0000_0131);
    [true, false, true].into_iter().for_each(|level| line.set(level));
    assert_eq!(setup.sent(), [(0xfee0_1000, 0x0131)], "two that are not sent yet are one");
    assert_eq!(apic.entry(4) & REMOTE_IRR, 0);
}

#[test]
fn an_edge_on_a_masked_pin_is_lost_and_a_level_is_not() {
    let setup = setup();
    let apic = setup.apic();
    let (edge, level) = (apic.irq(5), apic.irq(6));
    apic.set_entry(5, MASKED | 0x35);
    apic.set_entry(6, MASKED | LEVEL | 0x36);
    edge.set(true);
    level.set(true);
    apic.set_entry(5, 0x35);
    assert!(setup.sent().is_empty());
    apic.set_entry(6, LEVEL | 0x36);
    assert_eq!(setup.sent(), [(0xfee0_0000, 0xc036)]);
    apic.set_entry(5, LEVEL | 0x35);
    assert_eq!(setup.sent(), [(0xfee0_0000, 0xc035)], "what was an edge is a level now");
}

#[test]
fn a_level_is_sent_again_when_it_was_ended_and_is_still_there() {
    let setup = setup();
    let apic = setup.apic();
    apic.set_entry(10, LEVEL | 0x51);
    let line = apic.irq(10);
    line.set(true);
    assert_eq!(setup.sent().len(), 1);
    assert_eq!(apic.entry(10) & REMOTE_IRR, REMOTE_IRR);
    line.set(false);
    line.set(true);
    assert!(setup.sent().is_empty(), "not ended");
    apic.store(EOI, Width::W4, 0x50);
    assert!(setup.sent().is_empty(), "another vector");
    apic.store(EOI, Width::W4, 0x51);
    assert_eq!((setup.sent().len(), apic.entry(10) & REMOTE_IRR), (1, REMOTE_IRR));
    line.set(false);
    apic.device.end_of_interrupt(0x51);
    assert_eq!((setup.sent().len(), apic.entry(10) & REMOTE_IRR), (0, 0));
    line.set(true);
    apic.set(IOREDTBL + 20, MASKED | 0x51);
    assert_eq!(apic.entry(10) & REMOTE_IRR, 0, "an edge has none");
}

#[test]
fn version_11_has_no_eoi_register() {
    let setup = setup();
    let apic: Apic<'_> = setup.board.plug(json!({ "version": 0x11 }), AT);
    assert_eq!(apic.get(IOAPICVER), 0x0017_0011);
    apic.set_entry(10, LEVEL | 0x51);
    apic.irq(10).set(true);
    apic.store(EOI, Width::W4, 0x51);
    assert_eq!(setup.sent().len(), 1);
    apic.device.end_of_interrupt(0x51);
    assert_eq!(setup.sent().len(), 1, "it is told by the processors");
    let error = setup.board.try_plug::<IoApic>(json!({ "version": 0x12 }), AT).err().unwrap();
    assert!(matches!(error, DeviceError::Property { property: "version", .. }), "{error}");
}

#[test]
fn a_pcs_timer_is_pin_2_and_polarity_is_only_remembered() {
    let setup = setup();
    let apic = setup.apic();
    apic.set_entry(2, 0x2030);
    assert!(setup.sent().is_empty());
    apic.irq(0).set(true);
    assert_eq!((setup.sent(), apic.entry(2)), (vec![(0xfee0_0000, 0x30)], 0x2030));
}

#[test]
fn messages_that_were_not_sent_are_part_of_a_snapshot() {
    let first = setup();
    let apic = first.apic();
    apic.set_entry(7, 0x0200_0000_0000_0077);
    apic.irq(7).set(true);
    let saved = apic.save();
    let second = setup();
    let apic: Apic<'_> = second.board.plug(saved.clone(), AT);
    assert_eq!(apic.save(), saved);
    assert_eq!(second.sent(), [(0xfee0_2000, 0x77)]);
}
