//! The loop with the listening socket.
//!
//! It lets requests in, refuses them or ignores them, and owns the transfers:
//! dropping the server ends them.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use super::metrics::TftpMetrics;
use super::refuse::Refusal;
use super::resolve::{Naming, Uploads};
use super::session::{Session, Shared, Stop};
use super::socket::{Listener, Ports, Received, WAITING};
use super::transfer::{Limits, MAX_WINDOWSIZE, Outcome};
use super::upload::Promised;
use super::wire::{MAX_BLKSIZE, MIN_BLKSIZE, Packet, Request};
use crate::events::EventSender;
use crate::files::Roots;
use crate::governor::Governor;
use crate::lease::LeaseIndex;
use crate::snapshot::Reader;
use crate::supervisor::Lanes;
use crate::timeline::Introductions;

/// What [`TftpLimits::transfers`] may be. Each transfer has a socket: above the
/// usual limits for open files more would only fail later.
pub const TRANSFERS: RangeInclusive<usize> = 1..=65_536;

/// What [`TftpLimits::drain`] may be: an orchestrator kills after some minutes.
pub const DRAIN: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(300);

/// How long transfers that are told to stop may take to say so.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the TFTP service is given. Cheap to clone: the supervisor binds again
/// after trouble.
#[derive(Clone, Debug)]
pub struct TftpConfig {
    /// Where requests come to; the standard port is 69. The unspecified address
    /// of IPv6 takes those of IPv4, too.
    pub listen: SocketAddr,
    /// Whether an IPv6 address takes no IPv4.
    pub only_v6: bool,
    /// Where answers leave from.
    pub from: AnswerFrom,
    /// How names are taken.
    pub naming: Naming,
    /// Who may write what.
    pub uploads: Uploads,
    /// Whose turn it is on a link.
    pub governor: Governor,
    /// What strangers may take.
    pub limits: TftpLimits,
    /// The snapshots.
    pub snapshots: Reader,
    /// The files.
    pub roots: Arc<Roots>,
    /// Which machine has which address.
    pub leases: LeaseIndex,
    /// What machines told of themselves lately.
    pub told: Introductions,
    /// Where the ends of transfers are reported.
    pub events: EventSender,
    /// The counters.
    pub metrics: TftpMetrics,
}

/// The ports that transfers have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AnswerFrom {
    /// Any that is free (RFC 1350 section 4).
    #[default]
    AnyPort,
    /// One of these, for who has to name them to a firewall. There are no more
    /// transfers at a time than ports.
    Ports(RangeInclusive<u16>),
    /// The one that was asked: a client behind address translation, or a
    /// firewall between, sees one pair of ports.
    SamePort,
}

/// What strangers may take. Values out of range are taken as the nearest in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TftpLimits {
    /// Transfers at a time; default 1024, within [`TRANSFERS`]. At 384 KiB each
    /// that is 384 MiB where all read large files.
    pub transfers: usize,
    /// Transfers at a time of one address; default 16. A machine needs one or
    /// two, several behind one NAT share it.
    pub per_client: usize,
    /// How long transfers may go on after the service was told to stop;
    /// default 10 s, within [`DRAIN`].
    pub drain: Duration,
    /// The largest block, in bytes, whatever the link of the client takes. Where
    /// it is absent the MTU of the Subnet decides, or else `transfer` has it.
    pub blksize: Option<u16>,
    /// What one transfer may take.
    pub transfer: Limits,
}

/// The TFTP service: bound, but not yet serving.
#[derive(Debug)]
pub struct TftpServer {
    listener: Arc<Listener>,
    limits: TftpLimits,
    shared: Arc<Shared>,
    /// Where it all goes on.
    lanes: Lanes,
    /// Every transfer, also those that were replaced and are about to end.
    tasks: JoinSet<Option<Outcome>>,
    /// Whose transfer a task is.
    /// In the order in which they began: ids are given in that order.
    peers: BTreeMap<Id, SocketAddr>,
    /// The transfer that each client port has.
    active: BTreeMap<SocketAddr, Active>,
}

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    Read,
    Write,
}

