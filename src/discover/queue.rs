//! The road from DHCP to discovery: bounded, lossy, counted. Shell.

use tokio::sync::mpsc;

use super::metrics::DiscoveryMetrics;
use super::sighting::{Overlooked, Sighting};
use crate::clock::Millis;
use crate::dhcp::decide::Decision;
use crate::dhcp::request::Request;
use crate::dhcp::v6::decide as v6;
use crate::dhcp::v6::request::Request as Request6;
use crate::snapshot::Snapshot;

/// Sightings that may wait. Folding one takes microseconds; whoever is lost
/// here asks again.
pub const QUEUE: usize = 1024;

/// DHCP's end. Sending never waits.
#[derive(Clone, Debug)]
pub struct SightingSender {
    queue: mpsc::Sender<Sighting>,
    metrics: DiscoveryMetrics,
}

/// A queue of sightings: DHCP's end and discovery's.
#[must_use]
pub fn queue(metrics: DiscoveryMetrics) -> (SightingSender, mpsc::Receiver<Sighting>) {
    let (queue, receiver) = mpsc::channel(QUEUE);
    (SightingSender { queue, metrics }, receiver)
}

// === impl SightingSender ===

impl SightingSender {
    /// Hands `request` over, where it is a sighting and there is room.
    pub fn offer(&self, at: Millis, snapshot: &Snapshot, request: &Request, decision: &Decision) {
        self.hand_over(Sighting::of(at, snapshot, request, decision));
    }

    /// The same of a DHCPv6 request.
    pub fn offer6(
        &self,
        at: Millis,
        snapshot: &Snapshot,
        request: &Request6,
        decision: &v6::Decision,
    ) {
        self.hand_over(Sighting::of6(at, snapshot, request, decision));
    }

    fn hand_over(&self, sighting: Option<Result<Sighting, Overlooked>>) {
        let Some(sighting) = sighting else {
            return;
        };
        let lost = match sighting {
            Ok(sighting) => self
                .queue
                .try_send(sighting)
                .is_err()
                .then_some("queue-full"),
            Err(overlooked) => Some(overlooked.as_str()),
        };
        if let Some(reason) = lost {
            self.metrics.dropped(reason);
        }
    }
}
