//! One transfer on its way: what `transfer` says, done with a socket, a file
//! and the clock.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::metrics::TftpMetrics;
use super::open::{Opened, open_at_once, open_file};
use super::refuse::Refusal;
use super::report::Served;
use super::resolve::{Content, Naming, Uploads, resolve};
use super::socket::{Listener, PeerSocket, Ports, is_unreachable, wall_clock};
use super::source::Source;
use super::transfer::{Limits, Outcome, Step, Transfer};
use super::upload::Promised;
use super::wire::{self, DATA_HEADER, ErrorCode, Mode, Options};
use crate::boot::MacAddress;
use crate::clock;
use crate::events::EventSender;
use crate::files::{ArtifactPath, Roots};
use crate::governor::{Bears, Governor, Turn};
use crate::lease::LeaseIndex;
use crate::script::Caller;
use crate::snapshot::Reader;
use crate::supervisor::{Place, run_on};
use crate::timeline::{BootEvent, Fact, Introductions, Purpose};

/// What a client sends during a read is short: an ACK has 4 bytes, and of an
/// ERROR's words the first are enough.
const MAX_PACKET: usize = 256;

/// Packets of a client after which it is looked whether they come to another
/// processor now.
const LOOK: u32 = 256;

/// Bytes of a file below which its transfer stays where it is.
const LONG: u64 = 64 << 10;

/// What all transfers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) snapshots: Reader,
    pub(super) roots: Arc<Roots>,
    pub(super) leases: LeaseIndex,
    pub(super) told: Introductions,
    pub(super) events: EventSender,
    pub(super) metrics: TftpMetrics,
    pub(super) limits: Limits,
    /// The largest block that the settings ask for, where they do.
    pub(super) blksize: Option<u16>,
    pub(super) naming: Naming,
    pub(super) uploads: Uploads,
    pub(super) governor: Governor,
    pub(super) promised: Promised,
    pub(super) listener: Arc<Listener>,
    pub(super) ports: Ports,
}

/// A request that was let in.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    /// Where it goes on.
    pub(super) place: Place,
    pub(super) peer: SocketAddr,
    /// Our address that it came to.
    pub(super) local: IpAddr,
    /// What the client sends, where all transfers share a port.
    pub(super) packets: Option<mpsc::Receiver<Vec<u8>>>,
    pub(super) name: Vec<u8>,
    pub(super) mode: Mode,
    pub(super) options: Options,
    /// When the client first acknowledged something, by `wall_clock`; 0: not yet.
    pub(super) answered: Arc<AtomicU64>,
    /// Ends the transfer from outside.
    pub(super) stop: oneshot::Receiver<Stop>,
}

/// Why a transfer is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The client has asked for something else: it is not told anything.
    Replaced,
    /// Another needs its place, and it has not answered yet.
    Crowded,
    /// The server stops.
    Shutdown,
}

/// A transfer and what it runs on.
#[derive(Debug)]
struct Run {
    shared: Arc<Shared>,
    /// Where it goes on.
    place: Place,
    answered: Arc<AtomicU64>,
    stop: oneshot::Receiver<Stop>,
    socket: PeerSocket,
    source: Source,
    served: Served,
    transfer: Transfer,
    started: Instant,
    /// Its turn on the link, where it has one.
    turn: Option<Turn>,
    /// The packets of a window; kept for the next one.
    packets: Vec<u8>,
    /// Packets of the client until it is looked where they come to.
    look_in: u32,
}

/// Why a transfer pauses.
#[derive(Debug)]
enum Pause {
    /// It is over.
    End(Outcome),
    /// It goes on with a step where its packets come to.
    Moves(Place, Step),
}

// === impl Shared ===

impl Shared {
    /// Tells the timeline that a boot did not get what it needs.
    fn tell_refused(
        &self,
        machine: Option<MacAddress>,
        purpose: Purpose,
        name: &str,
        reason: &'static str,
    ) {
        if let (Some(mac), true) = (machine, purpose != Purpose::Other) {
            let fact = Fact::Refused {
                purpose,
                name: name.to_owned(),
                reason,
            };
            let at = clock::now();
            self.events.emit(BootEvent { mac, at, fact });
        }
    }

