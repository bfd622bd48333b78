//! One write transfer on its way: what `intake` says, done with a socket, a
//! draft and the clock.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::intake::{Intake, Take};
use super::netascii::FromNetascii;
use super::refuse::Refusal;
use super::resolve::{Uploads, resolve_upload};
use super::session::{Session, Stop, socket_trouble};
use super::socket::{PeerSocket, wall_clock};
use super::transfer::{Limits, Outcome};
use super::wire::{self, DATA_HEADER, Mode};
use crate::files::{ArtifactPath, Draft, bytes_below};

/// Largest block that is taken, whatever is asked: uploads are rare and small.
const BLKSIZE: u16 = 1468;

/// Bytes that are written at once.
const CHUNK: usize = 128 * 1024;

/// Bytes that uploads in progress may still bring.
#[derive(Clone, Debug, Default)]
pub(super) struct Promised(Arc<AtomicU64>);

/// A share of them, given back at its drop.
#[derive(Debug)]
struct Promise {
    promised: Promised,
    bytes: u64,
}

/// A file that is written on its way.
#[derive(Debug)]
struct Writing {
    /// `None` while it is being written to, and once that failed.
    draft: Option<Draft>,
    held: Vec<u8>,
    netascii: Option<FromNetascii>,
}

/// What an upload was let in with.
#[derive(Debug)]
struct Admitted {
    writing: Writing,
    path: ArtifactPath,
    most: u64,
    /// Keeps the bytes that it may bring.
    _promise: Promise,
}

// === impl Promised ===

impl Promised {
    /// Promises `wanted` bytes, or as many as are free of `free`.
    fn take(&self, wanted: u64, free: u64) -> Promise {
        let mut bytes = 0;
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                bytes = wanted.min(free.saturating_sub(taken));
                Some(taken.saturating_add(bytes))
            });
        Promise {
            promised: self.clone(),
            bytes,
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.promised.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

// === impl Session ===

impl Session {
    /// Takes what the client writes, to its end. `None` where it was refused.
    pub(super) async fn take_in(mut self) -> Option<Outcome> {
        let started = Instant::now();
        let admitted = self.admit().await;
        if self.stop.try_recv().is_ok() {
            self.shared.metrics.ignored("request-replaced");
            return None;
        }
        let connected = admitted.and_then(|admitted| Ok((admitted, self.connect()?)));
        let (admitted, socket) = match connected {
            Ok(connected) => connected,
            Err(refusal) => {
                let shared = &self.shared;
                shared.refuse(self.local, self.peer, &self.name, refusal);
                return None;
            }
        };
        let limits = Limits {
            blksize: self.shared.limits.blksize.min(BLKSIZE),
            ..self.shared.limits.clone()
        };
        let (options, most) = (&self.options, admitted.most);
        let (intake, first) = Intake::start(options, &limits, most, Duration::ZERO);
        let mut run = Run {
            session: self,
            socket,
            intake,
            writing: admitted.writing,
            started,
        };
        let outcome = run.play(first).await;
        run.report(&admitted.path, &outcome);
        Some(outcome)
    }

    /// Whether the client may write this, and where it goes.
    async fn admit(&self) -> Result<Admitted, Refusal> {
        let netascii = match self.mode {
            Mode::Octet => None,
            Mode::Netascii => Some(FromNetascii::default()),
            Mode::Mail => return Err(Refusal::Mail),
            Mode::Unknown => return Err(Refusal::UnknownMode),
        };
        let shared = Arc::clone(&self.shared);
        let (folder, path) = resolve_upload(&shared.uploads, &self.name)?;
        let asked = self.options.tsize.unwrap_or(0);
        let begin = move || {
            let uploads = &shared.uploads;
            let root = shared.roots.artifacts().ok_or(Refusal::Write)?;
            let used = bytes_below(&root.join(folder.as_str()));
            let free = uploads.quota.saturating_sub(used);
            let promise = room(uploads, &shared.promised, asked, free)?;
            let draft = Draft::begin(root, &path, uploads.replace);
            let draft = draft.map_err(|error| not_begun(&path, &error))?;
            Ok(Admitted {
                writing: Writing {
                    draft: Some(draft),
                    held: Vec::new(),
                    netascii,
                },
                path,
                most: promise.bytes,
                _promise: promise,
            })
        };
        spawn_blocking(begin)
            .await
            .map_err(|_| Refusal::WriteFailed)?
    }
}

/// Promises an upload of `asked` bytes (0: nobody knows) what it may bring.
fn room(uploads: &Uploads, promised: &Promised, asked: u64, free: u64) -> Result<Promise, Refusal> {
    if asked > uploads.largest {
        return Err(Refusal::TooLong);
    }
    let wanted = if asked == 0 { uploads.largest } else { asked };
    let promise = promised.take(wanted, free);
    if promise.bytes == 0 || promise.bytes < asked {
        return Err(Refusal::QuotaFull);
    }
    Ok(promise)
}

fn not_begun(path: &ArtifactPath, error: &io::Error) -> Refusal {
    if error.kind() == io::ErrorKind::AlreadyExists {
        return Refusal::Exists;
    }
    if error.kind() == io::ErrorKind::NotFound || error.kind() == io::ErrorKind::InvalidFilename {
        return Refusal::NotFound;
    }
    if is_full(error) {
        return Refusal::DiskFull;
    }
    warn!(target: "reveille::tftp", %path, %error, "file cannot be made");
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Refusal::Denied;
    }
    Refusal::WriteFailed
}

