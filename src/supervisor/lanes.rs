//! Threads with an event loop of their own, for work of many small steps.
//!
//! A transfer that waits for an acknowledgement after each block spends its
//! time in waking up. On the runtime that all services share, a packet wakes
//! one thread, which wakes a second one to look for more to do before it turns
//! to the packet. On a lane it wakes one thread, which answers.
//!
//! Lanes may divide the processors among themselves: work that waits for packets
//! can move to the lane whose processor takes them in. There it is the next to
//! run; anywhere else a processor has to be woken first, which takes longer than
//! the answer.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

/// Most lanes of one kind: what one link carries keeps no more of them busy.
const MOST: usize = 8;

/// Threads of a lane that may wait for a disk at once.
const BLOCKING: usize = 32;

/// How much more a lane may have to do than one from which work moves to it:
/// where one processor takes in all packets, the others are to do their part.
const SLACK: usize = 8;

/// Lanes of one kind. They end with the last clone, and with them whatever
/// still goes on in them.
#[derive(Clone, Debug)]
pub struct Lanes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lanes: Vec<Lane>,
    /// The lane of each processor, where they are divided.
    of_processor: Vec<Option<usize>>,
    /// How many were asked for.
    asked: AtomicUsize,
}

/// A piece of work's place in a lane; it counts there until its drop.
#[derive(Debug)]
pub struct Place {
    lanes: Lanes,
    at: usize,
}

#[derive(Debug)]
struct Lane {
    handle: Handle,
    /// How many have a place in it.
    places: AtomicUsize,
    /// Its drop ends the thread.
    _open: oneshot::Sender<Infallible>,
}

// === impl Lanes ===

