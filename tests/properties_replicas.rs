//! No two replicas ever give one address: histories of several replicas on
//! one network that lose the API server, each other, their disks and their
//! lives, while machines come and go.
//!
//! The election is taken at its word here (its own tests hold it to that): at
//! most one leads, and another only after the first knows that it does not.
//! `REVEILLE_CASES=100000 cargo test --release --test properties_replicas`
//! runs longer.

#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use proptest::prelude::*;
use reveille::api::Pool;
use reveille::boot::MacAddress;
use reveille::clock::Millis;
use reveille::lease::{
    AddressSet, AllocateRequest, Answer, Authority, Claims, Home, Intent, Lease, LeaseKey,
    LeaseState, LeaseTable, Record as _, Shares, adopt, allocate, make_way, probation, wants_probe,
};

const REPLICAS: u8 = 3;
const CLIENTS: u8 = 10;
const LIFETIME: u32 = 100;
const SUBNET: &str = "default/lab";

/// Something that happens.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Seconds pass.
    Wait(u64),
    /// A replica loses the API server, or finds it again.
    Cut(u8),
    Join(u8),
    /// A replica that is in touch takes over, where nobody leads.
    Take(u8),
    /// A replica that follows makes way.
    Follow(u8),
    /// The leader writes its bindings to the mirror.
    Mirror,
    /// A replica dies; it comes back with or without its disk.
    Kill(u8),
    Start(u8, bool),
    /// A machine asks for an address; the first of these to offer one has it.
    Discover(u8, [u8; 3]),
    /// A machine renews with its server, or with anyone that answers first.
    Renew(u8),
    Rebind(u8, [u8; 3]),
    /// A machine starts again and asks for what it had.
    Reboot(u8, [u8; 3]),
    Release(u8),
}

#[derive(Default)]
struct Replica {
    up: bool,
    joined: bool,
    leads: bool,
    table: LeaseTable,
    claims: Claims,
    fresh_since: Option<u64>,
    settled_at: Option<u64>,
    made_way_for: u32,
}

/// What a machine believes.
#[derive(Clone, Copy, Debug)]
struct Tenant {
    address: Ipv4Addr,
    until: u64,
    server: u8,
    /// Whether the lease was ever mirrored.
    mirrored: bool,
}

struct World {
    now: u64,
    term: u32,
    replicas: Vec<Replica>,
    mirror: BTreeMap<Ipv4Addr, Lease>,
    clients: BTreeMap<u8, Tenant>,
    pools: [Pool; 1],
    given: usize,
}

fn lifetime(_: &str) -> Option<u32> {
    Some(LIFETIME)
}

/// Machines that never answer a probe.
const fn sleeps(client: u8) -> bool {
    client < CLIENTS / 2
}

fn mac(client: u8) -> MacAddress {
    MacAddress::new([2, 0, 0, 0, 0, client])
}

impl World {
    fn new(size: u8) -> Self {
        let mut replicas: Vec<Replica> = (0..REPLICAS).map(|_| Replica::default()).collect();
        for replica in &mut replicas {
            (replica.up, replica.joined) = (true, true);
        }
        Self {
            now: 1_000_000,
            term: 0,
            replicas,
            mirror: BTreeMap::new(),
            clients: BTreeMap::new(),
            pools: [Pool {
                start: [10, 0, 0, 10].into(),
                end: [10, 0, 0, 9 + size].into(),
            }],
            given: 0,
        }
    }

    fn millis(&self) -> Millis {
        Millis::from_secs(self.now)
    }

    fn authority(&self, number: u8) -> Authority {
        let replica = &self.replicas[usize::from(number)];
        let shares = Shares {
            replicas: REPLICAS,
            ordinal: number,
        };
        let since = |at: u64| self.now - at;
        let fresh_secs = replica.fresh_since.map(since);
        if replica.leads {
            let settled = replica.settled_at.map(since);
            let settled_secs = settled.map(|secs| fresh_secs.map_or(secs, |fresh| fresh.min(secs)));
            Authority::Holder {
                shares,
                settled_secs,
            }
        } else if replica.joined {
            Authority::Standby { shares }
        } else {
            Authority::Isolated { shares, fresh_secs }
        }
    }

