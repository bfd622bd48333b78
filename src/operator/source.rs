//! The cluster as a source: what the watches saw is compiled and published. Shell.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::core::DynamicObject;
use kube::runtime::watcher::Event;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::disk::{Disk, Part};
use super::objects::{Change, Objects};
use super::watch::Seen;
use crate::api::{Kind, Problem};
use crate::press::{Press, Printed, Words};
use crate::snapshot::{Inputs, Settings, Snapshot};
use crate::standalone::{Folder, LOOK_EVERY, Read};

/// A change is often one of several: it waits this long for the next one.
const QUIET: Duration = Duration::from_millis(25);
/// And so long at most.
const AT_MOST: Duration = Duration::from_millis(200);
/// How long a start waits for the API server before it serves what is on disk:
/// what is on disk may be old, and nobody boots within the first seconds.
const GRACE: Duration = Duration::from_secs(3);
/// Events that are taken before anything else is looked at.
const BATCH: usize = 256;

/// What is served, and what it was made of; for those who report on it.
#[derive(Clone, Debug)]
pub struct World {
    /// What is served.
    pub snapshot: Arc<Snapshot>,
    /// Every mistake that the objects show.
    pub report: Arc<Vec<Problem>>,
    /// Whether the API server said so, or the disk.
    pub is_live: bool,
    /// The revision of the cluster's objects that it was made of.
    pub revision: u64,
}

/// The cluster's objects, shared with those who report on them; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<Mutex<Objects>>);

/// The source.
pub struct Source {
    /// What the watches saw.
    pub seen: mpsc::Receiver<Seen>,
    /// The objects.
    pub objects: Shared,
    /// Where the world goes.
    pub worlds: watch::Sender<Option<World>>,
    folder: Option<(Folder, Option<Read>)>,
    press: Press,
    settings: Option<Settings>,
    disk: Disk,
    /// The namespace that is watched; empty for all.
    namespace: String,
    /// What the disk knew, while the API server has not told us better.
    before: Option<Objects>,
    started: Instant,
    published: bool,
    unsaved: bool,
    disk_fails: bool,
}

/// What the source is made of.
pub struct Setup {
    /// What the watches saw.
    pub seen: mpsc::Receiver<Seen>,
    /// Compiles and publishes.
    pub press: Press,
    /// Where the last good objects are kept.
    pub disk: Disk,
    /// Manifests beside the API.
    pub manifests: Vec<PathBuf>,
    /// The namespace of objects in files that name none.
    pub own: String,
    /// The namespace that is watched; empty for all.
    pub namespace: String,
}

// === impl Shared ===

impl Shared {
    /// The objects, for a moment: nothing that waits may be done meanwhile.
    pub fn lock(&self) -> MutexGuard<'_, Objects> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Source ===

impl Source {
    /// A source; nothing is read yet.
    #[must_use]
    pub fn new(setup: Setup) -> (Self, watch::Receiver<Option<World>>) {
        let (worlds, reader) = watch::channel(None);
        let folder =
            (!setup.manifests.is_empty()).then(|| (Folder::new(setup.manifests, &setup.own), None));
        let before = setup.disk.load(&setup.namespace).unwrap_or_else(|error| {
            tracing::warn!(file = %setup.disk.path().display(), %error, "what was served last cannot be read");
            None
        });
        let source = Self {
            seen: setup.seen,
            objects: Shared::default(),
            worlds,
            folder,
            press: setup.press,
            settings: None,
            disk: setup.disk,
            namespace: setup.namespace,
            before,
            started: Instant::now(),
            published: false,
            unsaved: false,
            disk_fails: false,
        };
        (source, reader)
    }

    /// Takes what the watches see until `token` is cancelled.
    ///
    /// # Errors
    /// None of its own; the supervisor wants the type.
    pub async fn run(
        this: Arc<tokio::sync::Mutex<Self>>,
        token: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut this = this.lock().await;
        let this = &mut *this;
        let (_watcher, mut notices) = match &this.folder {
            Some((folder, _)) => folder.notices(),
            None => (None, mpsc::channel(1).1),
        };
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut due: Option<(Instant, Instant)> = None;
        let grace = this.started + GRACE;
        loop {
            let at = due.map_or_else(|| this.idle_until(grace), |(quiet, most)| quiet.min(most));
            tokio::select! {
                () = token.cancelled() => break,
                Some(seen) = this.seen.recv() => {
                    if this.take_batch(seen) == Change::World {
                        let now = Instant::now();
                        let most = due.map_or(now + AT_MOST, |(_, most)| most);
                        due = Some((now + QUIET, most));
                    }
                }
                () = sleep_until(at) => {
                    due = None;
                    tokio::task::block_in_place(|| this.publish(true));
                }
                _ = look.tick() => tokio::task::block_in_place(|| this.look()),
                Some(()) = notices.recv() => {
                    if let Some((folder, _)) = &this.folder {
                        folder.settle().await;
                    }
                    tokio::task::block_in_place(|| this.look());
                }
            }
        }
        tokio::task::block_in_place(|| this.save());
        Ok(())
    }

    /// When something is to be published though nothing changes: once, at the
    /// end of the grace, where the API server has not been heard by then.
    fn idle_until(&self, grace: Instant) -> Instant {
        const LONG: Duration = Duration::from_secs(3600);
        if self.published {
            Instant::now() + LONG
        } else {
            grace.max(Instant::now() + QUIET)
        }
    }

