//! What discovery promises, whoever asks and however often.
//!
//! More cases: `REVEILLE_CASES=100000 cargo test --release --test properties_discover`.

#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV6};
use std::path::Path;

use proptest::prelude::*;
use reveille::boot::MacAddress;
use reveille::clock::Millis;
use reveille::dhcp::decide::{Arrival, decide};
use reveille::dhcp::request::Request;
use reveille::dhcp::v6;
use reveille::discover::{
    Discovery, Dropped, Facts, Found, Limits, MAX_CANDIDATES, MAX_OF_SUBNET, Overlooked, Seen,
    Sighting, Standing, Who,
};
use reveille::lease::{LeaseTable, LeaseTable6};
use reveille::snapshot::{Settings, Snapshot, compile};
use reveille::standalone::read_text;

const START: Millis = Millis(1_800_000_000_000);
const LIMITS: Limits = Limits {
    waiting: 5,
    per_second: 2,
    burst: 4,
    ttl_millis: 60_000,
};

fn cases() -> u32 {
    let cases = std::env::var("REVEILLE_CASES").ok();
    cases.and_then(|text| text.parse().ok()).unwrap_or(200)
}

fn who(namespace: u8, mac: u8) -> Who {
    Who {
        namespace: format!("ns-{namespace}"),
        mac: MacAddress::new([0x52, 0x54, 0, 0, 0, mac]),
    }
}

/// What happens to discovery, and around it.
#[derive(Clone, Debug)]
enum Act {
    Ask {
        namespace: u8,
        mac: u8,
        subnet: u8,
    },
    Pass(u64),
    /// Makes what is due; the objects are seen among the others at once.
    Make,
    /// A person approves one.
    Approve(usize),
    /// A person changes one.
    Touch(usize),
    Clean,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0..2_u8, 0..12_u8, 0..2_u8)
            .prop_map(|(namespace, mac, subnet)| Act::Ask { namespace, mac, subnet }),
        4 => (1..20_000_u64).prop_map(Act::Pass),
        4 => Just(Act::Make),
        1 => (0..12_usize).prop_map(Act::Approve),
        1 => (0..12_usize).prop_map(Act::Touch),
        2 => Just(Act::Clean),
    ]
}

