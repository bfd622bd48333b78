//! What the engine does between requests: ends what is over, follows the
//! manifests, and hands the pools over. Shell.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::lookout::{Acting, Wire};
use super::replica::{Import, Standing};
use super::scout::tell_turn;
use super::server::{Engine, durable};
use crate::clock::{self, Millis};
use crate::lease::{
    self, Authority, Change, Home, Lease, LeaseState, Record, Shares, StoreError, Usage,
};
use crate::snapshot::{Acquaintances as _, Snapshot, SubnetEntry};
use crate::timeline::Introductions;

/// Sweeps from one prolonging of claimed leases to the next.
const PROLONG_EVERY: u64 = 10;
/// For how long the doors may ask whose an address was that another replica
/// holds now, in seconds: machines that were booting go on with their files.
const FADE_SECS: u64 = 600;
/// Records that one sweep ends at most.
const SWEEP_LIMIT: usize = 1000;

/// What one run of the engine keeps in mind.
#[derive(Default)]
pub(super) struct Run {
    /// The snapshot that was looked at last.
    generation: u64,
    /// The last one with all manifests in it: machines that were there and are
    /// no more are gone.
    whole: Option<Arc<Snapshot>>,
    /// Sweeps so far.
    sweeps: u64,
}

impl Engine {
    /// Takes leases over that another replica gave.
    pub(super) fn take_over(&mut self, import: Import) {
        // Who sent it tries again: without manifests nothing is known of Subnets.
        let Some(snapshot) = self.tools.snapshots.current() else {
            return;
        };
        let now = clock::now();
        let home = |subnet: &SubnetEntry| {
            Some(Home {
                subnet: subnet.key.clone(),
                cidr: subnet.spec.cidr?,
                lifetime_secs: subnet.spec.lifetimes.valid.secs(),
            })
        };
        let homes: Vec<Home> = snapshot.subnets.iter().filter_map(home).collect();
        let changes = lease::adopt(now, &self.table, import.leases, &homes);
        if import.first {
            self.replica.claims.clear();
        }
        let durable = durable(&changes);
        self.put(&changes);
        // A lone replica took its own leases over: no other goes on with them.
        let others = !self.replica.standing().authority.is_alone();
        if import.last && others {
            self.replica.claims.claim(now, &self.table);
        }
        let done = import.done;
        let tell = move |result: Result<(), StoreError>| {
            if result.is_ok() {
                // Who asked may have gone.
                let _ = done.send(());
            }
        };
        if let Err(error) = self.tools.committer.submit(durable, Box::new(tell)) {
            self.tools.story.count("any", error.as_str());
        }
    }

    /// Ends what is over, files leases under Subnets that were renamed, counts.
    pub(super) fn sweep(&mut self, run: &mut Run) {
        let now = clock::now();
        let mut changes = self.table.expire(now, SWEEP_LIMIT);
        let Some(snapshot) = self.tools.snapshots.current() else {
            return;
        };
        if snapshot.generation != run.generation {
            run.generation = snapshot.generation;
            let subnets = snapshot.subnets.iter().filter_map(|subnet| {
                let network = subnet.spec.cidr?.net();
                Some((subnet.key.clone(), network.into()))
            });
            changes.extend(self.table.rehome(&subnets.collect::<Vec<_>>()));
            changes.extend(self.release_gone(now, &snapshot, run));
            self.tools.story.metrics.forget_subnets();
        }
        let standing = self.replica.standing();
        self.replica.settle(now, standing.authority, &snapshot);
        self.fade(now);
        for address in self.neighbours.forget(now) {
            if self.table.get(address).is_none() {
                self.tools.index.remove(address);
            }
        }
        self.tools.story.metrics.show_claims(&self.replica.claims);
        let durable = durable(&self.apply(now, standing.authority, changes));
        if !durable.is_empty() {
            self.tools.commit(durable, None);
        }
        self.make_way(standing, &snapshot);
        run.sweeps += 1;
        if run.sweeps % PROLONG_EVERY == 1 {
            let lifetime = |subnet: &str| lifetime(&snapshot, subnet);
            let prolonged = self.replica.claims.prolong(now, &self.table, lifetime);
            self.put(&prolonged);
            if !prolonged.is_empty() {
                self.tools.commit(prolonged, None);
            }
        }
        let mut usages = BTreeMap::new();
        for subnet in &snapshot.subnets {
            self.count(&subnet.key);
            // Before a restart we lent here: nobody is kept waiting.
            if self.table.counts(&subnet.key).bound > 0
                && self.tools.story.lookouts.resume(&subnet.key)
            {
                tell_turn(&subnet.key, &subnet.spec, Wire::Alone);
            }
            let usage = self.usage(subnet);
            self.gauge(now, subnet, usage);
            usages.insert(subnet.key.clone(), usage);
        }
        self.tools.usages.set(usages);
        let is_served = |key: &str| snapshot.subnet(key).is_some();
        self.tools.story.heard.retain(is_served);
        self.tools.story.lookouts.retain(is_served);
    }

