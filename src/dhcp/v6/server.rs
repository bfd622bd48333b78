//! The engine of DHCPv6, one for all listeners: decides one request after the
//! other, and lets replies leave once what they promise is on disk. Shell.

use std::collections::BTreeMap;
use std::net::SocketAddrV6;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::decide::{Arrival, Decision, Ignored, Outcome, decide, tells};
use super::listener::{Door, Incoming};
use super::replica::Replica;
use super::reply::ReplyKind;
use super::request::{Request, RequestKind};
use super::socket::{CLIENT_PORT, SERVER_PORT};
pub use super::story::Story;
use crate::boot::MacAddress;
use crate::clock::{self, Millis};
use crate::dhcp::limits::Rates;
use crate::dhcp::replica::Import;
use crate::dhcp::upkeep::is_gone;
use crate::discover::SightingSender;
use crate::events::EventSender;
use crate::lease::{
    Change6, Committer, Home6, Lease6, LeaseIndex, LeaseState, LeaseTable6, StoreError, Usages6,
    adopt6, counts6, release_gone6,
};
use crate::snapshot::{Reader, Snapshot};
use crate::timeline::{BootEvent, Fact, Introductions, NextStep, RecentLoaders};

/// Wants every lease, as they are now.
pub type Ask6 = oneshot::Sender<Vec<Arc<Lease6>>>;

/// Requests that may wait for the engine.
pub const QUEUE: usize = 512;
/// Milliseconds after which a request is not worth an answer: clients ask again
/// after a second (RFC 8415 section 7.6).
const STALE_MILLIS: u64 = 1000;
/// How often the table is swept and counted.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Records that one sweep ends at most.
const SWEEP_LIMIT: usize = 1000;

/// The engine's parts; shared by its runs, so that a fault loses no lease.
pub struct Engine {
    /// The requests.
    pub queue: mpsc::Receiver<Incoming>,
    /// Who wants to see the leases.
    pub asks: mpsc::Receiver<Ask6>,
    /// The leases.
    pub table: LeaseTable6,
    /// What it works with.
    pub tools: Tools,
    /// How often machines ask.
    pub rates: Rates,
    /// Our DUID.
    pub duid: Vec<u8>,
    /// What ties it to other replicas.
    pub replica: Replica,
    /// The snapshot that was looked at last.
    pub generation: u64,
    /// The last one with all manifests in it: machines that were there and are
    /// no more are gone.
    pub whole: Option<Arc<Snapshot>>,
}

/// What the engine works with; cheap to clone.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Where snapshots come from.
    pub snapshots: Reader,
    /// Where changes become durable.
    pub committer: Committer,
    /// Where the other doors look addresses up.
    pub index: LeaseIndex,
    /// Where it is told how many addresses are taken.
    pub usages: Usages6,
    /// Which machines were sent our loader.
    pub recent: RecentLoaders,
    /// What machines told of themselves lately.
    pub told: Introductions,
    /// Where events go.
    pub events: EventSender,
    /// Where machines go that nobody knows.
    pub sightings: SightingSender,
    /// What is said and counted.
    pub story: Story,
}

/// A reply that is ready to leave.
struct Outgoing {
    door: Arc<Door>,
    packet: Arc<[u8]>,
    to: SocketAddrV6,
    /// The machine, and whether an object names it.
    whose: Option<(MacAddress, bool)>,
    kind: ReplyKind,
    asked: RequestKind,
    outcome: &'static str,
    event: Option<BootEvent>,
}

/// Whether a request is not worth an answer after so many milliseconds. What is
/// given back or declined counts whenever it comes.
const fn is_stale(kind: RequestKind, waited: u64) -> bool {
    match kind {
        RequestKind::Release | RequestKind::Decline => false,
        RequestKind::Solicit
        | RequestKind::Request
        | RequestKind::Confirm
        | RequestKind::Renew
        | RequestKind::Rebind
        | RequestKind::Information => waited > STALE_MILLIS,
    }
}

// === impl Engine ===