/// Discovery, and the objects of a cluster as its shell sees and changes them.
struct World {
    discovery: Discovery,
    now: Millis,
    made: u64,
    asked: BTreeMap<Who, Vec<Millis>>,
    waiting: BTreeMap<Who, Standing>,
    approved: BTreeSet<Who>,
    touched: BTreeSet<Who>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            discovery: Discovery::new(LIMITS, seed),
            now: START,
            made: 0,
            asked: BTreeMap::new(),
            waiting: BTreeMap::new(),
            approved: BTreeSet::new(),
            touched: BTreeSet::new(),
        }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Pass(millis) => self.now = self.now.plus_millis(millis),
            Act::Ask {
                namespace,
                mac,
                subnet,
            } => self.ask(who(namespace, mac), format!("subnet-{subnet}")),
            Act::Make => self.make(),
            Act::Approve(index) => {
                if let Some(who) = self.waiting.keys().nth(index).cloned() {
                    self.waiting.remove(&who);
                    self.approved.insert(who);
                }
                self.sync();
            }
            Act::Touch(index) => {
                if let Some((who, standing)) = self.waiting.iter_mut().nth(index) {
                    standing.untouched = false;
                    self.touched.insert(who.clone());
                }
            }
            Act::Clean => self.clean(),
        }
    }

    fn sync(&mut self) {
        let standing = self.waiting.values().cloned();
        self.discovery.sync(self.now, standing);
    }

    fn ask(&mut self, who: Who, subnet: String) {
        // Who is approved is answered, and no sighting.
        if self.approved.contains(&who) {
            return;
        }
        let waits = self.waiting.contains_key(&who);
        self.asked.entry(who.clone()).or_default().push(self.now);
        let seen = self.discovery.see(Sighting {
            who,
            subnet,
            at: self.now,
            facts: Facts::default(),
            waits,
        });
        assert!(!waits || seen == Seen::Again, "{seen:?}");
    }

    fn make(&mut self) {
        let (waiting, approved) = (&self.waiting, &self.approved);
        let is_known = |who: &Who| waiting.contains_key(who) || approved.contains(who);
        for found in self.discovery.due(self.now, is_known) {
            let times = &self.asked[&found.who];
            let first = times.first().copied().unwrap();
            assert!(times.iter().any(|at| at.since(first) >= 250));
            assert!(!self.waiting.contains_key(&found.who));
            assert!(!self.approved.contains(&found.who));
            self.made += 1;
            let standing = Standing {
                found: found.clone(),
                untouched: true,
            };
            self.waiting.insert(found.who, standing);
        }
        self.sync();
    }

    fn clean(&mut self) {
        self.sync();
        for who in self.discovery.expired(self.now, 100) {
            assert!(self.waiting.contains_key(&who));
            assert!(!self.touched.contains(&who));
            let last = self.asked[&who].last().copied().unwrap();
            assert!(self.now.since(last) >= LIMITS.ttl_millis);
            self.waiting.remove(&who);
            self.discovery.forget(&who);
        }
    }

    fn keeps_to_its_limits(&self) {
        for namespace in 0..2 {
            let namespace = format!("ns-{namespace}");
            let all = self.waiting.keys();
            let waiting = all.filter(|who| who.namespace == namespace).count();
            assert!(waiting <= LIMITS.waiting);
        }
        let seconds = self.now.since(START) / 1000 + 1;
        let allowed = u64::from(LIMITS.burst) + seconds * u64::from(LIMITS.per_second);
        assert!(self.made <= allowed, "{} made", self.made);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// Machines are made of those who asked twice and whom no object names; no
    /// more than may wait, no faster than the rate; who was approved or touched
    /// is never deleted; who asked within the time to live is not either.
    #[test]
    fn keeps_its_promises(acts in prop::collection::vec(act(), 1..400), seed: u64) {
        let mut world = World::new(seed);
        for act in &acts {
            world.act(act);
            world.keeps_to_its_limits();
        }
    }

    /// The same sightings make the same Machines, in the same order.
    #[test]
    fn is_the_same_each_time(asks in prop::collection::vec((0..30_u8, 0..3000_u64), 1..200)) {
        let run = || -> Vec<Found> {
            let mut discovery = Discovery::new(LIMITS, 7);
            let (mut now, mut all) = (START, Vec::new());
            for (mac, millis) in &asks {
                now = now.plus_millis(*millis);
                discovery.see(Sighting {
                    who: who(0, *mac),
                    subnet: "lab".to_owned(),
                    at: now,
                    facts: Facts::default(),
                    waits: false,
                });
                all.extend(discovery.due(now, |_| false));
            }
            all
        };
        prop_assert_eq!(run(), run());
    }
}

/// Random MAC addresses, once each or repeated: as much is kept as may be, and
/// Machines come at their rate.
#[test]
fn bears_a_flood() {
    flood(1, 1, 100_000);
    flood(2, 2, 20_000);
    flood(3, 3, 20_000);
}

fn flood(seed: u64, repeats: u64, number: u64) {
    let limits = Limits {
        waiting: 200,
        burst: 20,
        ..LIMITS
    };
    let mut discovery = Discovery::new(limits, seed);
    let mut made = 0;
    let mut dropped = BTreeSet::new();
    let mut state = seed | 1;
    for index in 0..number {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let [a, b, c, d, e, ..] = state.to_be_bytes();
        let who = Who {
            namespace: "edge".to_owned(),
            mac: MacAddress::new([0x02, a, b, c, d, e]),
        };
        let at = START.plus_millis(index / 10);
        for repeat in 0..repeats {
            let seen = discovery.see(Sighting {
                who: who.clone(),
                subnet: format!("subnet-{}", a % 8),
                at: at.plus_millis(repeat * 300),
                facts: Facts::default(),
                waits: false,
            });
            if let Seen::Dropped(why) = seen {
                dropped.insert(why);
            }
        }
        if index % 100 == 0 {
            made += discovery.due(at, |_| false).len();
        }
        let (candidates, waiting) = discovery.counts();
        assert!(candidates <= MAX_CANDIDATES && waiting <= 200);
    }
    let seconds = usize::try_from(number / 10_000).unwrap();
    assert!(made <= 20 + 2 * (seconds + 1), "{made} made");
    if repeats == 1 {
        assert_eq!(made, 0);
        assert!(dropped.is_empty());
    } else {
        assert!(dropped.contains(&Dropped::Full) || dropped.contains(&Dropped::SubnetFull));
        assert!(discovery.counts().0 >= MAX_OF_SUBNET);
    }
}

