//! Lines that a stranger can cause, said seldom.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Millis;

/// How long the same thing is not said again.
const PAUSE_MILLIS: u64 = 60_000;
/// Things that are remembered; more than this at once are not said at all.
const MAX: usize = 1024;

/// Says which lines are due. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Seldom(Arc<Mutex<BTreeMap<String, Millis>>>);

impl Seldom {
    /// Whether `what` was not said within the last minute; it counts as said now.
    #[must_use]
    pub fn is_due(&self, what: &str, now: Millis) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said
            .get(what)
            .is_some_and(|at| now.since(*at) < PAUSE_MILLIS)
        {
            return false;
        }
        if said.len() >= MAX {
            said.retain(|_, at| now.since(*at) < PAUSE_MILLIS);
        }
        let is_due = said.len() < MAX;
        if is_due {
            said.insert(what.to_owned(), now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_a_thing_once_a_minute_and_not_everything_at_once() {
        let seldom = Seldom::default();
        assert!(seldom.is_due("a", Millis(0)));
        assert!(!seldom.is_due("a", Millis(59_999)));
        assert!(seldom.is_due("a", Millis(60_000)));
        let flood = (0..2000).filter(|n| seldom.is_due(&n.to_string(), Millis(60_001)));
        assert_eq!(flood.count(), MAX - 1);
        assert!(seldom.is_due("later", Millis(200_000)));
    }
}
