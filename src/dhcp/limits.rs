//! How often one machine may ask, and all of them together; how long all may
//! wait. Core.

use std::collections::HashMap;
use std::time::Duration;

use super::decide::Ignored;
use super::request::{Request, RequestKind};
use crate::clock::Millis;
use crate::lease::Backlog;

/// The span in which requests are counted, in milliseconds.
const SPAN: u64 = 10_000;
/// Requests of one hardware address that are looked at within `SPAN`. A
/// machine that boots sends some ten in a minute, retries and iPXE included;
/// one that asks six times a second is broken, or wants to harm.
pub const MOST: u16 = 60;
/// The same of a relay that asks who has which lease: one that restarted asks
/// for each address that it sees.
const MOST_QUERIES: u16 = 600;
/// Hardware addresses that are counted. Where more come they are counted anew:
/// who makes them up is not held by a count of each.
const MAX_COUNTED: usize = 16_384;

/// How long a DISCOVER may have waited while we are overloaded. Who is answered
/// all the same waits about as long, and its REQUEST again.
const LATE: Duration = Duration::from_millis(2);
/// A request that waited no longer found nobody before it: the queues were empty.
/// In an overload that does not happen, since the head of a queue is as old as
/// what is shed.
const FRESH: Duration = Duration::from_millis(1);
/// For how long requests have to be late before it is an overload: a pause of
/// the disk or the processor is none, nor is a rack that is switched on, and what
/// waited for its end is answered.
const OVERLOAD: Duration = Duration::from_millis(250);

/// For how long nothing has to be shed before an overload is over. To shed empties
/// the queues at once, which says nothing of how many are to come.
const CALM: Duration = Duration::from_secs(1);

/// Sheds DISCOVERs where more are sent than can be answered. A queue that does
/// not drain only has everybody answered late, at last after they asked again;
/// those that begin an exchange give way to those that are half through one.
///
/// `T` is a point in time.
#[derive(Debug)]
pub struct Patience<T> {
    /// Since when the queues were not empty again after one was late.
    late_since: Option<T>,
    /// When a request was shed last.
    shed: Option<T>,
}

/// Counts requests by hardware address, or by that of IPv6, and all of them.
/// Bounded.
#[derive(Debug, Default)]
pub struct Rates {
    since: Millis,
    counts: HashMap<[u8; 16], u16>,
    all: Option<Bucket>,
}

/// What is left of a second's requests. In thousandths, so that each
/// millisecond brings as many as a second brings requests.
#[derive(Debug)]
struct Bucket {
    rate: u64,
    left: u64,
    at: Millis,
}

/// Thousandths of a request.
const WHOLE: u64 = 1000;

/// What is said of a machine that asks too often.
pub(super) fn too_often() -> String {
    format!(
        "a machine asks more often than {MOST} times in ten seconds; it is not heard for the rest of them"
    )
}

// === impl Patience ===

impl<T> Default for Patience<T> {
    fn default() -> Self {
        Self {
            late_since: None,
            shed: None,
        }
    }
}

impl<T: Copy + std::ops::Sub<Output = Duration>> Patience<T> {
    /// Whether a request that came at `arrived` is answered at `now`. Where leases
    /// wait for the disk, its answer would come late all the same.
    pub(super) fn admits(
        &mut self,
        kind: RequestKind,
        arrived: T,
        now: T,
        backlog: Backlog,
    ) -> bool {
        let waited = now - arrived;
        match backlog {
            Backlog::Little if waited < FRESH => {
                self.late_since = None;
                return true;
            }
            Backlog::Little | Backlog::Some if waited < LATE => return true,
            Backlog::Little | Backlog::Some | Backlog::TooMuch => {}
        }
        let since = *self.late_since.get_or_insert(now);
        let overloaded = now - since >= OVERLOAD || self.shed.is_some_and(|at| now - at < CALM);
        let shed = overloaded && kind == RequestKind::Discover;
        if shed {
            self.shed = Some(now);
        }
        !shed
    }
}