    /// Opens the first of `paths` that is there: at once where that needs no
    /// disk, as for the loader of a thousand machines.
    async fn open(&self, paths: Vec<ArtifactPath>, translate: bool) -> Result<Opened, Refusal> {
        if !translate && let Some(opened) = open_at_once(&self.roots, &paths) {
            return Ok(opened);
        }
        let roots = Arc::clone(&self.roots);
        let opening = spawn_blocking(move || open_file(&roots, &paths, translate));
        opening.await.map_err(|_| Refusal::ReadFailed)?
    }

    /// The machine that the leases have at an address.
    fn machine_at(&self, address: IpAddr) -> Option<MacAddress> {
        self.leases.mac_of(address)
    }

    /// Answers a request with an ERROR packet, at once: a client that is left
    /// without an answer waits up to a minute.
    pub(super) fn refuse(&self, local: IpAddr, peer: SocketAddr, name: &[u8], why: Refusal) {
        let reason = why.as_str();
        let mac = self.machine_at(peer.ip());
        let boot = mac.and_then(|mac| self.told.boot(mac));
        let machine = mac.map(tracing::field::display);
        let boot = boot.map(tracing::field::display);
        let name = String::from_utf8_lossy(name);
        let name = name.escape_debug();
        info!(target: "reveille::tftp", %peer, machine, boot, %name, reason, "refused");
        self.metrics.refused(why);
        let (packet, road) = (wire::error(why.code(), reason), (local, peer));
        if let Err(error) = self.ports.send_once(&self.listener, road, &packet) {
            debug!(target: "reveille::tftp", %peer, %error, "refusal could not be sent");
        }
    }
}

// === impl Session ===

impl Session {
    /// Serves the request to its end. `None` where it was refused.
    pub(super) async fn serve(mut self) -> Option<Outcome> {
        let opened = self.open().await;
        let len = opened.as_ref().map_or(0, |(served, ..)| served.len);
        let turn = self.turn(len).await;
        // Whatever came of it, the client has gone on: an answer now would be
        // taken for one to its next request.
        let (Ok(turn), Err(TryRecvError::Empty)) = (turn, self.stop.try_recv()) else {
            self.shared.metrics.ignored("request-replaced");
            return None;
        };
        let connected = opened.and_then(|opened| Ok((opened, self.connect()?)));
        let ((served, source, limits), socket) = match connected {
            Ok(connected) => connected,
            Err(refusal) => {
                let shared = &self.shared;
                shared.refuse(self.local, self.peer, &self.name, refusal);
                return None;
            }
        };
        let (transfer, first) = Transfer::start(&self.options, &limits, served.len, Duration::ZERO);
        let run = Run {
            shared: self.shared,
            place: self.place,
            answered: self.answered,
            stop: self.stop,
            socket,
            source,
            transfer,
            started: served.started,
            served,
            turn,
            packets: Vec::new(),
            look_in: 1,
        };
        let (run, outcome) = run.play_through(first).await;
        run.served
            .report(&run.shared, self.peer, &run.transfer, &outcome);
        Some(outcome)
    }

    /// Waits for a turn on the link, no longer than firmware bears it.
    /// `Err` where it was told to stop meanwhile.
    async fn turn(&mut self, len: u64) -> Result<Option<Turn>, Stop> {
        let ends = (self.local, self.peer.ip());
        let turn = self.shared.governor.turn(ends, len, Bears::ToGo);
        tokio::select! {
            turn = turn => Ok(turn.unwrap_or_default()),
            stop = &mut self.stop => Err(stop.unwrap_or(Stop::Shutdown)),
        }
    }

    pub(super) fn connect(&mut self) -> Result<PeerSocket, Refusal> {
        let (shared, local, peer) = (&self.shared, self.local, self.peer);
        if let Some(packets) = self.packets.take() {
            let listener = Arc::clone(&shared.listener);
            return Ok(PeerSocket::shared(listener, local, peer, packets));
        }
        PeerSocket::connect(&shared.ports, local, peer).map_err(|error| {
            warn!(target: "reveille::tftp", %peer, %error, "no socket to answer from");
            Refusal::NoSocket
        })
    }

