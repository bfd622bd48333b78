//! What is answered to a request: the heart of the DHCP service.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::answer::{
    Asker, BootAnswer, boot_answer, boot_options, identity_options, lease_options, network_options,
    trust_options,
};
use super::classes::{class_of, pools};
use super::destination::{Destination, destination};
use super::hostname;
pub use super::ignored::Ignored;
use super::leasequery;
use super::lookout::{Acting, Wire};
use super::menu;
use super::networks::{key_of, networks};
use super::option;
use super::options::{tftp_servers, written_options};
use super::proxy::Neighbour;
use super::pxe::{self, Chosen, Vendor};
use super::quirks::{self, Treatment};
use super::relay::{RelayInfo, is_host, server_id};
use super::reply::{Reply, ReplyKind};
use super::request::{Request, RequestKind};
use crate::api::{ClientClass, Pool};
use crate::boot::ClientKind;
use crate::clock::Millis;
use crate::lease::{
    AllocateRequest, Answer, Authority, Change, Intent, LeaseTable, NakReason, SilentReason,
    allocate, is_first_offer, probation, wants_probe,
};
use crate::script::Urls;
use crate::snapshot::{Acquaintances, Identity, Plan, Snapshot, SubnetEntry, Verdict};
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
    /// Where it came from.
    pub from: SocketAddrV4,
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
    /// The client's class, empty for none; `None` where the Subnet has none.
    pub class: Option<String>,
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

/// Everything that one decision looks at.
pub(super) struct Case<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) subnet: &'a SubnetEntry,
    pub(super) plan: Plan<'a>,
    pub(super) class: Option<&'a ClientClass>,
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
    mut arrival: Arrival<'_>,
    request: &Request,
) -> Decision {
    if !is_answerable(arrival, request) {
        return Decision::silent(Ignored::SourceNoHost);
    }
    // A relay may know us by several addresses; its client chose one of them.
    let chosen = request.server_id().filter(|_| request.is_relayed());
    if let Some(own) = chosen.filter(|chosen| snapshot.own_addresses.contains(chosen)) {
        arrival.server = own;
    }
    if request.kind == RequestKind::LeaseQuery {
        return leasequery::answer(snapshot, table, arrival, request);
    }
    let identity = identity(arrival, request);
    let networks = match networks(snapshot, table, arrival, request, &identity) {
        Ok(networks) => networks,
        Err(ignored) => return Decision::silent(ignored),
    };
    let mut all = networks.into_iter();
    let decide_in = |subnet: &SubnetEntry| {
        let class = class_of(&subnet.spec, request);
        let mut identity = identity.clone();
        identity.class = Some(class.map_or_else(String::new, |class| class.name.clone()));
        let case = Case {
            snapshot,
            subnet,
            plan: snapshot.plan(subnet, &identity),
            class,
            arrival,
            request,
            table,
        };
        let mut decision = case.decide();
        decision.subnet = Some(subnet.key.clone());
        decision.machine = case.plan.machine_name().map(str::to_owned);
        decision.class = identity.class.filter(|_| !subnet.spec.classes.is_empty());
        decision
    };
    let first = all.next().map(decide_in);
    let mut decision = first.unwrap_or_else(|| Decision::silent(Ignored::SubnetGone));
    while decision.has_nothing_left() {
        let Some(next) = all.next().map(decide_in) else {
            break;
        };
        let mut changes = std::mem::replace(&mut decision, next).changes;
        changes.append(&mut decision.changes);
        decision.changes = changes;
    }
    decision
}

/// Whether a reply can reach the one who asks and nobody else: whoever sends
/// from, or answers at, an address of many would have us answer many.
fn is_answerable(arrival: Arrival<'_>, request: &Request) -> bool {
    let harmless = |address: Ipv4Addr| address.is_unspecified() || is_host(address);
    harmless(*arrival.from.ip()) && harmless(request.ciaddr)
}

