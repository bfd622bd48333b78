//! Sightings folded into candidates, and candidates into Machines that wait.

use std::collections::{BTreeMap, BTreeSet};

use super::glimpse::{Glimpse, Glimpses, WINDOW_MILLIS};
use super::limits::Limits;
use super::machine::Facts;
use super::sighting::Sighting;
use crate::boot::MacAddress;
use crate::clock::Millis;

/// Candidates of one Subnet. A full rack has some 40 machines.
pub const MAX_OF_SUBNET: usize = 256;
/// Candidates in all: some hundred KiB.
pub const MAX_CANDIDATES: usize = 1024;
/// How long a Machine that was made may take to be seen among the others.
const SETTLE_MILLIS: u64 = 60_000;

/// A machine: its MAC address, in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Who {
    /// The namespace of its Subnet.
    pub namespace: String,
    /// Its MAC address.
    pub mac: MacAddress,
}

/// The fold. Time comes in as an argument.
#[derive(Debug)]
pub struct Discovery {
    limits: Limits,
    glimpses: Glimpses,
    candidates: BTreeMap<Who, Found>,
    waiting: BTreeMap<Who, Waiting>,
    /// Machines that may be made now, in thousandths.
    tokens: u64,
    filled: Millis,
}

/// A machine that was heard twice, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Who it is.
    pub who: Who,
    /// The Subnet that it asked on last, by name.
    pub subnet: String,
    /// What its firmware told.
    pub facts: Facts,
    /// When it was first heard.
    pub first: Millis,
    /// When it was last heard.
    pub last: Millis,
    /// How often it asked.
    pub asked: u64,
}

/// A Machine of discovery that is there and waits for approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What its status says of it; `asked` is 0 where it says nothing yet.
    pub found: Found,
    /// Whether it is still as discovery made it.
    pub untouched: bool,
}

#[derive(Debug)]
struct Waiting {
    found: Found,
    untouched: bool,
    made: Millis,
    /// The `last` that was noted down; `None` where nothing was.
    noted: Option<Millis>,
    /// Whether it was seen among the Machines.
    stands: bool,
    /// Whether it turned out to be somebody's.
    kept: bool,
}

/// What became of a sighting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It was heard for the first time: a second one is waited for.
    Once,
    /// It is a candidate from now on.
    Candidate,
    /// It is known: when it was last seen was noted.
    Again,
    /// It came to nothing.
    Dropped(Dropped),
}

/// Why a sighting came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dropped {
    /// The same packet a moment ago: two relays passed it on.
    Doubled,
    /// Its Subnet has as many candidates as it may have.
    SubnetFull,
    /// There are as many candidates as there may be.
    Full,
    /// Its namespace has as many Machines that wait for approval as it may have.
    NamespaceFull,
    /// Its object waits for approval, and is none that discovery made.
    NotOurs,
}

impl Dropped {
    /// Its name in metrics and log lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Doubled => "doubled",
            Self::SubnetFull => "subnet-full",
            Self::Full => "full",
            Self::NamespaceFull => "namespace-full",
            Self::NotOurs => "not-ours",
        }
    }
}

// === impl Discovery ===

