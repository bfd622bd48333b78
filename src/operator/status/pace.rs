//! When which object is written: each once a second at most, all together no
//! faster than the API server should bear, the longest waiting first.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::api::ObjectRef;

/// Writes in a second, on average.
const RATE: u64 = 38;
/// Writes at once after a rest.
const BURST: u64 = 3;
/// Writes of one object at most: status, boots, label.
const WRITES: u64 = 3;
/// Nothing begins while so many writes are under way. What is under way may
/// arrive together where the API server was held up, so never more arrive
/// within a second than [`MOST`].
const UNDER_WAY: u64 = 5;
/// Writes that may arrive within a second, whatever happens: those that are
/// begun in it, the last of which may be in debt, and those under way before.
const MOST: u64 = RATE + BURST + (WRITES - 1) + (UNDER_WAY - 1 + WRITES);
const _: () = assert!(MOST <= 50, "more than the API server should bear");
/// Milliseconds between two writes of one object.
const APART: u64 = 1000;
/// The first wait after a failure; it doubles up to [`MAX_WAIT`].
const FIRST_WAIT: u64 = 500;
const MAX_WAIT: u64 = 10_000;
/// Thousandths of a write: what a millisecond brings is [`RATE`] of them.
const TOKEN: u64 = 1000;

/// Which objects are to be looked at, and when. Time is in milliseconds since
/// any moment, and never goes back.
#[derive(Debug, Default)]
pub struct Pace {
    /// Those that wait: there may be ten thousand, so their names are shared.
    due: BTreeSet<Arc<ObjectRef>>,
    /// The same by when their turn is, then by when they came.
    order: BTreeMap<(u64, u64), Arc<ObjectRef>>,
    next: u64,
    /// When each object was written, as far as that matters still.
    written: HashMap<ObjectRef, u64>,
    /// Those that are looked at or written, and their writes.
    busy: HashMap<ObjectRef, u64>,
    /// The writes of all of them.
    under_way: u64,
    /// Busy ones that changed meanwhile.
    again: HashSet<ObjectRef>,
    /// What is left to write, in thousandths; below 0 is a debt.
    tokens: i64,
    refilled: u64,
    held_until: u64,
    failures: u32,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Look at this object, and say by [`Pace::begins`] what that costs.
    Object(ObjectRef),
    /// Nothing before this time, unless something changes.
    At(u64),
    /// Nothing, unless something changes or ends.
    Idle,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// It is done, or there is nothing to be done.
    Well,
    /// It has to be tried again, and everything waits a while.
    Badly,
}

// === impl Pace ===

impl Pace {
    /// `object` may need a write.
    pub fn mark(&mut self, object: &ObjectRef, now: u64) {
        if self.busy.contains_key(object) {
            self.again.insert(object.clone());
        } else if !self.due.contains(object) {
            let earliest = self.written.get(object).map_or(now, |at| at + APART);
            let object = Arc::new(object.clone());
            self.due.insert(Arc::clone(&object));
            self.order.insert((earliest.max(now), self.next), object);
            self.next += 1;
        }
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: u64) -> Next {
        self.refill(now);
        let Some(((due, _), _)) = self.order.first_key_value() else {
            return Next::Idle;
        };
        if self.under_way >= UNDER_WAY {
            return Next::Idle;
        }
        let missing = i64::try_from(TOKEN).unwrap_or(i64::MAX) - self.tokens;
        let paid = now + u64::try_from(missing).unwrap_or(0).div_ceil(RATE);
        let at = (*due).max(self.held_until).max(paid);
        if at > now {
            return Next::At(at);
        }
        let Some((_, object)) = self.order.pop_first() else {
            return Next::Idle;
        };
        self.due.remove(&object);
        let object = Arc::unwrap_or_clone(object);
        self.busy.insert(object.clone(), 0);
        Next::Object(object)
    }

