//! The status of a Machine.

use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::boots::{presumed, result_of, short};
use super::conditions::{About, Judgement, Reason, Truth, settle, stalled};
use super::sight::{Sight, Standing, all_words, reserved};
use crate::api::{BootStatus, MachineFacts, MachineStatus, ObjectRef};
use crate::boot::Uuid;
use crate::snapshot::{LocalReason, MachineEntry, ObjectName, Rule, Verdict, costs_nothing};
use crate::status::phase;
use crate::timeline::BootResult;

/// What the status of a Machine is made of.
#[derive(Clone, Copy, Debug)]
pub struct MachineInput<'a> {
    /// The object.
    pub object: &'a ObjectRef,
    /// Its generation.
    pub generation: i64,
    /// Its status until now.
    pub old: &'a MachineStatus,
    /// What is served.
    pub sight: &'a Sight,
    /// Its latest boot, that this replica or another saw.
    pub latest: Option<&'a BootStatus>,
    /// The identifier that its firmware has of it.
    pub uuid: Option<Uuid>,
    /// The address that it is lent.
    pub lease: Option<Ipv4Addr>,
    /// The greatest `boot.generation` that boots of it used up.
    pub consumed: Option<i64>,
    /// The time now.
    pub now: Timestamp,
}

/// The status of a Machine, but for its boots.
#[must_use]
pub fn machine(input: &MachineInput<'_>) -> MachineStatus {
    let name = ObjectName {
        namespace: input.object.namespace.clone(),
        name: input.object.name.clone(),
    };
    let entry = input.sight.machine(&name);
    let latest = input.latest.map(|boot| presumed(boot, input.now));
    let latest = latest.as_deref();
    let own = input.lease.or_else(|| entry.and_then(reserved));
    let own = own.map(IpAddr::V4);
    let booted = latest.and_then(|boot| boot.address);
    let at = booted.or(own);
    // One that has IPv6 alone has what its latest boot got.
    let reserved6 = || entry?.spec().interfaces.iter().find_map(|it| it.ipv6);
    let booted6 = booted.filter(IpAddr::is_ipv6);
    let address = own.or(booted6).or_else(|| reserved6().map(IpAddr::V6));
    let mac = latest.and_then(|boot| boot.mac);
    let standing = entry.map(|entry| input.sight.standing(entry, mac, at));
    let result = latest.and_then(result_of);
    let waits = entry.is_some_and(|entry| !entry.spec().approved);
    let first = entry.and_then(|entry| entry.spec().interfaces.first());
    MachineStatus {
        observed_generation: Some(input.generation),
        conditions: conditions(input, entry, standing, latest),
        phase: Some(phase(waits, standing.and_then(|it| it.verdict), result)),
        stage: latest.and_then(|boot| boot.stage.clone()),
        profile: standing
            .and_then(|standing| standing.profile)
            .map(|profile| profile.name.name.clone()),
        rule: standing
            .filter(|standing| standing.rule != Rule::None)
            .map(|standing| standing.rule.as_str().to_owned()),
        mac: mac.or_else(|| first.map(|interface| interface.mac)),
        consumed_generation: input.old.consumed_generation.max(input.consumed),
        address,
        architecture: latest
            .and_then(|boot| boot.architecture)
            .or(input.old.architecture),
        facts: facts(input, latest, standing),
        last_boot: latest
            .and_then(|boot| boot.started.clone())
            .or_else(|| input.old.last_boot.clone()),
        last_duration: latest
            .filter(|_| result.is_some_and(|result| result != BootResult::Running))
            .map(|boot| short(boot.duration_ms))
            .or_else(|| input.old.last_duration.clone()),
        boots: Vec::new(),
    }
}

