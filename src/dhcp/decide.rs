//! What is answered to a request: the heart of the DHCP service.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::answer::{
    BootAnswer, boot_answer, boot_options, identity_options, lease_options, network_options,
};
use super::destination::destination;
use super::lookout::{Acting, Wire};
use super::option;
use super::proxy::Neighbour;
use super::pxe::Vendor;
use super::quirks::{self, Treatment};
use super::reply::{Reply, ReplyKind};
use super::request::{Malformed, Request, RequestKind};
use crate::clock::Millis;
use crate::lease::{
    AllocateRequest, Answer, Authority, Change, Intent, LeaseKey, LeaseTable, NakReason,
    SilentReason, allocate, probation, wants_probe,
};
use crate::script::Urls;
use crate::snapshot::{
    Acquaintances, Identity, Plan, Selection, Snapshot, SubnetEntry, Unserved, Verdict,
};
use crate::timeline::NextStep;

/// What the shell knows beside the packet.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// When it came.
    pub now: Millis,
    /// The Subnet of the interface on which it came, as `namespace/name`.
    pub subnet: &'a str,
    /// Our address there: option 54, siaddr and URLs.
    pub server: Ipv4Addr,
    /// Whether it was sent to our address alone: a renewal, maybe from behind
    /// a router. What is broadcast comes from the link itself.
    pub unicast: bool,
    /// Who asks, where it came by the boot server's port (UDP 4011).
    pub boot_port: Option<SocketAddrV4>,
    /// What was found of other servers there.
    pub wire: Wire,
    /// Whether this machine was sent our loader a moment ago.
    pub loader_sent: bool,
    /// What machines told of themselves lately.
    pub told: &'a dyn Acquaintances,
    /// What this replica may give of the pools.
    pub authority: Authority,
}

/// What is done about a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The reply, or why there is none.
    pub outcome: Outcome,
    /// What changes in the lease table; durable before an ACK leaves.
    pub changes: Vec<Change>,
    /// The Subnet that decided, as `namespace/name`; `None` where none did.
    pub subnet: Option<String>,
    /// The machine's object, by name.
    pub machine: Option<String>,
    /// What the client is told to boot; `None` where no reply leaves.
    pub boot: Option<BootAnswer>,
    /// Why the client may not have the address that it wants.
    pub nak: Option<NakReason>,
    /// The address of an offer that should be probed before the offer leaves,
    /// and the change that is due instead when somebody answers there.
    pub probe: Option<(Ipv4Addr, Change)>,
    /// Who was heard to have which address of another server.
    pub neighbour: Option<Neighbour>,
}

/// A reply or a silence with a name.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// This reply leaves.
    Reply(Box<Reply>),
    /// Nothing leaves, and this is what was done about it.
    Ignored(Ignored),
}

/// Why nothing is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ignored {
    /// The packet is no request.
    Malformed(Malformed),
    /// No Subnet is served on the interface any more.
    SubnetGone,
    /// The relay's network is none that is served.
    RelayUnknown,
    /// The Subnet does not serve this machine.
    Machine(Unserved),
    /// The client chose another server.
    OtherServer,
    /// A REQUEST that names no address.
    NoAddress,
    /// The lease table has nothing to say.
    Lease(SilentReason),
    /// More requests wait than are worth answering: clients ask again.
    QueueFull,
    /// It waited so long that the client has asked again or gone.
    Stale,
    /// A fault of ours; the packet is lost, nothing else.
    Fault,
    /// It does not boot: in a proxy's network, its addresses are not ours to
    /// lend, and it asks for nothing else.
    NotABootClient,
    /// It took the address that another server lends it, as it should where we
    /// are a proxy.
    LeasedElsewhere,
    /// It wants an address of a proxy.
    LendsNothing,
    /// A proxy that has nothing to tell this client stays out of its way.
    NothingToBoot,
    /// Another server lends addresses, and the Subnet says that we then answer
    /// nobody.
    ForeignServer,
    /// It is not known yet whether another server lends addresses.
    LookingForServers,
    /// What asks the boot server's port cannot be a host.
    AskerNoHost,
    /// A RELEASE or DECLINE was taken note of; none is answered by the RFC.
    Noted,
}

