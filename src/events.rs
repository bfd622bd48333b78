//! The road from the shells to the timeline: bounded, lossy, counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::timeline::BootEvent;

/// Events that may wait. A boot has about ten; at 1,000 boots a second the
/// queue holds what the timeline folds in a second.
pub const QUEUE: usize = 8192;

/// The shells' end. Sending never waits: what does not fit is dropped and counted.
#[derive(Clone, Debug)]
pub struct EventSender {
    queue: mpsc::Sender<BootEvent>,
    dropped: Arc<AtomicU64>,
}

impl EventSender {
    /// Reports an event.
    pub fn emit(&self, event: BootEvent) {
        if self.queue.try_send(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Events that were dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// A queue of events: the shells' end and the timeline's.
#[must_use]
pub fn queue() -> (EventSender, mpsc::Receiver<BootEvent>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let sender = EventSender {
        queue: sender,
        dropped: Arc::default(),
    };
    (sender, receiver)
}