/// What was known of it, and what its latest boot adds.
fn facts(
    input: &MachineInput<'_>,
    latest: Option<&BootStatus>,
    standing: Option<Standing<'_>>,
) -> Option<MachineFacts> {
    let mut facts = input.old.facts.clone().unwrap_or_default();
    facts.uuid = input.uuid.map(|uuid| uuid.to_string()).or(facts.uuid);
    if latest.is_some() {
        let subnet = standing.and_then(|standing| standing.subnet);
        facts.subnet = subnet
            .map(|subnet| subnet.name.name.clone())
            .or(facts.subnet);
    }
    (facts != MachineFacts::default()).then_some(facts)
}

fn conditions(
    input: &MachineInput<'_>,
    entry: Option<&MachineEntry>,
    standing: Option<Standing<'_>>,
    latest: Option<&BootStatus>,
) -> Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    let resolved = profile_resolved(input, entry, standing);
    let accepted = accepted(input, entry);
    let (ready, for_good) = ready(input, entry, standing, &resolved, &accepted);
    let stuck = stalled(&input.old.conditions, &ready, for_good, input.now);
    let mut judgements = vec![ready];
    judgements.extend(stuck);
    judgements.extend(conflict(input.sight, input.object));
    judgements.extend([resolved, accepted, booted(latest)]);
    settle(
        &input.old.conditions,
        judgements,
        input.generation,
        input.now,
    )
}

/// Whether it is served as it says, and whether only it can change that.
fn ready(
    input: &MachineInput<'_>,
    entry: Option<&MachineEntry>,
    standing: Option<Standing<'_>>,
    resolved: &Judgement,
    accepted: &Judgement,
) -> (Judgement, bool) {
    let errors: Vec<_> = input.sight.errors(input.object).collect();
    let judge =
        |truth, reason, message: String| Judgement::new(About::Ready, truth, reason, message);
    let is_refused = entry.is_none_or(|it| it.selection == crate::snapshot::Selection::Refused);
    if let Some(first) = errors.first() {
        let mut message = all_words(&errors);
        // An object that was readable and no longer is.
        if !is_refused && resolved.truth == Truth::True {
            message.push_str(". What it said before is served on");
        }
        let for_good = errors.iter().any(|error| is_own(error));
        return (
            judge(Truth::False, Reason::Problem(first.reason), message),
            for_good,
        );
    }
    if entry.is_none() {
        let what = "it was not looked at yet".to_owned();
        return (judge(Truth::Unknown, Reason::Starting, what), false);
    }
    if accepted.truth != Truth::True {
        let message = accepted.message.clone();
        return (judge(accepted.truth, accepted.reason, message), false);
    }
    let verdict = standing.and_then(|standing| standing.verdict);
    let Some(verdict) = verdict else {
        let what = "no Subnet of its namespace is served; add one, or see its conditions";
        return (
            judge(Truth::False, Reason::NoSubnet, what.to_owned()),
            false,
        );
    };
    let judgement = match verdict {
        Verdict::Boot | Verdict::Tell => {
            let warnings = warnings(input);
            let message = format!("{}{warnings}", resolved.message);
            judge(Truth::True, Reason::Served, message)
        }
        Verdict::Local(
            LocalReason::Policy
            | LocalReason::Spent
            | LocalReason::Interface
            | LocalReason::Profile
            | LocalReason::Chosen,
        ) => judge(Truth::True, Reason::Local, resolved.message.clone()),
        Verdict::Local(
            LocalReason::ProfileMissing
            | LocalReason::NoProfile
            | LocalReason::MachineRefused
            | LocalReason::ManifestsIncomplete,
        ) => judge(Truth::False, resolved.reason, resolved.message.clone()),
    };
    (judgement, false)
}

/// Whether the object alone shows the mistake.
pub(super) fn is_own(problem: &crate::api::Problem) -> bool {
    problem.related.is_empty() && !costs_nothing(problem)
}

fn warnings(input: &MachineInput<'_>) -> String {
    let findings = input.sight.findings(input.object);
    let warnings = findings.filter(|it| !it.problem.is_error());
    let words: Vec<String> = warnings
        .map(|it| format!(". But {}", it.message()))
        .collect();
    words.concat()
}