/// Two Subnets of which one discovers, a machine that waits, one that does not.
const WORLD: &str = r#"
{apiVersion: reveille.dev/v1alpha1, kind: Subnet, metadata: {name: lab}, spec: {mode: Server, cidr: 192.0.2.0/24, interface: eth0,
  pools: [{start: 192.0.2.20, end: 192.0.2.30}], unknownMachines: Discover,
  ipv6: {cidr: "2001:db8:33::/64", pools: [{start: "2001:db8:33::100", end: "2001:db8:33::1ff"}]}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Subnet, metadata: {name: shut}, spec: {mode: Server, cidr: 10.1.0.0/24, interface: eth1, unknownMachines: Ignore}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: a}, spec: {interfaces: [{mac: "52:54:00:00:00:01"}]}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: b}, spec: {interfaces: [{mac: "52:54:00:00:00:02"}], approved: false}}
"#;

const PXE: &[u8] = b"PXEClient:Arch:00007:UNDI:003016";

fn world() -> Snapshot {
    let loaded = read_text(Path::new("world.yaml"), WORLD);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    let settings = Settings::default();
    compile(1, &loaded.inputs, &settings).snapshot
}

/// What becomes of a packet of `kind` with these options.
fn sighted(
    snapshot: &Snapshot,
    subnet: &str,
    mac: [u8; 6],
    kind: u8,
    options: &[(u8, &[u8])],
) -> Option<Result<Sighting, Overlooked>> {
    let mut packet = vec![1, 1, 6, 0];
    packet.extend([0; 24]);
    packet.extend(mac);
    packet.extend([0; 202]);
    packet.extend([99, 130, 83, 99, 53, 1, kind]);
    for (code, data) in options {
        packet.extend([*code, u8::try_from(data.len()).unwrap()]);
        packet.extend(*data);
    }
    packet.push(255);
    let request = Request::parse(&packet).unwrap();
    let arrival = Arrival {
        told: &(),
        authority: reveille::lease::Authority::default(),
        now: START,
        subnet,
        server: Ipv4Addr::new(192, 0, 2, 1),
        boot_port: None,
        wire: reveille::dhcp::lookout::Wire::Alone,
        unicast: false,
        from: std::net::SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
        loader_sent: false,
    };
    let decision = decide(snapshot, &LeaseTable::new(), arrival, &request);
    Sighting::of(START, snapshot, &request, &decision)
}

/// What becomes of a DHCPv6 packet of `kind` with these options, sent from `from`.
fn sighted6(
    snapshot: &Snapshot,
    from: &str,
    kind: u8,
    options: &[(u16, &[u8])],
) -> Option<Result<Sighting, Overlooked>> {
    let mut packet = vec![kind, 1, 2, 3];
    for (code, data) in options {
        packet.extend(code.to_be_bytes());
        packet.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        packet.extend(*data);
    }
    let from = from.parse().unwrap();
    let request = v6::request::Request::parse(&packet, from).unwrap();
    let arrival = v6::decide::Arrival {
        now: START,
        subnet: "default/lab",
        server: "2001:db8:33::1".parse().unwrap(),
        duid: &[0, 4, 1],
        from: SocketAddrV6::new(from, 546, 0, 0),
        unicast: false,
        loader_sent: &|_| false,
        told: &(),
        authority: reveille::lease::Authority::default(),
    };
    let decision = v6::decide::decide(snapshot, &LeaseTable6::new(), arrival, &request);
    Sighting::of6(START, snapshot, &request, &decision)
}

