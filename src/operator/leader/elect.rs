//! The rule by which one of several replicas leads.
//!
//! It is client-go's: a Lease object names its holder, who renews it; others
//! take it when it has not changed for its duration, measured by their own
//! monotonic clock from when they saw it change, so that wall clocks need not
//! agree. A holder leads until [`Timing::renew`] after the start of the last
//! write of its own that it knows to have succeeded, which is sooner than
//! anybody else can take the object. All writes are conditional on the version
//! that was read.
//!
//! Stricter than client-go in one point: an object that is missing is made
//! vacant, and a vacant object is waited for like a held one, unless its last
//! holder gave it up. Else whoever deletes it makes two leaders. Its terms begin
//! at a number that no earlier object is likely to have had.
//!
//! No I/O, no clock: time comes in as an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use jiff::Timestamp;

use super::record::{RELEASED_SECS, Record, later, scattered};
use super::timing::{MAX_LEASE, Timing};
use crate::clock::Uptime;

/// The longest wait between two looks at the object, as a multiple of
/// [`Timing::retry`]: replicas that start together must not stay in step.
pub const MAX_WAIT: f64 = 2.2;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read the object.
    Read,
    /// Make it.
    Create(Record),
    /// Write it where `version` still holds.
    Update(Record),
    /// Nothing before this time.
    Wait(Uptime),
}

/// What came of a read or a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The object as it is now.
    Found(Record),
    /// There is none.
    Absent,
    /// Somebody wrote first.
    Conflict,
    /// The API server refused: it was reached, and nothing was written.
    Refused,
    /// No answer. Whether a write was carried out is unknown.
    Lost,
}

/// How a replica stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// It has just started and does not know.
    Starting,
    /// It leads.
    Leader {
        /// The number of its term.
        term: u32,
    },
    /// It does not, and sees the object.
    Follower {
        /// Who has it; `None` when nobody does.
        holder: Option<String>,
        /// The number of that one's term.
        term: u32,
        /// Whether the holder was seen to write: it is no memory of one that died.
        alive: bool,
    },
    /// The API server is out of reach, or does not let it renew what it has.
    Isolated,
}

/// One replica's view of the election.
#[derive(Clone, Debug)]
pub struct Elector {
    identity: String,
    ordinal: u8,
    timing: Timing,
    started: Uptime,
    seen: Seen,
    /// When the last write that made or kept us the holder was begun.
    held: Option<Uptime>,
    /// The last write that would make or keep us the holder and that got no
    /// answer, and when it was begun: a read may show that it was carried out.
    unanswered: Option<(Record, Uptime)>,
    /// The latest time that a write of ours says.
    said: Timestamp,
    /// When the last request that was answered was begun.
    contact: Option<Uptime>,
    /// What is under way.
    asked: Option<(Asked, Uptime)>,
    next: Uptime,
    /// The term that this replica has made way for.
    made_way: Option<u32>,
    /// The object that was seen last, and the highest term of any: the number
    /// of a term must not come again in another object.
    uid: String,
    highest: u32,
    /// When every other replica was seen to know our term.
    settled: Option<(u32, Uptime)>,
    /// The addresses from which this replica serves.
    servers: BTreeSet<Ipv4Addr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// Nothing certain; read first.
    Nothing,
    Absent,
    Record {
        record: Record,
        /// When we saw it become what it is.
        changed: Uptime,
        /// Whether its holder was seen to write.
        alive: bool,
        /// Whether it may have changed since: read before writing.
        stale: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Read,
    Create,
    Update,
}

// === impl Leadership ===

impl Leadership {
    /// Its name in log lines and answers.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Leader { .. } => "leader",
            Self::Follower { .. } => "follower",
            Self::Isolated => "isolated",
        }
    }

    /// Whether it is [`Leadership::Leader`].
    #[must_use]
    pub const fn is_leader(&self) -> bool {
        matches!(self, Self::Leader { .. })
    }
}

// === impl Elector ===

impl Elector {
    /// A replica that starts now. `identity` must be nobody else's, not even
    /// that of an earlier process of the same replica.
    #[must_use]
    pub const fn new(identity: String, ordinal: u8, timing: Timing, now: Uptime) -> Self {
        Self {
            identity,
            ordinal,
            timing,
            started: now,
            seen: Seen::Nothing,
            held: None,
            unanswered: None,
            said: Timestamp::MIN,
            contact: None,
            asked: None,
            next: now,
            made_way: None,
            uid: String::new(),
            highest: 0,
            settled: None,
            servers: BTreeSet::new(),
        }
    }

    /// Its times.
    #[must_use]
    pub const fn timing(&self) -> Timing {
        self.timing
    }

    /// Whether this replica leads at `now`. Ask at each use: a process that
    /// was frozen finds its time over.
    #[must_use]
    pub fn is_leader(&self, now: Uptime) -> bool {
        self.held
            .is_some_and(|begun| begun <= now && now < begun.plus(self.timing.renew))
    }

