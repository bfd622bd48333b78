//! The status of a Subnet.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{About, Judgement, Reason, Truth, seconds, settle, stalled};
use super::machine::{conflict, is_own, time};
use super::sight::{Sight, all_words};
use crate::api::{AddressCounts, ForeignServer, Ipv6Status, ObjectRef, SubnetStatus};
use crate::clock::Millis;
use crate::dhcp::heard::{MAX_SERVERS, SERVER_MEMORY_SECS};
use crate::dhcp::lookout::Acting;
use crate::lease::Usage;
use crate::net::{Link, Link6};
use crate::snapshot::SubnetEntry;

/// The time at which another server was heard of last is told so coarsely:
/// each machine that renews with it would else be a write.
const COARSE_SECS: i64 = 600;

/// What the status of a Subnet is made of.
#[derive(Clone, Copy, Debug)]
pub struct SubnetInput<'a> {
    /// The object.
    pub object: &'a ObjectRef,
    /// Its generation.
    pub generation: i64,
    /// Its status until now.
    pub old: &'a SubnetStatus,
    /// What is served.
    pub sight: &'a Sight,
    /// Its listener.
    pub listener: &'a Listening,
    /// How many of its addresses are taken.
    pub usage: Option<Usage>,
    /// The addresses of its IPv6 pools.
    pub usage6: Option<AddressCounts>,
    /// The interface that DHCPv6 serves.
    pub link6: Option<&'a Link6>,
    /// The other servers that were heard of.
    pub servers: &'a BTreeMap<Ipv4Addr, Millis>,
    /// What we are there at this moment.
    pub acting: Acting,
    /// The time now.
    pub now: Timestamp,
}

/// How a Subnet's listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listening {
    /// It serves this interface.
    On(Link),
    /// It serves this one by DHCPv6 alone.
    Six(Link6),
    /// There is none: relays send requests to any listener.
    Relayed,
    /// It does not, for this cause.
    Down(String),
    /// It was not started yet.
    Starting,
}

/// The status of a Subnet.
#[must_use]
pub fn subnet(input: &SubnetInput<'_>) -> SubnetStatus {
    let key = format!("{}/{}", input.object.namespace, input.object.name);
    let entry = input.sight.snapshot.subnet(&key);
    let link = match input.listener {
        Listening::On(link) => Some(link),
        Listening::Six(_) | Listening::Relayed | Listening::Down(_) | Listening::Starting => None,
    }
    .filter(|_| entry.is_some());
    let six = match input.listener {
        Listening::Six(link) => Some(link),
        Listening::On(_) => input.link6,
        Listening::Relayed | Listening::Down(_) | Listening::Starting => None,
    }
    .filter(|_| entry.is_some());
    let ipv6 = entry.filter(|entry| entry.spec.ipv6.is_some());
    let ipv6 = ipv6.map(|_| Ipv6Status {
        addresses: input.usage6,
        server: six.map(|link| link.address),
    });
    let foreign = foreign(input);
    let acting = entry.map(|_| input.acting);
    let addresses = entry.map(|entry| counts(entry, link, input.usage));
    let interface = interface_ready(input, entry);
    let (ready, for_good) = ready(input, entry, &interface);
    let stuck = stalled(&input.old.conditions, &ready, for_good, input.now);
    let mut judgements = vec![ready];
    judgements.extend(stuck);
    judgements.extend(conflict(input.sight, input.object));
    judgements.extend([
        interface,
        foreign_dhcp(&foreign, acting),
        pool_exhausted(input, (addresses, ipv6.as_ref()), acting),
    ]);
    SubnetStatus {
        observed_generation: Some(input.generation),
        conditions: settle(
            &input.old.conditions,
            judgements,
            input.generation,
            input.now,
        ),
        addresses,
        interface: link
            .map(|link| &link.name)
            .or_else(|| six.map(|link| &link.name))
            .cloned(),
        server: link.map(|link| link.address),
        ipv6,
        acting: acting.map(|acting| acting.as_str().to_owned()),
        foreign_servers: foreign,
    }
}

