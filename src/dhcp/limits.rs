//! How often one machine may ask, and how long all may wait.

use std::collections::HashMap;
use std::time::Duration;

use super::request::{Request, RequestKind};
use crate::clock::Millis;

/// The span in which requests are counted, in milliseconds.
const SPAN: u64 = 10_000;
/// Requests of one hardware address that are looked at within `SPAN`. A
/// machine that boots sends some ten in a minute, retries and iPXE included;
/// one that asks six times a second is broken, or wants to harm.
pub const MOST: u16 = 60;
/// Hardware addresses that are counted. Where more come they are counted anew:
/// who makes them up is not held by a count of each.
const MAX_COUNTED: usize = 16_384;

/// How long a DISCOVER may have waited while we are overloaded: half of what an
/// answer should take.
const LATE: Duration = Duration::from_millis(5);
/// For how long requests have to be late before it is an overload: a pause of
/// the disk or the processor is none, and what waited for its end is answered.
const OVERLOAD: Duration = Duration::from_millis(100);

/// Sheds DISCOVERs where more are sent than can be answered. A queue that does
/// not drain only has everybody answered late, at last after they asked again;
/// those that begin an exchange give way to those that are half through one.
///
/// `T` is a point in time.
#[derive(Debug)]
pub struct Patience<T> {
    /// Since when requests were late, without a break.
    late_since: Option<T>,
    shedding: bool,
}

/// Counts requests by hardware address. Bounded.
#[derive(Debug, Default)]
pub struct Rates {
    since: Millis,
    counts: HashMap<[u8; 16], u16>,
}

impl<T> Default for Patience<T> {
    fn default() -> Self {
        Self {
            late_since: None,
            shedding: false,
        }
    }
}

impl<T: Copy + std::ops::Sub<Output = Duration>> Patience<T> {
    /// Whether a request that came at `arrived` is answered at `now`.
    pub(super) fn admits(&mut self, kind: RequestKind, arrived: T, now: T) -> bool {
        if now - arrived < LATE {
            self.late_since = None;
            return true;
        }
        let since = *self.late_since.get_or_insert(now);
        self.shedding |= now - since >= OVERLOAD;
        kind != RequestKind::Discover || !self.shedding
    }

    /// Nothing waits any more.
    pub(super) fn caught_up(&mut self) {
        *self = Self::default();
    }
}

impl Rates {
    /// Whether `request` may be looked at.
    pub(super) fn admit(&mut self, now: Millis, request: &Request) -> bool {
        let over = now.since(self.since) >= SPAN || now < self.since;
        if over || self.counts.len() >= MAX_COUNTED {
            self.counts.clear();
            self.since = now;
        }
        let mut key = [0; 16];
        for (to, from) in key.iter_mut().zip(&request.chaddr) {
            *to = *from;
        }
        let count = self.counts.entry(key).or_default();
        *count = count.saturating_add(1);
        *count <= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(last: u8) -> Request {
        let mut packet = vec![0; 240];
        packet[..4].copy_from_slice(&[1, 1, 6, 0]);
        packet[28..34].copy_from_slice(&[2, 0, 0, 0, 0, last]);
        packet[236..].copy_from_slice(&[99, 130, 83, 99]);
        packet.extend([53, 1, 1, 255]);
        Request::parse(&packet).unwrap()
    }

    #[test]
    fn late_discovers_are_shed_in_an_overload_until_it_is_over() {
        let mut patience = Patience::default();
        let ms = Duration::from_millis;
        let mut asks = |kind, arrived, now| patience.admits(kind, ms(arrived), ms(now));
        // A pause of the disk: what waited is answered.
        assert!(asks(RequestKind::Discover, 0, 90));
        assert!(asks(RequestKind::Discover, 80, 100));
        assert!(asks(RequestKind::Discover, 98, 101));
        // It does not end.
        assert!(asks(RequestKind::Discover, 100, 200));
        assert!(asks(RequestKind::Discover, 250, 299));
        assert!(!asks(RequestKind::Discover, 251, 300));
        assert!(asks(RequestKind::Request, 251, 300));
        assert!(asks(RequestKind::Discover, 296, 300));
        assert!(!asks(RequestKind::Discover, 296, 301));
        patience.caught_up();
        assert!(patience.admits(RequestKind::Discover, ms(301), ms(320)));
    }

    #[test]
    fn one_that_asks_too_often_waits_and_others_do_not() {
        let mut limits = Rates::default();
        let now = Millis::from_secs(1_760_000_000);
        let asked = (0..100).filter(|_| limits.admit(now, &request(1))).count();
        assert_eq!(asked, usize::from(MOST));
        assert!(limits.admit(now, &request(2)));
        assert!(limits.admit(now.plus_millis(SPAN), &request(1)));
        assert!(limits.counts.len() < 3);
    }
}
