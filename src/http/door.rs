//! A door: the accept loop of one HTTP listener, with bounds on what stands
//! in it, and a drain.
//!
//! hyper speaks HTTP on each connection; what is answered is the caller's
//! business. Boot clients speak HTTP/1.1 at most, people's browsers HTTP/2
//! where there is TLS.

use std::collections::HashMap;
use std::error::Error;
use std::hash::Hash;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::delivery::Outbox;
use super::listen::{Ends, Listen, TlsListener, bind_tcp};
use super::metrics::HttpMetrics;
use super::spans::TakesFiles;
use super::wire::Wire;
use crate::supervisor::Lanes;
use crate::tls::{Handshakes, Speaks};

/// Connections of one door. Slow clients keep theirs for long, and nobody is to
/// wait behind a thousand of them; what is read for all together is bounded
/// ([`super::FEW_FILES`]). Machines beyond it wait in the kernel's queue.
pub const CONNECTIONS: usize = 4096;

/// Connections of one client address. iPXE opens one, a browser six, and a
/// few machines may stand behind one translated address.
pub const CONNECTIONS_PER_CLIENT: usize = 64;

/// From the moment a connection is idle to the end of the next request's
/// head. UEFI asks HEAD and GET within one second on one connection.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Without any progress of a write. nginx waits as long (`send_timeout`).
pub const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// For transfers in flight when the service ends. Kubernetes kills after 30 s.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);

/// Bytes of a request's head; iPXE's longest URL is a tenth of it. It also
/// keeps hyper from taking a second chunk before the first has left.
const HEAD_BYTES: usize = 16 << 10;

/// The same of HTTP/2.
const HTTP2_HEAD_BYTES: u32 = 16 << 10;

/// Requests at once on a connection of HTTP/2; a browser shows a folder with a
/// handful.
const HTTP2_STREAMS: u32 = 32;

/// Between two questions whether the other end is still there.
const HTTP2_PING: Duration = Duration::from_secs(20);

/// Before accepting again when we are out of something, such as descriptors.
const SCARCE_PAUSE: Duration = Duration::from_millis(100);

/// The name of what happens to a client's connection beyond its share.
const TOO_MANY: &str = "too-many-connections-of-client";

/// The name of bytes that are no HTTP; hyper answers them with 400.
const UNREADABLE: &str = "request-unreadable";

/// The name of a request that ends before its head does.
const INCOMPLETE: &str = "request-incomplete";

/// What a door bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once. Beyond it new ones wait, none is refused.
    pub connections: usize,
    /// Connections of one client address at once. Beyond it new ones are closed.
    pub connections_per_client: usize,
    /// For a request's head, and between two requests.
    pub head_timeout: Duration,
    /// For a write to make progress.
    pub stall_timeout: Duration,
    /// For transfers in flight at the end.
    pub drain_timeout: Duration,
}

/// A listener that is bound.
#[derive(Debug)]
pub(super) struct Door<L: Listen = TcpListener> {
    name: &'static str,
    listener: L,
    limits: Limits,
    metrics: HttpMetrics,
    slots: Slots<L::Client>,
    /// Where connections are spoken on; where the door stands, without any.
    lanes: Option<Lanes>,
}

/// Who is at the other end of a connection, and at which of our addresses.
#[derive(Clone, Debug)]
pub(super) struct Caller<E = Ends> {
    pub(super) ends: E,
    /// Whether it showed a certificate that its authority signed.
    pub(super) certified: bool,
    /// Where deliveries wait for their bytes to leave.
    pub(super) outbox: Outbox,
}

/// The open connections by client.
#[derive(Debug)]
struct Slots<C>(Arc<Mutex<HashMap<C, Client>>>);

#[derive(Debug, Default)]
struct Client {
    open: usize,
    told: bool,
}

/// A place among the connections, given back at its drop.
#[derive(Debug)]
struct Slot<C: Copy + Eq + Hash> {
    slots: Slots<C>,
    client: C,
    gauge: prometheus::IntGauge,
}

/// A connection that got a place.
type Admitted<L> = (Slot<<L as Listen>::Client>, Caller<<L as Listen>::Ends>);

type BoxError = Box<dyn Error + Send + Sync>;

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            connections_per_client: CONNECTIONS_PER_CLIENT,
            head_timeout: HEAD_TIMEOUT,
            stall_timeout: STALL_TIMEOUT,
            drain_timeout: DRAIN_TIMEOUT,
        }
    }
}

// === impl Door ===

