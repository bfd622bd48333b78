//! Laws of DHCPv6 that hold for whatever a stranger sends.

#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

#[path = "support/cases.rs"]
mod cases;

use std::net::{Ipv6Addr, SocketAddrV6};
use std::path::Path;
use std::sync::LazyLock;

use dhcproto::v6::{DhcpOption, Message, OptionCode};
use dhcproto::{Decodable as _, Decoder};
use proptest::prelude::*;
use proptest::sample::select;
use reveille::boot::Architecture;
use reveille::clock::Millis;
use reveille::dhcp::v6::decide::{Arrival, Outcome, decide};
use reveille::dhcp::v6::request::{MAX_HOPS, Request};
use reveille::lease::{Authority, LeaseTable6};
use reveille::snapshot::{Settings, Snapshot, compile};
use reveille::standalone::read_text;

use self::cases::cases;

const DUID: [u8; 4] = [0, 4, 1, 2];

/// Two networks, so small that their pools run empty.
const WORLD: &str = r#"
{apiVersion: reveille.dev/v1alpha1, kind: Subnet, metadata: {name: lab}, spec: {mode: Server, cidr: 192.0.2.0/28, interface: eth0,
  ipv6: {cidr: "2001:db8::/64", pools: [{start: "2001:db8::1", end: "2001:db8::8"}], rapidCommit: true, preference: 9,
    dns: {servers: ["2001:db8::3"], search: [example.net]}}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Subnet, metadata: {name: far}, spec: {mode: Server, cidr: 10.1.0.0/29, authoritative: false, identity: ClientId,
  ipv6: {cidr: "2001:db8:1::/64", pools: [{start: "2001:db8:1::1", end: "2001:db8:1::3"}]}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: BootProfile, metadata: {name: debian}, spec: {default: true, linux: {kernel: {path: linux}}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: a}, spec: {interfaces: [{mac: "52:54:00:00:00:01", ipv6: "2001:db8::5"}]}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: b}, spec: {interfaces: [{mac: "52:54:00:00:00:02"}], boot: {policy: Local}}}
"#;

const fn at(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
}

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

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Request::parse(&bytes, at(9));
    }

    /// Options of any bytes behind a good head: what a stranger tries next.
    #[test]
    fn answers_lawfully_whatever_the_options_are(
        kind in 1u8..13,
        tail in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut packet = vec![kind, 1, 2, 3, 0, 1, 0, 4, 0, 2, 7, 7];
        packet.extend(tail);
        answer(&mut LeaseTable6::new(), Millis(0), &packet, at(9))?;
    }
}

proptest! {
    #![proptest_config(cases(500))]

    /// A conversation of packets that mean something, some of them bent: no two
    /// clients have one address.
    #[test]
    fn answers_lawfully_in_every_conversation(
        packets in prop::collection::vec((packet(), bend(), 0u64..90_000_000), 1..24),
    ) {
        let mut table = LeaseTable6::new();
        let mut now = Millis::from_secs(1_760_000_000);
        for ((mut packet, from), bends, pause) in packets {
            for (at, byte) in bends {
                let at = at.index(packet.len());
                packet[at] = byte;
            }
            // Most pauses are short, some are longer than a probation.
            now = now.plus_millis(if pause % 3 == 0 { pause } else { pause % 5000 });
            answer(&mut table, now, &packet, from)?;
        }
    }
}

/// Decides about `packet` as the engine does, and holds the answer against what
/// every answer must be.
fn answer(
    table: &mut LeaseTable6,
    now: Millis,
    packet: &[u8],
    from: Ipv6Addr,
) -> Result<(), TestCaseError> {
    let Ok(request) = Request::parse(packet, from) else {
        return Ok(());
    };
    prop_assert!(request.hops.len() <= MAX_HOPS);
    let arrival = Arrival {
        now,
        subnet: "default/lab",
        server: at(1),
        duid: &DUID,
        from: SocketAddrV6::new(from, 546, 0, 0),
        unicast: false,
        loader_sent: &|_| false,
        told: &(),
        authority: Authority::Sole,
    };
    let decision = decide(&SNAPSHOT, table, arrival, &request);
    let before = table.clone();
    table.apply_all(&decision.changes);
    let Outcome::Reply(reply) = &decision.outcome else {
        prop_assert!(decision.changes.is_empty(), "a silence changes leases");
        return Ok(());
    };
    let mut bytes = &reply.encode(&request)[..];
    let mut hops = request.hops.iter();
    // Each relay has its own words back: type, hops, link, peer.
    while bytes[0] == 13 {
        let hop = hops.next().unwrap();
        prop_assert_eq!(bytes[1], hop.count);
        prop_assert_eq!(&bytes[2..18], &hop.link.octets());
        prop_assert_eq!(&bytes[18..34], &hop.peer.octets());
        bytes = relayed(&bytes[34..]);
    }
    prop_assert!(hops.next().is_none());
    // A library's decoder reads all that we send.
    let message = Message::decode(&mut Decoder::new(bytes));
    let message = message.map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(message.xid(), request.xid);
    let server = message.opts().get(OptionCode::ServerId);
    prop_assert_eq!(server, Some(&DhcpOption::ServerId(DUID.to_vec())));
    let mut lent = Vec::new();
    for option in message.opts().iter() {
        if let DhcpOption::IANA(association) = option {
            for inner in association.opts.iter() {
                if let DhcpOption::IAAddr(address) = inner
                    && address.valid_life > 0
                {
                    prop_assert!(association.t1 < association.t2);
                    lent.push(address.addr);
                }
            }
        }
    }
    prop_assert!(
        lent.len() <= 1,
        "one address for each interface: {:?}",
        lent
    );
    prop_assert_eq!(lent.first().copied(), decision.address);
    let Some(given) = decision.address else {
        return Ok(());
    };
    let subnet = SNAPSHOT
        .subnet(decision.subnet.as_deref().unwrap())
        .unwrap();
    let network = subnet.spec.ipv6.as_ref().unwrap();
    prop_assert!(network.cidr.is_host(given), "{} is no host", given);
    prop_assert!(given != at(1) && given != at(3), "{} is a server's", given);
    if given == at(5) {
        prop_assert_eq!(decision.machine.as_deref(), Some("a"));
    }
    // Whoever had it before is the one that has it now.
    if let Some(record) = before.get(given).filter(|record| record.expires > now) {
        let after = table.get(given).unwrap();
        prop_assert_eq!(&record.key, &after.key, "{} had it: {:?}", given, record);
    }
    Ok(())
}