    /// How this replica stands at `now`.
    #[must_use]
    pub fn state(&self, now: Uptime) -> Leadership {
        let within = |at: Uptime| now < at.plus(self.timing.renew);
        if let (true, Some(record)) = (self.is_leader(now), self.record()) {
            return Leadership::Leader { term: record.term };
        }
        match (&self.seen, self.contact) {
            (_, None) if within(self.started) => Leadership::Starting,
            (Seen::Record { record, alive, .. }, Some(contact))
                if within(contact) && record.holder != self.identity =>
            {
                Leadership::Follower {
                    holder: Some(record.holder.clone()).filter(|holder| !holder.is_empty()),
                    term: record.term,
                    alive: *alive,
                }
            }
            (Seen::Absent | Seen::Nothing, Some(contact)) if within(contact) => {
                Leadership::Follower {
                    holder: None,
                    term: 0,
                    alive: false,
                }
            }
            _ => Leadership::Isolated,
        }
    }

    /// How long every other of `replicas` has been known to have made way for
    /// our term; `None` while one has not, or while we do not lead.
    #[must_use]
    pub fn settled_for(&self, now: Uptime) -> Option<Duration> {
        let term = self.record().filter(|_| self.is_leader(now))?.term;
        let (settled, since) = self.settled?;
        (settled == term).then(|| now.since(since))
    }

    /// Notes that this replica keeps nothing that the holder of `term` may give
    /// away. The object will say so.
    pub fn make_way(&mut self, term: u32) {
        self.made_way = Some(term);
    }

    /// The term that this replica last made way for.
    #[must_use]
    pub const fn made_way(&self) -> Option<u32> {
        self.made_way
    }

    /// Notes from which addresses this replica serves. The object will say so.
    pub fn serve_from(&mut self, servers: BTreeSet<Ipv4Addr>) {
        self.servers = servers;
    }

    /// The addresses from which other replicas serve, as the object says.
    #[must_use]
    pub fn siblings(&self) -> BTreeSet<Ipv4Addr> {
        let said = self.record().into_iter().flat_map(|record| &record.servers);
        said.filter(|(ordinal, _)| **ordinal != self.ordinal)
            .flat_map(|(_, servers)| servers.iter().copied())
            .collect()
    }

    /// The next thing to do. `wall` is the wall clock, for the object only;
    /// `jitter` a random number from 0 to 1. What is asked for is begun now,
    /// and [`Elector::outcome`] must tell what came of it.
    pub fn step(&mut self, now: Uptime, wall: Timestamp, jitter: f64) -> Action {
        if now < self.next {
            return Action::Wait(self.next);
        }
        let (asked, action) = match &self.seen {
            Seen::Absent => (Asked::Create, Action::Create(self.vacant(wall))),
            Seen::Record {
                record,
                changed,
                stale: false,
                ..
            } => match self.wanted(record, *changed, now, wall) {
                Some(record) => (Asked::Update, Action::Update(record)),
                None => (Asked::Read, Action::Read),
            },
            Seen::Nothing | Seen::Record { .. } => (Asked::Read, Action::Read),
        };
        if let Action::Update(record) = &action {
            let holds = record.holder == self.identity;
            self.unanswered = holds.then(|| (record.clone(), now));
            if holds {
                self.said = self.said.max(record.renewed);
            }
        }
        self.asked = Some((asked, now));
        self.next = now.plus(self.pause(jitter));
        action
    }

    /// What came of the last step. `others` are the ordinals of all other
    /// replicas.
    pub fn outcome(&mut self, reply: Reply, now: Uptime, mut others: impl Iterator<Item = u8>) {
        let Some((asked, begun)) = self.asked.take() else {
            return;
        };
        if reply != Reply::Lost {
            self.contact = Some(begun);
        }
        match reply {
            Reply::Found(record) => {
                let ours = record.holder == self.identity;
                if ours {
                    self.hold(asked, begun, now, &record);
                }
                if !ours {
                    self.held = None;
                }
                if ours && others.all(|other| record.known.get(&other) == Some(&record.term)) {
                    if self.settled.is_none_or(|(term, _)| term != record.term) {
                        self.settled = Some((record.term, now));
                    }
                } else {
                    self.settled = None;
                }
                self.observe(record, now);
                // A read that shows what can be taken is followed by taking it.
                if asked == Asked::Read && self.wants_now(now) {
                    self.next = now;
                }
            }
            Reply::Absent => {
                // Whoever deleted it took it from us, too.
                self.seen = Seen::Absent;
                self.held = None;
                self.settled = None;
                self.next = now;
            }
            Reply::Conflict => {
                self.look_again();
                self.next = now;
            }
            Reply::Refused | Reply::Lost => self.look_again(),
        }
    }

    /// The object that gives our lease up, for a clean end: write it once.
    /// This replica leads no more, whatever comes of it.
    pub fn release(&mut self, now: Uptime, wall: Timestamp) -> Option<Record> {
        let led = self.is_leader(now);
        self.held = None;
        self.next = Uptime(u64::MAX);
        let record = self.record().filter(|_| led)?;
        Some(Record {
            holder: String::new(),
            lease_secs: RELEASED_SECS,
            renewed: later(record.renewed, wall),
            ..record.clone()
        })
    }

