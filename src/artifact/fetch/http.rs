//! One download over HTTP.

use std::path::Path;

use bytes::Bytes;
use reqwest::header::{
    CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    LAST_MODIFIED, RANGE,
};
use reqwest::{RequestBuilder, Response, StatusCode};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::sink::Sink;
use super::{
    Failure, Fetched, Fetcher, Got, MAX_BREAKS, Reason, Session, Task, fetched, forget, lost,
    read_version, verified, words, write_version,
};
use crate::artifact::identity::FileWant;
use crate::artifact::table::Version;

/// Pieces of the body that wait for the volume; each is 16 KiB or so.
const QUEUE: usize = 128;

/// An answer whose body is to be written.
struct Answer {
    response: Response,
    /// Where in the file its body begins.
    from: u64,
    /// Bytes of the whole file, where the server says.
    total: Option<u64>,
    version: Version,
}

/// How a body ended.
enum End {
    Whole(super::sink::Written),
    Broken(Failure),
}

impl Session {
    fn get(&self, url: &str) -> RequestBuilder {
        self.request(reqwest::Method::GET, url)
    }

    pub(super) fn request(&self, method: reqwest::Method, url: &str) -> RequestBuilder {
        let request = self.client.request(method, url);
        match (self.secret.text("token"), self.secret.text("username")) {
            (Some(token), _) => request.bearer_auth(token),
            (None, Some(user)) => request.basic_auth(user, self.secret.text("password")),
            (None, None) => request,
        }
    }
}

impl Fetcher {
    /// Downloads `url`, going on after breaks as long as there is progress.
    pub(super) async fn download(
        &self,
        session: &Session,
        url: &str,
        task: Task<'_>,
    ) -> Result<Got, Failure> {
        let mut breaks = 0;
        let mut anew = false;
        loop {
            let before = partial_len(task.partial);
            let asked = self.ask(session, url, task, anew).await?;
            let Some(answer) = asked else {
                return Ok(Got::Unchanged);
            };
            let (resumed, version) = (answer.from > 0, answer.version.clone());
            match self.take(url, task, answer).await? {
                End::Whole(written) => {
                    let wrong = task
                        .want
                        .sha256
                        .as_ref()
                        .is_some_and(|it| *it != written.sha256);
                    // Two halves of two versions: once more, from the beginning.
                    if resumed && wrong && !anew {
                        forget(task.partial);
                        anew = true;
                        continue;
                    }
                    return Ok(Got::File(fetched(written, version)));
                }
                End::Broken(failure) => {
                    breaks += 1;
                    let progress = partial_len(task.partial) > before;
                    if breaks > MAX_BREAKS || !progress {
                        return Err(failure);
                    }
                    tracing::debug!(url, %failure, "a download broke and goes on");
                }
            }
        }
    }

    /// Takes the body of a registry's answer as the blob that `task` wants by
    /// its digest; `from` is where in the blob it begins.
    ///
    /// # Errors
    /// It broke off (the next try goes on), or it is not the blob.
    pub async fn blob(
        &self,
        what: &str,
        response: Response,
        (from, total): (u64, Option<u64>),
        task: Task<'_>,
    ) -> Result<Fetched, Failure> {
        self.fits(what, task, total, from)?;
        let answer = Answer {
            response,
            from,
            total,
            version: Version::default(),
        };
        match self.take(what, task, answer).await? {
            End::Broken(failure) => Err(failure),
            End::Whole(written) => {
                let got = Got::File(fetched(written, Version::default()));
                match verified(task.want, what, got) {
                    Ok(Got::File(fetched)) => Ok(fetched),
                    Ok(Got::Unchanged) => Err(Failure::new(Reason::ServerError, what)),
                    Err(failure) => {
                        forget(task.partial);
                        Err(failure)
                    }
                }
            }
        }
    }

    /// A short text: a signature, a list of digests.
    ///
    /// # Errors
    /// It is not there, or longer than `most` bytes.
    pub async fn text(
        &self,
        session: &Session,
        url: &str,
        most: usize,
    ) -> Result<Vec<u8>, Failure> {
        if url.starts_with("file://") {
            return self.text_of_file(url, most).await;
        }
        let response = session.get(url).send().await;
        let mut response = response.map_err(|error| words::of_error(url, &error))?;
        if !response.status().is_success() {
            return Err(words::of_status(url, response.status(), response.headers()));
        }
        let mut text = Vec::new();
        loop {
            let there = text.len() as u64;
            let piece = response.chunk().await;
            let piece = piece.map_err(|error| words::of_body(url, &error, there, None))?;
            let Some(piece) = piece else { return Ok(text) };
            text.extend_from_slice(&piece);
            if text.len() > most {
                return Err(words::too_big(url, None, most as u64));
            }
        }
    }