// === impl Rates ===

impl Rates {
    /// Lets `per_second` requests through, of all machines together; as many as
    /// come where that is 0.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let bucket = |rate| Bucket {
            rate,
            left: rate * WHOLE,
            at: Millis(0),
        };
        Self {
            all: (per_second > 0).then(|| bucket(u64::from(per_second))),
            ..Self::default()
        }
    }

    /// Whether `request` may be looked at; the name of the silence where not.
    ///
    /// # Errors
    /// [`Ignored::TooOften`], [`Ignored::TooMany`].
    pub(super) fn admit(&mut self, now: Millis, request: &Request) -> Result<(), Ignored> {
        // A relay asks about machines: it is the relay that is counted.
        let relay = request.giaddr.octets();
        let (who, most): (&[u8], _) = if request.kind == RequestKind::LeaseQuery {
            (&relay, MOST_QUERIES)
        } else {
            (&request.chaddr, MOST)
        };
        let mut key = [0; 16];
        for (to, from) in key.iter_mut().zip(who) {
            *to = *from;
        }
        // One that asks too often takes nothing from all others.
        if !self.counts_as_usual(now, key, most) {
            return Err(Ignored::TooOften);
        }
        let bucket = self.all.as_mut();
        if bucket.is_none_or(|bucket| bucket.take(now, request.kind)) {
            Ok(())
        } else {
            Err(Ignored::TooMany)
        }
    }

    /// Whether whoever `key` is of may be looked at.
    pub(super) fn admits(&mut self, now: Millis, key: [u8; 16]) -> bool {
        self.counts_as_usual(now, key, MOST)
    }

    fn counts_as_usual(&mut self, now: Millis, key: [u8; 16], most: u16) -> bool {
        let over = now.since(self.since) >= SPAN || now < self.since;
        if over || self.counts.len() >= MAX_COUNTED {
            self.counts.clear();
            self.since = now;
        }
        let count = self.counts.entry(key).or_default();
        *count = count.saturating_add(1);
        *count <= most
    }
}

// === impl Bucket ===