/// What a request tells of its machine, for doors that see no more than an
/// address; nothing where a relay asks about it.
#[must_use]
pub fn tells(request: &Request, decision: &Decision) -> Option<Identity> {
    if request.kind == RequestKind::LeaseQuery {
        return None;
    }
    let mut told = says(request);
    told.class.clone_from(&decision.class);
    Some(told)
}

/// What it says itself. A client without an identifier has none, whatever it
/// said before; one that renews past its relay is where it was.
fn says(request: &Request) -> Identity {
    let mut identity = Identity {
        uuid: request.client.uuid,
        client_id: Some(request.client_id().unwrap_or_default().to_vec()),
        item: match request.client.kind {
            // Firmware that asks anew has chosen nothing yet; iPXE and the
            // system are what came of it.
            ClientKind::Pxe | ClientKind::HttpBoot => Some(menu::remembered(chosen(request))),
            ClientKind::Ipxe | ClientKind::Plain => None,
        },
        ..Identity::default()
    };
    if request.option(option::RELAY_INFO).is_some() {
        let relay = RelayInfo::of(request);
        identity.circuit_id = Some(relay.circuit_id().unwrap_or_default().to_vec());
        identity.remote_id = Some(relay.remote_id().unwrap_or_default().to_vec());
    }
    identity
}

/// What is known of who asks: what it says now, then what it said before.
fn identity(arrival: Arrival<'_>, request: &Request) -> Identity {
    let client = &request.client;
    let mut identity = says(request);
    identity.mac = client.mac;
    if let Some(mac) = client.mac {
        identity.complete(arrival.told.identity(mac));
    }
    identity
}

/// The item that a client asks a boot server for.
pub(super) fn chosen(request: &Request) -> Option<Chosen> {
    pxe::chosen(request.option(option::VENDOR_OPTIONS)?)
}

// === impl Decision ===

impl Decision {
    pub(super) fn silent(ignored: Ignored) -> Self {
        Self {
            outcome: Outcome::Ignored(ignored),
            changes: Vec::new(),
            subnet: None,
            machine: None,
            class: None,
            boot: None,
            nak: None,
            probe: None,
            neighbour: None,
        }
    }

