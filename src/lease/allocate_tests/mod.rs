//! Conversations: each test is what one rule looks like from outside.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::lease::{AddressSet, LeaseKey, MAX_CLIENT_ID};

mod world;
use self::world::{Client, World, at};

// === offers ===

#[test]
fn a_new_machine_is_offered_an_address_of_the_pool_and_then_has_it() {
    let mut world = World::new();
    let offered = world.offered(A);
    assert!(world.in_pools(offered));
    assert_eq!(world.select(A, offered), Answer::Ack(offered));
    assert_eq!(world.table.counts("default/lab").bound, 1);
}

#[test]
fn machines_that_ask_at_the_same_moment_are_offered_different_addresses() {
    let mut world = World::new();
    let offers: Vec<_> = (1..=5).map(|n| world.offered(Client(n))).collect();
    let distinct: AddressSet = offers.iter().copied().collect();
    assert!(offers.iter().all(|a| distinct.contains(*a)));
    assert_eq!(world.table.counts("default/lab").offered, 5);
}

#[test]
fn a_discover_sent_again_is_offered_the_same_address() {
    let mut world = World::new();
    let first = world.offered(A);
    world.wait(20);
    assert_eq!(world.offered(A), first);
    assert_eq!(world.table.len(), 1);
}

#[test]
fn an_offer_sent_again_is_held_for_as_long_again() {
    let mut world = World::new().with_pool(10, 10);
    world.offered(A);
    world.wait(50);
    world.offered(A);
    world.wait(9);
    assert_eq!(
        world.discover(B),
        Answer::Silent(SilentReason::PoolExhausted)
    );
}

#[test]
fn an_offer_nobody_takes_goes_to_somebody_else_after_a_minute() {
    let mut world = World::new().with_pool(10, 10);
    world.offered(A);
    assert_eq!(
        world.discover(B),
        Answer::Silent(SilentReason::PoolExhausted)
    );
    world.wait(OFFER_HOLD_SECS);
    assert_eq!(world.offered(B), at(10));
}

#[test]
fn a_flood_of_offers_holds_half_of_the_pools_and_keeps_nobody_out() {
    let mut world = World::new().with_pool(1, 100);
    for client in 1..=200 {
        world.offered(Client(client));
    }
    let held = world.table.counts("default/lab").offered;
    assert!((50..=51).contains(&held), "{held}");
    // Whoever asks gets one of those that nobody holds.
    let address = world.offered(Client(201));
    assert_eq!(world.select(Client(201), address), Answer::Ack(address));
}

#[test]
fn the_requested_address_is_offered_when_it_is_free_and_in_a_pool() {
    let mut world = World::new();
    assert_eq!(world.discover_for(A, at(14)), Answer::Offer(at(14)));
    assert_ne!(world.discover_for(B, at(14)), Answer::Offer(at(14)));
    assert_ne!(world.discover_for(B, at(200)), Answer::Offer(at(200)));
}

#[test]
fn a_machine_gets_its_address_again_after_the_lease_has_expired() {
    let mut world = World::new();
    let had = world.lend(A);
    world.wait(world.lifetime * 100);
    world.sweep();
    world.lend(B);
    assert_eq!(world.offered(A), had);
}

#[test]
fn its_old_address_wins_over_the_one_it_asks_for() {
    let mut world = World::new();
    let had = world.lend(A);
    world.wait(world.lifetime * 2);
    let other = world.free_address();
    assert_eq!(world.discover_for(A, other), Answer::Offer(had));
}

#[test]
fn never_used_addresses_go_first_and_then_the_one_free_for_longest() {
    let mut world = World::new().with_pool(10, 12);
    let first = world.lend(A);
    world.wait(10);
    let second = world.lend(B);
    world.wait(world.lifetime * 2);
    let unused = world.lend(C);
    assert!(unused != first && unused != second);
    assert_eq!(world.offered(D), first);
    assert_eq!(world.offered(E), second);
}

#[test]
fn an_offer_not_taken_does_not_forget_the_lease_before_it() {
    let mut world = World::new();
    let had = world.lend(A);
    world.wait(world.lifetime + 1);
    assert_eq!(world.offered(A), had);
    world.wait(OFFER_HOLD_SECS + 1);
    world.sweep();
    assert_eq!(
        world.table.get(had).map(|l| l.state),
        Some(LeaseState::Expired)
    );
    assert_eq!(world.offered(A), had);
}

