//! Discovery beside a folder: what DHCP saw goes into the roster. Shell.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::roster::Roster;
use crate::clock;
use crate::discover::{Discovery, DiscoveryMetrics, Found, Seen, Sighting, Who};
use crate::snapshot::Reader;

/// How often machines are made and cleaned up.
const TICK: Duration = Duration::from_secs(1);
/// Machines that are noted or let go of at once.
const BATCH: usize = 1000;

/// Discovery beside a folder.
#[derive(Debug)]
pub struct Discoverer {
    /// What DHCP saw.
    pub heard: mpsc::Receiver<Sighting>,
    /// What it comes to.
    pub discovery: Discovery,
    /// Where machines are kept.
    pub roster: Roster,
    /// Who is known.
    pub snapshots: Reader,
    /// What is counted.
    pub metrics: DiscoveryMetrics,
    /// Whether the disk took it the last time.
    pub disk_fails: bool,
}

// === impl Discoverer ===

impl Discoverer {
    /// Discovers until `token` is cancelled.
    ///
    /// # Errors
    /// None of its own; the supervisor wants the type.
    pub async fn run(this: Arc<Mutex<Self>>, token: CancellationToken) -> anyhow::Result<()> {
        let mut this = this.lock().await;
        let this = &mut *this;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                Some(sighting) = this.heard.recv() => {
                    if let Seen::Dropped(why) = this.discovery.see(sighting) {
                        this.metrics.dropped(why.as_str());
                    }
                }
                _ = tick.tick() => tokio::task::block_in_place(|| this.work()),
            }
        }
    }

    /// Makes, notes and cleans up. Blocks.
    fn work(&mut self) {
        let now = clock::now();
        self.discovery.sync(now, self.roster.standing());
        let snapshot = self.snapshots.current();
        let is_known = |who: &Who| {
            let snapshot = snapshot.as_ref();
            self.roster.has(who)
                || snapshot.is_none_or(|it| it.machine(&who.namespace, who.mac).is_some())
        };
        let found = self.discovery.due(now, is_known);
        for found in &found {
            self.metrics.discovered.inc();
            tell(found);
        }
        let expired = self.discovery.expired(now, BATCH);
        for who in &expired {
            self.discovery.forget(who);
            self.metrics.expired.inc();
            tracing::info!(mac = %who.mac, "discovered machine forgotten: nobody approved it and it is gone");
        }
        let mut changed = self.discovery.to_note(BATCH);
        changed.extend(found);
        self.roster.update(&changed, &expired);
        self.save();
        let (candidates, waiting) = self.discovery.counts();
        let count = |number| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.candidates.set(count(candidates));
        self.metrics.waiting.set(count(waiting));
    }

    fn save(&mut self) {
        match self.roster.save() {
            Ok(()) => self.disk_fails = false,
            Err(error) => {
                self.metrics.failed("save");
                if !std::mem::replace(&mut self.disk_fails, true) {
                    tracing::error!(%error, "discovered machines cannot be kept; after a restart they are discovered anew");
                }
            }
        }
    }
}

fn tell(found: &Found) {
    let Found {
        who, subnet, facts, ..
    } = found;
    tracing::info!(
        mac = %who.mac,
        namespace = who.namespace,
        subnet,
        firmware = facts.firmware,
        vendor_class = facts.vendor_class,
        uuid = facts.uuid,
        "machine discovered; `reveille approve {}` lets it boot",
        who.mac
    );
}
