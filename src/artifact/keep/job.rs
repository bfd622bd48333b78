//! One artifact, from what is wanted to a generation that is served. Shell.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;

use super::board::Board;
use crate::artifact::fetch::{Failure, Fetcher, Got, Reason, Session, Task, forget};
use crate::artifact::identity::{FileWant, Origin, Want, hex};
use crate::artifact::metrics::ArtifactMetrics;
use crate::artifact::progress::human;
use crate::artifact::secrets::Secrets;
use crate::artifact::store::Store;
use crate::artifact::table::{Held, HeldFile};
use crate::clock;
use crate::snapshot::ObjectName;

/// What jobs work with; cheap to clone.
#[derive(Clone)]
pub struct Tools {
    /// Where it goes.
    pub store: Arc<Store>,
    /// Who fetches it.
    pub fetcher: Fetcher,
    /// What servers ask for.
    pub secrets: Secrets,
    /// Where it is told.
    pub board: Board,
    /// Where it is counted.
    pub metrics: ArtifactMetrics,
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// Another tree is served now.
    New(Held),
    /// What was there is the newest there is.
    Unchanged(Held),
}

/// One job.
pub(super) struct Job<'a> {
    pub(super) tools: &'a Tools,
    pub(super) want: &'a Want,
    held: Option<&'a Held>,
    /// Whether it is only looked for something newer.
    is_refresh: bool,
    pub(super) session: Session,
}

/// Fetches what `want` wants, of which `held` is there.
///
/// # Errors
/// Why it is not there.
pub async fn fetch(
    tools: &Tools,
    want: &Want,
    held: Option<&Held>,
    is_refresh: bool,
) -> Result<Done, Failure> {
    let secret =
        match &want.secret {
            None => None,
            Some(name) => {
                let name = ObjectName {
                    namespace: want.name.namespace.clone(),
                    name: name.clone(),
                };
                let secret = tools.secrets.get(&name).await;
                Some(secret.map_err(|what| {
                    Failure::new(Reason::Secret, format!("spec.secretRef: {what}"))
                })?)
            }
        };
    let job = Job {
        tools,
        want,
        held,
        is_refresh,
        session: tools.fetcher.session(secret)?,
    };
    match &want.origin {
        Origin::Files(files) => job.files(files).await,
        Origin::Archive(file, archive) => job.archive(file, archive).await,
        Origin::Oci(oci) => job.oci(oci).await,
    }
}