#[test]
fn a_lost_table_tends_to_the_same_addresses() {
    let offers = || {
        let mut world = World::new().with_pool(10, 250);
        (1..=9)
            .map(|n| world.offered(Client(n)))
            .collect::<Vec<_>>()
    };
    assert_eq!(offers(), offers());
}

#[test]
fn an_exhausted_pool_is_silence_and_never_a_duplicate() {
    let mut world = World::new().with_pool(10, 12);
    for client in [A, B, C] {
        world.lend(client);
    }
    assert_eq!(
        world.discover(D),
        Answer::Silent(SilentReason::PoolExhausted)
    );
}

#[test]
fn without_a_pool_only_reservations_are_served() {
    let mut world = World::new().reserve(A, at(50));
    world.pools.clear();
    assert_eq!(world.discover(A), Answer::Offer(at(50)));
    assert_eq!(world.discover(B), Answer::Silent(SilentReason::NoPool));
}

#[test]
fn network_and_broadcast_addresses_are_never_given() {
    let mut world = World::new().with_pool(0, 1);
    assert_eq!(world.lend(A), at(1));
    assert_eq!(
        world.discover(B),
        Answer::Silent(SilentReason::PoolExhausted)
    );
    let mut world = World::new().with_pool(254, 255);
    assert_eq!(world.lend(A), at(254));
    assert_eq!(
        world.discover(B),
        Answer::Silent(SilentReason::PoolExhausted)
    );
}

#[test]
fn addresses_of_ours_and_of_routers_are_never_given() {
    let mut world = World::new().with_pool(10, 12);
    world.taken.extend([at(10), at(12)]);
    assert_eq!(world.lend(A), at(11));
    assert_eq!(
        world.discover_for(B, at(10)),
        Answer::Silent(SilentReason::PoolExhausted)
    );
    assert_eq!(
        world.renew(B, at(12)),
        Answer::Nak(NakReason::ReservedForAnother)
    );
}

#[test]
fn memories_that_nobody_can_use_are_cleared_by_a_search_of_a_full_pool() {
    let mut world = World::new().with_pool(10, 14);
    for n in 1..=5 {
        world.lend(Client(n));
    }
    world.wait(world.lifetime + 1);
    let mut world = world.with_pool(20, 20);
    assert_eq!(world.lend(Client(8)), at(20));
    assert_eq!(
        world.discover(Client(9)),
        Answer::Silent(SilentReason::PoolExhausted)
    );
    assert_eq!(world.table.len(), 1);
}

// === reservations ===

#[test]
fn a_reservation_is_offered_before_anything_else() {
    let mut world = World::new();
    world.lend(A);
    let mut world = world.reserve(A, at(50));
    assert_eq!(world.discover_for(A, at(11)), Answer::Offer(at(50)));
}

#[test]
fn a_reserved_address_goes_to_nobody_else_even_when_asked_for() {
    let mut world = World::new().with_pool(10, 11).reserve(A, at(10));
    assert_eq!(world.discover_for(B, at(10)), Answer::Offer(at(11)));
    assert_eq!(
        world.select(B, at(10)),
        Answer::Nak(NakReason::ReservedForAnother)
    );
    assert_eq!(
        world.discover(C),
        Answer::Silent(SilentReason::PoolExhausted)
    );
    assert_eq!(world.lend(A), at(10));
}

#[test]
fn a_reservation_wins_over_a_lease_of_somebody_else_at_its_renewal() {
    let mut world = World::new();
    let contested = world.lend(B);
    let mut world = world.reserve(A, contested);
    let meanwhile = world.lend(A);
    assert_ne!(meanwhile, contested);
    assert_eq!(world.renew(A, meanwhile), Answer::Ack(meanwhile));

    assert_eq!(
        world.renew(B, contested),
        Answer::Nak(NakReason::ReservedForAnother)
    );
    assert_ne!(world.lend(B), contested);

    assert_eq!(
        world.renew(A, meanwhile),
        Answer::Nak(NakReason::HasReservation)
    );
    assert_eq!(world.lend(A), contested);
    assert_eq!(world.renew(A, contested), Answer::Ack(contested));
}

#[test]
fn a_busy_reserved_address_without_a_pool_is_silence_by_name() {
    let mut world = World::new();
    let contested = world.lend(B);
    let mut world = world.reserve(A, contested);
    world.pools.clear();
    assert_eq!(
        world.discover(A),
        Answer::Silent(SilentReason::ReservedAddressBusy)
    );
}