impl Ignored {
    /// Its name in log lines, metrics and scenarios.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed(malformed) => malformed.as_str(),
            Self::SubnetGone => "subnet-gone",
            Self::RelayUnknown => "relay-unknown",
            Self::Machine(unserved) => unserved.as_str(),
            Self::OtherServer => "other-server-chosen",
            Self::NoAddress => "no-address-named",
            Self::Lease(reason) => reason.as_str(),
            Self::QueueFull => "queue-full",
            Self::Stale => "stale",
            Self::Fault => "internal-fault",
            Self::NotABootClient => "not-a-boot-client",
            Self::LeasedElsewhere => "leased-elsewhere",
            Self::LendsNothing => "lends-nothing",
            Self::NothingToBoot => "nothing-to-boot",
            Self::ForeignServer => "foreign-server",
            Self::LookingForServers => "looking-for-servers",
            Self::AskerNoHost => "asker-no-host",
            Self::Noted => "noted",
        }
    }
}

/// Everything that one decision looks at.
pub(super) struct Case<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) subnet: &'a SubnetEntry,
    pub(super) plan: Plan<'a>,
    pub(super) arrival: Arrival<'a>,
    pub(super) request: &'a Request,
    pub(super) table: &'a LeaseTable,
}

/// Decides about `request`. The caller applies the changes to `table` before
/// the next decision, and sends the reply once they are durable.
#[must_use]
pub fn decide(
    snapshot: &Snapshot,
    table: &LeaseTable,
    arrival: Arrival<'_>,
    request: &Request,
) -> Decision {
    let subnet = match subnet_for(snapshot, arrival, request) {
        Ok(subnet) => subnet,
        Err(ignored) => return Decision::silent(ignored),
    };
    let case = Case {
        snapshot,
        subnet,
        plan: snapshot.plan(subnet, &identity(arrival, request)),
        arrival,
        request,
        table,
    };
    let mut decision = case.decide();
    decision.subnet = Some(subnet.key.clone());
    decision.machine = case.plan.machine_name().map(str::to_owned);
    decision
}

/// The Subnet that a request belongs to: its relay's, else that of the address
/// that it is sent from, else that of the interface.
///
/// A machine behind a relay renews, informs and releases past it, by unicast
/// and without giaddr; the server trusts its ciaddr (RFC 2131 section 4.3.2).
/// What is broadcast comes from the link: a machine that was moved here and
/// still rebinds its old address is told so.
fn subnet_for<'a>(
    snapshot: &'a Snapshot,
    arrival: Arrival<'_>,
    request: &Request,
) -> Result<&'a SubnetEntry, Ignored> {
    if !request.giaddr.is_unspecified() {
        let relayed = snapshot.subnet_of(request.giaddr);
        return relayed.ok_or(Ignored::RelayUnknown);
    }
    let here = snapshot.subnet(arrival.subnet).ok_or(Ignored::SubnetGone)?;
    if let Some(asker) = arrival.boot_port {
        return Ok(snapshot.subnet_of(*asker.ip()).unwrap_or(here));
    }
    let uses_address = match request.kind {
        RequestKind::Request => request.server_id().is_none(),
        RequestKind::Release | RequestKind::Inform => true,
        RequestKind::Discover | RequestKind::Decline => false,
    };
    if !arrival.unicast || !uses_address || here.spec.cidr.contains(request.ciaddr) {
        return Ok(here);
    }
    Ok(snapshot.subnet_of(request.ciaddr).unwrap_or(here))
}

/// What is known of who asks: what it says now, then what it said before.
fn identity(arrival: Arrival<'_>, request: &Request) -> Identity {
    let client = &request.client;
    let mut identity = Identity::from(client.mac);
    identity.uuid = client.uuid;
    if let Some(mac) = client.mac {
        identity.complete(arrival.told.identity(mac));
    }
    identity
}

// === impl Decision ===

impl Decision {
    pub(super) fn silent(ignored: Ignored) -> Self {
        Self {
            outcome: Outcome::Ignored(ignored),
            changes: Vec::new(),
            subnet: None,
            machine: None,
            boot: None,
            nak: None,
            probe: None,
            neighbour: None,
        }
    }
}

// === impl Case ===

