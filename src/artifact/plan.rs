//! What is to be done for each artifact, and when. Pure: times and chance come
//! in as arguments.

use std::collections::BTreeMap;

use super::Want;
use super::table::{Held, Table};
use crate::clock::Millis;
use crate::snapshot::ObjectName;

/// The first wait after a failure.
const FIRST_WAIT_MILLIS: u64 = 2_000;
/// The longest: a server that is back is found within this time.
const LONGEST_WAIT_MILLIS: u64 = 300_000;
/// The longest that a server's `Retry-After` is believed.
const LONGEST_RETRY_AFTER_SECS: u64 = 3_600;
/// Failures after which an artifact counts as stalled.
pub const STALLED_AFTER: u32 = 3;

/// What came of the tries for one artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// What the tries were for.
    pub identity: String,
    /// Failures since the last success.
    pub failures: u32,
    /// Whether only another manifest can cure it.
    pub is_for_good: bool,
    /// When it is tried again.
    pub next: Option<Millis>,
    /// What went wrong last, for people.
    pub error: Option<String>,
    /// The stable name of that.
    pub reason: Option<&'static str>,
}

/// A failure, as far as the next try depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failed {
    /// Its stable name.
    pub reason: &'static str,
    /// What is wrong, for people.
    pub what: String,
    /// Whether only another manifest can cure it.
    pub is_for_good: bool,
    /// Seconds after which the server wants to be asked again.
    pub retry_after: Option<u64>,
}

/// An artifact whose tries fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stuck {
    /// What the tries were for.
    pub identity: String,
    /// What went wrong last, as the status has it; [`on_screen`](super::on_screen)
    /// makes it fit for a machine's screen.
    pub error: String,
}

/// The artifacts that are stuck, by name.
pub type AllStuck = BTreeMap<ObjectName, Stuck>;

/// What is to be done for an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is fetched now.
    Fetch,
    /// It is looked now whether there is something newer.
    Refresh,
    /// Nothing before this time.
    Wait(Millis),
    /// Nothing, until the manifest changes.
    Rest,
}

/// What is to be done for `want`, of which `held` is there.
#[must_use]
pub fn step(want: &Want, held: Option<&Held>, tries: &Tries, now: Millis) -> Step {
    let identity = want.identity();
    let tries = (tries.identity == identity).then_some(tries);
    // No wait is longer than this: what is further ahead was noted before the
    // clock was set back, which is no reason to wait for years.
    let longest = LONGEST_RETRY_AFTER_SECS * 1000;
    let due = tries
        .and_then(|tries| tries.next)
        .filter(|next| now < *next && next.since(now) <= longest);
    let held = held.filter(|held| held.identity == identity && is_whole(held));
    match (held, due) {
        (None, None) => Step::Fetch,
        (_, Some(next)) => Step::Wait(next),
        (Some(held), None) => match want.refresh.filter(|_| want.may_change()) {
            None => Step::Rest,
            Some(every) => {
                let next = Millis(held.checked).plus_secs(every.into());
                // Here, too.
                let is_ahead = held.checked > now.0;
                if now >= next || is_ahead {
                    Step::Refresh
                } else {
                    Step::Wait(next)
                }
            }
        },
    }
}

/// Whether nothing was taken out of it because it was damaged.
fn is_whole(held: &Held) -> bool {
    held.files.values().all(|file| !file.sha256.is_empty())
}

// === impl Tries ===

impl Tries {
    /// After a failure of a try for `identity` at `now`; `random` spreads the
    /// tries of many.
    #[must_use]
    pub fn failed(&self, identity: &str, failure: Failed, (now, random): (Millis, u64)) -> Self {
        let before = if self.identity == identity {
            self.failures
        } else {
            0
        };
        let wait = backoff(before, random);
        let asked = failure
            .retry_after
            .map_or(0, |secs| secs.min(LONGEST_RETRY_AFTER_SECS) * 1000);
        Self {
            identity: identity.to_owned(),
            failures: before.saturating_add(1),
            is_for_good: failure.is_for_good,
            next: Some(now.plus_millis(wait.max(asked))),
            error: Some(failure.what),
            reason: Some(failure.reason),
        }
    }