    /// Asks for the file, or for the rest of it; `None` where it is as it was.
    async fn ask(
        &self,
        session: &Session,
        url: &str,
        task: Task<'_>,
        anew: bool,
    ) -> Result<Option<Answer>, Failure> {
        let rest = if anew { None } else { rest_of(task, url) };
        let mut request = session.get(url);
        if let Some((from, validator)) = &rest {
            request = request.header(RANGE, format!("bytes={from}-"));
            if let Some(validator) = validator {
                request = request.header(IF_RANGE, validator);
            }
        } else if let Some(have) = task.have.filter(|have| have.url == url) {
            if let Some(etag) = &have.etag {
                request = request.header(IF_NONE_MATCH, etag);
            }
            if let Some(date) = &have.last_modified {
                request = request.header(IF_MODIFIED_SINCE, date);
            }
        }
        let response = request.send().await;
        let response = response.map_err(|error| words::of_error(url, &error))?;
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED && rest.is_none() && task.have.is_some() {
            return Ok(None);
        }
        if status == StatusCode::RANGE_NOT_SATISFIABLE && rest.is_some() {
            // The file became shorter, or was whole already.
            forget(task.partial);
            return Box::pin(self.ask(session, url, task, true)).await;
        }
        if !status.is_success() {
            return Err(words::of_status(url, status, response.headers()));
        }
        refuse_page(task.want, url, response.headers())?;
        let from = match (&rest, status) {
            (Some((from, _)), StatusCode::PARTIAL_CONTENT) => {
                if range_start(response.headers()) == Some(*from) {
                    *from
                } else {
                    forget(task.partial);
                    return Box::pin(self.ask(session, url, task, true)).await;
                }
            }
            _ => 0,
        };
        let total = response.content_length().map(|len| len + from);
        self.fits(url, task, total, from)?;
        let header = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let version = Version {
            url: url.to_owned(),
            etag: header(ETAG),
            last_modified: header(LAST_MODIFIED),
        };
        Ok(Some(Answer {
            from,
            total,
            version,
            response,
        }))
    }

    fn fits(
        &self,
        url: &str,
        task: Task<'_>,
        total: Option<u64>,
        from: u64,
    ) -> Result<(), Failure> {
        let Some(total) = total else { return Ok(()) };
        if total > self.max_file() {
            return Err(words::too_big(url, Some(total), self.max_file()));
        }
        match task.free {
            Some(free) if free < total - from => Err(words::no_room(url, total - from, free)),
            Some(_) | None => Ok(()),
        }
    }

    /// Writes a body to its end, or as far as it comes.
    async fn take(&self, url: &str, task: Task<'_>, answer: Answer) -> Result<End, Failure> {
        let Answer {
            mut response,
            from,
            total,
            version,
        } = answer;
        let (queue, mut pieces) = mpsc::channel::<Bytes>(QUEUE);
        let (path, sha512) = (task.partial.to_owned(), task.want.sha512.is_some());
        let writer = spawn_blocking(move || {
            // Whatever was there is gone before the name of another version is:
            // else a death between the two would join halves of two files.
            let sink = Sink::open(&path, from > 0, sha512)?;
            write_version(&path, &version)?;
            sink.drain(&mut pieces)
        });
        let (mut there, most) = (from, self.max_file());
        let mut looked = task.want.has_digest() || from > 0;
        let failure = loop {
            match response.chunk().await {
                Ok(Some(piece)) => {
                    there += piece.len() as u64;
                    if !looked && looks_like_page(&piece) {
                        break Some(words::page(url));
                    }
                    looked = true;
                    if there > most {
                        break Some(words::too_big(url, None, most));
                    }
                    // The writer is gone only where the volume fails.
                    if queue.send(piece).await.is_err() {
                        break None;
                    }
                    (task.told)(there, total);
                }
                Ok(None) => break None,
                Err(error) => break Some(words::of_body(url, &error, there, total)),
            }
        };
        drop(queue);
        let sink = writer.await.map_err(|error| lost(&error))?;
        let volume =
            |error: &std::io::Error| Failure::volume("the download cannot be written", error);
        let sink = sink.map_err(|error| volume(&error))?;
        match failure {
            Some(failure) if matches!(failure.reason, Reason::ErrorPage | Reason::TooBig) => {
                forget(task.partial);
                Err(failure)
            }
            Some(failure) => Ok(End::Broken(failure)),
            None => {
                let ended = spawn_blocking(move || sink.finish()).await;
                let written = ended.map_err(|error| lost(&error))?;
                Ok(End::Whole(written.map_err(|error| volume(&error))?))
            }
        }
    }
}

/// How much of the file is there, and by what its version is known.
fn rest_of(task: Task<'_>, url: &str) -> Option<(u64, Option<String>)> {
    let len = partial_len(task.partial);
    if len == 0 {
        return None;
    }
    let version = read_version(task.partial)?;
    if version.url == url
        && let Some(validator) = version.validator()
    {
        return Some((len, Some(validator.to_owned())));
    }
    // From another place, or of a version that nobody named: the digest says
    // at the end whether the halves are of one file.
    task.want.has_digest().then_some((len, None))
}

pub(in crate::artifact) fn partial_len(partial: &Path) -> u64 {
    std::fs::metadata(partial).map_or(0, |metadata| metadata.len())
}

/// The first byte of `Content-Range: bytes 5-9/10`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (start, _) = range.strip_prefix("bytes ")?.split_once('-')?;
    start.parse().ok()
}

/// A page in the place of a file: what a login or a mirror that is closed
/// sends, with a good status.
fn refuse_page(want: &FileWant, url: &str, headers: &HeaderMap) -> Result<(), Failure> {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let is_page = kind.is_some_and(|kind| kind.trim_start().starts_with("text/html"));
    if is_page && !want.has_digest() && !is_page_name(&want.path) {
        return Err(words::page(url));
    }
    Ok(())
}

fn is_page_name(path: &str) -> bool {
    [".html", ".htm", ".xhtml"]
        .iter()
        .any(|end| path.ends_with(end))
}

fn looks_like_page(start: &[u8]) -> bool {
    let start = start.trim_ascii_start();
    let begins = |with: &[u8]| {
        start
            .get(..with.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    begins(b"<!doctype html") || begins(b"<html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_pages() {
        assert!(looks_like_page(b"\n <!DOCTYPE html><title>x"));
        assert!(looks_like_page(b"<HTML>"));
        assert!(!looks_like_page(b"MZ<html>"));
        assert!(!looks_like_page(b""));
    }
}
