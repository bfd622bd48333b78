//! Which profile a machine gets: the best match of the selectors.

use std::collections::BTreeMap;

use super::ProfileEntry;
use crate::api::{Operator, Selector, SelectorRequirement};

/// The profile of `namespace` whose selector matches `labels` best: most
/// requirements, then highest priority, then oldest (`profiles` is ordered).
pub(super) fn select(
    profiles: &[ProfileEntry],
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Option<usize> {
    let mut best: Option<((usize, i32), usize)> = None;
    for (index, profile) in profiles.iter().enumerate() {
        let Some(selector) = &profile.spec.machine_selector else {
            continue;
        };
        if profile.name.namespace != namespace || !matches(selector, labels) {
            continue;
        }
        let rank = (requirements(selector), profile.spec.priority);
        if best.is_none_or(|(best_rank, _)| rank > best_rank) {
            best = Some((rank, index));
        }
    }
    best.map(|(_, index)| index)
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