fn accepted(input: &MachineInput<'_>, entry: Option<&MachineEntry>) -> Judgement {
    let judge =
        |truth, reason, message: &str| Judgement::new(About::Accepted, truth, reason, message);
    let refused = entry.is_some_and(|it| it.selection == crate::snapshot::Selection::Refused);
    match entry {
        None if input.sight.errors(input.object).next().is_none() => {
            judge(Truth::Unknown, Reason::Starting, "it was not looked at yet")
        }
        Some(entry) if !entry.spec().approved => judge(
            Truth::False,
            Reason::NotApproved,
            "it gets no answer until `spec.approved` is true; set it, or delete the Machine",
        ),
        Some(_) if !refused => judge(Truth::True, Reason::Approved, "it gets answers"),
        Some(_) | None => judge(
            Truth::False,
            Reason::Refused,
            "it has a mistake and is sent to its disk; see the condition Ready",
        ),
    }
}

fn profile_resolved(
    input: &MachineInput<'_>,
    entry: Option<&MachineEntry>,
    standing: Option<Standing<'_>>,
) -> Judgement {
    let judge = |truth, reason, message: String| {
        Judgement::new(About::ProfileResolved, truth, reason, message)
    };
    let Some((entry, standing)) = entry.zip(standing) else {
        let what = "its object cannot be read; see the condition Ready";
        return judge(Truth::Unknown, Reason::Refused, what.to_owned());
    };
    let local = |why: &str| {
        judge(
            Truth::True,
            Reason::Local,
            format!("{why}: it is sent to its disk"),
        )
    };
    match (standing.verdict, standing.profile) {
        (Some(Verdict::Local(LocalReason::Policy)), _) => local("`boot.policy` is Local"),
        (Some(Verdict::Local(LocalReason::Spent)), _) => local(
            "`boot.policy` is Once and it booted; a greater `boot.generation` has it boot once more",
        ),
        (Some(Verdict::Local(LocalReason::Interface)), _) => {
            local("its interface has `netboot: false`")
        }
        (_, Some(profile)) => {
            let name = &profile.name.name;
            let (reason, by) = by_rule(standing.rule);
            let does = if profile.spec.local.is_some() {
                "is sent to its disk by"
            } else {
                "boots"
            };
            judge(
                Truth::True,
                reason,
                format!("it {does} BootProfile {name}, {by}"),
            )
        }
        (_, None) if entry.selection == crate::snapshot::Selection::Refused => judge(
            Truth::Unknown,
            Reason::Refused,
            "it has a mistake; see the condition Ready".to_owned(),
        ),
        (_, None) => unresolved(input, standing),
    }
}

/// Why there is no profile where there should be one.
fn unresolved(input: &MachineInput<'_>, standing: Standing<'_>) -> Judgement {
    let missing = |object: &ObjectRef| {
        let found = input.sight.errors(object);
        found
            .filter(|problem| problem.reason == "ProfileNotFound")
            .map(super::sight::own_words)
            .next()
    };
    let (reason, message) = match (standing.rule, standing.subnet) {
        (Rule::SubnetDefault | Rule::Class, Some(subnet)) => {
            let name = &subnet.name;
            let object = ObjectRef::new(crate::api::Kind::Subnet, &name.namespace, &name.name);
            let what = missing(&object).unwrap_or_default();
            let message = format!("{object} {what}; until then it is sent to its disk");
            (Reason::Problem("ProfileNotFound"), message)
        }
        (Rule::ProfileRef, _) => {
            let what = missing(input.object).unwrap_or_else(|| "its profile is refused".to_owned());
            let message = format!("{what}; until then it is sent to its disk");
            (Reason::Problem("ProfileNotFound"), message)
        }
        (
            Rule::SubnetDefault
            | Rule::Class
            | Rule::Selector
            | Rule::NamespaceDefault
            | Rule::None,
            _,
        ) => {
            let what = "no rule gives it a profile and it is sent to its disk; set `profileRef`, a profile's `machineSelector` or `default: true`, or `boot.policy: Local` where that is meant";
            (Reason::NoProfile, what.to_owned())
        }
    };
    Judgement::new(About::ProfileResolved, Truth::False, reason, message)
}

