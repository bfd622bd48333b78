//! `explain` says what the wire says over IPv6, too: the same bytes for the same request, the same script, and
//! the name of each silence.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "the lints know test functions, not what they call"
)]

#[path = "support/cases.rs"]
mod cases;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use reveille::artifact::Table;
use reveille::boot::{Architecture, MacAddress, Uuid};
use reveille::clock::Millis;
use reveille::dhcp::lookout::Wire;
use reveille::dhcp::v6::decide::{Arrival, Outcome, decide};
use reveille::dhcp::v6::request::Request;
use reveille::explain::v6::{Arriving6, Over6, World6, exchange6};
use reveille::explain::{Ask, Explanation, World, explain};
use reveille::http::route::{Route, route};
use reveille::lease::{Authority, LeaseTable, LeaseTable6};
use reveille::packets::capture;
use reveille::packets::options::{hex, unhex};
use reveille::packets::{Datagram, Field, Question6, Role};
use reveille::script::{Caller, Urls};
use reveille::snapshot::{Settings, Snapshot, compile};
use reveille::standalone::read_text;

use self::cases::cases;

const DUID: [u8; 4] = [0, 4, 1, 2];
const SERVER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x33, 0, 0, 0, 0, 1);
const NOW: Millis = Millis::from_secs(1_760_000_000);
const UUID: &str = "4c4c4544-0043-4810-8052-b4c04f4a4d32";

/// Each machine is another kind of case; `explain` must not know which.
const WORLD: &str = r#"
{apiVersion: reveille.dev/v1alpha1, kind: Subnet, metadata: {name: lab}, spec: {mode: Server, cidr: 192.0.2.0/24, interface: eth0,
  pools: [{start: 192.0.2.100, end: 192.0.2.110}],
  ipv6: {cidr: "2001:db8:33::/64", pools: [{start: "2001:db8:33::100", end: "2001:db8:33::103"}], rapidCommit: true,
    dns: {servers: ["2001:db8:33::3"], search: [example.net]}}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Subnet, metadata: {name: far}, spec: {mode: Server, cidr: 10.1.0.0/24,
  unknownMachines: Ignore, ipv6: {cidr: "2001:db8:34::/64"}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Subnet, metadata: {name: old}, spec: {mode: Server, cidr: 10.2.0.0/24, interface: eth1}}
---
{apiVersion: reveille.dev/v1alpha1, kind: BootProfile, metadata: {name: debian}, spec: {default: true, linux: {kernel: {path: debian/linux}, initrd: [{path: debian/initrd.gz}]}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: a}, spec: {interfaces: [{mac: "52:54:00:00:00:01", ipv6: "2001:db8:33::5"}]}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: b}, spec: {interfaces: [{mac: "52:54:00:00:00:02"}], boot: {policy: Local}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: c}, spec: {interfaces: [{mac: "52:54:00:00:00:03"}], approved: false}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: d}, spec: {uuid: 4c4c4544-0043-4810-8052-b4c04f4a4d32}}
"#;

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let loaded = read_text(Path::new("world.yaml"), WORLD);
    let mistakes = loaded.check();
    assert!(mistakes.iter().all(|it| !it.is_error()), "{mistakes:?}");
    let loader = |arch: Architecture| (arch, arch.ipxe_files()[0].to_owned());
    let settings = Settings {
        loaders: Architecture::ALL.into_iter().map(loader).collect(),
        autoexec: [Architecture::X64Uefi].into(),
        ..Settings::default()
    };
    compile(1, &loaded.inputs, &settings).snapshot
});

static NOTHING: LazyLock<Table> = LazyLock::new(Table::new);
static NO_LEASES: LazyLock<LeaseTable> = LazyLock::new(LeaseTable::new);
static ALONE: BTreeMap<String, Wire> = BTreeMap::new();
static NO_SERVERS: BTreeMap<String, Ipv4Addr> = BTreeMap::new();
static SERVERS: LazyLock<BTreeMap<String, Ipv6Addr>> = LazyLock::new(|| {
    let far = "2001:db8:34::1".parse().unwrap();
    BTreeMap::from([
        ("default/lab".to_owned(), SERVER),
        ("default/far".to_owned(), far),
    ])
});

fn world(table: &LeaseTable6) -> World<'_> {
    World {
        snapshot: &SNAPSHOT,
        table: &NO_LEASES,
        told: &(),
        now: NOW,
        servers: &NO_SERVERS,
        wires: &ALONE,
        authority: Authority::Sole,
        held: &NOTHING,
        six: World6 {
            table,
            servers: &SERVERS,
            duid: &DUID,
            authority: Authority::Sole,
        },
    }
}

fn asked(ask: Ask) -> Vec<Explanation> {
    explain(world(&LeaseTable6::new()), &ask).unwrap()
}