    fn take_batch(&mut self, first: Seen) -> Change {
        let mut objects = self.objects.lock();
        let was_synced = objects.is_synced();
        let mut change = take(&mut objects, first);
        for _ in 1..BATCH {
            match self.seen.try_recv() {
                Ok(seen) => change = change.max(take(&mut objects, seen)),
                Err(_) => break,
            }
        }
        let synced = objects.is_synced();
        if synced && let Some(before) = self.before.take() {
            objects.remember(&before);
        }
        drop(objects);
        // A part of the objects is no world.
        if !synced {
            return Change::None;
        }
        if !was_synced {
            return Change::World;
        }
        change
    }

    /// Publishes anew if the host or the folder changed; keeps what is served.
    fn look(&mut self) {
        let settings = self.press.settings();
        let edited = self.folder.as_mut().and_then(|(folder, read)| {
            let now = folder.read()?;
            now.tell_retained();
            *read = Some(now);
            Some(())
        });
        let changed = self.settings.as_ref() != Some(&settings) || self.press.is_stale();
        self.settings = Some(settings);
        if self.published && (edited.is_some() || changed) {
            self.publish(edited.is_some());
        }
        if self.unsaved {
            self.save();
        }
    }

    /// Compiles what is known and publishes it.
    fn publish(&mut self, is_news: bool) {
        if self.settings.is_none() {
            self.look();
        }
        let Some(settings) = self.settings.clone() else {
            return;
        };
        let (mut inputs, unreadable, is_live, revision) = {
            let objects = self.objects.lock();
            let revision = objects.revision();
            let (inputs, unreadable, is_live) = match (&self.before, objects.is_synced()) {
                (_, true) => (objects.inputs(), objects.problems(), true),
                (Some(before), false) => (before.inputs(), Vec::new(), false),
                (None, false) if self.folder.is_some() => {
                    let incomplete = Inputs {
                        incomplete: true,
                        ..Inputs::default()
                    };
                    (incomplete, Vec::new(), false)
                }
                // Nothing is known: silence lets machines try again.
                (None, false) => return,
            };
            (inputs, unreadable, is_live, revision)
        };
        let mut own: Vec<(bool, String)> = unreadable
            .iter()
            .map(|problem| (true, problem.to_string()))
            .collect();
        let read = self.folder.as_ref().and_then(|(_, read)| read.as_ref());
        if let Some(read) = read {
            own.extend(read.mistakes());
            own.extend(add_files(&mut inputs, &read.inputs));
        }
        if !self.published && !is_live {
            tracing::warn!("the API server has not answered yet; what was known before is served");
        }
        let of = |problem: &Problem| match read {
            Some(read) if read.loaded.path_of(&problem.place.object).is_some() => {
                read.loaded.locate(problem).line(&read.loaded.files)
            }
            Some(_) | None => problem.to_string(),
        };
        let words = Words { own, of: &of };
        let Printed {
            snapshot,
            mut report,
        } = self.press.publish(&inputs, &settings, words, is_news);
        report.extend(unreadable);
        self.published = true;
        self.unsaved |= is_live;
        self.worlds.send_replace(Some(World {
            snapshot,
            report: Arc::new(report),
            is_live,
            revision,
        }));
    }

    /// Keeps the objects on disk for a start without the API server.
    fn save(&mut self) {
        if !self.objects.lock().is_synced() {
            return;
        }
        // Object by object it is as it was at some moment of the writing, which
        // is all that a list of an API server promises, too.
        let part = |after: Option<&_>| Part::of(&self.objects.lock(), after);
        match self.disk.save(&self.namespace, part) {
            Ok(()) => {
                self.unsaved = false;
                self.disk_fails = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut self.disk_fails, true) {
                    tracing::error!(
                        file = %self.disk.path().display(), %error,
                        "what is served cannot be kept: a start without the API server would serve less"
                    );
                }
            }
        }
    }
}

fn take(objects: &mut Objects, (kind, event): (Kind, Event<DynamicObject>)) -> Change {
    match event {
        Event::Init => {
            objects.list_begins(kind);
            Change::None
        }
        Event::InitApply(object) | Event::Apply(object) => objects.apply(kind, object),
        Event::InitDone => objects.list_ends(kind),
        Event::Delete(object) => objects.delete(kind, &object),
    }
}

/// Adds the objects of files to those of the API, which win. What files say
/// counts as older: it is there before the cluster is. Says which lost.
fn add_files(inputs: &mut Inputs, files: &Inputs) -> Vec<(bool, String)> {
    let known = inputs.refs();
    let mut files = files.clone();
    let mut lost = files.refs();
    lost.retain(|object| known.contains(object));
    files.retain(|object| !known.contains(object));
    inputs.subnets.splice(0..0, files.subnets);
    inputs.profiles.splice(0..0, files.profiles);
    inputs.machines.splice(0..0, files.machines);
    inputs.artifacts.splice(0..0, files.artifacts);
    inputs.withheld.extend(files.withheld);
    inputs.withheld_names.extend(files.withheld_names);
    inputs.incomplete |= files.incomplete;
    let line = |object| format!("{object} is in the API and in a file; the API's is served");
    lost.into_iter()
        .map(|object| (false, line(object)))
        .collect()
}