    /// A replica's answer, with what it changes carried out.
    fn ask(&mut self, number: u8, client: u8, intent: Intent) -> Answer {
        let key = LeaseKey::Mac(mac(client));
        let taken = AddressSet::new();
        let now = self.millis();
        let request = AllocateRequest {
            subnet: SUBNET,
            cidr: "10.0.0.0/24".parse().unwrap(),
            pools: &self.pools,
            reserved: None,
            taken: &taken,
            key: &key,
            mac: Some(mac(client)),
            client_id: None,
            hostname: None,
            lifetime_secs: LIFETIME,
            authoritative: true,
            authority: self.authority(number),
            intent,
        };
        let replica = &mut self.replicas[usize::from(number)];
        let (answer, mut changes) = allocate(now, &replica.table, &request);
        if let Answer::Offer(address) = answer
            && wants_probe(now, &replica.table, &request, address)
        {
            // Who has the address answers; a machine that sleeps does not, but
            // is safe all the same where the new holder was told of it.
            let told = replica.leads;
            let answers = |(other, tenant): (&u8, &Tenant)| {
                let sleeps = told && sleeps(*other) && tenant.mirrored;
                *other != client && !sleeps && tenant.address == address && tenant.until > self.now
            };
            if self.clients.iter().any(answers) {
                changes = vec![probation(now, &request, address)];
                replica.table.apply_all(&replica.claims.guard(changes));
                return Answer::Done;
            }
        }
        let changes = replica.claims.guard(changes);
        if replica.leads && replica.settled_at.is_none() {
            replica
                .claims
                .claim_strangers(now, &replica.table, &changes);
        }
        replica.table.apply_all(&changes);
        answer
    }

    fn acked(&mut self, client: u8, address: Ipv4Addr, server: u8) -> Result<(), TestCaseError> {
        let (now, term) = (self.now, self.term);
        for (other, tenant) in &self.clients {
            prop_assert!(
                *other == client || tenant.address != address || tenant.until <= now,
                "{address} is given to {client} by {server} ({:?}) at {now}, term {term}, while {other} has it: {tenant:?}",
                self.authority(server)
            );
        }
        let until = now + u64::from(LIFETIME);
        let before = self.clients.get(&client);
        let mirrored = before.is_some_and(|had| had.address == address && had.mirrored);
        self.given += 1;
        self.clients.insert(
            client,
            Tenant {
                address,
                until,
                server,
                mirrored,
            },
        );
        Ok(())
    }

    fn up(&self, order: [u8; 3]) -> Vec<u8> {
        let mut seen = BTreeSet::new();
        let known = order.into_iter().map(|n| n % REPLICAS);
        known
            .filter(|n| seen.insert(*n) && self.replicas[usize::from(*n)].up)
            .collect()
    }

    fn discover(&mut self, client: u8, order: [u8; 3]) -> Result<(), TestCaseError> {
        let mut offer = None;
        for number in self.up(order) {
            let intent = Intent::Offer { requested: None };
            if let Answer::Offer(address) = self.ask(number, client, intent) {
                offer = offer.or(Some((number, address)));
            }
        }
        let Some((chosen, address)) = offer else {
            return Ok(());
        };
        for number in self.up(order) {
            if number != chosen {
                self.ask(number, client, Intent::ChoseAnother);
            }
        }
        let requested = Some(address);
        match self.ask(chosen, client, Intent::Select { requested }) {
            Answer::Ack(address) => self.acked(client, address, chosen),
            Answer::Offer(_) | Answer::Nak(_) | Answer::Silent(_) | Answer::Done => Ok(()),
        }
    }

