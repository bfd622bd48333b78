//! From the facts to the rows. Core.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use serde::Serialize;

use super::{MachineRow, ProfileRow, SubnetRow, phase};
use crate::api::{AddressCounts, Interface};
use crate::boot::MacAddress;
use crate::clock::Millis;
use crate::lease::{Lease, Lease6, LeaseState, Record};
use crate::snapshot::{
    Identity, MachineEntry, ObjectName, ProfileEntry, Rule, Selection, Snapshot, SubnetEntry,
    Verdict,
};
use crate::timeline::Boot;

/// What the rows are made of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The time now.
    pub now: Millis,
    /// What is served.
    pub snapshot: &'a Snapshot,
    /// The boots that are known, the latest last.
    pub boots: &'a [&'a Boot],
    /// Every lease; `None` where nobody can say now.
    pub leases: Option<&'a [Arc<Lease>]>,
    /// The same of IPv6.
    pub leases6: Option<&'a [Arc<Lease6>]>,
}

/// The addresses that each machine has now.
struct Lent {
    v4: HashMap<MacAddress, IpAddr>,
    v6: HashMap<MacAddress, IpAddr>,
}

/// What a machine's object comes to.
struct Standing<'a> {
    profile: Option<&'a str>,
    rule: Rule,
    verdict: Option<Verdict>,
}

/// A row for each Machine, oldest first.
#[must_use]
pub fn machines(facts: &Facts<'_>) -> Vec<MachineRow> {
    let latest: HashMap<MacAddress, &Boot> =
        facts.boots.iter().map(|boot| (boot.mac, *boot)).collect();
    let lent = Lent {
        v4: lent_to(facts.leases, facts.now),
        v6: lent_to(facts.leases6, facts.now),
    };
    let entries = facts.snapshot.machines.iter();
    entries
        .map(|machine| machine_row(facts, machine, &latest, &lent))
        .collect()
}

fn machine_row(
    facts: &Facts<'_>,
    machine: &MachineEntry,
    latest: &HashMap<MacAddress, &Boot>,
    all: &Lent,
) -> MachineRow {
    let interfaces = &machine.spec().interfaces;
    let boot = interfaces
        .iter()
        .filter_map(|interface| latest.get(&interface.mac).copied())
        .max_by_key(|boot| boot.started);
    let lent = |addresses: &HashMap<MacAddress, IpAddr>| {
        let mut own = interfaces.iter();
        own.find_map(|interface| addresses.get(&interface.mac).copied())
    };
    let reserved = || interfaces.iter().find_map(|it| it.ip.map(IpAddr::V4));
    let reserved6 = || interfaces.iter().find_map(|it| it.ipv6.map(IpAddr::V6));
    let own = lent(&all.v4).or_else(reserved);
    let own = own.or_else(|| lent(&all.v6)).or_else(reserved6);
    let at = boot.and_then(|boot| boot.address).or(own);
    let standing = standing(facts.snapshot, machine, boot, at);
    MachineRow {
        namespace: machine.name.namespace.clone(),
        name: machine.name.name.clone(),
        profile: standing.profile.map(str::to_owned),
        rule: standing.rule.as_str().to_owned(),
        policy: word(&machine.spec().boot.policy),
        phase: phase(
            !machine.spec().approved,
            standing.verdict,
            boot.map(|boot| boot.result),
        ),
        local: match standing.verdict {
            Some(Verdict::Local(reason)) => Some(reason.as_str().to_owned()),
            Some(Verdict::Boot | Verdict::Tell) | None => None,
        },
        stage: boot
            .and_then(|boot| boot.stages.last())
            .map(|record| record.stage.as_str().to_owned()),
        // One whose lease belongs to no MAC address has what its latest boot got.
        ip: own.or(at),
        last_boot: boot.map(|boot| boot.started),
        created: machine.created().map(|created| created.0),
        macs: interfaces.iter().map(|interface| interface.mac).collect(),
        architecture: boot
            .and_then(|boot| boot.architecture)
            .map(|architecture| architecture.as_str().to_owned()),
        duration_ms: boot.map(Boot::duration_ms),
    }
}

/// What `machine` is to do: on the Subnet of the address `at`, or on the
/// oldest of its namespace.
fn standing<'a>(
    snapshot: &'a Snapshot,
    machine: &'a MachineEntry,
    boot: Option<&Boot>,
    at: Option<IpAddr>,
) -> Standing<'a> {
    let namespace = &machine.name.namespace;
    let ours = |subnet: &&SubnetEntry| subnet.name.namespace == *namespace;
    let subnet = at
        .and_then(|address| snapshot.subnet_of(address))
        .filter(ours)
        .or_else(|| snapshot.subnets.iter().find(ours));
    let interface = which(machine, boot);
    let plan = subnet
        .map(|subnet| {
            let spec = &machine.spec();
            let identity = Identity::of(spec, interface.map(|interface| interface.mac));
            snapshot.plan(subnet, &identity)
        })
        // A MAC address that two objects name belongs to the older.
        .filter(|plan| plan.machine_name() == Some(machine.name.name.as_str()));
    let Some(plan) = plan else {
        let (profile, rule) = own_profile(snapshot, machine);
        return Standing {
            profile,
            rule,
            verdict: None,
        };
    };
    Standing {
        profile: plan.profile.map(|profile| profile.name.name.as_str()),
        rule: plan.rule,
        verdict: Some(plan.verdict),
    }
}

