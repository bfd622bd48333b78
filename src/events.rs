//! The road from the shells to the timeline: bounded, lossy, counted.

use prometheus::IntCounter;
use tokio::sync::mpsc;

use crate::telemetry::{Meter, about};
use crate::timeline::BootEvent;

/// Events that may wait. A boot has about ten; at 1,000 boots a second the
/// queue holds what the timeline folds in a second.
pub const QUEUE: usize = 8192;

/// The shells' end. Sending never waits: what does not fit is dropped and counted.
#[derive(Clone, Debug)]
pub struct EventSender {
    queue: mpsc::Sender<BootEvent>,
    dropped: IntCounter,
}

impl EventSender {
    /// Reports an event.
    pub fn emit(&self, event: BootEvent) {
        if self.queue.try_send(event).is_err() {
            self.dropped.inc();
        }
    }

    /// Events that were dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

/// A queue of events: the shells' end and the timeline's.
///
/// # Errors
/// A registry that has its counter already.
pub fn queue(meter: &Meter) -> prometheus::Result<(EventSender, mpsc::Receiver<BootEvent>)> {
    let (queue, receiver) = mpsc::channel(QUEUE);
    let dropped = meter.counter(about(
        "reveille_boot_events_dropped_total",
        "What was seen of boots and did not fit the timeline's queue: boots may miss stages.",
        "events",
    ))?;
    Ok((EventSender { queue, dropped }, receiver))
}
