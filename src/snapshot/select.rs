//! Which profile a machine gets: the best match of the selectors.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
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

/// The selectors of all profiles. A machine is held against those that ask for one
/// of its labels, not against each: there may be many of both.
pub(super) struct Selectors<'a>(HashMap<&'a str, InNamespace<'a>>);

/// Those of one namespace, with the places of their profiles.
#[derive(Default)]
struct InNamespace<'a> {
    /// By the first label that they ask for.
    by_label: HashMap<(&'a str, &'a str), Vec<(usize, &'a BootProfileSpec)>>,
    /// Those that ask for none that stands in the object.
    others: Vec<(usize, &'a BootProfileSpec)>,
}

impl<'a> Selectors<'a> {
    /// Those of `profiles`, in their order: namespace and what each says.
    pub(super) fn new(profiles: impl Iterator<Item = (&'a str, &'a BootProfileSpec)>) -> Self {
        let mut all: HashMap<_, InNamespace<'a>> = HashMap::new();
        for (at, (namespace, spec)) in profiles.enumerate() {
            let Some(selector) = &spec.machine_selector else {
                continue;
            };
            let namespace = all.entry(namespace).or_default();
            let mut labels = selector.match_labels.iter();
            match labels.find(|(name, _)| *name != MAC_LABEL) {
                Some((name, value)) => {
                    let label = (name.as_str(), value.as_str());
                    namespace
                        .by_label
                        .entry(label)
                        .or_default()
                        .push((at, spec));
                }
                None => namespace.others.push((at, spec)),
            }
        }
        Self(all)
    }

    /// The place of the profile of `namespace` whose selector matches `labels`
    /// best: most requirements, then highest priority, then oldest, which
    /// stands first; and that of the next that matches as well, if any.
    pub(super) fn best(
        &self,
        namespace: &str,
        labels: Labels<'_>,
    ) -> Option<(usize, Option<usize>)> {
        let all = self.0.get(namespace)?;
        let written = labels.written.into_iter().flatten();
        let asked = written.filter_map(|(name, value)| all.by_label.get(&(&**name, &**value)));
        let mut best: Option<((usize, i32), usize, Option<usize>)> = None;
        for (at, spec) in asked.flatten().chain(&all.others) {
            let Some(rank) = rank(spec, labels) else {
                continue;
            };
            best = Some(match best {
                Some((first, one, other)) if rank == first => {
                    let (older, younger) = (one.min(*at), one.max(*at));
                    let next = other.map_or(younger, |other| other.min(younger));
                    (first, older, Some(next))
                }
                Some(better) if rank < better.0 => better,
                _ => (rank, *at, None),
            });
        }
        best.map(|(_, first, next)| (first, next))
    }
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
    let profiles = inputs.profiles.iter();
    let selectors = Selectors::new(profiles.map(|it| (namespace_of(&it.metadata), &it.spec)));
    inputs
        .machines
        .iter()
        .filter(undecided)
        .filter_map(|machine| tie(machine, inputs, &selectors))
        .collect()
}

fn tie(machine: &Machine, inputs: &Inputs, selectors: &Selectors<'_>) -> Option<Problem> {
    let labels = Labels::of(machine);
    let (first, second) = selectors.best(namespace_of(&machine.metadata), labels)?;
    let (first, second) = (inputs.profiles.get(first)?, inputs.profiles.get(second?)?);
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
