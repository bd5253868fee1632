//! The interface on the ports of a PC.

use super::interface::Interface;
use super::items::{FwCfgFile, Items};
use super::pc::{E820Entry, Facts, NumaNode, Uuid};
use super::registers::{PORTS_DMA, PORTS_SELECTOR};
use super::state::State;
use crate::sync::{Arc, Mutex, OnceLock};
use crate::{
    Device, DeviceError, DeviceInfo, DmaPort, Host, Inspector, Property, RamLayout, Realize, ResetType,
};
use memory_core::{AccessRules, BusFault, Endian, Methods, Region, TxAttrs, Width};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// fw_cfg on ports: the region `ports` at 0x510, whose 16-bit writes select and whose bytes are data, and `dma` at
/// 0x514, big-endian. Files are sorted by name; one of the property `files` replaces what the machine has under its name.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FwCfgIo {
    #[serde(default)]
    uuid: Uuid,
    /// The machine's without this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ram_size: Option<u64>,
    /// Where the machine has it without this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    below_4g: Option<u64>,
    /// The machine's without this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cpus: Option<u16>,
    /// As many as there are without this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_cpus: Option<u16>,
    #[serde(default)]
    nographic: bool,
    #[serde(default)]
    boot_menu: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    splash_time: Option<u16>,
    #[serde(default = "default_reboot_timeout")]
    reboot_timeout: i32,
    #[serde(default)]
    boot_order: Vec<String>,
    #[serde(default)]
    numa: Vec<NumaNode>,
    #[serde(default)]
    e820: Vec<E820Entry>,
    #[serde(default)]
    files: Vec<FwCfgFile>,

    #[serde(skip)]
    wiring: OnceLock<Wiring>,

    /// Never held while memory is reached.
    #[serde(default)]
    state: Mutex<State>,
}

#[derive(Debug)]
struct Wiring {
    items: Items,
    dma: DmaPort,
    _regions: [Region; 2],
}

const fn default_reboot_timeout() -> i32 {
    -1
}

impl FwCfgIo {
    fn interface(&self) -> Option<Interface<'_>> {
        let Wiring { items, dma, .. } = self.wiring.get()?;
        Some(Interface { items, dma, state: &self.state })
    }

    fn facts(&self, host: &Host) -> Facts<'_> {
        let cpus = self.cpus.unwrap_or_else(|| u16::try_from(host.harts).unwrap_or(u16::MAX));
        let RamLayout { below_4g, above_4g } = host.ram();
        let (ram_size, below) = match self.ram_size {
            Some(size) => (size, size),
            None => (below_4g.saturating_add(above_4g), below_4g),
        };
        Facts {
            uuid: self.uuid,
            ram_size,
            below_4g: self.below_4g.unwrap_or(below),
            cpus,
            max_cpus: self.max_cpus.unwrap_or(cpus),
            nographic: self.nographic,
            boot_menu: self.boot_menu,
            splash_time: self.splash_time,
            reboot_timeout: self.reboot_timeout,
            boot_order: &self.boot_order,
            numa: &self.numa,
            e820: &self.e820,
        }
    }

    fn items(&self, ctx: &Realize<'_>) -> Result<Items, DeviceError> {
        let refuse = |property, reason| DeviceError::Property { property, reason };
        let host = ctx.host();
        let facts = self.facts(host);
        if facts.max_cpus < facts.cpus {
            let reason = format!("{} is less than the {} that there are", facts.max_cpus, facts.cpus);
            return Err(refuse("max-cpus", reason));
        }
        let mut items = Items::new(host.harts);
        facts.add_to(&mut items);
        let mut said = BTreeMap::new();
        for file in &self.files {
            if said.insert(file.name.as_str(), file.content(host)?).is_some() {
                return Err(refuse("files", format!("`{}` is there twice", file.name)));
            }
        }
        let mut files: BTreeMap<&str, Vec<u8>> = facts.files().into_iter().collect();
        files.append(&mut said);
        items.add_directory(files)?;
        Ok(items)
    }

    /// Both ports read as the data register.
    fn read(&self, _offset: u64, width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        Ok(self.interface().map_or(0, |interface| interface.read_data(width)))
    }

    fn write(&self, _offset: u64, width: Width, value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        match self.interface() {
            Some(interface) if width == Width::W2 => interface.select(value),
            // bytes were items' data once
            _ => {}
        }
        Ok(())
    }

    fn read_dma(&self, offset: u64, width: Width, _attrs: TxAttrs) -> Result<u64, BusFault> {
        Ok(Interface::read_dma(offset, width))
    }

    fn write_dma(&self, offset: u64, width: Width, value: u64, _attrs: TxAttrs) -> Result<(), BusFault> {
        if let Some(interface) = self.interface() {
            interface.write_dma(offset, width, value);
        }
        Ok(())
    }
}