impl Door {
    /// Binds `listen`; `name` stands in log lines and metrics.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub(super) fn bind(
        name: &'static str,
        listen: SocketAddr,
        limits: Limits,
        metrics: HttpMetrics,
    ) -> io::Result<Self> {
        Ok(Self::new(name, bind_tcp(listen, false)?, limits, metrics))
    }

    /// The same where an IPv6 address takes no IPv4.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub(super) fn bind_only(
        name: &'static str,
        listen: SocketAddr,
        limits: Limits,
        metrics: HttpMetrics,
    ) -> io::Result<Self> {
        let listener = bind_tcp(listen, listen.is_ipv6())?;
        Ok(Self::new(name, listener, limits, metrics))
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Door<TlsListener> {
    /// Binds `listen` for TLS; `name` stands in log lines and metrics.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub(super) fn bind_tls(
        name: &'static str,
        listen: SocketAddr,
        handshakes: Handshakes,
        limits: Limits,
        metrics: HttpMetrics,
    ) -> io::Result<Self> {
        let tcp = bind_tcp(listen, false)?;
        let listener = TlsListener { tcp, handshakes };
        Ok(Self::new(name, listener, limits, metrics))
    }

    /// The same where an IPv6 address takes no IPv4.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub(super) fn bind_tls_only(
        name: &'static str,
        listen: SocketAddr,
        handshakes: Handshakes,
        limits: Limits,
        metrics: HttpMetrics,
    ) -> io::Result<Self> {
        let tcp = bind_tcp(listen, listen.is_ipv6())?;
        let listener = TlsListener { tcp, handshakes };
        Ok(Self::new(name, listener, limits, metrics))
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.tcp.local_addr()
    }
}

impl<L: Listen> Door<L> {
    /// A door at a listener that is bound; `name` stands in log lines and metrics.
    pub(super) fn new(
        name: &'static str,
        listener: L,
        limits: Limits,
        metrics: HttpMetrics,
    ) -> Self {
        Self {
            name,
            listener,
            limits,
            metrics,
            slots: Slots(Arc::default()),
            lanes: None,
        }
    }

    /// With lanes of its own, on which its connections take turns.
    pub(super) fn on_lanes(mut self, lanes: Lanes) -> Self {
        self.lanes = Some(lanes);
        self
    }

    /// Serves until `cancel`, then lets the answers in flight end.
    ///
    /// # Errors
    /// Where the listener itself is broken.
    pub(super) async fn run<F, S, B>(self, cancel: CancellationToken, service: F) -> io::Result<()>
    where
        F: Fn(Caller<L::Ends>) -> S + Send + Sync + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let service = Arc::new(service);
        let mut tasks = JoinSet::new();
        let mut full = false;
        let result = loop {
            let was_full = std::mem::replace(&mut full, tasks.len() >= self.limits.connections);
            if full && !was_full {
                self.metrics.full.with_label_values(&[self.name]).inc();
                tracing::warn!(door = self.name, "connections are full, new ones wait");
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => break Ok(()),
                Some(done) = tasks.join_next() => reap(done),
                accepted = Listen::accept(&self.listener), if !full => match accepted {
                    Ok(None) => {}
                    Ok(Some((raw, ends))) => {
                        let Some((slot, caller)) = self.admit(ends) else { continue };
                        let (service, limits) = (Arc::clone(&service), self.limits);
                        let (refused, cancel) = (self.metrics.refused.clone(), cancel.clone());
                        let talk = async move {
                            let Ok(raw) = L::adopt(raw) else { return };
                            let talked = receive::<L, _, _, _>(raw, caller, &*service, limits, cancel);
                            if let Some(reason) = talked.await {
                                refused.with_label_values(&[reason]).inc();
                            }
                            drop(slot);
                        };
                        match &self.lanes {
                            Some(lanes) => tasks.spawn_on(talk, lanes.pick()),
                            None => tasks.spawn(talk),
                        };
                    }
                    Err(error) => if let Err(error) = survive(self.name, error).await {
                        break Err(error);
                    }
                },
            }
        };
        let (name, deadline) = (self.name, self.limits.drain_timeout);
        // The connections end before the lanes do.
        let _lanes = self.lanes.clone();
        drop(self);
        // A broken listener leaves its connections whole, until they end.
        cancel.cancel();
        drain(name, tasks, deadline).await;
        result
    }

    /// Gives a new connection a place; `None` where its client has too many.
    fn admit(&self, ends: L::Ends) -> Option<Admitted<L>> {
        let gauge = self.metrics.connections.with_label_values(&[self.name]);
        let most = self.limits.connections_per_client;
        let client = L::client(&ends);
        if let Err(told) = self.slots.take(client, most) {
            let refused = &self.metrics.refused;
            refused.with_label_values(&[TOO_MANY]).inc();
            if !told {
                tracing::warn!(door = self.name, peer = %ends, most, "client has too many connections");
            }
            return None;
        }
        gauge.inc();
        let slot = Slot {
            slots: self.slots.clone(),
            client,
            gauge,
        };
        let caller = Caller {
            ends,
            certified: false,
            outbox: if L::TAKES_FILES {
                Outbox::with_spans()
            } else {
                Outbox::default()
            },
        };
        Some((slot, caller))
    }
}

