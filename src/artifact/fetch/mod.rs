//! Fetches one file: from the first of its places that has it, going on where
//! an earlier try stopped, and never taking what is not it. Shell.

mod failure;
pub(super) mod http;
mod look;
mod sink;
mod words;

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::{Attempt, Policy};
use tokio::task::spawn_blocking;

pub use self::failure::{Failure, Reason};
use self::sink::{Sink, Written};
use super::identity::FileWant;
use super::secrets::Secret;
use super::table::Version;
use crate::files::{ArtifactPath, Roots, write_whole};

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 10;
/// For a connection, with TLS.
const CONNECT: Duration = Duration::from_secs(15);
/// Without a byte.
const SILENCE: Duration = Duration::from_secs(60);
/// Biggest file that is taken, in bytes.
pub const MAX_FILE: u64 = 64 << 30;
/// Breaks of one download that are gone on after at once.
const MAX_BREAKS: u32 = 5;

/// Fetches files; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Fetcher {
    /// The folders that `file://` URLs may name files in.
    pub allowed: Vec<PathBuf>,
    /// Biggest file that is taken, in bytes; 0 for [`MAX_FILE`].
    pub max_file: u64,
    /// Registries that are asked without TLS.
    pub plain_registries: Vec<String>,
}

/// The connections for one artifact, with what its servers ask for.
#[derive(Clone, Debug)]
pub struct Session {
    client: Client,
    pub(super) secret: Secret,
}

/// What came of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// The file, at the place of its download.
    File(Fetched),
    /// What was had before is the newest there is.
    Unchanged,
}

/// A file that was fetched, and is what was wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256 digest.
    pub sha256: String,
    /// Its SHA-512 digest, where one is wanted.
    pub sha512: Option<String>,
    /// What its server says of its version.
    pub version: Version,
}

/// Told how far a file is: bytes that are there, and that there are.
pub type Told<'a> = dyn Fn(u64, Option<u64>) + Send + Sync + 'a;

/// What is fetched, and how.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// The file.
    pub want: &'a FileWant,
    /// Where its bytes go until they are all there.
    pub partial: &'a Path,
    /// The version that is there, to ask only for a newer one.
    pub have: Option<&'a Version>,
    /// Bytes that are free on the volume.
    pub free: Option<u64>,
    /// Told how far it is.
    pub told: &'a Told<'a>,
}

// === impl Fetcher ===

impl Fetcher {
    /// Connections with what `secret` holds.
    ///
    /// # Errors
    /// A `ca.crt` that is none.
    pub fn session(&self, secret: Option<Secret>) -> Result<Session, Failure> {
        let secret = secret.unwrap_or_default();
        let mut builder = Client::builder()
            .user_agent(concat!("reveille/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .referer(false)
            .redirect(Policy::custom(redirect));
        if let Some(pem) = secret.bytes("ca.crt") {
            let bad = |error: &dyn std::fmt::Display| {
                let what = format!("ca.crt of the Secret holds no certificate: {error}");
                Failure::new(Reason::Secret, what)
            };
            let all = reqwest::Certificate::from_pem_bundle(pem).map_err(|e| bad(&e))?;
            if all.is_empty() {
                return Err(bad(&"it has no PEM block"));
            }
            builder = builder.tls_certs_merge(all);
        }
        let client = builder.build().map_err(|error| {
            let what = format!("no connection can be made: {}", words::chain(&error));
            Failure::new(Reason::Tls, what)
        })?;
        Ok(Session { client, secret })
    }

    /// Fetches a file from the first of its places that has it.
    ///
    /// # Errors
    /// What each of the places said.
    pub async fn fetch(&self, session: &Session, task: Task<'_>) -> Result<Got, Failure> {
        let mut first: Option<Failure> = None;
        for url in &task.want.urls {
            let got = match url.strip_prefix("file://") {
                Some(path) => self.copy(path, url, task).await,
                None => self.download(session, url, task).await,
            };
            let failure = match got.and_then(|got| verified(task.want, url, got)) {
                Ok(got) => return Ok(got),
                Err(failure) => failure,
            };
            if failure.reason == Reason::WrongDigest {
                forget(task.partial);
            }
            let goes_on = failure.is_of_place();
            first = Some(match first {
                None => failure,
                Some(mut all) => {
                    all.what = format!("{}; {}", all.what, failure.what);
                    // A digest that is wrong is worth more than a dead mirror.
                    if failure.reason == Reason::WrongDigest {
                        all.reason = failure.reason;
                    }
                    all
                }
            });
            if !goes_on {
                break;
            }
        }
        Err(first.unwrap_or_else(|| Failure::new(Reason::NotFound, "it has no URL")))
    }

    fn max_file(&self) -> u64 {
        match self.max_file {
            0 => MAX_FILE,
            most => most,
        }
    }

    /// A short text out of a file of the host.
    async fn text_of_file(&self, url: &str, most: usize) -> Result<Vec<u8>, Failure> {
        use std::io::Read as _;
        let (roots, inner) = self.inside(url.trim_start_matches("file://"), url)?;
        let shown = url.to_owned();
        let read = spawn_blocking(move || {
            let opened = roots.open(&inner)?;
            let mut text = Vec::new();
            opened.file.take(most as u64).read_to_end(&mut text)?;
            std::io::Result::Ok(text)
        });
        read.await
            .map_err(|error| lost(&error))?
            .map_err(|error| Failure::new(Reason::File, format!("{shown} cannot be read: {error}")))
    }

    /// The folder that a file of the host may be read from, and its path there.
    fn inside(&self, path: &str, url: &str) -> Result<(Roots, ArtifactPath), Failure> {
        let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
        let path = PathBuf::from(path.into_owned());
        let fail = |what: String| Failure::new(Reason::File, what);
        let roots = self.allowed.iter();
        let inside = roots.filter_map(|root| Some((root, path.strip_prefix(root).ok()?)));
        let Some((root, rest)) = inside.into_iter().next() else {
            return Err(fail(format!(
                "{url} is in no folder that is allowed; name one by --artifact-files"
            )));
        };
        let inner = ArtifactPath::parse(&rest.to_string_lossy());
        let inner = inner.map_err(|error| fail(format!("{url}: {error}")))?;
        Ok((
            Roots::new(Some(root.clone()), Vec::new(), Vec::new()),
            inner,
        ))
    }

    /// Copies a file of the host, confined to the allowed folders.
    async fn copy(&self, path: &str, url: &str, task: Task<'_>) -> Result<Got, Failure> {
        let (roots, inner) = self.inside(path, url)?;
        let (partial, sha512, most) = (
            task.partial.to_owned(),
            task.want.sha512.is_some(),
            self.max_file(),
        );
        let shown = url.to_owned();
        let copied = spawn_blocking(move || {
            let opened = roots.open(&inner).map_err(|error| {
                Failure::new(Reason::File, format!("{shown} cannot be read: {error}"))
            })?;
            if opened.is_dir {
                return Err(Failure::new(Reason::File, format!("{shown} is a folder")));
            }
            copy_file(opened.file, &partial, sha512, most, &shown)
        });
        let written = copied.await.map_err(|error| lost(&error))??;
        (task.told)(written.len, Some(written.len));
        Ok(Got::File(fetched(written, Version::default())))
    }
}

fn copy_file(
    mut from: std::fs::File,
    to: &Path,
    sha512: bool,
    most: u64,
    shown: &str,
) -> Result<Written, Failure> {
    use std::io::Read as _;
    let volume = |error: &std::io::Error| Failure::volume("the copy cannot be written", error);
    let mut sink = Sink::open(to, false, sha512).map_err(|e| volume(&e))?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = from.read(&mut buffer).map_err(|error| {
            Failure::new(Reason::File, format!("{shown} cannot be read: {error}"))
        })?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return sink.finish().map_err(|e| volume(&e));
        }
        sink.push(bytes).map_err(|e| volume(&e))?;
        if sink.len() > most {
            return Err(words::too_big(shown, None, most));
        }
    }
}