    /// Finds out what the name means, by one snapshot, and opens it.
    async fn open(&self) -> Result<(Served, Source, Limits), Refusal> {
        let started = Instant::now();
        let translate = match self.mode {
            Mode::Octet => false,
            Mode::Netascii => true,
            Mode::Mail => return Err(Refusal::Mail),
            Mode::Unknown => return Err(Refusal::UnknownMode),
        };
        let shared = &self.shared;
        let snapshot = shared.snapshots.current().ok_or(Refusal::NoSnapshot)?;
        let machine = shared.machine_at(self.peer.ip());
        let caller = Caller {
            address: self.peer.ip(),
            mac: machine,
            told: &shared.told,
        };
        let server = self.local;
        let content = resolve(&snapshot, &shared.naming, caller, server, &self.name);
        let (purpose, opened) = match content.map_err(Refusal::Name)? {
            Content::File { paths, purpose } => {
                let name = named(&paths);
                let opened = shared.open(paths, translate).await;
                let opened = opened.inspect_err(|refusal| {
                    shared.tell_refused(machine, purpose, &name, refusal.as_str());
                })?;
                (purpose, opened)
            }
            Content::Text {
                name,
                body,
                purpose,
            } => (purpose, Opened::text(name, body.as_bytes(), translate)),
        };
        let subnet = snapshot.subnet_of(caller.address);
        let mtu = subnet.and_then(|subnet| subnet.spec.mtu);
        let limits = shared.limits.on_link(mtu, shared.blksize);
        let Opened { name, source, len } = opened;
        let served = Served {
            machine,
            generation: snapshot.generation,
            name,
            purpose,
            len,
            started,
        };
        Ok((served, source, limits))
    }
}

/// The common name of a file that may be in several places.
fn named(paths: &[ArtifactPath]) -> String {
    paths.last().map(ToString::to_string).unwrap_or_default()
}

// === impl Run ===

impl Run {
    /// Plays the transfer to its end, in the lane whose processor takes in the
    /// client's packets. The wait for it is always here, where it began.
    async fn play_through(mut self, first: Step) -> (Self, Outcome) {
        let mut pause = self.play(first).await;
        loop {
            let (place, step) = match pause {
                Pause::End(outcome) => return (self, outcome),
                Pause::Moves(place, step) => (place, step),
            };
            let lane = place.lane().clone();
            self.place = place;
            (self, pause) = run_on(&lane, self.play_here(step)).await;
        }
    }

    /// Goes on in the lane of the caller.
    async fn play_here(mut self, step: Step) -> (Self, Pause) {
        let pause = match self.socket.rehome() {
            Ok(()) => self.play(step).await,
            Err(error) => {
                let gone = self.transfer.on_unreachable();
                Pause::End(socket_trouble(&error, gone))
            }
        };
        (self, pause)
    }

    /// A place where the client's packets come to, if that is elsewhere. It is not
    /// looked for each: that is a system call.
    fn nearer(&mut self) -> Option<Place> {
        self.look_in = self.look_in.saturating_sub(1);
        if self.look_in > 0 || self.served.len < LONG {
            return None;
        }
        self.look_in = LOOK;
        self.place.nearer(self.socket.processor()?)
    }

    /// Plays the transfer until it is over, or has to move.
    async fn play(&mut self, first: Step) -> Pause {
        let wake = sleep_until(self.started + self.transfer.deadline());
        tokio::pin!(wake);
        let mut datagram = [0; MAX_PACKET];
        let mut step = first;
        loop {
            if let Err(outcome) = self.carry_out(step).await {
                return Pause::End(outcome);
            }
            // The timer is moved only where it would ring too late: moving it
            // with every packet costs more than waking up for nothing at times.
            let deadline = self.started + self.transfer.deadline();
            if deadline < wake.deadline() {
                wake.as_mut().reset(deadline);
            }
            step = tokio::select! {
                received = self.socket.receive(&mut datagram) => match received {
                    Ok(len) => {
                        let step = self.on_packet(datagram.get(..len).unwrap_or_default());
                        if let Some(place) = self.nearer() {
                            return Pause::Moves(place, step);
                        }
                        step
                    }
                    Err(error) => self.on_trouble(&error, &mut datagram),
                },
                () = &mut wake => {
                    wake.as_mut().reset(deadline);
                    self.on_wake(&mut datagram)
                }
                stop = &mut self.stop => self.stopped(stop.unwrap_or(Stop::Shutdown)).await,
            };
        }
    }

