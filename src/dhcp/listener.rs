//! One interface: hears packets and hands requests on to the engine.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::decide::Ignored;
use super::destination::{BOOT_PORT, SERVER_PORT};
use super::request::{MAX_PACKET, Request};
use super::socket::{DhcpSocket, Received};
use super::story::{Came, Story};
use super::v6;
use crate::api::{Cidr, Mode};
use crate::clock::{self, Millis};
use crate::net::{Link, Table, bind_error, find_link};
use crate::snapshot::SubnetEntry;

/// Requests that may wait for the engine: what it takes in a millisecond or two.
/// The others wait in the kernel, where two thousand find room, and the engine
/// sheds what waited too long.
pub const QUEUE: usize = 64;
/// How often a listener looks whether its interface is still as it was.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A request on its way to the engine.
#[derive(Debug)]
pub struct Incoming {
    pub(super) request: Request,
    pub(super) received: Millis,
    /// The same, exactly and by a clock that nobody sets.
    pub(super) arrived: Instant,
    /// Where it came from.
    pub(super) from: SocketAddrV4,
    /// The address of ours that it came to alone; `None` where it came to
    /// everyone.
    pub(super) to: Option<Ipv4Addr>,
    pub(super) door: Arc<Door>,
    /// Its bytes, for those who ask what was said.
    pub(super) bytes: Arc<[u8]>,
}

/// The interface that a request came by.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) subnet: String,
    /// Its name, which packets that are kept share.
    pub(super) interface: Arc<str>,
    pub(super) port: Port,
    pub(super) socket: DhcpSocket,
}

/// The ports that machines ask at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Port {
    /// 67: DHCP.
    Dhcp,
    /// 4011: PXE boot servers.
    Boot,
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
    /// Its port.
    pub port: Port,
}

/// The name of the service that listens on `subnet` (`namespace/name`) for DHCP.
#[must_use]
pub fn listener_name(subnet: &str) -> String {
    Port::Dhcp.service(subnet)
}

/// The names of the services that may listen on `subnet`: DHCP, which always
/// does, PXE boot servers' port, and DHCPv6.
#[must_use]
pub fn listener_names(subnet: &str) -> [String; 3] {
    let [dhcp, boot] = [Port::Dhcp, Port::Boot].map(|port| port.service(subnet));
    [dhcp, boot, v6::listener::listener_name(subnet)]
}

// === impl Port ===

impl Port {
    /// The name of the service that listens at it on `subnet` (`namespace/name`).
    #[must_use]
    pub fn service(self, subnet: &str) -> String {
        match self {
            Self::Dhcp => format!("dhcp@{subnet}"),
            Self::Boot => format!("pxe@{subnet}"),
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Dhcp => SERVER_PORT,
            Self::Boot => BOOT_PORT,
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Dhcp => "DHCP",
            Self::Boot => "PXE boot service",
        }
    }
}

// === impl Listener ===

impl Listener {
    /// The listeners that `subnet` needs: none where an older Subnet has one on
    /// its interface, or it is reached through relays only. Where Reveille lends
    /// the addresses itself, its offers say all, and nobody asks at the boot
    /// server's port.
    pub fn of(subnet: &SubnetEntry) -> impl Iterator<Item = Self> {
        let ports: &[Port] = match subnet.spec.mode {
            Mode::Server => &[Port::Dhcp],
            Mode::Proxy | Mode::Auto => &[Port::Dhcp, Port::Boot],
            Mode::Disabled => &[],
        };
        let own = subnet.listener.as_ref() == Some(&subnet.key);
        let interface = subnet.spec.interface.as_ref().filter(|_| own);
        let seat = interface.zip(subnet.spec.cidr);
        let all = seat.into_iter().flat_map(|(interface, cidr)| {
            let each = ports.iter();
            each.map(move |port| (interface, cidr, port))
        });
        all.map(|(interface, cidr, port)| Self {
            subnet: subnet.key.clone(),
            interface: interface.clone(),
            cidr,
            preferred: subnet.spec.next_server,
            port: *port,
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
        bound: impl FnOnce(&Link),
        token: CancellationToken,
    ) -> anyhow::Result<()> {
        let link = find_link(&self.interface, self.cidr, self.preferred)?;
        let port = self.port.number();
        let socket = DhcpSocket::bind(link.clone(), port).map_err(|error| {
            let what = format!("{} on {}", self.port.what(), link.name);
            let address = format!("0.0.0.0:{port}");
            anyhow::Error::msg(bind_error(Table::Udp, &what, address, port, &error))
        })?;
        if self.port == Port::Dhcp && !socket.can_unicast() {
            tracing::warn!(
                interface = link.name,
                "no raw socket (CAP_NET_RAW): replies to machines without an address are broadcast"
            );
        }
        bound(&link);
        let door = Arc::new(Door {
            subnet: self.subnet.clone(),
            interface: link.name.as_str().into(),
            port: self.port,
            socket,
        });
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = vec![0; MAX_PACKET + 1];
        let mut lost = 0;
        loop {
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                _ = look.tick() => {
                    let now = find_link(&self.interface, self.cidr, self.preferred)?;
                    anyhow::ensure!(now == link, "interface {} changed", link.name);
                }
                received = door.socket.receive(&mut buffer) => {
                    let received = received?;
                    story.lost(&mut lost, received.lost);
                    let packet = buffer.get(..received.length).unwrap_or_default();
                    let Some(incoming) = read(packet, received, &door, &story) else {
                        continue;
                    };
                    tokio::select! {
                        () = token.cancelled() => return Ok(()),
                        // The engine is gone only with everything else.
                        _ = queue.send(incoming) => {}
                    }
                }
            }
        }
    }
}

/// Reads a packet for the engine; `None` where it is no request.
fn read(packet: &[u8], received: Received, door: &Arc<Door>, story: &Story) -> Option<Incoming> {
    // The guard does not panic; a second line costs nothing.
    let parsed = catch_unwind(AssertUnwindSafe(|| Request::parse(packet)));
    let request = match parsed {
        Ok(Ok(request)) => request,
        Ok(Err(malformed)) => {
            story.count("none", Ignored::Malformed(malformed).as_str());
            let came = Came::by(door, received.from, received.to);
            story.keep_malformed(clock::now(), &came, packet, malformed);
            tracing::debug!(
                subnet = door.subnet,
                bytes = packet.len(),
                ignored = malformed.as_str(),
                "packet ignored"
            );
            return None;
        }
        Err(_) => {
            story.count("none", Ignored::Fault.as_str());
            return None;
        }
    };
    let now = Instant::now();
    Some(Incoming {
        request,
        received: clock::now(),
        arrived: now.checked_sub(received.waited).unwrap_or(now),
        from: received.from,
        to: received.to,
        door: Arc::clone(door),
        bytes: packet.into(),
    })
}