#[test]
fn a_machine_that_gets_a_reservation_is_moved_at_its_renewal() {
    let mut world = World::new();
    let dynamic = world.lend(A);
    let mut world = world.reserve(A, at(50));
    assert_eq!(
        world.renew(A, dynamic),
        Answer::Nak(NakReason::HasReservation)
    );
    assert_eq!(world.lend(A), at(50));
    assert_eq!(world.table.len(), 1, "its old lease is gone");
}

#[test]
fn a_reservation_of_another_network_does_not_count_here() {
    let mut world = World::new().reserve(A, [192, 0, 2, 9].into());
    let offered = world.offered(A);
    assert!(world.in_pools(offered));
}

#[test]
fn rom_and_system_of_one_machine_share_its_reserved_address() {
    let mut world = World::new().reserve(A, at(50));
    world.key = Some(LeaseKey::ClientId([0, 1, 2].into()));
    assert_eq!(world.lend(A), at(50));
    world.key = Some(LeaseKey::ClientId([255; MAX_CLIENT_ID].into()));
    assert_eq!(world.lend(A), at(50));
    assert_eq!(world.table.len(), 1);
}

// === requests ===

#[test]
fn an_address_of_another_network_is_refused_at_once_where_we_are_authoritative() {
    let mut world = World::new();
    let foreign = [192, 0, 2, 1].into();
    assert_eq!(
        world.init_reboot(A, foreign),
        Answer::Nak(NakReason::WrongNetwork)
    );
    assert_eq!(
        world.renew(A, foreign),
        Answer::Nak(NakReason::WrongNetwork)
    );
    world.authoritative = false;
    assert_eq!(
        world.init_reboot(A, foreign),
        Answer::Silent(SilentReason::OtherNetwork)
    );
    assert_eq!(
        world.renew(A, foreign),
        Answer::Silent(SilentReason::OtherNetwork)
    );
}

#[test]
fn a_renewal_that_we_do_not_know_is_granted_where_we_are_authoritative() {
    let mut world = World::new();
    assert_eq!(world.renew(A, at(11)), Answer::Ack(at(11)));
    assert_eq!(world.renew(B, at(11)), Answer::Nak(NakReason::InUse));
    assert_eq!(world.renew(B, at(99)), Answer::Nak(NakReason::OutsidePools));
    assert_eq!(world.init_reboot(C, at(12)), Answer::Ack(at(12)));
}

#[test]
fn a_renewal_that_we_do_not_know_is_silence_where_we_are_not_authoritative() {
    let mut world = World::new();
    world.authoritative = false;
    let unknown = Answer::Silent(SilentReason::UnknownLease);
    assert_eq!(world.renew(A, at(11)), unknown);
    assert_eq!(world.init_reboot(A, at(11)), unknown);
    let had = world.lend(A);
    assert_eq!(world.renew(A, had), Answer::Ack(had));
    assert_eq!(world.init_reboot(A, had), Answer::Ack(had));
}

#[test]
fn a_reserved_address_is_known_without_a_record() {
    let mut world = World::new().reserve(A, at(50));
    world.authoritative = false;
    assert_eq!(world.init_reboot(A, at(50)), Answer::Ack(at(50)));
}

#[test]
fn a_renewal_extends_the_lease_and_keeps_since_when() {
    let mut world = World::new();
    let begun = world.now;
    let had = world.lend(A);
    world.wait(world.lifetime / 2);
    assert_eq!(world.renew(A, had), Answer::Ack(had));
    let lease = world.table.get(had).unwrap();
    assert_eq!(lease.since, begun);
    assert_eq!(lease.expires, world.now.plus_secs(world.lifetime));
}

#[test]
fn a_machine_that_remembers_an_address_older_than_its_lease_is_told_so() {
    let mut world = World::new();
    let has = world.lend(A);
    let older = world.free_address();
    assert_eq!(
        world.init_reboot(A, older),
        Answer::Nak(NakReason::HasAnotherLease)
    );
    assert_eq!(world.renew(A, has), Answer::Ack(has));
}

#[test]
fn an_address_in_use_is_kept_at_renewal_whatever_else_we_thought() {
    let mut world = World::new();
    let has = world.lend(A);
    let uses = world.free_address();
    assert_eq!(world.renew(A, uses), Answer::Ack(uses));
    assert_eq!(world.table.get(has), None);
}

