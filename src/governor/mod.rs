//! The boot-storm governor: so many large transfers at a time on each link,
//! the others wait in a fair queue rather than time out together.
//!
//! A thousand machines that are switched on at once share one link. Each gets
//! a thousandth of it, so all take as long as the last one would alone, and
//! firmware gives up before. One after the other most are done early, and none
//! is later than before. `line` is core: whose turn it is.
//!
//! A turn that moves next to nothing does not count: clients on a slow line
//! hold no place that others could use.

mod line;
mod metrics;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

pub use self::line::Line;
pub use self::metrics::GovernorMetrics;
use crate::timeline::Purpose;

/// Transfers at a time on one link, unless the settings say otherwise.
pub const TRANSFERS_PER_LINK: usize = 256;

/// Bytes below which nothing waits: scripts, menus, sectors of a disc.
const SMALL: u64 = 64 << 10;

/// Bytes a second below which a transfer does not count. Where all that the
/// link bears are so slow, it is the link that is slow.
const IDLE_RATE: u64 = 64 << 10;

/// How often somebody who waits looks for transfers that do not count. Two
/// thousand slow clients that come at once have had their turns, 256 at a time,
/// after some seconds: so long others may wait for theirs.
const LOOK: Duration = Duration::from_millis(250);

/// How long firmware bears it that nothing comes: UEFI gives an HTTP server
/// 5 s for the head of its answer, PXE ROMs and UEFI ask again by TFTP after 1
/// to 4 s, from the same port, and bear that for half a minute.
const FIRMWARE: Duration = Duration::from_secs(3);

/// How long iPXE and programs wait; they have no limit of their own.
const PROGRAMS: Duration = Duration::from_secs(30);

/// What waits for its turn, and what becomes of it where that does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bears {
    /// Firmware: it goes in any case before it would give up.
    ToGo,
    /// A program that can be told to come back.
    ToComeBack,
}

/// Too many transfers on the link: come back later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// Gives turns; clones give the same.
#[derive(Clone, Debug)]
pub struct Governor(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    links: Mutex<BTreeMap<IpAddr, Link>>,
    metrics: GovernorMetrics,
}

/// One link, by the address of ours that is on it.
#[derive(Debug)]
struct Link {
    line: Line<IpAddr, oneshot::Sender<Turn>>,
    going: BTreeMap<u64, Going>,
    /// The number of the next turn.
    next: u64,
    looked: Instant,
}

/// A transfer that counts.
#[derive(Debug)]
struct Going {
    moved: Moved,
    /// What it had moved at the last look, if there was one.
    seen: Option<u64>,
}

/// What a turn has moved: by this its holder says so. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Moved(Arc<AtomicU64>);

/// A turn: given back at its drop.
#[derive(Debug)]
pub struct Turn {
    governor: Governor,
    link: IpAddr,
    number: u64,
    moved: Moved,
    /// Whether it was never taken.
    is_void: bool,
}

// === impl Bears ===

impl Bears {
    /// What one who asks for a file of `purpose` over HTTP bears.
    #[must_use]
    pub const fn of(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Loader | Purpose::Efi | Purpose::Iso => Self::ToGo,
            Purpose::Script
            | Purpose::LocalScript
            | Purpose::Menu
            | Purpose::Waiting
            | Purpose::Config
            | Purpose::Kernel
            | Purpose::Initrd
            | Purpose::Other => Self::ToComeBack,
        }
    }
}

// === impl Governor ===

impl Governor {
    /// Lets `most` transfers of a link go at a time; 0: as many as come.
    #[must_use]
    pub fn new(most: usize, metrics: GovernorMetrics) -> Self {
        Self(Arc::new(Shared {
            most,
            links: Mutex::default(),
            metrics,
        }))
    }