fn is_full(error: &io::Error) -> bool {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    full.contains(&error.kind())
}

// === impl Writing ===

impl Writing {
    async fn push(&mut self, content: &[u8]) -> io::Result<()> {
        match &mut self.netascii {
            Some(netascii) => self.held.extend(netascii.push(content)),
            None => self.held.extend(content),
        }
        if self.held.len() < CHUNK {
            return Ok(());
        }
        let held = std::mem::take(&mut self.held);
        self.with_draft(move |mut draft| draft.write(&held).map(|()| Some(draft)))
            .await
    }

    /// Writes the rest and gives the file its name.
    async fn keep(&mut self) -> io::Result<()> {
        let mut held = std::mem::take(&mut self.held);
        held.extend(self.netascii.take().map_or(&b""[..], FromNetascii::end));
        self.with_draft(move |mut draft| {
            draft.write(&held)?;
            draft.keep().map(|()| None)
        })
        .await
    }

    async fn with_draft(
        &mut self,
        work: impl FnOnce(Draft) -> io::Result<Option<Draft>> + Send + 'static,
    ) -> io::Result<()> {
        let draft = self.draft.take();
        let draft = draft.ok_or_else(|| io::Error::other("the draft is gone"))?;
        let worked = spawn_blocking(move || work(draft)).await;
        self.draft = worked.map_err(io::Error::other)??;
        Ok(())
    }
}

/// An upload and what it runs on.
#[derive(Debug)]
struct Run {
    session: Session,
    socket: PeerSocket,
    intake: Intake,
    writing: Writing,
    started: Instant,
}

// === impl Run ===