fn ready(
    input: &SubnetInput<'_>,
    entry: Option<&SubnetEntry>,
    interface: &Judgement,
) -> (Judgement, bool) {
    let errors: Vec<_> = input.sight.errors(input.object).collect();
    let judge =
        |truth, reason, message: String| Judgement::new(About::Ready, truth, reason, message);
    if let Some(first) = errors.first() {
        let mut message = all_words(&errors);
        let costs = errors.iter().any(|error| error.reason != "ProfileNotFound");
        if entry.is_some() && costs {
            message.push_str(". What it said before is served on");
        }
        let for_good = errors.iter().any(|error| is_own(error));
        return (
            judge(Truth::False, Reason::Problem(first.reason), message),
            for_good,
        );
    }
    let judgement = match (entry, interface.truth) {
        (None, _) => judge(
            Truth::True,
            Reason::Disabled,
            "`mode` is Disabled: nothing is served, as it says".to_owned(),
        ),
        (Some(_), Truth::True) if input.acting == Acting::Looking => {
            let what = "it is looked whether another DHCP server lends addresses here".to_owned();
            judge(Truth::Unknown, Reason::Looking, what)
        }
        (Some(_), Truth::True) if input.acting == Acting::Refused => {
            let what = "another DHCP server lends addresses here, and `auto` says that nobody is answered then; turn it off, or write `foreignDhcp: Proxy`".to_owned();
            judge(Truth::False, Reason::ForeignServer, what)
        }
        (Some(_), Truth::True) => {
            let findings = input.sight.findings(input.object);
            let warnings = findings.filter(|it| !it.problem.is_error());
            let words: Vec<String> = warnings
                .map(|it| format!(". But {}", it.message()))
                .collect();
            let message = format!("{}{}", interface.message, words.concat());
            judge(Truth::True, Reason::Served, message)
        }
        (Some(_), truth) => judge(truth, interface.reason, interface.message.clone()),
    };
    (judgement, false)
}

fn interface_ready(input: &SubnetInput<'_>, entry: Option<&SubnetEntry>) -> Judgement {
    let judge = |truth, reason, message: String| {
        Judgement::new(About::InterfaceReady, truth, reason, message)
    };
    if entry.is_none() {
        let refused = input.sight.errors(input.object).next().is_some();
        let reason = if refused {
            Reason::Refused
        } else {
            Reason::Disabled
        };
        let what = "nothing is listened on; see the condition Ready".to_owned();
        return judge(Truth::Unknown, reason, what);
    }
    match input.listener {
        Listening::On(link) => {
            let (service, otherwise) = match input.acting {
                Acting::Server => ("DHCP", ""),
                Acting::Proxy => ("ProxyDHCP", ""),
                Acting::Looking => ("nobody yet", ": it is looked for other DHCP servers"),
                Acting::Refused => ("nobody", ": another DHCP server lends addresses"),
            };
            let also = input.link6.map_or_else(String::new, |six| {
                format!(" and DHCPv6 serves {}", six.address)
            });
            let what = format!(
                "{service} serves {}{also} on {}{otherwise}",
                link.address, link.name
            );
            judge(Truth::True, Reason::Listening, what)
        }
        Listening::Six(link) => {
            let what = format!("DHCPv6 serves {} on {}", link.address, link.name);
            judge(Truth::True, Reason::Listening, what)
        }
        Listening::Relayed => {
            let what = "it is reached through relays, which send to any of our interfaces";
            judge(Truth::True, Reason::Listening, what.to_owned())
        }
        Listening::Down(cause) => judge(Truth::False, Reason::InterfaceDown, cause.clone()),
        Listening::Starting => {
            let what = "its listener is being started".to_owned();
            judge(Truth::Unknown, Reason::Starting, what)
        }
    }
}

fn foreign_dhcp(foreign: &[ForeignServer], acting: Option<Acting>) -> Judgement {
    let names: Vec<String> = foreign.iter().map(|it| it.address.to_string()).collect();
    let judge =
        |truth, reason, message: String| Judgement::new(About::ForeignDhcp, truth, reason, message);
    if acting == Some(Acting::Proxy) && names.is_empty() {
        let what = "no machine was heard to choose a DHCP server within the hour; a proxy lends no addresses, so one must be there";
        return judge(Truth::False, Reason::NoneHeard, what.to_owned());
    }
    if acting == Some(Acting::Proxy) {
        let what = format!(
            "addresses are lent by {}, as a proxy needs it",
            names.join(", ")
        );
        return judge(Truth::True, Reason::BesideServer, what);
    }
    if names.is_empty() {
        let what = "no machine was heard to choose another DHCP server within the hour";
        return Judgement::new(About::ForeignDhcp, Truth::False, Reason::NoneHeard, what);
    }
    let what = format!(
        "machines chose the DHCP server {}; two that lend addresses of one network give one address twice: turn one off, or divide the network",
        names.join(", ")
    );
    Judgement::new(About::ForeignDhcp, Truth::True, Reason::ServersHeard, what)
}

