//! How snapshots travel: one writer, many readers.

use std::sync::Arc;

use tokio::sync::watch;

use super::Snapshot;

/// The one writer's end.
#[derive(Debug)]
pub struct Publisher(watch::Sender<Option<Arc<Snapshot>>>);

/// A reader's end; cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader(watch::Receiver<Option<Arc<Snapshot>>>);

/// A road for snapshots; there is none on it yet.
#[must_use]
pub fn channel() -> (Publisher, Reader) {
    let (sender, receiver) = watch::channel(None);
    (Publisher(sender), Reader(receiver))
}

impl Publisher {
    /// Makes `snapshot` the current one. Requests in flight keep theirs.
    pub fn publish(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        self.0.send_replace(Some(Arc::clone(&snapshot)));
        snapshot
    }
}

impl Reader {
    /// The current snapshot; `None` before the first. Take it once a request.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Snapshot>> {
        self.0.borrow().clone()
    }

    /// Waits until there is another snapshot. `false` when there will be none.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}
