//! One interface: hears packets and hands requests on to the engine. Shell.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::decide::Ignored;
use super::request::{MAX_PACKET, Request};
use super::socket::{DhcpSocket, Received, SERVER_PORT};
use super::story::{Came, Story};
use crate::api::Cidr6;
use crate::clock::{self, Millis};
use crate::net::{Link6, Table, bind_error, find_link6, link_local};
use crate::snapshot::SubnetEntry;

/// How often a listener looks whether its interface is still as it was.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A request on its way to the engine.
#[derive(Debug)]
pub struct Incoming {
    pub(super) request: Request,
    pub(super) received: Millis,
    pub(super) from: SocketAddrV6,
    /// Where it was sent to.
    pub(super) to: Option<Ipv6Addr>,
    pub(super) unicast: bool,
    pub(super) door: Arc<Door>,
    /// Its bytes, for those who ask what was said.
    pub(super) bytes: Arc<[u8]>,
}

/// The interface that a request came by.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) subnet: String,
    pub(super) socket: DhcpSocket,
    /// The link-local address of the interface, which replies to clients leave
    /// from; it may come later than the others.
    local: Mutex<Option<Ipv6Addr>>,
}

/// What a listener serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The Subnet, as `namespace/name`.
    pub subnet: String,
    /// Its interface, as the manifest names it.
    pub interface: String,
    /// Its network.
    pub cidr: Cidr6,
    /// The address that is ours where the interface has several.
    pub preferred: Option<Ipv6Addr>,
}

/// The name of the service that listens on `subnet` (`namespace/name`).
#[must_use]
pub fn listener_name(subnet: &str) -> String {
    format!("dhcp6@{subnet}")
}

// === impl Listener ===

impl Listener {
    /// The listener that `subnet` needs: none without an IPv6 network or an
    /// interface of its own.
    #[must_use]
    pub fn of(subnet: &SubnetEntry) -> Option<Self> {
        let network = subnet.spec.ipv6.as_ref().filter(|_| subnet.hears_v6)?;
        Some(Self {
            subnet: subnet.key.clone(),
            interface: subnet.spec.interface.clone()?,
            cidr: network.cidr,
            preferred: network.server,
        })
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
        bound: impl FnOnce(&Link6),
        token: CancellationToken,
    ) -> anyhow::Result<()> {
        let find = || find_link6(&self.interface, self.cidr, self.preferred);
        let link = find()?;
        let socket = DhcpSocket::bind(link.clone()).map_err(|error| {
            let what = format!("DHCPv6 on {}", link.name);
            let address = format!("[::]:{SERVER_PORT}");
            anyhow::Error::msg(bind_error(Table::Udp, &what, address, SERVER_PORT, &error))
        })?;
        bound(&link);
        let door = Arc::new(Door {
            subnet: self.subnet.clone(),
            socket,
            local: Mutex::default(),
        });
        door.look();
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = vec![0; MAX_PACKET + 1];
        loop {
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                _ = look.tick() => {
                    anyhow::ensure!(find()? == link, "interface {} changed", link.name);
                    door.look();
                }
                received = door.socket.receive(&mut buffer) => {
                    let received = received?;
                    let packet = buffer.get(..received.length).unwrap_or_default();
                    hand_on(packet, received, &door, &queue, &story);
                }
            }
        }
    }
}

// === impl Door ===

impl Door {
    fn look(&self) {
        let found = link_local(&self.socket.link().name);
        *self.local.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// The address of ours that what is sent to `to` leaves from: one of the same
    /// scope (RFC 6724 section 5).
    pub(super) fn source(&self, to: Ipv6Addr) -> Ipv6Addr {
        let local = *self.local.lock().unwrap_or_else(PoisonError::into_inner);
        let local = local.filter(|_| to.is_unicast_link_local());
        local.unwrap_or_else(|| self.socket.link().address)
    }
}

/// Reads a packet and hands it to the engine.
fn hand_on(
    packet: &[u8],
    received: Received,
    door: &Arc<Door>,
    queue: &mpsc::Sender<Incoming>,
    story: &Story,
) {
    // The guard does not panic; a second line costs nothing.
    let parsed = catch_unwind(AssertUnwindSafe(|| {
        Request::parse(packet, *received.from.ip())
    }));
    let request = match parsed {
        Ok(Ok(request)) => request,
        Ok(Err(malformed)) => {
            story.count("none", Ignored::Malformed(malformed).as_str());
            let came = Came::by(door, received.from, received.to);
            story.keep_malformed(clock::now(), &came, packet, malformed);
            tracing::debug!(
                target: "reveille::dhcp6",
                subnet = door.subnet,
                from = %received.from.ip(),
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
        from: received.from,
        to: received.to,
        unicast: received.is_unicast(),
        door: Arc::clone(door),
        bytes: packet.into(),
    };
    if queue.try_send(incoming).is_err() {
        story.count(kind.as_str(), Ignored::QueueFull.as_str());
    }
}