    /// After a success.
    #[must_use]
    pub fn succeeded(identity: &str) -> Self {
        Self {
            identity: identity.to_owned(),
            ..Self::default()
        }
    }

    /// What they say of `want`: nothing where they were for another manifest,
    /// such as one that was taken back, and nothing where what is wanted is
    /// there and is not looked at again, as when `refresh` was taken out.
    #[must_use]
    pub fn about(self, want: &Want, held: Option<&Held>) -> Self {
        let identity = want.identity();
        let looks_again = want.refresh.is_some() && want.may_change();
        let is_there = held.is_some_and(|held| held.identity == identity && is_whole(held));
        if self.identity == identity && (looks_again || !is_there) {
            self
        } else {
            Self::default()
        }
    }

    /// Whether it is stuck: it failed several times, or for good.
    #[must_use]
    pub const fn is_stalled(&self) -> bool {
        self.is_for_good || self.failures >= STALLED_AFTER
    }

    /// What holds up the machines that wait for it; `None` where it is not stuck,
    /// and where `held` has what is wanted already.
    #[must_use]
    pub fn stuck(&self, held: Option<&Held>) -> Option<Stuck> {
        let is_there = held.is_some_and(|held| held.identity == self.identity && is_whole(held));
        let error = self.error.as_ref();
        let error = error.filter(|_| self.is_stalled() && !is_there)?;
        Some(Stuck {
            identity: self.identity.clone(),
            error: error.clone(),
        })
    }
}

/// Those of `all` that are stuck; `table` is what is there.
pub fn stuck<'a>(
    all: impl IntoIterator<Item = (&'a ObjectName, &'a Tries)>,
    table: &Table,
) -> AllStuck {
    let stuck = |(name, tries): (&ObjectName, &Tries)| {
        let stuck = tries.stuck(table.get(name))?;
        Some((name.clone(), stuck))
    };
    all.into_iter().filter_map(stuck).collect()
}

