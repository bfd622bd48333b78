//! How often one machine may ask.

use std::collections::HashMap;

use super::request::Request;
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

/// Counts requests by hardware address, or by that of IPv6. Bounded.
#[derive(Debug, Default)]
pub struct Rates {
    since: Millis,
    counts: HashMap<[u8; 16], u16>,
}

impl Rates {
    /// Whether `request` may be looked at.
    pub(super) fn admit(&mut self, now: Millis, request: &Request) -> bool {
        let mut key = [0; 16];
        for (to, from) in key.iter_mut().zip(&request.chaddr) {
            *to = *from;
        }
        self.admits(now, key)
    }

    /// The same for whoever `key` is of.
    pub(super) fn admits(&mut self, now: Millis, key: [u8; 16]) -> bool {
        let over = now.since(self.since) >= SPAN || now < self.since;
        if over || self.counts.len() >= MAX_COUNTED {
            self.counts.clear();
            self.since = now;
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
