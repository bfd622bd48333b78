//! The engine, one for all listeners.
//!
//! It owns the lease table, decides one request after the other, and lets replies leave: offers
//! and what changed nothing that must last at once, the rest after the commit.

use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::decide::{Arrival, Decision, Ignored, Outcome, decide, tells};
use super::limits::{Patience, Rates};
use super::listener::{Incoming, Port};
use super::neighbours::Neighbours;
use super::outgoing::Outgoing;
use super::probe::{NotProbed, Probed, Prober};
use super::proxy::Neighbour;
use super::replica::Replica;
use super::reply::ReplyKind;
use super::request::{Request, RequestKind};
use super::story::{Came, Story};
use super::upkeep::Run;
use crate::clock::{self, Millis};
use crate::discover::SightingSender;
use crate::events::EventSender;
use crate::lease::{
    Authority, Change, Committer, Lease, LeaseIndex, LeaseState, LeaseTable, SilentReason,
    StoreError, Usages,
};
use crate::snapshot::Reader;
use crate::timeline::{BootEvent, Fact, Introductions, RecentLoaders};

/// Milliseconds after which a request is not worth an answer: the most
/// impatient clients ask again after a second, and an answer to the first
/// question would keep the second waiting. Only a process that was held up, by
/// a suspended host say, ever gets here.
const STALE_MILLIS: u64 = 1000;
/// Requests that are decided before the clock is looked at again: some
/// milliseconds' worth.
const BATCH: usize = 32;
/// How often the table is swept and counted.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// A wish to see every lease.
pub type Ask = oneshot::Sender<Vec<Arc<Lease>>>;

/// The engine's parts; shared by its runs, so that a fault loses no lease.
#[derive(Debug)]
pub struct Engine {
    /// The requests.
    pub queue: mpsc::Receiver<Incoming>,
    /// Who wants to see the leases.
    pub asks: mpsc::Receiver<Ask>,
    /// The leases.
    pub table: LeaseTable,
    /// What ties it to other replicas.
    pub replica: Replica,
    /// Machines with addresses of other servers.
    pub neighbours: Neighbours,
    /// What it works with, which replies on their way share.
    pub tools: Arc<Tools>,
    /// How often machines ask.
    pub rates: Rates,
    /// How long DISCOVERs may have waited.
    pub patience: Patience<Instant>,
}

/// What the engine works with.
#[derive(Debug)]
pub struct Tools {
    /// Where snapshots come from.
    pub snapshots: Reader,
    /// Where changes become durable.
    pub committer: Committer,
    /// Where the other doors look addresses up.
    pub index: LeaseIndex,
    /// Where it is told how many addresses are taken.
    pub usages: Usages,
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
    /// Whether the last commit failed: no lease can be promised.
    pub failing: Arc<AtomicBool>,
}

