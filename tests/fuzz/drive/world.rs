//! The world: a network of each mode, a profile of each kind.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::LazyLock;

use reveille::boot::Architecture;
use reveille::clock::Millis;
use reveille::script::BootKey;
use reveille::snapshot::{HttpsDoor, Settings, Snapshot, compile};
use reveille::standalone::read_text;
use reveille::timeline::Introductions;

/// Our address.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// When everything happens.
pub(super) const START: Millis = Millis::from_secs(1_760_000_000);

const WORLD: &str = r#"
{apiVersion: reveille.dev/v1alpha1, kind: Subnet, metadata: {name: lab}, spec: {mode: Server, cidr: 192.0.2.0/28, interface: eth0,
  pools: [{start: 192.0.2.1, end: 192.0.2.14}], routers: [192.0.2.2], dns: {servers: [192.0.2.3], search: [example.net]}, ntp: [192.0.2.4],
  routes: [{to: 10.9.0.0/16, via: 192.0.2.2}], hostnames: Generate, leaseQueries: [{start: 192.0.2.9}],
  classes: [{name: phones, match: {vendorClass: phone}, pools: [{start: 192.0.2.12, end: 192.0.2.13}], profileRef: {name: menu}}],
  ipv6: {cidr: "2001:db8::/64", pools: [{start: "2001:db8::1", end: "2001:db8::8"}], rapidCommit: true, preference: 9,
    dns: {servers: ["2001:db8::3"], search: [example.net]}}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Subnet, metadata: {name: far}, spec: {mode: Server, cidr: 10.1.0.0/29, relays: [{start: 10.1.0.1}],
  pools: [{start: 10.1.0.2, end: 10.1.0.6}], authoritative: false, identity: ClientId,
  ipv6: {cidr: "2001:db8:1::/64", pools: [{start: "2001:db8:1::1", end: "2001:db8:1::3"}]}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Subnet, metadata: {name: beside}, spec: {mode: Proxy, cidr: 10.2.0.0/24, interface: eth1}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Subnet, metadata: {name: auto}, spec: {mode: Auto, cidr: 10.3.0.0/24, interface: eth2,
  pools: [{start: 10.3.0.2, end: 10.3.0.9}], unknownMachines: Ignore}}
---
{apiVersion: reveille.dev/v1alpha1, kind: BootProfile, metadata: {name: debian}, spec: {default: true,
  linux: {kernel: {path: linux}, initrd: [{path: initrd}], args: ["a={{ machine.name }}", "b={{ boot.phone_home }}"]}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: BootProfile, metadata: {name: shim}, spec: {loader: {kind: GrubShim}, linux: {kernel: {path: linux}, args: ["c={{ config.answers }}"]},
  config: [{name: answers, template: "{{ machine.mac }}"}]}}
---
{apiVersion: reveille.dev/v1alpha1, kind: BootProfile, metadata: {name: uki}, spec: {loader: {kind: Direct}, efi: {file: {path: uki.efi}}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: BootProfile, metadata: {name: menu}, spec: {menu: {title: Choose, timeout: 5s, default: debian, entries: [
  {name: debian, profileRef: {name: debian}}, {name: tools, profileRef: {name: tools}, key: t}, {name: disk, action: Disk},
  {name: wipe, profileRef: {name: shim}, password: {hash: grub.pbkdf2.sha512.1000.00112233445566778899AABBCCDDEEFF.ABABABABABABABABABABABABABABABAB}}]}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: BootProfile, metadata: {name: tools}, spec: {menu: {entries: [{name: shell, action: Shell}, {name: reboot, action: Reboot}]}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: BootProfile, metadata: {name: script}, spec: {script: {text: "echo {{ machine.name }}"}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: a}, spec: {interfaces: [{mac: "52:54:00:00:00:01", ip: 192.0.2.5, ipv6: "2001:db8::5"}]}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: b}, spec: {interfaces: [{mac: "52:54:00:00:00:02", ip: 192.0.2.6}], boot: {policy: Local}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: c}, spec: {interfaces: [{mac: "52:54:00:00:00:03"}], profileRef: {name: shim}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: d}, spec: {interfaces: [{mac: "52:54:00:00:00:04"}], profileRef: {name: menu}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: e}, spec: {interfaces: [{mac: "52:54:00:00:00:05"}], profileRef: {name: uki}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: f}, spec: {interfaces: [{mac: "52:54:00:00:00:06"}], profileRef: {name: script}, boot: {policy: Once, generation: 1}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: g}, spec: {serial: "S1", interfaces: [{mac: "52:54:00:00:00:07"}], approved: false}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: h}, spec: {uuid: 4c4c4544-0043-4810-8052-b4c04f4a4d32, assetTag: "A 1"}}
"#;

/// The world, compiled.
pub(super) static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let loaded = read_text(Path::new("world.yaml"), WORLD);
    let mistakes = loaded.check();
    let errors: Vec<_> = mistakes.iter().filter(|it| it.is_error()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let loader = |arch: Architecture| (arch, arch.ipxe_files()[0].to_owned());
    let settings = Settings {
        https: Some(HttpsDoor {
            port: 443,
            trust: Some([0x11; 32]),
        }),
        loaders: Architecture::ALL
            .into_iter()
            .map(loader)
            .collect::<BTreeMap<_, _>>(),
        autoexec: [Architecture::X64Uefi].into(),
        own_addresses: vec![SERVER],
        ..Settings::default()
    };
    compile(1, &loaded.inputs, &settings).snapshot
});

/// What machines told, of whom nobody has heard yet; the key of tokens is known to nobody else.
pub(super) fn nobody() -> Introductions {
    Introductions::with_key(BootKey::new([1; 32]))
}

/// What no text for a machine may hold: a line, or a terminal, would have more in it than we wrote.
pub(super) fn is_plain(text: &str) {
    let bad = text.chars().find(|c| c.is_control() && *c != '\n');
    assert!(bad.is_none(), "{bad:?} in {text:?}");
}
