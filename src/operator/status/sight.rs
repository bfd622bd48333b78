//! A compiled world, ordered so that the status of one object is found quickly.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::api::{Interface, Kind, ObjectRef, Problem};
use crate::boot::MacAddress;
use crate::snapshot::{
    Identity, LocalReason, MachineEntry, ObjectName, ProfileEntry, Rule, Selection, Snapshot,
    SubnetEntry, Verdict,
};

/// Mistakes in which two objects want the same and the older one wins.
const CONFLICTS: [&str; 10] = [
    "DuplicateMac",
    "DuplicateIp",
    "DuplicateUuid",
    "DuplicateSerial",
    "DuplicateAssetTag",
    "InterfaceTaken",
    "RelayTaken",
    "SubnetsOverlap",
    "TwoDefaults",
    "SelectorTie",
];

/// What is served, and what is wrong with it.
#[derive(Debug)]
pub struct Sight {
    /// What is served.
    pub snapshot: Arc<Snapshot>,
    report: Arc<Vec<Problem>>,
    findings: HashMap<ObjectRef, Vec<(usize, Side)>>,
    machines: HashMap<ObjectName, usize>,
    users: BTreeMap<ObjectName, u32>,
}

/// What an object has to do with a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It has the mistake.
    Own,
    /// Another object wants the same, and this one, being older, has it.
    Wins,
    /// Another object is preferred to it.
    Loses,
}

/// A mistake, seen from one object.
#[derive(Clone, Copy, Debug)]
pub struct Finding<'a> {
    /// The mistake.
    pub problem: &'a Problem,
    /// What the object has to do with it.
    pub side: Side,
}

/// What the rules come to for a machine.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// The Subnet that it is on, or would be.
    pub subnet: Option<&'a SubnetEntry>,
    /// The profile that the rules chose.
    pub profile: Option<&'a ProfileEntry>,
    /// The rule that did.
    pub rule: Rule,
    /// What it is to do; `None` where no Subnet of its namespace is served.
    pub verdict: Option<Verdict>,
}

// === impl Sight ===

impl Sight {
    /// Orders a world.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>, report: Arc<Vec<Problem>>) -> Self {
        let machines = snapshot.machines.iter().enumerate();
        let mut sight = Self {
            findings: findings(&report),
            machines: machines
                .rev()
                .map(|(index, machine)| (machine.name.clone(), index))
                .collect(),
            users: BTreeMap::new(),
            report,
            snapshot,
        };
        let mut users = BTreeMap::new();
        for machine in &sight.snapshot.machines {
            let at = reserved(machine).map(IpAddr::V4);
            if let Some(profile) = sight.standing(machine, None, at).profile {
                *users.entry(profile.name.clone()).or_default() += 1;
            }
        }
        sight.users = users;
        sight
    }

    /// What is wrong with `object`, its own mistakes first.
    pub fn findings(&self, object: &ObjectRef) -> impl Iterator<Item = Finding<'_>> {
        let found = self.findings.get(object).into_iter().flatten();
        found.filter_map(|(index, side)| {
            let problem = self.report.get(*index)?;
            Some(Finding {
                problem,
                side: *side,
            })
        })
    }

    /// The mistakes that keep `object` from being served as it is written.
    pub fn errors(&self, object: &ObjectRef) -> impl Iterator<Item = &Problem> {
        self.findings(object)
            .filter(|finding| finding.side == Side::Own && finding.problem.is_error())
            .map(|finding| finding.problem)
    }

    /// The machine of this name.
    #[must_use]
    pub fn machine(&self, name: &ObjectName) -> Option<&MachineEntry> {
        self.snapshot.machines.get(*self.machines.get(name)?)
    }

    /// How many machines boot the profile.
    #[must_use]
    pub fn users(&self, profile: &ObjectName) -> u32 {
        self.users.get(profile).copied().unwrap_or_default()
    }

    /// What `machine` is to do: over the interface `mac`, or else its first, on
    /// the Subnet of the address `at`, or else the oldest of its namespace.
    #[must_use]
    pub fn standing<'a>(
        &'a self,
        machine: &'a MachineEntry,
        mac: Option<MacAddress>,
        at: Option<IpAddr>,
    ) -> Standing<'a> {
        let namespace = &machine.name.namespace;
        let ours = |subnet: &&SubnetEntry| subnet.name.namespace == *namespace;
        let subnet = at
            .and_then(|address| self.snapshot.subnet_of(address))
            .filter(ours)
            .or_else(|| self.snapshot.subnets.iter().find(ours));
        let mac = which(machine, mac).map(|interface| interface.mac);
        let plan = subnet
            .map(|subnet| {
                let spec = &machine.spec();
                let identity = Identity::of(spec, mac);
                self.snapshot.plan(subnet, &identity)
            })
            // A MAC address that two objects name belongs to the older.
            .filter(|plan| plan.machine_name() == Some(machine.name.name.as_str()));
        match plan {
            Some(plan) => Standing {
                subnet,
                profile: plan.profile,
                rule: plan.rule,
                verdict: Some(plan.verdict),
            },
            None => self.own_profile(machine),
        }
    }

    /// The profile that `machine` has of its own, before any default.
    fn own_profile(&self, machine: &MachineEntry) -> Standing<'_> {
        let (index, rule) = match machine.selection {
            Selection::Named(index) => (Some(index), Rule::ProfileRef),
            Selection::Missing => (None, Rule::ProfileRef),
            Selection::Selected(index) => (Some(index), Rule::Selector),
            Selection::Default | Selection::Refused => (None, Rule::None),
        };
        Standing {
            subnet: None,
            profile: index.and_then(|index| self.snapshot.profiles.get(index)),
            rule,
            // It is known by its MAC addresses only.
            verdict: (machine.selection == Selection::Refused)
                .then_some(Verdict::Local(LocalReason::MachineRefused)),
        }
    }
}

