//! From the manifests of any source to the snapshot that is served: the one
//! writer. Shell.
//!
//! A source (a folder, a cluster) says what the manifests are; the press adds
//! what the host has, compiles the world, says what is wrong with it and
//! publishes it.

mod metrics;
mod spent;
mod summary;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nix::ifaddrs::getifaddrs;

pub use self::metrics::SnapshotMetrics;
pub use self::spent::{SPENT_FILE, Spent};
pub use self::summary::missing_of;
use crate::api::Problem;
use crate::artifact::keep::Board;
use crate::artifact::store::Shelf;
use crate::files::Roots;
use crate::loaders::Loaders;
use crate::snapshot::{
    Compiled, HttpsDoor, Inputs, ObjectName, Publisher, Settings, Snapshot, compile,
};
use crate::status::{ProblemLine, Problems};

/// Compiles and publishes. There is one in a process.
pub struct Press {
    roots: Arc<Roots>,
    doors: Doors,
    publisher: Publisher,
    problems: Problems,
    metrics: SnapshotMetrics,
    loaders: Loaders,
    shelf: Shelf,
    board: Board,
    spent: Spent,
    /// What of it is in what was published last.
    printed: Arc<BTreeMap<ObjectName, i64>>,
    generation: u64,
    said: BTreeSet<String>,
    told: BTreeSet<String>,
}

/// Where machines reach us.
#[derive(Clone, Copy, Debug)]
pub struct Doors {
    /// The port of HTTP.
    pub http: u16,
    /// HTTPS, where it is on.
    pub https: Option<HttpsDoor>,
}

/// What was published.
#[derive(Clone, Debug)]
pub struct Printed {
    /// What is served.
    pub snapshot: Arc<Snapshot>,
    /// Every mistake that the objects show.
    pub report: Vec<Problem>,
}

/// What a source says about mistakes in its own words.
pub struct Words<'a> {
    /// What is wrong before there are objects, each with whether it costs one.
    pub own: Vec<(bool, String)>,
    /// How a mistake of an object is said, with its place.
    pub of: &'a dyn Fn(&Problem) -> String,
}

// === impl Press ===

impl Press {
    /// A press that publishes to `publisher` and says in `problems` what is
    /// wrong; machines reach us at `doors`, and the artifacts of `shelf`
    /// are there.
    #[must_use]
    pub fn new(
        roots: Arc<Roots>,
        loaders: Loaders,
        doors: Doors,
        publisher: Publisher,
        problems: Problems,
        metrics: SnapshotMetrics,
        shelf: Shelf,
    ) -> Self {
        Self {
            roots,
            doors,
            publisher,
            problems,
            loaders,
            metrics,
            shelf,
            board: Board::default(),
            spent: Spent::default(),
            printed: Arc::default(),
            generation: 0,
            said: BTreeSet::new(),
            told: BTreeSet::new(),
        }
    }

    /// The same with the book of machines that booted once.
    #[must_use]
    pub fn with_spent(self, spent: Spent) -> Self {
        Self { spent, ..self }
    }

    /// The same with how the artifacts are that are not there.
    #[must_use]
    pub fn with_board(self, board: Board) -> Self {
        Self { board, ..self }
    }

    /// Whether a machine that boots once is done since what was published last.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        !Arc::ptr_eq(&self.printed, &self.spent.table())
    }

    /// What the host adds to the manifests: its loaders, addresses and
    /// artifacts. Blocks.
    pub fn settings(&mut self) -> Settings {
        let found = self.loaders.find(&self.roots);
        let held = self.shelf.table();
        Settings {
            http_port: self.doors.http,
            https: self.doors.https,
            loaders: found.files,
            autoexec: found.autoexec,
            stuck: Arc::new(self.board.stuck(&held)),
            held,
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

    /// Compiles `inputs` and publishes what becomes of them. What is wrong is
    /// said once; what is served, where `is_news`. Blocks.
    pub fn publish(
        &mut self,
        inputs: &Inputs,
        settings: &Settings,
        words: Words<'_>,
        is_news: bool,
    ) -> Printed {
        self.generation += 1;
        let compiling = self.metrics.compile_seconds.start_timer();
        let Compiled {
            mut snapshot,
            report,
        } = compile(self.generation, inputs, settings);
        compiling.observe_duration();
        self.printed = self.spent.table();
        add_spent(&mut snapshot, &self.printed);
        let unread = words.own.iter().filter(|(costs, _)| *costs).count();
        self.metrics.published(&snapshot, &report, unread);
        self.say(words, &report, &snapshot);
        if is_news {
            summary::tell(&snapshot, &mut self.told);
        }
        let snapshot = self.publisher.publish(snapshot);
        Printed { snapshot, report }
    }

    /// Says what is wrong, once.
    fn say(&mut self, words: Words<'_>, report: &[Problem], snapshot: &Snapshot) {
        let mut lines = words.own;
        lines.extend(
            report
                .iter()
                .map(|problem| (problem.is_error(), (words.of)(problem))),
        );
        lines.extend(
            summary::missing_files(snapshot, &self.roots)
                .into_iter()
                .map(|line| (false, line)),
        );
        for (is_error, line) in &lines {
            match (self.said.contains(line), is_error) {
                (true, _) => tracing::debug!("{line}"),
                (false, true) => tracing::error!("not served: {line}"),
                (false, false) => tracing::warn!("{line}"),
            }
        }
        self.said = lines.iter().map(|(_, line)| line.clone()).collect();
        let lines = lines.into_iter();
        let lines = lines.map(|(error, text)| ProblemLine { error, text });
        self.problems.set(lines.collect());
    }
}

/// Adds what this process saw of machines that boot once to what the source
/// tells; the greater generation counts.
fn add_spent(snapshot: &mut Snapshot, own: &BTreeMap<ObjectName, i64>) {
    let spent = Arc::make_mut(&mut snapshot.spent);
    for (name, generation) in own {
        let known = spent.entry(name.clone()).or_insert(*generation);
        *known = (*known).max(*generation);
    }
}
