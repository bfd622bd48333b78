//! What was heard once: a memory of a fixed size, whoever floods it.

use super::table::Who;
use crate::clock::Millis;

/// Places in a bucket; the oldest one goes for a new one.
const PLACES: usize = 4;
/// Buckets. With their places they are 512 KiB, and remember a MAC address
/// through a flood of some 15,000 others: a firmware asks again within 4 to 8
/// seconds, so floods of some 2,000 a second do not hide it, and worse ones
/// only now and then.
const BUCKETS: usize = 8192;

/// A second packet sooner than this is the first one again: two relays of one
/// network both pass it on, within milliseconds. No firmware repeats itself
/// within half a second.
const SOON_MILLIS: u64 = 250;
/// A second packet later than this counts as a first one. Firmware asks four
/// times within a minute, then begins anew.
pub(super) const WINDOW_MILLIS: u64 = 300_000;

/// The memory.
#[derive(Debug)]
pub(super) struct Glimpses {
    buckets: Vec<[Place; PLACES]>,
    seed: u64,
}

/// One that was heard. `at` is 0 where the place is empty.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    tag: u64,
    at: u64,
}

/// What is remembered of one that is heard now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Glimpse {
    /// Nothing.
    First,
    /// It was heard a moment ago.
    TooSoon,
    /// It was heard, at that time.
    Again(Millis),
}

// === impl Glimpses ===

impl Glimpses {
    /// An empty memory. A stranger who knows `seed` can choose which MAC
    /// addresses push each other out.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            buckets: vec![[Place::default(); PLACES]; BUCKETS],
            seed,
        }
    }

    /// Notes that `who` was heard.
    pub(super) fn hear(&mut self, now: Millis, who: &Who) -> Glimpse {
        let tag = self.tag(who);
        let buckets = u64::try_from(self.buckets.len()).unwrap_or(1);
        let index = usize::try_from(tag % buckets).unwrap_or_default();
        let Some(bucket) = self.buckets.get_mut(index) else {
            return Glimpse::First;
        };
        let known = bucket.iter_mut().find(|it| it.at != 0 && it.tag == tag);
        if let Some(place) = known {
            let at = Millis(place.at);
            return match now.since(at) {
                0..SOON_MILLIS => Glimpse::TooSoon,
                SOON_MILLIS..=WINDOW_MILLIS => Glimpse::Again(at),
                _ => {
                    place.at = now.0.max(1);
                    Glimpse::First
                }
            };
        }
        if let Some(oldest) = bucket.iter_mut().min_by_key(|place| place.at) {
            *oldest = Place {
                tag,
                at: now.0.max(1),
            };
        }
        Glimpse::First
    }

    /// A number for `who` that cannot be foretold without the seed.
    fn tag(&self, who: &Who) -> u64 {
        let mac = who.mac.bytes().into_iter();
        let bytes = who.namespace.bytes().chain([0]).chain(mac);
        bytes.fold(mixed(self.seed), |tag, byte| mixed(tag ^ u64::from(byte)))
    }
}

/// SplitMix64's finalizer (Steele, Lea, Flood 2014): each bit decides over all.
const fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::MacAddress;

    fn who(number: u32) -> Who {
        let [a, b, c, d] = number.to_be_bytes();
        Who {
            namespace: "edge".to_owned(),
            mac: MacAddress::new([0x52, 0x54, a, b, c, d]),
        }
    }

    #[test]
    fn tells_the_second_packet_from_the_first_one_doubled() {
        let mut glimpses = Glimpses::new(1);
        let first = Millis(1_000_000);
        assert_eq!(glimpses.hear(first, &who(1)), Glimpse::First);
        assert_eq!(
            glimpses.hear(first.plus_millis(249), &who(1)),
            Glimpse::TooSoon
        );
        let again = Glimpse::Again(first);
        assert_eq!(glimpses.hear(first.plus_millis(250), &who(1)), again);
        let last = first.plus_millis(WINDOW_MILLIS);
        assert_eq!(glimpses.hear(last, &who(1)), again);
        assert_eq!(glimpses.hear(last.plus_millis(1), &who(1)), Glimpse::First);
        let other = Who {
            namespace: "core".to_owned(),
            ..who(1)
        };
        assert_eq!(glimpses.hear(last, &other), Glimpse::First);
    }

    #[test]
    fn remembers_most_through_a_flood_and_grows_by_nothing() {
        let mut glimpses = Glimpses::new(7);
        let start = Millis(1_000_000);
        for number in 0..1000 {
            glimpses.hear(start, &who(number));
        }
        for number in 1000..11_000 {
            glimpses.hear(start.plus_millis(1), &who(number));
        }
        let later = start.plus_millis(4000);
        let kept =
            (0..1000).filter(|number| glimpses.hear(later, &who(*number)) == Glimpse::Again(start));
        assert!(kept.count() > 900);
        assert_eq!(glimpses.buckets.capacity(), BUCKETS);
    }
}
