//! What the manifests say of a machine that boots.

use super::progress::Leaves;
use crate::api::{BootPolicy, Source};
use crate::snapshot::{Choice, KnownBy, ObjectName, Pick, Plan, Snapshot};

/// What the manifests say of a machine, for its boots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its object.
    pub name: Option<ObjectName>,
    /// By what the object knows it.
    pub known_by: Option<&'static str>,
    /// The profile that it boots.
    pub profile: Option<String>,
    /// What was chosen from a menu to get there.
    pub entry: Option<String>,
    /// The rule that chose the profile.
    pub rule: Option<&'static str>,
    /// How many initrds that profile has.
    pub initrds: usize,
    /// What that profile has the machine sent last.
    pub leaves: Leaves,
    /// Its `boot.generation`, where it boots once.
    pub once: Option<i64>,
}

// === impl Known ===

impl Known {
    /// What a plan says.
    #[must_use]
    pub fn of(plan: &Plan<'_>) -> Self {
        let source = plan.profile.map(|profile| profile.spec.source());
        let (leaves, initrds) = match source {
            Some(Source::Linux(linux)) => (Leaves::Linux, linux.initrd.len()),
            Some(Source::Loader) => (Leaves::Loader, 0),
            Some(Source::Efi(_)) => (Leaves::Efi, 0),
            Some(Source::Iso(_)) => (Leaves::Iso, 0),
            Some(Source::Script(_)) => (Leaves::Script, 0),
            Some(Source::Chain(_)) => (Leaves::Chain, 0),
            Some(Source::Menu(_) | Source::Local) | None => (Leaves::Linux, 0),
        };
        Self {
            name: plan.machine.map(|machine| machine.name.clone()),
            known_by: plan.known_by.map(KnownBy::as_str),
            profile: plan.profile.map(|profile| profile.name.name.clone()),
            entry: None,
            rule: plan.profile.map(|_| plan.rule.as_str()),
            initrds,
            leaves,
            once: plan
                .machine
                .map(|machine| machine.spec().boot)
                .filter(|boot| boot.policy == BootPolicy::Once)
                .map(|boot| boot.generation),
        }
    }
}

impl Known {
    /// The same where the script called `name` was sent: it may be of what was
    /// chosen from the menu that the plan says.
    #[must_use]
    pub fn of_script(snapshot: &Snapshot, plan: &Plan<'_>, name: &str) -> Self {
        let choice = Choice::of_file(name);
        let picked = choice.zip(plan.profile).and_then(|(choice, menu)| {
            let picked = snapshot.pick(menu, &choice).ok()?;
            Some((choice, picked.what))
        });
        match picked {
            Some((choice, Pick::Profile(profile))) => Self {
                entry: Some(choice.to_string()),
                ..Self::of(&plan.choosing(profile))
            },
            Some((choice, Pick::Action(_))) => Self {
                entry: Some(choice.to_string()),
                ..Self::of(plan)
            },
            None => Self::of(plan),
        }
    }
}