fn pool_exhausted(
    input: &SubnetInput<'_>,
    (addresses, ipv6): (Option<AddressCounts>, Option<&Ipv6Status>),
    acting: Option<Acting>,
) -> Judgement {
    let judge = |truth, reason, message: String| {
        Judgement::new(About::PoolExhausted, truth, reason, message)
    };
    let pools6 = ipv6.and_then(|it| it.addresses).filter(|it| it.total > 0);
    match addresses {
        None => {
            let what = "nothing is lent; see the condition Ready".to_owned();
            judge(Truth::Unknown, Reason::Disabled, what)
        }
        Some(it) if pools6.is_some_and(|it| it.free == 0) && (it.total == 0 || it.free > 0) => {
            let total = pools6.map_or(0, |it| it.total);
            let what = format!(
                "all {total} addresses of its IPv6 pools are taken; add a pool or shorten lifetimes"
            );
            judge(Truth::True, Reason::AllTaken, what)
        }
        Some(_) if acting == Some(Acting::Proxy) => {
            let what = "a proxy lends no addresses".to_owned();
            judge(Truth::False, Reason::NoPool, what)
        }
        Some(AddressCounts { total: 0, .. }) if pools6.is_none() => {
            let what =
                "it has no pool: only machines with a reserved address are served".to_owned();
            judge(Truth::False, Reason::NoPool, what)
        }
        Some(_) if input.usage.is_none() => {
            let what = "its leases were not counted yet".to_owned();
            judge(Truth::Unknown, Reason::Starting, what)
        }
        Some(AddressCounts { free: 0, total, .. }) if total > 0 => {
            let what = format!(
                "all {total} addresses of its pools are taken; add a pool or shorten lifetimes"
            );
            judge(Truth::True, Reason::AllTaken, what)
        }
        // No number: it would change with each lease.
        Some(_) => {
            let what = "its pools have free addresses".to_owned();
            judge(Truth::False, Reason::AddressesFree, what)
        }
    }
}

fn counts(entry: &SubnetEntry, link: Option<&Link>, usage: Option<Usage>) -> AddressCounts {
    let taken = match link {
        Some(link) => entry.taken(link.address),
        None => std::borrow::Cow::Borrowed(&entry.excluded),
    };
    let pools = entry.spec.pools.iter();
    let total: u64 = pools
        .map(|pool| {
            let size = u64::from(u32::from(pool.end).saturating_sub(pool.start.into())) + 1;
            size.saturating_sub(taken.count(pool.start, pool.end))
        })
        .sum();
    let total = u32::try_from(total).unwrap_or(u32::MAX);
    let usage = usage.unwrap_or_default();
    AddressCounts {
        total,
        free: total.saturating_sub(usage.used.saturating_add(usage.declined)),
        used: usage.used,
        declined: usage.declined,
    }
}

/// The other servers of the last hour, with those that an earlier process heard.
fn foreign(input: &SubnetInput<'_>) -> Vec<ForeignServer> {
    let now = seconds(input.now);
    let memory = i64::try_from(SERVER_MEMORY_SECS).unwrap_or(i64::MAX);
    let mut all: BTreeMap<Ipv4Addr, Option<Time>> = input
        .old
        .foreign_servers
        .iter()
        .filter(|server| {
            let seen = server.last_seen.as_ref();
            seen.is_some_and(|seen| now.as_second() - seen.0.as_second() < memory)
        })
        .map(|server| (server.address, server.last_seen.clone()))
        .collect();
    for (address, at) in input.servers {
        let seen = time(at.0);
        let entry = all.entry(*address).or_insert_with(|| seen.clone());
        let old = entry.as_ref().map_or(0, |time| time.0.as_second());
        if seen
            .as_ref()
            .is_some_and(|seen| seen.0.as_second() - old >= COARSE_SECS)
        {
            entry.clone_from(&seen);
        }
    }
    all.into_iter()
        .take(MAX_SERVERS)
        .map(|(address, last_seen)| ForeignServer { address, last_seen })
        .collect()
}