impl Lanes {
    /// Starts `count` lanes, or as many as there are processors, which run where
    /// the system likes; their threads are called `name`.
    ///
    /// # Errors
    /// Where the system has no more threads or descriptors.
    pub fn start(name: &str, count: Option<usize>) -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let count = count.unwrap_or(processors).clamp(1, MOST);
        let lanes: io::Result<_> = (0..count).map(|_| Lane::start(name, None)).collect();
        Ok(Self::new(lanes?, Vec::new()))
    }

    /// Starts a lane for each processor, or for few of them, which runs there:
    /// for work that waits for one packet after the other. Where much is on its
    /// way at a time the system's own choice is better.
    ///
    /// # Errors
    /// Where the system has no more threads or descriptors.
    pub fn divided(name: &str) -> io::Result<Self> {
        let Ok(all) = sched_getaffinity(None) else {
            // A sandbox, or more processors than the call has room for.
            return Self::start(name, None);
        };
        let processors: Vec<_> = (0..CpuSet::MAX_CPU).filter(|at| all.is_set(*at)).collect();
        let mut of_processor = vec![None; processors.last().map_or(0, |last| last + 1)];
        let mut lanes = Vec::new();
        for share in shares(processors.len(), MOST) {
            let mut own = CpuSet::new();
            for processor in processors.get(share).unwrap_or_default() {
                own.set(*processor);
                of_processor[*processor] = Some(lanes.len());
            }
            lanes.push(Lane::start(name, Some((own, all)))?);
        }
        Ok(Self::new(lanes, of_processor))
    }

    fn new(lanes: Vec<Lane>, of_processor: Vec<Option<usize>>) -> Self {
        Self(Arc::new(Shared {
            lanes,
            of_processor,
            asked: AtomicUsize::new(0),
        }))
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

    /// A place in the lane that has the fewest, to spawn by.
    #[must_use]
    pub fn place(&self) -> Place {
        let lanes = &self.0.lanes;
        let first = self.0.asked.fetch_add(1, Ordering::Relaxed);
        let order = (0..lanes.len()).map(|step| (first + step) % lanes.len());
        let fewest = order.min_by_key(|at| lanes[*at].places.load(Ordering::Relaxed));
        self.place_at(fewest.unwrap_or_default())
    }

    fn place_at(&self, at: usize) -> Place {
        self.0.lanes[at].places.fetch_add(1, Ordering::Relaxed);
        Place {
            lanes: self.clone(),
            at,
        }
    }

    /// The first lane.
    #[must_use]
    pub fn first(&self) -> &Handle {
        self.at(0)
    }

    fn at(&self, at: usize) -> &Handle {
        &self.0.lanes[at].handle
    }

    /// Runs `work` in the first lane, as [`run_on`] does.
    pub async fn run<T>(&self, work: impl Future<Output = T> + Send + 'static) -> T
    where
        T: Send + 'static,
    {
        run_on(self.first(), work).await
    }
}

/// Processors of each of `most` lanes at most, by their place among `count`.
fn shares(count: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let lanes = count.clamp(1, most);
    (0..lanes).map(move |lane| lane * count / lanes..(lane + 1) * count / lanes)
}

/// Runs `work` on `lane`, and waits for it where the caller is. A panic goes on
/// in the caller; who drops the wait ends the work.
pub async fn run_on<T>(lane: &Handle, work: impl Future<Output = T> + Send + 'static) -> T
where
    T: Send + 'static,
{
    match AbortOnDropHandle::new(lane.spawn(work)).await {
        Ok(value) => value,
        Err(fault) => match fault.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The lane has ended: only the caller's own end does that.
            Err(_) => std::future::pending().await,
        },
    }
}

// === impl Place ===

impl Place {
    /// The lane, to spawn on.
    #[must_use]
    pub fn lane(&self) -> &Handle {
        self.lanes.at(self.at)
    }

    /// A place in the lane of `processor`, where that is another one and has
    /// not much more to do.
    #[must_use]
    pub fn nearer(&self, processor: usize) -> Option<Self> {
        let shared = &self.lanes.0;
        let at = shared.of_processor.get(processor).copied().flatten()?;
        let places = |at: usize| shared.lanes[at].places.load(Ordering::Relaxed);
        let moves = at != self.at && places(at) <= places(self.at) + SLACK;
        moves.then(|| self.lanes.place_at(at))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lanes.0.lanes[self.at]
            .places
            .fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Lane ===

impl Lane {
    /// Starts a thread; `places` are the processors that it has, and those that
    /// its threads for the disk have.
    fn start(name: &str, places: Option<(CpuSet, CpuSet)>) -> io::Result<Self> {
        let mut builder = Builder::new_current_thread();
        builder
            .enable_all()
            .max_blocking_threads(BLOCKING)
            .thread_name(format!("{name}-disk"));
        let (own, all) = places.unzip();
        // A thread starts where the one that starts it is kept.
        builder.on_thread_start(move || keep_to(all.as_ref()));
        let runtime = builder.build()?;
        let handle = runtime.handle().clone();
        let (open, closed) = oneshot::channel::<Infallible>();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                keep_to(own.as_ref());
                // It never gets a value.
                let _ = runtime.block_on(closed);
                // Who reads a slow disk must not hold up the end.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            handle,
            places: AtomicUsize::new(0),
            _open: open,
        })
    }
}

/// Keeps this thread to some processors. Where that is not to be, it runs
/// anywhere, which is slower and no more.
fn keep_to(processors: Option<&CpuSet>) {
    if let Some(Err(error)) = processors.map(|set| sched_setaffinity(None, set)) {
        tracing::debug!(%error, "a thread cannot be kept to its processors");
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

    #[test]
    fn processors_are_divided_without_a_rest() {
        for count in 1..40 {
            let shares: Vec<_> = shares(count, 4).collect();
            assert_eq!(shares.len(), count.min(4), "{count}");
            let all: Vec<usize> = shares.into_iter().flatten().collect();
            assert_eq!(all, (0..count).collect::<Vec<_>>(), "{count}");
        }
    }

    #[tokio::test]
    async fn work_moves_to_the_lane_of_a_processor_unless_that_has_much_to_do() {
        let lanes = Lanes::divided("lane").unwrap();
        let first = sched_getaffinity(None).unwrap();
        let first = (0..CpuSet::MAX_CPU).find(|at| first.is_set(*at)).unwrap();
        let here = lanes.place_at(0);
        assert!(here.nearer(first).is_none(), "it is there");
        assert!(here.nearer(usize::MAX).is_none(), "nobody has it");
        if lanes.0.lanes.len() == 1 {
            return;
        }
        let away = lanes.place_at(1);
        let near = away.nearer(first).unwrap();
        let thread = run_on(near.lane(), async { thread::current().id() }).await;
        let there = lanes.first().spawn(async { thread::current().id() });
        assert_eq!(thread, there.await.unwrap());
        let many: Vec<_> = (0..SLACK).map(|_| lanes.place_at(0)).collect();
        assert!(away.nearer(first).is_none(), "it has much to do");
        drop(many);
        assert!(away.nearer(first).is_some());
        drop((here, near));
        assert_eq!(lanes.place().at, 0, "the one with the fewest");
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
