//! How often a machine may guess the password of a menu's entry. Core.

use std::collections::{BTreeMap, BTreeSet};

use crate::boot::MacAddress;
use crate::clock::Millis;

/// Tries within [`WINDOW_SECS`]: a person who mistypes needs two or three.
pub(super) const TRIES: u32 = 5;
/// Seconds after the first of them until they are forgotten.
pub(super) const WINDOW_SECS: u64 = 60;
/// Machines that are remembered; of too many, the one that began longest ago
/// goes. Each holds an address of its own, so that they are not made up.
const MAX: usize = 10_000;

/// What was tried lately.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    machines: BTreeMap<MacAddress, (Millis, u32)>,
    by_age: BTreeSet<(Millis, MacAddress)>,
}

// === impl Attempts ===

impl Attempts {
    /// Takes note of a try before it is looked at, so that many at once are
    /// many; whether it may be made.
    pub(super) fn take(&mut self, mac: MacAddress, now: Millis) -> bool {
        if let Some((began, tries)) = self.machines.get_mut(&mac) {
            if now.since(*began) < WINDOW_SECS * 1000 {
                *tries = tries.saturating_add(1);
                return *tries <= TRIES;
            }
            self.forget(mac);
        }
        if self.machines.len() >= MAX
            && let Some((_, oldest)) = self.by_age.first().copied()
        {
            self.forget(oldest);
        }
        self.machines.insert(mac, (now, 1));
        self.by_age.insert((now, mac));
        true
    }

    /// The password was right.
    pub(super) fn forget(&mut self, mac: MacAddress) {
        if let Some((began, _)) = self.machines.remove(&mac) {
            self.by_age.remove(&(began, mac));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(n: u32) -> MacAddress {
        let [a, b, c, d] = n.to_be_bytes();
        MacAddress::new([2, 0, a, b, c, d])
    }

    #[test]
    fn five_tries_a_minute() {
        let mut attempts = Attempts::default();
        let now = Millis::from_secs(1000);
        for _ in 0..TRIES {
            assert!(attempts.take(mac(1), now));
        }
        assert!(!attempts.take(mac(1), now));
        assert!(attempts.take(mac(2), now), "another machine");
        assert!(!attempts.take(mac(1), now.plus_secs(WINDOW_SECS - 1)));
        assert!(attempts.take(mac(1), now.plus_secs(WINDOW_SECS)));
        for _ in 0..TRIES {
            attempts.take(mac(1), now.plus_secs(WINDOW_SECS));
        }
        attempts.forget(mac(1));
        assert!(attempts.take(mac(1), now.plus_secs(WINDOW_SECS)));
    }

    #[test]
    fn not_more_machines_than_there_is_room_for() {
        let mut attempts = Attempts::default();
        let many = u32::try_from(MAX).unwrap();
        for n in 0..=many {
            assert!(attempts.take(mac(n), Millis(u64::from(n))));
        }
        assert_eq!(attempts.machines.len(), MAX);
        assert_eq!(attempts.by_age.len(), MAX);
        assert!(!attempts.machines.contains_key(&mac(0)), "the oldest");
    }
}