    /// A machine that speaks of an address that it had, to these.
    fn claim(
        &mut self,
        client: u8,
        to: Vec<u8>,
        intent: impl Fn(Ipv4Addr) -> Intent,
    ) -> Result<(), TestCaseError> {
        let Some(tenant) = self.clients.get(&client).copied() else {
            return Ok(());
        };
        let mut won = None;
        for number in to {
            match self.ask(number, client, intent(tenant.address)) {
                Answer::Ack(address) => won = won.or(Some((address, number))),
                Answer::Nak(_) if won.is_none() => {
                    self.clients.remove(&client);
                    return Ok(());
                }
                Answer::Offer(_) | Answer::Nak(_) | Answer::Silent(_) | Answer::Done => {}
            }
        }
        won.map_or(Ok(()), |(address, number)| {
            self.acked(client, address, number)
        })
    }

    fn happen(&mut self, event: Event) -> Result<(), TestCaseError> {
        match event {
            Event::Wait(secs) => {
                for _ in 0..secs / 5 + 1 {
                    self.now += 5;
                    self.sweep();
                }
            }
            Event::Cut(number) => {
                let replica = &mut self.replicas[usize::from(number)];
                (replica.joined, replica.leads) = (false, false);
            }
            Event::Join(number) => self.replicas[usize::from(number)].joined = true,
            Event::Take(number) => self.take(number),
            Event::Follow(number) => self.follow(number),
            Event::Mirror => self.mirror(),
            Event::Kill(number) => {
                let replica = &mut self.replicas[usize::from(number)];
                (replica.up, replica.joined, replica.leads) = (false, false, false);
                replica.claims.clear();
                replica.settled_at = None;
            }
            Event::Start(number, keeps) => {
                let now = self.now;
                let replica = &mut self.replicas[usize::from(number)];
                if !replica.up {
                    replica.up = true;
                    let kept = replica
                        .table
                        .iter()
                        .filter(|l| keeps && l.state.is_durable());
                    replica.table = kept.cloned().collect();
                    // One that stayed fresh for too short a time still is.
                    if !keeps {
                        replica.fresh_since = Some(now);
                    } else if let Some(since) = &mut replica.fresh_since {
                        *since = now;
                    }
                }
            }
            Event::Discover(client, order) => self.discover(client, order)?,
            Event::Renew(client) => {
                let tenant = self.clients.get(&client).filter(|t| t.until > self.now);
                if let Some(server) = tenant.map(|tenant| tenant.server) {
                    let to = self.up([server; 3]);
                    self.claim(client, to, |address| Intent::Renew { address })?;
                }
            }
            Event::Rebind(client, order) => {
                if self
                    .clients
                    .get(&client)
                    .is_some_and(|t| t.until > self.now)
                {
                    let to = self.up(order);
                    self.claim(client, to, |address| Intent::Renew { address })?;
                }
            }
            Event::Reboot(client, order) => {
                let to = self.up(order);
                self.claim(client, to, |requested| Intent::InitReboot { requested })?;
            }
            Event::Release(client) => {
                if let Some(tenant) = self.clients.remove(&client) {
                    for number in self.up([tenant.server; 3]) {
                        let address = tenant.address;
                        self.ask(number, client, Intent::Release { address });
                    }
                }
            }
        }
        Ok(())
    }

    fn sweep(&mut self) {
        let (now, term) = (self.millis(), self.term);
        let made_way = self
            .replicas
            .iter()
            .filter(|r| r.leads || r.made_way_for == term);
        let settled = made_way.count() == usize::from(REPLICAS);
        for replica in self.replicas.iter_mut().filter(|r| r.up) {
            if replica.leads && settled && replica.settled_at.is_none() {
                replica.settled_at = Some(self.now);
            }
            let ran_out = |at: u64| self.now >= at + u64::from(LIFETIME);
            if replica.settled_at.is_some_and(ran_out) {
                replica.claims.clear();
            }
            let prolonged = replica.claims.prolong(now, &replica.table, lifetime);
            replica.table.apply_all(&prolonged);
            let expired = replica.table.expire(now, 1000);
            replica.table.apply_all(&replica.claims.guard(expired));
        }
    }