fn explained(who: &str) -> Explanation {
    let ask = Ask {
        who: who.to_owned(),
        subnet: Some("lab".to_owned()),
        ..Ask::default()
    };
    asked(ask).remove(0)
}

fn over(one: &Explanation) -> &Over6 {
    one.ipv6.as_ref().unwrap()
}

fn mac(last: u8) -> MacAddress {
    MacAddress::new([0x52, 0x54, 0, 0, 0, last])
}

/// `client architecture: outcome; next` of each stage.
fn told(over: &Over6) -> Vec<String> {
    let stages = over.stages.iter().map(|stage| {
        let arch = stage.architecture.map_or("-", Architecture::as_str);
        let next = stage.exchange.next.as_deref().unwrap_or("-");
        format!(
            "{} {arch}: {}; {next}",
            stage.client, stage.exchange.outcome
        )
    });
    stages.collect()
}

// === the same as the wire ===

fn roles() -> impl Strategy<Value = Role> {
    let arch = select(Architecture::ALL.to_vec());
    prop_oneof![
        4 => arch.clone().prop_map(Role::Pxe),
        4 => arch.clone().prop_map(Role::HttpBoot),
        4 => arch.prop_map(Role::Ipxe),
        1 => Just(Role::System),
    ]
}

/// A request as machines make them and where it is from, now and then with a byte that is wrong.
fn packets() -> impl Strategy<Value = (Vec<u8>, SocketAddrV6)> {
    let relay = prop_oneof![
        3 => Just(None),
        1 => Just(Some(Ipv6Addr::new(0x2001, 0xdb8, 0x34, 0, 0, 0, 0, 2))),
        1 => Just(Some(Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 2))),
    ];
    let bends = prop::collection::vec(any::<(Index, u8)>(), 0..2);
    let server = select(vec![
        DUID.to_vec(),
        DUID.to_vec(),
        DUID.to_vec(),
        vec![0, 4, 9],
    ]);
    (
        roles(),
        1u8..9,
        relay,
        0u8..4,
        0xfe_u16..0x106,
        server,
        bends,
    )
        .prop_map(|(role, last, relay, kind, address, server, bends)| {
            let question = Question6 {
                role,
                mac: mac(last),
                uuid: (last == 7).then(|| UUID.parse().unwrap()),
                relay,
                xid: [1, 2, 3],
            };
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0x33, 0, 0, 0, 0, address);
            let mut packet = match kind {
                0 | 1 => question.solicit(),
                2 => question.request(address, &server),
                _ => question.release(address, &server),
            };
            for (at, byte) in bends {
                let at = at.index(packet.len());
                packet[at] = byte;
            }
            let from = relay.unwrap_or_else(|| question.address());
            (packet, SocketAddrV6::new(from, 546, 0, 0))
        })
}

proptest! {
    #![proptest_config(cases(2000))]

    /// A conversation, explained packet by packet beside the engine's own steps.
    #[test]
    fn says_the_bytes_that_leave(
        conversation in prop::collection::vec(
            (packets(), prop::bool::weighted(0.1), any::<bool>()), 1..6,
        ),
    ) {
        let empty = LeaseTable6::new();
        let (mut said, mut wire) = (LeaseTable6::new(), LeaseTable6::new());
        for ((packet, from), unicast, loader_sent) in conversation {
            let arriving = Arriving6 {
                packet: &packet,
                subnet: "default/lab",
                server: SERVER,
                from,
                unicast,
                loader_sent,
            };
            let explained = exchange6(world(&empty), &mut said, arriving);
            let Ok(request) = Request::parse(&packet, *from.ip()) else {
                prop_assert!(!explained.answered);
                continue;
            };
            let arrival = Arrival {
                now: NOW,
                subnet: "default/lab",
                server: SERVER,
                duid: &DUID,
                from,
                unicast,
                loader_sent: &|_| loader_sent,
                told: &(),
                authority: Authority::Sole,
            };
            let decision = decide(&SNAPSHOT, &wire, arrival, &request);
            wire.apply_all(&decision.changes);
            prop_assert_eq!(&explained.outcome, decision.outcome.as_str());
            match decision.outcome {
                Outcome::Reply(reply) => {
                    let bytes = reply.encode(&request);
                    prop_assert_eq!(explained.reply_hex, Some(hex(&bytes)));
                    let decoded = explained.reply.unwrap();
                    prop_assert_eq!(decoded.lent(), decision.address);
                    prop_assert_eq!(decoded.relays.len(), request.hops.len());
                    prop_assert!(decoded.unread.is_empty());
                    // Each option that it shows is in the bytes, and the other way round.
                    prop_assert_eq!(shown(&decoded.options), options(&bytes));
                }
                Outcome::Ignored(_) => prop_assert!(!explained.answered),
            }
            prop_assert!(said.iter().eq(wire.iter()), "the same leases");
        }
    }
}