impl Case<'_> {
    fn decide(&self) -> Decision {
        if let Some(unserved) = self.subnet.ignores(&self.plan) {
            return Decision::silent(Ignored::Machine(unserved));
        }
        let acting = Acting::of(&self.subnet.spec, self.arrival.wire);
        match (acting, self.arrival.boot_port) {
            (Acting::Looking, _) => return Decision::silent(Ignored::LookingForServers),
            (Acting::Refused, _) => return Decision::silent(Ignored::ForeignServer),
            (Acting::Server | Acting::Proxy, Some(asker)) => return self.at_boot_port(asker),
            (Acting::Proxy, None) => return self.beside(),
            (Acting::Server, None) => {}
        }
        if self.request.kind == RequestKind::Inform {
            return self.settings_only();
        }
        let intent = match self.intent() {
            Ok(intent) => intent,
            Err(ignored) => return Decision::silent(ignored),
        };
        let (answer, changes, probe) = self.allocate(intent);
        let mut decision = match answer {
            Answer::Offer(address) => self.give(ReplyKind::Offer, address),
            Answer::Ack(address) => self.give(ReplyKind::Ack, address),
            Answer::Nak(reason) => self.nak(reason),
            Answer::Silent(reason) => Decision::silent(Ignored::Lease(reason)),
            Answer::Done => Decision::silent(Ignored::Noted),
        };
        decision.changes = changes;
        decision.probe = probe;
        decision
    }

    /// What the request wants of the lease table, by RFC 2131 table 4.
    fn intent(&self) -> Result<Intent, Ignored> {
        let request = self.request;
        let chosen = request.server_id();
        let for_another = chosen.is_some_and(|server| server != self.arrival.server);
        let requested = request.requested();
        let has_address = !request.ciaddr.is_unspecified();
        match request.kind {
            RequestKind::Discover => Ok(Intent::Offer { requested }),
            RequestKind::Request if for_another => Ok(Intent::ChoseAnother),
            _ if for_another => Err(Ignored::OtherServer),
            // SELECTING; some ROMs name the address in ciaddr.
            RequestKind::Request if chosen.is_some() => Ok(Intent::Select {
                requested: requested.or_else(|| has_address.then_some(request.ciaddr)),
            }),
            RequestKind::Request if has_address => Ok(Intent::Renew {
                address: request.ciaddr,
            }),
            RequestKind::Request => {
                let requested = requested.ok_or(Ignored::NoAddress)?;
                Ok(Intent::InitReboot { requested })
            }
            RequestKind::Release if has_address => Ok(Intent::Release {
                address: request.ciaddr,
            }),
            RequestKind::Decline => {
                let address = requested.ok_or(Ignored::NoAddress)?;
                Ok(Intent::Decline { address })
            }
            RequestKind::Release | RequestKind::Inform => Err(Ignored::NoAddress),
        }
    }

    /// The key of the client's lease: its MAC address first, since ROM, iPXE
    /// and system send different client identifiers during one boot.
    fn key(&self) -> LeaseKey {
        match (self.request.client.mac, self.request.client_id()) {
            (Some(mac), _) => LeaseKey::Mac(mac),
            (None, id) => LeaseKey::ClientId(id.unwrap_or_default().to_vec()),
        }
    }

    fn allocate(&self, intent: Intent) -> (Answer, Vec<Change>, Option<(Ipv4Addr, Change)>) {
        let spec = &self.subnet.spec;
        let taken = self.subnet.taken(self.arrival.server);
        let request = AllocateRequest {
            subnet: &self.subnet.key,
            cidr: spec.cidr,
            pools: &spec.pools,
            reserved: self.plan.interface.and_then(|interface| interface.ip),
            taken: &taken,
            key: &self.key(),
            mac: self.request.client.mac,
            client_id: self.request.client_id(),
            hostname: self.request.hostname(),
            lifetime_secs: spec.lifetimes.valid.secs(),
            authoritative: spec.authoritative,
            authority: self.arrival.authority,
            intent,
        };
        let now = self.arrival.now;
        let (answer, changes) = allocate(now, self.table, &request);
        let probe = if let Answer::Offer(address) = answer
            && wants_probe(now, self.table, &request, address)
        {
            Some((address, probation(now, &request, address)))
        } else {
            None
        };
        (answer, changes, probe)
    }

    /// The reply that gives `address`.
    fn give(&self, kind: ReplyKind, address: Ipv4Addr) -> Decision {
        let mut options = BTreeMap::new();
        lease_options(&mut options, self.subnet);
        self.reply(kind, address, options)
    }

    /// The answer to INFORM: settings, no address, no times (RFC 2131 section 4.3.5).
    fn settings_only(&self) -> Decision {
        if self.request.ciaddr.is_unspecified() {
            return Decision::silent(Ignored::NoAddress);
        }
        self.reply(ReplyKind::Ack, Ipv4Addr::UNSPECIFIED, BTreeMap::new())
    }

    /// The server of the first file.
    pub(super) fn next_server(&self) -> Ipv4Addr {
        self.subnet.spec.next_server.unwrap_or(self.arrival.server)
    }

    /// What the client is told to boot, at whichever door it asks.
    pub(super) fn boot(&self) -> BootAnswer {
        let urls = Urls {
            server: self.arrival.server,
            port: self.snapshot.http_port,
        };
        // What another server sends is not seen here: an iPXE that came from it
        // would be sent there again for ever.
        let elsewhere = self.next_server() != self.arrival.server;
        let loader_sent = self.arrival.loader_sent || elsewhere;
        let boot = boot_answer(self.snapshot, &self.plan, self.request, &urls, loader_sent);
        match quirks::of(self.request).map(|quirk| quirk.does) {
            Some(Treatment::RaspberryPi(text)) => self.pi_answer(text),
            Some(Treatment::TakesFile | Treatment::AsksBootServer) | None => boot,
        }
    }

    /// A Raspberry Pi runs no loader of ours: it asks TFTP for names of its
    /// own, or, not being told so, goes on to its card.
    fn pi_answer(&self, text: &'static str) -> BootAnswer {
        let boots = matches!(self.plan.verdict, Verdict::Boot | Verdict::Tell);
        let profile = self.plan.profile.map(|profile| profile.name.name.clone());
        BootAnswer {
            file: String::new(),
            next: match profile {
                Some(profile) if boots => NextStep::Source {
                    profile,
                    file: String::new(),
                },
                _ => NextStep::Local,
            },
            vendor: boots.then_some(Vendor::RaspberryPi(text)),
            refused: None,
        }
    }

    fn reply(
        &self,
        kind: ReplyKind,
        yiaddr: Ipv4Addr,
        mut options: BTreeMap<u8, Vec<u8>>,
    ) -> Decision {
        let boot = self.boot();
        let next_server = self.next_server();
        network_options(&mut options, self.request, self.subnet, self.hostname());
        boot_options(&mut options, self.request, &boot, next_server);
        identity_options(&mut options, self.request, self.arrival.server);
        let boots = boot.names_server();
        let reply = Reply {
            kind,
            yiaddr,
            siaddr: if boots {
                next_server
            } else {
                Ipv4Addr::UNSPECIFIED
            },
            sname: if boots {
                next_server.to_string()
            } else {
                String::new()
            },
            file: boot.file.clone(),
            destination: destination(self.request, yiaddr, false),
            options,
        };
        Decision {
            outcome: Outcome::Reply(Box::new(reply)),
            boot: Some(boot),
            ..Decision::silent(Ignored::Noted)
        }
    }

    fn nak(&self, reason: NakReason) -> Decision {
        let mut options = BTreeMap::new();
        identity_options(&mut options, self.request, self.arrival.server);
        options.insert(option::MESSAGE, reason.as_str().as_bytes().to_vec());
        let reply = Reply {
            kind: ReplyKind::Nak,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            sname: String::new(),
            file: String::new(),
            destination: destination(self.request, Ipv4Addr::UNSPECIFIED, true),
            options,
        };
        Decision {
            outcome: Outcome::Reply(Box::new(reply)),
            nak: Some(reason),
            ..Decision::silent(Ignored::Noted)
        }
    }

    fn hostname(&self) -> Option<&str> {
        let machine = self.plan.machine?;
        let interface = self.plan.interface;
        if machine.selection == Selection::Refused {
            return None;
        }
        let own = interface.and_then(|interface| interface.hostname.as_deref());
        Some(own.unwrap_or(&machine.name.name))
    }
}
