//! What the fold promises.

use super::*;
use crate::boot::MacAddress;
use crate::clock::Millis;

const START: Millis = Millis(1_800_000_000_000);
const LIMITS: Limits = Limits {
    waiting: 200,
    per_second: 1,
    burst: 20,
    ttl_millis: 86_400_000,
};

fn who(number: u32) -> Who {
    let [a, b, c, d] = number.to_be_bytes();
    Who {
        namespace: "edge".to_owned(),
        mac: MacAddress::new([0x52, 0x54, a, b, c, d]),
    }
}

fn sighting(number: u32, subnet: &str, at: Millis) -> Sighting {
    Sighting {
        who: who(number),
        subnet: subnet.to_owned(),
        at,
        facts: Facts::default(),
        waits: false,
    }
}

fn nobody(_: &Who) -> bool {
    false
}

/// Heard twice, four seconds apart.
fn twice(discovery: &mut Discovery, number: u32, subnet: &str, at: Millis) -> Seen {
    discovery.see(sighting(number, subnet, at));
    discovery.see(sighting(number, subnet, at.plus_secs(4)))
}

fn standing(found: Found) -> Standing {
    Standing {
        found,
        untouched: true,
    }
}

#[test]
fn makes_a_machine_of_the_second_packet() {
    let mut discovery = Discovery::new(LIMITS, 1);
    assert_eq!(discovery.see(sighting(1, "lab", START)), Seen::Once);
    assert!(discovery.due(START, nobody).is_empty());
    let doubled = Seen::Dropped(Dropped::Doubled);
    assert_eq!(
        discovery.see(sighting(1, "lab", START.plus_millis(3))),
        doubled
    );
    let later = START.plus_secs(4);
    assert_eq!(discovery.see(sighting(1, "lab", later)), Seen::Candidate);
    let due = discovery.due(later, nobody);
    assert_eq!(due.len(), 1);
    assert_eq!((due[0].first, due[0].last, due[0].asked), (START, later, 2));
    // It asks on while the object is not seen yet: nothing more is made.
    assert_eq!(
        discovery.see(sighting(1, "lab", later.plus_secs(8))),
        Seen::Again
    );
    assert!(discovery.due(later.plus_secs(9), nobody).is_empty());
}

#[test]
fn makes_nothing_that_an_object_names_by_now() {
    let mut discovery = Discovery::new(LIMITS, 1);
    twice(&mut discovery, 1, "lab", START);
    assert!(
        discovery
            .due(START.plus_secs(4), |it| *it == who(1))
            .is_empty()
    );
    assert_eq!(discovery.counts(), (0, 0));
    let waits = Sighting {
        waits: true,
        ..sighting(2, "lab", START)
    };
    assert_eq!(discovery.see(waits), Seen::Dropped(Dropped::NotOurs));
}

#[test]
fn keeps_to_its_rate_and_to_the_number_that_may_wait() {
    let mut discovery = Discovery::new(LIMITS, 1);
    for number in 0..256 {
        assert_eq!(twice(&mut discovery, number, "lab", START), Seen::Candidate);
    }
    let over = Seen::Dropped(Dropped::SubnetFull);
    assert_eq!(twice(&mut discovery, 256, "lab", START), over);
    let mut now = START.plus_secs(4);
    let mut all = discovery.due(now, nobody);
    assert_eq!(all.len(), 20);
    for _ in 0..250 {
        now = now.plus_secs(1);
        let due = discovery.due(now, nobody);
        assert!(due.len() <= 1);
        all.extend(due);
        discovery.sync(now, all.iter().cloned().map(standing));
    }
    assert_eq!(all.len(), LIMITS.waiting);
    let full = Seen::Dropped(Dropped::NamespaceFull);
    assert_eq!(twice(&mut discovery, 9999, "lab", now), full);
    // Room comes when one is approved: its Machine waits no more.
    all.pop();
    now = now.plus_secs(1);
    discovery.sync(now, all.into_iter().map(standing));
    assert_eq!(twice(&mut discovery, 9998, "lab", now), Seen::Candidate);
}

#[test]
fn a_flood_on_one_subnet_does_not_keep_another_waiting() {
    let mut discovery = Discovery::new(LIMITS, 1);
    for number in 0..300 {
        twice(&mut discovery, number, "flooded", START);
    }
    let mut now = START.plus_secs(4);
    assert_eq!(discovery.due(now, nobody).len(), 20);
    twice(&mut discovery, 1000, "quiet", now);
    now = now.plus_secs(5);
    let due = discovery.due(now, nobody);
    assert_eq!(due[0].subnet, "quiet");
}

