//! Laws of DHCP that hold for whatever a stranger sends.
//!
//! A few seconds of cases run always. A million of each:
//! `REVEILLE_CASES=1000000 cargo test --release --test properties_dhcp`, some
//! minutes.

#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

#[path = "support/cases.rs"]
mod cases;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::LazyLock;

use dhcproto::v4::{Message, OptionCode};
use dhcproto::{Decodable as _, Decoder};
use proptest::prelude::*;
use proptest::sample::select;
use reveille::boot::{Architecture, MacAddress};
use reveille::clock::Millis;
use reveille::dhcp::decide::{Arrival, Outcome, decide};
use reveille::dhcp::reply::ReplyKind;
use reveille::dhcp::request::Request;
use reveille::lease::{Authority, CONTESTED_SECS, LeaseState, LeaseTable};
use reveille::snapshot::{Settings, Snapshot, compile};
use reveille::standalone::read_text;

use self::cases::cases;

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const CLIENT_ID: u8 = 61;
const RELAY_INFO: u8 = 82;

/// Two networks, so small that their pools run empty; each machine is another
/// kind of case.
const WORLD: &str = r#"
{apiVersion: reveille.dev/v1alpha1, kind: Subnet, metadata: {name: lab}, spec: {mode: Server, cidr: 192.0.2.0/28, interface: eth0,
  pools: [{start: 192.0.2.1, end: 192.0.2.14}], routers: [192.0.2.2], dns: {servers: [192.0.2.3], search: [example.net]}, ntp: [192.0.2.4]}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Subnet, metadata: {name: far}, spec: {mode: Server, cidr: 10.1.0.0/29, interface: eth1,
  pools: [{start: 10.1.0.2, end: 10.1.0.6}], authoritative: false}}
---
{apiVersion: reveille.dev/v1alpha1, kind: BootProfile, metadata: {name: debian}, spec: {default: true, linux: {kernel: {path: linux}}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: a}, spec: {interfaces: [{mac: "52:54:00:00:00:01", ip: 192.0.2.5}]}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: b}, spec: {interfaces: [{mac: "52:54:00:00:00:02", ip: 192.0.2.6}], boot: {policy: Local}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: c}, spec: {interfaces: [{mac: "52:54:00:00:00:03"}], profileRef: {name: gone}}}
"#;

/// Addresses that stand for somebody, and whose they are.
const FIXED: [(Ipv4Addr, Option<u8>); 6] = [
    (SERVER, None),
    (Ipv4Addr::new(192, 0, 2, 2), None),
    (Ipv4Addr::new(192, 0, 2, 3), None),
    (Ipv4Addr::new(192, 0, 2, 4), None),
    (Ipv4Addr::new(192, 0, 2, 5), Some(1)),
    (Ipv4Addr::new(192, 0, 2, 6), Some(2)),
];

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let loaded = read_text(Path::new("world.yaml"), WORLD);
    let mistakes = loaded.check();
    let errors: Vec<_> = mistakes
        .iter()
        .filter(|mistake| mistake.is_error())
        .collect();
    // One machine names a profile that is not there, and that is all.
    assert_eq!(errors.len(), 1, "{errors:?}");
    let loader = |arch: Architecture| (arch, arch.ipxe_files()[0].to_owned());
    let settings = Settings {
        loaders: Architecture::ALL.into_iter().map(loader).collect(),
        autoexec: [Architecture::X64Uefi].into(),
        own_addresses: vec![SERVER],
        ..Settings::default()
    };
    compile(1, &loaded.inputs, &settings).snapshot
});

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Request::parse(&bytes);
    }

    /// Options of any bytes behind a good head: what a stranger tries next.
    #[test]
    fn answers_lawfully_whatever_the_options_are(
        head in head(),
        tail in prop::collection::vec(any::<u8>(), 0..1200),
        kind in 0u8..11,
    ) {
        let mut packet = head;
        packet.extend(COOKIE);
        if kind > 0 {
            packet.extend([53, 1, kind]);
        }
        packet.extend(tail);
        answer(&mut LeaseTable::new(), Millis(0), &packet)?;
    }
}

