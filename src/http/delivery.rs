//! The end of an answer: one log line, the counters, and what the timeline
//! is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use super::discs::Discs;
use super::metrics::{HttpMetrics, InFlight};
use super::spans::Spans;
use crate::boot::{MacAddress, Transport};
use crate::clock;
use crate::events::EventSender;
use crate::governor::Turn;
use crate::timeline::{BootEvent, Fact, Introductions, Purpose, Transfer};

/// Where reports go.
#[derive(Clone, Debug)]
pub(super) struct Sinks {
    pub(super) events: EventSender,
    pub(super) metrics: HttpMetrics,
    /// Who boots.
    pub(super) told: Introductions,
    /// What machines read of discs.
    pub(super) discs: Discs,
}

/// What is known of a request when it comes in.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) sinks: Arc<Sinks>,
    pub(super) started: Instant,
    pub(super) peer: SocketAddr,
    /// The machine that the lease table has at the peer's address.
    pub(super) mac: Option<MacAddress>,
    pub(super) method: Method,
    /// Decoded, where it can be.
    pub(super) path: String,
    /// Of the snapshot that answered; 0 without one.
    pub(super) generation: u64,
    /// Counts it while it is there.
    pub(super) _in_flight: InFlight,
}

/// What an answer carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file or text.
    Content(Purpose),
    /// A folder.
    Listing,
    /// Thanks for a call.
    PhoneHome,
    /// A reason.
    Refusal,
}

/// What the timeline is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) purpose: Purpose,
    pub(super) name: String,
    /// The whole of it, in bytes.
    pub(super) size: u64,
    /// The machine that it was made for, where it was made for one.
    pub(super) machine: Option<MacAddress>,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// All of it left for the client.
    Complete,
    /// The client went away or took nothing for too long, or we were stopped.
    Broken,
    /// The file became shorter than its `Content-Length` said.
    FileShrank,
    /// The file could not be read on.
    ReadFailed,
}

/// An answer on its way.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) exchange: Exchange,
    pub(super) status: StatusCode,
    pub(super) kind: Kind,
    /// The refusal's name.
    pub(super) reason: Option<&'static str>,
    /// `None` where no content is sent, as for HEAD.
    pub(super) content: Option<Content>,
    /// Bytes of body that were handed on.
    pub(super) sent: u64,
    /// Its turn on the link, where it has one.
    pub(super) turn: Option<Turn>,
}

/// Answers whose last byte was handed to hyper but may not have left yet.
/// Shared by the bodies of a connection and its [`Wire`](super::wire::Wire).
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    waiting: Arc<Mutex<Waiting>>,
    /// Where parts of files wait to be sent, if the connection can take them.
    spans: Option<Spans>,
}

#[derive(Debug, Default)]
struct Waiting {
    deliveries: Vec<Delivery>,
    closed: bool,
    /// Why the connection has to end, where we know.
    failed: Option<Ended>,
}

// === impl Kind ===

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Content(purpose) => purpose.as_str(),
            Self::Listing => "listing",
            Self::PhoneHome => "phone-home",
            Self::Refusal => "refusal",
        }
    }
}

// === impl Ended ===

impl Ended {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Broken => "connection-broken",
            Self::FileShrank => "file-shrank",
            Self::ReadFailed => "read-failed",
        }
    }
}

// === impl Outbox ===

impl Outbox {
    /// One of a connection that takes parts of files.
    pub(super) fn with_spans() -> Self {
        Self {
            spans: Some(Spans::default()),
            ..Self::default()
        }
    }

    /// Where parts of files wait.
    pub(super) const fn spans(&self) -> Option<&Spans> {
        self.spans.as_ref()
    }

    /// Says why the connection has to end.
    pub(super) fn fail(&self, ended: Ended) {
        self.lock().failed = Some(ended);
    }

    /// How answers end that the connection does not outlive.
    pub(super) fn broken(&self) -> Ended {
        self.lock().failed.unwrap_or(Ended::Broken)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a delivery until its bytes have left.
    pub(super) fn push(&self, delivery: Delivery) {
        let mut waiting = self.lock();
        if waiting.closed {
            drop(waiting);
            delivery.report(self.broken());
        } else {
            waiting.deliveries.push(delivery);
        }
    }

    /// Whether an answer has come to its end, as far as hyper knows.
    pub(super) fn is_waiting(&self) -> bool {
        !self.lock().deliveries.is_empty()
    }

    /// All bytes of the waiting deliveries are with the kernel.
    pub(super) fn flushed(&self) {
        for delivery in self.take(false) {
            delivery.report(Ended::Complete);
        }
    }

    /// The connection is gone with whatever was waiting.
    pub(super) fn close(&self) {
        for delivery in self.take(true) {
            delivery.report(self.broken());
        }
    }

    fn take(&self, closed: bool) -> Vec<Delivery> {
        let mut waiting = self.lock();
        waiting.closed |= closed;
        std::mem::take(&mut waiting.deliveries)
    }
}

// === impl Delivery ===

impl Delivery {
    /// Says how it ended: log line, counters, timeline.
    pub(super) fn report(self, ended: Ended) {
        let duration = self.exchange.started.elapsed();
        self.count(ended, duration);
        self.log(ended, duration);
        self.tell(ended, duration);
    }