/// Never to where anybody can listen, and not for ever.
fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let from = attempt.previous().last().map_or("", |url| url.scheme());
    if from == "https" && attempt.url().scheme() != "https" {
        let what = format!("it redirects from https to {}", attempt.url().scheme());
        return attempt.error(what);
    }
    if !matches!(attempt.url().scheme(), "http" | "https") {
        let what = format!("it redirects to {}", attempt.url().scheme());
        return attempt.error(what);
    }
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error(format!("it redirects more than {MAX_REDIRECTS} times"));
    }
    attempt.follow()
}

/// Holds what came against what is wanted.
fn verified(want: &FileWant, url: &str, got: Got) -> Result<Got, Failure> {
    let Got::File(file) = &got else {
        return Ok(got);
    };
    let pairs = [
        (
            "SHA-256",
            want.sha256.as_deref(),
            Some(file.sha256.as_str()),
        ),
        ("SHA-512", want.sha512.as_deref(), file.sha512.as_deref()),
    ];
    for (name, wanted, found) in pairs {
        if let (Some(wanted), Some(found)) = (wanted, found)
            && wanted != found
        {
            let what = format!(
                "{url} has the {name} digest {found}, not {wanted}; \
                 correct the digest, or ask the publisher"
            );
            return Err(Failure::new(Reason::WrongDigest, what));
        }
    }
    // No digest says that an empty file is meant.
    if file.size == 0 && !want.has_digest() {
        let what = format!("{url} is empty; correct the URL, or give the digest");
        return Err(Failure::new(Reason::Empty, what));
    }
    Ok(got)
}

fn fetched(written: Written, version: Version) -> Fetched {
    Fetched {
        size: written.len,
        sha256: written.sha256,
        sha512: written.sha512,
        version,
    }
}

/// The name of the file beside a download that says what it is of.
fn version_file(partial: &Path) -> PathBuf {
    partial.with_extension("json")
}

fn read_version(partial: &Path) -> Option<Version> {
    let bytes = std::fs::read(version_file(partial)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn write_version(partial: &Path, version: &Version) -> std::io::Result<()> {
    write_whole(&version_file(partial), 0o644, &serde_json::to_vec(version)?)
}

/// Forgets a download: the next one begins anew.
pub fn forget(partial: &Path) {
    for file in [partial.to_owned(), version_file(partial)] {
        // What is not there is forgotten.
        let _ = std::fs::remove_file(file);
    }
}

fn lost(error: &tokio::task::JoinError) -> Failure {
    Failure::new(Reason::VolumeFails, format!("the writer died: {error}"))
}
