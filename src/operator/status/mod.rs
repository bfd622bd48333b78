//! What became of the objects, told to the cluster: `status` and Events.
//!
//! `conditions`, `sight`, `artifact`, `machine`, `subnet`, `profile`, `boots`, `pace` and
//! `notices` are core: from what is served, seen and known to the status that an object
//! should have, and when it may be written.

mod artifact;
mod boots;
mod conditions;
mod events;
mod machine;
mod notices;
mod pace;
mod profile;
mod publish;
mod sight;
mod subnet;
#[cfg(test)]
mod tests;
mod writer;

pub use self::artifact::{ArtifactInput, artifact};
pub use self::boots::{later, latest, own_boots, summary};
pub use self::conditions::{About, Judgement, Reason, Truth, find};
pub use self::events::{Announcer, EventMetrics, Herald};
pub use self::machine::{MachineInput, machine};
pub use self::notices::{Notice, Told, Turn};
pub use self::pace::{Ended, Next, Pace};
pub use self::profile::{ProfileInput, profile};
pub use self::publish::FIELD_MANAGER;
pub use self::sight::{Finding, Side, Sight, Standing};
pub use self::subnet::{Listening, SubnetInput, subnet};
pub use self::writer::{Sources, StatusMetrics, Writer};

use std::sync::Arc;

use prometheus::Registry;
use tokio::sync::Mutex;

use self::publish::Publisher;
use super::Cluster;
use crate::supervisor::Supervisor;

/// Starts the services that tell `cluster` what became of its objects.
///
/// # Errors
/// A registry that has the metrics already.
pub fn start(
    cluster: &Cluster,
    sources: Sources,
    supervisor: &Supervisor,
    registry: &Registry,
) -> prometheus::Result<()> {
    // By its number: a new Pod in its place keeps up what the old one wrote.
    let replica = &format!("replica-{}", cluster.place.ordinal);
    let metrics = EventMetrics::register(registry)?;
    let (announcer, herald) = Announcer::new(cluster, &cluster.place.name, metrics);
    let writer = Writer::new(
        sources,
        Publisher::new(cluster.clone(), replica),
        announcer,
        StatusMetrics::register(registry)?,
    );
    let herald = Arc::new(Mutex::new(herald));
    supervisor.service("events", move |token| {
        Herald::run(Arc::clone(&herald), token)
    });
    let writer = Arc::new(Mutex::new(writer));
    supervisor.service("status", move |token| {
        Writer::run(Arc::clone(&writer), token)
    });
    Ok(())
}