    fn take(&mut self, number: u8) {
        let taken = self.replicas.iter().any(|replica| replica.leads);
        let now = self.millis();
        let replica = &mut self.replicas[usize::from(number)];
        if taken || !replica.up || !replica.joined {
            return;
        }
        self.term += 1;
        replica.leads = true;
        replica.settled_at = None;
        let home = |subnet: &str, cidr: &str| Home {
            subnet: subnet.to_owned(),
            cidr: cidr.parse().unwrap(),
            lifetime_secs: LIFETIME,
        };
        let homes = [
            home(SUBNET, "10.0.0.0/24"),
            home("evil/own", "192.0.2.0/24"),
        ];
        // Whoever may write leases in another namespace claims every address.
        let hostile = self.mirror.values().map(|lease| Lease {
            key: LeaseKey::Mac(mac(u8::MAX)),
            mac: Some(mac(u8::MAX)),
            subnet: "evil/own".into(),
            since: Millis(u64::MAX),
            ..lease.clone()
        });
        let mirrored = self.mirror.values().cloned().chain(hostile);
        let changes = adopt(now, &replica.table, mirrored, &homes);
        replica.table.apply_all(&changes);
        replica.claims.clear();
        replica.claims.claim(now, &replica.table);
    }

    fn follow(&mut self, number: u8) {
        let taken = self.replicas.iter().any(|replica| replica.leads);
        let term = self.term;
        let replica = &mut self.replicas[usize::from(number)];
        if !taken || replica.leads || !replica.up || !replica.joined {
            return;
        }
        let shares = Shares {
            replicas: REPLICAS,
            ordinal: number,
        };
        let keeps = |lease: &Lease| shares.is_own(&self.pools, lease.address);
        replica.table.apply_all(&make_way(&replica.table, keeps));
        replica.claims.clear();
        replica.settled_at = None;
        replica.made_way_for = term;
    }

