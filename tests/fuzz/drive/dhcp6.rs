//! DHCPv6.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::LazyLock;

use dhcproto::v6::Message;
use dhcproto::{Decodable as _, Decoder};
use reveille::clock::Millis;
use reveille::dhcp::v6::decide::{Arrival, Outcome, decide};
use reveille::dhcp::v6::request::{MAX_HOPS, Request};
use reveille::lease::{Authority, LeaseTable6, Shares};
use reveille::packets::{Decoded6, Shown as _};
use reveille::timeline::Introductions;

use super::world::{SNAPSHOT, START, nobody};

const DUID: [u8; 4] = [0, 4, 1, 2];

const fn at(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
}

/// An address that somebody has before the packet comes.
static TABLE: LazyLock<LeaseTable6> = LazyLock::new(|| {
    let mut table = LeaseTable6::new();
    let mut packet = vec![3, 1, 2, 3, 0, 1, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 0x21];
    packet.extend([0, 2, 0, 4]);
    packet.extend(DUID);
    packet.extend([0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    ask(&mut table, &nobody(), START, 0, &packet);
    table
});

/// The first byte says how the packet comes; the rest is the packet. It comes twice.
pub(crate) fn dhcp6(data: &[u8]) -> &'static str {
    let Some((how, packet)) = data.split_first() else {
        return "nothing";
    };
    if let Some(read) = Decoded6::read(packet) {
        let _ = read.lines();
    }
    let (mut table, told) = (TABLE.clone(), nobody());
    let first = ask(&mut table, &told, START, *how, packet);
    ask(&mut table, &told, START.plus_secs(3), *how, packet);
    first
}

fn ask(
    table: &mut LeaseTable6,
    told: &Introductions,
    now: Millis,
    how: u8,
    packet: &[u8],
) -> &'static str {
    let from = match how & 3 {
        0 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe00, 1),
        1 => at(9),
        2 => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 9),
        _ => Ipv6Addr::UNSPECIFIED,
    };
    let request = match Request::parse(packet, from) {
        Ok(request) => request,
        Err(malformed) => return malformed.as_str(),
    };
    assert!(request.hops.len() <= MAX_HOPS);
    let sent = how & 8 > 0;
    let shares = Shares {
        replicas: 2,
        ordinal: 1,
    };
    let arrival = Arrival {
        now,
        subnet: "default/lab",
        server: at(1),
        duid: &DUID,
        from: SocketAddrV6::new(from, 546, 0, 0),
        unicast: how & 4 > 0,
        loader_sent: &|_| sent,
        told,
        authority: if how & 16 > 0 {
            Authority::Standby { shares }
        } else {
            Authority::Sole
        },
    };
    let decision = decide(&SNAPSHOT, table, arrival, &request);
    table.apply_all(&decision.changes);
    let reply = match &decision.outcome {
        Outcome::Ignored(ignored) => return ignored.as_str(),
        Outcome::Reply(reply) => reply,
    };
    let bytes = reply.encode(&request);
    let message = inner(&bytes);
    let message = Message::decode(&mut Decoder::new(message)).expect("a reply that cannot be read");
    assert_eq!(message.xid(), request.xid, "xid");
    if let Some(given) = decision.address {
        let subnet = decision
            .subnet
            .as_deref()
            .and_then(|key| SNAPSHOT.subnet(key));
        let network = subnet.and_then(|subnet| subnet.spec.ipv6.as_ref());
        let cidr = network.expect("an address of no network").cidr;
        assert!(cidr.is_host(given), "{given} is no host");
        assert!(given != at(1) && given != at(3), "{given} is a server's");
        "address"
    } else {
        "reply"
    }
}

/// The message that relays carry.
fn inner(mut bytes: &[u8]) -> &[u8] {
    while bytes[0] == 13 {
        let mut options = &bytes[34..];
        loop {
            let code = u16::from_be_bytes([options[0], options[1]]);
            let length = usize::from(u16::from_be_bytes([options[2], options[3]]));
            if code == 9 {
                bytes = &options[4..4 + length];
                break;
            }
            options = &options[4 + length..];
        }
    }
    bytes
}
