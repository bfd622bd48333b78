//! Leases: what the core decides a second in a nearly full /16, and what the
//! disk keeps a second with so many clients in flight.
//!
//! `cargo bench --bench leases [-- FOLDER]`; the folder is where the database
//! goes, so that a disk of interest can be measured.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark ends at the first mistake and prints what it measured"
)]

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use reveille::api::Pool;
use reveille::boot::MacAddress;
use reveille::clock::{self, Millis};
use reveille::lease::{
    AddressSet, AllocateRequest, Answer, Authority, Change, FILE, Intent, LeaseKey, LeaseMetrics,
    LeaseStore, LeaseTable, allocate,
};
use reveille::telemetry::Meter;

const FULL: u32 = 60_000;
const LIFETIME: u32 = 4000;

fn main() {
    let folder = std::env::args().nth(1).filter(|arg| !arg.starts_with("--"));
    core();
    for clients in [1, 16, 256] {
        disk(folder.as_deref().map(Path::new), clients);
    }
}

fn core() {
    let pools = [Pool {
        start: [10, 33, 0, 1].into(),
        end: [10, 33, 255, 254].into(),
    }];
    let none = AddressSet::new();
    // Every 13th address reserved: holes all over the pool, about 5,000.
    let holes: AddressSet = (0..65_534u32).step_by(13).map(|n| at(1 + n)).collect();
    let now = clock::now();
    let mut table = LeaseTable::new();
    let lent = rate("lend 60,000 addresses (DISCOVER and REQUEST)", FULL, |n| {
        lend(&mut table, now, &pools, &none, n);
    });
    assert!(lent > 0.0 && table.len() == 60_000);
    rate("renew in a table of 60,000", FULL, |n| {
        let key = key(n);
        let has = table
            .of_key("default/lab", &key)
            .next()
            .map(|lease| lease.address);
        let intent = Intent::Renew {
            address: has.unwrap(),
        };
        assert!(matches!(
            ask(&mut table, now, &pools, &none, &key, intent),
            Answer::Ack(_)
        ));
    });
    rate("lend the last 5,534 of the pool", 5534, |n| {
        lend(&mut table, now, &pools, &none, FULL + n);
    });
    rate("refuse when the pool is exhausted", FULL, |n| {
        let any = Intent::Offer { requested: None };
        let answer = ask(&mut table, now, &pools, &none, &key(100_000 + n), any);
        assert!(matches!(answer, Answer::Silent(_)));
    });
    let later = now.plus_secs(u64::from(LIFETIME) + 1);
    rate("lend expired addresses to others", FULL, |n| {
        lend(&mut table, later, &pools, &none, 200_000 + n);
    });
    let mut table = LeaseTable::new();
    rate("lend 60,000 between 5,000 reserved ones", FULL, |n| {
        lend(&mut table, now, &pools, &holes, n);
    });
    rate("refuse between 5,000 reserved ones", 2000, |n| {
        let any = Intent::Offer { requested: None };
        ask(&mut table, now, &pools, &holes, &key(100_000 + n), any);
    });
}

/// `clients` in flight: each submits its next lease when its last is durable.
fn disk(folder: Option<&Path>, clients: u32) {
    let folder = match folder {
        Some(folder) => tempfile::tempdir_in(folder),
        None => tempfile::tempdir(),
    }
    .unwrap();
    let metrics = LeaseMetrics::register(&Meter::default()).unwrap();
    let path = folder.path().join(FILE);
    let (store, ..) = LeaseStore::open(&path, metrics.clone()).unwrap();
    let committer = store.committer();
    let (sender, receiver) = mpsc::channel();
    let submit = |n: u32| {
        let sender = sender.clone();
        let change = Change::put(lease(n % 65_000));
        let done = Box::new(move |result: Result<(), _>| {
            // Nobody counts any more when the time is over.
            let _ = sender.send(result.is_ok());
        });
        committer.submit(vec![change], done).unwrap();
    };
    let begun = instant();
    (0..clients).for_each(submit);
    let mut kept = 0;
    while begun.elapsed() < Duration::from_secs(3) {
        assert!(receiver.recv().unwrap());
        kept += 1;
        submit(clients + kept);
    }
    let secs = begun.elapsed().as_secs_f64();
    let commits = metrics.commits.get();
    println!(
        "{clients:>4} clients in flight: {:>9.0} leases/s, {:>6.0} commits/s, {:.1} leases a commit",
        f64::from(kept) / secs,
        commits as f64 / secs,
        f64::from(kept) / commits as f64,
    );
}

fn rate(what: &str, times: u32, mut each: impl FnMut(u32)) -> f64 {
    let begun = instant();
    (0..times).for_each(&mut each);
    let secs = begun.elapsed().as_secs_f64();
    let rate = f64::from(times) / secs;
    println!("{what:<46} {rate:>10.0} /s");
    rate
}

fn lend(table: &mut LeaseTable, now: Millis, pools: &[Pool], taken: &AddressSet, n: u32) {
    let key = key(n);
    let any = Intent::Offer { requested: None };
    if let Answer::Offer(address) = ask(table, now, pools, taken, &key, any) {
        let select = Intent::Select {
            requested: Some(address),
        };
        assert_eq!(
            ask(table, now, pools, taken, &key, select),
            Answer::Ack(address)
        );
    }
}

fn ask(
    table: &mut LeaseTable,
    now: Millis,
    pools: &[Pool],
    taken: &AddressSet,
    key: &LeaseKey,
    intent: Intent,
) -> Answer {
    let request = AllocateRequest {
        subnet: "default/lab",
        cidr: "10.33.0.0/16".parse().unwrap(),
        pools,
        reserved: None,
        taken,
        key,
        mac: None,
        client_id: None,
        hostname: None,
        lifetime_secs: LIFETIME,
        authoritative: true,
        authority: Authority::Sole,
        intent,
    };
    let (answer, changes) = allocate(now, table, &request);
    table.apply_all(&changes);
    answer
}

fn lease(n: u32) -> reveille::lease::Lease {
    let now = clock::now();
    reveille::lease::Lease {
        address: at(n),
        key: key(n),
        mac: None,
        client_id: None,
        subnet: "default/lab".into(),
        hostname: Some(format!("node-{n}").into()),
        state: reveille::lease::LeaseState::Bound,
        since: now,
        expires: now.plus_secs(LIFETIME.into()),
    }
}

fn at(n: u32) -> Ipv4Addr {
    (u32::from(Ipv4Addr::new(10, 33, 0, 0)) + n).into()
}

fn key(n: u32) -> LeaseKey {
    let [a, b, c, d] = n.to_be_bytes();
    LeaseKey::Mac(MacAddress::new([0x52, 0x54, a, b, c, d]))
}

fn instant() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    Instant::now()
}
