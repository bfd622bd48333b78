//! Conditions: what is so, since when, why, and what to do about it.
//!
//! The shape is that of the Kubernetes API conventions, and the health that
//! GitOps tools read from it (kstatus) holds: an object is as it should be
//! where `Ready` is `True` and `observedGeneration` is its generation, it has
//! failed where `Stalled` is `True`, and it is under way otherwise. `Stalled`
//! and `Conflict` on kinds that rarely have one are there only while they are so.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Seconds that an object may be not ready before it counts as stalled, where
/// something else than itself may be what it waits for: a profile that is
/// applied in the same breath, an interface that is coming up.
pub(super) const PATIENCE_SECS: i64 = 60;
/// Bytes of a message; the API server takes 32 KiB.
const MAX_MESSAGE: usize = 1024;

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// The object is served as it says.
    Ready,
    /// It has not been ready for a while, or cannot be as it is written.
    Stalled,
    /// It and another object want the same.
    Conflict,
    /// Subnet: its interface is there and listened on.
    InterfaceReady,
    /// Subnet: machines chose another DHCP server.
    ForeignDhcp,
    /// Subnet: no address is left.
    PoolExhausted,
    /// BootProfile: its files are there.
    ArtifactsReady,
    /// BootProfile: its templates can be rendered.
    TemplatesValid,
    /// Artifact: it is on its way.
    Fetching,
    /// Machine: it is known what it boots.
    ProfileResolved,
    /// Machine: it may boot.
    Accepted,
    /// Machine: it runs what it booted last.
    Booted,
}

/// Whether it is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truth {
    /// Yes.
    True,
    /// No.
    False,
    /// Nobody can say yet.
    Unknown,
}

/// Why it is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The mistake of this name.
    Problem(&'static str),
    /// Nothing is wrong.
    Served,
    /// It is known and may boot.
    Approved,
    /// It waits for `approved: true`.
    NotApproved,
    /// It is sent to its disk, as it says.
    Local,
    /// Nobody looked yet.
    Starting,
    /// `mode: Disabled`.
    Disabled,
    /// Its interface does not serve.
    InterfaceDown,
    /// The interface is listened on.
    Listening,
    /// Other servers were heard of.
    ServersHeard,
    /// One was, beside which we are a proxy.
    BesideServer,
    /// It is looked whether there is one.
    Looking,
    /// There is one, and nobody is answered because of it.
    ForeignServer,
    /// None was.
    NoneHeard,
    /// All addresses are taken.
    AllTaken,
    /// Some are free.
    AddressesFree,
    /// There is no pool.
    NoPool,
    /// No Subnet of the namespace is served.
    NoSubnet,
    /// No rule gives a profile.
    NoProfile,
    /// `Machine.spec.profileRef`.
    ProfileRef,
    /// `BootProfile.spec.machineSelector`.
    MachineSelector,
    /// `Subnet.spec.defaultProfileRef`.
    SubnetDefault,
    /// `BootProfile.spec.default`.
    NamespaceDefault,
    /// The object is refused; nothing can be said of this.
    Refused,
    /// Every file is there.
    FilesPresent,
    /// Some files are not.
    FilesMissing,
    /// It is there, and verified as far as it can be.
    Fetched,
    /// It is on its way.
    Fetching,
    /// It waits for others to be fetched.
    Queued,
    /// It failed, and is tried again.
    Retrying,
    /// Every template can be rendered.
    Valid,
    /// No other object wants the same.
    NoConflict,
    /// It was never seen to boot.
    NeverBooted,
    /// It is booting.
    Booting,
    /// Everything was sent.
    HandedOff,
    /// It was sent on to another server.
    Chained,
    /// The system called back.
    PhonedHome,
    /// It was sent to its disk.
    LocalBoot,
    /// Its boot stopped on the way.
    BootStalled,
    /// It began anew.
    Restarted,
    /// The system called back: something went wrong.
    Failed,
}

