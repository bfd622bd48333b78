//! A cluster as the source: watches the custom resources, and tells the
//! cluster what became of them.
//!
//! Shell, but for `objects`, which is values and pure functions.

mod cluster;
mod discover;
mod disk;
pub mod leader;
pub mod mirror;
mod objects;
mod proxy;
pub mod rbac;
mod replicas;
mod source;
pub mod status;
pub(crate) mod watch;

pub use self::cluster::{Cluster, ClusterArgs};
pub use self::discover::{Discoverer, Leads, approve};
pub use self::disk::Disk;
pub use self::objects::{Change, Info, Objects, Resource};
pub use self::replicas::{Setup as ReplicaSetup, Tied, start as start_replica};
pub use self::source::{Setup, Shared, Source, World};
pub use self::watch::{QUEUE, Reason, Seen, Trouble, Watches, resource, run as watch_kind};

use crate::telemetry::Meter;

/// Registers every metric that only a service beside a cluster has.
///
/// # Errors
/// A registry that has them already.
pub fn register_metrics(meter: &Meter) -> prometheus::Result<()> {
    Watches::register(meter)?;
    leader::LeaderMetrics::register(meter)?;
    mirror::MirrorMetrics::register(meter)?;
    status::EventMetrics::register(meter)?;
    status::StatusMetrics::register(meter)?;
    Ok(())
}
