//! `explain` says what the wire says: the same bytes for the same request, the
//! same script for the same machine, and the name of each silence.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "the lints know test functions, not what they call"
)]

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use reveille::artifact::Table;
use reveille::boot::{Architecture, MacAddress};
use reveille::clock::Millis;
use reveille::dhcp::decide::{Arrival, Outcome, decide};
use reveille::dhcp::lookout::Wire;
use reveille::dhcp::request::Request;
use reveille::explain::v6::World6;
use reveille::explain::{Arriving, Ask, Explanation, World, exchange, explain};
use reveille::http::route::{Route, route};
use reveille::lease::{Authority, LeaseTable, LeaseTable6};
use reveille::packets::capture;
use reveille::packets::options::{hex, unhex};
use reveille::packets::{Datagram, Question, Role};
use reveille::script::{Caller, Urls};
use reveille::snapshot::{Settings, Snapshot, compile};
use reveille::standalone::read_text;

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const NOW: Millis = Millis::from_secs(1_760_000_000);

/// Each machine is another kind of case; `explain` must not know which.
const WORLD: &str = r#"
{apiVersion: reveille.dev/v1alpha1, kind: Subnet, metadata: {name: lab}, spec: {mode: Server, cidr: 192.0.2.0/24, interface: eth0,
  pools: [{start: 192.0.2.100, end: 192.0.2.110}], routers: [192.0.2.2], dns: {servers: [192.0.2.3], search: [example.net]}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Subnet, metadata: {name: far}, spec: {mode: Server, cidr: 10.1.0.0/24, interface: eth1,
  pools: [{start: 10.1.0.10, end: 10.1.0.20}], unknownMachines: Ignore}}
---
{apiVersion: reveille.dev/v1alpha1, kind: BootProfile, metadata: {name: debian}, spec: {default: true, linux: {kernel: {path: debian/linux}, initrd: [{path: debian/initrd.gz}], args: ["hostname={{ machine.name }}"]}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: BootProfile, metadata: {name: workers}, spec: {machineSelector: {matchLabels: {role: worker}}, priority: 5, linux: {kernel: {path: workers/linux}}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: BootProfile, metadata: {name: others}, spec: {machineSelector: {matchLabels: {role: worker}}, linux: {kernel: {path: others/linux}}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: a}, spec: {interfaces: [{mac: "52:54:00:00:00:01", ip: 192.0.2.5}]}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: b}, spec: {interfaces: [{mac: "52:54:00:00:00:02", ip: 192.0.2.6}], boot: {policy: Local}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: c}, spec: {interfaces: [{mac: "52:54:00:00:00:03", ip: 192.0.2.7}], approved: false}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: d, labels: {role: worker}}, spec: {interfaces: [{mac: "52:54:00:00:00:04", ip: 192.0.2.8}], uuid: 4c4c4544-0043-4810-8052-b4c04f4a4d32}}
"#;

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| snapshot_of(WORLD));

fn snapshot_of(manifests: &str) -> Snapshot {
    let loaded = read_text(Path::new("world.yaml"), manifests);
    let mistakes = loaded.check();
    assert!(mistakes.iter().all(|it| !it.is_error()), "{mistakes:?}");
    let loader = |arch: Architecture| (arch, arch.ipxe_files()[0].to_owned());
    let settings = Settings {
        loaders: Architecture::ALL.into_iter().map(loader).collect(),
        autoexec: [Architecture::X64Uefi].into(),
        own_addresses: vec![SERVER],
        ..Settings::default()
    };
    compile(1, &loaded.inputs, &settings).snapshot
}

static NOTHING: LazyLock<Table> = LazyLock::new(Table::new);

static ALONE: BTreeMap<String, Wire> = BTreeMap::new();

static NO_LEASES6: LazyLock<LeaseTable6> = LazyLock::new(LeaseTable6::new);

static NO_SERVERS6: BTreeMap<String, std::net::Ipv6Addr> = BTreeMap::new();

fn servers() -> BTreeMap<String, Ipv4Addr> {
    BTreeMap::from([
        ("default/lab".to_owned(), SERVER),
        ("default/far".to_owned(), Ipv4Addr::new(10, 1, 0, 1)),
    ])
}

