use proptest::prelude::*;

use super::*;
use crate::lease::Shares;

const NOW: Millis = Millis::from_secs(1_760_000_000);

fn at(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
}

fn key(n: u8) -> LeaseKey {
    LeaseKey::Mac(MacAddress::new([2, 0, 0, 0, 0, n]))
}

struct World {
    pools: Vec<Pool6>,
    taken: BTreeSet<Ipv6Addr>,
    table: LeaseTable6,
    now: Millis,
    authority: Authority,
}

impl World {
    fn new(first: u16, last: u16) -> Self {
        Self {
            pools: vec![Pool6 {
                start: at(first),
                end: at(last),
            }],
            taken: BTreeSet::new(),
            table: LeaseTable6::new(),
            now: NOW,
            authority: Authority::Sole,
        }
    }

    fn ask(&mut self, who: u8, reserved: Option<Ipv6Addr>, intent: Intent6) -> Answer6 {
        let key = key(who);
        let request = AllocateRequest6 {
            subnet: "default/lab",
            cidr: "2001:db8::/64".parse().unwrap(),
            pools: &self.pools,
            reserved,
            taken: &self.taken,
            server: at(1),
            key: &key,
            mac: None,
            duid: &[0, 3, 0, 1, who],
            iaid: 1,
            lifetime_secs: 100,
            authoritative: true,
            authority: self.authority,
            intent,
        };
        let (answer, changes) = allocate6(self.now, &self.table, &request);
        self.table.apply_all(&changes);
        answer
    }
}

#[test]
fn a_machine_gets_the_same_address_again_even_when_nothing_is_known_of_it() {
    let mut world = World::new(0x100, 0xffff);
    let first = world.ask(1, None, Intent6::Bind(None));
    assert!(matches!(first, Answer6::Give(_)));
    assert_eq!(world.ask(1, None, Intent6::Bind(Some(at(0x200)))), first);
    world.table = LeaseTable6::new();
    assert_eq!(world.ask(1, None, Intent6::Offer(None)), first);
}

#[test]
fn a_reserved_address_is_its_machines_alone() {
    let mut world = World::new(0x100, 0x101);
    world.taken.insert(at(0x100));
    assert_eq!(
        world.ask(1, None, Intent6::Bind(Some(at(0x100)))),
        Answer6::Give(at(0x101))
    );
    assert_eq!(
        world.ask(2, None, Intent6::Bind(None)),
        Answer6::Nothing(SilentReason::PoolExhausted)
    );
    let own = Some(at(0x100));
    assert_eq!(
        world.ask(3, own, Intent6::Bind(None)),
        Answer6::Give(at(0x100))
    );
    // One that was lent before it was reserved for another moves at its renewal.
    let mut world = World::new(0x100, 0x101);
    let Answer6::Give(had) = world.ask(1, None, Intent6::Bind(None)) else {
        panic!("nothing is lent");
    };
    world.taken.insert(had);
    let moved = world.ask(1, None, Intent6::Extend(had));
    assert!(matches!(moved, Answer6::Give(other) if other != had));
}

#[test]
fn what_is_given_back_or_declined_is_only_ones_own() {
    let mut world = World::new(0x100, 0x100);
    let address = at(0x100);
    world.ask(1, None, Intent6::Bind(None));
    let no = Answer6::NoBinding(NoBinding::NotItsLease);
    assert_eq!(world.ask(2, None, Intent6::Release(address)), no);
    assert_eq!(world.ask(2, None, Intent6::Decline(address)), no);
    assert_eq!(world.ask(1, None, Intent6::Release(address)), Answer6::Done);
    assert_eq!(
        world.ask(2, None, Intent6::Bind(None)),
        Answer6::Give(address)
    );
    assert_eq!(world.ask(2, None, Intent6::Decline(address)), Answer6::Done);
    let exhausted = Answer6::Nothing(SilentReason::PoolExhausted);
    assert_eq!(world.ask(1, None, Intent6::Bind(None)), exhausted);
    world.now = NOW.plus_secs(PROBATION_SECS);
    assert_eq!(
        world.ask(1, None, Intent6::Bind(None)),
        Answer6::Give(address)
    );
}