    /// So many writes begin for `object`; 0 where there is nothing to write.
    pub fn begins(&mut self, object: &ObjectRef, writes: u64, now: u64) {
        if writes == 0 {
            self.ends(object, Ended::Well, now);
            return;
        }
        let cost = i64::try_from(writes * TOKEN).unwrap_or(i64::MAX);
        self.tokens = self.tokens.saturating_sub(cost);
        self.under_way += writes;
        self.busy.insert(object.clone(), writes);
        self.written.insert(object.clone(), now);
        if self.written.len() > 4 * usize::try_from(RATE).unwrap_or(usize::MAX) {
            self.written.retain(|_, at| *at + APART > now);
        }
    }

    /// The writes for `object` ended.
    pub fn ends(&mut self, object: &ObjectRef, how: Ended, now: u64) {
        self.under_way -= self.busy.remove(object).unwrap_or(0);
        let changed = self.again.remove(object);
        match how {
            Ended::Well => {
                // What wrote nothing says nothing about the API server.
                if self.written.contains_key(object) {
                    self.failures = 0;
                }
            }
            Ended::Badly => {
                // Those that failed together count once.
                if now >= self.held_until {
                    let wait = FIRST_WAIT << self.failures.min(6);
                    self.held_until = now + wait.min(MAX_WAIT);
                    self.failures += 1;
                }
            }
        }
        if changed || how == Ended::Badly {
            self.mark(object, now);
        }
    }