/// What the loop knows of a transfer.
#[derive(Debug)]
struct Active {
    task: Id,
    /// The request, as it came.
    datagram: Vec<u8>,
    /// When its client was first heard, by `wall_clock`; 0: not yet.
    answered: Arc<AtomicU64>,
    stop: oneshot::Sender<Stop>,
    /// Where its packets go, where all transfers share a port.
    packets: Option<mpsc::Sender<Vec<u8>>>,
    /// The same request again, which came before the client answered ours.
    repeated: Option<Received>,
}

// === impl TftpLimits ===

impl Default for TftpLimits {
    fn default() -> Self {
        Self {
            transfers: 1024,
            per_client: 16,
            drain: Duration::from_secs(10),
            blksize: None,
            transfer: Limits::default(),
        }
    }
}

impl TftpLimits {
    fn in_range(self) -> Self {
        let Self {
            transfers,
            per_client,
            drain,
            blksize,
            transfer,
        } = self;
        let in_blocks = |bytes: u16| bytes.clamp(MIN_BLKSIZE, MAX_BLKSIZE);
        let transfers = transfers.clamp(*TRANSFERS.start(), *TRANSFERS.end());
        Self {
            transfers,
            per_client: per_client.clamp(1, transfers),
            drain: drain.clamp(*DRAIN.start(), *DRAIN.end()),
            blksize: blksize.map(in_blocks),
            transfer: Limits {
                blksize: in_blocks(transfer.blksize),
                windowsize: transfer.windowsize.clamp(1, MAX_WINDOWSIZE),
                ..transfer
            },
        }
    }
}

// === impl TftpServer ===

impl TftpServer {
    /// Binds the listening socket.
    ///
    /// # Errors
    /// Where the address is taken, not ours, or the port needs a privilege.
    pub fn bind(config: TftpConfig) -> io::Result<Self> {
        let TftpConfig {
            listen,
            only_v6,
            from,
            naming,
            uploads,
            governor,
            limits,
            snapshots,
            roots,
            leases,
            told,
            events,
            metrics,
        } = config;
        let limits = limits.in_range();
        // What all comes to one socket is all read by its lane.
        let lanes = if from == AnswerFrom::SamePort {
            Lanes::start("tftp", Some(1))?
        } else {
            Lanes::divided("tftp")?
        };
        let listener = {
            let _lane = lanes.first().enter();
            Arc::new(Listener::bind(listen, only_v6)?)
        };
        let shared = Shared {
            snapshots,
            roots,
            leases,
            told,
            events,
            metrics,
            limits: limits.transfer.clone(),
            blksize: limits.blksize,
            naming,
            uploads,
            governor,
            promised: Promised::default(),
            listener: Arc::clone(&listener),
            ports: match from {
                AnswerFrom::AnyPort => Ports::Any,
                AnswerFrom::Ports(ports) => Ports::among(ports),
                AnswerFrom::SamePort => Ports::Single,
            },
        };
        Ok(Self {
            listener,
            limits,
            shared: Arc::new(shared),
            lanes,
            tasks: JoinSet::new(),
            peers: BTreeMap::new(),
            active: BTreeMap::new(),
        })
    }

    /// The address that requests come to.
    ///
    /// # Errors
    /// Where the kernel does not say it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`, then lets the transfers in flight come to their end
    /// within [`TftpLimits::drain`].
    ///
    /// # Errors
    /// Where the listening socket cannot receive any more; transfers in flight
    /// have come to their end then, too.
    pub async fn run(self, stop: CancellationToken) -> io::Result<()> {
        let lanes = self.lanes.clone();
        lanes.run(self.serve(stop)).await
    }