/// One condition, without its past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What it is about.
    pub about: About,
    /// Whether it is so.
    pub truth: Truth,
    /// Why.
    pub reason: Reason,
    /// The same for people, with the cure.
    pub message: String,
}

/// The conditions that `judgements` make, after those that were there: the
/// time of the last transition moves where the status does, and only there.
#[must_use]
pub(super) fn settle(
    before: &[Condition],
    judgements: Vec<Judgement>,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let settled = judgements.into_iter().map(|judgement| {
        let old = find(before, judgement.about);
        let same = old.filter(|old| old.status == judgement.truth.as_str());
        let since = same.map_or_else(|| seconds(now), |old| old.last_transition_time.0);
        Condition {
            type_: judgement.about.as_str().to_owned(),
            status: judgement.truth.as_str().to_owned(),
            reason: judgement.reason.as_str().to_owned(),
            message: shortened(judgement.message),
            observed_generation: Some(generation),
            last_transition_time: Time(since),
        }
    });
    settled.collect()
}

/// The `Stalled` that goes with `ready`, if any. `for_good`: only a change of
/// the object itself can cure it.
#[must_use]
pub(super) fn stalled(
    before: &[Condition],
    ready: &Judgement,
    for_good: bool,
    now: Timestamp,
) -> Option<Judgement> {
    // Who waits for a person is not stuck.
    if ready.truth == Truth::True || ready.reason == Reason::NotApproved {
        return None;
    }
    let since = find(before, About::Ready)
        .filter(|old| old.status == ready.truth.as_str())
        .map(|old| old.last_transition_time.0);
    let waited = since.is_some_and(|since| now.as_second() - since.as_second() >= PATIENCE_SECS);
    (for_good || waited).then(|| Judgement {
        about: About::Stalled,
        truth: Truth::True,
        ..ready.clone()
    })
}

/// The condition about `about`.
#[must_use]
pub fn find(conditions: &[Condition], about: About) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == about.as_str())
}

/// The same time without its fraction, as the API has it.
#[must_use]
pub(super) fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn shortened(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        cut(&mut message, MAX_MESSAGE - '…'.len_utf8());
        message.push('…');
    }
    message
}

/// Cuts `text` to `most` bytes, between letters.
pub(super) fn cut(text: &mut String, most: usize) {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

// === impl Judgement ===

impl Judgement {
    /// A judgement.
    #[must_use]
    pub fn new(about: About, truth: Truth, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            about,
            truth,
            reason,
            message: message.into(),
        }
    }
}

// === impl About ===

impl About {
    /// The condition's `type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Stalled => "Stalled",
            Self::Conflict => "Conflict",
            Self::InterfaceReady => "InterfaceReady",
            Self::ForeignDhcp => "ForeignDhcp",
            Self::PoolExhausted => "PoolExhausted",
            Self::ArtifactsReady => "ArtifactsReady",
            Self::TemplatesValid => "TemplatesValid",
            Self::Fetching => "Fetching",
            Self::ProfileResolved => "ProfileResolved",
            Self::Accepted => "Accepted",
            Self::Booted => "Booted",
        }
    }
}

// === impl Truth ===

impl Truth {
    /// The condition's `status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }

    /// `True` or `False`.
    #[must_use]
    pub const fn of(is_so: bool) -> Self {
        if is_so { Self::True } else { Self::False }
    }
}

// === impl Reason ===