impl Job<'_> {
    async fn files(&self, files: &[FileWant]) -> Result<Done, Failure> {
        let mut all = BTreeMap::new();
        let mut before = 0;
        for file in files {
            let held = self.file(file, before).await?;
            before += held.size;
            all.insert(file.path.clone(), held);
        }
        self.publish(all).await
    }

    /// Makes sure of the blob of one file; `before` bytes are there of others.
    pub(super) async fn file(&self, want: &FileWant, before: u64) -> Result<HeldFile, Failure> {
        let store = &self.tools.store;
        // A signed list says which bytes are meant; a signature over the file
        // itself is held against what came.
        let (listed, detached) = self.signed(want).await?;
        let want = listed.as_ref().unwrap_or(want);
        // What is there by its digest is what is wanted.
        if let Some(sha256) = &want.sha256
            && let Some(size) = store.blob_len(sha256)
            && want.sha512.is_none()
            && detached.is_none()
        {
            return Ok(HeldFile {
                size,
                sha256: sha256.clone(),
                verified: true,
                ..HeldFile::default()
            });
        }
        let old = self.held.and_then(|held| held.files.get(&want.path));
        let old = old.filter(|old| store.blob_len(&old.sha256) == Some(old.size));
        // A digest says what is wanted; what has none is as new as its server says.
        let have = old.map(|old| &old.version);
        let have = have.filter(|have| !want.has_digest() && !have.is_unknown());
        let partial = self.partial(want);
        let is_only = match &self.want.origin {
            Origin::Files(files) => files.len() == 1,
            Origin::Archive(..) => true,
            Origin::Oci(_) => false,
        };
        let told = self.teller(before, &want.path, is_only);
        let task = Task {
            want,
            partial: &partial,
            have,
            free: store.free().ok(),
            told: &told,
        };
        let got = self.tools.fetcher.fetch(&self.session, task).await;
        let got = got.map_err(|failure| Failure {
            what: format!("{}: {}", want.field, failure.what),
            ..failure
        })?;
        let fetched = match (got, old) {
            (Got::Unchanged, Some(old)) => return Ok(old.clone()),
            // Nothing was there that could be unchanged.
            (Got::Unchanged, None) => {
                let what = format!("{}: the server says that nothing changed", want.field);
                return Err(Failure::new(Reason::ServerError, what));
            }
            (Got::File(fetched), _) => fetched,
        };
        if let Some(detached) = &detached {
            self.check_signature(want, &partial, detached).await?;
        }
        let is_same = old.is_some_and(|old| old.sha256 == fetched.sha256);
        let verified = want.is_verified() || (is_same && old.is_some_and(|old| old.verified));
        if let Some(old) = old.filter(|old| old.verified && !verified) {
            forget(&partial);
            let what = format!(
                "{}: {} was verified as {}; what is there now has the SHA-256 digest {} and \
                 nothing verifies it; give its `sha256`, or another path",
                want.field, want.path, old.sha256, fetched.sha256
            );
            return Err(Failure::new(Reason::NotVerified, what));
        }
        self.take_in(partial, fetched.sha256.clone()).await?;
        Ok(HeldFile {
            size: fetched.size,
            sha256: fetched.sha256,
            verified,
            version: fetched.version,
        })
    }

    /// Tells on the board how far `file` is; `before` bytes are there of others.
    /// `is_only`: its length is that of all.
    pub(super) fn teller(
        &self,
        before: u64,
        file: &str,
        is_only: bool,
    ) -> impl Fn(u64, Option<u64>) + Send + Sync + use<> {
        let (board, name) = (self.tools.board.clone(), self.want.name.clone());
        let metrics = self.tools.metrics.clone();
        board.change(&name, |entry| {
            if let Some(progress) = &mut entry.fetching {
                file.clone_into(&mut progress.file);
            }
        });
        let last = AtomicU64::new(0);
        move |there, total| {
            let seen = last.swap(there, Ordering::Relaxed);
            metrics.fetched.inc_by(there.saturating_sub(seen));
            board.change(&name, |entry| {
                if let Some(progress) = &mut entry.fetching {
                    progress.total = total.filter(|_| is_only);
                    progress.at(before + there, clock::now());
                }
            });
        }
    }

    /// Takes a download in as the blob that it is.
    pub(super) async fn take_in(&self, partial: PathBuf, sha256: String) -> Result<(), Failure> {
        let store = Arc::clone(&self.tools.store);
        let taken = spawn_blocking(move || {
            store.take_in(&partial, &sha256)?;
            forget(&partial);
            std::io::Result::Ok(())
        });
        taken
            .await
            .map_err(|error| Failure::new(Reason::VolumeFails, error.to_string()))?
            .map_err(|error| Failure::volume("a file cannot be kept", &error))
    }

    /// Where a download is until its end: the same for the same file of the
    /// same artifact, also after a restart.
    pub(super) fn partial(&self, want: &FileWant) -> PathBuf {
        let mut hash = Sha256::new();
        hash.update(self.want.name.to_string());
        for part in [&Some(want.path.clone()), &want.sha256, &want.sha512] {
            hash.update([0]);
            hash.update(part.as_deref().unwrap_or_default());
        }
        let key = hex(&hash.finalize());
        self.tools.store.partial(key.get(..32).unwrap_or(&key))
    }

    /// Serves `files` from now on, where they are not served already.
    pub(super) async fn publish(&self, files: BTreeMap<String, HeldFile>) -> Result<Done, Failure> {
        let now = clock::now().0;
        let identity = self.want.identity();
        let same = self.held.filter(|held| {
            let old = held.files.iter().map(|(path, file)| (path, &file.sha256));
            old.eq(files.iter().map(|(path, file)| (path, &file.sha256)))
        });
        let (store, name) = (Arc::clone(&self.tools.store), self.want.name.clone());
        let held = Held {
            identity,
            made: same.map_or(now, |held| held.made),
            checked: now,
            files,
            generation: same.map_or(0, |held| held.generation),
            digest: same.map_or_else(String::new, |held| held.digest.clone()),
        };
        let is_same = same.is_some();
        let is_refresh = self.is_refresh;
        let written = spawn_blocking(move || {
            if is_same {
                let noted = store.checked(&name, &held);
                // It is served either way.
                return noted.map(|()| Done::Unchanged(held));
            }
            store.publish(&name, held).map(Done::New)
        });
        let done = written
            .await
            .map_err(|error| Failure::new(Reason::VolumeFails, error.to_string()))?
            .map_err(|error| Failure::volume("the tree cannot be written", &error))?;
        match &done {
            Done::New(held) => tracing::info!(
                artifact = %self.want.name,
                generation = held.generation,
                files = held.files.len(),
                size = human(held.bytes()),
                digest = held.digest,
                "an artifact is there"
            ),
            Done::Unchanged(_) => {
                tracing::debug!(artifact = %self.want.name, is_refresh, "an artifact is as it was");
            }
        }
        Ok(done)
    }
}