impl Bucket {
    /// Takes one request out, where it is for one of this kind.
    fn take(&mut self, now: Millis, kind: RequestKind) -> bool {
        let whole = self.rate * WHOLE;
        let since = now.since(self.at);
        let brought = since.saturating_mul(self.rate);
        self.left = whole.min(self.left.saturating_add(brought));
        self.at = now;
        // Who sends a REQUEST is half through.
        let kept = match kind {
            RequestKind::Discover | RequestKind::Bootp | RequestKind::LeaseQuery => whole / 2,
            RequestKind::Request
            | RequestKind::Decline
            | RequestKind::Release
            | RequestKind::Inform => 0,
        };
        if self.left < kept + WHOLE {
            return false;
        }
        self.left -= WHOLE;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request_of(kind: u8, last: u8) -> Request {
        let mut packet = vec![0; 240];
        packet[..4].copy_from_slice(&[1, 1, 6, 0]);
        packet[28..34].copy_from_slice(&[2, 0, 0, 0, 0, last]);
        packet[236..].copy_from_slice(&[99, 130, 83, 99]);
        packet.extend([53, 1, kind, 255]);
        Request::parse(&packet).unwrap()
    }

    fn request(last: u8) -> Request {
        request_of(1, last)
    }

    #[test]
    fn late_discovers_are_shed_in_an_overload_until_it_is_over() {
        let mut patience = Patience::default();
        let ms = Duration::from_millis;
        let mut asks =
            |kind, arrived, now| patience.admits(kind, ms(arrived), ms(now), Backlog::Little);
        let discover = RequestKind::Discover;
        // A pause of the disk, or a rack: what waited is answered.
        assert!(asks(discover, 0, 100));
        assert!(asks(discover, 0, 349));
        assert!(asks(discover, 350, 350));
        // It does not end, though not each one is late.
        assert!(asks(discover, 390, 400));
        assert!(asks(discover, 498, 500));
        assert!(asks(discover, 600, 649));
        assert!(!asks(discover, 600, 650));
        assert!(asks(RequestKind::Request, 600, 650));
        assert!(asks(discover, 649, 650));
        assert!(!asks(discover, 649, 651));
        // Nothing waits any more, for a moment.
        assert!(asks(discover, 700, 700));
        assert!(!asks(discover, 700, 710));
        // For a second: it is over.
        assert!(asks(discover, 1709, 1709));
        assert!(asks(discover, 1700, 1710));
    }

    #[test]
    fn discovers_are_shed_while_leases_wait_for_the_disk() {
        let mut patience = Patience::default();
        let ms = Duration::from_millis;
        let mut asks = |kind, now, backlog| patience.admits(kind, ms(now), ms(now), backlog);
        let discover = RequestKind::Discover;
        assert!(asks(discover, 400, Backlog::TooMuch));
        assert!(asks(discover, 649, Backlog::TooMuch));
        assert!(!asks(discover, 650, Backlog::TooMuch));
        assert!(asks(RequestKind::Request, 650, Backlog::TooMuch));
        // There is room for one: the next finds too many again.
        assert!(asks(discover, 651, Backlog::Some));
        assert!(!asks(discover, 652, Backlog::TooMuch));
        assert!(asks(discover, 653, Backlog::Little));
        assert!(!asks(discover, 654, Backlog::TooMuch));
        assert!(asks(discover, 1653, Backlog::Little));
        assert!(asks(discover, 1654, Backlog::TooMuch));
    }

    #[test]
    fn one_that_asks_too_often_waits_and_others_do_not() {
        let mut limits = Rates::default();
        let now = Millis::from_secs(1_760_000_000);
        let asked = (0..100).filter(|_| limits.admit(now, &request(1)).is_ok());
        assert_eq!(asked.count(), usize::from(MOST));
        assert_eq!(limits.admit(now, &request(1)), Err(Ignored::TooOften));
        assert_eq!(limits.admit(now, &request(2)), Ok(()));
        assert_eq!(limits.admit(now.plus_millis(SPAN), &request(1)), Ok(()));
        assert!(limits.counts.len() < 3);
    }

    #[test]
    fn a_relay_that_asks_about_machines_is_counted_itself() {
        let mut limits = Rates::default();
        let now = Millis::from_secs(1_760_000_000);
        let asked = (0..1000).filter(|last| {
            let query = request_of(10, u8::try_from(last % 250).unwrap());
            limits.admit(now, &query).is_ok()
        });
        assert_eq!(asked.count(), usize::from(MOST_QUERIES));
        assert_eq!(limits.admit(now, &request(1)), Ok(()));
    }

    #[test]
    fn all_together_have_a_rate_and_half_of_it_is_for_those_half_through() {
        let mut limits = Rates::new(40);
        let now = Millis::from_secs(1_760_000_000);
        let discovers = |limits: &mut Rates, at| {
            let all = (0..200).filter(|last| limits.admit(at, &request(*last)).is_ok());
            all.count()
        };
        assert_eq!(discovers(&mut limits, now), 20);
        assert_eq!(limits.admit(now, &request(201)), Err(Ignored::TooMany));
        let requests = (0..200).filter(|last| limits.admit(now, &request_of(3, *last)).is_ok());
        assert_eq!(requests.count(), 20);
        // 25 ms bring one, which a DISCOVER does not get yet.
        let soon = now.plus_millis(25);
        assert_eq!(limits.admit(soon, &request(202)), Err(Ignored::TooMany));
        assert_eq!(limits.admit(soon, &request_of(3, 202)), Ok(()));
        assert_eq!(
            limits.admit(soon, &request_of(3, 203)),
            Err(Ignored::TooMany)
        );
        // A quiet hour brings no more than a second does.
        assert_eq!(discovers(&mut limits, now.plus_secs(3600)), 20);
    }
}