/// Whether a request is not worth an answer after so many milliseconds. A
/// RELEASE or DECLINE is said once and gets none, so it always counts.
const fn is_stale(kind: RequestKind, waited: u64) -> bool {
    match kind {
        RequestKind::Discover
        | RequestKind::Request
        | RequestKind::Inform
        | RequestKind::Bootp
        | RequestKind::LeaseQuery => waited > STALE_MILLIS,
        RequestKind::Decline | RequestKind::Release => false,
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
        let mut run = Run::default();
        let mut prober = Prober::default();
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            // Far away where nothing waits.
            let far = Instant::now() + SWEEP_EVERY;
            let probed = prober.next().unwrap_or(far);
            tokio::select! {
                biased;
                () = token.cancelled() => return Ok(()),
                _ = sweep.tick() => this.sweep(&mut run),
                () = sleep_until(probed) => this.probed(&mut prober),
                Some(import) = this.replica.imports.recv() => this.take_over(import),
                Some(ask) = this.asks.recv() => {
                    // Who asked may have gone.
                    let _ = ask.send(this.table.shared().collect());
                }
                came = this.queue.recv_many(&mut batch, BATCH) => {
                    if came == 0 {
                        // Every listener is gone, and with them the app.
                        token.cancelled().await;
                        return Ok(());
                    }
                    for incoming in batch.drain(..) {
                        let kind = incoming.request.kind;
                        let backlog = this.tools.committer.backlog();
                        let now = Instant::now();
                        if this.patience.admits(kind, incoming.arrived, now, backlog) {
                            this.handle(&incoming, &mut prober);
                        } else {
                            this.tools.story.count(kind.as_str(), Ignored::Overloaded.as_str());
                        }
                    }
                    // What waits in the kernel is known to be late only when it was
                    // read: the listeners go next.
                    yield_now().await;
                }
            }
        }
    }

    fn handle(&mut self, incoming: &Incoming, prober: &mut Prober<Outgoing>) {
        let Some(snapshot) = self.tools.snapshots.current() else {
            let kind = incoming.request.kind.as_str();
            self.tools.story.count(kind, Ignored::SubnetGone.as_str());
            return;
        };
        let Incoming {
            request,
            received,
            from,
            to,
            door,
            bytes,
            ..
        } = incoming;
        if is_stale(request.kind, clock::now().since(*received)) {
            let kind = request.kind.as_str();
            self.tools.story.count(kind, Ignored::Stale.as_str());
            return;
        }
        if let Err(ignored) = self.rates.admit(*received, request) {
            self.tools.story.turned_away(*received, request, ignored);
            return;
        }
        let mac = request.client.mac;
        let authority = self.replica.standing().authority;
        let wire = self.tools.story.lookouts.wire(&door.subnet);
        let arrival = Arrival {
            wire,
            now: *received,
            subnet: &door.subnet,
            server: to.unwrap_or(door.socket.link().address),
            unicast: to.is_some(),
            from: *from,
            boot_port: (door.port == Port::Boot).then_some(*from),
            loader_sent: mac.is_some_and(|mac| self.tools.recent.contains(mac, *received)),
            told: &self.tools.told,
            authority,
        };
        let decided = catch_unwind(AssertUnwindSafe(|| {
            decide(&snapshot, &self.table, arrival, request)
        }));
        let Ok(mut decision) = decided else {
            self.tools
                .story
                .count(request.kind.as_str(), Ignored::Fault.as_str());
            tracing::error!(?request, "a request made us panic; it is ignored");
            return;
        };
        if let Some(mac) = mac
            && snapshot.remembers()
            && let Some(told) = tells(request, &decision)
        {
            self.tools.told.insert(mac, told, *received);
        }
        self.tools
            .story
            .tell(*received, request, &decision, &self.tools.told);
        let came = Came::by(door, *from, *to);
        let story = &self.tools.story;
        story.keep_request(*received, request, &decision, &came, Arc::clone(bytes));
        self.tools.tell_choice(*received, request, &decision);
        if let Some(neighbour) = decision.neighbour {
            self.meet(*received, neighbour);
        }
        let sightings = &self.tools.sightings;
        sightings.offer(*received, &snapshot, request, &decision);
        let changes = std::mem::take(&mut decision.changes);
        let durable = durable(&self.apply(*received, authority, changes));
        let probe = decision.probe.take();
        let holds = matches!(authority, Authority::Holder { .. });
        let held = holds.then(|| self.replica.ask());
        let reply = Outgoing::new(incoming, decision, held);
        // An offer is no promise: what changes with it, such as the end of an
        // older memory, becomes durable behind it.
        let waits = |reply: &Outgoing| !durable.is_empty() && reply.kind != ReplyKind::Offer;
        let (waiting, at_once) = match reply {
            Some(reply) if waits(&reply) => (Some(reply), None),
            reply => (None, reply),
        };
        match (at_once, probe) {
            (Some(reply), Some(probe)) => {
                self.tools.probe(prober, reply, probe, request.is_relayed());
            }
            (Some(reply), None) => reply.send(&self.tools),
            (None, _) => {}
        }
        if !durable.is_empty() {
            self.tools.commit(durable, waiting);
        }
    }

    /// Has the other doors know a machine whose address another server lends.
    /// What we lent ourselves is known better.
    fn meet(&mut self, now: Millis, (mac, address): Neighbour) {
        let lent = |address: &Ipv4Addr| {
            let lease = self.table.get(*address);
            lease.is_some_and(|lease| lease.state == LeaseState::Bound)
        };
        if lent(&address) {
            return;
        }
        let forgotten = self.neighbours.learn(now, (mac, address));
        for address in forgotten.iter().filter(|address| !lent(address)) {
            self.tools.index.remove(*address);
        }
        self.tools.index.insert(address, mac);
    }

    /// Lets offers go whose address nobody has, and drops the others.
    fn probed(&mut self, prober: &mut Prober<Outgoing>) {
        for probed in prober.turn(Instant::now()) {
            match probed {
                Probed::Free(offer) => offer.send(&self.tools),
                Probed::Taken(offer, by, change) => {
                    let now = clock::now();
                    tracing::warn!(
                        target: "reveille::dhcp",
                        subnet = offer.door.subnet,
                        address = %change.address(),
                        by = by.map(tracing::field::display),
                        "somebody has the address that was about to be offered; it rests for a day"
                    );
                    self.tools
                        .story
                        .count(offer.asked.as_str(), "address-answers");
                    let authority = self.replica.standing().authority;
                    let durable = durable(&self.apply(now, authority, vec![change]));
                    self.tools.commit(durable, None);
                }
            }
        }
    }

    pub(super) fn count(&self, subnet: &str) {
        let counts = self.table.counts(subnet);
        for (state, count) in [
            ("bound", counts.bound),
            ("offered", counts.offered),
            ("declined", counts.declined),
        ] {
            let gauge = &self.tools.story.metrics.addresses;
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            gauge.with_label_values(&[subnet, state]).set(count);
        }
    }

    /// Carries out what of `changes` may be, and returns it.
    pub(super) fn apply(
        &mut self,
        now: Millis,
        authority: Authority,
        changes: Vec<Change>,
    ) -> Vec<Change> {
        let changes = self.replica.allow(now, authority, &self.table, changes);
        self.put(&changes);
        changes
    }

    pub(super) fn put(&mut self, changes: &[Change]) {
        self.table.apply_all(changes);
        for change in changes {
            self.tools.index.apply(change);
        }
    }
}

