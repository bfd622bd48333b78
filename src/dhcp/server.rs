//! The DHCP loops: one listener an interface, one engine for all.
//!
//! Listeners hear packets and hand requests on. The engine owns the lease
//! table, decides one request after the other, and lets replies leave: offers
//! and what changed nothing that must last at once, the rest after the commit.

use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::decide::{Arrival, Decision, Ignored, Outcome, decide};
use super::destination::{Destination, SERVER_PORT};
use super::probe::{NotProbed, Probed, Prober};
use super::replica;
use super::replica::Replica;
use super::reply::ReplyKind;
use super::request::{MAX_PACKET, Request, RequestKind};
use super::socket::DhcpSocket;
use super::story::Story;
use super::upkeep::Run;
use crate::api::Cidr;
use crate::boot::Client;
use crate::clock::{self, Millis};
use crate::discover::SightingSender;
use crate::events::EventSender;
use crate::lease::{
    Authority, Change, Committer, Lease, LeaseIndex, LeaseTable, SilentReason, StoreError, Usages,
};
use crate::net::{Link, Table, bind_error, find_link};
use crate::snapshot::{Identity, Reader, SubnetEntry};
use crate::timeline::{BootEvent, Fact, Introductions, NextStep, RecentLoaders};

/// Requests that may wait for the engine. It takes some 10 µs for each, so
/// none waits longer than some 10 ms; what does not fit is asked again.
pub const QUEUE: usize = 1024;
/// Places in the queue that DISCOVERs leave to everything else. Who sends a
/// REQUEST is half through; were both refused alike, most exchanges that are
/// begun under load would come to nothing.
const KEPT_FREE: usize = QUEUE / 2;
/// Milliseconds after which a request is not worth an answer: the most
/// impatient clients ask again after a second, and an answer to the first
/// question would keep the second waiting. Only a process that was held up, by
/// a suspended host say, ever gets here.
const STALE_MILLIS: u64 = 1000;
/// How often a listener looks whether its interface is still as it was.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often the table is swept and counted.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// A request on its way to the engine.
#[derive(Debug)]
pub struct Incoming {
    request: Request,
    received: Millis,
    /// The same, exactly and by a clock that nobody sets.
    arrived: Instant,
    /// Whether it came to our address alone.
    unicast: bool,
    door: Arc<Door>,
}

/// A wish to see every lease.
pub type Ask = oneshot::Sender<Vec<Arc<Lease>>>;

/// The interface that a request came by.
#[derive(Debug)]
struct Door {
    subnet: String,
    socket: DhcpSocket,
}

/// What a listener serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The Subnet, as `namespace/name`.
    pub subnet: String,
    /// Its interface, as the manifest names it.
    pub interface: String,
    /// Its network.
    pub cidr: Cidr,
    /// The address that is ours where the interface has several.
    pub preferred: Option<Ipv4Addr>,
}

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
    /// What it works with.
    pub tools: Tools,
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

/// A reply that is ready to leave.
pub(super) struct Outgoing {
    door: Arc<Door>,
    packet: Vec<u8>,
    kind: ReplyKind,
    /// What was asked.
    asked: RequestKind,
    address: Ipv4Addr,
    destination: Destination,
    /// When it was asked for.
    arrived: Instant,
    client: Client,
    next: Option<NextStep>,
    machine: Option<String>,
    /// Asked again before it leaves, where this replica held the pools when it
    /// was decided: the process may have been frozen meanwhile.
    held: Option<replica::Ask>,
}

/// The name of the service that listens on `subnet` (`namespace/name`).
#[must_use]
pub fn listener_name(subnet: &str) -> String {
    format!("dhcp@{subnet}")
}

// === impl Listener ===

impl Listener {
    /// The listener that `subnet` needs.
    #[must_use]
    pub fn of(subnet: &SubnetEntry) -> Self {
        Self {
            subnet: subnet.key.clone(),
            interface: subnet.spec.interface.clone(),
            cidr: subnet.spec.cidr,
            preferred: subnet.spec.next_server,
        }
    }