fn world<'a>(table: &'a LeaseTable, servers: &'a BTreeMap<String, Ipv4Addr>) -> World<'a> {
    World {
        snapshot: &SNAPSHOT,
        table,
        told: &(),
        now: NOW,
        servers,
        wires: &ALONE,
        authority: Authority::Sole,
        held: &NOTHING,
        six: World6 {
            table: &NO_LEASES6,
            servers: &NO_SERVERS6,
            duid: &[0, 4, 0],
            authority: Authority::Sole,
        },
    }
}

fn explained(who: &str) -> Vec<Explanation> {
    let ask = Ask {
        who: who.to_owned(),
        ..Ask::default()
    };
    explain(world(&LeaseTable::new(), &servers()), &ask).unwrap()
}

fn mac(last: u8) -> MacAddress {
    MacAddress::new([0x52, 0x54, 0, 0, 0, last])
}

// === the same as the wire ===

fn roles() -> impl Strategy<Value = Role> {
    let arch = select(Architecture::ALL.to_vec());
    prop_oneof![
        4 => arch.clone().prop_map(Role::Pxe),
        2 => arch.clone().prop_map(Role::HttpBoot),
        4 => arch.prop_map(Role::Ipxe),
        1 => Just(Role::System),
    ]
}

/// A request as machines make them, now and then with a byte that is wrong.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let relay = prop_oneof![
        3 => Just(Ipv4Addr::UNSPECIFIED),
        1 => Just(Ipv4Addr::new(10, 1, 0, 2)),
        1 => Just(Ipv4Addr::new(203, 0, 113, 1)),
    ];
    let bends = prop::collection::vec(any::<(Index, u8)>(), 0..2);
    let kind = (0u8..4, (90u8..115));
    (roles(), 1u8..9, relay, kind, any::<bool>(), bends).prop_map(
        |(role, last, relay, (kind, address), broadcast, bends)| {
            let question = Question {
                role,
                mac: mac(last),
                uuid: (last == 7).then(|| "4c4c4544-0043-4810-8052-b4c04f4a4d32".parse().unwrap()),
                relay,
                xid: 7,
                broadcast,
            };
            let address = Ipv4Addr::new(192, 0, 2, address);
            let mut packet = match kind {
                0 | 1 => question.discover(),
                2 => question.request(address, SERVER),
                _ => question.release(address, SERVER),
            };
            for (at, byte) in bends {
                let at = at.index(packet.len());
                packet[at] = byte;
            }
            packet
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A conversation, explained packet by packet beside the engine's own steps.
    #[test]
    fn says_the_bytes_that_leave(
        conversation in prop::collection::vec(
            (packets(), any::<bool>(), any::<bool>(), prop::bool::weighted(0.2)), 1..6,
        ),
    ) {
        let servers = servers();
        let empty = LeaseTable::new();
        let (mut said, mut wire) = (LeaseTable::new(), LeaseTable::new());
        for (packet, unicast, loader_sent, at_boot_port) in conversation {
            let boot_port = at_boot_port.then_some(SocketAddrV4::new([192, 0, 2, 77].into(), 4011));
            let arriving = Arriving { packet: &packet, subnet: "default/lab", server: SERVER, unicast, boot_port, loader_sent };
            let explained = exchange(world(&empty, &servers), &mut said, arriving);
            let Ok(request) = Request::parse(&packet) else {
                prop_assert!(!explained.answered);
                continue;
            };
            let arrival = Arrival {
                now: NOW,
                subnet: "default/lab",
                server: SERVER,
                unicast,
                from: boot_port.unwrap_or_else(|| SocketAddrV4::new(request.giaddr, 67)),
                boot_port,
                wire: Wire::Alone,
                told: &(),
                loader_sent,
                authority: Authority::Sole,
            };
            let decision = decide(&SNAPSHOT, &wire, arrival, &request);
            wire.apply_all(&decision.changes);
            match decision.outcome {
                Outcome::Reply(reply) => {
                    let bytes = reply.encode(&request);
                    prop_assert_eq!(explained.reply_hex, Some(hex(&bytes)));
                    prop_assert_eq!(explained.outcome, reply.kind.as_str());
                    let decoded = explained.reply.unwrap();
                    prop_assert_eq!(decoded.yiaddr, reply.yiaddr);
                    prop_assert_eq!(decoded.xid, request.xid);
                    // Each option that it shows is in the bytes, and the other way round.
                    prop_assert_eq!(shown(&decoded.options), options(&bytes));
                }
                Outcome::Ignored(ignored) => {
                    prop_assert!(!explained.answered);
                    prop_assert_eq!(explained.outcome, ignored.as_str());
                }
            }
            prop_assert!(said.iter().eq(wire.iter()), "the same leases");
        }
    }
}

fn shown(options: &[reveille::packets::Field]) -> BTreeMap<u8, Vec<u8>> {
    let read = |field: &reveille::packets::Field| (field.code, unhex(&field.hex).unwrap());
    options.iter().map(read).collect()
}

/// The options of a packet by a reader of this test's own.
fn options(packet: &[u8]) -> BTreeMap<u8, Vec<u8>> {
    let mut all: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    let mut at = 240;
    while let Some(code) = packet.get(at).filter(|code| **code != 255) {
        if *code == 0 {
            at += 1;
            continue;
        }
        let length = usize::from(packet[at + 1]);
        all.entry(*code)
            .or_default()
            .extend(&packet[at + 2..at + 2 + length]);
        at += 2 + length;
    }
    all
}

// === machines ===

#[test]
fn the_script_is_the_one_that_is_served() {
    let one = &explained("a")[0];
    assert_eq!(
        (one.verdict.as_str(), one.rule.as_str()),
        ("boot", "namespace-default")
    );
    let ipxe = one.stages.iter().find(|stage| stage.client == "ipxe");
    let script = ipxe.unwrap().script.as_ref().unwrap();
    let caller = Caller {
        address: [192, 0, 2, 5].into(),
        mac: Some(mac(1)),
        told: &(),
    };
    let path = "/reveille/machines/52-54-00-00-00-01/boot.ipxe";
    let door = Urls {
        server: SERVER.into(),
        port: 80,
        tls: false,
    };
    assert_eq!(script.url, format!("http://{SERVER}{path}"));
    let Ok(Route::Text { body, .. }) = route(&SNAPSHOT, caller, door, path, None) else {
        panic!("no script");
    };
    assert_eq!(script.text.as_deref(), Some(body.as_str()));
    let answers: Vec<&str> = script.urls.iter().map(|url| url.answer.as_str()).collect();
    assert_eq!(answers, ["debian/linux", "debian/initrd.gz"]);
}

#[test]
fn every_stage_of_a_boot_is_told_in_words_and_options() {
    let one = &explained("52:54:00:00:00:01")[0];
    let told: Vec<String> = one
        .stages
        .iter()
        .map(|stage| {
            let arch = stage.architecture.map_or("-", Architecture::as_str);
            let next = stage.exchange.next.as_deref().unwrap();
            format!(
                "{} {arch}: {}; {next}",
                stage.client, stage.exchange.outcome
            )
        })
        .collect();
    let script =
        "fetches its script http://192.0.2.1/reveille/machines/52-54-00-00-00-01/boot.ipxe";
    assert_eq!(
        told,
        [
            "pxe x86_64-bios: ack; loads the loader undionly.kpxe".to_owned(),
            format!("ipxe x86_64-bios: ack; {script}"),
            "pxe x86_64-uefi: ack; loads the loader ipxe.efi".to_owned(),
            "http-boot x86_64-uefi: ack; loads the loader http://192.0.2.1/reveille/machines/52-54-00-00-00-01/loader/ipxe.efi".to_owned(),
            format!("ipxe x86_64-uefi: ack; {script}"),
            "system -: ack; it gets an address and settings".to_owned(),
        ]
    );
    let reply = one.stages[0].exchange.reply.as_ref().unwrap();
    assert_eq!(reply.option(1), Some("255.255.255.0"));
    assert_eq!(reply.option(67), Some("undionly.kpxe"));
    let text = one.to_string();
    assert!(
        text.contains("\n     67 boot file name: undionly.kpxe\n"),
        "{text}"
    );
    assert!(text.contains("    | #!ipxe\n"), "{text}");
}

#[test]
fn beside_another_server_what_is_told_at_4011_is_shown_too() {
    let proxy = "{apiVersion: reveille.dev/v1alpha1, kind: Subnet, metadata: {name: lab}, \
                 spec: {mode: Proxy, cidr: 192.0.2.0/24, interface: eth0}}";
    let (_, rest) = WORLD.split_once("---").unwrap();
    let snapshot = snapshot_of(&format!("{proxy}\n---{rest}"));
    let (table, servers) = (LeaseTable::new(), servers());
    let world = World {
        snapshot: &snapshot,
        ..world(&table, &servers)
    };
    let ask = Ask {
        who: "a".to_owned(),
        subnet: Some("lab".to_owned()),
        ..Ask::default()
    };
    let one = &explain(world, &ask).unwrap()[0];
    let told: Vec<String> = one
        .stages
        .iter()
        .map(|stage| {
            let arch = stage.architecture.map_or("-", Architecture::as_str);
            let told = stage.boot_server.as_ref();
            let at_4011 = told.map_or("not asked", |exchange| &exchange.outcome);
            format!(
                "{} {arch}: {}, {at_4011}",
                stage.client, stage.exchange.outcome
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "pxe x86_64-bios: offer, not asked",
            "ipxe x86_64-bios: offer, not asked",
            "pxe x86_64-uefi: offer, ack",
            "http-boot x86_64-uefi: offer, not asked",
            "ipxe x86_64-uefi: offer, not asked",
            "system -: not-a-boot-client, not asked",
        ]
    );
    let uefi = one
        .stages
        .iter()
        .find_map(|stage| stage.boot_server.as_ref());
    let uefi = uefi.unwrap();
    assert_eq!(uefi.destination.as_deref(), Some("asker"));
    let reply = uefi.reply.as_ref().unwrap();
    assert_eq!(reply.option(67), Some("ipxe.efi"));
    let text = one.to_string();
    assert!(
        text.contains("\n  at UDP 4011: REQUEST gets ACK; loads the loader ipxe.efi\n"),
        "{text}"
    );
}

#[test]
fn the_rule_that_won_and_those_that_lost_are_named() {
    let one = &explained("d")[0];
    let rules: Vec<String> = one
        .rules
        .iter()
        .map(|line| {
            let profile = line.profile.as_deref().unwrap_or("-");
            format!("{} {} {profile}", line.rule, line.outcome)
        })
        .collect();
    assert_eq!(
        rules,
        [
            "profile-ref unset -",
            "machine-selector won workers",
            "machine-selector lost others",
            "subnet-default unset -",
            "namespace-default lost debian",
        ]
    );
    assert!(one.rules[2].why.contains("priority"), "{:?}", one.rules[2]);
    // By its UUID, in the other byte order, it is the same machine.
    let other = &explained("44454C4C-4300-1048-8052-B4C04F4A4D32")[0];
    assert_eq!(other.machine, one.machine);
    // And by its address.
    assert_eq!(&explained("192.0.2.8")[0], one);
}

#[test]
fn what_gets_no_answer_or_its_disk_has_a_reason_and_a_cure() {
    let waits = &explained("c")[0];
    assert_eq!(waits.verdict, "ignored");
    let first = &waits.stages[0].exchange;
    assert_eq!(first.outcome, "machine-not-approved");
    assert!(
        first.cure.as_ref().unwrap().contains("approve"),
        "{first:?}"
    );
    assert!(first.reply.is_none());
    let local = &explained("b")[0];
    assert_eq!(
        (local.verdict.as_str(), local.reason.as_deref()),
        ("local", Some("policy-local"))
    );
    assert_eq!(
        local.stages[0].exchange.next.as_deref(),
        Some("boots its disk")
    );
    let script = local.stages[1].script.as_ref().unwrap();
    assert_eq!(script.outcome, "local-script");
    // Nobody knows it: each Subnet says its own.
    let stranger = explained("52:54:00:00:00:99");
    let verdicts: Vec<_> = stranger
        .iter()
        .map(|one| (one.subnet.as_str(), one.verdict.as_str()))
        .collect();
    assert_eq!(
        verdicts,
        [("default/lab", "boot"), ("default/far", "ignored")]
    );
}

#[test]
fn nobody_is_made_up() {
    let ask = |who: &str| {
        let ask = Ask {
            who: who.to_owned(),
            ..Ask::default()
        };
        let error = explain(world(&LeaseTable::new(), &servers()), &ask).unwrap_err();
        error.to_string()
    };
    assert!(ask("192.0.2.77").contains("nobody has 192.0.2.77"));
    assert!(ask("aa").contains("did you mean `a`?"));
    let ask = Ask {
        who: "a".to_owned(),
        relay: Some([203, 0, 113, 1].into()),
        ..Ask::default()
    };
    let error = explain(world(&LeaseTable::new(), &servers()), &ask).unwrap_err();
    assert!(error.to_string().contains("203.0.113.1"), "{error}");
}

// === the program ===

fn reveille(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_reveille"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn the_program_explains_manifests_and_captures() {
    let folder = tempfile::tempdir().unwrap();
    let manifests = folder.path().join("world.yaml");
    fs::write(&manifests, WORLD).unwrap();
    let manifests = manifests.to_str().unwrap();
    let loaders = folder.path().join("loaders");
    fs::create_dir(&loaders).unwrap();
    fs::write(loaders.join("undionly.kpxe"), "x").unwrap();
    let with = |more: &[&str]| {
        let base = ["explain", "--manifests", manifests, "--server", "192.0.2.1"];
        let base = [&base[..], &["--loaders", loaders.to_str().unwrap()]].concat();
        reveille(&[&base[..], more].concat())
    };
    let (code, text, _) = with(&["a"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains(
            "firmware, PXE (x86_64-bios): REQUEST gets ACK; loads the loader undionly.kpxe"
        ),
        "{text}"
    );
    let (code, json, _) = with(&["a", "--arch", "x86_64-uefi", "-o", "json"]);
    assert_eq!(code, Some(0));
    let all: Vec<Explanation> = serde_json::from_str(&json).unwrap();
    let missing = &all[0].stages[0].exchange;
    assert_eq!(missing.reason.as_deref(), Some("loader-missing"));
    assert!(
        with(&["a", "-o", "yaml"])
            .1
            .starts_with("- machine: default/a\n")
    );
    assert_eq!(with(&["c"]).0, Some(1), "it gets no answer");
    assert!(with(&["nobody"]).2.contains("there is no Machine nobody"));

    // What was captured of a boot: the second packet takes what the first was offered.
    let question = Question {
        role: Role::Pxe(Architecture::X86Bios),
        mac: mac(9),
        uuid: None,
        relay: Ipv4Addr::UNSPECIFIED,
        xid: 7,
        broadcast: true,
    };
    let sent = |payload| Datagram {
        at: NOW,
        from: (Ipv4Addr::UNSPECIFIED.into(), 68),
        to: (IpAddr::V4(Ipv4Addr::BROADCAST), 67),
        payload,
    };
    let address = Ipv4Addr::new(192, 0, 2, 100);
    let file = capture::write(&[
        sent(question.discover()),
        sent(question.request(address, SERVER)),
    ]);
    let path = folder.path().join("boot.pcap");
    fs::write(&path, file).unwrap();
    let path = path.to_str().unwrap();
    let (code, json, errors) = with(&["--pcap", path, "--subnet", "lab", "-o", "json"]);
    assert_eq!(code, Some(0), "{errors}");
    let all: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    let outcomes: Vec<_> = all
        .iter()
        .map(|it| it["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["offer", "ack"]);
    assert_eq!(all[1]["reply"]["yiaddr"], "192.0.2.100");
    let (code, _, errors) = with(&["--pcap", path]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("--subnet"), "{errors}");
    let (_, _, errors) = with(&["--pcap", manifests]);
    assert!(errors.contains("neither pcap nor pcapng"), "{errors}");
}