fn shown(options: &[Field<u16>]) -> Vec<(u16, Vec<u8>)> {
    let read = |field: &Field<u16>| (field.code, unhex(&field.hex).unwrap());
    options.iter().map(read).collect()
}

/// The options of a message, out of its relays, by a reader of this test's own.
fn options(packet: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let head = if packet[0] == 13 { 34 } else { 4 };
    let (mut all, mut at) = (Vec::new(), head);
    while at < packet.len() {
        let number = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let length = usize::from(number(at + 2));
        all.push((number(at), packet[at + 4..at + 4 + length].to_vec()));
        at += 4 + length;
    }
    let inner = all.iter().find(|(code, _)| head == 34 && *code == 9);
    match inner {
        Some((_, inner)) => options(inner),
        None => all,
    }
}

// === machines ===

#[test]
fn every_stage_of_a_boot_is_told_in_words_and_options() {
    let one = explained("a");
    let script =
        "fetches its script http://[2001:db8:33::1]/reveille/machines/52-54-00-00-00-01/boot.ipxe";
    assert_eq!(
        told(over(&one)),
        [
            format!("ipxe x86_64-bios: reply; {script}"),
            "pxe x86_64-uefi: reply; loads the loader ipxe.efi".to_owned(),
            "http-boot x86_64-uefi: reply; loads the loader http://[2001:db8:33::1]/reveille/machines/52-54-00-00-00-01/loader/ipxe.efi".to_owned(),
            format!("ipxe x86_64-uefi: reply; {script}"),
            "system -: reply; it gets an address and settings".to_owned(),
        ]
    );
    assert!(one.notes.iter().all(|note| !note.contains("IPv6")));
    let reply = over(&one).stages[2].exchange.reply.as_ref().unwrap();
    assert_eq!(reply.lent(), Some("2001:db8:33::5".parse().unwrap()));
    assert_eq!(reply.option(16), Some("HTTPClient (enterprise 343)"));
    let text = one.to_string();
    for words in [
        "\nover IPv6, by the server 2001:db8:33::1\n",
        "\nfirmware, PXE (x86_64-uefi): REQUEST gets REPLY; loads the loader ipxe.efi\n",
        "\n     59 boot file URL: tftp://[2001:db8:33::1]/ipxe.efi\n",
        "\n    | #!ipxe\n",
    ] {
        assert!(text.contains(words), "{words:?} in {text}");
    }
    let json = serde_json::to_string(&one).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&json).unwrap(), one);
}

#[test]
fn the_script_is_the_one_that_is_served() {
    let one = explained("a");
    let mut stages = over(&one).stages.iter();
    let script = stages.find_map(|stage| stage.script.as_ref()).unwrap();
    let caller = Caller {
        address: "2001:db8:33::5".parse().unwrap(),
        mac: Some(mac(1)),
        told: &(),
    };
    let door = Urls {
        server: SERVER.into(),
        port: 80,
        tls: false,
    };
    let path = "/reveille/machines/52-54-00-00-00-01/boot.ipxe";
    let Ok(Route::Text { body, .. }) = route(&SNAPSHOT, caller, door, path, None) else {
        panic!("no script");
    };
    assert_eq!(script.text.as_deref(), Some(body.as_str()));
    let answers: Vec<&str> = script.urls.iter().map(|url| url.answer.as_str()).collect();
    assert_eq!(answers, ["debian/linux", "debian/initrd.gz"]);
}

#[test]
fn what_gets_no_answer_or_its_disk_has_a_reason_and_a_cure() {
    let waits = explained("c");
    let first = &over(&waits).stages[0].exchange;
    assert_eq!(first.outcome, "machine-not-approved");
    assert!(first.cure.as_ref().unwrap().contains("approve"));
    let local = explained("b");
    assert_eq!(
        told(over(&local))[1],
        "pxe x86_64-uefi: reply; loads tftp://[2001:db8:33::1]/ipxe.efi, whose script boots the disk"
    );
    let relayed = |link: &str| Ask {
        who: "b".to_owned(),
        relay: Some(link.parse().unwrap()),
        ..Ask::default()
    };
    // Nothing is lent on the far link.
    let far = &asked(relayed("2001:db8:34::2"))[0];
    let first = &over(far).stages[0].exchange;
    assert_eq!(
        (far.subnet.as_str(), first.outcome.as_str()),
        ("default/far", "advertise")
    );
    assert_eq!(first.reason.as_deref(), Some("no-pool"));
    assert!(first.next.as_ref().unwrap().contains("no address"));
    assert_eq!(first.destination.as_deref(), Some("relay"));
    assert_eq!(first.request.as_ref().unwrap().relays.len(), 1);
    let nowhere = explain(world(&LeaseTable6::new()), &relayed("2001:db8:99::2"));
    assert!(nowhere.unwrap_err().to_string().contains("2001:db8:99::2"));
}