#[test]
fn a_pool_that_moved_takes_its_machines_along_at_renewal() {
    let mut world = World::new();
    let old = world.lend(A);
    let mut world = world.with_pool(100, 110);
    assert_eq!(world.renew(A, old), Answer::Nak(NakReason::OutsidePools));
    assert!((at(100)..=at(110)).contains(&world.lend(A)));
}

#[test]
fn a_rom_that_leaves_out_the_requested_address_gets_what_was_offered() {
    let mut world = World::new();
    let nothing = Intent::Select { requested: None };
    assert_eq!(
        world.ask(A, nothing),
        Answer::Nak(NakReason::NothingOffered)
    );
    let offered = world.offered(A);
    assert_eq!(world.ask(A, nothing), Answer::Ack(offered));
    let mut world = world.reserve(B, at(50));
    assert_eq!(world.ask(B, nothing), Answer::Ack(at(50)));
}

#[test]
fn an_offer_that_we_forgot_is_honoured_while_the_address_is_free() {
    let mut world = World::new();
    let offered = world.offered(A);
    world.table = LeaseTable::new();
    assert_eq!(world.select(A, offered), Answer::Ack(offered));
}

#[test]
fn an_offer_turned_down_is_free_at_once() {
    let mut world = World::new().with_pool(10, 10);
    world.offered(A);
    assert_eq!(
        world.ask(A, Intent::ChoseAnother),
        Answer::Silent(SilentReason::ChoseAnotherServer)
    );
    assert_eq!(world.offered(B), at(10));
}

#[test]
fn a_lease_survives_that_the_machine_once_chose_another_server() {
    let mut world = World::new();
    let had = world.lend(A);
    world.ask(A, Intent::ChoseAnother);
    assert_eq!(
        world.table.get(had).map(|l| l.state),
        Some(LeaseState::Bound)
    );
}

// === release and decline ===

#[test]
fn a_released_address_is_free_for_others_and_remembered_for_its_machine() {
    let mut world = World::new().with_pool(10, 11);
    let had = world.lend(A);
    assert_eq!(world.ask(A, Intent::Release { address: had }), Answer::Done);
    assert_eq!(world.offered(A), had);

    world.wait(OFFER_HOLD_SECS);
    let other = world.lend(B);
    assert_ne!(other, had, "the unused one goes first");
    assert_eq!(world.lend(C), had);
}

#[test]
fn nobody_releases_the_lease_of_another() {
    let mut world = World::new();
    let had = world.lend(A);
    let stranger = world.ask(B, Intent::Release { address: had });
    assert_eq!(stranger, Answer::Silent(SilentReason::NotItsLease));
    assert_eq!(world.renew(A, had), Answer::Ack(had));
}

#[test]
fn a_declined_address_is_given_to_nobody_for_a_day() {
    let mut world = World::new().with_pool(10, 10);
    let had = world.lend(A);
    assert_eq!(world.ask(A, Intent::Decline { address: had }), Answer::Done);
    assert_eq!(world.table.counts("default/lab").declined, 1);
    assert_eq!(
        world.discover(A),
        Answer::Silent(SilentReason::PoolExhausted)
    );
    assert_eq!(world.renew(A, had), Answer::Nak(NakReason::OnProbation));
    world.wait(PROBATION_SECS);
    assert_eq!(world.offered(B), had);
}

#[test]
fn a_machine_declines_only_what_it_was_given() {
    let mut world = World::new();
    let had = world.lend(A);
    let not_its = Answer::Silent(SilentReason::NotItsLease);
    assert_eq!(world.ask(B, Intent::Decline { address: had }), not_its);
    assert_eq!(world.ask(B, Intent::Decline { address: at(12) }), not_its);
    world.ask(A, Intent::Release { address: had });
    assert_eq!(world.ask(A, Intent::Decline { address: had }), not_its);
}

#[test]
fn a_machine_whose_reserved_address_is_on_probation_gets_another() {
    let mut world = World::new().reserve(A, at(50));
    world.lend(A);
    world.ask(A, Intent::Decline { address: at(50) });
    let meanwhile = world.lend(A);
    assert!(world.in_pools(meanwhile));
    world.wait(PROBATION_SECS);
    assert_eq!(world.offered(A), at(50));
}