/// The changes that must be on disk before a reply leaves.
pub(super) fn durable(changes: &[Change]) -> Vec<Change> {
    let durable = changes.iter().filter(|change| change.is_durable());
    durable.cloned().collect()
}

// === impl Tools ===

impl Tools {
    /// Tells the timeline of a machine that chose another server, or took the
    /// address of the one that we stand beside and does as we say.
    fn tell_choice(&self, at: Millis, request: &Request, decision: &Decision) {
        let client = request.client;
        let fact = match (&decision.outcome, &decision.boot) {
            (Outcome::Ignored(Ignored::Lease(SilentReason::ChoseAnotherServer)), _) => {
                Fact::ChoseAnother { client }
            }
            (Outcome::Ignored(Ignored::LeasedElsewhere), Some(boot)) => Fact::Ack {
                client,
                address: request.requested().unwrap_or(Ipv4Addr::UNSPECIFIED).into(),
                next: boot.next.clone(),
            },
            _ => return,
        };
        if let Some(mac) = client.mac {
            self.events.emit(BootEvent { mac, at, fact });
        }
    }

    /// Asks whether somebody has the address of `offer` before it leaves.
    fn probe(
        &self,
        prober: &mut Prober<Outgoing>,
        offer: Outgoing,
        probe: (Ipv4Addr, Change),
        relayed: bool,
    ) {
        let door = Arc::clone(&offer.door);
        let (link, mac) = (door.socket.link(), offer.client.mac);
        // ARP reaches nobody behind a relay.
        let way = (!relayed).then_some(link);
        match prober.begin(Instant::now(), way, mac, probe, offer) {
            Ok(()) => {}
            Err((NotProbed::Impossible, offer)) => {
                let what = format!("no probe on {}", link.name);
                if self.story.seldom.is_due(&what, clock::now()) {
                    tracing::warn!(
                        interface = link.name,
                        "no raw socket (CAP_NET_RAW): addresses are offered without asking whether somebody has them"
                    );
                }
                offer.send(self);
            }
            Err((NotProbed::Full, offer)) => {
                self.story.count(offer.asked.as_str(), "probes-full");
            }
            Err((NotProbed::UnderWay, offer)) => {
                self.story.count(offer.asked.as_str(), "probe-under-way");
            }
        }
    }

    /// Lets `reply` leave once `changes` are on disk; never, where they cannot be.
    pub(super) fn commit(self: &Arc<Self>, changes: Vec<Change>, reply: Option<Outgoing>) {
        let tools = Arc::clone(self);
        let done = move |result: Result<(), StoreError>| {
            // The writer says what is wrong with the disk, once.
            tools.failing.store(result.is_err(), Ordering::Relaxed);
            match (result, reply) {
                (Ok(()), Some(reply)) => reply.send(&tools),
                (Err(_), Some(reply)) => tools.story.count(reply.asked.as_str(), "not-durable"),
                (_, None) => {}
            }
        };
        if let Err(error) = self.committer.submit(changes, Box::new(done)) {
            self.story.count("any", error.as_str());
            if self.story.seldom.is_due(error.as_str(), clock::now()) {
                tracing::error!(%error, "leases cannot be written; no new ones are granted");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_grow_stale_and_farewells_do_not() {
        assert!(!is_stale(RequestKind::Discover, STALE_MILLIS));
        assert!(is_stale(RequestKind::Discover, STALE_MILLIS + 1));
        assert!(is_stale(RequestKind::Request, STALE_MILLIS + 1));
        assert!(!is_stale(RequestKind::Release, u64::MAX));
        assert!(!is_stale(RequestKind::Decline, u64::MAX));
    }
}
