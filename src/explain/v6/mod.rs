//! The same over IPv6: the SOLICITs and REQUESTs that the machine would send
//! ([`Question6`]), what [`decide`] answers, and
//! the script. Core.

mod cure;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};

use serde::{Deserialize, Serialize};

use super::cure::of_no_loader;
use super::stage::{next, script, silent};
use super::{
    Ask, Exchange, NotExplained, Stage, Subject, World, named, nobody, not_its_own, of_mac,
    of_uuid, several,
};
use crate::api::{Interface, Ipv6Network};
use crate::boot::{Architecture, MacAddress};
use crate::dhcp::v6::decide::{Arrival, Decision, Ignored, Outcome, decide};
use crate::dhcp::v6::option;
use crate::dhcp::v6::reply::{Reply, ReplyKind};
use crate::dhcp::v6::request::{Request, RequestKind, uuid_of_duid};
use crate::dhcp::v6::socket::{CLIENT_PORT, SERVER_PORT};
use crate::lease::{Authority, LeaseState, LeaseTable6};
use crate::packets::options::hex;
use crate::packets::{Decoded6, Question, Question6, Role};
use crate::snapshot::SubnetEntry;

/// What answers are made from besides.
#[derive(Clone, Copy, Debug)]
pub struct World6<'a> {
    /// Who has which address.
    pub table: &'a LeaseTable6,
    /// Our address on each Subnet (`namespace/name`), as far as it is known.
    pub servers: &'a BTreeMap<String, Ipv6Addr>,
    /// Our DUID.
    pub duid: &'a [u8],
    /// Which part of the pools is ours to lend.
    pub authority: Authority,
}

/// What a machine gets over IPv6.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Over6 {
    /// Our address there.
    pub server: Ipv6Addr,
    /// What each of its firmwares and loaders gets. A BIOS speaks no IPv6; an iPXE
    /// that it loaded may.
    pub stages: Vec<Stage<Decoded6>>,
}

/// A request as it arrives.
#[derive(Clone, Copy, Debug)]
pub struct Arriving6<'a> {
    /// Its bytes.
    pub packet: &'a [u8],
    /// The Subnet of the interface, as `namespace/name`.
    pub subnet: &'a str,
    /// Our address there.
    pub server: Ipv6Addr,
    /// Where it came from.
    pub from: SocketAddrV6,
    /// Whether it came to that address alone.
    pub unicast: bool,
    /// Whether the machine was sent our loader a moment ago.
    pub loader_sent: bool,
}

/// A packet of a capture.
#[derive(Clone, Copy, Debug)]
pub struct Caught6<'a> {
    /// Its bytes.
    pub packet: &'a [u8],
    /// Who sent it.
    pub from: SocketAddrV6,
    /// Where it was sent to.
    pub to: Ipv6Addr,
}

/// Decides about a packet as the engine does: with `table`, which changes by it.
/// What would leave is in the [`Exchange`].
pub fn exchange6(
    world: World<'_>,
    table: &mut LeaseTable6,
    arriving: Arriving6<'_>,
) -> Exchange<Decoded6> {
    let seen = Decoded6::read(arriving.packet);
    let request = match Request::parse(arriving.packet, *arriving.from.ip()) {
        Ok(request) => request,
        Err(malformed) => return unanswered(seen, Ignored::Malformed(malformed)),
    };
    let arrival = Arrival {
        now: world.now,
        subnet: arriving.subnet,
        server: arriving.server,
        duid: world.six.duid,
        from: arriving.from,
        unicast: arriving.unicast,
        loader_sent: &|_| arriving.loader_sent,
        told: world.told,
        authority: world.six.authority,
    };
    let decision = decide(world.snapshot, table, arrival, &request);
    table.apply_all(&decision.changes);
    match &decision.outcome {
        Outcome::Ignored(ignored) => unanswered(seen, *ignored),
        Outcome::Reply(reply) => answered(seen, &request, &decision, reply),
    }
}

fn unanswered(request: Option<Decoded6>, why: Ignored) -> Exchange<Decoded6> {
    silent(request, why.as_str(), cure::of_silence(why))
}