#[test]
fn an_address_where_our_own_probe_finds_somebody_is_put_on_probation() {
    let mut world = World::new().with_pool(10, 10);
    let offered = world.offered(A);
    let change = world.probation(A, offered);
    world.table.apply(&change);
    assert_eq!(
        world.discover(A),
        Answer::Silent(SilentReason::PoolExhausted)
    );
}

#[test]
fn only_promises_are_durable() {
    let mut world = World::new();
    world.offered(A);
    assert!(world.last.iter().all(|change| !change.is_durable()));
    world.lend(A);
    assert!(world.last.iter().any(Change::is_durable));
}

// === laws ===

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_address_is_ever_given_to_two(steps in prop::collection::vec(step(), 1..150), authoritative: bool) {
        let mut world = World::new().with_pool(10, 15).reserve(Client(1), at(12)).reserve(Client(2), at(50));
        world.authoritative = authoritative;
        world.taken.insert(at(14));
        // What each client may believe: until when it has which address.
        let mut beliefs: BTreeMap<u8, (Ipv4Addr, Millis)> = BTreeMap::new();
        for (client, act, wait) in steps {
            world.wait(wait);
            if wait % 7 == 0 {
                world.sweep();
            }
            let mine = beliefs.get(&client.0).map(|(address, _)| *address);
            let intent = act.intent(mine);
            let answer = world.ask(client, intent);
            match answer {
                Answer::Ack(address) => {
                    let until = world.now.plus_secs(world.lifetime);
                    for (other, (theirs, end)) in &beliefs {
                        prop_assert!(
                            *other == client.0 || *theirs != address || *end <= world.now,
                            "{address} has two machines"
                        );
                    }
                    beliefs.insert(client.0, (address, until));
                }
                Answer::Nak(_) => { beliefs.remove(&client.0); }
                Answer::Done => { beliefs.remove(&client.0); }
                Answer::Offer(_) | Answer::Silent(_) => {}
            }
            if let Answer::Ack(address) | Answer::Offer(address) = answer {
                let own = world.reserved.get(&client.0) == Some(&address);
                prop_assert!(own || (world.in_pools(address) && !world.is_taken(address)), "{address}");
            }
            for (id, (address, end)) in &beliefs {
                let lease = world.table.get(*address);
                prop_assert!(
                    *end <= world.now || lease.is_some_and(|l| l.belongs_to(&Client(*id).key()) && l.expires >= *end),
                    "the table forgot that {id} has {address}"
                );
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Discover(Option<u8>),
    Select(Option<u8>),
    ChooseAnother,
    Reboot(Option<u8>),
    Renew(Option<u8>),
    Release,
    Decline,
}

impl Act {
    /// `None` in a renewal and the like means the address that the client has.
    fn intent(self, mine: Option<Ipv4Addr>) -> Intent {
        let or_mine = |n: Option<u8>| n.map(at).or(mine).unwrap_or_else(|| at(11));
        match self {
            Self::Discover(n) => Intent::Offer {
                requested: n.map(at),
            },
            Self::Select(n) => Intent::Select {
                requested: n.map(at),
            },
            Self::ChooseAnother => Intent::ChoseAnother,
            Self::Reboot(n) => Intent::InitReboot {
                requested: or_mine(n),
            },
            Self::Renew(n) => Intent::Renew {
                address: or_mine(n),
            },
            Self::Release => Intent::Release {
                address: or_mine(None),
            },
            Self::Decline => Intent::Decline {
                address: or_mine(None),
            },
        }
    }
}

fn step() -> impl Strategy<Value = (Client, Act, u64)> {
    let n = || prop::option::of(8u8..18);
    let act = prop_oneof![
        3 => n().prop_map(Act::Discover),
        5 => n().prop_map(Act::Select),
        1 => Just(Act::ChooseAnother),
        2 => n().prop_map(Act::Reboot),
        3 => n().prop_map(Act::Renew),
        1 => Just(Act::Release),
        1 => Just(Act::Decline),
    ];
    let wait =
        prop_oneof![4 => 0u64..10, 2 => 30u64..90, 1 => 900u64..1100, 1 => Just(PROBATION_SECS)];
    ((1u8..10).prop_map(Client), act, wait)
}

const A: Client = Client(1);
const B: Client = Client(2);
const C: Client = Client(3);
const D: Client = Client(4);
const E: Client = Client(5);
