//! Looks for other DHCP servers where a Subnet of mode `Auto` is: asks as a
//! client asks that has no address, takes no offer, and hears who offers.
//! Shell; what follows from it is `lookout`'s to say.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use nix::libc;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, bind, recv, sendto, socket};
use socket2::{SockFilter, SockRef};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::destination::{CLIENT_PORT, SERVER_PORT};
use super::heard::Heard;
use super::lookout::{Acting, Lookout, Wire, lender, question};
use super::request::MAX_PACKET;
use super::socket::{ip_packet, link_address};
use crate::api::{Mode, SubnetSpec};
use crate::boot::MacAddress;
use crate::clock::{self, Millis};
use crate::net::{Link, ethernet_address, find_link};
use crate::snapshot::SubnetEntry;

/// How often it is looked whether something is due, or came.
const TICK: Duration = Duration::from_millis(250);
/// Packets that are read at a time, so that a storm of them holds nobody up.
const PACKETS: usize = 256;
/// To everybody on the link.
const EVERYBODY: MacAddress = MacAddress::new([0xff; 6]);

/// What was found on the wires of all Subnets, by `namespace/name`. Cheap to
/// clone.
#[derive(Clone, Debug, Default)]
pub struct Lookouts(Arc<Mutex<BTreeMap<String, Lookout>>>);

/// Who looks out for one Subnet.
#[derive(Clone, Debug, PartialEq)]
pub struct Scout {
    /// The Subnet, as `namespace/name`.
    pub subnet: String,
    spec: SubnetSpec,
}

/// The socket by which is asked and heard.
struct Ear {
    fd: OwnedFd,
    link: Link,
    own: MacAddress,
}

// === impl Lookouts ===

impl Lookouts {
    /// What was found where `subnet` is.
    #[must_use]
    pub fn wire(&self, subnet: &str) -> Wire {
        self.lock()
            .get(subnet)
            .map(Lookout::wire)
            .unwrap_or_default()
    }

    /// What we do on a Subnet (`key`) at this moment.
    #[must_use]
    pub fn acting(&self, key: &str, spec: &SubnetSpec) -> Acting {
        let wire = match spec.mode {
            Mode::Auto => self.wire(key),
            Mode::Server | Mode::Proxy | Mode::Disabled => Wire::default(),
        };
        Acting::of(spec, wire)
    }

    /// A machine on `subnet` was heard to choose another server.
    pub(super) fn heard(&self, subnet: &str, now: Millis, server: Ipv4Addr) -> bool {
        let mut all = self.lock();
        let lookout = all.get_mut(subnet);
        lookout.is_some_and(|lookout| lookout.heard(now, server))
    }

    /// We have lent addresses on `subnet` before.
    pub(super) fn resume(&self, subnet: &str) -> bool {
        self.lock().get_mut(subnet).is_some_and(Lookout::resume)
    }

    /// Forgets the Subnets that `keep` does not hold for.
    pub(super) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.lock().retain(|subnet, _| keep(subnet));
    }

    fn with<T>(&self, subnet: &str, now: Millis, work: impl FnOnce(&mut Lookout) -> T) -> T {
        let mut all = self.lock();
        let lookout = all.entry(subnet.to_owned());
        work(lookout.or_insert_with(|| Lookout::new(now)))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Lookout>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says what we do on `subnet` from now on, and why.
pub(super) fn tell_turn(subnet: &str, spec: &SubnetSpec, wire: Wire) {
    let server = match wire {
        Wire::Shared(server) => Some(tracing::field::display(server)),
        Wire::Looking | Wire::Alone => None,
    };
    match Acting::of(spec, wire) {
        Acting::Server => tracing::info!(
            subnet,
            "no other DHCP server answers: we lend the addresses"
        ),
        Acting::Proxy => tracing::info!(
            subnet,
            server,
            "another DHCP server lends the addresses: we are its proxy"
        ),
        Acting::Refused => tracing::warn!(
            subnet,
            server,
            "another DHCP server lends the addresses: we answer nobody, as the Subnet says"
        ),
        Acting::Looking => {}
    }
}

// === impl Scout ===

impl Scout {
    /// The one that `subnet` needs; `None` where the manifest says what to do.
    #[must_use]
    pub fn of(subnet: &SubnetEntry) -> Option<Self> {
        (subnet.spec.mode == Mode::Auto).then(|| Self {
            subnet: subnet.key.clone(),
            spec: subnet.spec.clone(),
        })
    }

    /// The name of its service.
    #[must_use]
    pub fn service(&self) -> String {
        format!("scout@{}", self.subnet)
    }

    /// Looks until `token` is cancelled. `begun` is called once it does.
    ///
    /// # Errors
    /// Expected trouble: the interface is absent or changed, or there is no
    /// right to a raw socket.
    pub async fn run(
        self,
        lookouts: Lookouts,
        heard: Heard,
        begun: impl FnOnce(),
        token: CancellationToken,
    ) -> anyhow::Result<()> {
        let ear = Ear::open(self.link()?)?;
        begun();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = vec![0; MAX_PACKET + 1];
        loop {
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                _ = tick.tick() => {
                    anyhow::ensure!(self.link()? == ear.link, "interface {} changed", ear.link.name);
                    self.turn(&lookouts, &ear)?;
                    for _ in 0..PACKETS {
                        let Some(length) = ear.receive(&mut buffer)? else { break };
                        let packet = buffer.get(..length).unwrap_or_default();
                        self.hear(&lookouts, &heard, &ear, packet);
                    }
                }
            }
        }
    }

    fn link(&self) -> anyhow::Result<Link> {
        let cidr = self.spec.cidr.context("the Subnet has no `cidr`")?;
        Ok(find_link(
            self.spec.interface.as_deref().unwrap_or_default(),
            cidr,
            self.spec.next_server,
        )?)
    }

    /// Asks where it is time to, and takes silence for an answer where it lasted.
    fn turn(&self, lookouts: &Lookouts, ear: &Ear) -> io::Result<()> {
        let now = clock::now();
        let patience = u64::from(self.spec.auto_or_default().serves_after.secs()) * 1000;
        if lookouts.with(&self.subnet, now, |it| it.is_due(now, patience)) {
            ear.ask(now)?;
            lookouts.with(&self.subnet, now, |it| it.asks(now));
        }
        if lookouts.with(&self.subnet, now, |it| it.settle(now, patience)) {
            tell_turn(&self.subnet, &self.spec, Wire::Alone);
        }
        Ok(())
    }

    fn hear(&self, lookouts: &Lookouts, heard: &Heard, ear: &Ear, packet: &[u8]) {
        let Some(server) = lender(packet) else { return };
        if server == ear.link.address || heard.is_sibling(server) {
            return;
        }
        let now = clock::now();
        // For the Subnet's status; what is said of it is said below.
        let _ = heard.server(&self.subnet, server, now);
        if lookouts.with(&self.subnet, now, |it| it.heard(now, server)) {
            tell_turn(&self.subnet, &self.spec, Wire::Shared(server));
        }
    }
}