/// The profile that `machine` has of its own, before any default.
fn own_profile<'a>(snapshot: &'a Snapshot, machine: &MachineEntry) -> (Option<&'a str>, Rule) {
    let (index, rule) = match machine.selection {
        Selection::Named(index) => (Some(index), Rule::ProfileRef),
        Selection::Missing => (None, Rule::ProfileRef),
        Selection::Selected(index) => (Some(index), Rule::Selector),
        Selection::Default | Selection::Refused => (None, Rule::None),
    };
    let profile = index.and_then(|index| snapshot.profiles.get(index));
    (profile.map(|profile| profile.name.name.as_str()), rule)
}

/// The interface that a machine boots by: the one it did, or the first it may.
fn which<'a>(machine: &'a MachineEntry, boot: Option<&Boot>) -> Option<&'a Interface> {
    let interfaces = &machine.spec().interfaces;
    let mac = boot.map(|boot| boot.mac);
    interfaces
        .iter()
        .find(|interface| Some(interface.mac) == mac)
        .or_else(|| interfaces.iter().find(|interface| interface.netboot))
        .or_else(|| interfaces.first())
}

/// The address that each machine has now.
fn lent_to<L: Record>(leases: Option<&[Arc<L>]>, now: Millis) -> HashMap<MacAddress, IpAddr> {
    let leases = leases.unwrap_or_default().iter();
    leases
        .filter(|lease| lease.state_at(now) == LeaseState::Bound)
        .filter_map(|lease| Some((lease.mac()?, lease.address().into())))
        .collect()
}

/// A row for each Subnet that is served, oldest first. `trouble` says why DHCP
/// is not served on a Subnet, where it is not.
#[must_use]
pub fn subnets(
    facts: &Facts<'_>,
    trouble: &dyn Fn(&SubnetEntry) -> Option<String>,
) -> Vec<SubnetRow> {
    let subnets = facts.snapshot.subnets.iter();
    subnets
        .map(|subnet| {
            let reason = trouble(subnet);
            let counts = facts
                .leases
                .map(|leases| addresses(subnet, leases, facts.now));
            SubnetRow {
                namespace: subnet.name.namespace.clone(),
                name: subnet.name.name.clone(),
                mode: word(&subnet.spec.mode),
                acting: None,
                cidr: subnet.spec.cidr.map(|cidr| cidr.to_string()),
                cidr6: subnet.spec.ipv6.as_ref().map(|it| it.cidr.to_string()),
                interface: subnet
                    .spec
                    .interface
                    .clone()
                    .unwrap_or_else(|| "relayed".to_owned()),
                free: counts.map(|counts| counts.free),
                used: counts.map(|counts| counts.used),
                free6: None,
                used6: None,
                ready: reason.is_none(),
                reason,
            }
        })
        .collect()
}

/// The addresses of the pools of `subnet` at `now`. What is neither free nor
/// lent nor declined is on offer.
#[must_use]
pub fn addresses(subnet: &SubnetEntry, leases: &[Arc<Lease>], now: Millis) -> AddressCounts {
    let pools = &subnet.spec.pools;
    let total = u32::try_from(subnet.pool_addresses()).unwrap_or(u32::MAX);
    let mut counts = AddressCounts {
        total,
        free: total,
        ..AddressCounts::default()
    };
    let lendable = |address: Ipv4Addr| {
        let mut pools = pools.iter();
        pools.any(|pool| (pool.start..=pool.end).contains(&address))
            && !subnet.excluded.contains(address)
    };
    let held = leases.iter().filter(|lease| {
        *lease.subnet == *subnet.key && !lease.is_free(now) && lendable(lease.address)
    });
    for lease in held {
        counts.free = counts.free.saturating_sub(1);
        match lease.state {
            LeaseState::Bound => counts.used += 1,
            LeaseState::Declined => counts.declined += 1,
            LeaseState::Offered | LeaseState::Released | LeaseState::Expired => {}
        }
    }
    counts
}

/// A row for each BootProfile, oldest first. `missing` says which of its files
/// are not there, `boots` how many of its boots were handed off.
#[must_use]
pub fn profiles(
    snapshot: &Snapshot,
    machines: &[MachineRow],
    missing: &dyn Fn(&ProfileEntry) -> Vec<String>,
    boots: &dyn Fn(&ObjectName) -> u64,
) -> Vec<ProfileRow> {
    let mut users: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for machine in machines {
        if let Some(profile) = &machine.profile {
            let key = (machine.namespace.as_str(), profile.as_str());
            *users.entry(key).or_default() += 1;
        }
    }
    let profiles = snapshot.profiles.iter();
    profiles
        .map(|profile| {
            let name = &profile.name;
            let missing = missing(profile);
            let key = (name.namespace.as_str(), name.name.as_str());
            ProfileRow {
                namespace: name.namespace.clone(),
                name: name.name.clone(),
                source: profile.spec.source().as_str().to_owned(),
                default: profile.spec.default,
                machines: users.get(&key).copied().unwrap_or_default(),
                boots: boots(name),
                ready: missing.is_empty() && profile.pending.is_empty(),
                reason: if missing.is_empty() {
                    (!profile.pending.is_empty()).then(|| profile.pending.join("; "))
                } else {
                    Some(format!("{} not in the artifact tree", missing.join(", ")))
                },
            }
        })
        .collect()
}

/// The word that a value is written as in manifests and JSON.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(_) | Err(_) => String::new(),
    }
}

#[cfg(test)]
#[path = "fold_tests.rs"]
pub(super) mod tests;
