//! The program is killed in the middle of its work; no machine notices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Result, anyhow, ensure};
use dhcproto::v4::MessageType;

use super::site::{Site, until};
use crate::ns;
use crate::support::card::Card;
use crate::support::dhcp::{Lease, Machine, Reply};

/// How often it is killed.
const ROUNDS: usize = 4;

/// Machines of our own, which remember what they were given.
const MACHINES: u16 = 12;

/// ACKs that are seen before each kill, so that it comes in mid-load.
const LOAD: usize = 150;

/// Who was told to have which address, by every ACK that passed the bridge.
type Acks = BTreeMap<Ipv4Addr, BTreeSet<String>>;

/// Hears all ACKs, in a thread of its own.
struct Witness {
    seen: Arc<Mutex<(Acks, usize)>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

/// Leases that were acknowledged outlive the process, and no address has two machines.
pub(super) fn leases_survive_kill(site: &mut Site) -> Result<Vec<String>> {
    let witness = Witness::begin()?;
    let mut server = site.serve()?;
    let mut card = Card::plug("own", ns::BRIDGE)?;
    let machines: Vec<Machine> = (1..=MACHINES).map(Machine::number).collect();
    let leases = machines
        .iter()
        .map(|machine| machine.lease(&mut card))
        .collect::<Result<Vec<Lease>>>()?;

    ns::host("load", "02:00:00:00:ff:01")?;
    ns::run("ip -n load address add 192.0.2.250/24 dev load")?;
    let mut load = perfdhcp(site)?;
    for _ in 0..ROUNDS {
        let before = witness.count();
        until("acks under load", || {
            ensure!(!witness.thread.is_finished(), "the witness is gone");
            ensure!(
                load.try_wait()?.is_none(),
                "perfdhcp ended; see perfdhcp.log"
            );
            Ok((witness.count() >= before + LOAD).then_some(()))
        })?;
        server.kill()?;
        server = site.serve()?;
        still_there(&mut card, &machines, &leases)?;
    }
    load.kill()?;
    load.wait()?;
    let (acks, count) = witness.end()?;
    server.stop()?;
    agree(site, &acks)?;
    Ok(vec![format!(
        "killed {ROUNDS} times under perfdhcp's load: {count} acks for {} addresses, none twice",
        acks.len()
    )])
}

/// Checks that the lease database, as the command line shows it, holds all of `acks`, and nobody else
/// at these addresses.
pub(super) fn agree(site: &Site, acks: &Acks) -> Result<()> {
    let shown = site.leases()?;
    let export = site.reveille(&["leases", "export"])?;
    let lines = String::from_utf8(export.stdout)?;
    let exported: Vec<serde_json::Value> = lines
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    ensure!(shown == exported, "`leases` and `leases export` differ");
    let owners: BTreeMap<&str, &str> = shown
        .iter()
        .filter_map(|lease| Some((lease["address"].as_str()?, lease["mac"].as_str()?)))
        .collect();
    for (address, machines) in acks {
        let told: Vec<&String> = machines.iter().collect();
        let [told] = told[..] else {
            return Err(anyhow!("{address} was given to {machines:?}"));
        };
        let kept = owners.get(address.to_string().as_str());
        ensure!(
            kept == Some(&told.as_str()),
            "{told} was told to have {address}; the database says {kept:?}"
        );
    }
    Ok(())
}

/// Each machine renews what it has, and would be offered the same.
fn still_there(card: &mut Card, machines: &[Machine], leases: &[Lease]) -> Result<()> {
    for (machine, lease) in machines.iter().zip(leases) {
        machine.renew(card, *lease)?.acks(lease.address)?;
        let offered = machine.discover(card)?.address;
        ensure!(
            offered == lease.address,
            "{} had {}, is offered {offered}",
            machine.mac,
            lease.address
        );
        machine.reboot(card, lease.address)?.acks(lease.address)?;
    }
    Ok(())
}

/// A hundred relayed clients that lease and lease again, until it is killed.
fn perfdhcp(site: &Site) -> Result<Child> {
    let log = std::fs::File::create(site.folder.join("perfdhcp.log"))?;
    let mut command = ns::on("load", "perfdhcp");
    command.args([
        "-4",
        "-l",
        "load",
        "-r",
        "200",
        "-R",
        "100",
        "-p",
        "300",
        "192.0.2.1",
    ]);
    command.stdout(log.try_clone()?).stderr(log);
    Ok(command.stdin(Stdio::null()).spawn()?)
}

// === impl Witness ===

impl Witness {
    fn begin() -> Result<Self> {
        let mut card = Card::listen(ns::BRIDGE)?;
        let seen = Arc::new(Mutex::new((Acks::new(), 0)));
        let stop = Arc::new(AtomicBool::new(false));
        let (notes, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            loop {
                let last = stopped.load(Ordering::Relaxed);
                let frame = card.receive()?;
                if frame.is_none() && last {
                    return Ok(());
                }
                let reply = frame.and_then(Reply::read);
                if let Some(ack) = reply.filter(|reply| reply.kind == MessageType::Ack) {
                    let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
                    let mac = ack.mac().to_string();
                    notes.0.entry(ack.address).or_default().insert(mac);
                    notes.1 += 1;
                }
            }
        });
        Ok(Self { seen, stop, thread })
    }

    fn count(&self) -> usize {
        self.notes().1
    }

    fn end(self) -> Result<(Acks, usize)> {
        self.stop.store(true, Ordering::Relaxed);
        let seen = Arc::clone(&self.seen);
        self.thread
            .join()
            .map_err(|_| anyhow!("the witness panicked"))??;
        let notes = seen.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(notes.clone())
    }

    fn notes(&self) -> MutexGuard<'_, (Acks, usize)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
