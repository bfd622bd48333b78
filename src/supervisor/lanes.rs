//! Threads with an event loop of their own, for work of many small steps.
//!
//! A transfer that waits for an acknowledgement after each block spends its
//! time in waking up. On the runtime that all services share, a packet wakes
//! one thread, which wakes a second one to look for more to do before it turns
//! to the packet. On a lane it wakes one thread, which answers.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

/// Most lanes of one kind: what one link carries keeps no more of them busy.
const MOST: usize = 8;

/// Threads of a lane that may wait for a disk at once.
const BLOCKING: usize = 32;

/// Lanes of one kind. They end with the last clone, and with them whatever
/// still goes on in them.
#[derive(Clone, Debug)]
pub struct Lanes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lanes: Vec<Lane>,
    /// How many were asked for.
    asked: AtomicUsize,
}

#[derive(Debug)]
struct Lane {
    handle: Handle,
    /// Its drop ends the thread.
    _open: oneshot::Sender<Infallible>,
}

// === impl Lanes ===

impl Lanes {
    /// Starts `count` lanes, or as many as there are processors; their threads
    /// are called `name`.
    ///
    /// # Errors
    /// Where the system has no more threads or descriptors.
    pub fn start(name: &str, count: Option<usize>) -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let count = count.unwrap_or(processors).clamp(1, MOST);
        let lanes: io::Result<_> = (0..count).map(|_| Lane::start(name)).collect();
        Ok(Self(Arc::new(Shared {
            lanes: lanes?,
            asked: AtomicUsize::new(0),
        })))
    }

    /// The lane whose turn it is, to spawn on.
    ///
    /// # Panics
    /// Never: there is one at least.
    #[must_use]
    pub fn pick(&self) -> &Handle {
        let asked = self.0.asked.fetch_add(1, Ordering::Relaxed);
        self.at(asked % self.0.lanes.len())
    }

    /// The first lane.
    #[must_use]
    pub fn first(&self) -> &Handle {
        self.at(0)
    }

    fn at(&self, at: usize) -> &Handle {
        &self.0.lanes[at].handle
    }

    /// Runs `work` in the first lane, and waits for it where the caller is.
    /// A panic goes on in the caller; who drops the wait ends the work.
    pub async fn run<T>(&self, work: impl Future<Output = T> + Send + 'static) -> T
    where
        T: Send + 'static,
    {
        match AbortOnDropHandle::new(self.first().spawn(work)).await {
            Ok(value) => value,
            Err(fault) => match fault.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The lane has ended: only the caller's own end does that.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

// === impl Lane ===

impl Lane {
    fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING)
            .thread_name(format!("{name}-disk"))
            .build()?;
        let handle = runtime.handle().clone();
        let (open, closed) = oneshot::channel::<Infallible>();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // It never gets a value.
                let _ = runtime.block_on(closed);
                // Who reads a slow disk must not hold up the end.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            handle,
            _open: open,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    /// Sends when it is dropped.
    struct Tells(Option<oneshot::Sender<()>>);

    impl Drop for Tells {
        fn drop(&mut self) {
            let _ = self.0.take().unwrap().send(());
        }
    }

    #[tokio::test]
    async fn each_lane_is_one_thread_and_they_take_turns() {
        let lanes = Lanes::start("lane", Some(2)).unwrap();
        let mut seen = Vec::new();
        for _ in 0..4 {
            let thread = lanes.pick().spawn(async { thread::current().id() });
            seen.push(thread.await.unwrap());
        }
        assert_ne!(seen[0], seen[1]);
        assert_eq!(seen[..2], seen[2..]);
    }

    #[tokio::test]
    async fn what_goes_on_in_them_ends_with_them() {
        let lanes = Lanes::start("lane", None).unwrap();
        let (sender, ended) = oneshot::channel();
        let tells = Tells(Some(sender));
        lanes.pick().spawn(async move {
            let _tells = tells;
            sleep(Duration::from_secs(3600)).await;
        });
        drop(lanes);
        timeout(Duration::from_secs(5), ended)
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn a_wait_that_is_dropped_ends_the_work() {
        let lanes = Lanes::start("lane", Some(1)).unwrap();
        let (sender, ended) = oneshot::channel();
        let tells = Tells(Some(sender));
        let work = lanes.run(async move {
            let _tells = tells;
            sleep(Duration::from_secs(3600)).await;
        });
        assert!(timeout(Duration::from_millis(20), work).await.is_err());
        timeout(Duration::from_secs(5), ended)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(lanes.run(async { 7 }).await, 7);
    }
}