// === impl Ear ===

impl Ear {
    fn open(link: Link) -> anyhow::Result<Self> {
        let needs = |error: io::Error| {
            anyhow::anyhow!(
                "other DHCP servers on {} cannot be looked for: {error}; it takes a raw socket (CAP_NET_RAW)",
                link.name
            )
        };
        let fd = socket(
            AddressFamily::Packet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            None,
        )
        .map_err(|errno| needs(errno.into()))?;
        // Before it hears anything: what is no server's reply wakes nobody.
        SockRef::from(&fd).attach_filter(&REPLIES).map_err(needs)?;
        bind(fd.as_raw_fd(), &everybody(&link)?)?;
        Ok(Self {
            own: ethernet_address(&link.name)?,
            fd,
            link,
        })
    }

    /// DISCOVER, from nobody to everybody.
    fn ask(&self, now: Millis) -> io::Result<()> {
        let [.., a, b, c, d] = now.0.to_be_bytes();
        let payload = question(self.own, u32::from_be_bytes([a, b, c, d]));
        let from = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT);
        let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT);
        let packet = ip_packet(from, to, &payload)?;
        let link = everybody(&self.link)?;
        sendto(self.fd.as_raw_fd(), &packet, &link, MsgFlags::empty())?;
        Ok(())
    }

    /// A server's reply, where one came: moves what is in the datagram to the
    /// front of `buffer`, and says how long that is.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        /// The head of a UDP datagram.
        const UDP: usize = 8;
        let length = match recv(self.fd.as_raw_fd(), buffer, MsgFlags::empty()) {
            Ok(length) => length,
            Err(nix::Error::EAGAIN) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let words = buffer.first().map_or(0, |first| usize::from(first & 0xf));
        let begin = (words * 4 + UDP).min(length);
        buffer.copy_within(begin..length, 0);
        Ok(Some(length - begin))
    }
}

fn everybody(link: &Link) -> io::Result<nix::sys::socket::LinkAddr> {
    let ip = u16::try_from(libc::ETH_P_IP).map_err(io::Error::other)?;
    link_address(link.index, EVERYBODY, ip)
}

/// A filter of the kernel's (classic BPF) for an IP packet: UDP from port 67 to
/// 68, no later fragment.
const REPLIES: [SockFilter; 11] = [
    step(0x30, 9, 0, 0),      // the protocol
    step(0x15, 17, 0, 8),     // is UDP
    step(0x28, 6, 0, 0),      // flags and fragment offset
    step(0x45, 0x1fff, 6, 0), // has no offset
    step(0xb1, 0, 0, 0),      // behind the IP head:
    step(0x48, 0, 0, 0),      // the port that it is from
    step(0x15, SERVER_PORT as u32, 0, 3),
    step(0x48, 2, 0, 0), // the port that it is for
    step(0x15, CLIENT_PORT as u32, 0, 1),
    step(0x06, 0xffff, 0, 0), // take it
    step(0x06, 0, 0, 0),      // leave it
];

const fn step(code: u16, k: u32, jt: u8, jf: u8) -> SockFilter {
    SockFilter::new(code, jt, jf, k)
}