fn answered(
    seen: Option<Decoded6>,
    request: &Request,
    decision: &Decision,
    reply: &Reply,
) -> Exchange<Decoded6> {
    let bytes = reply.encode(request);
    let no_address = decision.refused;
    let boot = decision.boot.as_ref();
    let no_file = boot.and_then(|boot| boot.refused);
    let asks_one = request.kind != RequestKind::Information;
    let says = match boot {
        None => "it is told how it went".to_owned(),
        Some(_) if asks_one && decision.address.is_none() => {
            "it gets no address, and makes nothing of the rest".to_owned()
        }
        Some(boot) => next(boot),
    };
    Exchange {
        request: seen,
        outcome: reply.kind.as_str().to_owned(),
        answered: true,
        reason: no_address
            .map(|reason| reason.as_str().to_owned())
            .or_else(|| no_file.map(|reason| reason.as_str().to_owned())),
        cure: no_address
            .map_or_else(|| no_file.map(of_no_loader), cure::of_lease)
            .map(str::to_owned),
        next: Some(says),
        destination: Some(
            if request.is_relayed() {
                "relay"
            } else {
                "client"
            }
            .to_owned(),
        ),
        reply: Decoded6::read(&bytes),
        reply_hex: Some(hex(&bytes)),
    }
}

/// Explains a packet of a capture. `table` changes by it, as it did on the wire.
///
/// # Errors
/// [`NotExplained`]: which Subnet it came to is not known.
pub fn packet(
    world: World<'_>,
    table: &mut LeaseTable6,
    subnet: Option<&str>,
    caught: Caught6<'_>,
) -> Result<Exchange<Decoded6>, NotExplained> {
    let all = world.snapshot.subnets.iter();
    let six: Vec<_> = all.filter(|subnet| subnet.spec.ipv6.is_some()).collect();
    let subnet = match (subnet, six.as_slice()) {
        (Some(name), _) => named(world, name)?,
        (None, [only]) => *only,
        (None, []) => {
            return Err(NotExplained(
                "no Subnet has an `ipv6`, so nothing hears DHCPv6".to_owned(),
            ));
        }
        (None, _) => world.snapshot.subnet_of(caught.to).ok_or_else(several)?,
    };
    let network = subnet.spec.ipv6.as_ref();
    let server = network.map(|network| server(world, subnet, network, &mut Vec::new()));
    let arriving = Arriving6 {
        packet: caught.packet,
        subnet: &subnet.key,
        server: server.unwrap_or(Ipv6Addr::UNSPECIFIED),
        from: caught.from,
        unicast: !caught.to.is_multicast(),
        // Whose iPXE it is cannot be seen: that of a boot which went well.
        loader_sent: true,
    };
    Ok(exchange6(world, table, arriving))
}

/// What the machine of `question` gets on `subnet`; `None` where that has no IPv6.
pub(super) fn over(
    world: World<'_>,
    subnet: &SubnetEntry,
    ask: &Ask,
    question: Question,
    architectures: &[Architecture],
    notes: &mut Vec<String>,
) -> Option<Over6> {
    let network = subnet.spec.ipv6.as_ref()?;
    let server = server(world, subnet, network, notes);
    let question = Question6 {
        role: Role::System,
        mac: question.mac,
        uuid: question.uuid,
        relay: match ask.relay {
            Some(IpAddr::V6(link)) => Some(link),
            Some(IpAddr::V4(_)) | None => None,
        },
        xid: [0, 0, 1],
    };
    if !subnet.hears_v6 && question.relay.is_none() {
        notes.push(format!(
            "{} has no interface of its own for IPv6: machines reach it through a relay only; name its link by --relay",
            subnet.key
        ));
    }
    let mut stages = Vec::new();
    let mut add = |role| {
        let question = Question6 { role, ..question };
        stages.push(stage(world, subnet, network, server, question));
    };
    for architecture in architectures.iter().copied() {
        if architecture.is_uefi() {
            add(Role::Pxe(architecture));
            add(Role::HttpBoot(architecture));
        }
        add(Role::Ipxe(architecture));
    }
    add(Role::System);
    Some(Over6 { server, stages })
}