#[test]
fn firmware_is_known_by_its_uuid_alone() {
    let one = explained(UUID);
    assert_eq!(one.machine.as_deref(), Some("default/d"));
    let uefi = &over(&one).stages[1].exchange;
    let named = uefi.request.as_ref().unwrap().option(1);
    assert_eq!(
        named,
        Some(&*format!("DUID-UUID {}", UUID.parse::<Uuid>().unwrap()))
    );
}

#[test]
fn a_subnet_without_ipv6_says_nothing_of_it() {
    let ask = Ask {
        who: "a".to_owned(),
        subnet: Some("old".to_owned()),
        ..Ask::default()
    };
    assert_eq!(asked(ask)[0].ipv6, None);
}

#[test]
fn an_address_is_traced_to_whom_it_is_lent() {
    let by = |who: &str| Ask {
        who: who.to_owned(),
        ..Ask::default()
    };
    let reserved = &asked(by("2001:db8:33::5"))[0];
    assert_eq!(reserved.machine.as_deref(), Some("default/a"));
    let mut table = LeaseTable6::new();
    let mut lend = |question: Question6| {
        let empty = LeaseTable6::new();
        let arriving = |packet| Arriving6 {
            packet,
            subnet: "default/lab",
            server: SERVER,
            from: SocketAddrV6::new(question.address(), 546, 0, 0),
            unicast: false,
            loader_sent: false,
        };
        let packet = question.solicit();
        let offer = exchange6(world(&empty), &mut table, arriving(&packet));
        let address = offer.reply.unwrap().lent().unwrap();
        let packet = question.request(address, &DUID);
        exchange6(world(&empty), &mut table, arriving(&packet));
        address
    };
    let question = Question6 {
        role: Role::System,
        mac: mac(9),
        uuid: None,
        relay: None,
        xid: [0, 0, 7],
    };
    let address = lend(question).to_string();
    let all = explain(world(&table), &by(&address)).unwrap();
    assert_eq!((all.len(), all[0].mac), (1, mac(9)));
    let nobody = explain(world(&table), &by("2001:db8:33::77")).unwrap_err();
    assert!(nobody.to_string().contains("nobody has 2001:db8:33::77"));
}

// === the program ===

#[test]
fn the_program_explains_manifests_and_captures() {
    let folder = tempfile::tempdir().unwrap();
    let manifests = folder.path().join("world.yaml");
    fs::write(&manifests, WORLD).unwrap();
    let loaders = folder.path().join("loaders");
    fs::create_dir(&loaders).unwrap();
    fs::write(loaders.join("ipxe.efi"), "x").unwrap();
    let with = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_reveille"))
            .args([
                "explain",
                "--server",
                "192.0.2.1",
                "--server",
                "2001:db8:33::1",
            ])
            .arg("--manifests")
            .arg(&manifests)
            .arg("--loaders")
            .arg(&loaders)
            .args(more)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, text, errors) = with(&["a", "--subnet", "lab"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(text.contains("REQUEST gets REPLY; loads the loader ipxe.efi"));
    let (_, yaml, _) = with(&["a", "--subnet", "lab", "-o", "yaml"]);
    assert!(
        yaml.contains("\n  ipv6:\n    server: 2001:db8:33::1\n"),
        "{yaml}"
    );

    // What was captured of a boot, with the server's answer: its DUID is taken for ours.
    let question = Question6 {
        role: Role::HttpBoot(Architecture::X64Uefi),
        mac: mac(1),
        uuid: None,
        relay: None,
        xid: [0, 0, 7],
    };
    let address = "2001:db8:33::5".parse().unwrap();
    let everyone = "ff02::1:2".parse().unwrap();
    let sent = |payload| Datagram {
        at: NOW,
        from: (question.address().into(), 546),
        to: (everyone, 547),
        payload,
    };
    let advertise = Datagram {
        from: (SERVER.into(), 547),
        to: (question.address().into(), 546),
        ..sent([&[2, 0, 0, 7, 0, 2, 0, 4][..], &DUID].concat())
    };
    let file = capture::write(&[
        sent(question.solicit()),
        advertise,
        sent(question.request(address, &DUID)),
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
    assert_eq!(outcomes, ["advertise", "reply"]);
    assert_eq!(all[1]["reply"]["kind"], "REPLY");
    let (_, text, _) = with(&["--pcap", path, "--subnet", "lab", "--duid", "00:04:09"]);
    assert!(
        text.starts_with("52:54:00:00:00:01 SOLICIT gets ADVERTISE; "),
        "{text}"
    );
    assert!(
        text.contains("REQUEST gets no answer: other-server-chosen\n"),
        "{text}"
    );
    let (code, _, errors) = with(&["--pcap", path]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("--subnet"), "{errors}");
}