impl Run {
    /// Plays the transfer to its end.
    async fn play(&mut self, first: Vec<u8>) -> Outcome {
        let mut packet = Some(first);
        let mut datagram = vec![0; usize::from(self.intake.blksize()) + DATA_HEADER + 1];
        loop {
            if let Some(packet) = packet.take()
                && let Err(error) = self.socket.send(&packet).await
            {
                return socket_trouble(&error, Outcome::Unreachable);
            }
            let deadline = self.started + self.intake.deadline();
            let take = tokio::select! {
                received = self.socket.receive(&mut datagram) => match received {
                    Ok(len) => {
                        let packet = datagram.get(..len).unwrap_or_default();
                        self.intake.on_packet(self.started.elapsed(), packet)
                    }
                    Err(error) => Take::End(socket_trouble(&error, Outcome::Unreachable)),
                },
                () = sleep_until(deadline) => self.intake.on_timeout(self.started.elapsed()),
                stop = &mut self.session.stop => Take::End(stopped(stop.unwrap_or(Stop::Shutdown))),
            };
            let kept = match take {
                Take::Send(answer) => {
                    packet = Some(answer);
                    continue;
                }
                Take::Ignore(ignored) => {
                    self.session.shared.metrics.ignored(ignored.as_str());
                    continue;
                }
                Take::Keep(content) => self.writing.push(content).await,
                Take::Last(content) => match self.writing.push(content).await {
                    Ok(()) => self.writing.keep().await,
                    Err(error) => Err(error),
                },
                Take::End(outcome) => return self.ended(outcome).await,
            };
            if let Err(error) = kept {
                return self.ended(not_kept(&error)).await;
            }
            let answered = &self.session.answered;
            if answered.load(Ordering::Relaxed) == 0 {
                answered.store(wall_clock(), Ordering::Relaxed);
            }
            packet = self.intake.kept(self.started.elapsed());
        }
    }

    /// Removes what is not whole, then tells the client why it is over, where
    /// it does not know.
    async fn ended(&mut self, outcome: Outcome) -> Outcome {
        if let Some(draft) = self.writing.draft.take()
            && let Err(fault) = spawn_blocking(move || drop(draft)).await
        {
            warn!(target: "reveille::tftp", error = %fault, "draft not removed");
        }
        if let Some(code) = outcome.code() {
            let packet = wire::error(code, outcome.as_str());
            if let Err(error) = self.socket.send(&packet).await {
                debug!(target: "reveille::tftp", %error, "last words could not be sent");
            }
        }
        outcome
    }

    fn report(&self, path: &ArtifactPath, outcome: &Outcome) {
        let Self {
            session, intake, ..
        } = self;
        let (bytes, outcome_name) = (intake.bytes(), outcome.as_str());
        session.shared.metrics.uploaded(outcome, bytes);
        let (peer, retransmits) = (session.peer, intake.retransmits());
        let duration = self.started.elapsed().as_millis();
        let duration_ms = u64::try_from(duration).unwrap_or(u64::MAX);
        if *outcome == Outcome::Complete {
            info!(target: "reveille::tftp", %peer, name = %path, bytes, duration_ms, retransmits, outcome = outcome_name, "file written");
        } else {
            warn!(target: "reveille::tftp", %peer, name = %path, bytes, duration_ms, retransmits, outcome = outcome_name, "file not written");
        }
    }
}

const fn stopped(stop: Stop) -> Outcome {
    match stop {
        Stop::Replaced => Outcome::Replaced,
        Stop::Crowded => Outcome::CrowdedOut,
        Stop::Shutdown => Outcome::Stopped,
    }
}

fn not_kept(error: &io::Error) -> Outcome {
    if error.kind() == io::ErrorKind::AlreadyExists {
        return Outcome::Exists;
    }
    if is_full(error) {
        return Outcome::DiskFull;
    }
    warn!(target: "reveille::tftp", %error, "file cannot be written");
    Outcome::WriteFailed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_no_more_than_the_quota_has() {
        let uploads = Uploads {
            largest: 100,
            quota: 150,
            ..Uploads::default()
        };
        let promised = Promised::default();
        let room = |asked, free| room(&uploads, &promised, asked, free);
        assert_eq!(room(101, 150).unwrap_err(), Refusal::TooLong);
        let first = room(0, 150).unwrap();
        assert_eq!(first.bytes, 100);
        assert_eq!(room(60, 150).unwrap_err(), Refusal::QuotaFull);
        let second = room(0, 150).unwrap();
        assert_eq!(second.bytes, 50);
        assert_eq!(room(0, 150).unwrap_err(), Refusal::QuotaFull);
        drop((first, second));
        assert_eq!(room(100, 150).unwrap().bytes, 100);
        assert_eq!(room(0, 0).unwrap_err(), Refusal::QuotaFull);
    }
}
