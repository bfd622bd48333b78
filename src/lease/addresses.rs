//! A set of addresses that knows its gaps.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// A set of IPv4 addresses, kept as runs of neighbours: asking for the next
/// address that is not in it costs O(log n), however full it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressSet {
    /// First address of each run to its last; runs neither touch nor overlap.
    runs: BTreeMap<u32, u32>,
}

impl AddressSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            runs: BTreeMap::new(),
        }
    }

    /// Whether `address` is in the set.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.run_of(u32::from(address)).is_some()
    }

    /// Adds `address`. `false` when it was there before.
    pub fn insert(&mut self, address: Ipv4Addr) -> bool {
        let address = u32::from(address);
        if self.run_of(address).is_some() {
            return false;
        }
        let below = address.checked_sub(1).and_then(|at| self.run_of(at));
        let above = address
            .checked_add(1)
            .and_then(|at| self.runs.remove(&at))
            .unwrap_or(address);
        let start = below.map_or(address, |(start, _)| start);
        self.runs.insert(start, above);
        true
    }

    /// Adds every address from `start` to `end`, however many they are.
    pub fn insert_range(&mut self, start: Ipv4Addr, end: Ipv4Addr) {
        let (mut start, mut end) = (u32::from(start), u32::from(end));
        if start > end {
            return;
        }
        // Runs that overlap it or touch it become part of it.
        let touches = |first: u32, last: u32| {
            first <= end.saturating_add(1) && last.saturating_add(1) >= start
        };
        let within = self.runs.range(..=end.saturating_add(1)).rev();
        let joined: Vec<(u32, u32)> = within
            .map(|(first, last)| (*first, *last))
            .take_while(|(first, last)| touches(*first, *last))
            .collect();
        for (first, last) in joined {
            self.runs.remove(&first);
            start = start.min(first);
            end = end.max(last);
        }
        self.runs.insert(start, end);
    }

    /// Takes `address` out. `false` when it was not there.
    pub fn remove(&mut self, address: Ipv4Addr) -> bool {
        let address = u32::from(address);
        let Some((start, end)) = self.run_of(address) else {
            return false;
        };
        self.runs.remove(&start);
        if start < address {
            self.runs.insert(start, address - 1);
        }
        if address < end {
            self.runs.insert(address + 1, end);
        }
        true
    }

    /// The last address of the run that `address` lies in; `None` when it is
    /// not in the set.
    #[must_use]
    pub fn run_end(&self, address: Ipv4Addr) -> Option<Ipv4Addr> {
        self.run_of(u32::from(address)).map(|(_, end)| end.into())
    }

    /// How many addresses from `start` to `end` are in the set.
    #[must_use]
    pub fn count(&self, start: Ipv4Addr, end: Ipv4Addr) -> u64 {
        let (start, end) = (u32::from(start), u32::from(end));
        self.runs
            .range(..=end)
            .rev()
            .take_while(|(_, last)| **last >= start)
            .map(|(first, last)| {
                let (first, last) = ((*first).max(start), (*last).min(end));
                u64::from(last - first) + 1
            })
            .sum()
    }

    /// Every address in the set, in order.
    pub fn iter(&self) -> impl Iterator<Item = Ipv4Addr> {
        let runs = self.runs.iter();
        runs.flat_map(|(first, last)| (*first..=*last).map(Ipv4Addr::from))
    }

    fn run_of(&self, address: u32) -> Option<(u32, u32)> {
        let (start, end) = self.runs.range(..=address).next_back()?;
        (*end >= address).then_some((*start, *end))
    }
}

impl FromIterator<Ipv4Addr> for AddressSet {
    fn from_iter<I: IntoIterator<Item = Ipv4Addr>>(addresses: I) -> Self {
        let mut set = Self::new();
        set.extend(addresses);
        set
    }
}

impl Extend<Ipv4Addr> for AddressSet {
    fn extend<I: IntoIterator<Item = Ipv4Addr>>(&mut self, addresses: I) {
        for address in addresses {
            self.insert(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(steps in prop::collection::vec((any::<bool>(), 0u32..24), 0..200)) {
            let mut set = AddressSet::new();
            let mut plain = BTreeSet::new();
            // The ends of the number line are where arithmetic goes wrong.
            let spread = |n: u32| if n < 12 { n } else { u32::MAX - (n - 12) };
            for (step, (add, n)) in steps.into_iter().enumerate() {
                let at = spread(n);
                if add && step % 4 == 3 {
                    // A range to the end of its half of the line, or a short one.
                    let end = spread(if n < 12 { 11 } else { 23.min(n + 3) });
                    set.insert_range(at.into(), end.into());
                    plain.extend(at..=end);
                } else if add {
                    prop_assert_eq!(set.insert(at.into()), plain.insert(at));
                } else {
                    prop_assert_eq!(set.remove(at.into()), plain.remove(&at));
                }
                for n in 0..24 {
                    let at = spread(n);
                    prop_assert_eq!(set.contains(at.into()), plain.contains(&at));
                    let end = (at..=u32::MAX).take_while(|a| plain.contains(a)).last();
                    prop_assert_eq!(set.run_end(at.into()).map(u32::from), end);
                    let below = plain.range(..=at).count() as u64;
                    prop_assert_eq!(set.count(Ipv4Addr::UNSPECIFIED, at.into()), below);
                    let above = plain.range(at..).count() as u64;
                    prop_assert_eq!(set.count(at.into(), Ipv4Addr::BROADCAST), above);
                }
                prop_assert!(set.iter().map(u32::from).eq(plain.iter().copied()));
                let mut runs = set.runs.iter().peekable();
                while let (Some((_, end)), Some((next, _))) = (runs.next(), runs.peek()) {
                    prop_assert!(*end < **next - 1, "runs touch");
                }
            }
        }
    }
}
