//! The trials.

mod artifacts;
mod discovery;
mod explain;
mod faults;
mod figures;
mod fixtures;
mod harness;
mod limits;
mod mistakes;
mod operator;
mod outlives;
mod replicas;
mod resources;
mod rights;
mod six;
mod status;
mod storm;
mod wakes;
mod weather;

use anyhow::{Context, Result};

use crate::plane::Parts;
use crate::stage::Stage;

/// What virtual machines need: the program, and with it what they boot, which `tests/lab/setup.sh` makes
/// ready.
pub(crate) const MACHINES: &str = "qemu-system-x86_64";

/// One trial.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial {
    /// Also the name of its Kubernetes namespace.
    pub(crate) name: &'static str,
    /// Programs that it cannot do without.
    pub(crate) needs: &'static [&'static str],
    pub(crate) plane: Plane,
    /// Says what was seen, in lines.
    pub(crate) run: fn(&mut Stage<'_>) -> Result<Vec<String>>,
}

/// Whose control plane a trial uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plane {
    /// The one of the trials that stop nothing and change nothing outside of their namespace, and
    /// that use the operator's rights, which the last of them looks at.
    Shared,
    /// The one of others of that kind, so that they run beside each other.
    Aside,
    /// One of its own, of these parts.
    Own(Parts),
}

const SHARED: Plane = Plane::Shared;
const ASIDE: Plane = Plane::Aside;
/// Without controllers it starts sooner.
const OWN: Plane = Plane::Own(Parts {
    controllers: false,
    node: false,
});

/// The trial that measures; it runs only when it is named.
pub(crate) const FIGURES: &str = "figures";

/// All trials, in the order in which they run.
pub(crate) const ALL: &[Trial] = &[
    // The longest of those with a room of their own begin early.
    trial("status-storm", &[], OWN, status::storm),
    trial(
        "storm-survives-kill",
        &[MACHINES],
        OWN,
        storm::survives_kill,
    ),
    trial("resources", &[], ASIDE, resources::install),
    trial("fixtures-valid", &[], ASIDE, fixtures::valid),
    trial("fixtures-invalid", &[], ASIDE, mistakes::invalid),
    trial("limits", &[], ASIDE, limits::limits),
    trial("transitions", &[], ASIDE, limits::transitions),
    trial("harness-accounts", &[], ASIDE, harness::accounts),
    trial(
        "harness-network",
        &["perfdhcp", "udhcpc"],
        ASIDE,
        harness::network,
    ),
    trial("status", &[], SHARED, status::told),
    trial("status-conflicts", &[], SHARED, status::conflicts),
    trial("status-outage", &[], OWN, status::outage),
    trial("harness-outages", &[], OWN, harness::outages),
    trial("operator-serves", &[], SHARED, operator::serves),
    trial("operator-files", &[], SHARED, operator::files),
    trial("operator-forbidden", &[], SHARED, operator::forbidden),
    trial("operator-bad-objects", &[], OWN, operator::bad_objects),
    trial("operator-not-installed", &[], OWN, operator::not_installed),
    trial(
        "operator-proxied",
        &[faults::TINYPROXY],
        SHARED,
        faults::proxied,
    ),
    trial("operator-large", &[], SHARED, faults::large),
    trial("operator-throttled", &[], OWN, weather::throttled),
    trial("operator-etcd", &[], OWN, weather::etcd),
    trial("operator-calm", &[], ASIDE, weather::calm),
    trial("operator-profile-gone", &[], SHARED, weather::profile_gone),
    trial(
        "replicas-clocks",
        &[weather::FAKETIME],
        ASIDE,
        weather::clocks,
    ),
    trial("replicas-alone", &[], OWN, replicas::alone),
    trial("replicas-killed", &[], SHARED, replicas::killed),
    trial("replicas-frozen", &[], SHARED, replicas::frozen),
    trial("replicas-isolated", &[], SHARED, replicas::isolated),
    trial("replicas-without", &[], OWN, replicas::without),
    trial("ipv6-alone", &["dhclient"], SHARED, six::mirrored),
    trial("operator-outlives", &[], OWN, outlives::outlives),
    trial("operator-relists", &[], OWN, outlives::relists),
    trial("explain", &[], SHARED, explain::resources),
    trial("artifact", &[], SHARED, artifacts::arrives),
    trial("discovery", &[], SHARED, discovery::waits_for_approval),
    trial("machine-woken", &[MACHINES], SHARED, wakes::woken),
    trial("machine-woken-alone", &[MACHINES], OWN, wakes::woken_alone),
    trial("rights", &[], SHARED, rights::rights),
    trial(FIGURES, &[], OWN, figures::figures),
];

const fn trial(
    name: &'static str,
    needs: &'static [&'static str],
    plane: Plane,
    run: fn(&mut Stage<'_>) -> Result<Vec<String>>,
) -> Trial {
    Trial {
        name,
        needs,
        plane,
        run,
    }
}

/// The trial of this name.
pub(crate) fn named(name: &str) -> Result<&'static Trial> {
    let mut found = ALL.iter().filter(|trial| trial.name == name);
    found.next().with_context(|| format!("no trial {name}"))
}

// === impl Plane ===

impl Plane {
    /// What is started.
    pub(crate) const fn parts(self) -> Parts {
        match self {
            Self::Shared | Self::Aside => Parts {
                controllers: true,
                node: false,
            },
            Self::Own(parts) => parts,
        }
    }
}