    /// How many objects wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.due.len()
    }

    fn refill(&mut self, now: u64) {
        let more = i64::try_from(now.saturating_sub(self.refilled) * RATE).unwrap_or(i64::MAX);
        let most = i64::try_from(BURST * TOKEN).unwrap_or(i64::MAX);
        self.tokens = self.tokens.saturating_add(more).min(most);
        self.refilled = now;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::Kind;

    fn machine(n: usize) -> ObjectRef {
        ObjectRef::new(Kind::Machine, "edge", &format!("m{n}"))
    }

    /// Runs until nothing is due before `end`; the times of the writes.
    fn run(pace: &mut Pace, from: u64, end: u64, cost: u64) -> Vec<(u64, ObjectRef)> {
        let mut now = from;
        let mut writes = Vec::new();
        loop {
            match pace.next(now) {
                Next::Object(object) => {
                    pace.begins(&object, cost, now);
                    for _ in 0..cost {
                        writes.push((now, object.clone()));
                    }
                    pace.ends(&object, Ended::Well, now);
                }
                Next::At(at) if at < end => now = at,
                Next::At(_) | Next::Idle => return writes,
            }
        }
    }

    #[test]
    fn a_storm_is_written_in_turn_and_never_too_fast() {
        let mut pace = Pace::default();
        for n in 0..1000 {
            pace.mark(&machine(n), 10_000);
        }
        let writes = run(&mut pace, 10_000, u64::MAX, 2);
        assert_eq!(writes.len(), 2000);
        assert_eq!(writes[0].1, machine(0));
        for (at, _) in &writes {
            let within = writes
                .iter()
                .filter(|(other, _)| (*at..*at + 1000).contains(other));
            assert!(within.count() <= 43, "more than 43 from {at}");
        }
        let last = writes.last().map_or(0, |(at, _)| *at);
        assert!(last < 10_000 + 54_000, "it takes until {last}");
    }

    /// The API server is held up for a while, and then gets at once what was
    /// under way.
    #[test]
    fn writes_that_were_held_up_are_among_those_of_their_second() {
        for cost in 1..=WRITES {
            let mut pace = Pace::default();
            for n in 0..1000 {
                pace.mark(&machine(n), 10_000);
            }
            let mut held_up = Vec::new();
            let mut now = 10_000;
            while now < 20_000 {
                match pace.next(now) {
                    Next::Object(object) => {
                        pace.begins(&object, cost, now);
                        held_up.push(object);
                    }
                    Next::At(at) => now = at,
                    Next::Idle => now = 20_000,
                }
            }
            let waiting = cost * u64::try_from(held_up.len()).unwrap();
            assert!(waiting < UNDER_WAY + WRITES, "{waiting} under way");
            for object in held_up {
                pace.ends(&object, Ended::Well, now);
            }
            let writes = run(&mut pace, now, now + 1000, cost);
            let arrived = waiting + u64::try_from(writes.len()).unwrap();
            assert!(arrived <= MOST, "{arrived} within a second");
        }
    }

    #[test]
    fn what_changes_often_is_written_once_a_second() {
        let mut pace = Pace::default();
        let mut writes = Vec::new();
        for now in (1000..5000).step_by(10) {
            pace.mark(&machine(1), now);
            writes.extend(run(&mut pace, now, now + 10, 1));
        }
        let times: Vec<u64> = writes.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [1000, 2000, 3000, 4000]);
    }

    #[test]
    fn what_needs_no_write_costs_nothing() {
        let mut pace = Pace::default();
        for n in 0..10_000 {
            pace.mark(&machine(n), 1000);
        }
        assert!(run(&mut pace, 1000, 1001, 0).is_empty());
        assert_eq!(pace.waiting(), 0);
    }

    #[test]
    fn a_failure_holds_all_and_loses_nothing() {
        let mut pace = Pace::default();
        let mut now = 1000;
        for n in 0..3 {
            pace.mark(&machine(n), now);
        }
        let mut waits = Vec::new();
        for _ in 0..9 {
            let Next::Object(object) = pace.next(now) else {
                panic!("nothing at {now}");
            };
            pace.begins(&object, 1, now);
            pace.ends(&object, Ended::Badly, now);
            let Next::At(at) = pace.next(now) else {
                panic!("no wait at {now}");
            };
            waits.push(at - now);
            now = at;
        }
        assert_eq!(
            waits,
            [500, 1000, 2000, 4000, 8000, 10000, 10000, 10000, 10000]
        );
        assert_eq!(pace.waiting(), 3);
        assert_eq!(run(&mut pace, now, u64::MAX, 1).len(), 3);
        assert_eq!(pace.failures, 0);
    }

    #[test]
    fn what_changes_while_it_is_written_is_written_again() {
        let mut pace = Pace::default();
        pace.mark(&machine(1), 1000);
        assert_eq!(pace.next(1000), Next::Object(machine(1)));
        pace.begins(&machine(1), 1, 1000);
        pace.mark(&machine(1), 1010);
        assert_eq!(pace.next(1010), Next::Idle);
        pace.ends(&machine(1), Ended::Well, 1020);
        assert_eq!(pace.next(1020), Next::At(2000));
    }

    proptest! {
        /// Whatever is marked when, and whatever it costs: nothing is lost,
        /// nothing is too fast.
        #[test]
        fn holds_its_pace(steps in prop::collection::vec((0usize..60, 0u64..300, 1u64..=3), 1..200)) {
            let mut pace = Pace::default();
            let mut now = 0;
            let mut writes: Vec<(u64, ObjectRef)> = Vec::new();
            let mut wanted = BTreeSet::new();
            for (object, wait, cost) in steps {
                pace.mark(&machine(object), now);
                wanted.insert(machine(object));
                writes.extend(run(&mut pace, now, now + wait, cost));
                now += wait;
            }
            writes.extend(run(&mut pace, now, u64::MAX, 1));
            let written: BTreeSet<_> = writes.iter().map(|(_, object)| object.clone()).collect();
            prop_assert_eq!(written, wanted);
            for (at, object) in &writes {
                let here: Vec<_> = writes.iter().filter(|(other, _)| (*at..*at + 1000).contains(other)).collect();
                prop_assert!(here.len() <= 43);
                let same = here.iter().filter(|(other, o)| o == object && other != at);
                prop_assert_eq!(same.count(), 0);
            }
        }
    }
}
