use super::*;
use crate::{Clock, Console, Export, Host, Surroundings};
use memory_core::{Memory, Plug, RegionRef, Size};
use memory_dispatch::{AddressSpace, MemorySystem, SpaceConfig, VcpuHandle};
use registers::{BANK_HIGH, BANK_LOW, CONTROL, ID, ID_VALUE};

const REGS: u64 = 0xe200_0000;
const VRAM: u64 = 0xe100_0000;
const ATTRS: TxAttrs = TxAttrs::UNSPECIFIED;

/// The part of the reference's PC that the controller has to do with.
struct Pc {
    vcpu: VcpuHandle,
    space: Arc<AddressSpace>,
    system: MemorySystem,
    device: Arc<PcMemoryController>,
    plug: Option<Plug<PcMemoryController>>,
    exports: Vec<Export>,
    _regions: Vec<Region>,
}

fn host() -> Host {
    Host::new(Clock::stepped(), Console::new(std::io::sink()))
}

fn realize(
    memory: &Memory,
    space: &Arc<AddressSpace>,
    device: &Arc<PcMemoryController>,
    pci: &RegionRef,
) -> Result<(Plug<PcMemoryController>, Vec<Export>), DeviceError> {
    let weak = Arc::downgrade(device);
    let owner = memory.owner("/machine/controller", weak);
    let find = |name: &str| (name == "pci").then(|| pci.clone());
    let around =
        Surroundings { host: &host(), dma: space, requester: 0, region: &find, buses: Default::default() };
    let mut ctx = Realize::new(memory, owner.clone(), around);
    device.clone().realize(&mut ctx)?;
    Ok((memory.plug(&owner, device.clone()), ctx.finish().exports))
}

fn pc(properties: &str) -> Pc {
    try_pc(properties).unwrap()
}

fn try_pc(properties: &str) -> Result<Pc, DeviceError> {
    let system = MemorySystem::new();
    let memory = system.memory();
    let root = memory.container("system", Size::FULL).build()?;
    let low = memory.ram("lomem", RamBlock::anonymous(0x10_0000u64)?).build()?;
    root.map(0, &low)?;
    let pci = memory.container("pci", 1u64 << 32).build()?;
    let hole = memory.alias("pci-hole", &pci, 0xe000_0000, 0x2000_0000u64).build()?;
    root.map(0xe000_0000, &hole)?;
    let space = system.address_space("memory", &root, SpaceConfig::default())?;
    let device: Arc<PcMemoryController> = Arc::new(serde_json::from_str(properties).unwrap());
    let (plug, exports) = realize(memory, &space, &device, &pci)?;
    let find = |name: &str| exports.iter().find(|export| export.name == name).unwrap().region.clone();
    root.map_overlap(WINDOW, &find("window"), 1)?;
    pci.map(WINDOW, &find("vga-area"))?;
    pci.map_overlap(VRAM, &find("vram"), 0)?;
    pci.map_overlap(REGS, &find("regs"), 0)?;
    let vcpu = space.handle(|| ());
    let _regions = vec![root, low, pci, hole];
    Ok(Pc { vcpu, space, system, device, plug: Some(plug), exports, _regions })
}

impl Pc {
    fn set(&mut self, register: u64, value: u64) {
        self.vcpu.store(REGS + register, Width::W4, value, ATTRS).unwrap();
    }

    fn get(&mut self, register: u64) -> u64 {
        self.vcpu.load(REGS + register, Width::W4, ATTRS).unwrap()
    }

    fn byte(&mut self, address: u64) -> u64 {
        self.vcpu.load(address, Width::W1, ATTRS).unwrap()
    }

    /// Numbers every bank of video memory by its first byte, and the RAM below the window by 0xaa.
    fn number(&mut self) {
        for bank in 0..8 {
            self.vcpu.store(VRAM + bank * BANK_SIZE, Width::W1, 0x10 + bank, ATTRS).unwrap();
        }
        self.set(CONTROL, 0);
        for at in [WINDOW, WINDOW + BANK_SIZE] {
            self.vcpu.store(at, Width::W1, 0xaa, ATTRS).unwrap();
        }
        self.set(CONTROL, 1);
    }
}

#[test]
fn the_window_opens_on_two_banks_and_closes_on_the_ram_below() {
    let mut pc = pc("{}");
    pc.number();
    assert_eq!(pc.get(ID), u64::from(ID_VALUE));
    assert_eq!((pc.byte(WINDOW), pc.byte(WINDOW + BANK_SIZE)), (0x12, 0x14));
    // what the two banks leave of the area is a hole of the PCI bus, so the RAM shows through
    assert_eq!(pc.byte(WINDOW + 2 * BANK_SIZE), 0);
    pc.set(CONTROL, 0xffff_fffe);
    assert_eq!((pc.byte(WINDOW), pc.byte(WINDOW + BANK_SIZE), pc.get(CONTROL)), (0xaa, 0xaa, 0));
    pc.set(CONTROL, 0xffff_ffff);
    assert_eq!((pc.byte(WINDOW), pc.get(CONTROL)), (0x12, 1));
}

