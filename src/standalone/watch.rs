//! A folder of manifests as a source: read, compiled, published, watched. Shell.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::keep::Kept;
use super::manifest::{Loaded, read_paths_in};
use super::roster::Roster;
use crate::api::DEFAULT_NAMESPACE;
use crate::files::is_change;
use crate::press::{Press, Words};
use crate::snapshot::{Inputs, Settings};

/// How often the files are looked at where no notice of a change arrives:
/// network file systems send none, and a folder that vanished has no watch.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A change is often one of several: an editor writes twice, a ConfigMap swaps
/// a link, a copy takes its time. Files that stood still this long are read.
const SETTLE: Duration = Duration::from_millis(150);

/// How often it waits so for files that go on changing; about ten seconds.
const MAX_SETTLES: usize = 64;

/// Files and folders with manifests, and the last good version of each object.
pub struct Folder {
    paths: Vec<PathBuf>,
    namespace: String,
    kept: Kept,
    seen: Option<Fingerprint>,
}

/// What the files say.
pub struct Read {
    /// The files and their mistakes.
    pub loaded: Loaded,
    /// What is to be served.
    pub inputs: Inputs,
    /// Objects that are served as they were before, because they are broken now.
    pub retained: Vec<String>,
}

/// Reads the manifests and publishes what they say.
pub struct Source {
    folder: Folder,
    read: Option<Read>,
    press: Press,
    settings: Option<Settings>,
    /// The machines that were discovered, and notices of changes to them.
    roster: Roster,
    discovered: watch::Receiver<u64>,
}

/// What tells one state of the files from another. The time of the last change
/// of the inode, since a mode that is mended changes nothing else.
type Fingerprint = BTreeMap<PathBuf, Option<(i64, i64, u64, u64)>>;

// === impl Folder ===

impl Folder {
    /// The manifests at `paths`; objects that name no namespace are in `namespace`.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>, namespace: &str) -> Self {
        Self {
            paths,
            namespace: namespace.to_owned(),
            kept: Kept::default(),
            seen: None,
        }
    }

    /// What the files say now; `None` where they are as they were. Blocks.
    pub fn read(&mut self) -> Option<Read> {
        let now = fingerprint(&self.paths);
        if self.seen.as_ref() == Some(&now) {
            return None;
        }
        self.seen = Some(now);
        let loaded = read_paths_in(&self.paths, &self.namespace);
        let (inputs, retained) = self.kept.merge(&loaded, &self.paths);
        Some(Read {
            loaded,
            inputs,
            retained,
        })
    }

    /// Notices of changes, as long as the watcher is kept. Without one the
    /// looks every few seconds find every change.
    #[must_use]
    pub fn notices(&self) -> (Option<RecommendedWatcher>, mpsc::Receiver<()>) {
        let (notice, notices) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event| {
            if is_change(&event) {
                let _ = notice.try_send(());
            }
        })
        .ok();
        if let Some(watcher) = &mut watcher {
            for path in &self.paths {
                let _ = watcher.watch(path, RecursiveMode::Recursive);
            }
        }
        (watcher, notices)
    }

    /// Waits until the files stand still: half a file may be valid and say
    /// that the other half was taken out.
    pub async fn settle(&self) {
        let read = || tokio::task::block_in_place(|| fingerprint(&self.paths));
        let mut before = read();
        if self.seen.as_ref() == Some(&before) {
            return;
        }
        for _ in 0..MAX_SETTLES {
            sleep(SETTLE).await;
            let now = read();
            if now == before {
                return;
            }
            before = now;
        }
    }
}

// === impl Read ===

impl Read {
    /// What is wrong with the files, each with whether it costs an object.
    #[must_use]
    pub fn mistakes(&self) -> Vec<(bool, String)> {
        let problems = self.loaded.problems.iter();
        problems
            .map(|problem| (problem.is_error(), problem.line(&self.loaded.files)))
            .collect()
    }

    /// Says which objects are served as they were.
    pub fn tell_retained(&self) {
        for object in &self.retained {
            tracing::warn!("{object} is served as it was before");
        }
    }
}

// === impl Source ===

impl Source {
    /// A source of the manifests at `paths`, and of the machines of `roster`.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>, press: Press, roster: Roster) -> Self {
        Self {
            discovered: roster.changes(),
            roster,
            folder: Folder::new(paths, DEFAULT_NAMESPACE),
            read: None,
            press,
            settings: None,
        }
    }

    /// Reads and publishes for the first time, and says what is served. Blocks.
    pub fn start(&mut self) {
        self.look();
    }

    /// Watches until `token` is cancelled.
    ///
    /// # Errors
    /// None of its own; the supervisor wants the type.
    pub async fn run(this: Arc<Mutex<Self>>, token: CancellationToken) -> anyhow::Result<()> {
        let mut this = this.lock().await;
        let (_watcher, mut notices) = this.folder.notices();
        let mut discovered = this.roster.changes();
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                _ = look.tick() => {}
                Some(()) = notices.recv() => {}
                Ok(()) = discovered.changed() => {}
            }
            this.folder.settle().await;
            while notices.try_recv().is_ok() {}
            tokio::task::block_in_place(|| this.look());
        }
    }

    /// Publishes anew if the files, the loaders or the host's addresses changed.
    fn look(&mut self) {
        let settings = self.press.settings();
        let edited = self.folder.read();
        // An address of the host that changed is nobody's edit, and no news.
        let is_news = edited.is_some();
        let is_change = is_news || self.discovered.has_changed().unwrap_or_default();
        self.discovered.mark_unchanged();
        let is_same = self.settings.as_ref() == Some(&settings) && !self.press.is_stale();
        if !is_change && is_same {
            return;
        }
        if let Some(edited) = edited {
            self.read = Some(edited);
        }
        let Some(read) = &self.read else { return };
        let words = Words {
            own: read.mistakes(),
            of: &|problem| read.loaded.locate(problem).line(&read.loaded.files),
        };
        let mut inputs = Cow::Borrowed(&read.inputs);
        let discovered = self.roster.beside(&read.inputs);
        if !discovered.is_empty() {
            inputs
                .to_mut()
                .machines
                .extend(discovered.into_iter().map(Arc::new));
        }
        self.press.publish(&inputs, &settings, words, is_news);
        if is_news {
            read.tell_retained();
        }
        self.settings = Some(settings);
    }
}

fn fingerprint(paths: &[PathBuf]) -> Fingerprint {
    let mut files = Fingerprint::new();
    for path in paths {
        collect(path, &mut files, 0);
    }
    files
}

/// Folders deeper than this are not looked at; links may form a ring.
const MAX_DEPTH: usize = 16;

fn collect(path: &Path, files: &mut Fingerprint, depth: usize) {
    let Ok(metadata) = path.metadata() else {
        files.insert(path.to_owned(), None);
        return;
    };
    let state = (
        metadata.ctime(),
        metadata.ctime_nsec(),
        metadata.ino(),
        metadata.len(),
    );
    files.insert(path.to_owned(), Some(state));
    if metadata.is_dir() && depth < MAX_DEPTH {
        for entry in path.read_dir().into_iter().flatten().flatten() {
            collect(&entry.path(), files, depth + 1);
        }
    }
}