impl Reason {
    /// The condition's `reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Problem(name) => name,
            Self::Served => "Served",
            Self::Approved => "Approved",
            Self::NotApproved => "NotApproved",
            Self::Local => "Local",
            Self::Starting => "Starting",
            Self::Disabled => "Disabled",
            Self::InterfaceDown => "InterfaceDown",
            Self::Listening => "Listening",
            Self::ServersHeard => "ServersHeard",
            Self::BesideServer => "BesideServer",
            Self::Looking => "Looking",
            Self::ForeignServer => "ForeignServer",
            Self::NoneHeard => "NoneHeard",
            Self::AllTaken => "AllTaken",
            Self::AddressesFree => "AddressesFree",
            Self::NoPool => "NoPool",
            Self::NoSubnet => "NoSubnet",
            Self::NoProfile => "NoProfile",
            Self::ProfileRef => "ProfileRef",
            Self::MachineSelector => "MachineSelector",
            Self::SubnetDefault => "SubnetDefault",
            Self::NamespaceDefault => "NamespaceDefault",
            Self::Refused => "Refused",
            Self::FilesPresent => "FilesPresent",
            Self::FilesMissing => "FilesMissing",
            Self::Fetched => "Fetched",
            Self::Fetching => "Fetching",
            Self::Queued => "Queued",
            Self::Retrying => "Retrying",
            Self::Valid => "Valid",
            Self::NoConflict => "NoConflict",
            Self::NeverBooted => "NeverBooted",
            Self::Booting => "Booting",
            Self::HandedOff => "HandedOff",
            Self::Chained => "Chained",
            Self::PhonedHome => "PhonedHome",
            Self::LocalBoot => "LocalBoot",
            Self::BootStalled => "BootStalled",
            Self::Restarted => "Restarted",
            Self::Failed => "Failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ready(truth: Truth, reason: Reason) -> Judgement {
        Judgement::new(About::Ready, truth, reason, reason.as_str())
    }

    #[test]
    fn the_time_moves_with_the_status_only() {
        let first = settle(&[], vec![ready(Truth::True, Reason::Served)], 1, at(100));
        let told = |conditions: &[Condition]| {
            let one = &conditions[0];
            let since = one.last_transition_time.0.as_second();
            (since, one.reason.clone(), one.observed_generation)
        };
        assert_eq!(told(&first), (100, "Served".to_owned(), Some(1)));
        // Another reason, another generation: the status is the same.
        let second = settle(&first, vec![ready(Truth::True, Reason::Local)], 2, at(200));
        assert_eq!(told(&second), (100, "Local".to_owned(), Some(2)));
        let third = settle(
            &second,
            vec![ready(Truth::False, Reason::Local)],
            2,
            at(300),
        );
        assert_eq!(told(&third), (300, "Local".to_owned(), Some(2)));
        // What is not said any more is gone.
        assert!(settle(&third, Vec::new(), 2, at(400)).is_empty());
    }

    #[test]
    fn what_is_wrong_for_good_is_stalled_at_once_and_the_rest_in_time() {
        let wrong = ready(Truth::False, Reason::Problem("BadMac"));
        let since =
            |judgement: &Judgement, second| settle(&[], vec![judgement.clone()], 1, at(second));
        let is = |before: &[Condition], ready: &Judgement, for_good, now| {
            stalled(before, ready, for_good, at(now)).is_some()
        };
        assert!(is(&[], &wrong, true, 0));
        assert!(!is(&[], &wrong, false, 0));
        let before = since(&wrong, 100);
        assert!(!is(&before, &wrong, false, 159));
        assert!(is(&before, &wrong, false, 160));
        // It was ready until now.
        let good = since(&ready(Truth::True, Reason::Served), 0);
        assert!(!is(&good, &wrong, false, 500));
        assert!(!is(&good, &ready(Truth::True, Reason::Served), false, 500));
        let waits = ready(Truth::False, Reason::NotApproved);
        assert!(!is(&since(&waits, 0), &waits, false, 9999));
        let told = stalled(&before, &wrong, false, at(160)).unwrap();
        assert_eq!((told.about, told.truth), (About::Stalled, Truth::True));
        assert_eq!(told.message, wrong.message);
    }

    #[test]
    fn long_messages_are_cut_between_letters() {
        let long = Judgement::new(About::Ready, Truth::False, Reason::Failed, "ä".repeat(2000));
        let settled = settle(&[], vec![long], 1, at(0));
        assert!(settled[0].message.len() <= MAX_MESSAGE);
        assert!(settled[0].message.ends_with('…'));
    }
}