    fn on_packet(&mut self, packet: &[u8]) -> Step {
        let step = self.transfer.on_packet(self.started.elapsed(), packet);
        // A probe acknowledges nothing: it is no beginning.
        if self.transfer.answered() && self.answered.load(Ordering::Relaxed) == 0 {
            self.answered.store(wall_clock(), Ordering::Relaxed);
            self.served.started(&self.shared);
        }
        step
    }

    fn on_wake(&mut self, datagram: &mut [u8]) -> Step {
        if self.started.elapsed() < self.transfer.deadline() {
            return Step::Wait;
        }
        // What has come counts, also where we did not get to read it.
        if let Some(len) = self.socket.receive_now(datagram) {
            return self.on_packet(datagram.get(..len).unwrap_or_default());
        }
        self.transfer.on_timeout(self.started.elapsed())
    }

    /// The socket fails. A client that went may have said why before.
    fn on_trouble(&mut self, error: &io::Error, datagram: &mut [u8]) -> Step {
        if is_unreachable(error)
            && let Some(len) = self.socket.receive_now(datagram)
        {
            let step = self.on_packet(datagram.get(..len).unwrap_or_default());
            if matches!(step, Step::End(_)) {
                return step;
            }
        }
        Step::End(socket_trouble(error, self.transfer.on_unreachable()))
    }

    /// Does what `step` says; `Err` is the end.
    async fn carry_out(&mut self, step: Step) -> Result<(), Outcome> {
        let sent = match step {
            Step::Packet(packet) => self.socket.send(&packet).await,
            Step::Blocks(blocks) => {
                if let Err(error) = self.source.packets(&blocks, &mut self.packets).await {
                    return Err(self.source_trouble(&error).await);
                }
                if let Some(turn) = &self.turn {
                    turn.moved(self.packets.len() as u64);
                }
                let size = usize::from(blocks.blksize()) + DATA_HEADER;
                let sent = self.socket.send_all(&self.packets, size).await;
                self.socket.expect_answer();
                sent
            }
            Step::Wait => Ok(()),
            Step::Ignore(ignored) => {
                self.shared.metrics.ignored(ignored.as_str());
                Ok(())
            }
            Step::End(Outcome::Overdue) => {
                self.tell(Outcome::Overdue.as_str()).await;
                return Err(Outcome::Overdue);
            }
            Step::End(outcome) => return Err(outcome),
        };
        sent.map_err(|error| socket_trouble(&error, self.transfer.on_unreachable()))
    }

    async fn stopped(&self, stop: Stop) -> Step {
        match stop {
            Stop::Replaced => Step::End(self.transfer.on_replaced()),
            Stop::Crowded => Step::End(Outcome::CrowdedOut),
            Stop::Shutdown => {
                self.tell("server stops").await;
                Step::End(Outcome::Stopped)
            }
        }
    }

    async fn source_trouble(&self, error: &io::Error) -> Outcome {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            self.tell("file became shorter").await;
            return Outcome::Truncated;
        }
        warn!(target: "reveille::tftp", %error, "file cannot be read");
        self.tell("file cannot be read").await;
        Outcome::ReadFailed
    }

    /// Tells the client that it is over. It is over whether it hears it or not.
    async fn tell(&self, words: &str) {
        let packet = wire::error(ErrorCode::Undefined, words);
        if let Err(error) = self.socket.send(&packet).await {
            debug!(target: "reveille::tftp", %error, "last words could not be sent");
        }
    }
}

/// How a transfer ends that a socket cannot go on with; `gone` where nobody is
/// at the far end.
pub(super) fn socket_trouble(error: &io::Error, gone: Outcome) -> Outcome {
    if is_unreachable(error) {
        return gone;
    }
    warn!(target: "reveille::tftp", %error, "socket failed");
    Outcome::SocketFailed
}
