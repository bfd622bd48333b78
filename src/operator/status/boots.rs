//! Boots as they stand in the status of a Machine.

use std::borrow::Cow;

use jiff::Timestamp;

use super::machine::time;
use crate::api::{BootStatus, MAX_STATUS_BOOTS, StageStatus};
use crate::timeline::{Boot, BootList, BootResult, KEPT_BOOTS};

/// Seconds after which a boot that nobody tells more of has stalled: the
/// replica that saw it is gone, or has forgotten it.
pub(super) const FORGOTTEN_SECS: i64 = 15 * 60;
/// Stages of a boot in the status; the schema takes no more.
const MAX_STAGES: usize = 64;

/// A boot as it stands in the status.
#[must_use]
pub(super) fn boot_status(boot: &Boot, replica: &str) -> BootStatus {
    let stages = boot.stages.iter().take(MAX_STAGES);
    BootStatus {
        stages: stages
            .map(|record| StageStatus {
                stage: record.stage.as_str().to_owned(),
                at_ms: record.at_ms.into(),
                duration_ms: record.duration_ms.into(),
                bytes: record.bytes,
                what: record.what.to_string(),
            })
            .collect(),
        ..summary(boot, replica)
    }
}

/// The same without its stages.
#[must_use]
pub fn summary(boot: &Boot, replica: &str) -> BootStatus {
    BootStatus {
        id: boot.id.to_string(),
        mac: Some(boot.mac),
        started: time(boot.started),
        result: Some(boot.result.as_str().to_owned()),
        stage: boot.last_stage().map(|stage| stage.as_str().to_owned()),
        profile: boot.profile.as_ref().map(ToString::to_string),
        entry: boot.entry.as_ref().map(ToString::to_string),
        architecture: boot.architecture,
        loader: boot.loader.as_ref().map(ToString::to_string),
        address: boot.address,
        duration_ms: boot.duration_ms(),
        bytes: boot.bytes,
        consumed_generation: boot.consumed,
        message: message(boot),
        stages: Vec::new(),
        replica: Some(replica.to_owned()),
    }
}

/// What went wrong, the last thing first.
fn message(boot: &Boot) -> Option<String> {
    let missing = boot
        .stalled_at
        .map(|stage| format!("{} did not come", stage.as_str()));
    let trouble = boot.trouble.last().map(|trouble| trouble.what.to_string());
    let said = boot.message.as_ref().map(ToString::to_string);
    let all: Vec<String> = [said, missing, trouble].into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// The latest of the boots that this replica knows. An offer that may go to
/// nothing, for the machine chooses among servers, is none.
#[must_use]
pub fn latest(boots: &BootList) -> Option<&Boot> {
    let running = boots.running.iter().filter(|boot| !boot.is_mere_offer());
    let all = boots.past.iter().chain(running);
    all.max_by_key(|boot| (boot.started, boot.is_running(), boot.id))
}

/// The later of what this replica saw and what the status tells of all.
#[must_use]
pub fn later(own: Option<BootStatus>, told: Option<&BootStatus>) -> Option<BootStatus> {
    match (own, told) {
        (Some(own), Some(told)) if told.started > own.started && told.id != own.id => {
            Some(told.clone())
        }
        (Some(own), _) => Some(own),
        (None, told) => told.cloned(),
    }
}

/// The boot, or that it stalled, where nobody told more of it for long.
#[must_use]
pub(super) fn presumed(boot: &BootStatus, now: Timestamp) -> Cow<'_, BootStatus> {
    let started = boot.started.as_ref().map_or(0, |time| time.0.as_second());
    let seen = started.saturating_add(i64::try_from(boot.duration_ms / 1000).unwrap_or(i64::MAX));
    let is_old = now.as_second().saturating_sub(seen) >= FORGOTTEN_SECS;
    if result_of(boot) != Some(BootResult::Running) || !is_old {
        return Cow::Borrowed(boot);
    }
    let mut boot = boot.clone();
    lost(&mut boot);
    Cow::Owned(boot)
}

fn lost(boot: &mut BootStatus) {
    boot.result = Some(BootResult::Stalled.as_str().to_owned());
    boot.message = Some("it was lost sight of: Reveille restarted".to_owned());
}

/// How it ended.
#[must_use]
pub(super) fn result_of(boot: &BootStatus) -> Option<BootResult> {
    BootResult::parse(boot.result.as_deref()?)
}

/// The boots that this replica writes: those under way and the last five that
/// ended. `before` are those that it wrote in an earlier life: an apply that
/// leaves one out takes it away.
#[must_use]
pub fn own_boots(boots: &BootList, before: &[BootStatus], replica: &str) -> Vec<BootStatus> {
    let running = boots.running.iter().filter(|boot| !boot.is_mere_offer());
    let known = running.chain(&boots.past);
    let mut all: Vec<BootStatus> = known.map(|boot| boot_status(boot, replica)).collect();
    for boot in before {
        if all.iter().any(|known| known.id == boot.id) {
            continue;
        }
        let mut boot = boot.clone();
        if result_of(&boot) == Some(BootResult::Running) {
            lost(&mut boot);
        }
        all.push(boot);
    }
    let is_running = |boot: &BootStatus| result_of(boot) == Some(BootResult::Running);
    all.sort_by(|a, b| {
        let order = |boot: &BootStatus| boot.started.clone();
        (is_running(b), order(b), &b.id).cmp(&(is_running(a), order(a), &a.id))
    });
    let running = all.iter().filter(|boot| is_running(boot)).count();
    all.truncate((running + KEPT_BOOTS).min(MAX_STATUS_BOOTS));
    all
}

/// A duration for a column: `23s`, `4m07s`.
#[must_use]
pub(super) fn short(millis: u64) -> String {
    let seconds = millis.div_ceil(1000);
    if seconds < 60 {
        format!("{seconds}s")
    } else {
        format!("{}m{:02}s", seconds / 60, seconds % 60)
    }
}