    /// Hears requests until `token` is cancelled. `bound` is called once the
    /// interface is served.
    ///
    /// # Errors
    /// Expected trouble: the interface is absent, changed or went down, or the
    /// port is taken.
    pub async fn run(
        self,
        queue: mpsc::Sender<Incoming>,
        story: Story,
        bound: impl FnOnce(&Link),
        token: CancellationToken,
    ) -> anyhow::Result<()> {
        let link = find_link(&self.interface, self.cidr, self.preferred)?;
        let socket = DhcpSocket::bind(link.clone()).map_err(|error| {
            let what = format!("DHCP on {}", link.name);
            let address = format!("0.0.0.0:{SERVER_PORT}");
            anyhow::Error::msg(bind_error(Table::Udp, &what, address, SERVER_PORT, &error))
        })?;
        if !socket.can_unicast() {
            tracing::warn!(
                interface = link.name,
                "no raw socket (CAP_NET_RAW): replies to machines without an address are broadcast"
            );
        }
        bound(&link);
        let door = Arc::new(Door {
            subnet: self.subnet.clone(),
            socket,
        });
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = vec![0; MAX_PACKET + 1];
        loop {
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                _ = look.tick() => {
                    let now = find_link(&self.interface, self.cidr, self.preferred)?;
                    anyhow::ensure!(now == link, "interface {} changed", link.name);
                }
                received = door.socket.receive(&mut buffer) => {
                    let (length, unicast) = received?;
                    let packet = buffer.get(..length).unwrap_or_default();
                    hand_on(packet, unicast, &door, &queue, &story);
                }
            }
        }
    }
}

/// Reads a packet and hands it to the engine.
fn hand_on(
    packet: &[u8],
    unicast: bool,
    door: &Arc<Door>,
    queue: &mpsc::Sender<Incoming>,
    story: &Story,
) {
    // The guard does not panic; a second line costs nothing.
    let parsed = catch_unwind(AssertUnwindSafe(|| Request::parse(packet)));
    let request = match parsed {
        Ok(Ok(request)) => request,
        Ok(Err(malformed)) => {
            story.count("none", Ignored::Malformed(malformed).as_str());
            tracing::debug!(
                subnet = door.subnet,
                bytes = packet.len(),
                ignored = malformed.as_str(),
                "packet ignored"
            );
            return;
        }
        Err(_) => {
            story.count("none", Ignored::Fault.as_str());
            return;
        }
    };
    let kind = request.kind;
    let incoming = Incoming {
        request,
        received: clock::now(),
        arrived: Instant::now(),
        unicast,
        door: Arc::clone(door),
    };
    if !has_room(kind, queue.capacity()) || queue.try_send(incoming).is_err() {
        story.count(kind.as_str(), Ignored::QueueFull.as_str());
    }
}

/// Whether a request of this kind may queue where `free` places are left.
const fn has_room(kind: RequestKind, free: usize) -> bool {
    match kind {
        RequestKind::Discover => free > KEPT_FREE,
        RequestKind::Request
        | RequestKind::Decline
        | RequestKind::Release
        | RequestKind::Inform => free > 0,
    }
}