    /// The machine: whom the content is for, else who is at the address.
    fn machine(&self) -> Option<MacAddress> {
        let named = self.content.as_ref().and_then(|content| content.machine);
        named.or(self.exchange.mac)
    }

    fn count(&self, ended: Ended, duration: Duration) {
        let metrics = &self.exchange.sinks.metrics;
        let (code, kind) = (self.status.as_str(), self.kind.as_str());
        metrics.requests.with_label_values(&[code, kind]).inc();
        let seconds = metrics.seconds.with_label_values(&[kind]);
        seconds.observe(duration.as_secs_f64());
        metrics.sent.with_label_values(&[kind]).inc_by(self.sent);
        if let Some(reason) = self.reason {
            metrics.refused.with_label_values(&[reason]).inc();
        }
        if ended != Ended::Complete {
            metrics.cut.with_label_values(&[ended.as_str()]).inc();
        }
    }

    /// Whether the timeline tells of it: a whole file on its way to a machine.
    fn is_stage(&self, ended: Ended) -> bool {
        let purpose = self.content.as_ref().map(|content| content.purpose);
        let stage = purpose.is_some_and(|purpose| purpose != Purpose::Other);
        stage
            && self.machine().is_some()
            && self.status == StatusCode::OK
            && ended == Ended::Complete
    }

    fn log(&self, ended: Ended, duration: Duration) {
        let told = &self.exchange.sinks.told;
        let boot = self.machine().and_then(|mac| told.boot(mac));
        // A macro because a level of `tracing` is fixed where it is written.
        macro_rules! line {
            ($level:ident) => {{
                let exchange = &self.exchange;
                tracing::$level!(
                    target: "reveille::http",
                    method = exchange.method.as_str(),
                    path = exchange.path.as_str(),
                    status = self.status.as_u16(),
                    reason = self.reason,
                    bytes = self.sent,
                    duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
                    ended = ended.as_str(),
                    peer = %exchange.peer,
                    mac = self.machine().map(tracing::field::display),
                    boot = boot.map(tracing::field::display),
                    generation = exchange.generation,
                    "answered"
                );
            }};
        }
        // What the timeline tells is not told twice, nor that UEFI asked first.
        let asked_first = self.exchange.method == Method::HEAD && self.status.is_success();
        if asked_first || self.is_stage(ended) || self.is_part_of_disc() {
            line!(debug);
        } else {
            line!(info);
        }
    }

    /// Whether it is a part of a disc: iPXE reads one as a drive, a few sectors
    /// at a time.
    fn is_part_of_disc(&self) -> bool {
        self.kind == Kind::Content(Purpose::Iso) && self.status == StatusCode::PARTIAL_CONTENT
    }

    /// Tells the timeline that a long file is on its way; its end, which
    /// always comes, tells the rest.
    pub(super) fn started(&self) {
        let long = |content: &&Content| content.purpose.tells_start(content.size);
        if self.is_part_of_disc() {
            return;
        }
        if let Some(content) = self.content.as_ref().filter(long) {
            let purpose = content.purpose;
            self.emit(Fact::TransferStarted { purpose });
        }
    }

    /// Tells the timeline that a boot did not get what it needs.
    fn refused(&self, reason: &'static str) {
        let Some(content) = self.content.as_ref() else {
            return;
        };
        if content.purpose != Purpose::Other {
            self.emit(Fact::Refused {
                purpose: content.purpose,
                name: content.name.clone(),
                reason,
            });
        }
    }

    fn emit(&self, fact: Fact) {
        if let Some(mac) = self.machine() {
            let at = clock::now();
            self.exchange.sinks.events.emit(BootEvent { mac, at, fact });
        }
    }

    fn tell(self, ended: Ended, duration: Duration) {
        if let Some(reason) = self.reason {
            self.refused(reason);
            return;
        }
        let part_of_disc = self.is_part_of_disc();
        let (Some(mac), Some(content)) = (self.machine(), self.content) else {
            return;
        };
        let (mut bytes, mut duration) = (self.sent, duration);
        if part_of_disc {
            let read = &self.exchange.sinks.discs;
            let Some(read) = read.read(mac, bytes, content.size, clock::now()) else {
                return;
            };
            bytes = read.bytes;
            duration = Duration::from_millis(read.millis);
        }
        self.exchange.sinks.events.emit(BootEvent {
            mac,
            at: clock::now(),
            fact: Fact::Transfer(Transfer {
                purpose: content.purpose,
                name: content.name,
                transport: Transport::Http,
                bytes,
                size: content.size,
                duration,
                complete: ended == Ended::Complete && bytes == content.size,
                aborted: (ended != Ended::Complete).then(|| ended.as_str()),
            }),
        });
    }
}