fn stage(
    world: World<'_>,
    subnet: &SubnetEntry,
    network: &Ipv6Network,
    server: Ipv6Addr,
    question: Question6,
) -> Stage<Decoded6> {
    // What one stage is lent is not there for the next: each is asked alone.
    let mut table = world.six.table.clone();
    let first = Arriving6 {
        packet: &question.solicit(),
        subnet: &subnet.key,
        server,
        from: match question.relay {
            Some(link) => SocketAddrV6::new(link, SERVER_PORT, 0, 0),
            None => SocketAddrV6::new(question.address(), CLIENT_PORT, 0, 0),
        },
        unicast: false,
        loader_sent: matches!(question.role, Role::Ipxe(_)),
    };
    let mut last = exchange6(world, &mut table, first);
    let offered = last.reply.as_ref().and_then(Decoded6::lent);
    if let Some(address) = offered
        && last.outcome == ReplyKind::Advertise.as_str()
    {
        let request = Arriving6 {
            packet: &question.request(address, world.six.duid),
            ..first
        };
        last = exchange6(world, &mut table, request);
    }
    let script = last.reply.as_ref().and_then(|reply| {
        let url = reply.option(option::BOOT_FILE_URL)?;
        let door = network.server.unwrap_or(server);
        let who = (question.role, question.mac);
        script(world, door.into(), who, (url, reply.lent()?.into()))
    });
    Stage {
        client: question.role.as_str().to_owned(),
        architecture: question.role.architecture(),
        exchange: last,
        boot_server: None,
        script,
    }
}

/// Our address on `subnet`; a note where it is a guess.
fn server(
    world: World<'_>,
    subnet: &SubnetEntry,
    network: &Ipv6Network,
    notes: &mut Vec<String>,
) -> Ipv6Addr {
    if let Some(server) = world.six.servers.get(&subnet.key) {
        return *server;
    }
    let (server, from) = match network.server {
        Some(server) => (server, "its ipv6.server"),
        None => {
            let first = network
                .cidr
                .net()
                .hosts()
                .find(|host| network.cidr.is_host(*host));
            let first = first.unwrap_or(Ipv6Addr::LOCALHOST);
            (first, "the IPv6 network's first")
        }
    };
    notes.push(format!(
        "the server's own IPv6 address on {} is not known here: {server}, {from}, stands for it; name it by --server",
        subnet.key
    ));
    server
}

// === who and where ===

pub(super) fn of_address(world: World<'_>, address: Ipv6Addr) -> Result<Subject<'_>, NotExplained> {
    let reserved = world.snapshot.machines.iter().find_map(|machine| {
        let mut interfaces = machine.spec().interfaces.iter();
        interfaces.find(|interface| interface.ipv6 == Some(address))
    });
    let lease = world.six.table.get(address).filter(|lease| {
        matches!(lease.state, LeaseState::Bound | LeaseState::Offered) && lease.expires > world.now
    });
    let mut subject = match (lease, reserved) {
        (Some(lease), _) => match (lease.mac, uuid_of_duid(&lease.duid)) {
            (Some(mac), _) => of_mac(world, mac, None),
            (None, Some(uuid)) => of_uuid(world, uuid),
            (None, None) => {
                return Err(NotExplained(format!(
                    "{address} is lent to a client that names neither MAC address nor UUID: its DUID is {}",
                    hex(&lease.duid)
                )));
            }
        },
        (None, Some(interface)) => of_mac(world, interface.mac, None),
        (None, None) => return Err(nobody(address)),
    };
    subject.address = Some(address.into());
    if let (Some(mac), Some(interface)) = (lease.and_then(|lease| lease.mac), reserved)
        && interface.mac != mac
    {
        subject.notes.push(not_its_own(address, interface.mac, mac));
    }
    Ok(subject)
}

/// Whether `mac` has a lease on `subnet`.
pub(super) fn has_lease(world: World<'_>, mac: MacAddress, subnet: &SubnetEntry) -> bool {
    let mut leases = world.six.table.iter();
    leases.any(|lease| lease.mac == Some(mac) && *lease.subnet == *subnet.key)
}

/// Whether an address of `interface` lies in a network of `subnet`.
pub(super) fn lies_in(interface: &Interface, subnet: &SubnetEntry) -> bool {
    let four = interface.ip.is_some_and(|ip| subnet.spec.contains(ip));
    let network = subnet.spec.ipv6.as_ref();
    let pair = network.zip(interface.ipv6);
    four || pair.is_some_and(|(network, ip)| network.cidr.contains(ip))
}