impl Discovery {
    /// Nothing is known yet. `seed` is to be a secret: who knows it can choose
    /// MAC addresses that make us forget those of others.
    #[must_use]
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            glimpses: Glimpses::new(seed),
            candidates: BTreeMap::new(),
            waiting: BTreeMap::new(),
            tokens: u64::from(limits.burst) * 1000,
            filled: Millis::default(),
        }
    }

    /// Takes a sighting in.
    pub fn see(&mut self, sighting: Sighting) -> Seen {
        let who = &sighting.who;
        let found = match self.waiting.get_mut(who) {
            Some(waiting) => Some(&mut waiting.found),
            None => self.candidates.get_mut(who),
        };
        if let Some(found) = found {
            found.hear(sighting);
            return Seen::Again;
        }
        if sighting.waits {
            return Seen::Dropped(Dropped::NotOurs);
        }
        let first = match self.glimpses.hear(sighting.at, who) {
            Glimpse::First => return Seen::Once,
            Glimpse::TooSoon => return Seen::Dropped(Dropped::Doubled),
            Glimpse::Again(first) => first,
        };
        if let Some(full) = self.is_full(who, &sighting.subnet) {
            return Seen::Dropped(full);
        }
        let found = Found {
            who: who.clone(),
            subnet: sighting.subnet,
            facts: sighting.facts,
            first,
            last: sighting.at,
            asked: 2,
        };
        self.candidates.insert(sighting.who, found);
        Seen::Candidate
    }

    /// Why there is no room for one more candidate.
    fn is_full(&self, who: &Who, subnet: &str) -> Option<Dropped> {
        let all = self.candidates.values();
        let of_subnet = all.filter(|found| found.is_of(&who.namespace, subnet));
        if self.waiting_in(&who.namespace) >= self.limits.waiting {
            Some(Dropped::NamespaceFull)
        } else if self.candidates.len() >= MAX_CANDIDATES {
            Some(Dropped::Full)
        } else if of_subnet.count() >= MAX_OF_SUBNET {
            Some(Dropped::SubnetFull)
        } else {
            None
        }
    }

    fn waiting_in(&self, namespace: &str) -> usize {
        let all = self.waiting.keys();
        all.filter(|who| who.namespace == namespace).count()
    }

    /// The Machines that are to be made now, as far as rate and room allow;
    /// they count as made. `is_known` says whether an object names it by now.
    ///
    /// Of several Subnets the one with the fewest that wait comes first: a
    /// flood on one holds up none of the others.
    pub fn due(&mut self, now: Millis, is_known: impl Fn(&Who) -> bool) -> Vec<Found> {
        self.candidates
            .retain(|who, found| now.since(found.last) <= WINDOW_MILLIS && !is_known(who));
        self.refill(now);
        let mut due = Vec::new();
        while self.tokens >= 1000
            && let Some(found) = self.next()
        {
            self.tokens -= 1000;
            self.candidates.remove(&found.who);
            let waiting = Waiting {
                found: found.clone(),
                untouched: true,
                made: now,
                noted: None,
                stands: false,
                kept: false,
            };
            self.waiting.insert(found.who.clone(), waiting);
            due.push(found);
        }
        due
    }

    fn refill(&mut self, now: Millis) {
        let fresh = now
            .since(self.filled)
            .saturating_mul(u64::from(self.limits.per_second));
        let most = u64::from(self.limits.burst) * 1000;
        self.tokens = self.tokens.saturating_add(fresh).min(most);
        self.filled = now;
    }

    /// The candidate whose turn it is.
    fn next(&self) -> Option<Found> {
        let mut of_namespace: BTreeMap<&str, usize> = BTreeMap::new();
        let mut of_subnet: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for Waiting { found, .. } in self.waiting.values() {
            let namespace = found.who.namespace.as_str();
            *of_namespace.entry(namespace).or_default() += 1;
            *of_subnet.entry((namespace, &found.subnet)).or_default() += 1;
        }
        let has_room = |found: &&Found| {
            let waiting = of_namespace.get(found.who.namespace.as_str());
            waiting.is_none_or(|waiting| *waiting < self.limits.waiting)
        };
        let turn = |found: &&Found| {
            let key = (found.who.namespace.as_str(), found.subnet.as_str());
            (
                of_subnet.get(&key).copied().unwrap_or_default(),
                found.first,
            )
        };
        let next = self.candidates.values().filter(has_room).min_by_key(turn);
        next.cloned()
    }

    /// The Machine of `who` could not be made, or is none of ours: it may
    /// become a candidate again.
    pub fn not_made(&mut self, who: &Who) {
        self.waiting.remove(who);
    }

    /// These, and no others, are the Machines of discovery that wait now.
    /// Candidates that ask no more are forgotten.
    pub fn sync(&mut self, now: Millis, standing: impl IntoIterator<Item = Standing>) {
        let mut standing_now = BTreeSet::new();
        for Standing { found, untouched } in standing {
            standing_now.insert(found.who.clone());
            self.candidates.remove(&found.who);
            let told = found.last;
            let waiting = self
                .waiting
                .entry(found.who.clone())
                .or_insert_with(|| Waiting {
                    made: now,
                    noted: (found.asked > 0).then_some(told),
                    found,
                    untouched,
                    stands: true,
                    kept: false,
                });
            // Another replica may have heard it later than we did.
            waiting.found.last = waiting.found.last.max(told);
            waiting.untouched = untouched;
            waiting.stands = true;
        }
        self.candidates
            .retain(|_, found| now.since(found.last) <= WINDOW_MILLIS);
        self.waiting.retain(|who, waiting| {
            let settling = !waiting.stands && now.since(waiting.made) < SETTLE_MILLIS;
            settling || standing_now.contains(who)
        });
    }

    /// Machines whose status is to be written: it was not yet, or is old. They
    /// count as noted; `most` at once.
    pub fn to_note(&mut self, most: usize) -> Vec<Found> {
        let pause = self.limits.note_millis();
        let is_due = |waiting: &&mut Waiting| match waiting.noted {
            _ if !waiting.stands => false,
            None => true,
            Some(noted) => waiting.found.last.since(noted) >= pause.max(1),
        };
        let due = self.waiting.values_mut().filter(is_due).take(most);
        due.map(|waiting| {
            waiting.noted = Some(waiting.found.last);
            waiting.found.clone()
        })
        .collect()
    }

    /// What was to be noted of `who` was not.
    pub fn not_noted(&mut self, who: &Who) {
        if let Some(waiting) = self.waiting.get_mut(who) {
            waiting.noted = None;
        }
    }

    /// Machines that nobody approved, nobody touched, and that were not seen
    /// for so long that they are to be deleted; the first `most`.
    #[must_use]
    pub fn expired(&self, now: Millis, most: usize) -> Vec<Who> {
        let is_over = |waiting: &&Waiting| {
            waiting.stands
                && waiting.untouched
                && !waiting.kept
                && now.since(waiting.found.last) >= self.limits.ttl_millis
        };
        let over = self.waiting.values().filter(is_over).take(most);
        over.map(|waiting| waiting.found.who.clone()).collect()
    }

    /// Somebody has touched the Machine of `who` in a way that [`Standing`] does
    /// not show: it is never deleted.
    pub fn keep(&mut self, who: &Who) {
        if let Some(waiting) = self.waiting.get_mut(who) {
            waiting.kept = true;
        }
    }

    /// The Machine of `who` is gone.
    pub fn forget(&mut self, who: &Who) {
        self.waiting.remove(who);
    }

    /// What is known of a Machine that waits.
    #[must_use]
    pub fn waiting(&self, who: &Who) -> Option<&Found> {
        self.waiting.get(who).map(|waiting| &waiting.found)
    }

    /// How many candidates there are, and how many Machines that wait.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.candidates.len(), self.waiting.len())
    }
}

// === impl Found ===

impl Found {
    fn hear(&mut self, sighting: Sighting) {
        self.last = self.last.max(sighting.at);
        self.asked = self.asked.saturating_add(1);
        self.subnet = sighting.subnet;
        self.facts.update(sighting.facts);
    }

    fn is_of(&self, namespace: &str, subnet: &str) -> bool {
        self.who.namespace == namespace && self.subnet == subnet
    }
}
