//! The status of an Artifact.

use jiff::Timestamp;

use super::conditions::{About, Judgement, Reason, Truth, settle};
use super::machine::{is_own, time};
use super::sight::{Sight, all_words};
use crate::api::{ArtifactStatus, FetchStatus, ObjectRef};
use crate::artifact::Held;
use crate::artifact::keep::Entry;
use crate::artifact::plan::Tries;
use crate::artifact::progress::{Progress, human};
use crate::artifact::table::stable_path;
use crate::clock::Millis;
use crate::snapshot::ObjectName;

/// What the status of an Artifact is made of.
#[derive(Clone, Copy, Debug)]
pub struct ArtifactInput<'a> {
    /// The object.
    pub object: &'a ObjectRef,
    /// Its generation.
    pub generation: i64,
    /// Its status until now.
    pub old: &'a ArtifactStatus,
    /// What is served.
    pub sight: &'a Sight,
    /// How it is; `None` where nobody keeps artifacts.
    pub entry: Option<&'a Entry>,
    /// What is there of it.
    pub held: Option<&'a Held>,
    /// The time now.
    pub now: (Timestamp, Millis),
}

/// The status of an Artifact.
#[must_use]
pub fn artifact(input: &ArtifactInput<'_>) -> ArtifactStatus {
    let (ready, for_good) = ready(input);
    let tries = input.entry.map(|entry| &entry.tries);
    let is_stuck = ready.truth != Truth::True && (for_good || tries.is_some_and(Tries::is_stalled));
    let stalled = is_stuck.then(|| Judgement {
        about: About::Stalled,
        truth: Truth::True,
        ..ready.clone()
    });
    let mut judgements = vec![ready];
    judgements.extend(stalled);
    judgements.push(fetching(input));
    let name = name(input.object);
    let progress = input.entry.and_then(|entry| entry.fetching.as_ref());
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let held = input.held;
    ArtifactStatus {
        observed_generation: Some(input.generation),
        conditions: settle(
            &input.old.conditions,
            judgements,
            input.generation,
            input.now.0,
        ),
        size: held.map(|held| human(held.bytes())),
        bytes: held.map(|held| number(held.bytes())),
        progress: match (progress, held) {
            (Some(progress), _) => Some(progress.column()),
            (None, Some(held)) if is_current(input, held) => Some("100%".to_owned()),
            (None, _) => None,
        },
        fetch: progress.map(|progress| fetch(progress, input.now.1)),
        generation: held.map(|held| number(held.generation)),
        path: held.map(|_| stable_path(&name)),
        digest: held.map(|held| held.digest.clone()),
        files: held.map(|held| number(held.files.len() as u64)),
        fetched: held.and_then(|held| time(held.made)),
        next: input.entry.and_then(|entry| time(entry.next?.0)),
        last_error: tries.and_then(|tries| tries.error.clone()),
    }
}

fn name(object: &ObjectRef) -> ObjectName {
    ObjectName {
        namespace: object.namespace.clone(),
        name: object.name.clone(),
    }
}

/// Whether what is there is what the manifest wants.
fn is_current(input: &ArtifactInput<'_>, held: &Held) -> bool {
    let is_whole = held.files.values().all(|file| !file.sha256.is_empty());
    is_whole
        && input
            .entry
            .is_some_and(|entry| entry.identity == held.identity)
}

fn ready(input: &ArtifactInput<'_>) -> (Judgement, bool) {
    let judge = |truth, reason, message: String| {
        let on = match input.held {
            Some(_) if truth != Truth::True => ". What was fetched before is served on",
            Some(_) | None => "",
        };
        Judgement::new(About::Ready, truth, reason, message + on)
    };
    let errors: Vec<_> = input.sight.errors(input.object).collect();
    if let Some(first) = errors.first() {
        let for_good = errors.iter().any(|error| is_own(error));
        let reason = Reason::Problem(first.reason);
        return (judge(Truth::False, reason, all_words(&errors)), for_good);
    }
    let Some(entry) = input.entry else {
        let what = "nobody keeps artifacts here: the store cannot be used, the log says why";
        return (
            judge(Truth::Unknown, Reason::Starting, what.to_owned()),
            false,
        );
    };
    let error = entry.tries.error.as_deref();
    if let Some(held) = input.held.filter(|held| is_current(input, held)) {
        let files = held.files.len();
        let plural = if files == 1 { "" } else { "s" };
        let mut what = format!(
            "{files} file{plural}, {}, served at {}",
            human(held.bytes()),
            stable_path(&name(input.object))
        );
        if let Some(error) = error {
            what += &format!(". But the last look for something newer failed: {error}");
        }
        return (judge(Truth::True, Reason::Fetched, what), false);
    }
    let judgement = match (error, entry.tries.reason) {
        (Some(error), Some(reason)) => {
            judge(Truth::False, Reason::Problem(reason), error.to_owned())
        }
        _ if entry.queued => {
            let what = "it waits until others are fetched".to_owned();
            judge(Truth::False, Reason::Queued, what)
        }
        _ => judge(
            Truth::False,
            Reason::Fetching,
            "it is being fetched".to_owned(),
        ),
    };
    (judgement, false)
}

fn fetching(input: &ArtifactInput<'_>) -> Judgement {
    let judge =
        |truth, reason, message: &str| Judgement::new(About::Fetching, truth, reason, message);
    match input.entry {
        Some(Entry {
            fetching: Some(progress),
            ..
        }) => {
            let what = if progress.file.is_empty() {
                "it is being fetched".to_owned()
            } else {
                format!("{} is being fetched", progress.file)
            };
            judge(Truth::True, Reason::Fetching, &what)
        }
        Some(Entry { queued: true, .. }) => {
            let what = "it waits until others are fetched";
            judge(Truth::False, Reason::Queued, what)
        }
        Some(entry) if entry.tries.error.is_some() => {
            let what = "the last try failed; it is tried again";
            judge(Truth::False, Reason::Retrying, what)
        }
        Some(_) => judge(Truth::False, Reason::Fetched, "nothing is missing"),
        None => judge(
            Truth::Unknown,
            Reason::Starting,
            "nobody keeps artifacts here",
        ),
    }
}

fn fetch(progress: &Progress, now: Millis) -> FetchStatus {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    FetchStatus {
        file: (!progress.file.is_empty()).then(|| progress.file.clone()),
        bytes: number(progress.bytes),
        total_bytes: progress.total.map(number),
        bytes_per_second: progress.rate(now).map(number),
        seconds_left: progress.seconds_left(now).map(number),
    }
}