proptest! {
    #![proptest_config(cases(500))]

    /// A conversation of packets that mean something, some of them bent.
    #[test]
    fn answers_lawfully_in_every_conversation(
        packets in prop::collection::vec((packet(), bend(), 0u64..90_000_000), 1..24),
    ) {
        let mut table = LeaseTable::new();
        let mut now = Millis::from_secs(1_760_000_000);
        for (mut packet, bends, pause) in packets {
            for (at, byte) in bends {
                let at = at.index(packet.len());
                packet[at] = byte;
            }
            // Most pauses are short, some are longer than a probation.
            now = now.plus_millis(if pause % 3 == 0 { pause } else { pause % 5000 });
            answer(&mut table, now, &packet)?;
        }
    }
}

/// Decides about `packet` as the engine does, and holds the answer against
/// what every answer must be.
fn answer(table: &mut LeaseTable, now: Millis, packet: &[u8]) -> Result<(), TestCaseError> {
    let Ok(request) = Request::parse(packet) else {
        return Ok(());
    };
    let arrival = Arrival {
        now,
        subnet: "default/lab",
        server: SERVER,
        boot_port: None,
        wire: reveille::dhcp::lookout::Wire::Alone,
        unicast: !request.ciaddr.is_unspecified(),
        from: SocketAddrV4::new(request.giaddr, 67),
        told: &(),
        loader_sent: false,
        authority: Authority::Sole,
    };
    let decision = decide(&SNAPSHOT, table, arrival, &request);
    let before = table.clone();
    table.apply_all(&decision.changes);
    let Outcome::Reply(reply) = decision.outcome else {
        return Ok(());
    };
    let bytes = reply.encode(&request);
    prop_assert!(bytes.len() >= 300);
    // Another reader of the protocol sees the same.
    let read = Message::decode(&mut Decoder::new(&bytes));
    let read = read.map_err(|error| TestCaseError::fail(format!("dhcproto: {error}")))?;
    prop_assert_eq!((read.xid(), read.giaddr()), (request.xid, request.giaddr));
    prop_assert_eq!((read.yiaddr(), read.siaddr()), (reply.yiaddr, reply.siaddr));
    // The field ends at its first NUL; a name too long for it stands in an option.
    let said = |field: Option<&[u8]>| {
        let field = field.unwrap_or_default();
        field
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default()
            .to_vec()
    };
    let name = |name: &str, size| {
        let fits = name.len() < size;
        if fits {
            name.as_bytes().to_vec()
        } else {
            Vec::new()
        }
    };
    if !read.opts().contains(OptionCode::OptionOverload) {
        prop_assert_eq!(said(read.sname()), name(&reply.sname, 64));
        prop_assert_eq!(said(read.fname()), name(&reply.file, 128));
    }
    prop_assert_eq!(bytes[0], 2);
    prop_assert_eq!(&bytes[4..8], &packet[4..8], "xid");
    prop_assert_eq!(&bytes[24..28], &packet[24..28], "giaddr");
    let length = usize::from(packet[2]).min(16);
    prop_assert_eq!(&bytes[28..28 + length], &packet[28..28 + length], "chaddr");
    let options =
        options(&bytes[240..]).ok_or_else(|| TestCaseError::fail("options do not end"))?;
    let bootp = reply.kind == ReplyKind::Bootp;
    prop_assert_eq!(options.contains_key(&53), !bootp);
    prop_assert_eq!(options.contains_key(&54), !bootp);
    prop_assert!(!bootp || !options.keys().any(|code| (50..60).contains(code)));
    for code in [CLIENT_ID, RELAY_INFO] {
        // BOOTP knows no client identifiers.
        if bootp && code == CLIENT_ID {
            continue;
        }
        // An empty option says nothing and is not echoed (RFC 3046 section 2.0
        // and RFC 2132 section 9.14 want two bytes at least).
        let sent = request.option(code).filter(|data| !data.is_empty());
        prop_assert_eq!(
            options.get(&code).map(Vec::as_slice),
            sent,
            "option {}",
            code
        );
    }
    let given = Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[16..20]).unwrap());
    if reply.kind == ReplyKind::Nak || given.is_unspecified() {
        prop_assert!(given.is_unspecified() && !options.contains_key(&51));
        return Ok(());
    }
    let subnet = SNAPSHOT
        .subnet(decision.subnet.as_deref().unwrap())
        .unwrap();
    prop_assert!(
        subnet.spec.is_host(given),
        "{} is no host of {}",
        given,
        subnet.key
    );
    let mac = request.client.mac.map(MacAddress::bytes);
    if let Some((_, owner)) = FIXED.iter().find(|(fixed, _)| *fixed == given) {
        let owner = owner.map(|last| [0x52, 0x54, 0, 0, 0, last]);
        prop_assert!(
            owner.is_some() && owner == mac,
            "{} is not for {:?}",
            given,
            mac
        );
    }
    if let Some(record) = before.get(given).filter(|record| record.expires > now) {
        let its_own = record.mac == request.client.mac
            && (record.mac.is_some() || record.client_id.as_deref() == request.client_id());
        // Who asks first has what another was offered and left lying.
        let left_lying =
            record.state == LeaseState::Offered && now.since(record.since) >= CONTESTED_SECS * 1000;
        prop_assert!(its_own || left_lying, "{} is {:?}", given, record);
    }
    Ok(())
}