    /// Notes what `record`, which is ours, shows of the write that made it so:
    /// that was the one just answered, or one whose answer was lost. No two of
    /// our writes say the same time, so that one is not taken for another.
    fn hold(&mut self, asked: Asked, begun: Uptime, now: Uptime, record: &Record) {
        if asked == Asked::Update {
            self.held = Some(begun);
            self.unanswered = None;
            return;
        }
        let carried_out = self
            .unanswered
            .take_if(|(written, _)| written.is_as(record));
        if let Some((_, begun)) = carried_out {
            self.held = self.held.max(Some(begun));
            // Much of its time is over already.
            self.next = now.max(begun.plus(self.timing.retry));
        }
    }

    const fn record(&self) -> Option<&Record> {
        match &self.seen {
            Seen::Record { record, .. } => Some(record),
            Seen::Nothing | Seen::Absent => None,
        }
    }

    /// The write that would do us good at `now`, if any.
    fn wanted(
        &self,
        record: &Record,
        changed: Uptime,
        now: Uptime,
        wall: Timestamp,
    ) -> Option<Record> {
        let ours = record.holder == self.identity;
        if ours || record.is_released() || now >= changed.plus(self.patience(record)) {
            let mut taken = Record {
                holder: self.identity.clone(),
                lease_secs: self.timing.lease_secs(),
                renewed: later(record.renewed.max(self.said), wall),
                ..record.clone()
            };
            if !ours {
                taken.acquired = taken.renewed;
                taken.term = record.term.max(self.highest).saturating_add(1);
            }
            self.say_servers(&mut taken);
            return Some(taken);
        }
        let mut saying = record.clone();
        if let Some(term) = self.made_way.filter(|term| *term == record.term) {
            saying.known.insert(self.ordinal, term);
        }
        self.say_servers(&mut saying);
        (saying != *record).then_some(saying)
    }

    /// Has `record` say from where this replica serves, as far as it knows:
    /// at its start it serves from nowhere yet.
    fn say_servers(&self, record: &mut Record) {
        if !self.servers.is_empty() {
            record.servers.insert(self.ordinal, self.servers.clone());
        }
    }

    fn wants_now(&self, now: Uptime) -> bool {
        match &self.seen {
            Seen::Record {
                record,
                changed,
                stale: false,
                ..
            } => {
                let any = Timestamp::UNIX_EPOCH;
                // Ours is renewed in time; after a loss it is written at once.
                let renews = record.holder == self.identity && self.is_leader(now);
                !renews && self.wanted(record, *changed, now, any).is_some()
            }
            Seen::Record { .. } | Seen::Nothing | Seen::Absent => false,
        }
    }

    /// How long a record is left alone that does not change.
    fn patience(&self, record: &Record) -> Duration {
        let promised = Duration::from_secs(record.lease_secs.into());
        promised.clamp(self.timing.lease, MAX_LEASE)
    }

    fn vacant(&self, wall: Timestamp) -> Record {
        Record {
            uid: String::new(),
            version: String::new(),
            holder: String::new(),
            lease_secs: self.timing.lease_secs().max(RELEASED_SECS + 1),
            acquired: wall,
            renewed: wall,
            term: self.highest.saturating_add(1).max(scattered(wall)),
            known: BTreeMap::new(),
            servers: BTreeMap::new(),
        }
    }

    fn observe(&mut self, record: Record, now: Uptime) {
        self.highest = self.highest.max(record.term);
        if record.uid != self.uid {
            // Somebody deleted the object: no term of another was made way for.
            self.uid.clone_from(&record.uid);
            self.made_way = None;
            self.settled = None;
        }
        let (changed, alive) = match &self.seen {
            Seen::Record {
                record: before,
                changed,
                alive,
                ..
            } => {
                if before.is_as(&record) {
                    (*changed, *alive)
                } else {
                    (now, !record.holder.is_empty())
                }
            }
            Seen::Nothing | Seen::Absent => (now, false),
        };
        self.seen = Seen::Record {
            record,
            changed,
            alive,
            stale: false,
        };
    }

    fn look_again(&mut self) {
        match &mut self.seen {
            Seen::Record { stale, .. } => *stale = true,
            seen @ (Seen::Nothing | Seen::Absent) => *seen = Seen::Nothing,
        }
    }

    /// The holder renews without jitter; the others spread their looks.
    fn pause(&self, jitter: f64) -> Duration {
        if self.held.is_some() {
            return self.timing.retry;
        }
        let factor = (MAX_WAIT - 1.0).mul_add(jitter.clamp(0.0, 1.0), 1.0);
        self.timing.retry.mul_f64(factor)
    }
}

#[cfg(test)]
#[path = "elect_tests/mod.rs"]
mod tests;