#[test]
fn a_flood_of_random_addresses_drowns_nobody() {
    let mut discovery = Discovery::new(LIMITS, 1);
    let mut now = START;
    // A hundred thousand within 50 seconds, each once; a real machine asks as
    // firmware does: after 4, 8, 16 and 32 s.
    let asks = [10_000_u32, 18_000, 34_000, 66_000];
    let mut real = Vec::new();
    for number in 0..100_000 {
        now = START.plus_millis(u64::from(number) / 2);
        assert_eq!(discovery.see(sighting(number, "lab", now)), Seen::Once);
        if asks.contains(&number) {
            real.push(discovery.see(sighting(u32::MAX, "lab", now)));
        }
        let (candidates, waiting) = discovery.counts();
        assert!(candidates <= 1 && waiting == 0);
    }
    assert!(real.contains(&Seen::Candidate), "{real:?}");
    let due = discovery.due(now, nobody);
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].who, who(u32::MAX));
}

#[test]
fn a_flood_that_repeats_itself_is_bounded() {
    let mut discovery = Discovery::new(LIMITS, 1);
    let mut dropped = 0;
    for number in 0..10_000 {
        let subnet = format!("subnet-{}", number % 7);
        match twice(&mut discovery, number, &subnet, START) {
            Seen::Dropped(Dropped::Full | Dropped::SubnetFull) => dropped += 1,
            seen @ (Seen::Once | Seen::Candidate | Seen::Again | Seen::Dropped(_)) => {
                assert_eq!(seen, Seen::Candidate);
            }
        }
    }
    assert_eq!(discovery.counts().0, MAX_CANDIDATES);
    assert_eq!(dropped, 10_000 - MAX_CANDIDATES);
    // They are forgotten when they do not ask again.
    assert!(discovery.due(START.plus_secs(1000), nobody).is_empty());
    assert_eq!(discovery.counts(), (0, 0));
}

#[test]
fn cleans_up_who_is_gone_and_nobody_approved_or_touched() {
    let mut discovery = Discovery::new(LIMITS, 1);
    for number in 0..4 {
        twice(&mut discovery, number, "lab", START);
    }
    let due = discovery.due(START.plus_secs(4), nobody);
    assert_eq!(due.len(), 4);
    let mut all: Vec<Standing> = due.into_iter().map(standing).collect();
    all[1].untouched = false;
    let approved = all.remove(3);
    discovery.sync(START.plus_secs(70), all.clone());
    let over = START.plus_secs(4).plus_millis(LIMITS.ttl_millis);
    assert!(discovery.expired(Millis(over.0 - 1), 9).is_empty());
    assert_eq!(discovery.expired(over, 9), [who(0), who(2)]);
    assert_eq!(discovery.expired(over, 1), [who(0)]);
    // One asks again, by a packet that says that its object waits.
    let again = Sighting {
        waits: true,
        ..sighting(0, "lab", over)
    };
    assert_eq!(discovery.see(again), Seen::Again);
    assert_eq!(discovery.expired(over, 9), [who(2)]);
    // Somebody has touched the other in a way that only the API server shows.
    discovery.keep(&who(2));
    discovery.sync(over, all);
    assert!(discovery.expired(over, 9).is_empty());
    assert!(discovery.waiting(&approved.found.who).is_none());
}

#[test]
fn notes_once_and_then_now_and_then() {
    let mut discovery = Discovery::new(LIMITS, 1);
    twice(&mut discovery, 1, "lab", START);
    let due = discovery.due(START.plus_secs(4), nobody);
    assert!(discovery.to_note(9).is_empty(), "it is not there yet");
    let there: Vec<Standing> = due.into_iter().map(standing).collect();
    discovery.sync(START.plus_secs(5), there.clone());
    assert_eq!(discovery.to_note(9).len(), 1);
    discovery.see(sighting(1, "lab", START.plus_secs(3600)));
    assert!(discovery.to_note(9).is_empty());
    discovery.not_noted(&who(1));
    assert_eq!(discovery.to_note(9).len(), 1);
    discovery.see(sighting(1, "lab", START.plus_secs(30_000)));
    assert_eq!(discovery.to_note(9)[0].last, START.plus_secs(30_000));

    // Who leads next knows what was noted, and does not note it again.
    let mut next = Discovery::new(LIMITS, 2);
    next.sync(START.plus_secs(6), there);
    assert!(next.to_note(9).is_empty());
}

#[test]
fn what_could_not_be_made_may_be_made_later() {
    let mut discovery = Discovery::new(LIMITS, 1);
    twice(&mut discovery, 1, "lab", START);
    let due = discovery.due(START.plus_secs(4), nobody);
    discovery.not_made(&due[0].who);
    let later = START.plus_secs(12);
    assert_eq!(discovery.see(sighting(1, "lab", later)), Seen::Candidate);
    assert_eq!(discovery.due(later, nobody).len(), 1);
    // One that never shows up among the Machines is given up after a while.
    discovery.sync(later.plus_secs(59), []);
    assert!(discovery.waiting(&who(1)).is_some());
    discovery.sync(later.plus_secs(60), []);
    assert!(discovery.waiting(&who(1)).is_none());
}
