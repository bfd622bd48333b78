//! The rules that choose a profile: which won, which lost, and why.

use serde::{Deserialize, Serialize};

use crate::snapshot::{
    Candidate, DefaultProfile, Plan, ProfileEntry, Rule, Selection, Snapshot, SubnetEntry,
};

/// One rule, or one profile that a rule looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleLine {
    /// The rule, as log lines name it.
    pub rule: String,
    /// The profile that it is about.
    pub profile: Option<String>,
    /// `won`, `lost` or `unset`.
    pub outcome: String,
    /// Why.
    pub why: String,
}

/// All rules in the order in which they are asked; the first that applies won.
pub(super) fn rules(snapshot: &Snapshot, subnet: &SubnetEntry, plan: &Plan<'_>) -> Vec<RuleLine> {
    let mut lines = vec![profile_ref(plan)];
    lines.extend(selectors(snapshot, subnet, plan));
    lines.extend(class(subnet, plan));
    lines.push(subnet_default(snapshot, subnet, plan));
    lines.push(namespace_default(snapshot, subnet, plan));
    lines
}

fn line(rule: Rule, profile: Option<&str>, outcome: &str, why: impl Into<String>) -> RuleLine {
    RuleLine {
        rule: rule.as_str().to_owned(),
        profile: profile.map(str::to_owned),
        outcome: outcome.to_owned(),
        why: why.into(),
    }
}

/// `won`, or that an earlier rule did.
fn against(plan: &Plan<'_>, rule: Rule) -> (&'static str, String) {
    let winner = plan.rule;
    if winner == rule {
        return ("won", "the first rule that applies".to_owned());
    }
    let why = match winner {
        Rule::None => "the Machine has a mistake; no rule is asked".to_owned(),
        Rule::ProfileRef
        | Rule::Selector
        | Rule::Class
        | Rule::SubnetDefault
        | Rule::NamespaceDefault => {
            format!("{} comes first", winner.as_str())
        }
    };
    ("lost", why)
}

fn profile_ref(plan: &Plan<'_>) -> RuleLine {
    let rule = Rule::ProfileRef;
    let Some(machine) = plan.machine else {
        return line(rule, None, "unset", "no Machine names this client");
    };
    let Some(named) = &machine.spec().profile_ref else {
        return line(rule, None, "unset", "the Machine has no profileRef");
    };
    let name = Some(named.name.as_str());
    if machine.selection == Selection::Missing {
        let why = "there is no such BootProfile: the machine boots its disk";
        return line(rule, name, "won", why);
    }
    let (outcome, why) = against(plan, rule);
    line(rule, name, outcome, why)
}

fn selectors(snapshot: &Snapshot, subnet: &SubnetEntry, plan: &Plan<'_>) -> Vec<RuleLine> {
    let rule = Rule::Selector;
    let Some(machine) = plan.machine else {
        return vec![line(
            rule,
            None,
            "unset",
            "no Machine, so no labels to match",
        )];
    };
    let candidates = snapshot.candidates(&subnet.name.namespace, machine.labels());
    if candidates.is_empty() {
        return vec![line(
            rule,
            None,
            "unset",
            "no BootProfile here has a machineSelector",
        )];
    }
    candidates
        .into_iter()
        .map(|candidate| selector(plan, &candidate))
        .collect()
}

fn selector(plan: &Plan<'_>, candidate: &Candidate<'_>) -> RuleLine {
    let rule = Rule::Selector;
    let name = Some(candidate.profile.name.name.as_str());
    let Some((requirements, priority)) = candidate.rank else {
        return line(
            rule,
            name,
            "lost",
            "its machineSelector does not match the labels",
        );
    };
    let rank = format!("matches by {requirements} of its requirements, priority {priority}");
    let is_winner = plan
        .profile
        .is_some_and(|won| won.name == candidate.profile.name);
    match plan.rule {
        Rule::Selector if is_winner => line(rule, name, "won", rank),
        Rule::Selector => {
            let why = "another matches by more requirements, has a higher priority, or is older";
            line(rule, name, "lost", format!("{rank}; {why}"))
        }
        Rule::ProfileRef
        | Rule::Class
        | Rule::SubnetDefault
        | Rule::NamespaceDefault
        | Rule::None => {
            let (outcome, why) = against(plan, rule);
            line(rule, name, outcome, format!("{rank}; {why}"))
        }
    }
}

/// The class of clients, where the Subnet has any with a profile.
fn class(subnet: &SubnetEntry, plan: &Plan<'_>) -> Option<RuleLine> {
    let rule = Rule::Class;
    if subnet.class_profiles.is_empty() {
        return None;
    }
    let won = plan.profile.filter(|_| plan.rule == rule);
    let name = won.map(|profile| profile.name.name.as_str());
    let (outcome, why) = match plan.rule {
        Rule::Class | Rule::ProfileRef | Rule::Selector => against(plan, rule),
        Rule::SubnetDefault | Rule::NamespaceDefault | Rule::None => (
            "unset",
            "the client is of no class with a profile".to_owned(),
        ),
    };
    Some(line(rule, name, outcome, why))
}

fn subnet_default(snapshot: &Snapshot, subnet: &SubnetEntry, plan: &Plan<'_>) -> RuleLine {
    let rule = Rule::SubnetDefault;
    let named = subnet.spec.default_profile_ref.as_ref();
    let name = named.map(|named| named.name.as_str());
    let (outcome, why) = against(plan, rule);
    match subnet.default_profile {
        DefaultProfile::Unset => line(rule, None, "unset", "the Subnet has no defaultProfileRef"),
        DefaultProfile::Missing if outcome == "won" => {
            let why = "there is no such BootProfile: the machine boots its disk";
            line(rule, name, outcome, why)
        }
        DefaultProfile::Missing => line(rule, name, outcome, why),
        DefaultProfile::Named(at) => {
            let its = snapshot.profiles.get(at).map(called);
            line(rule, its, outcome, why)
        }
    }
}

fn namespace_default(snapshot: &Snapshot, subnet: &SubnetEntry, plan: &Plan<'_>) -> RuleLine {
    let rule = Rule::NamespaceDefault;
    match snapshot.namespace_default(&subnet.name.namespace) {
        None => line(
            rule,
            None,
            "unset",
            "no BootProfile here has `default: true`",
        ),
        Some(profile) => {
            let (outcome, why) = against(plan, rule);
            line(rule, Some(called(profile)), outcome, why)
        }
    }
}

fn called(profile: &ProfileEntry) -> &str {
    &profile.name.name
}
