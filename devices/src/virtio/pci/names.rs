//! QEMU's names: one for each device behind the transport, and for each with or without the legacy interface.

use crate::PlugInfo;

/// Options that are properties of the device behind the transport.
const DISK: &[(&str, &str)] = &[
    ("image", "backend.image"),
    ("size", "backend.size"),
    ("read-only", "backend.read-only"),
    ("serial", "backend.serial"),
    ("drive-name", "backend.name"),
];
const SERIAL: &[(&str, &str)] = &[("backend", "backend.backend")];

const BLK: &str = r#"{ "backend": { "type": "virtio-blk" } }"#;
const BLK_MODERN: &str = r#"{ "backend": { "type": "virtio-blk" }, "disable-legacy": true }"#;
const CONSOLE: &str = r#"{ "backend": { "type": "virtio-console" } }"#;
const CONSOLE_MODERN: &str = r#"{ "backend": { "type": "virtio-console" }, "disable-legacy": true }"#;
const RNG: &str = r#"{ "backend": { "type": "virtio-rng" } }"#;
const RNG_MODERN: &str = r#"{ "backend": { "type": "virtio-rng" }, "disable-legacy": true }"#;

const fn named(
    name: &'static str,
    preset: &'static str,
    options: &'static [(&'static str, &'static str)],
) -> PlugInfo {
    PlugInfo { name, tag: "virtio-pci", preset, ports: &[], memory: &[], options, wires: &[] }
}

inventory::submit! { named("virtio-blk-pci", BLK, DISK) }
inventory::submit! { named("virtio-blk-pci-transitional", BLK, DISK) }
inventory::submit! { named("virtio-blk-pci-non-transitional", BLK_MODERN, DISK) }
inventory::submit! { named("virtio-serial-pci", CONSOLE, SERIAL) }
inventory::submit! { named("virtio-serial-pci-transitional", CONSOLE, SERIAL) }
inventory::submit! { named("virtio-serial-pci-non-transitional", CONSOLE_MODERN, SERIAL) }
inventory::submit! { named("virtio-rng-pci", RNG, &[]) }
inventory::submit! { named("virtio-rng-pci-transitional", RNG, &[]) }
inventory::submit! { named("virtio-rng-pci-non-transitional", RNG_MODERN, &[]) }
