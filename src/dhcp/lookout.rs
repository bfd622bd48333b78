//! Whether another server lends addresses where a Subnet of mode `Auto` is, and
//! what we do there for it. Core: packets and time are arguments.

use std::net::Ipv4Addr;

use dhcproto::v4::borrowed::{DhcpOptionIterator, Message};

use super::option;
use crate::api::{ForeignDhcp, Mode, SubnetSpec};
use crate::boot::MacAddress;
use crate::clock::Millis;

/// Questions that must go unanswered before nobody is there: one frame may be
/// lost, and one more.
const QUESTIONS: u32 = 3;
/// Longest time between two questions while it is not settled that nobody is
/// there, in milliseconds.
const OFTEN: u64 = 15_000;
/// Time between two questions while we lend, in milliseconds: a server that
/// comes is found by then at the latest, sooner by a machine that chooses it.
const SELDOM: u64 = 30_000;

/// What was found of other servers on a wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// It is not known yet.
    #[default]
    Looking,
    /// Nobody else lends addresses.
    Alone,
    /// Another server does.
    Shared(Ipv4Addr),
}

/// What we do on a Subnet at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Acting {
    /// We lend addresses, and tell machines what to boot.
    Server,
    /// We tell machines what to boot; another server lends.
    Proxy,
    /// Nothing, until it is known whether another server lends.
    Looking,
    /// Nothing, because another server lends, as the manifest says.
    Refused,
}

/// What is known of one wire.
#[derive(Clone, Copy, Debug)]
pub struct Lookout {
    wire: Wire,
    /// Since when nobody was heard.
    quiet_since: Millis,
    /// Questions asked since then.
    asked: u32,
    /// When the last was asked.
    asked_at: Option<Millis>,
}

// === impl Acting ===

impl Acting {
    /// Every one, as they stand in metrics.
    pub const ALL: [Self; 4] = [Self::Server, Self::Proxy, Self::Looking, Self::Refused];

    /// What we do where a manifest says `spec` and this was found.
    #[must_use]
    pub const fn of(spec: &SubnetSpec, wire: Wire) -> Self {
        match (spec.mode, wire) {
            (Mode::Server, _) | (Mode::Auto, Wire::Alone) => Self::Server,
            (Mode::Proxy, _) => Self::Proxy,
            (Mode::Auto, Wire::Looking) | (Mode::Disabled, _) => Self::Looking,
            (Mode::Auto, Wire::Shared(_)) => match spec.auto_or_default().foreign_dhcp {
                ForeignDhcp::Proxy => Self::Proxy,
                ForeignDhcp::Refuse => Self::Refused,
            },
        }
    }

    /// Its name in log lines, metrics and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Proxy => "proxy",
            Self::Looking => "looking",
            Self::Refused => "refused",
        }
    }
}

// === impl Lookout ===

impl Lookout {
    /// One that begins to look.
    #[must_use]
    pub const fn new(now: Millis) -> Self {
        Self {
            wire: Wire::Looking,
            quiet_since: now,
            asked: 0,
            asked_at: None,
        }
    }

    /// What is known.
    #[must_use]
    pub const fn wire(&self) -> Wire {
        self.wire
    }

    /// Another server was heard to lend. Whether that changes something.
    pub fn heard(&mut self, now: Millis, server: Ipv4Addr) -> bool {
        self.quiet_since = now;
        self.asked = 0;
        // Of several, the first that was heard: two that take turns are no news.
        let is_news = !matches!(self.wire, Wire::Shared(_));
        if is_news {
            self.wire = Wire::Shared(server);
        }
        is_news
    }

    /// We have lent addresses here already, before a restart say: nobody is
    /// kept waiting while it is looked. Whether that changes something.
    pub fn resume(&mut self) -> bool {
        let changes = self.wire == Wire::Looking;
        if changes {
            self.wire = Wire::Alone;
        }
        changes
    }

    /// Whether it is time to ask again, where nobody may have answered for
    /// `patience` milliseconds before we lend.
    #[must_use]
    pub fn is_due(&self, now: Millis, patience: u64) -> bool {
        let every = match self.wire {
            Wire::Alone => SELDOM,
            Wire::Looking | Wire::Shared(_) => (patience / 4).clamp(1000, OFTEN),
        };
        self.asked_at.is_none_or(|at| now.since(at) >= every)
    }

    /// A question left.
    pub const fn asks(&mut self, now: Millis) {
        self.asked = self.asked.saturating_add(1);
        self.asked_at = Some(now);
    }

    /// Takes silence for an answer, once it has lasted. Whether that changes
    /// something. What was not asked is not answered by silence.
    pub fn settle(&mut self, now: Millis, patience: u64) -> bool {
        let quiet = now.since(self.quiet_since) >= patience;
        let changes = self.wire != Wire::Alone && quiet && self.asked >= QUESTIONS;
        if changes {
            self.wire = Wire::Alone;
        }
        changes
    }
}