    /// Whether another network of the same wire may have what this one has not.
    fn has_nothing_left(&self) -> bool {
        matches!(
            self.outcome,
            Outcome::Ignored(
                Ignored::BootpNotReserved
                    | Ignored::Lease(
                        SilentReason::PoolExhausted
                            | SilentReason::NoPool
                            | SilentReason::ReservedAddressBusy
                    )
            )
        )
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
        match self.request.kind {
            RequestKind::Inform => return self.settings_only(),
            RequestKind::Bootp => return self.bootp(),
            RequestKind::Discover
            | RequestKind::Request
            | RequestKind::Decline
            | RequestKind::Release
            | RequestKind::LeaseQuery => {}
        }
        let intent = match self.intent() {
            Ok(intent) => intent,
            Err(ignored) => return Decision::silent(ignored),
        };
        let (answer, changes, probe) = self.allocate(pools(&self.subnet.spec, self.class), intent);
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
        let own = [self.arrival.server, server_id(request, self.arrival.server)];
        let for_another = chosen.is_some_and(|server| !own.contains(&server));
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
            // Those that are no wish for an address were answered before.
            RequestKind::Release
            | RequestKind::Inform
            | RequestKind::Bootp
            | RequestKind::LeaseQuery => Err(Ignored::NoAddress),
        }
    }

    /// Asks the lease table, which may lend from `pools`.
    pub(super) fn allocate(
        &self,
        pools: &[Pool],
        intent: Intent,
    ) -> (Answer, Vec<Change>, Option<(Ipv4Addr, Change)>) {
        let spec = &self.subnet.spec;
        let Some(cidr) = spec.cidr else {
            return (Answer::Silent(SilentReason::NoPool), Vec::new(), None);
        };
        let taken = self.subnet.taken_from(self.class, self.arrival.server);
        let request = AllocateRequest {
            subnet: &self.subnet.key,
            cidr,
            pools,
            reserved: self.plan.reserved,
            taken: &taken,
            key: &key_of(self.subnet, self.request),
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
            && (wants_probe(now, self.table, &request, address)
                || spec.conflict_probe && is_first_offer(self.table, &request, address))
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
        // The answer goes to an address that the packet itself names.
        if !self.subnet.spec.is_host(self.request.ciaddr) {
            return Decision::silent(Ignored::SourceElsewhere);
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
            server: self.arrival.server.into(),
            port: self.snapshot.http_port,
            tls: false,
        };
        // What another server sends is not seen here: an iPXE that came from it
        // would be sent there again for ever.
        let elsewhere = self.next_server() != self.arrival.server;
        let loader_sent = self.arrival.loader_sent || elsewhere;
        let boot = boot_answer(
            self.snapshot,
            &self.plan,
            &Asker::from(self.request),
            &urls,
            loader_sent,
        );
        match quirks::of(self.request).map(|quirk| quirk.does) {
            Some(Treatment::RaspberryPi(text)) => self.pi_answer(text),
            Some(Treatment::TakesFile | Treatment::AsksBootServer) | None => boot,
        }
    }

    /// The menu that firmware is shown, where it has one and something boots it.
    /// Whoever takes no notice of it loads what the answer names all the same.
    pub(super) fn firmware_menu(&self, boot: &BootAnswer) -> Option<Vec<u8>> {
        let is_asked = self.request.client.kind == ClientKind::Pxe
            && self.arrival.boot_port.is_none()
            && self.plan.verdict == Verdict::Boot
            && boot.vendor.is_none()
            && !boot.file.is_empty();
        let profile = self.plan.profile.filter(|_| is_asked)?;
        menu::offered(self.snapshot, profile, self.arrival.server)
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
        let own = Some(yiaddr).filter(|address| !address.is_unspecified());
        let name = self.hostname(own.unwrap_or(self.request.ciaddr));
        network_options(&mut options, self.request, self.subnet, name.as_deref());
        hostname::fqdn_option(
            &mut options,
            self.request,
            &self.subnet.spec,
            name.as_deref(),
        );
        boot_options(&mut options, self.request, &boot, next_server);
        if let Some(menu) = self.firmware_menu(&boot) {
            options.insert(option::VENDOR_CLASS, b"PXEClient".to_vec());
            options.insert(option::VENDOR_OPTIONS, menu);
        }
        trust_options(&mut options, self.snapshot, &self.plan, &boot);
        tftp_servers(&mut options, self.request, &boot, next_server);
        written_options(
            &mut options,
            self.request,
            self.subnet,
            self.class,
            &self.plan,
        );
        identity_options(&mut options, self.request, self.server_id());
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
            destination: self.destination(yiaddr, false),
            options,
            about: None,
        };
        Decision {
            outcome: Outcome::Reply(Box::new(reply)),
            boot: Some(boot),
            ..Decision::silent(Ignored::Noted)
        }
    }

    fn nak(&self, reason: NakReason) -> Decision {
        let mut options = BTreeMap::new();
        identity_options(&mut options, self.request, self.server_id());
        options.insert(option::MESSAGE, reason.as_str().as_bytes().to_vec());
        let reply = Reply {
            kind: ReplyKind::Nak,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            sname: String::new(),
            file: String::new(),
            destination: self.destination(Ipv4Addr::UNSPECIFIED, true),
            options,
            about: None,
        };
        Decision {
            outcome: Outcome::Reply(Box::new(reply)),
            nak: Some(reason),
            ..Decision::silent(Ignored::Noted)
        }
    }

    fn server_id(&self) -> Ipv4Addr {
        server_id(self.request, self.arrival.server)
    }

    pub(super) fn destination(&self, yiaddr: Ipv4Addr, is_nak: bool) -> Destination {
        destination(self.request, yiaddr, is_nak, self.arrival.from.port())
    }

    /// The name that the client is told with `address`.
    pub(super) fn hostname(&self, address: Ipv4Addr) -> Option<String> {
        hostname::name(&self.plan, self.request, &self.subnet.spec, address)
    }
}