/// The interface that a machine boots by: the one it did, or the first it may.
fn which(machine: &MachineEntry, mac: Option<MacAddress>) -> Option<&Interface> {
    let interfaces = &machine.spec().interfaces;
    let by = |wanted: &dyn Fn(&Interface) -> bool| interfaces.iter().find(|it| wanted(it));
    by(&|it| Some(it.mac) == mac)
        .or_else(|| by(&|it| it.netboot))
        .or_else(|| interfaces.first())
}

/// The first address that is reserved for `machine`.
#[must_use]
pub(super) fn reserved(machine: &MachineEntry) -> Option<Ipv4Addr> {
    let mut interfaces = machine.spec().interfaces.iter();
    interfaces.find_map(|interface| interface.ip)
}

fn findings(report: &[Problem]) -> HashMap<ObjectRef, Vec<(usize, Side)>> {
    let mut found: HashMap<ObjectRef, Vec<(usize, Side)>> = HashMap::new();
    for (index, problem) in report.iter().enumerate() {
        let own = &problem.place.object;
        found
            .entry(own.clone())
            .or_default()
            .push((index, Side::Own));
        if !is_conflict(problem) {
            continue;
        }
        for (position, (place, _)) in problem.related.iter().enumerate() {
            // The first that is named is the oldest.
            let side = if position == 0 {
                Side::Wins
            } else {
                Side::Loses
            };
            if place.object != *own {
                let others = found.entry(place.object.clone()).or_default();
                others.push((index, side));
            }
        }
    }
    for all in found.values_mut() {
        all.sort_by_key(|(_, side)| *side != Side::Own);
    }
    found
}

/// Whether two objects want the same.
#[must_use]
pub(super) fn is_conflict(problem: &Problem) -> bool {
    let mut others = problem.related.iter();
    CONFLICTS.contains(&problem.reason)
        && others.any(|(place, _)| place.object != problem.place.object)
}

// === impl Finding ===

impl Finding<'_> {
    /// Whether it makes a Conflict of the object that it is seen from. Of a tie
    /// of selectors, the machine is only the place where it shows.
    #[must_use]
    pub fn is_conflict(&self, object: &ObjectRef) -> bool {
        let shows_elsewhere = self.problem.reason == "SelectorTie" && object.kind == Kind::Machine;
        is_conflict(self.problem) && !shows_elsewhere
    }

    /// In words, with the cure.
    #[must_use]
    pub fn message(&self) -> String {
        match self.side {
            Side::Own => own_words(self.problem),
            Side::Wins => format!("{}; this one is older and wins", self.problem),
            Side::Loses => self.problem.to_string(),
        }
    }
}

/// A mistake in the object's own words: field, what, cure.
#[must_use]
pub(super) fn own_words(problem: &Problem) -> String {
    let mut words = problem.place.field();
    if !words.is_empty() {
        words.push_str(": ");
    }
    words.push_str(&problem.what);
    if !problem.cure.is_empty() {
        words.push_str("; ");
        words.push_str(&problem.cure);
    }
    words
}

/// Several mistakes in one message.
#[must_use]
pub(super) fn all_words(problems: &[&Problem]) -> String {
    let words: Vec<String> = problems.iter().map(|problem| own_words(problem)).collect();
    words.join(". ")
}
