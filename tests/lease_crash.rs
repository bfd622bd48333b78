//! A lease that was acknowledged survives the death of the process.
//!
//! The test starts itself again as a child, which lends addresses from several
//! threads and prints each one after its commit; kills it at some moment; and
//! looks at what is on the disk. It proves the order of commit and answer, and
//! that the file opens after any death of the process. What a power cut does
//! below the file system is the database's promise (a flush for each commit).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests are tests, too"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use std::{env, thread};

use reveille::api::{Cidr, Pool};
use reveille::boot::MacAddress;
use reveille::clock;
use reveille::lease::{
    AddressSet, AllocateRequest, Answer, Authority, Change, FILE, Intent, Lease, LeaseKey,
    LeaseMetrics, LeaseState, LeaseStore, LeaseTable, allocate,
};
use reveille::telemetry::Meter;

const ROUNDS: u32 = 20;
const THREADS: u32 = 4;
const CHILD: &str = "REVEILLE_TEST_LEASE_CHILD";

#[test]
fn acknowledged_leases_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let mut promised: BTreeMap<Ipv4Addr, String> = BTreeMap::new();
    for round in 0..ROUNDS {
        // Spread over the start, the first commits and the steady state.
        let lived = Duration::from_millis(u64::from(3 + round * 37 % 120));
        let acks = run_and_kill(&path, round, lived);
        for (address, key) in acks {
            let before = promised.insert(address, key.clone());
            assert!(
                before.is_none_or(|had| had == key),
                "{address} was lent twice"
            );
        }
        let (leases, trouble) = open(&path);
        assert_eq!(trouble, None, "round {round}");
        let on_disk: BTreeMap<Ipv4Addr, &Lease> = leases.iter().map(|l| (l.address, l)).collect();
        assert_eq!(on_disk.len(), leases.len(), "an address is there twice");
        for (address, key) in &promised {
            let lease = on_disk.get(address).copied();
            assert_eq!(
                lease.map(|l| l.key.to_string()).as_ref(),
                Some(key),
                "round {round}"
            );
            assert_eq!(lease.map(|l| l.state), Some(LeaseState::Bound));
        }
    }
    println!(
        "{} leases were acknowledged in {ROUNDS} lives",
        promised.len()
    );
    assert!(promised.len() > 100, "the child hardly ran");
}

/// The child's life: not a test of its own.
#[test]
fn child() {
    let Ok(argument) = env::var(CHILD) else {
        return;
    };
    let (round, path) = argument.split_once(' ').unwrap();
    let round: u32 = round.parse().unwrap();
    let metrics = LeaseMetrics::register(&Meter::default()).unwrap();
    let (store, leases, _) = LeaseStore::open(Path::new(path), metrics).unwrap();
    let table: LeaseTable = leases.into_iter().collect();
    let keeper = Arc::new(Mutex::new((table, store.committer())));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let keeper = Arc::clone(&keeper);
            thread::spawn(move || {
                for n in 0..1000 {
                    lend(&keeper, round << 16 | thread << 12 | n);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

type Keeper = Mutex<(LeaseTable, reveille::lease::Committer)>;

/// DISCOVER and REQUEST of one machine; the ACK is the line printed.
fn lend(keeper: &Keeper, machine: u32) {
    let [a, b, c, d] = machine.to_be_bytes();
    let key = LeaseKey::Mac(MacAddress::new([0x52, 0x54, a, b, c, d]));
    let Answer::Offer(address) = ask(keeper, &key, Intent::Offer { requested: None }, |_| {})
    else {
        panic!("the pool is not that small");
    };
    let (sender, receiver) = mpsc::sync_channel(1);
    let select = Intent::Select {
        requested: Some(address),
    };
    let answer = ask(keeper, &key, select, move |durable| {
        sender.send(durable).unwrap()
    });
    assert_eq!(answer, Answer::Ack(address));
    if receiver.recv().unwrap() {
        let line = format!("ack {address} {key}\n");
        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    }
}

/// One request as the service handles it: decide, apply, submit in one go.
fn ask(
    keeper: &Keeper,
    key: &LeaseKey,
    intent: Intent,
    done: impl FnOnce(bool) + Send + 'static,
) -> Answer {
    let mut keeper = keeper.lock().unwrap();
    let (table, committer) = &mut *keeper;
    let (cidr, taken) = (network(), AddressSet::new());
    let pools = [Pool {
        start: [10, 33, 0, 1].into(),
        end: [10, 33, 255, 254].into(),
    }];
    let request = AllocateRequest {
        subnet: "default/lab",
        cidr,
        pools: &pools,
        reserved: None,
        taken: &taken,
        key,
        mac: None,
        client_id: None,
        hostname: Some("node"),
        lifetime_secs: 40_000,
        authoritative: true,
        authority: Authority::Sole,
        intent,
    };
    let (answer, changes) = allocate(clock::now(), table, &request);
    table.apply_all(&changes);
    let durable: Vec<Change> = changes.into_iter().filter(Change::is_durable).collect();
    committer
        .submit(durable, Box::new(|result| done(result.is_ok())))
        .unwrap();
    answer
}

/// The acknowledgements that a child printed before it was killed.
fn run_and_kill(path: &Path, round: u32, lived: Duration) -> Vec<(Ipv4Addr, String)> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, format!("{round} {}", path.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let reader = thread::spawn(move || {
        let lines = output.split(b'\n').map_while(Result::ok);
        lines.filter_map(|line| parse(&line)).collect::<Vec<_>>()
    });
    thread::sleep(lived);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

/// `ack ADDRESS KEY`, whole; the test harness prints other lines, too.
fn parse(line: &[u8]) -> Option<(Ipv4Addr, String)> {
    let text = std::str::from_utf8(line).ok()?;
    let (_, ack) = text.rsplit_once("ack ")?;
    let (address, key) = ack.split_once(' ')?;
    (key.len() == 17).then_some((address.parse().ok()?, key.to_owned()))
}

fn open(path: &Path) -> (Vec<Lease>, Option<reveille::lease::OpenTrouble>) {
    let metrics = LeaseMetrics::register(&Meter::default()).unwrap();
    let (store, leases, trouble) = LeaseStore::open(path, metrics).unwrap();
    store.close();
    let leases = leases.iter().map(|lease| Lease::clone(lease)).collect();
    (leases, trouble)
}

fn network() -> Cidr {
    "10.33.0.0/16".parse().unwrap()
}
