//! From the manifests of any source to the snapshot that is served: the one
//! writer. Shell.
//!
//! A source (a folder, a cluster) says what the manifests are; the press adds
//! what the host has, compiles the world, says what is wrong with it and
//! publishes it.

mod loaders;
mod summary;

use std::collections::BTreeSet;
use std::sync::Arc;

use nix::ifaddrs::getifaddrs;

use self::loaders::Loaders;
pub use self::summary::missing_of;
use crate::api::Problem;
use crate::artifact::store::Shelf;
use crate::files::Roots;
use crate::snapshot::{Compiled, Inputs, Publisher, Settings, Snapshot, compile};
use crate::status::{ProblemLine, Problems};

/// Compiles and publishes. There is one in a process.
pub struct Press {
    roots: Arc<Roots>,
    http_port: u16,
    publisher: Publisher,
    problems: Problems,
    loaders: Loaders,
    shelf: Shelf,
    generation: u64,
    said: BTreeSet<String>,
    told: BTreeSet<String>,
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
    /// wrong; machines reach HTTP at `http_port`, and the artifacts of `shelf`
    /// are there.
    #[must_use]
    pub fn new(
        roots: Arc<Roots>,
        http_port: u16,
        publisher: Publisher,
        problems: Problems,
        shelf: Shelf,
    ) -> Self {
        Self {
            roots,
            http_port,
            publisher,
            problems,
            loaders: Loaders::default(),
            shelf,
            generation: 0,
            said: BTreeSet::new(),
            told: BTreeSet::new(),
        }
    }

    /// What the host adds to the manifests: its loaders, addresses and
    /// artifacts. Blocks.
    pub fn settings(&mut self) -> Settings {
        let found = self.loaders.find(&self.roots);
        Settings {
            http_port: self.http_port,
            loaders: found.files,
            autoexec: found.autoexec,
            held: self.shelf.table(),
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
        let Compiled { snapshot, report } = compile(self.generation, inputs, settings);
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