    fn mirror(&mut self) {
        let now = self.millis();
        if let Some(leader) = self.replicas.iter().find(|replica| replica.leads) {
            let bound = leader.table.iter();
            self.mirror = bound
                .filter(|lease| lease.state_at(now) == LeaseState::Bound)
                .map(|lease| (lease.address, lease.clone()))
                .collect();
            for (client, tenant) in &mut self.clients {
                let lease = self.mirror.get(&tenant.address);
                tenant.mirrored |= lease.is_some_and(|l| l.mac == Some(mac(*client)));
            }
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let replica = 0..REPLICAS;
    let client = 0..CLIENTS;
    let order = || proptest::array::uniform3(0u8..6);
    prop_oneof![
        4 => (1u64..60).prop_map(Event::Wait),
        1 => (60u64..400).prop_map(Event::Wait),
        2 => replica.clone().prop_map(Event::Cut),
        3 => replica.clone().prop_map(Event::Join),
        4 => replica.clone().prop_map(Event::Take),
        3 => replica.clone().prop_map(Event::Follow),
        3 => Just(Event::Mirror),
        1 => replica.clone().prop_map(Event::Kill),
        2 => (replica, prop::bool::weighted(0.7)).prop_map(|(n, keeps)| Event::Start(n, keeps)),
        10 => (client.clone(), order()).prop_map(|(c, o)| Event::Discover(c, o)),
        4 => client.clone().prop_map(Event::Renew),
        3 => (client.clone(), order()).prop_map(|(c, o)| Event::Rebind(c, o)),
        3 => (client.clone(), order()).prop_map(|(c, o)| Event::Reboot(c, o)),
        2 => client.prop_map(Event::Release),
    ]
}

fn cases(usual: u32) -> ProptestConfig {
    let wanted = std::env::var("REVEILLE_CASES").ok();
    ProptestConfig {
        cases: wanted.map_or(usual, |cases| cases.parse().unwrap()),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn no_two_machines_ever_have_one_address(
        size in 8u8..40,
        events in prop::collection::vec(event(), 1..150),
    ) {
        let mut world = World::new(size);
        world.take(0);
        for event in events {
            world.happen(event)?;
        }
    }
}

/// The same histories would be lawful if nobody ever got anything.
#[test]
fn machines_get_addresses_in_calm_and_in_trouble() {
    let mut world = World::new(30);
    let all = [0, 1, 2];
    let mut play = |events: &[Event]| {
        let before = world.given;
        for event in events {
            world.happen(*event).unwrap();
        }
        world.given - before
    };
    use Event::{Cut, Discover, Follow, Join, Kill, Mirror, Rebind, Take, Wait};
    assert_eq!(
        play(&[Take(0), Discover(1, all), Mirror, Discover(2, all)]),
        2
    );
    // The second was never mirrored, and goes on with its lease all the same.
    let moved = [
        Kill(0),
        Take(1),
        Wait(1),
        Rebind(1, all),
        Rebind(2, all),
        Discover(3, all),
    ];
    assert_eq!(play(&moved), 3);
    // Everybody is cut off: what is known goes on, shares go out.
    let cut = [
        Cut(1),
        Cut(2),
        Rebind(1, all),
        Rebind(3, all),
        Discover(4, all),
    ];
    assert_eq!(play(&cut), 3);
    assert_eq!(
        play(&[
            Join(1),
            Join(2),
            Take(2),
            Follow(1),
            Wait(5),
            Discover(5, all)
        ]),
        1
    );
}

/// Each client of a crowd asks, so that a pool of 10 runs empty.
fn crowd(world: &mut World) {
    for client in 1..CLIENTS {
        for _ in 0..2 {
            let discover = Event::Discover(client, [1, 1, 1]);
            world.happen(discover).unwrap();
        }
    }
}

#[test]
fn a_lease_that_an_isolated_replica_goes_on_with_is_left_to_its_machine() {
    use Event::{Cut, Discover, Follow, Mirror, Renew, Take, Wait};
    let mut world = World::new(10);
    for event in [
        Take(0),
        Discover(0, [0, 0, 0]),
        Mirror,
        Cut(0),
        Take(1),
        Follow(2),
    ] {
        world.happen(event).unwrap();
    }
    // Three lifetimes long, and one step short of its end each time.
    for _ in 0..4 {
        world.happen(Wait(80)).unwrap();
        world.happen(Renew(0)).unwrap();
        crowd(&mut world);
    }
    assert_eq!(world.clients[&0].until, world.now + u64::from(LIFETIME));
}

#[test]
fn a_replica_that_made_way_does_not_return_to_what_it_knew() {
    use Event::{Cut, Discover, Follow, Join, Mirror, Renew, Take, Wait};
    let mut world = World::new(10);
    for event in [
        Take(0),
        Discover(0, [0, 0, 0]),
        Mirror,
        Cut(0),
        Take(1),
        Follow(2),
    ] {
        world.happen(event).unwrap();
    }
    let had = world.clients[&0].until;
    for event in [Join(0), Follow(0), Wait(20), Cut(0), Renew(0)] {
        world.happen(event).unwrap();
    }
    assert_eq!(world.clients[&0].until, had, "it renewed what is another's");
    // All have made way: after a lifetime the address is anybody's.
    let before = world.clients[&0].address;
    world.happen(Wait(250)).unwrap();
    crowd(&mut world);
    let after = world.clients.iter().find(|(client, _)| **client != 0);
    assert!(after.is_some());
    let lent = world.replicas[1].table.get(before);
    assert!(world.replicas[1].claims.is_empty(), "{lent:?}");
}