/// The message inside a relay's.
fn relayed(mut options: &[u8]) -> &[u8] {
    loop {
        let code = u16::from_be_bytes([options[0], options[1]]);
        let length = usize::from(u16::from_be_bytes([options[2], options[3]]));
        let data = &options[4..4 + length];
        if code == 9 {
            return data;
        }
        options = &options[4 + length..];
    }
}

// === strategies ===

fn put(packet: &mut Vec<u8>, code: u16, data: &[u8]) {
    packet.extend(code.to_be_bytes());
    packet.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    packet.extend(data);
}

fn addresses() -> impl Strategy<Value = Ipv6Addr> {
    prop_oneof![
        6 => (0u16..10).prop_map(at),
        2 => (0u16..5).prop_map(|last| Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, last)),
        1 => any::<[u8; 16]>().prop_map(Ipv6Addr::from),
    ]
}

/// One option that means something.
fn an_option() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let bytes = |size| prop::collection::vec(any::<u8>(), size);
    let association = (0u8..3, prop::collection::vec(addresses(), 0..3)).prop_map(|(iaid, all)| {
        let mut data = vec![0, 0, 0, iaid, 0, 0, 0, 0, 0, 0, 0, 0];
        for address in all {
            put(&mut data, 5, &[&address.octets()[..], &[0; 8]].concat());
        }
        data
    });
    let class = select(vec!["PXEClient:Arch:00007", "HTTPClient", "other"]);
    let class = class.prop_map(|text| {
        [
            &[0, 0, 1, 87, 0, u8::try_from(text.len()).unwrap()],
            text.as_bytes(),
        ]
        .concat()
    });
    prop_oneof![
        12 => (Just(3), association),
        6 => (Just(2), select(vec![DUID.to_vec(), vec![0, 4, 9]])),
        2 => (Just(16), class),
        2 => (Just(61), (0u8..42).prop_map(|number| vec![0, number])),
        1 => (Just(15), Just(b"\0\x04iPXE".to_vec())),
        1 => (Just(14), Just(Vec::new())),
        1 => (Just(4), bytes(4..8)),
        1 => (Just(25), bytes(12..20)),
        1 => (Just(6), bytes(0..20)),
        1 => (1u16..140, bytes(0..20)),
    ]
}

/// A packet of one of a few clients, maybe through relays, and where it is from.
fn packet() -> impl Strategy<Value = (Vec<u8>, Ipv6Addr)> {
    let kinds = select(vec![1u8, 1, 3, 3, 3, 5, 5, 6, 8, 9, 4, 11]);
    let options = prop::collection::vec(an_option(), 0..6);
    let relays = prop::collection::vec((addresses(), any::<bool>()), 0..3);
    (kinds, 1u8..6, any::<bool>(), options, relays).prop_map(
        |(kind, who, drawn, options, relays)| {
            let mut message = vec![kind, 1, 2, 3];
            put(&mut message, 1, &[0, 3, 0, 1, 0x52, 0x54, 0, 0, 0, who]);
            for (code, data) in options {
                put(&mut message, code, &data);
            }
            let last = u16::from(who);
            let peer = if drawn {
                Ipv6Addr::new(0xfe80, 0, 0, 0, 1, 2, 3, last)
            } else {
                Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe00, last)
            };
            for (count, (link, id)) in relays.into_iter().enumerate() {
                let mut outer = vec![12, u8::try_from(count).unwrap()];
                outer.extend(link.octets());
                outer.extend(peer.octets());
                if id {
                    put(&mut outer, 18, b"port");
                }
                put(&mut outer, 9, &message);
                message = outer;
            }
            (message, peer)
        },
    )
}

/// Bytes to overwrite: mostly none.
fn bend() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4),
    ]
}
