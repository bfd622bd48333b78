//! The status of a BootProfile.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{About, Judgement, Reason, Truth, settle, stalled};
use super::machine::{conflict, is_own};
use super::sight::{Sight, all_words};
use crate::api::{BootProfileStatus, ObjectRef, Problem};
use crate::snapshot::{ObjectName, ProfileEntry, costs_nothing};

/// Mistakes of templates.
const TEMPLATE_REASONS: [&str; 2] = ["BadTemplate", "UnknownVariable"];
/// Files that a message names; of more it says how many.
const MAX_NAMED: usize = 5;

/// What the status of a BootProfile is made of.
#[derive(Clone, Copy, Debug)]
pub struct ProfileInput<'a> {
    /// The object.
    pub object: &'a ObjectRef,
    /// Its generation.
    pub generation: i64,
    /// Its status until now.
    pub old: &'a BootProfileStatus,
    /// What is served.
    pub sight: &'a Sight,
    /// The files that it names and that are not there.
    pub missing: &'a [String],
    /// Its boots that were handed off.
    pub boots: u64,
    /// When the last of them began.
    pub last_boot: Option<&'a Time>,
    /// The time now.
    pub now: Timestamp,
}

/// The status of a BootProfile.
#[must_use]
pub fn profile(input: &ProfileInput<'_>) -> BootProfileStatus {
    let name = ObjectName {
        namespace: input.object.namespace.clone(),
        name: input.object.name.clone(),
    };
    let mut profiles = input.sight.snapshot.profiles.iter();
    let entry = profiles.find(|profile| profile.name == name);
    let artifacts = artifacts_ready(input, entry);
    let (ready, for_good) = ready(input, entry, &artifacts);
    let stuck = stalled(&input.old.conditions, &ready, for_good, input.now);
    let mut judgements = vec![ready];
    judgements.extend(stuck);
    judgements.extend([artifacts, templates_valid(input)]);
    judgements.push(conflict(input.sight, input.object).unwrap_or_else(|| {
        let what = "no other profile wants the same";
        Judgement::new(About::Conflict, Truth::False, Reason::NoConflict, what)
    }));
    let conditions = settle(
        &input.old.conditions,
        judgements,
        input.generation,
        input.now,
    );
    BootProfileStatus {
        observed_generation: Some(input.generation),
        conditions,
        source: entry.map(|entry| entry.spec.source().as_str().to_owned()),
        machines: input.sight.users(&name),
        boots: input.boots,
        last_boot: input.last_boot.or(input.old.last_boot.as_ref()).cloned(),
    }
}

fn ready(
    input: &ProfileInput<'_>,
    entry: Option<&ProfileEntry>,
    artifacts: &Judgement,
) -> (Judgement, bool) {
    let errors: Vec<_> = input.sight.errors(input.object).collect();
    let judge =
        |truth, reason, message: String| Judgement::new(About::Ready, truth, reason, message);
    if let Some(first) = errors.first() {
        let mut message = all_words(&errors);
        let costs = errors.iter().any(|error| !costs_nothing(error));
        if entry.is_some() && costs {
            message.push_str(". What it said before is served on");
        }
        let for_good = errors.iter().any(|error| is_own(error));
        return (
            judge(Truth::False, Reason::Problem(first.reason), message),
            for_good,
        );
    }
    let judgement = if entry.is_none() {
        let what = "it was not looked at yet".to_owned();
        judge(Truth::Unknown, Reason::Starting, what)
    } else if artifacts.truth == Truth::True {
        judge(
            Truth::True,
            Reason::Served,
            "machines can boot it".to_owned(),
        )
    } else {
        judge(artifacts.truth, artifacts.reason, artifacts.message.clone())
    };
    (judgement, false)
}

fn artifacts_ready(input: &ProfileInput<'_>, entry: Option<&ProfileEntry>) -> Judgement {
    let judge = |truth, reason, message: String| {
        Judgement::new(About::ArtifactsReady, truth, reason, message)
    };
    if entry.is_none() {
        let what = "nobody looked for its files; see the condition Ready".to_owned();
        return judge(Truth::Unknown, Reason::Refused, what);
    }
    let pending = entry
        .map(|entry| entry.pending.as_slice())
        .unwrap_or_default();
    if !pending.is_empty() {
        let what = format!("{}; machines that boot it wait", named(pending));
        return judge(Truth::False, Reason::FilesMissing, what);
    }
    if input.missing.is_empty() {
        let what = "every file that it names is there".to_owned();
        return judge(Truth::True, Reason::FilesPresent, what);
    }
    let what = format!(
        "not in the artifact tree: {}; put them there, machines that boot it wait",
        named(input.missing)
    );
    judge(Truth::False, Reason::FilesMissing, what)
}

/// Some of `all`, and how many more there are.
fn named(all: &[String]) -> String {
    let named: Vec<&str> = all.iter().take(MAX_NAMED).map(String::as_str).collect();
    let more = all.len() - named.len();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    named.join(", ") + &more
}

fn templates_valid(input: &ProfileInput<'_>) -> Judgement {
    let of_templates = |problem: &&Problem| TEMPLATE_REASONS.contains(&problem.reason);
    let errors: Vec<_> = input
        .sight
        .errors(input.object)
        .filter(of_templates)
        .collect();
    match errors.first() {
        Some(first) => Judgement::new(
            About::TemplatesValid,
            Truth::False,
            Reason::Problem(first.reason),
            all_words(&errors),
        ),
        None => Judgement::new(
            About::TemplatesValid,
            Truth::True,
            Reason::Valid,
            "every template can be rendered",
        ),
    }
}
