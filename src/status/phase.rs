//! The phase of a machine: where it stands, in one word. Core.

use crate::api::Phase;
use crate::snapshot::{LocalReason, Verdict};
use crate::timeline::{Boot, BootResult};

/// The phase of a machine whose object says `verdict` (`None` where no Subnet
/// serves it) and whose latest boot is `latest`. `waiting`: for approval.
///
/// A boot that goes on counts before what is to happen at the next one. What
/// the object says now counts before how the latest boot ended.
#[must_use]
pub fn phase(waiting: bool, verdict: Option<Verdict>, latest: Option<&Boot>) -> Phase {
    if waiting {
        return Phase::Discovered;
    }
    let result = latest.map(|boot| boot.result);
    if result == Some(BootResult::Running) {
        return Phase::Booting;
    }
    match verdict {
        Some(Verdict::Local(reason)) if is_lasting(reason) => return Phase::Local,
        Some(Verdict::Local(_) | Verdict::Boot) | None => {}
    }
    match result {
        Some(BootResult::HandedOff | BootResult::PhonedHome) => Phase::Booted,
        Some(BootResult::Stalled | BootResult::Failed) => Phase::Stalled,
        // It was sent to its disk, by what its object said then.
        Some(BootResult::LocalBoot | BootResult::Restarted | BootResult::Running) | None => {
            Phase::Ready
        }
    }
}

/// Whether a machine that is sent to its disk for this reason is so whatever
/// it booted before.
const fn is_lasting(reason: LocalReason) -> bool {
    match reason {
        LocalReason::Policy
        | LocalReason::Interface
        | LocalReason::Profile
        | LocalReason::ProfileMissing
        | LocalReason::NoProfile
        | LocalReason::MachineRefused
        | LocalReason::ManifestsIncomplete => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fold::tests::{boot, mac};
    use super::*;

    #[test]
    fn a_phase_is_what_a_person_would_say() {
        let (boots, local) = (Verdict::Boot, Verdict::Local(LocalReason::Policy));
        for (waiting, verdict, latest, want) in [
            (true, Some(boots), None, Phase::Discovered),
            (
                true,
                Some(local),
                Some(BootResult::LocalBoot),
                Phase::Discovered,
            ),
            (false, Some(boots), None, Phase::Ready),
            (false, None, None, Phase::Ready),
            (
                false,
                Some(boots),
                Some(BootResult::Running),
                Phase::Booting,
            ),
            (
                false,
                Some(boots),
                Some(BootResult::HandedOff),
                Phase::Booted,
            ),
            (
                false,
                Some(boots),
                Some(BootResult::Stalled),
                Phase::Stalled,
            ),
            (false, None, Some(BootResult::Stalled), Phase::Stalled),
            // Told to boot again since it was sent to its disk.
            (
                false,
                Some(boots),
                Some(BootResult::LocalBoot),
                Phase::Ready,
            ),
            (false, Some(local), None, Phase::Local),
            (
                false,
                Some(local),
                Some(BootResult::HandedOff),
                Phase::Local,
            ),
            (
                false,
                Some(local),
                Some(BootResult::Running),
                Phase::Booting,
            ),
        ] {
            let latest = latest.map(|result| boot(mac(1), 0, result));
            let have = phase(waiting, verdict, latest.as_ref());
            assert_eq!(have, want, "{waiting} {verdict:?} {latest:?}");
        }
    }
}
