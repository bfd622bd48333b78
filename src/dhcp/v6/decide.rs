//! What is answered to a DHCPv6 request.

use std::net::{Ipv6Addr, SocketAddrV6};

use super::boot::{boot, boot_options, network_options};
use super::option;
use super::reply::{Reply, ReplyKind, Status, association, refused};
use super::request::{Association, Hop, Malformed, Other, Request, RequestKind};
use super::wire::Options;
use crate::api::{Ipv6Network, LeaseIdentity};
use crate::boot::{Client, MacAddress};
use crate::clock::Millis;
use crate::dhcp::answer::BootAnswer;
use crate::dhcp::classes::class_of;
use crate::lease::{
    AllocateRequest6, Answer6, Authority, Change6, Intent6, LeaseKey, LeaseTable6, NoBinding,
    SilentReason, allocate6, association_key,
};
use crate::snapshot::{Acquaintances, Identity, Plan, Snapshot, SubnetEntry, Unserved};

/// What the shell knows beside the packet.
#[derive(Clone, Copy)]
pub struct Arrival<'a> {
    /// When it came.
    pub now: Millis,
    /// The Subnet of the interface on which it came, as `namespace/name`.
    pub subnet: &'a str,
    /// Our address there, for URLs.
    pub server: Ipv6Addr,
    /// Our DUID.
    pub duid: &'a [u8],
    /// Where it came from.
    pub from: SocketAddrV6,
    /// Whether it was sent to our address alone.
    pub unicast: bool,
    /// Which machines were sent our loader a moment ago.
    pub loader_sent: &'a dyn Fn(MacAddress) -> bool,
    /// What machines told of themselves lately.
    pub told: &'a dyn Acquaintances,
    /// Which part of the pools is this replica's.
    pub authority: Authority,
}

/// What is done about a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The reply, or why there is none.
    pub outcome: Outcome,
    /// What changes in the lease table; durable before a REPLY leaves.
    pub changes: Vec<Change6>,
    /// Who asked, by the MAC address that it is known by.
    pub client: Client,
    /// The Subnet that decided, as `namespace/name`; `None` where none did.
    pub subnet: Option<String>,
    /// The machine's object, by name.
    pub machine: Option<String>,
    /// What the client is told to boot; `None` where the reply is not about that.
    pub boot: Option<BootAnswer>,
    /// The address that is lent or advertised.
    pub address: Option<Ipv6Addr>,
    /// Why it gets no address.
    pub refused: Option<SilentReason>,
    /// The client's class; `None` where what it says is of none.
    pub class: Option<String>,
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
    /// The link that its relay names is none that is served.
    RelayUnknown,
    /// It comes from an address that no host can have.
    SourceNoHost,
    /// This machine asked too often.
    TooOften,
    /// The Subnet does not serve this machine.
    Machine(Unserved),
    /// The client chose another server.
    OtherServer,
    /// It was sent to us alone, and must be sent to everyone (RFC 8415 section
    /// 18.4.1).
    NotToEveryone,
    /// It asks whether no address at all fits the link.
    NoAddress,
    /// It asks for settings alone, and for addresses (RFC 8415 section 16.12).
    AddressesAsked,
    /// It asks for nothing that an address could be lent for.
    NothingAsked,
    /// The lease table has nothing to say.
    Lease(SilentReason),
    /// More requests wait than are worth answering: clients ask again.
    QueueFull,
    /// It waited so long that the client has asked again or gone.
    Stale,
    /// A fault of ours; the packet is lost, nothing else.
    Fault,
}