#[test]
fn firmware_that_asks_over_ipv6_alone_is_sighted() {
    let snapshot = world();
    let stranger = MacAddress::new([0x52, 0x54, 0, 0, 0, 9]);
    let duid: Vec<u8> = [0, 4].into_iter().chain(1..17).collect();
    let class = [&[0, 0, 1, 87, 0, 9][..], b"PXEClient"].concat();
    let (own, drawn) = ("fe80::5054:ff:fe00:9", "fe80::1:2:3:4");
    let association: &[u8] = &[0; 12];
    let pxe = |kind, from, duid: &[u8]| {
        let mut options = vec![(1, duid), (16, class.as_slice()), (61, &[0, 7])];
        if kind != 11 {
            options.push((3, association));
        }
        sighted6(&snapshot, from, kind, &options)
    };
    let seen = pxe(1, own, &duid).unwrap().unwrap();
    assert_eq!((seen.who.mac, seen.subnet.as_str()), (stranger, "lab"));
    let facts = serde_json::to_value(seen.facts).unwrap();
    let expected = serde_json::json!({
        "firmware": "x64 UEFI", "vendorClass": "PXEClient",
        "uuid": "04030201-0605-0807-090a-0b0c0d0e0f10",
    });
    assert_eq!(facts, expected);
    // Settings alone are asked for with an address from elsewhere; the DUID says who.
    let by_duid = [&[0, 3, 0, 1][..], &stranger.bytes()].concat();
    assert_eq!(pxe(11, drawn, &by_duid).unwrap().unwrap().who.mac, stranger);
    // It says no more than a UUID, by which no Machine is made.
    assert_eq!(pxe(1, drawn, &duid), Some(Err(Overlooked::NoMac)));
    // A phone, iPXE, and one that has an object.
    let plain = [(1, by_duid.as_slice()), (3, association)];
    let plain = sighted6(&snapshot, own, 1, &plain);
    assert_eq!(plain, Some(Err(Overlooked::PlainClient)));
    let ipxe = [(1, by_duid.as_slice()), (3, association), (15, b"iPXE")];
    let seen = sighted6(&snapshot, own, 1, &ipxe).unwrap().unwrap();
    let facts = serde_json::to_value(seen.facts).unwrap();
    assert_eq!(facts, serde_json::json!({"userClass": "iPXE"}));
    assert_eq!(pxe(1, "fe80::5054:ff:fe00:1", &duid), None);
}

#[test]
fn firmware_that_is_not_answered_is_sighted() {
    let snapshot = world();
    let stranger = [0x52, 0x54, 0, 0, 0, 9];
    let uuid: Vec<u8> = (0..17).collect();
    let options = [
        (60, PXE),
        (93, &[0, 7]),
        (97, uuid.as_slice()),
        (12, b"node"),
    ];
    let seen = sighted(&snapshot, "default/lab", stranger, 1, &options);
    let seen = seen.unwrap().unwrap();
    assert_eq!(seen.who.namespace, "default");
    assert_eq!(seen.who.mac, MacAddress::new(stranger));
    assert_eq!((seen.subnet.as_str(), seen.waits), ("lab", false));
    let facts = serde_json::to_value(seen.facts).unwrap();
    let expected = serde_json::json!({
        "firmware": "x64 UEFI", "vendorClass": "PXEClient:Arch:00007:UNDI:003016",
        "uuid": "04030201-0605-0807-090a-0b0c0d0e0f10", "hostname": "node",
    });
    assert_eq!(facts, expected);
    // iPXE, UEFI HTTP boot, and a REQUEST count as much.
    for (kind, options) in [
        (1, (77, &b"iPXE"[..])),
        (1, (60, b"HTTPClient")),
        (3, (60, PXE)),
    ] {
        let seen = sighted(&snapshot, "default/lab", stranger, kind, &[options]);
        assert!(seen.unwrap().is_ok(), "{options:?}");
    }
    let waits = sighted(
        &snapshot,
        "default/lab",
        [0x52, 0x54, 0, 0, 0, 2],
        1,
        &options,
    );
    assert!(waits.unwrap().unwrap().waits);
}

#[test]
fn what_does_not_count_says_why() {
    let mut snapshot = world();
    let stranger = [0x52, 0x54, 0, 0, 0, 9];
    let pxe = [(60, PXE)];
    let plain = sighted(&snapshot, "default/lab", stranger, 1, &[]);
    assert_eq!(plain, Some(Err(Overlooked::PlainClient)));
    let inform = sighted(&snapshot, "default/lab", stranger, 8, &pxe);
    assert_eq!(inform, Some(Err(Overlooked::NoBoot)));
    // A group's address, and one of InfiniBand: known by a client id, if at all.
    let id = [(60, PXE), (61, b"somebody")];
    let group = sighted(&snapshot, "default/lab", [0x53, 0, 0, 0, 0, 9], 1, &id);
    assert_eq!(group, Some(Err(Overlooked::NoMac)));
    // Answered, or on a Subnet that does not discover: no matter of discovery.
    let known = sighted(&snapshot, "default/lab", [0x52, 0x54, 0, 0, 0, 1], 1, &pxe);
    assert_eq!(known, None);
    assert_eq!(sighted(&snapshot, "default/shut", stranger, 1, &pxe), None);
    assert_eq!(sighted(&snapshot, "default/gone", stranger, 1, &pxe), None);
    snapshot.incomplete = true;
    let incomplete = sighted(&snapshot, "default/lab", stranger, 1, &pxe);
    assert_eq!(incomplete, Some(Err(Overlooked::ManifestsIncomplete)));
}