/// DHCPDISCOVER of a client that takes no offer, with `mac` and the transaction
/// `xid`. It wants its answer broadcast: it has no address to be reached at.
#[must_use]
pub fn question(mac: MacAddress, xid: u32) -> Vec<u8> {
    /// BOOTP's smallest packet (RFC 1542 section 2.1).
    const SIZE: usize = 300;
    let mut bytes = Vec::with_capacity(SIZE);
    // Op, hardware type and length, hops; no seconds, the broadcast flag.
    bytes.extend([1, 1, 6, 0]);
    bytes.extend(xid.to_be_bytes());
    bytes.extend([0, 0, 0x80, 0]);
    bytes.extend([0; 16]);
    bytes.extend(mac.bytes());
    bytes.resize(236, 0);
    bytes.extend([99, 130, 83, 99]);
    bytes.extend([option::MESSAGE_TYPE, 1, 1]);
    bytes.extend([option::VENDOR_CLASS, 8]);
    bytes.extend(b"reveille");
    bytes.extend([option::PARAMETER_LIST, 2]);
    bytes.extend([option::SUBNET_MASK, option::ROUTERS, u8::MAX]);
    bytes.resize(SIZE, 0);
    bytes
}

/// The server that sent `datagram` (UDP's payload), where it lends: an OFFER or
/// ACK with an address in it, or a NAK. Another proxy's offer has none.
#[must_use]
pub fn lender(datagram: &[u8]) -> Option<Ipv4Addr> {
    const OPTIONS: usize = 240;
    const REPLY: u8 = 2;
    let [offer, ack, nak] = [2, 5, 6];
    let message = Message::new(datagram).ok()?;
    if datagram.first() != Some(&REPLY) {
        return None;
    }
    let (mut kind, mut server) = (None, None);
    for parsed in DhcpOptionIterator::new(datagram.get(OPTIONS..)?) {
        match (u8::from(parsed.code()), parsed.data()) {
            (option::MESSAGE_TYPE, [value]) => kind = Some(*value),
            (option::SERVER_ID, [a, b, c, d]) => server = Some(Ipv4Addr::new(*a, *b, *c, *d)),
            _ => {}
        }
    }
    let gives = !message.yiaddr().is_unspecified();
    let lends = kind == Some(nak) || gives && (kind == Some(offer) || kind == Some(ack));
    server.filter(|_| lends)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: u64 = 60_000;
    const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);

    /// Lives for `secs` seconds, asking when it is due.
    fn live(lookout: &mut Lookout, from: u64, secs: u64) -> Vec<(u64, Wire)> {
        let mut turns = Vec::new();
        for sec in from..from + secs {
            let now = Millis::from_secs(sec);
            if lookout.is_due(now, PATIENCE) {
                lookout.asks(now);
            }
            if lookout.settle(now, PATIENCE) {
                turns.push((sec, lookout.wire()));
            }
        }
        turns
    }

    #[test]
    fn lends_after_silence_and_steps_back_at_once() {
        let mut lookout = Lookout::new(Millis(0));
        assert_eq!(live(&mut lookout, 0, 100), [(60, Wire::Alone)]);
        assert!(lookout.heard(Millis::from_secs(100), OTHER));
        assert_eq!(lookout.wire(), Wire::Shared(OTHER));
        assert!(!lookout.heard(Millis::from_secs(110), OTHER));
        assert_eq!(live(&mut lookout, 111, 100), [(170, Wire::Alone)]);
    }

    #[test]
    fn what_was_not_asked_is_not_answered_by_silence() {
        let mut lookout = Lookout::new(Millis(0));
        assert!(!lookout.settle(Millis::from_secs(1000), PATIENCE));
        for sec in [1000, 1015] {
            lookout.asks(Millis::from_secs(sec));
        }
        assert!(!lookout.settle(Millis::from_secs(1016), PATIENCE));
        lookout.asks(Millis::from_secs(1030));
        assert!(lookout.settle(Millis::from_secs(1031), PATIENCE));
    }

    #[test]
    fn who_lent_before_goes_on_but_not_beside_another() {
        let mut lookout = Lookout::new(Millis(0));
        assert!(lookout.resume());
        assert_eq!(lookout.wire(), Wire::Alone);
        lookout.heard(Millis(1), OTHER);
        assert!(!lookout.resume());
        assert_eq!(lookout.wire(), Wire::Shared(OTHER));
    }

    #[test]
    fn the_question_is_one_that_every_server_reads() {
        let mac = MacAddress::new([2, 0, 0, 0, 0, 1]);
        let request = crate::dhcp::request::Request::parse(&question(mac, 7)).unwrap();
        assert_eq!(request.kind, crate::dhcp::request::RequestKind::Discover);
        assert_eq!((request.client.mac, request.xid), (Some(mac), 7));
        assert!(request.broadcast && request.asks_for(option::ROUTERS));
    }

    #[test]
    fn only_who_lends_is_a_lender() {
        let packet = |op: u8, yiaddr: u8, options: &[u8]| {
            let mut bytes = vec![0; 240];
            bytes[0] = op;
            bytes[19] = yiaddr;
            bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
            bytes.extend(options);
            bytes
        };
        let offer = [53, 1, 2, 54, 4, 192, 0, 2, 254, 255];
        assert_eq!(lender(&packet(2, 9, &offer)), Some(OTHER));
        // A proxy, a request, a reply that names no server, nonsense.
        assert_eq!(lender(&packet(2, 0, &offer)), None);
        assert_eq!(lender(&packet(1, 9, &offer)), None);
        assert_eq!(lender(&packet(2, 9, &offer[..3])), None);
        assert_eq!(
            lender(&packet(2, 0, &[53, 1, 6, 54, 4, 192, 0, 2, 254])),
            Some(OTHER)
        );
        assert_eq!(lender(b"nonsense"), None);
    }
}