impl Ignored {
    /// Its name in log lines, metrics and scenarios.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed(malformed) => malformed.as_str(),
            Self::SubnetGone => "subnet-gone",
            Self::RelayUnknown => "relay-unknown",
            Self::SourceNoHost => "source-no-host",
            Self::TooOften => "too-often",
            Self::Machine(unserved) => unserved.as_str(),
            Self::OtherServer => "other-server-chosen",
            Self::NotToEveryone => "not-sent-to-everyone",
            Self::NoAddress => "no-address-named",
            Self::AddressesAsked => "addresses-asked",
            Self::NothingAsked => "nothing-asked",
            Self::Lease(reason) => reason.as_str(),
            Self::QueueFull => "queue-full",
            Self::Stale => "stale",
            Self::Fault => "internal-fault",
        }
    }
}

/// Everything that one decision looks at.
struct Case<'a> {
    snapshot: &'a Snapshot,
    subnet: &'a SubnetEntry,
    network: &'a Ipv6Network,
    plan: Plan<'a>,
    arrival: Arrival<'a>,
    request: &'a Request,
    table: &'a LeaseTable6,
}

/// What was found out about the addresses that a request asks for.
#[derive(Default)]
struct Lent {
    options: Options,
    changes: Vec<Change6>,
    address: Option<Ipv6Addr>,
    refused: Option<SilentReason>,
}

/// Decides about `request`. The caller applies the changes to `table` before
/// the next decision, and sends a REPLY once they are durable.
#[must_use]
pub fn decide(
    snapshot: &Snapshot,
    table: &LeaseTable6,
    arrival: Arrival<'_>,
    request: &Request,
) -> Decision {
    let silent = |ignored| Decision::silent(request.client, ignored);
    let from = arrival.from.ip();
    if from.is_multicast() || from.is_unspecified() || from.is_loopback() {
        return silent(Ignored::SourceNoHost);
    }
    let subnet = match network_of(snapshot, arrival.subnet, &request.hops) {
        Ok(subnet) => subnet,
        Err(ignored) => return silent(ignored),
    };
    let Some(network) = &subnet.spec.ipv6 else {
        return silent(Ignored::SubnetGone);
    };
    // Of what is said of its MAC address, what an object knows counts first.
    let mut request = request.clone();
    let namespace = &subnet.name.namespace;
    let mut macs = request.macs.iter().copied();
    let known = macs.find(|mac| snapshot.machine(namespace, *mac).is_some());
    request.client.mac = known.or(request.client.mac);
    let mut identity = tells(&request);
    identity.mac = request.client.mac;
    let class = class_of(&subnet.spec, &request).map(|class| class.name.clone());
    identity.class.clone_from(&class);
    if let Some(mac) = request.client.mac {
        identity.complete(arrival.told.identity(mac));
    }
    let case = Case {
        snapshot,
        subnet,
        network,
        plan: snapshot.plan(subnet, &identity),
        arrival,
        request: &request,
        table,
    };
    let mut decision = case.decide();
    decision.subnet = Some(subnet.key.clone());
    decision.machine = case.plan.machine_name().map(str::to_owned);
    decision.class = class;
    decision
}

/// What a request tells of its machine, for doors that see no more than an
/// address.
#[must_use]
pub fn tells(request: &Request) -> Identity {
    Identity {
        uuid: request.client.uuid,
        ..Identity::default()
    }
}

/// The Subnet of a request: that of the link which the relay next to the client
/// names, or, where it names none as a switch does (RFC 6221), the next one's;
/// that of the interface where none does.
fn network_of<'a>(
    snapshot: &'a Snapshot,
    here: &str,
    hops: &[Hop],
) -> Result<&'a SubnetEntry, Ignored> {
    let mut links = hops.iter().rev().map(|hop| hop.link);
    let named = links.find(|link| !link.is_unspecified() && !link.is_unicast_link_local());
    match named {
        Some(link) => snapshot.subnet_of_link(link).ok_or(Ignored::RelayUnknown),
        None => snapshot.subnet(here).ok_or(Ignored::SubnetGone),
    }
}

// === impl Outcome ===

impl Outcome {
    /// Its name in log lines and scenarios: that of the reply or of the silence.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Reply(reply) => reply.kind.as_str(),
            Self::Ignored(ignored) => ignored.as_str(),
        }
    }
}