/// Milliseconds until the next try after `failures` earlier ones: doubled each
/// time, and up to a half more, so that many do not come at once.
fn backoff(failures: u32, random: u64) -> u64 {
    let wait = FIRST_WAIT_MILLIS
        .saturating_mul(1 << failures.min(20))
        .min(LONGEST_WAIT_MILLIS);
    wait + random % (wait / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{FileWant, HeldFile, Origin};
    use crate::snapshot::ObjectName;

    fn want(sha256: Option<&str>, refresh: Option<u32>) -> Want {
        Want {
            name: ObjectName {
                namespace: "default".to_owned(),
                name: "a".to_owned(),
            },
            origin: Origin::Files(vec![FileWant {
                path: "linux".to_owned(),
                urls: vec!["http://a/linux".to_owned()],
                sha256: sha256.map(str::to_owned),
                ..FileWant::default()
            }]),
            secret: None,
            refresh,
        }
    }

    fn held(want: &Want, checked: u64) -> Held {
        let file = HeldFile {
            sha256: "a".repeat(64),
            ..HeldFile::default()
        };
        Held {
            identity: want.identity(),
            checked,
            files: [("linux".to_owned(), file)].into(),
            ..Held::default()
        }
    }

    fn failure(retry_after: Option<u64>) -> Failed {
        Failed {
            retry_after,
            ..Failed::default()
        }
    }

    #[test]
    fn fetches_what_is_missing_changed_or_damaged() {
        let want = want(None, None);
        let none = Tries::default();
        let mut there = held(&want, 0);
        assert_eq!(step(&want, None, &none, Millis(5)), Step::Fetch);
        assert_eq!(step(&want, Some(&there), &none, Millis(5)), Step::Rest);
        there.files.get_mut("linux").unwrap().sha256.clear();
        assert_eq!(step(&want, Some(&there), &none, Millis(5)), Step::Fetch);
        let mut old = held(&want, 0);
        "other".clone_into(&mut old.identity);
        assert_eq!(step(&want, Some(&old), &none, Millis(5)), Step::Fetch);
    }

    #[test]
    fn looks_for_something_newer_only_where_there_can_be() {
        let none = Tries::default();
        let changing = want(None, Some(60));
        let there = held(&changing, 10_000);
        let at = |now| step(&changing, Some(&there), &none, Millis(now));
        assert_eq!(at(11_000), Step::Wait(Millis(70_000)));
        assert_eq!(at(70_000), Step::Refresh);
        // The clock was set back.
        assert_eq!(at(9_000), Step::Refresh);
        let digest = "a".repeat(64);
        let fixed = want(Some(&digest), Some(60));
        let there = held(&fixed, 0);
        assert_eq!(
            step(&fixed, Some(&there), &none, Millis(90_000)),
            Step::Rest
        );
    }

    #[test]
    fn waits_longer_each_time_and_as_long_as_the_server_says() {
        let want = want(None, None);
        let identity = want.identity();
        let mut tries = Tries::default();
        for (failures, least) in [(1, 2_000), (2, 4_000), (3, 8_000), (4, 16_000)] {
            tries = tries.failed(&identity, failure(None), (Millis(0), 7));
            let next = tries.next.unwrap().0;
            assert_eq!(tries.failures, failures);
            assert_eq!(tries.is_stalled(), failures >= STALLED_AFTER);
            assert!((least..least * 3 / 2).contains(&next), "{next}");
            assert_eq!(
                step(&want, None, &tries, Millis(next - 1)),
                Step::Wait(Millis(next))
            );
            assert_eq!(step(&want, None, &tries, Millis(next)), Step::Fetch);
        }
        let asked = tries.failed(&identity, failure(Some(60)), (Millis(0), 0));
        assert_eq!(asked.next, Some(Millis(60_000)));
        let absurd = tries.failed(&identity, failure(Some(1 << 40)), (Millis(0), 0));
        assert_eq!(absurd.next, Some(Millis(3_600_000)));
    }

    #[test]
    fn is_stuck_until_what_is_wanted_is_there() {
        let want = want(None, None);
        let identity = want.identity();
        let mut tries = Tries::default();
        for _ in 1..STALLED_AFTER {
            tries = tries.failed(&identity, failure(None), (Millis(0), 0));
            assert_eq!(tries.stuck(None), None);
        }
        let failed = Failed {
            what: "no route".to_owned(),
            ..Failed::default()
        };
        tries = tries.failed(&identity, failed, (Millis(0), 0));
        let stuck = Stuck {
            identity,
            error: "no route".to_owned(),
        };
        let mut there = held(&want, 0);
        assert_eq!(tries.stuck(None), Some(stuck.clone()));
        assert_eq!(
            tries.stuck(Some(&there)),
            None,
            "only newer bytes are missing"
        );
        there.files.get_mut("linux").unwrap().sha256.clear();
        assert_eq!(tries.stuck(Some(&there)), Some(stuck));
        assert_eq!(Tries::succeeded(&want.identity()).stuck(None), None);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_hold_up_the_next_try() {
        let want = want(None, None);
        let year = 365 * 86_400_000;
        let tries = Tries::default().failed(&want.identity(), failure(None), (Millis(year), 0));
        assert!(matches!(
            step(&want, None, &tries, Millis(year)),
            Step::Wait(_)
        ));
        assert_eq!(step(&want, None, &tries, Millis(5)), Step::Fetch);
    }

    #[test]
    fn another_manifest_is_tried_at_once() {
        let (old, new) = (want(None, None), want(Some(&"a".repeat(64)), None));
        let failed = Tries::default();
        let failed = failed.failed(&old.identity(), failure(None), (Millis(0), 0));
        assert!(matches!(
            step(&old, None, &failed, Millis(1)),
            Step::Wait(_)
        ));
        assert_eq!(step(&new, None, &failed, Millis(1)), Step::Fetch);
        assert_eq!(failed.clone().about(&old, None), failed);
        assert_eq!(failed.clone().about(&new, None), Tries::default());
        let again = failed.failed(&new.identity(), failure(None), (Millis(0), 0));
        assert_eq!(again.failures, 1);
    }
}