    /// Shows how full the pools of `subnet` are, and whom its machines chose.
    fn gauge(&self, now: Millis, subnet: &SubnetEntry, usage: Usage) {
        let story = &self.tools.story;
        // A proxy wants one to be there.
        let acting = story.lookouts.acting(&subnet.key, &subnet.spec);
        let servers = match acting {
            Acting::Proxy => 0,
            Acting::Server | Acting::Looking | Acting::Refused => {
                story.heard.servers(&subnet.key, now).len()
            }
        };
        for one in Acting::ALL {
            let role = story
                .metrics
                .role
                .with_label_values(&[&subnet.key, one.as_str()]);
            role.set(i64::from(one == acting));
        }
        for (gauge, value) in [
            (&story.metrics.pool, subnet.pool_addresses()),
            (&story.metrics.pool_used, usage.used.into()),
            (&story.metrics.pool_declined, usage.declined.into()),
            (&story.metrics.foreign, servers as u64),
        ] {
            let gauge = gauge.with_label_values(&[&subnet.key]);
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    /// The addresses of its pools that are taken. Those that are excluded, as
    /// reserved ones are, are none of its pools'.
    fn usage(&self, subnet: &SubnetEntry) -> Usage {
        let counts = self.table.counts(&subnet.key);
        let mut used = counts.bound + counts.offered;
        let mut declined = counts.declined;
        let records = subnet.excluded.iter();
        for lease in records.filter_map(|address| self.table.get(address)) {
            if *lease.subnet != *subnet.key {
                continue;
            }
            match lease.state {
                LeaseState::Bound | LeaseState::Offered => used = used.saturating_sub(1),
                LeaseState::Declined => declined = declined.saturating_sub(1),
                LeaseState::Released | LeaseState::Expired => {}
            }
        }
        Usage {
            used: u32::try_from(used).unwrap_or(u32::MAX),
            declined: u32::try_from(declined).unwrap_or(u32::MAX),
        }
    }

    /// Ends leases of machines whose object is gone, where the Subnet serves
    /// no machine without one. While manifests cannot be read none counts as gone.
    fn release_gone(&self, now: Millis, snapshot: &Arc<Snapshot>, run: &mut Run) -> Vec<Change> {
        if snapshot.incomplete {
            return Vec::new();
        }
        let Some(before) = run.whole.replace(Arc::clone(snapshot)) else {
            return Vec::new();
        };
        let told = &self.tools.told;
        lease::release_gone(now, &self.table, |lease| {
            is_gone((&before, snapshot), told, lease)
        })
    }

    /// Has the other doors forget what was forgotten here a while ago.
    fn fade(&mut self, now: Millis) {
        if let Some((_, changes)) = self.replica.fading.take_if(|(until, _)| *until <= now) {
            for change in &changes {
                if self.table.get(change.address()).is_none() {
                    self.tools.index.apply(change);
                }
            }
        }
    }

    /// Forgets what the replica that holds the pools now may give away, and
    /// says so once that is durable.
    fn make_way(&mut self, standing: Standing, snapshot: &Snapshot) {
        let Standing {
            authority: Authority::Standby { shares },
            make_way: Some(term),
        } = standing
        else {
            if let Some((_, changes)) = self.replica.forgotten.take() {
                let until = clock::now().plus_secs(FADE_SECS);
                self.replica.fading = Some((until, changes));
            }
            return;
        };
        if self
            .replica
            .forgotten
            .as_ref()
            .is_none_or(|(of, _)| *of != term)
        {
            let changes = lease::make_way(&self.table, |lease| stays(snapshot, shares, lease));
            if !changes.is_empty() {
                tracing::info!(
                    leases = changes.len(),
                    term,
                    "another replica holds the pools: what it may give away is forgotten"
                );
            }
            // The other doors may go on asking whose an address was, for a while.
            self.table.apply_all(&changes);
            self.replica.claims.clear();
            self.replica.forgotten = Some((term, changes));
        }
        let Some((_, changes)) = &self.replica.forgotten else {
            return;
        };
        let made_way = Arc::clone(&self.replica.made_way);
        let done = move |result: Result<(), StoreError>| {
            if result.is_ok() {
                made_way(term);
            }
        };
        // A full queue is tried again at the next sweep.
        let _ = self.tools.committer.submit(changes.clone(), Box::new(done));
    }
}

/// Whether an object named the machine of `lease` before and none does now, and
/// its Subnet serves no machine without one.
pub(super) fn is_gone<L: Record>(
    (before, now): (&Snapshot, &Snapshot),
    told: &Introductions,
    lease: &L,
) -> bool {
    let (subnet, Some(mac)) = (lease.subnet(), lease.mac()) else {
        return false;
    };
    let namespace = subnet.split_once('/').map_or("", |(first, _)| first);
    let knows = |snapshot: &Snapshot| snapshot.machine(namespace, mac).is_some();
    let serves = |subnet: &SubnetEntry| {
        let plan = now.plan(subnet, &told.identity(mac));
        subnet.ignores(&plan).is_none()
    };
    knows(before) && !knows(now) && !now.subnet(subnet).is_some_and(serves)
}

/// For how long addresses of `subnet` are lent, in seconds.
fn lifetime(snapshot: &Snapshot, subnet: &str) -> Option<u32> {
    let subnet = snapshot.subnet(subnet)?;
    Some(subnet.spec.lifetimes.valid.secs())
}

/// Whether a replica that makes way may keep `lease`: nobody else gives its
/// address away.
fn stays(snapshot: &Snapshot, shares: Shares, lease: &Lease) -> bool {
    let Some(subnet) = snapshot.subnet(&lease.subnet) else {
        return false;
    };
    let reserved = subnet.excluded.contains(lease.address);
    reserved
        || (shares.is_own(subnet.pools_at(lease.address), lease.address)
            && lease.state != LeaseState::Offered)
}