    async fn serve(mut self, stop: CancellationToken) -> io::Result<()> {
        let result = loop {
            tokio::select! {
                () = stop.cancelled() => break Ok(()),
                received = self.listener.receive() => match received {
                    Ok(received) => self.on_datagram(&received),
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                        self.shared.metrics.ignored("peer-without-address");
                    }
                    Err(error) => break Err(error),
                },
                Some(ended) = self.tasks.join_next_with_id() => self.on_end(ended),
            }
        };
        self.drain().await;
        result
    }

    fn on_datagram(&mut self, received: &Received) {
        let Received { datagram, peer, .. } = received;
        if peer.port() == 0 {
            // Nobody can be answered there.
            return self.ignore(*peer, "peer-port-zero");
        }
        match Packet::decode(datagram) {
            Ok(Packet::Read(request)) => self.on_request(&request, received, Wants::Read),
            Ok(Packet::Write(request)) => self.on_request(&request, received, Wants::Write),
            Ok(
                Packet::Data { .. }
                | Packet::Ack { .. }
                | Packet::Error { .. }
                | Packet::OptionAck(_),
            ) => self.on_other(received),
            Err(unreadable) => self.ignore(*peer, unreadable.as_str()),
        }
    }

    /// A packet that asks for nothing is for the transfer that its sender has,
    /// where all share a port. No ERROR for others, not to be a mirror for
    /// forged packets.
    fn on_other(&self, received: &Received) {
        let peer = received.peer;
        let packets = self.active.get(&peer).and_then(|a| a.packets.as_ref());
        match packets.map(|packets| packets.try_send(received.datagram.clone())) {
            Some(Ok(())) => {}
            // Lost, as it may be on the way.
            Some(Err(TrySendError::Full(_))) => self.ignore(peer, "packets-too-many"),
            Some(Err(TrySendError::Closed(_))) | None => self.ignore(peer, "no-request"),
        }
    }

    fn ignore(&self, peer: SocketAddr, reason: &str) {
        debug!(target: "reveille::tftp", %peer, reason, "ignored");
        self.shared.metrics.ignored(reason);
    }

    /// Lets a request in. From a port that has a transfer, the same
    /// request is a repetition where it came before the client answered (its own
    /// timer was faster than ours), whichever of the two we read first: they
    /// come to two sockets. Anything else replaces the transfer.
    fn on_request(&mut self, request: &Request<'_>, received: &Received, wants: Wants) {
        let peer = received.peer;
        if let Some(active) = self.active.get_mut(&peer) {
            let answered = active.answered.load(Ordering::Relaxed);
            let before = answered == 0 || received.at < answered;
            if active.datagram == received.datagram && before {
                active.repeated = Some(received.clone());
                return self.ignore(peer, "request-repeated");
            }
        }
        if let Some(replaced) = self.active.remove(&peer) {
            // Where nobody listens any more it has ended by itself.
            let _ = replaced.stop.send(Stop::Replaced);
        }
        match self.make_room_for(peer.ip()) {
            Ok(()) => self.start(request, received, wants),
            Err(refusal) => {
                let shared = &self.shared;
                shared.refuse(received.local, peer, request.name, refusal);
            }
        }
        self.shared.metrics.set_active(self.active.len());
    }

    /// Lets a client in, at the cost of the transfer that waits longest for
    /// the first word of its client, where there is one: requests with forged
    /// senders would hold every place for as long as our patience, or those of
    /// the machine whose address they forge.
    fn make_room_for(&mut self, client: IpAddr) -> Result<(), Refusal> {
        let own = |peer: &SocketAddr| peer.ip() == client;
        let ports = SocketAddr::new(client, 0)..=SocketAddr::new(client, u16::MAX);
        if self.active.range(ports).count() >= self.limits.per_client && !self.crowd_out(own) {
            return Err(Refusal::ClientBusy);
        }
        if self.active.len() >= self.limits.transfers && !self.crowd_out(|_| true) {
            return Err(Refusal::Busy);
        }
        // Transfers that were replaced end at once, but one that waits for a
        // slow disk cannot.
        if self.tasks.len() >= self.limits.transfers.saturating_mul(2) {
            return Err(Refusal::Busy);
        }
        Ok(())
    }

    /// Ends the oldest transfer of those peers whose client has not answered.
    fn crowd_out(&mut self, among: impl Fn(&SocketAddr) -> bool) -> bool {
        let waits = |(task, peer): &(&Id, &SocketAddr)| {
            let active = self.active.get(peer).filter(|active| active.task == **task);
            active.is_some_and(|active| active.answered.load(Ordering::Relaxed) == 0)
        };
        let mut peers = self.peers.iter().filter(|(_, peer)| among(peer));
        let oldest = peers.find(waits).map(|(_, peer)| *peer);
        let Some(active) = oldest.and_then(|peer| self.active.remove(&peer)) else {
            return false;
        };
        let _ = active.stop.send(Stop::Crowded);
        true
    }

    fn start(&mut self, request: &Request<'_>, received: &Received, wants: Wants) {
        let peer = received.peer;
        let answered = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = oneshot::channel();
        let shared_port = matches!(self.shared.ports, Ports::Single);
        let (packets, incoming) = shared_port.then(|| mpsc::channel(WAITING)).unzip();
        let place = self.lanes.place();
        let lane = place.lane().clone();
        let session = Session {
            shared: Arc::clone(&self.shared),
            place,
            peer,
            local: received.local,
            packets: incoming,
            name: request.name.to_vec(),
            mode: request.mode,
            options: request.options,
            answered: Arc::clone(&answered),
            stop: stopped,
        };
        let task = match wants {
            Wants::Read => self.tasks.spawn_on(session.serve(), &lane),
            Wants::Write => self.tasks.spawn_on(session.take_in(), &lane),
        };
        let task = task.id();
        self.peers.insert(task, peer);
        let active = Active {
            task,
            datagram: received.datagram.clone(),
            answered,
            stop,
            packets,
            repeated: None,
        };
        self.active.insert(peer, active);
    }

    /// Forgets a transfer that has ended. A request that looked like a
    /// repetition was a new one where the client has ended the transfer itself:
    /// its ERROR and its next request come to different sockets.
    fn on_end(&mut self, ended: Result<(Id, Option<Outcome>), JoinError>) {
        let (task, outcome) = match ended {
            Ok(ended) => ended,
            Err(fault) => {
                error!(target: "reveille::tftp", error = %fault, "transfer died");
                (fault.id(), None)
            }
        };
        let Some(peer) = self.peers.remove(&task) else {
            return;
        };
        let current = self.active.get(&peer).is_some_and(|a| a.task == task);
        let Some(active) = current.then(|| self.active.remove(&peer)).flatten() else {
            return;
        };
        self.shared.metrics.set_active(self.active.len());
        let by_client = match outcome {
            Some(Outcome::Probe | Outcome::ClientError { .. }) => true,
            Some(
                Outcome::Complete
                | Outcome::Unconfirmed
                | Outcome::TimedOut
                | Outcome::Overdue
                | Outcome::CrowdedOut
                | Outcome::Unreachable
                | Outcome::Replaced
                | Outcome::Truncated
                | Outcome::ReadFailed
                | Outcome::TooLong
                | Outcome::Exists
                | Outcome::DiskFull
                | Outcome::WriteFailed
                | Outcome::SocketFailed
                | Outcome::Stopped,
            )
            | None => false,
        };
        if let (true, Some(received)) = (by_client, active.repeated) {
            self.on_datagram(&received);
        }
    }

    /// Lets transfers end, and ends them after a while.
    async fn drain(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        let transfers = self.tasks.len();
        info!(target: "reveille::tftp", transfers, "waiting for transfers to end");
        self.join_until(Instant::now() + self.limits.drain).await;
        for (_, active) in std::mem::take(&mut self.active) {
            let _ = active.stop.send(Stop::Shutdown);
        }
        self.join_until(Instant::now() + LAST_WORDS).await;
        self.shared.metrics.set_active(0);
    }

    async fn join_until(&mut self, deadline: Instant) {
        while let Ok(Some(ended)) = timeout_at(deadline, self.tasks.join_next()).await {
            if let Err(fault) = ended {
                error!(target: "reveille::tftp", error = %fault, "transfer died");
            }
        }
    }
}
