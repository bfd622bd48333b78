//! The summary of `reveille status`. Core.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{MachineRow, ProblemLine};
use crate::api::Phase;
use crate::snapshot::Snapshot;

/// How the service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// The program's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since its start.
    pub uptime_seconds: u64,
    /// Whether it can serve boots.
    pub ready: bool,
    /// Why it cannot.
    pub reason: Option<String>,
    /// Where its manifests come from.
    pub source: Source,
    /// Where it listens, once every door is bound.
    pub listening: Option<Listening>,
    /// What is served; `None` before the first reading.
    pub snapshot: Option<Loaded>,
    /// Its services.
    pub services: Vec<Service>,
    /// What is wrong in the manifests.
    pub problems: Vec<ProblemLine>,
    /// Machines by phase.
    pub phases: BTreeMap<Phase, usize>,
    /// Boots that go on.
    pub booting: usize,
    /// Leases that are lent now; `None` where nobody can say.
    pub leases: Option<usize>,
    /// The loader of each architecture that has one.
    #[serde(default)]
    pub loaders: Vec<LoaderRow>,
}

/// A loader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoaderRow {
    /// The architecture that it is for.
    pub architecture: String,
    /// Its name.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of it, in hex.
    pub sha256: String,
    /// Where it is from: the artifact tree, the volume, or a folder of the
    /// image or the system.
    pub from: String,
    /// Whether an administrator put it there, or edited it.
    pub own: bool,
    /// Whether it runs `autoexec.ipxe`.
    pub autoexec: bool,
}

/// Where manifests come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// What kind of place: `folder`, or `cluster` and its URL.
    pub kind: String,
    /// The folders and files.
    pub paths: Vec<PathBuf>,
}

/// Where the service listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// HTTP for machines.
    pub http: SocketAddr,
    /// HTTPS for machines, where it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<SocketAddr>,
    /// TFTP.
    pub tftp: SocketAddr,
    /// The admin port.
    pub admin: SocketAddr,
}

/// What is in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Loaded {
    /// Which one it is, counted from the start.
    pub generation: u64,
    /// Subnets that are served.
    pub subnets: usize,
    /// BootProfiles.
    pub profiles: usize,
    /// Machines.
    pub machines: usize,
    /// Whether some of the manifests could never be read.
    pub incomplete: bool,
    /// The loader file of each architecture.
    pub loaders: BTreeMap<String, String>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub up: bool,
    /// Why it does not.
    pub cause: Option<String>,
}

impl Loaded {
    /// What is in `snapshot`.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let loaders = snapshot.loaders.iter();
        Self {
            generation: snapshot.generation,
            subnets: snapshot.subnets.len(),
            profiles: snapshot.profiles.len(),
            machines: snapshot.machines.len(),
            incomplete: snapshot.incomplete,
            loaders: loaders
                .map(|(architecture, file)| (architecture.to_string(), file.clone()))
                .collect(),
        }
    }
}

impl Overview {
    /// How many of `machines` are in each phase.
    #[must_use]
    pub fn count(machines: &[MachineRow]) -> BTreeMap<Phase, usize> {
        let mut phases = BTreeMap::new();
        for machine in machines {
            *phases.entry(machine.phase).or_default() += 1;
        }
        phases
    }
}
