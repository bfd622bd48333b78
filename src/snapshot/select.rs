//! Which profile a machine gets: the best match of the selectors.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::names::namespace_of;
use super::{Inputs, ProfileEntry};
use crate::api::{
    BootProfile, BootProfileSpec, Kind, MAC_LABEL, Machine, ObjectRef, Operator, Problem, Selector,
    SelectorRequirement,
};
use crate::boot::MacAddress;

/// The labels of a machine, as selectors see them: those of its object, and
/// [`MAC_LABEL`] whether or not it was written there yet.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    written: Option<&'a BTreeMap<String, String>>,
    mac: Option<MacAddress>,
}

/// A profile with a selector, and how well it matches.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The profile.
    pub profile: &'a ProfileEntry,
    /// Requirements and priority; `None` where it does not match.
    pub rank: Option<(usize, i32)>,
}

// === impl Labels ===

impl<'a> Labels<'a> {
    /// Those of `machine`.
    #[must_use]
    pub fn of(machine: &'a Machine) -> Self {
        Self {
            written: machine.metadata.labels.as_ref(),
            mac: machine.spec.interfaces.first().map(|first| first.mac),
        }
    }

    /// The value of the label `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        match (name, self.mac) {
            (MAC_LABEL, Some(mac)) => Some(mac.hyphenated().into()),
            _ => self.written?.get(name).map(|value| value.as_str().into()),
        }
    }
}

/// The profiles of `namespace` that have a selector, held against `labels`.
pub(super) fn candidates<'a>(
    profiles: &'a [ProfileEntry],
    namespace: &str,
    labels: Labels<'_>,
) -> Vec<Candidate<'a>> {
    profiles
        .iter()
        .filter(|profile| profile.name.namespace == namespace)
        .filter(|profile| profile.spec.machine_selector.is_some())
        .map(|profile| Candidate {
            profile,
            rank: rank(&profile.spec, labels),
        })
        .collect()
}

/// The profile of `namespace` whose selector matches `labels` best: most
/// requirements, then highest priority, then oldest (`profiles` is ordered).
pub(super) fn select(
    profiles: &[ProfileEntry],
    namespace: &str,
    labels: Labels<'_>,
) -> Option<usize> {
    let mut best: Option<((usize, i32), usize)> = None;
    for (index, profile) in profiles.iter().enumerate() {
        if profile.name.namespace != namespace {
            continue;
        }
        let Some(rank) = rank(&profile.spec, labels) else {
            continue;
        };
        if best.is_none_or(|(best_rank, _)| rank > best_rank) {
            best = Some((rank, index));
        }
    }
    best.map(|(_, index)| index)
}

/// How well the selector of a profile matches `labels`: requirements, then
/// priority. `None` where it has none or does not match.
fn rank(spec: &BootProfileSpec, labels: Labels<'_>) -> Option<(usize, i32)> {
    let selector = spec.machine_selector.as_ref()?;
    matches(selector, labels).then(|| (requirements(selector), spec.priority))
}

/// Machines that two profiles match equally well: the older one wins, which
/// is hardly what was meant. A warning for each machine.
pub(super) fn ties(inputs: &Inputs) -> Vec<Problem> {
    let undecided = |machine: &&Arc<Machine>| machine.spec.profile_ref.is_none();
    inputs
        .machines
        .iter()
        .filter(undecided)
        .filter_map(|machine| tie(machine, inputs))
        .collect()
}

fn tie(machine: &Machine, inputs: &Inputs) -> Option<Problem> {
    let labels = Labels::of(machine);
    // The best and the first that is as good, in one go: there may be many machines.
    let mut best: Option<((usize, i32), &BootProfile)> = None;
    let mut equal = None;
    for profile in &inputs.profiles {
        if namespace_of(&profile.metadata) != namespace_of(&machine.metadata) {
            continue;
        }
        let Some(rank) = rank(&profile.spec, labels) else {
            continue;
        };
        match best {
            Some((first, _)) if rank == first => {
                equal.get_or_insert(profile);
            }
            Some((first, _)) if rank < first => {}
            _ => (best, equal) = (Some((rank, profile)), None),
        }
    }
    let ((_, first), second) = (best?, equal?);
    let name = |profile: &BootProfile| ObjectRef::of(Kind::BootProfile, &profile.metadata);
    let (winner, other) = (&name(first), &name(second));
    let object = ObjectRef::of(Kind::Machine, &machine.metadata);
    let what = format!(
        "{winner} and {other} match it equally well; the older, {}, wins",
        winner.name
    );
    let cure = "set a `priority` on one of them, or name one by `profileRef`";
    Some(
        Problem::error(&object, "/metadata/labels", "SelectorTie", what, cure)
            .warning()
            .with(winner, "/spec/machineSelector", "matches")
            .with(other, "/spec/machineSelector", "matches too"),
    )
}

/// How specific a selector is: each label and each expression counts one.
fn requirements(selector: &Selector) -> usize {
    selector.match_labels.len() + selector.match_expressions.len()
}

fn matches(selector: &Selector, labels: Labels<'_>) -> bool {
    requirements(selector) > 0
        && selector
            .match_labels
            .iter()
            .all(|(key, value)| labels.get(key).as_deref() == Some(value))
        && selector
            .match_expressions
            .iter()
            .all(|requirement| holds(requirement, labels))
}

fn holds(requirement: &SelectorRequirement, labels: Labels<'_>) -> bool {
    let value = labels.get(&requirement.key);
    match requirement.operator {
        Operator::In => {
            value.is_some_and(|value| requirement.values.iter().any(|it| **it == *value))
        }
        Operator::NotIn => {
            value.is_none_or(|value| requirement.values.iter().all(|it| **it != *value))
        }
        Operator::Exists => value.is_some(),
        Operator::DoesNotExist => value.is_none(),
    }
}
