//! DHCPv4, at UDP 67 and 4011.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::LazyLock;

use reveille::clock::Millis;
use reveille::dhcp::decide::{Arrival, Outcome, decide, tells};
use reveille::dhcp::lookout::{Wire, lender};
use reveille::dhcp::reply::ReplyKind;
use reveille::dhcp::request::Request;
use reveille::lease::{Authority, LeaseTable, Shares};
use reveille::packets::{Decoded, Shown as _};
use reveille::snapshot::Acquaintances as _;
use reveille::timeline::Introductions;

use super::world::{SERVER, SNAPSHOT, START, nobody};

/// Leases that there are before the packet comes: lent, offered, declined.
static TABLE: LazyLock<LeaseTable> = LazyLock::new(|| {
    let mut table = LeaseTable::new();
    let told = nobody();
    for (mac, kind, address) in [(0x21, 1, 0), (0x21, 3, 7), (0x22, 1, 0), (0x23, 4, 9)] {
        let mut packet = vec![1, 1, 6, 0];
        packet.resize(28, 0);
        packet.extend([2, 0, 0, 0, 0, mac]);
        packet.resize(236, 0);
        packet.extend([99, 130, 83, 99, 53, 1, kind]);
        if address > 0 {
            packet.extend([50, 4, 192, 0, 2, address, 54, 4, 192, 0, 2, 1]);
        }
        packet.push(255);
        ask(&mut table, &told, START, 0, &packet);
    }
    table
});

/// The first byte says how the packet comes; the rest is the packet. It comes twice.
pub(crate) fn dhcp4(data: &[u8]) -> &'static str {
    let Some((how, packet)) = data.split_first() else {
        return "nothing";
    };
    let _ = lender(packet);
    let read = Decoded::read(packet);
    if let Some(read) = &read {
        let _ = read.lines();
    }
    let (mut table, told) = (TABLE.clone(), nobody());
    let first = ask(&mut table, &told, START, *how, packet);
    ask(&mut table, &told, START.plus_secs(3), *how, packet);
    first
}

fn ask(
    table: &mut LeaseTable,
    told: &Introductions,
    now: Millis,
    how: u8,
    packet: &[u8],
) -> &'static str {
    let request = match Request::parse(packet) {
        Ok(request) => request,
        Err(malformed) => return malformed.as_str(),
    };
    let subnets = [
        "default/lab",
        "default/lab",
        "default/beside",
        "default/auto",
    ];
    let shares = Shares {
        replicas: 2,
        ordinal: 1,
    };
    let arrival = Arrival {
        now,
        subnet: subnets[usize::from(how & 3)],
        server: SERVER,
        boot_port: (how & 4 > 0).then_some(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), 4011)),
        wire: match how & 24 {
            8 => Wire::Looking,
            16 => Wire::Shared(Ipv4Addr::new(10, 3, 0, 1)),
            _ => Wire::Alone,
        },
        unicast: how & 32 > 0 || !request.ciaddr.is_unspecified(),
        from: SocketAddrV4::new(request.giaddr, 67),
        told,
        loader_sent: how & 64 > 0,
        authority: if how & 128 > 0 {
            Authority::Standby { shares }
        } else {
            Authority::Sole
        },
    };
    let decision = decide(&SNAPSHOT, table, arrival, &request);
    if let (Some(mac), Some(tells)) = (request.client.mac, tells(&request, &decision)) {
        told.insert(mac, tells, now);
        let _ = told.identity(mac);
    }
    table.apply_all(&decision.changes);
    let reply = match &decision.outcome {
        Outcome::Ignored(ignored) => return ignored.as_str(),
        Outcome::Reply(reply) => reply,
    };
    let bytes = reply.encode(&request);
    assert!(bytes.len() >= 300, "a short reply");
    assert_eq!(bytes[0], 2);
    assert_eq!(&bytes[4..8], &packet[4..8], "xid");
    assert_eq!(&bytes[24..28], &packet[24..28], "giaddr");
    assert!(ends(&bytes[240..]), "options that do not end");
    let given = Ipv4Addr::from([bytes[16], bytes[17], bytes[18], bytes[19]]);
    if reply.kind != ReplyKind::LeaseActive && !given.is_unspecified() {
        let subnet = decision
            .subnet
            .as_deref()
            .and_then(|key| SNAPSHOT.subnet(key));
        let cidr = subnet.expect("an address of no Subnet").spec.cidr;
        assert!(
            cidr.is_some_and(|cidr| cidr.is_host(given)) && given != SERVER,
            "{given} is given away"
        );
    }
    assert!(
        Decoded::read(&bytes).is_some(),
        "a reply that cannot be read"
    );
    reply.kind.as_str()
}

/// Whether options end in order.
fn ends(mut field: &[u8]) -> bool {
    loop {
        field = match field {
            [255, ..] => return true,
            [0, rest @ ..] => rest,
            [_, length, rest @ ..] if rest.len() >= usize::from(*length) => {
                &rest[usize::from(*length)..]
            }
            _ => return false,
        };
    }
}