#[test]
fn an_unknown_lease_is_renewed_where_its_address_is_free() {
    let mut world = World::new(0x100, 0x1ff);
    assert_eq!(
        world.ask(1, None, Intent6::Extend(at(0x123))),
        Answer6::Give(at(0x123))
    );
    assert_eq!(
        world.ask(2, None, Intent6::Extend(at(0x123))),
        Answer6::NoBinding(NoBinding::NotItsLease)
    );
    assert_eq!(
        world.ask(2, None, Intent6::Extend(at(0x200))),
        Answer6::NoBinding(NoBinding::NotItsLease)
    );
}

#[test]
fn strangers_do_not_fill_the_memory() {
    let mut world = World::new(0x100, 0xffff);
    for n in 0..MAX_OFFERS + 100 {
        let key = LeaseKey::ClientId(n.to_be_bytes().into());
        let request = AllocateRequest6 {
            subnet: "default/lab",
            cidr: "2001:db8::/64".parse().unwrap(),
            pools: &world.pools,
            reserved: None,
            taken: &world.taken,
            server: at(1),
            key: &key,
            mac: None,
            duid: &[1],
            iaid: 1,
            lifetime_secs: 100,
            authoritative: true,
            authority: Authority::Sole,
            intent: Intent6::Offer(None),
        };
        let (answer, changes) = allocate6(NOW, &world.table, &request);
        assert!(matches!(answer, Answer6::Give(_)));
        world.table.apply_all(&changes);
    }
    assert_eq!(world.table.len(), MAX_OFFERS);
}

proptest! {
    /// Whatever is asked in whatever order: no address is lent to two at once,
    /// none but of the pool or reserved, and none twice by two replicas.
    #[test]
    fn no_two_machines_have_one_address(
        steps in prop::collection::vec((0u8..2, 0u8..6, 0u8..5, 0x0fe_u16..0x10a, 0u64..90), 0..200),
    ) {
        let mut worlds = [0, 1].map(|ordinal| {
            let mut world = World::new(0x100, 0x107);
            world.authority = Authority::Standby { shares: Shares { replicas: 2, ordinal } };
            world.taken.insert(at(0x102));
            world
        });
        let mut now = NOW;
        for (replica, who, what, address, later) in steps {
            now = now.plus_secs(later);
            let address = at(address);
            let intent = match what {
                0 => Intent6::Offer(Some(address)),
                1 => Intent6::Bind(Some(address)),
                2 => Intent6::Extend(address),
                3 => Intent6::Release(address),
                _ => Intent6::Decline(address),
            };
            let reserved = (who == 0).then(|| at(0x102));
            let world = &mut worlds[usize::from(replica)];
            world.now = now;
            let answer = world.ask(who, reserved, intent);
            if let Answer6::Give(given) = answer {
                prop_assert!(reserved == Some(given) || given != at(0x102));
                prop_assert!((at(0x100)..=at(0x107)).contains(&given));
                let lease = world.table.get(given);
                prop_assert!(lease.is_some_and(|lease| lease.belongs_to(&key(who))));
            }
            let mut lent = BTreeSet::new();
            for lease in worlds.iter().flat_map(|world| world.table.iter()) {
                if lease.state_at(now) == LeaseState::Bound && lease.address != at(0x102) {
                    prop_assert!(lent.insert(lease.address), "{} is lent twice", lease.address);
                }
            }
        }
    }
}

#[test]
fn a_renamed_subnet_keeps_its_leases() {
    let mut world = World::new(0x100, 0x1ff);
    world.ask(1, None, Intent6::Bind(None));
    let network = "2001:db8::/64".parse().unwrap();
    let renamed = [("default/hall".to_owned(), network)];
    let changes = world.table.rehome(&renamed);
    world.table.apply_all(&changes);
    assert_eq!(world.table.counts("default/hall").bound, 1);
    assert_eq!(world.table.rehome(&renamed), vec![]);
    // In another namespace it is another's.
    assert_eq!(
        world.table.rehome(&[("b/hall".to_owned(), network)]),
        vec![]
    );
}