impl Engine {
    /// Decides until `token` is cancelled.
    ///
    /// # Errors
    /// None of its own; the supervisor wants the type.
    pub async fn run(this: Arc<Mutex<Self>>, token: CancellationToken) -> anyhow::Result<()> {
        let mut this = this.lock().await;
        let this = &mut *this;
        let mut sweep = interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = token.cancelled() => return Ok(()),
                _ = sweep.tick() => this.sweep(),
                Some(import) = this.replica.imports.recv() => this.take_over(import),
                Some(ask) = this.asks.recv() => {
                    // Who asked may have gone.
                    let _ = ask.send(this.table.shared().collect());
                }
                incoming = this.queue.recv() => match incoming {
                    Some(incoming) => this.handle(&incoming),
                    // Every listener is gone, and with them the app.
                    None => { token.cancelled().await; return Ok(()); }
                },
            }
        }
    }

    fn handle(&mut self, incoming: &Incoming) {
        let Incoming {
            request,
            received,
            from,
            unicast,
            door,
            ..
        } = incoming;
        let (now, kind) = (*received, request.kind);
        let story = &self.tools.story;
        let Some(snapshot) = self.tools.snapshots.current() else {
            return story.count(kind.as_str(), Ignored::SubnetGone.as_str());
        };
        if is_stale(kind, clock::now().since(now)) {
            return story.count(kind.as_str(), Ignored::Stale.as_str());
        }
        let peer = request
            .hops
            .last()
            .map_or_else(|| *from.ip(), |hop| hop.peer);
        if !self.rates.admits(now, peer.octets()) {
            return story.too_often(now, request);
        }
        let arrival = Arrival {
            now,
            subnet: &door.subnet,
            server: door.socket.link().address,
            duid: &self.duid,
            from: *from,
            unicast: *unicast,
            loader_sent: &|mac| self.tools.recent.contains(mac, now),
            told: &self.tools.told,
            authority: self.replica.authority(),
        };
        let decided = catch_unwind(AssertUnwindSafe(|| {
            decide(&snapshot, &self.table, arrival, request)
        }));
        let Ok(decision) = decided else {
            story.count(kind.as_str(), Ignored::Fault.as_str());
            tracing::error!(?request, "a request made us panic; it is ignored");
            return;
        };
        if let Some(mac) = decision.client.mac
            && snapshot.remembers()
        {
            let mut told = tells(request);
            told.class.clone_from(&decision.class);
            self.tools.told.insert(mac, told, now);
        }
        story.keep_request(incoming, &decision);
        story.tell(now, request, &decision);
        let sightings = &self.tools.sightings;
        sightings.offer6(now, &snapshot, request, &decision);
        self.put(&decision.changes);
        let durable = durable(&decision.changes);
        let reply = Outgoing::of(incoming, &decision);
        match reply {
            // An advertisement is no promise.
            Some(reply) if durable.is_empty() => reply.send(&self.tools),
            reply if durable.is_empty() => drop(reply),
            reply => self.tools.commit(durable, reply),
        }
    }

    /// Ends what is over, and counts.
    fn sweep(&mut self) {
        let now = clock::now();
        let mut changes = self.table.expire(now, SWEEP_LIMIT);
        let snapshot = self.tools.snapshots.current();
        if let Some(snapshot) = &snapshot
            && self.generation != snapshot.generation
        {
            self.generation = snapshot.generation;
            // Those of Subnets that are gone are not shown for ever.
            self.tools.story.metrics.forget_networks();
            let subnets = snapshot.subnets.iter().filter_map(|subnet| {
                let network = subnet.spec.ipv6.as_ref()?.cidr.net();
                Some((subnet.key.clone(), network.into()))
            });
            changes.extend(self.table.rehome(&subnets.collect::<Vec<_>>()));
            changes.extend(self.release_gone(now, snapshot));
        }
        self.put(&changes);
        let durable = durable(&changes);
        if !durable.is_empty() {
            self.tools.commit(durable, None);
        }
        if let Some(snapshot) = snapshot {
            self.count(&snapshot);
        }
    }

    /// Ends leases of machines whose object is gone, where the Subnet serves no
    /// machine without one. While manifests cannot be read none counts as gone.
    fn release_gone(&mut self, now: Millis, snapshot: &Arc<Snapshot>) -> Vec<Change6> {
        if snapshot.incomplete {
            return Vec::new();
        }
        let Some(before) = self.whole.replace(Arc::clone(snapshot)) else {
            return Vec::new();
        };
        let told = &self.tools.told;
        release_gone6(now, &self.table, |lease| {
            is_gone((&before, snapshot), told, lease)
        })
    }

    /// Takes leases over that were mirrored, where nothing is known of them here.
    fn take_over(&mut self, import: Import<Lease6>) {
        // Who sent it tries again: without manifests nothing is known of Subnets.
        let Some(snapshot) = self.tools.snapshots.current() else {
            return;
        };
        let subnets = snapshot.subnets.iter();
        let homes = subnets.filter_map(|subnet| {
            let network = subnet.spec.ipv6.as_ref()?;
            Some(Home6 {
                subnet: subnet.key.clone(),
                cidr: network.cidr,
                lifetime_secs: network.lifetimes.valid.secs(),
            })
        });
        let homes: Vec<Home6> = homes.collect();
        let changes = adopt6(clock::now(), &self.table, import.leases, &homes);
        self.put(&changes);
        let done = import.done;
        let tell = move |result: Result<(), StoreError>| {
            if result.is_ok() {
                // Who asked may have gone.
                let _ = done.send(());
            }
        };
        if let Err(error) = self.tools.committer.submit6(changes, Box::new(tell)) {
            self.tools.story.count("any", error.as_str());
        }
    }

    fn count(&self, snapshot: &Snapshot) {
        let metrics = &self.tools.story.metrics;
        let (mut usages, authority) = (BTreeMap::new(), self.replica.authority());
        for subnet in &snapshot.subnets {
            let Some(network) = &subnet.spec.ipv6 else {
                continue;
            };
            let (key, taken) = (&subnet.key, &subnet.excluded6);
            let usage = counts6(&self.table, key, network, taken, authority);
            usages.insert(key.clone(), usage);
            for (gauge, value) in [
                (&metrics.pool6, usage.total),
                (&metrics.pool6_used, usage.used),
                (&metrics.pool6_declined, usage.declined),
            ] {
                gauge.with_label_values(&[key]).set(value.into());
            }
            let counts = self.table.counts(key);
            for (state, count) in [
                (LeaseState::Bound, counts.bound),
                (LeaseState::Offered, counts.offered),
                (LeaseState::Declined, counts.declined),
            ] {
                let gauge = &metrics.addresses6;
                let gauge = gauge.with_label_values(&[key, state.as_str()]);
                gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        self.tools.usages.set(usages);
    }

    fn put(&mut self, changes: &[Change6]) {
        self.replica.tell(&self.table, changes);
        self.table.apply_all(changes);
        for change in changes {
            self.tools.index.apply(change);
        }
    }
}

/// The changes that must be on disk before a reply leaves.
fn durable(changes: &[Change6]) -> Vec<Change6> {
    let durable = changes.iter().filter(|change| change.is_durable());
    durable.cloned().collect()
}

// === impl Tools ===

impl Tools {
    /// Lets `reply` leave once `changes` are on disk; never, where they cannot be.
    fn commit(&self, changes: Vec<Change6>, reply: Option<Outgoing>) {
        let tools = self.clone();
        // The writer says what is wrong with the disk, once.
        let done = move |result: Result<(), StoreError>| match (result, reply) {
            (Ok(()), Some(reply)) => reply.send(&tools),
            (Err(_), Some(reply)) => tools.story.count(reply.asked.as_str(), "not-durable"),
            (_, None) => {}
        };
        if let Err(error) = self.committer.submit6(changes, Box::new(done)) {
            self.story.count("any", error.as_str());
        }
    }
}

// === impl Outgoing ===

impl Outgoing {
    fn of(incoming: &Incoming, decision: &Decision) -> Option<Self> {
        let Outcome::Reply(reply) = &decision.outcome else {
            return None;
        };
        let request = &incoming.request;
        let event = decision
            .client
            .mac
            .and_then(|mac| event(mac, incoming.received, request, reply.kind, decision));
        Some(Self {
            door: Arc::clone(&incoming.door),
            packet: reply.encode(request).into(),
            to: destination(request, incoming.from),
            whose: decision
                .client
                .mac
                .map(|mac| (mac, decision.machine.is_some())),
            kind: reply.kind,
            asked: request.kind,
            outcome: decision
                .refused
                .map_or(reply.kind.as_str(), |reason| reason.as_str()),
            event,
        })
    }

    fn send(self, tools: &Tools) {
        if let Err(error) = self.door.socket.send(&self.packet, self.to) {
            tools.story.metrics.send_errors.inc();
            tracing::warn!(
                target: "reveille::dhcp6",
                interface = self.door.socket.link().name,
                to = %self.to,
                %error,
                "reply could not be sent"
            );
            return;
        }
        if let Some(whose) = self.whose {
            let reply = (self.kind.as_str(), self.to, self.packet);
            tools
                .story
                .keep_reply(clock::now(), whose, &self.door, reply);
        }
        tools.story.count(self.asked.as_str(), self.outcome);
        if let Some(event) = self.event {
            tools.events.emit(event);
        }
    }
}

/// Where a reply goes: a relay hears at the servers' port, unless it wants its
/// answer where it asked from (RFC 8357).
const fn destination(request: &Request, from: SocketAddrV6) -> SocketAddrV6 {
    let mut to = from;
    match request.hops.as_slice() {
        [] => to.set_port(CLIENT_PORT),
        [nearest, ..] if nearest.port.is_some() => {}
        [..] => to.set_port(SERVER_PORT),
    }
    to
}

/// What the timeline is told of a reply.
#[must_use]
pub fn event(
    mac: MacAddress,
    at: Millis,
    request: &Request,
    kind: ReplyKind,
    decision: &Decision,
) -> Option<BootEvent> {
    let client = decision.client;
    let fact = match (kind, request.kind, decision.address) {
        (ReplyKind::Advertise, _, address) => Fact::Offer {
            client,
            address: address?.into(),
        },
        // Whoever asks for settings alone has an address from elsewhere.
        (ReplyKind::Reply, RequestKind::Information, _) => Fact::Ack {
            client,
            address: std::net::Ipv6Addr::UNSPECIFIED.into(),
            next: decision.boot.as_ref()?.next.clone(),
        },
        (ReplyKind::Reply, _, address) => Fact::Ack {
            client,
            address: address?.into(),
            next: decision
                .boot
                .as_ref()
                .map_or(NextStep::Nothing, |boot| boot.next.clone()),
        },
    };
    Some(BootEvent { mac, at, fact })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_answered_where_it_hears() {
        let from = SocketAddrV6::new("fe80::1".parse().unwrap(), 1234, 0, 3);
        let hop = |port: &[u8]| {
            let mut packet = vec![12, 0];
            packet.extend([0; 32]);
            packet.extend(port);
            packet.extend([0, 9, 0, 4, 11, 0, 0, 1]);
            Request::parse(&packet, *from.ip()).unwrap()
        };
        let plain = Request::parse(&[11, 0, 0, 1], *from.ip()).unwrap();
        assert_eq!(destination(&plain, from).port(), CLIENT_PORT);
        assert_eq!(destination(&plain, from).scope_id(), 3);
        assert_eq!(destination(&hop(&[]), from).port(), SERVER_PORT);
        let own = hop(&[0, 135, 0, 2, 0, 0]);
        assert_eq!(destination(&own, from).port(), 1234);
    }

    #[test]
    fn questions_grow_stale_and_farewells_do_not() {
        assert!(is_stale(RequestKind::Solicit, STALE_MILLIS + 1));
        assert!(!is_stale(RequestKind::Solicit, STALE_MILLIS));
        assert!(!is_stale(RequestKind::Release, u64::MAX));
    }
}