/// Whether a request is not worth an answer after so many milliseconds. A
/// RELEASE or DECLINE is said once and gets none, so it always counts.
const fn is_stale(kind: RequestKind, waited: u64) -> bool {
    match kind {
        RequestKind::Discover | RequestKind::Request | RequestKind::Inform => waited > STALE_MILLIS,
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
        loop {
            // Far away where nothing waits.
            let far = Instant::now() + LOOK_EVERY;
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
                incoming = this.queue.recv() => match incoming {
                    Some(incoming) => this.handle(&incoming, &mut prober),
                    // Every listener is gone, and with them the app.
                    None => { token.cancelled().await; return Ok(()); }
                },
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
            unicast,
            door,
            ..
        } = incoming;
        if is_stale(request.kind, clock::now().since(*received)) {
            let kind = request.kind.as_str();
            self.tools.story.count(kind, Ignored::Stale.as_str());
            return;
        }
        let mac = request.client.mac;
        let authority = self.replica.standing().authority;
        let arrival = Arrival {
            now: *received,
            subnet: &door.subnet,
            server: door.socket.link().address,
            unicast: *unicast,
            loader_sent: mac.is_some_and(|mac| self.tools.recent.contains(mac, *received)),
            told: &self.tools.told,
            authority,
        };
        if let (Some(mac), Some(uuid)) = (mac, request.client.uuid)
            && snapshot.knows_uuids()
        {
            let mut told = Identity::from(mac);
            told.uuid = Some(uuid);
            self.tools.told.insert(mac, told, *received);
        }
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
        self.tools
            .story
            .tell(*received, request, &decision, &self.tools.told);
        self.tools.tell_choice(*received, request, &decision);
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
            (Some(reply), Some(probe)) if request.giaddr.is_unspecified() => {
                self.tools.probe(prober, reply, probe);
            }
            // Nobody can be asked by ARP behind a relay.
            (Some(reply), _) => reply.send(&self.tools),
            (None, _) => {}
        }
        if !durable.is_empty() {
            self.tools.commit(durable, waiting);
        }
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
                        by = %by,
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
    /// Tells the timeline of a machine that chose another server.
    fn tell_choice(&self, at: Millis, request: &Request, decision: &Decision) {
        let chose = Outcome::Ignored(Ignored::Lease(SilentReason::ChoseAnotherServer));
        let client = request.client;
        if let Some(mac) = client.mac.filter(|_| decision.outcome == chose) {
            let fact = Fact::ChoseAnother { client };
            self.events.emit(BootEvent { mac, at, fact });
        }
    }

    /// Asks whether somebody has the address of `offer` before it leaves.
    fn probe(&self, prober: &mut Prober<Outgoing>, offer: Outgoing, probe: (Ipv4Addr, Change)) {
        let door = Arc::clone(&offer.door);
        let (link, mac) = (door.socket.link(), offer.client.mac);
        match prober.begin(Instant::now(), link, mac, probe, offer) {
            Ok(()) => {}
            Err((NotProbed::Impossible, offer)) => {
                let what = format!("no probe on {}", link.name);
                if self.story.seldom.is_due(&what, clock::now()) {
                    tracing::warn!(
                        interface = link.name,
                        "no raw socket (CAP_NET_RAW): addresses that another replica may have given are offered without asking whether somebody has them"
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
    pub(super) fn commit(&self, changes: Vec<Change>, reply: Option<Outgoing>) {
        let tools = self.clone();
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

// === impl Outgoing ===

impl Outgoing {
    fn new(incoming: &Incoming, decision: Decision, held: Option<replica::Ask>) -> Option<Self> {
        let Outcome::Reply(reply) = decision.outcome else {
            return None;
        };
        let packet = match reply.encode(&incoming.request) {
            Ok(packet) => packet,
            Err(error) => {
                tracing::error!(%error, "reply dropped");
                return None;
            }
        };
        Some(Self {
            door: Arc::clone(&incoming.door),
            packet,
            kind: reply.kind,
            asked: incoming.request.kind,
            address: reply.yiaddr,
            destination: reply.destination,
            arrived: incoming.arrived,
            client: incoming.request.client,
            next: decision.boot.map(|boot| boot.next),
            machine: decision.machine,
            held,
        })
    }

    fn send(self, tools: &Tools) {
        if self.held.is_some_and(|ask| !ask().authority.judges()) {
            let reason = SilentReason::NotHolder;
            tools.story.count(self.asked.as_str(), reason.as_str());
            return;
        }
        if let Err(error) = self.door.socket.send(&self.packet, self.destination) {
            tools.story.metrics.send_errors.inc();
            tracing::warn!(
                target: "reveille::dhcp",
                interface = self.door.socket.link().name,
                machine = self.machine,
                destination = self.destination.as_str(),
                %error,
                "reply could not be sent"
            );
            return;
        }
        tools.story.count(self.asked.as_str(), self.kind.as_str());
        tools.story.answered(self.asked, self.arrived.elapsed());
        let Some(mac) = self.client.mac else { return };
        let (client, address) = (self.client, self.address);
        let fact = match self.kind {
            ReplyKind::Offer => Fact::Offer { client, address },
            ReplyKind::Ack => Fact::Ack {
                client,
                address,
                next: self.next.unwrap_or(NextStep::Nothing),
            },
            ReplyKind::Nak => return,
        };
        let at = clock::now();
        tools.events.emit(BootEvent { mac, at, fact });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_conversations_are_refused_before_those_under_way() {
        assert!(has_room(RequestKind::Discover, QUEUE));
        assert!(!has_room(RequestKind::Discover, KEPT_FREE));
        assert!(has_room(RequestKind::Request, KEPT_FREE));
        assert!(!has_room(RequestKind::Request, 0));
    }

    #[test]
    fn questions_grow_stale_and_farewells_do_not() {
        assert!(!is_stale(RequestKind::Discover, STALE_MILLIS));
        assert!(is_stale(RequestKind::Discover, STALE_MILLIS + 1));
        assert!(is_stale(RequestKind::Request, STALE_MILLIS + 1));
        assert!(!is_stale(RequestKind::Release, u64::MAX));
        assert!(!is_stale(RequestKind::Decline, u64::MAX));
    }
}