const fn by_rule(rule: Rule) -> (Reason, &'static str) {
    match rule {
        Rule::ProfileRef => (Reason::ProfileRef, "which its profileRef names"),
        Rule::Selector => (Reason::MachineSelector, "whose selector matches it best"),
        Rule::Class => (Reason::SubnetDefault, "which its class on the Subnet names"),
        Rule::SubnetDefault => (Reason::SubnetDefault, "the default of its Subnet"),
        Rule::NamespaceDefault => (Reason::NamespaceDefault, "the default of its namespace"),
        Rule::None => (Reason::NoProfile, "by no rule"),
    }
}

/// The Conflict of an object that has one.
pub(super) fn conflict(sight: &Sight, object: &ObjectRef) -> Option<Judgement> {
    let findings: Vec<_> = sight
        .findings(object)
        .filter(|finding| finding.is_conflict(object))
        .collect();
    let first = findings.first()?;
    let words: Vec<String> = findings
        .iter()
        .map(super::sight::Finding::message)
        .collect();
    let reason = Reason::Problem(first.problem.reason);
    let message = words.join(". ");
    Some(Judgement::new(
        About::Conflict,
        Truth::True,
        reason,
        message,
    ))
}

fn booted(latest: Option<&BootStatus>) -> Judgement {
    let judge =
        |truth, reason, message: String| Judgement::new(About::Booted, truth, reason, message);
    let Some((boot, result)) = latest.and_then(|boot| Some((boot, result_of(boot)?))) else {
        let what = "it was not seen to boot yet".to_owned();
        return judge(Truth::Unknown, Reason::NeverBooted, what);
    };
    let profile = boot.profile.as_deref().unwrap_or("no profile");
    let stage = boot.stage.as_deref().unwrap_or("its first packet");
    let why = boot.message.as_deref().map(|why| format!(": {why}"));
    let why = why.unwrap_or_default();
    let took = short(boot.duration_ms);
    match result {
        BootResult::Running => {
            let what = format!("it boots {profile} and got to {stage}{why}");
            judge(Truth::False, Reason::Booting, what)
        }
        BootResult::HandedOff => {
            let what = format!("it runs {profile}, sent whole in {took}");
            judge(Truth::True, Reason::HandedOff, what)
        }
        BootResult::Chained => {
            let what = format!("{profile} sent it on to another server in {took}");
            judge(Truth::True, Reason::Chained, what)
        }
        BootResult::PhonedHome => {
            let what = format!("the system of {profile} called back after {took}{why}");
            judge(Truth::True, Reason::PhonedHome, what)
        }
        BootResult::LocalBoot => judge(
            Truth::False,
            Reason::LocalBoot,
            "it was sent to its disk".to_owned(),
        ),
        BootResult::Stalled => {
            let what = format!("its boot of {profile} stopped after {stage}{why}");
            judge(Truth::False, Reason::BootStalled, what)
        }
        BootResult::Restarted => {
            let what = format!("it began anew after {stage}{why}");
            judge(Truth::False, Reason::Restarted, what)
        }
        BootResult::Failed => {
            let what = format!("the system of {profile} called back that it failed{why}");
            judge(Truth::False, Reason::Failed, what)
        }
    }
}

/// The time of `millis` since the Unix epoch, without its fraction.
pub(super) fn time(millis: u64) -> Option<Time> {
    let second = i64::try_from(millis / 1000).ok()?;
    Timestamp::from_second(second).ok().map(Time)
}