    /// Waits for the turn of a transfer of `bytes` to `client` by the link of
    /// `local`. `None` where it goes without one.
    ///
    /// # Errors
    /// [`Busy`] where it is told to come back.
    pub async fn turn(
        &self,
        (local, client): (IpAddr, IpAddr),
        bytes: u64,
        bears: Bears,
    ) -> Result<Option<Turn>, Busy> {
        if self.0.most == 0 || bytes < SMALL {
            return Ok(None);
        }
        let (ticket, mut called) = oneshot::channel();
        if let Some(turn) = self.enter(local, client, ticket) {
            self.0.metrics.turn("at-once", Duration::ZERO);
            return Ok(Some(turn));
        }
        let _counted = self.0.metrics.wait();
        let began = Instant::now();
        let until = began
            + match bears {
                Bears::ToGo => FIRMWARE,
                Bears::ToComeBack => PROGRAMS,
            };
        let turn = loop {
            match timeout_at((Instant::now() + LOOK).min(until), &mut called).await {
                Ok(turn) => break turn.ok(),
                Err(_) if Instant::now() < until => self.look(local),
                // One that was given in this moment comes out of the channel
                // with its drop, and is given back.
                Err(_) => break None,
            }
        };
        let waited = began.elapsed();
        match (turn, bears) {
            (Some(turn), _) => {
                self.0.metrics.turn("waited", waited);
                Ok(Some(turn))
            }
            (None, Bears::ToGo) => {
                self.0.metrics.turn("went-anyway", waited);
                Ok(None)
            }
            (None, Bears::ToComeBack) => {
                self.0.metrics.turn("told-to-come-back", waited);
                Err(Busy)
            }
        }
    }

    fn enter(&self, local: IpAddr, client: IpAddr, ticket: oneshot::Sender<Turn>) -> Option<Turn> {
        let mut links = self.links();
        let link = links.entry(local).or_insert_with(|| Link {
            line: Line::new(self.0.most),
            going: BTreeMap::new(),
            next: 0,
            looked: Instant::now(),
        });
        let turn = link.line.enter(client, ticket);
        let turn = turn.map(|_| link.start(self, local));
        self.show(&links);
        turn
    }

    /// One goes no more, or does not count: the next has its turn.
    fn leave(&self, local: IpAddr, mut number: u64) {
        loop {
            let mut links = self.links();
            let next = links.get_mut(&local).and_then(|link| {
                // One that did not count was taken out before.
                link.going.remove(&number)?;
                let ticket = link.line.leave()?;
                Some((ticket, link.start(self, local)))
            });
            self.show(&links);
            drop(links);
            let Some((ticket, turn)) = next else {
                return;
            };
            match ticket.send(turn) {
                Ok(()) => return,
                // Whoever waited is gone: the one behind it is next. Not by the
                // turn's own drop, which would come here again for each.
                Err(mut turn) => {
                    turn.is_void = true;
                    number = turn.number;
                }
            }
        }
    }

    /// Takes out the turns that moved next to nothing since the last look.
    fn look(&self, local: IpAddr) {
        let now = Instant::now();
        let mut links = self.links();
        let link = links.get_mut(&local);
        let idle = link.map(|link| link.idle(now)).unwrap_or_default();
        drop(links);
        for number in idle {
            self.0.metrics.turn("does-not-count", Duration::ZERO);
            self.leave(local, number);
        }
    }

    fn show(&self, links: &BTreeMap<IpAddr, Link>) {
        let going = links.values().map(|link| link.line.going()).sum();
        self.0.metrics.set_going(going);
    }