// === impl Slots ===

impl<C> Clone for Slots<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: Copy + Eq + Hash> Slots<C> {
    /// Takes a place. The error says whether this client was refused before.
    fn take(&self, client: C, most: usize) -> Result<(), bool> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = clients.entry(client).or_default();
        if entry.open >= most {
            return Err(std::mem::replace(&mut entry.told, true));
        }
        entry.open += 1;
        Ok(())
    }

    fn give_back(&self, client: C) {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = clients.get_mut(&client) {
            entry.open = entry.open.saturating_sub(1);
            if entry.open == 0 {
                clients.remove(&client);
            }
        }
    }
}

impl<C: Copy + Eq + Hash> Drop for Slot<C> {
    fn drop(&mut self) {
        self.slots.give_back(self.client);
        self.gauge.dec();
    }
}

/// Makes a connection ready and speaks HTTP on it until either side ends it.
/// The name of what came where that was no request.
async fn receive<L, F, S, B>(
    raw: L::Raw,
    mut caller: Caller<L::Ends>,
    service: &F,
    limits: Limits,
    cancel: CancellationToken,
) -> Option<&'static str>
where
    L: Listen,
    F: Fn(Caller<L::Ends>) -> S,
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let opened = tokio::select! {
        opened = L::open(raw, &caller.ends) => opened?,
        () = cancel.cancelled() => return None,
    };
    caller.certified = opened.certified;
    let service = service(caller.clone());
    let wire = Wire::new(opened.io, caller.outbox.clone(), limits.stall_timeout);
    let ended = match opened.speaks {
        Speaks::Http1 => talk(wire, service, limits, cancel).await,
        Speaks::Http2 => talk_http2(wire, service, cancel).await,
    };
    let error = ended.err()?;
    let source: &dyn Error = &error;
    tracing::debug!(peer = %caller.ends, error = source, "connection ended");
    if error.is_parse() {
        Some(UNREADABLE)
    } else if error.is_incomplete_message() {
        Some(INCOMPLETE)
    } else {
        None
    }
}

/// Speaks HTTP/1.1 until either side ends it.
async fn talk<I, S, B>(
    wire: Wire<I>,
    service: S,
    limits: Limits,
    cancel: CancellationToken,
) -> hyper::Result<()>
where
    I: AsyncRead + AsyncWrite + TakesFiles + Unpin,
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: Body + 'static,
    B::Error: Into<BoxError>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(HEAD_BYTES)
        // What it is to write it must not copy: `spans`.
        .writev(true)
        // Small programs look for `Content-Length` in just this case.
        .title_case_headers(true)
        // Small programs close their side once they have asked.
        .half_close(true)
        .serve_connection(TokioIo::new(wire), service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

/// Speaks HTTP/2 until either side ends it.
// Limit: an answer counts as complete once hyper has all of it; a browser that
// leaves within the last window is not noticed. No boot depends on it.
async fn talk_http2<I, S, B>(
    wire: Wire<I>,
    service: S,
    cancel: CancellationToken,
) -> hyper::Result<()>
where
    I: AsyncRead + AsyncWrite + TakesFiles + Unpin,
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING)
        .max_concurrent_streams(HTTP2_STREAMS)
        .max_header_list_size(HTTP2_HEAD_BYTES)
        .serve_connection(TokioIo::new(wire), service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

/// Goes on after a failed accept, or says that the listener is broken.
async fn survive(door: &'static str, error: io::Error) -> io::Result<()> {
    match Errno::from_io_error(&error) {
        Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK) => return Err(error),
        // The client's trouble, not ours: accept(2).
        Some(Errno::CONNABORTED | Errno::CONNRESET | Errno::INTR | Errno::PROTO) => {}
        Some(_) | None => {
            tracing::warn!(door, %error, "cannot accept");
            tokio::time::sleep(SCARCE_PAUSE).await;
        }
    }
    Ok(())
}

/// Waits for the connections to end, until the deadline.
async fn drain(door: &'static str, mut tasks: JoinSet<()>, deadline: Duration) {
    let ended = tokio::time::timeout(deadline, async {
        while let Some(done) = tasks.join_next().await {
            reap(done);
        }
    });
    if ended.await.is_err() {
        tracing::warn!(door, connections = tasks.len(), "cut at the drain deadline");
        tasks.shutdown().await;
    }
}

/// Looks at how a connection's task ended.
fn reap(done: Result<(), JoinError>) {
    if let Err(error) = done
        && error.is_panic()
    {
        tracing::error!(%error, "connection panicked");
    }
}