/// The options of a field, joined; `None` where they do not end in order.
fn options(field: &[u8]) -> Option<BTreeMap<u8, Vec<u8>>> {
    let mut all: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    let mut rest = field;
    loop {
        let (code, behind) = rest.split_first()?;
        match code {
            0 => rest = behind,
            255 => return Some(all),
            code => {
                let (length, behind) = behind.split_first()?;
                let (data, behind) = behind.split_at_checked(usize::from(*length))?;
                all.entry(*code).or_default().extend(data);
                rest = behind;
            }
        }
    }
}

// === strategies ===

fn addresses() -> impl Strategy<Value = [u8; 4]> {
    prop_oneof![
        4 => Just([0; 4]),
        8 => (0u8..16).prop_map(|last| [192, 0, 2, last]),
        4 => (0u8..8).prop_map(|last| [10, 1, 0, last]),
        1 => any::<[u8; 4]>(),
    ]
}

/// The fixed part of a request, up to the cookie.
fn head() -> impl Strategy<Value = Vec<u8>> {
    let hardware = prop_oneof![
        9 => (1u8..9).prop_map(|last| (1, 6, [0x52, 0x54, 0, 0, 0, last])),
        1 => any::<(u8, u8, [u8; 6])>(),
    ];
    let giaddr = prop_oneof![3 => Just([0; 4]), 1 => addresses()];
    (hardware, any::<[u8; 8]>(), addresses(), giaddr).prop_map(
        |((htype, hlen, mac), word, ciaddr, giaddr)| {
            let mut head = vec![1, htype, hlen, 0];
            head.extend(word);
            head.extend(ciaddr);
            head.extend([0; 8]);
            head.extend(giaddr);
            head.extend(mac);
            head.resize(236, 0);
            head
        },
    )
}

/// One option that means something.
fn an_option() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let bytes = |size| prop::collection::vec(any::<u8>(), size);
    prop_oneof![
        4 => (Just(50), addresses().prop_map(Vec::from)),
        4 => (Just(54), select(vec![SERVER.octets().to_vec(), vec![192, 0, 2, 9]])),
        2 => (Just(60), select(vec!["PXEClient", "HTTPClient:Arch:00016", "other"]).prop_map(|text| text.as_bytes().to_vec())),
        2 => (Just(93), (0u8..42).prop_map(|number| vec![0, number])),
        1 => (Just(77), select(vec![b"iPXE".to_vec(), b"\x04iPXE".to_vec()])),
        1 => (Just(57), any::<[u8; 2]>().prop_map(Vec::from)),
        1 => (Just(55), bytes(0..40)),
        1 => (Just(61), bytes(0..30)),
        1 => (Just(82), bytes(0..300)),
        1 => (Just(97), bytes(0..20)),
        1 => (Just(12), bytes(0..20)),
        1 => (Just(52), bytes(0..2)),
        1 => (1u8..255, bytes(0..20)),
    ]
}

fn packet() -> impl Strategy<Value = Vec<u8>> {
    let kinds = select(vec![1u8, 1, 3, 3, 3, 3, 4, 7, 8]);
    (head(), kinds, prop::collection::vec(an_option(), 0..6)).prop_map(|(head, kind, options)| {
        let mut packet = head;
        packet.extend(COOKIE);
        if kind > 0 {
            packet.extend([53, 1, kind]);
        }
        for (code, data) in options.into_iter().filter(|(code, _)| *code != 53) {
            for part in data.chunks(255) {
                packet.extend([code, u8::try_from(part.len()).unwrap()]);
                packet.extend(part);
            }
        }
        packet.push(255);
        packet
    })
}

/// Bytes to overwrite: mostly none.
fn bend() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4),
    ]
}
