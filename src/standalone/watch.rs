//! A folder of manifests as a source: read, compiled, published, watched. Shell.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::keep::Kept;
use super::loaders::Loaders;
use super::manifest::{Loaded, read_paths};
use super::summary;
use crate::api::Problem;
use crate::config::ServeConfig;
use crate::files::Roots;
use crate::snapshot::{Compiled, Publisher, Settings, Snapshot, compile};
use crate::status::{ProblemLine, Problems};

/// How often the files are looked at where no notice of a change arrives:
/// network file systems send none, and a folder that vanished has no watch.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A change is often one of several: an editor writes twice, a ConfigMap swaps
/// a link, a copy takes its time. Files that stood still this long are read.
const SETTLE: Duration = Duration::from_millis(150);

/// How often it waits so for files that go on changing; about ten seconds.
const MAX_SETTLES: usize = 64;

/// Reads the manifests and publishes what they say.
pub struct Source {
    paths: Vec<PathBuf>,
    roots: Arc<Roots>,
    http_port: u16,
    publisher: Publisher,
    problems: Problems,
    loaders: Loaders,
    generation: u64,
    kept: Kept,
    seen: Option<(Fingerprint, Settings)>,
    said: BTreeSet<String>,
}

/// What tells one state of the files from another. The time of the last change
/// of the inode, since a mode that is mended changes nothing else.
type Fingerprint = BTreeMap<PathBuf, Option<(i64, i64, u64, u64)>>;

// === impl Source ===

impl Source {
    /// A source that publishes to `publisher` and says in `problems` what is wrong.
    #[must_use]
    pub fn new(
        config: &ServeConfig,
        roots: Arc<Roots>,
        publisher: Publisher,
        problems: Problems,
    ) -> Self {
        Self {
            paths: config.manifests.clone(),
            http_port: config.http.port(),
            roots,
            publisher,
            problems,
            loaders: Loaders::default(),
            generation: 0,
            kept: Kept::default(),
            seen: None,
            said: BTreeSet::new(),
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
        let (notice, mut notices) = mpsc::channel(1);
        // Without a watcher the looks every few seconds find every change.
        let mut watcher = notify::recommended_watcher(move |_| {
            let _ = notice.try_send(());
        })
        .ok();
        if let Some(watcher) = &mut watcher {
            for path in &this.paths {
                let _ = watcher.watch(path, RecursiveMode::Recursive);
            }
        }
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                _ = look.tick() => {}
                Some(()) = notices.recv() => {}
            }
            this.settle().await;
            while notices.try_recv().is_ok() {}
            tokio::task::block_in_place(|| this.look());
        }
    }

    /// Waits until the files stand still: half a file may be valid and say
    /// that the other half was taken out.
    async fn settle(&self) {
        let read = || tokio::task::block_in_place(|| fingerprint(&self.paths));
        let mut before = read();
        let seen = self.seen.as_ref().map(|(files, _)| files);
        if seen == Some(&before) {
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

    /// Publishes anew if the files, the loaders or the host's addresses changed.
    fn look(&mut self) {
        let settings = self.settings();
        let now = (fingerprint(&self.paths), settings.clone());
        if self.seen.as_ref() == Some(&now) {
            return;
        }
        // An address of the host that changed is nobody's edit, and no news.
        let edited = self.seen.as_ref().is_none_or(|(files, _)| *files != now.0);
        self.seen = Some(now);
        let loaded = read_paths(&self.paths);
        let (inputs, retained) = self.kept.merge(&loaded, &self.paths);
        let first = self.generation == 0;
        self.generation += 1;
        let Compiled { snapshot, report } = compile(self.generation, &inputs, &settings);
        self.say(&loaded, &report, &snapshot);
        if edited {
            for object in retained {
                tracing::warn!("{object} is served as it was before");
            }
            summary::tell(&snapshot, first);
        }
        self.publisher.publish(snapshot);
    }

    /// Says what is wrong, once.
    fn say(&mut self, loaded: &Loaded, report: &[Problem], snapshot: &Snapshot) {
        let mut words: Vec<(bool, String)> = loaded
            .problems
            .iter()
            .map(|problem| (problem.is_error(), problem.line(&loaded.files)))
            .collect();
        words.extend(report.iter().map(|problem| {
            let located = loaded.locate(problem);
            (located.is_error(), located.line(&loaded.files))
        }));
        words.extend(
            summary::missing_files(snapshot, &self.roots)
                .into_iter()
                .map(|line| (false, line)),
        );
        let now: BTreeSet<String> = words.iter().map(|(_, line)| line.clone()).collect();
        for (is_error, line) in &words {
            match (self.said.contains(line), is_error) {
                (true, _) => tracing::debug!("{line}"),
                (false, true) => tracing::error!("not served: {line}"),
                (false, false) => tracing::warn!("{line}"),
            }
        }
        self.said = now;
        let lines = words.into_iter();
        let lines = lines.map(|(error, text)| ProblemLine { error, text });
        self.problems.set(lines.collect());
    }

    fn settings(&mut self) -> Settings {
        let found = self.loaders.find(&self.roots);
        Settings {
            http_port: self.http_port,
            loaders: found.files,
            autoexec: found.autoexec,
            own_addresses: getifaddrs()
                .map(|all| {
                    let mut own: Vec<_> = all
                        .filter_map(|entry| Some(entry.address?.as_sockaddr_in()?.ip()))
                        .collect();
                    own.sort();
                    own
                })
                .unwrap_or_default(),
        }
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
