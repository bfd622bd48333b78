//! Which profile a machine gets: the best match of the selectors.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::names::namespace_of;
use super::{Inputs, ProfileEntry};
use crate::api::{
    BootProfile, BootProfileSpec, Kind, Machine, ObjectRef, Operator, Problem, Selector,
    SelectorRequirement,
};

/// A profile with a selector, and how well it matches.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The profile.
    pub profile: &'a ProfileEntry,
    /// Requirements and priority; `None` where it does not match.
    pub rank: Option<(usize, i32)>,
}

/// The profiles of `namespace` that have a selector, held against `labels`.
pub(super) fn candidates<'a>(
    profiles: &'a [ProfileEntry],
    namespace: &str,
    labels: &BTreeMap<String, String>,
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
    labels: &BTreeMap<String, String>,
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
fn rank(spec: &BootProfileSpec, labels: &BTreeMap<String, String>) -> Option<(usize, i32)> {
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
    let none = BTreeMap::new();
    let labels = machine.metadata.labels.as_ref().unwrap_or(&none);
    let ranked = || {
        inputs
            .profiles
            .iter()
            .filter(|profile| namespace_of(&profile.metadata) == namespace_of(&machine.metadata))
            .filter_map(|profile| Some((rank(&profile.spec, labels)?, profile)))
    };
    let best = ranked().map(|(rank, _)| rank).max()?;
    let mut equals = ranked().filter(|(rank, _)| *rank == best);
    let name =
        |(_, profile): (_, &BootProfile)| ObjectRef::of(Kind::BootProfile, &profile.metadata);
    let (first, second) = (equals.next()?, equals.next()?);
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

fn matches(selector: &Selector, labels: &BTreeMap<String, String>) -> bool {
    requirements(selector) > 0
        && selector
            .match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
        && selector
            .match_expressions
            .iter()
            .all(|requirement| holds(requirement, labels))
}

fn holds(requirement: &SelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    match requirement.operator {
        Operator::In => value.is_some_and(|value| requirement.values.contains(value)),
        Operator::NotIn => value.is_none_or(|value| !requirement.values.contains(value)),
        Operator::Exists => value.is_some(),
        Operator::DoesNotExist => value.is_none(),
    }
}