#[typetag::serde(name = "fw-cfg-io")]
impl Device for FwCfgIo {
    fn realize(self: Arc<Self>, ctx: &mut Realize<'_>) -> Result<(), DeviceError> {
        let items = self.items(ctx)?;
        let ports = AccessRules::new().implements(Width::W1..=Width::W2);
        let ports = ports
            .accepts(|request| request.width == Width::W1 || request.write && request.width == Width::W2);
        let dma = AccessRules::new().valid(Width::W1..=Width::W8).implements(Width::W1..=Width::W8);
        let dma = dma.endian(Endian::Big).accepts(|request| !request.write || request.width >= Width::W4);
        // as QEMU's maps call them, whatever the device's name
        let (memory, owner) = (ctx.memory().clone(), ctx.owner().clone());
        let callbacks = Methods::new(&self, Self::read, Self::write);
        let ports = memory.mmio("fwcfg", PORTS_SELECTOR, ports, callbacks).owner(&owner).build()?;
        let callbacks = Methods::new(&self, Self::read_dma, Self::write_dma);
        let dma = memory.mmio("fwcfg.dma", PORTS_DMA, dma, callbacks).owner(&owner).build()?;
        ctx.export("ports", &ports);
        ctx.export("dma", &dma);
        let _ = self.wiring.set(Wiring { items, dma: ctx.dma(), _regions: [ports, dma] });
        Ok(())
    }

    fn reset(&self, _kind: ResetType) {
        if let Some(interface) = self.interface() {
            interface.reset();
        }
    }

    fn inspect(&self, out: &mut Inspector) {
        if let Some(interface) = self.interface() {
            interface.inspect(out);
        }
    }
}

const fn optional(
    name: &'static str,
    kind: &'static str,
    default: &'static str,
    about: &'static str,
) -> Property {
    Property { name, kind, default: Some(default), about }
}

inventory::submit! {
    DeviceInfo {
        tag: "fw-cfg-io",
        about: "QEMU's firmware configuration interface on ports: numbers and named files for a PC's firmware, with DMA",
        properties: &[
            optional("uuid", "uuid", "\"00000000-0000-0000-0000-000000000000\"", "the machine's"),
            optional("ram-size", "size", "the machine's", "bytes of RAM"),
            optional("below-4g", "size", "the machine's", "bytes of it below 4 GiB; the others begin there"),
            optional("cpus", "u16", "the machine's", "CPUs that there are"),
            optional("max-cpus", "u16", "`cpus`", "CPUs that there may be"),
            optional("nographic", "bool", "false", "whether the machine is used without a display"),
            optional("boot-menu", "bool", "false", "whether firmware offers a menu"),
            optional("splash-time", "u16", "none", "milliseconds that the menu waits: the file `etc/boot-menu-wait`"),
            optional("reboot-timeout", "i32", "-1", "milliseconds until firmware with nothing to boot resets, or -1: the file `etc/boot-fail-wait`"),
            optional("boot-order", "[path of a device]", "[]", "what to boot first: the file `bootorder`"),
            optional("numa", "[{ cpus = [u16], memory = size }]", "[]", "the nodes of CPUs and memory"),
            optional(
                "e820",
                "[{ start = u64, size = u64, kind = \"ram\" | \"reserved\" | \"acpi\" | \"nvs\" | \"unusable\" }]",
                "[]",
                "what the map in the file `etc/e820` has but RAM",
            ),
            optional(
                "files",
                "[{ name = \"opt/...\", file = path } or { name = \"opt/...\", text = \"...\" }]",
                "[]",
                "more files of the directory, or others instead of the machine's (`bios-geometry`)",
            ),
        ],
        example: "{}",
    }
}