#[test]
fn banks_switch_from_inside_the_write() {
    let mut pc = pc("{}");
    pc.number();
    pc.set(BANK_LOW, 7);
    pc.set(BANK_HIGH, 0);
    assert_eq!((pc.byte(WINDOW), pc.byte(WINDOW + BANK_SIZE)), (0x17, 0x10));
    pc.vcpu.store(WINDOW + 5, Width::W1, 0x55, ATTRS).unwrap();
    assert_eq!(pc.byte(VRAM + 7 * BANK_SIZE + 5), 0x55);
}

#[test]
fn a_bank_beyond_the_last_wraps() {
    let mut pc = pc(r#"{ "vram-size": 262144 }"#);
    pc.number();
    pc.set(BANK_LOW, 0x1_0008 + 3);
    assert_eq!((pc.get(BANK_LOW), pc.byte(WINDOW)), (3, 0x13));
    pc.set(BANK_HIGH, 0xffff_ffff);
    assert_eq!((pc.get(BANK_HIGH), pc.byte(WINDOW + BANK_SIZE)), (7, 0x17));
}

#[test]
fn only_whole_registers_are_accessed() {
    let mut pc = pc("{}");
    let refused = Err(BusFault::DECODE);
    assert_eq!(pc.vcpu.store(REGS + CONTROL, Width::W1, 0, ATTRS), refused);
    assert_eq!(pc.vcpu.store(REGS + CONTROL + 2, Width::W4, 0, ATTRS), refused);
    assert_eq!(pc.vcpu.load(REGS, Width::W8, ATTRS), Err(BusFault::DECODE));
    assert_eq!((pc.get(CONTROL), pc.get(0x10), pc.get(0xfffc)), (1, 0, 0));
}

#[test]
fn reset_puts_the_map_back() {
    let mut pc = pc("{}");
    pc.number();
    pc.set(BANK_LOW, 7);
    pc.set(CONTROL, 0);
    pc.device.reset(ResetType::Cold);
    assert_eq!((pc.byte(WINDOW), pc.get(BANK_LOW), pc.get(CONTROL)), (0x12, 2, 1));
}

#[test]
fn a_saved_controller_goes_on_where_it_was() {
    let mut first = pc("{}");
    first.set(BANK_HIGH, 6);
    first.set(CONTROL, 0);
    let saved = serde_json::to_string(&*first.device).unwrap();
    let mut second = pc(&saved);
    assert_eq!((second.get(BANK_HIGH), second.get(CONTROL)), (6, 0));
    second.number();
    assert_eq!(second.byte(WINDOW + BANK_SIZE), 0x16);
    assert_eq!(
        serde_json::to_string(&*second.device).unwrap(),
        saved.replace("\"control\":0", "\"control\":1")
    );
}

#[test]
fn registers_in_a_file_are_masked() {
    let mut pc = pc(r#"{ "vram-size": 65536, "state": { "control": 4294967295, "bank-low": 4294967295 } }"#);
    assert_eq!((pc.get(CONTROL), pc.get(BANK_LOW), pc.get(BANK_HIGH)), (1, 1, 0));
}

#[test]
fn impossible_sizes_are_refused() {
    for size in [0u64, 1, 0x8000, 0x1_8000, 1 << 31, u64::MAX] {
        let error = try_pc(&format!(r#"{{ "vram-size": {size} }}"#)).err().expect("refused");
        assert!(matches!(error, DeviceError::Property { property: "vram-size", .. }), "{error}");
    }
    let error = try_pc(r#"{ "pci": "isa" }"#).err().expect("refused").to_string();
    assert!(error.contains("`pci`") && error.contains("`isa`"), "{error}");
}

#[test]
fn unplugging_takes_everything_away_and_drops_the_device_once() {
    let mut pc = pc("{}");
    pc.number();
    let weak = Arc::downgrade(&pc.device);
    drop(pc.plug.take());
    assert_eq!(pc.byte(WINDOW), 0xaa);
    assert_eq!(pc.vcpu.load(REGS, Width::W4, ATTRS), Err(BusFault::DECODE));
    assert_eq!(pc.vcpu.load(VRAM, Width::W4, ATTRS), Err(BusFault::DECODE));
    let Pc { device, exports, system, mut vcpu, space, _regions, .. } = pc;
    drop((device, exports));
    vcpu.park();
    system.reclaim();
    assert_eq!(weak.strong_count(), 0);
    assert_eq!(space.with_view(|view| view.len()), 1);
}
