//! What a person wants to read below `kubectl describe`: Events, and when
//! there is one.

use std::borrow::Cow;
use std::collections::HashMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::boots::short;
use super::conditions::{About, Truth, cut, find};
use crate::boot::MacAddress;
use crate::timeline::{Boot, BootList, BootResult};

/// MAC addresses whose boots are remembered.
const MAX_TOLD: usize = 20_000;
/// Bytes of a note; the API server takes 1024.
const MAX_NOTE: usize = 1000;

/// One Event, without its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Why, in CamelCase.
    pub reason: Cow<'static, str>,
    /// Whether somebody should look.
    pub is_warning: bool,
    /// In words.
    pub note: String,
}

/// What became of boots since they were last looked at.
#[derive(Debug, Default)]
pub struct Told(HashMap<MacAddress, (u64, BootResult)>);

/// One thing that became of a boot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turn<'a> {
    /// The boot.
    pub boot: &'a Boot,
    /// What became of it; `None`: it began.
    pub ended: Option<BootResult>,
    /// Whether it got to its system only now.
    pub is_success: bool,
}

// === impl Told ===

impl Told {
    /// What became of `boots` since the last call.
    pub fn turns<'a>(&mut self, boots: &'a BootList) -> Vec<Turn<'a>> {
        if self.0.len() >= MAX_TOLD {
            self.0.clear();
        }
        let mut turns = Vec::new();
        // It may yet turn out to be another server's boot.
        let running = boots.running.iter().filter(|boot| !boot.is_mere_offer());
        for boot in boots.past.iter().chain(running) {
            let number = boot.id.number;
            let before = self.0.get(&boot.id.mac).copied();
            let known = before.filter(|(told, _)| *told == number);
            if before.is_some_and(|(told, _)| told > number)
                || known.is_some_and(|(_, result)| result == boot.result)
            {
                continue;
            }
            self.0.insert(boot.id.mac, (number, boot.result));
            let turn = |ended| Turn {
                boot,
                ended,
                is_success: ended.is_some_and(is_success)
                    && !known.is_some_and(|(_, result)| is_success(result)),
            };
            if known.is_none() {
                turns.push(turn(None));
            }
            if !boot.is_running() {
                turns.push(turn(Some(boot.result)));
            }
        }
        turns
    }
}

/// Whether a boot that ended so got to its system.
const fn is_success(result: BootResult) -> bool {
    matches!(
        result,
        BootResult::HandedOff | BootResult::Chained | BootResult::PhonedHome
    )
}

/// The Event of a turn.
#[must_use]
pub(super) fn of_boot(turn: &Turn<'_>) -> Option<Notice> {
    let boot = turn.boot;
    let profile = boot.profile.as_deref().unwrap_or("no profile");
    let took = short(boot.duration_ms());
    let said = boot.message.as_ref().map(|word| format!(": {word}"));
    let said = said.unwrap_or_default();
    let (reason, is_warning, note) = match turn.ended {
        None => {
            let arch = boot.architecture.map(|arch| arch.to_string());
            let arch = arch.unwrap_or_else(|| "an unknown architecture".to_owned());
            let note = format!("{} asks to boot, {arch}: boot {}", boot.mac, boot.id);
            ("Woke", false, note)
        }
        Some(BootResult::HandedOff) => (
            "HandedOff",
            false,
            format!("{profile} was sent whole in {took}; the machine runs on its own"),
        ),
        Some(BootResult::Chained) => (
            "Chained",
            false,
            format!("{profile} sent the machine on to another server in {took}"),
        ),
        Some(BootResult::PhonedHome) => {
            let note = format!("the system of {profile} called back after {took}{said}");
            ("PhonedHome", false, note)
        }
        Some(BootResult::Failed) => {
            let note = format!("the system of {profile} called back that it failed{said}");
            ("Failed", true, note)
        }
        Some(BootResult::LocalBoot) => (
            "LocalBoot",
            false,
            "the machine was sent to its disk".to_owned(),
        ),
        Some(BootResult::Stalled) => {
            let at = boot.stalled_at.map_or("its end", |stage| stage.as_str());
            let why = boot.trouble.last().map(|it| format!(": {}", it.what));
            let why = why.unwrap_or_default();
            (
                "BootStalled",
                true,
                format!("the boot of {profile} stopped before {at}{why}"),
            )
        }
        Some(BootResult::Restarted | BootResult::Running) => return None,
    };
    Some(Notice::new(reason, is_warning, note))
}

/// The Events of conditions that became so with this status.
#[must_use]
pub(super) fn of_conditions(before: &[Condition], now: &[Condition]) -> Vec<Notice> {
    let mut notices: Vec<Notice> = Vec::new();
    for (about, bad) in [
        (About::Conflict, Truth::True),
        (About::Ready, Truth::False),
        (About::ForeignDhcp, Truth::True),
        (About::PoolExhausted, Truth::True),
    ] {
        let Some(condition) = find(now, about).filter(|it| it.status == bad.as_str()) else {
            continue;
        };
        let same =
            |old: &&Condition| old.status == condition.status && old.reason == condition.reason;
        let is_known = find(before, about).filter(same).is_some();
        let is_told = notices.iter().any(|told| told.note == condition.message);
        // What waits for a person says so in its columns.
        if is_known || is_told || condition.reason == "NotApproved" {
            continue;
        }
        let reason = if about == About::Ready {
            condition.reason.clone()
        } else {
            about.as_str().to_owned()
        };
        notices.push(Notice::new(reason, true, condition.message.clone()));
    }
    notices
}

// === impl Notice ===

impl Notice {
    /// An Event; a note that is too long is cut.
    #[must_use]
    pub fn new(reason: impl Into<Cow<'static, str>>, is_warning: bool, mut note: String) -> Self {
        cut(&mut note, MAX_NOTE);
        Self {
            reason: reason.into(),
            is_warning,
            note,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::conditions::{Judgement, Reason, settle};
    use super::*;

    fn conditions(judgements: &[(About, Truth, Reason, &str)]) -> Vec<Condition> {
        let judgements = judgements.iter();
        let judgements = judgements.map(|(about, truth, reason, message)| {
            Judgement::new(*about, *truth, *reason, *message)
        });
        settle(&[], judgements.collect(), 1, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn conditions_are_told_when_they_become_so() {
        let reasons = |before: &[Condition], now: &[Condition]| {
            let notices = of_conditions(before, now).into_iter();
            notices
                .map(|notice| notice.reason.into_owned())
                .collect::<Vec<_>>()
        };
        let good = conditions(&[(About::Ready, Truth::True, Reason::Served, "good")]);
        let twice = Reason::Problem("DuplicateMac");
        let bad = conditions(&[(About::Ready, Truth::False, twice, "twice")]);
        assert_eq!(reasons(&[], &good), [""; 0]);
        assert_eq!(reasons(&good, &bad), ["DuplicateMac"]);
        assert_eq!(reasons(&bad, &bad), [""; 0]);
        // One mistake, one Event.
        let both = conditions(&[
            (About::Ready, Truth::False, twice, "twice"),
            (About::Conflict, Truth::True, twice, "twice"),
        ]);
        assert_eq!(reasons(&good, &both), ["Conflict"]);
        let other = conditions(&[(About::Ready, Truth::False, Reason::NoSubnet, "none")]);
        assert_eq!(reasons(&bad, &other), ["NoSubnet"]);
        let waits = conditions(&[(About::Ready, Truth::False, Reason::NotApproved, "waits")]);
        assert_eq!(reasons(&good, &waits), [""; 0]);
    }
}