// === impl Decision ===

impl Decision {
    const fn silent(client: Client, ignored: Ignored) -> Self {
        Self {
            outcome: Outcome::Ignored(ignored),
            changes: Vec::new(),
            client,
            subnet: None,
            machine: None,
            boot: None,
            address: None,
            refused: None,
            class: None,
        }
    }
}

// === impl Case ===

impl Case<'_> {
    fn decide(&self) -> Decision {
        let request = self.request;
        let to_us = self.arrival.unicast && !request.is_relayed();
        let chosen = request.server_id.as_deref();
        if chosen.is_some_and(|chosen| chosen != self.arrival.duid) {
            return self.silent(Ignored::OtherServer);
        }
        if let Some(unserved) = self.subnet.ignores(&self.plan) {
            return self.silent(Ignored::Machine(unserved));
        }
        match request.kind {
            RequestKind::Solicit
            | RequestKind::Confirm
            | RequestKind::Rebind
            | RequestKind::Information
                if to_us =>
            {
                self.silent(Ignored::NotToEveryone)
            }
            RequestKind::Request
            | RequestKind::Renew
            | RequestKind::Release
            | RequestKind::Decline
                if to_us =>
            {
                self.status(Status::UseMulticast, "send it to ff02::1:2")
            }
            RequestKind::Solicit => self.solicit(),
            RequestKind::Request => self.lend(Intent6::Bind),
            RequestKind::Confirm => self.confirm(),
            RequestKind::Renew | RequestKind::Rebind => self.extend(),
            RequestKind::Release => self.end(Intent6::Release),
            RequestKind::Decline => self.end(Intent6::Decline),
            RequestKind::Information => self.information(),
        }
    }

    fn silent(&self, ignored: Ignored) -> Decision {
        Decision::silent(self.request.client, ignored)
    }

    /// Section 18.3.9 and, with rapid commit, 18.3.1.
    fn solicit(&self) -> Decision {
        if self.request.associations.is_empty() && self.request.others.is_empty() {
            return self.silent(Ignored::NothingAsked);
        }
        if self.request.rapid_commit && self.network.rapid_commit {
            let mut decision = self.lend(Intent6::Bind);
            if let Outcome::Reply(reply) = &mut decision.outcome {
                reply.options.push((option::RAPID_COMMIT, Vec::new()));
            }
            return decision;
        }
        let lent = self.lent(Intent6::Offer);
        let mut head = Options::new();
        if self.network.preference > 0 {
            head.push((option::PREFERENCE, vec![self.network.preference]));
        }
        self.settings(ReplyKind::Advertise, head, lent)
    }

    /// Section 18.3.2.
    fn lend(&self, intent: impl Fn(Option<Ipv6Addr>) -> Intent6) -> Decision {
        if self.request.associations.is_empty() && self.request.others.is_empty() {
            return self.silent(Ignored::NothingAsked);
        }
        let lent = self.lent(intent);
        self.settings(ReplyKind::Reply, Options::new(), lent)
    }

    /// One address for each interface: for its first association.
    fn lent(&self, intent: impl Fn(Option<Ipv6Addr>) -> Intent6) -> Lent {
        let mut lent = Lent::default();
        for (index, asked) in self.request.associations.iter().enumerate() {
            let strange = |address: &Ipv6Addr| !self.network.cidr.contains(*address);
            let refusal = if index > 0 {
                Err((Status::NoAddresses, "one address for each interface"))
            } else if self.request.kind == RequestKind::Request
                && asked.addresses.iter().any(strange)
            {
                Err((Status::NotOnLink, "it is of another link"))
            } else {
                let hint = asked.addresses.first().copied();
                let (answer, changes) = self.allocate(asked, intent(hint));
                lent.changes = changes;
                match answer {
                    Answer6::Give(address) => {
                        lent.address = Some(address);
                        Ok(address)
                    }
                    Answer6::Nothing(reason) => {
                        lent.refused = Some(reason);
                        Err((Status::NoAddresses, reason.as_str()))
                    }
                    Answer6::NoBinding(_) | Answer6::Done => Err((Status::NoAddresses, "none")),
                }
            };
            let times = &self.network.lifetimes;
            lent.options.push((
                option::IA_NA,
                match refusal {
                    Ok(address) => association(asked.iaid, times, &[(address, true)]),
                    Err((status, words)) => refused(asked.iaid, true, status, words),
                },
            ));
        }
        lent.options.extend(self.others());
        lent
    }

    /// What is not lent here is refused by name.
    fn others(&self) -> impl Iterator<Item = (u16, Vec<u8>)> {
        self.request.others.iter().map(|other| match other {
            Other::Temporary(iaid) => {
                let words = "no temporary addresses are lent";
                let data = refused(*iaid, false, Status::NoAddresses, words);
                (option::IA_TA, data)
            }
            Other::Prefix(iaid) => {
                let words = "no prefixes are delegated";
                let data = refused(*iaid, true, Status::NoPrefixes, words);
                (option::IA_PD, data)
            }
        })
    }

    /// Section 18.3.3.
    fn confirm(&self) -> Decision {
        if self.request.addresses().next().is_none() {
            return self.silent(Ignored::NoAddress);
        }
        let cidr = self.network.cidr;
        if self.request.addresses().all(|at| cidr.contains(at)) {
            self.status(Status::Success, "all are of this link")
        } else {
            self.status(Status::NotOnLink, "not all are of this link")
        }
    }

    /// Sections 18.3.4 and 18.3.5.
    fn extend(&self) -> Decision {
        let Some(first) = self.request.associations.first() else {
            return self.silent(Ignored::NothingAsked);
        };
        let Some(wanted) = first.addresses.first().copied() else {
            return self.lend(Intent6::Bind);
        };
        let (answer, changes) = self.allocate(first, Intent6::Extend(wanted));
        let mut lent = Lent {
            changes,
            ..Lent::default()
        };
        let times = &self.network.lifetimes;
        let given_up = |at: &Ipv6Addr| (*at, false);
        let data = match answer {
            Answer6::Give(address) => {
                lent.address = Some(address);
                let rest = first.addresses.iter().filter(|other| **other != address);
                let all: Vec<_> = std::iter::once((address, true))
                    .chain(rest.map(given_up))
                    .collect();
                association(first.iaid, times, &all)
            }
            Answer6::NoBinding(NoBinding::AnothersShare) => {
                return self.silent(Ignored::Lease(SilentReason::AnothersShare));
            }
            // Of another link: it is told to let go of it at once.
            Answer6::NoBinding(_) if !self.network.cidr.contains(wanted) => {
                let all: Vec<_> = first.addresses.iter().map(given_up).collect();
                association(first.iaid, times, &all)
            }
            Answer6::NoBinding(_)
                if self.request.kind == RequestKind::Rebind && !self.subnet.spec.authoritative =>
            {
                return self.silent(Ignored::Lease(SilentReason::UnknownLease));
            }
            Answer6::NoBinding(_) | Answer6::Done => {
                refused(first.iaid, true, Status::NoBinding, "it is not lent to you")
            }
            Answer6::Nothing(reason) => {
                lent.refused = Some(reason);
                refused(first.iaid, true, Status::NoAddresses, reason.as_str())
            }
        };
        lent.options.push((option::IA_NA, data));
        for other in self.request.associations.iter().skip(1) {
            let words = "one address for each interface";
            let data = refused(other.iaid, true, Status::NoBinding, words);
            lent.options.push((option::IA_NA, data));
        }
        lent.options.extend(self.others());
        self.settings(ReplyKind::Reply, Options::new(), lent)
    }

    /// Sections 18.3.7 and 18.3.8.
    fn end(&self, intent: impl Fn(Ipv6Addr) -> Intent6) -> Decision {
        let mut changes = Vec::new();
        let mut options = Options::new();
        for asked in &self.request.associations {
            let mut ended = false;
            for address in &asked.addresses {
                let (answer, change) = self.allocate(asked, intent(*address));
                ended |= answer == Answer6::Done;
                changes.extend(change);
            }
            if !ended {
                let words = "it is not lent to you";
                let data = refused(asked.iaid, true, Status::NoBinding, words);
                options.push((option::IA_NA, data));
            }
        }
        let mut decision = self.status(Status::Success, "taken note of");
        if let Outcome::Reply(reply) = &mut decision.outcome {
            reply.options.extend(options);
        }
        decision.changes = changes;
        decision
    }

    /// Section 18.3.6: settings, and no address.
    fn information(&self) -> Decision {
        if !self.request.associations.is_empty() || !self.request.others.is_empty() {
            return self.silent(Ignored::AddressesAsked);
        }
        self.settings(ReplyKind::Reply, Options::new(), Lent::default())
    }

    /// A reply that says how it went, and nothing else.
    fn status(&self, status: Status, words: &str) -> Decision {
        let mut options = self.identities();
        options.push((option::STATUS, status.encode(words)));
        self.reply(ReplyKind::Reply, options)
    }

    /// A reply with all that a machine is to know.
    fn settings(&self, kind: ReplyKind, head: Options, lent: Lent) -> Decision {
        let (spec, request) = (&self.subnet.spec, self.request);
        let mut options = self.identities();
        options.extend(head);
        options.extend(lent.options);
        network_options(&mut options, request, spec, self.network);
        let server = self.network.server.unwrap_or(self.arrival.server);
        let mac = request.client.mac;
        let loader_sent = mac.is_some_and(self.arrival.loader_sent);
        let boot = boot(
            self.snapshot,
            &self.plan,
            request,
            server.into(),
            loader_sent,
        );
        boot_options(&mut options, request, &boot);
        Decision {
            changes: lent.changes,
            address: lent.address,
            refused: lent.refused,
            boot: Some(boot),
            ..self.reply(kind, options)
        }
    }

    /// Who asked, and who answers.
    fn identities(&self) -> Options {
        let mut options = vec![(option::SERVER_ID, self.arrival.duid.to_vec())];
        if !self.request.duid.is_empty() {
            options.push((option::CLIENT_ID, self.request.duid.clone()));
        }
        options
    }

    fn reply(&self, kind: ReplyKind, options: Options) -> Decision {
        Decision {
            outcome: Outcome::Reply(Box::new(Reply { kind, options })),
            ..self.silent(Ignored::Fault)
        }
    }

    fn allocate(&self, asked: &Association, intent: Intent6) -> (Answer6, Vec<Change6>) {
        let request = AllocateRequest6 {
            subnet: &self.subnet.key,
            cidr: self.network.cidr,
            pools: &self.network.pools,
            reserved: self.plan.reserved6,
            taken: &self.subnet.excluded6,
            server: self.arrival.server,
            key: &self.key(asked),
            mac: self.request.client.mac,
            duid: &self.request.duid,
            iaid: asked.iaid,
            lifetime_secs: self.network.lifetimes.valid.secs(),
            authoritative: self.subnet.spec.authoritative,
            authority: self.arrival.authority,
            intent,
        };
        allocate6(self.arrival.now, self.table, &request)
    }

    /// Whose lease it is: the interface's, where its address is known for
    /// certain, since firmware, iPXE and system name themselves differently in
    /// one boot; else that of DUID and IAID (RFC 8415 section 12).
    fn key(&self, asked: &Association) -> LeaseKey {
        match (self.subnet.spec.identity, self.request.link_mac) {
            (LeaseIdentity::Mac, Some(mac)) => LeaseKey::Mac(mac),
            _ => association_key(&self.request.duid, asked.iaid),
        }
    }
}
