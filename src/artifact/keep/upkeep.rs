//! What the keeper does beside fetching: throws away, and reads what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::Keeper;
use crate::artifact::identity::Origin;
use crate::artifact::store::{Damage, Live};
use crate::clock::{self, Millis};
use crate::snapshot::{ObjectName, Snapshot};

/// Bytes that are read before a pause.
const READ_STEP: u64 = 8 << 20;
/// Pauses are so many times as long as what was read took: a disk is free for
/// boots four fifths of the time.
const PAUSE_TIMES: u32 = 4;
/// Between two removals: a big file is some work for a file system.
const REMOVE_PAUSE: Duration = Duration::from_millis(5);

impl Keeper {
    /// Throws away what nobody wants.
    pub(super) async fn sweep(&mut self) {
        let Some(snapshot) = self.snapshots.current() else {
            return;
        };
        let live = self.live(&snapshot);
        let store = Arc::clone(&self.tools.store);
        let metrics = self.tools.metrics.clone();
        let swept = spawn_blocking(move || {
            if let Ok(free) = store.free() {
                metrics.free.set(i64::try_from(free).unwrap_or(i64::MAX));
            }
            store.sweep(&live, &mut || std::thread::sleep(REMOVE_PAUSE))
        });
        match swept.await {
            Ok(Ok(swept)) => {
                self.tools.metrics.swept.inc_by(swept.trees + swept.files);
                if swept.trees + swept.files > 0 {
                    tracing::info!(
                        trees = swept.trees,
                        files = swept.files,
                        bytes = swept.bytes,
                        "artifacts that nobody wants were thrown away"
                    );
                }
                self.said.clear();
            }
            Ok(Err(error)) => self.say(format!("what nobody wants cannot be thrown away: {error}")),
            Err(error) => self.say(format!("the sweep died: {error}")),
        }
    }

    fn say(&mut self, what: String) {
        if !self.said.contains(&what) {
            tracing::warn!(store = %self.tools.store.root().display(), "{what}");
            self.said.insert(what);
        }
    }

    /// What is in use now.
    fn live(&mut self, snapshot: &Snapshot) -> Live {
        let now = clock::now();
        let mut served: BTreeMap<ObjectName, BTreeSet<u64>> = BTreeMap::new();
        let mut blobs = BTreeSet::new();
        for entry in &snapshot.artifacts {
            let name = entry.want.name.clone();
            served.entry(name).or_default().insert(entry.generation);
            if let Origin::Files(files) = &entry.want.origin {
                blobs.extend(files.iter().filter_map(|file| file.sha256.clone()));
            }
        }
        for name in &snapshot.artifacts_refused {
            served.entry(name.clone()).or_default();
        }
        let table = self.tools.store.shelf().table();
        // Manifests that could not be read may want anything.
        let is_unwanted = |name: &&ObjectName| !snapshot.incomplete && !served.contains_key(*name);
        let unwanted: BTreeMap<ObjectName, Millis> = table
            .keys()
            .filter(is_unwanted)
            .map(|name| {
                (
                    name.clone(),
                    self.unwanted.get(name).copied().unwrap_or(now),
                )
            })
            .collect();
        self.unwanted = unwanted;
        let past = self
            .unwanted
            .iter()
            .filter(|(_, since)| now.since(**since) >= self.grace);
        Live {
            forgotten: past.map(|(name, _)| name.clone()).collect(),
            served,
            blobs,
            is_busy: !self.running.is_empty(),
            grace: self.grace,
            now,
        }
    }

    /// Reads everything that is served, slowly; what is damaged.
    #[expect(
        clippy::disallowed_methods,
        reason = "a shell: it rests in proportion to what its reading took"
    )]
    pub(super) fn scrub(&self, token: CancellationToken) -> BoxFuture<'static, Vec<Damage>> {
        let store = Arc::clone(&self.tools.store);
        let work = spawn_blocking(move || {
            let (mut read, mut began) = (0, Instant::now());
            store.scrub(&mut |bytes| {
                read += bytes;
                if read >= READ_STEP {
                    std::thread::sleep(began.elapsed() * PAUSE_TIMES);
                    (read, began) = (0, Instant::now());
                }
                !token.is_cancelled()
            })
        });
        async move { work.await.unwrap_or_default() }.boxed()
    }

    /// Takes out what is damaged; says so. It is fetched anew.
    pub(super) async fn damaged(&mut self, damage: Vec<Damage>) -> Vec<String> {
        let mut words = Vec::new();
        for damage in damage {
            self.tools.metrics.damaged.inc();
            let found = damage.found.as_deref().unwrap_or("unreadable");
            let said = format!(
                "{} of Artifact {} is damaged: its SHA-256 digest is {found}, not {}",
                damage.path, damage.name, damage.wanted
            );
            tracing::error!("{said}; it is not served any more, and fetched again");
            words.push(said);
            let store = Arc::clone(&self.tools.store);
            let discarded = spawn_blocking(move || store.discard(&damage)).await;
            if let Ok(Err(error)) = discarded {
                self.say(format!("a damaged file cannot be taken out: {error}"));
            }
        }
        words
    }
}