    fn links(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Link>> {
        self.0.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Link ===

impl Link {
    fn start(&mut self, governor: &Governor, link: IpAddr) -> Turn {
        let (number, moved) = (self.next, Moved::default());
        self.next += 1;
        let going = Going {
            moved: moved.clone(),
            seen: None,
        };
        self.going.insert(number, going);
        Turn {
            governor: governor.clone(),
            link,
            number,
            moved,
            is_void: false,
        }
    }

    fn idle(&mut self, now: Instant) -> Vec<u64> {
        let since = now.saturating_duration_since(self.looked);
        if since < LOOK {
            return Vec::new();
        }
        self.looked = now;
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let least = IDLE_RATE.saturating_mul(millis) / 1000;
        let looked = self.going.iter_mut().filter_map(|(number, going)| {
            let moved = going.moved.0.load(Ordering::Relaxed);
            let before = going.seen.replace(moved)?;
            (moved - before < least).then_some(*number)
        });
        looked.collect()
    }
}

// === impl Moved ===

impl Moved {
    /// Says that so many bytes went.
    pub fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

// === impl Turn ===

impl Turn {
    /// Says that so many bytes went.
    pub fn moved(&self, bytes: u64) {
        self.moved.add(bytes);
    }

    /// What it has moved, for who knows later than its holder what went.
    #[must_use]
    pub fn meter(&self) -> Moved {
        self.moved.clone()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_void {
            self.governor.leave(self.link, self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::telemetry::Meter;

    const BIG: u64 = 8 << 20;

    fn governor(most: usize) -> Governor {
        Governor::new(most, GovernorMetrics::register(&Meter::default()).unwrap())
    }

    fn ends(client: u8) -> (IpAddr, IpAddr) {
        let at = |last| IpAddr::from(Ipv4Addr::new(192, 0, 2, last));
        (at(1), at(client))
    }

    async fn take(governor: &Governor, client: u8) -> Turn {
        let turn = governor.turn(ends(client), BIG, Bears::ToComeBack).await;
        turn.unwrap().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_goes_when_one_has_ended() {
        let governor = governor(1);
        let first = take(&governor, 10).await;
        let began = Instant::now();
        let second = take(&governor, 11);
        let end = async {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                first.moved(1 << 20);
            }
            drop(first);
        };
        let (second, ()) = tokio::join!(second, end);
        assert_eq!(began.elapsed(), Duration::from_secs(5));
        // Another link is another line, and what is small waits for nobody.
        let other = (Ipv4Addr::LOCALHOST.into(), ends(1).1);
        let turn = governor.turn(other, BIG, Bears::ToComeBack).await;
        assert!(turn.unwrap().is_some());
        let small = governor.turn(ends(12), 1000, Bears::ToComeBack).await;
        assert!(small.unwrap().is_none());
        drop(second);
        assert!(take(&governor, 12).await.number > 0);
    }

    #[tokio::test(start_paused = true)]
    async fn firmware_goes_and_programs_come_back() {
        let governor = governor(1);
        let first = take(&governor, 10).await;
        let busy = async {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                first.moved(1 << 20);
            }
        };
        let began = Instant::now();
        let asked = async {
            let turn = governor.turn(ends(11), BIG, Bears::ToGo).await;
            assert!(turn.unwrap().is_none());
            assert_eq!(began.elapsed(), FIRMWARE);
            let turn = governor.turn(ends(12), BIG, Bears::ToComeBack).await;
            assert!(turn.is_err());
            assert_eq!(began.elapsed(), FIRMWARE + PROGRAMS);
        };
        tokio::select! {
            () = busy => {}
            () = asked => {}
        }
        // Whoever gave up takes no turn.
        drop(first);
        let again = Instant::now();
        drop(take(&governor, 13).await);
        assert_eq!(again.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_holds_no_place() {
        let governor = governor(2);
        let (slow, busy) = (take(&governor, 10).await, take(&governor, 11).await);
        let moving = async {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                slow.moved(100);
                busy.moved(1 << 20);
            }
        };
        let began = Instant::now();
        tokio::select! {
            () = moving => {}
            turn = take(&governor, 12) => assert!(!turn.is_void),
        }
        assert!(began.elapsed() <= 3 * LOOK, "{:?}", began.elapsed());
        assert!(
            governor.links()[&ends(1).0]
                .going
                .contains_key(&busy.number)
        );
    }
}
