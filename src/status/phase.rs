//! The phase of a machine: where it stands, in one word. Core.

use crate::api::Phase;
use crate::snapshot::{LocalReason, Verdict};
use crate::timeline::BootResult;

/// The phase of a machine whose object says `verdict` (`None` where no Subnet
/// serves it) and whose latest boot came to `latest`. `waiting`: for approval.
///
/// A boot that goes on counts before what is to happen at the next one. What
/// the object says now counts before how the latest boot ended.
#[must_use]
pub const fn phase(waiting: bool, verdict: Option<Verdict>, latest: Option<BootResult>) -> Phase {
    if waiting {
        return Phase::Discovered;
    }
    match (latest, verdict) {
        (Some(BootResult::Running), _) => Phase::Booting,
        // It boots its disk from now on because it booted.
        (
            Some(BootResult::HandedOff | BootResult::PhonedHome),
            Some(Verdict::Local(LocalReason::Spent)),
        ) => Phase::Booted,
        (_, Some(Verdict::Local(_))) => Phase::Local,
        (Some(BootResult::HandedOff | BootResult::Chained | BootResult::PhonedHome), _) => {
            Phase::Booted
        }
        (Some(BootResult::Stalled | BootResult::Failed), _) => Phase::Stalled,
        // It was sent to its disk, by what its object said then.
        (Some(BootResult::LocalBoot | BootResult::Restarted) | None, _) => Phase::Ready,
    }
}

#[cfg(test)]
mod tests {
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
                Some(BootResult::PhonedHome),
                Phase::Booted,
            ),
            (
                false,
                Some(boots),
                Some(BootResult::Stalled),
                Phase::Stalled,
            ),
            (false, Some(boots), Some(BootResult::Failed), Phase::Stalled),
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
            assert_eq!(
                phase(waiting, verdict, latest),
                want,
                "{waiting} {verdict:?} {latest:?}"
            );
        }
    }
}
