//! An answer before it is on its way.

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, LAST_MODIFIED, RETRY_AFTER, SERVER,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::body::{Body, FileSource, Reading, Source};
use super::delivery::{Content, Delivery, Exchange, Kind, Outbox};
use super::media;
use super::range::{Conditions, Selection, Version, select};
use super::refusal::Refusal;
use crate::files::OpenedFile;

/// Seconds after which a client may ask again while there is no snapshot.
const RETRY_SECONDS: &str = "5";

/// What is sent: all but what the connection adds.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    source: Source,
    kind: Kind,
    reason: Option<&'static str>,
    content: Option<Content>,
}

impl Answer {
    /// Text or a page that was made for this request.
    pub(super) fn made(kind: Kind, media: &'static str, body: String) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Self {
            status: StatusCode::OK,
            headers,
            source: Source::Bytes(Bytes::from(body)),
            kind,
            reason: None,
            content: None,
        }
    }

    /// A status code and the reason in words.
    pub(super) fn refusal(refusal: &Refusal) -> Self {
        let reason = refusal.as_str();
        let mut answer = Self::made(Kind::Refusal, media::TEXT, format!("{reason}\n"));
        answer.status =
            StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        answer.reason = Some(reason);
        match refusal {
            Refusal::Method => answer.put(ALLOW, "GET, HEAD"),
            Refusal::NoSnapshot => answer.put(RETRY_AFTER, RETRY_SECONDS),
            Refusal::Target(_)
            | Refusal::Route(_)
            | Refusal::NotFound
            | Refusal::NotReadable
            | Refusal::ListingOff
            | Refusal::ReadFailed
            | Refusal::OtherVersion
            | Refusal::BehindEnd => {}
        }
        answer
    }

    /// A file, a part of it, or why not.
    pub(super) fn file(
        opened: OpenedFile,
        content: Content,
        conditions: &Conditions,
        reading: &Reading,
    ) -> Self {
        let version = Version::new(opened.modified, opened.len);
        let (status, part) = match select(conditions, &version) {
            Selection::Whole => (StatusCode::OK, None),
            Selection::Part(part) => (StatusCode::PARTIAL_CONTENT, Some(part)),
            Selection::NotModified => return Self::not_modified(content, &version),
            Selection::PreconditionFailed => return Self::refusal(&Refusal::OtherVersion),
            Selection::Unsatisfiable => {
                let mut answer = Self::refusal(&Refusal::BehindEnd);
                answer.put(CONTENT_RANGE, &format!("bytes */{}", opened.len));
                return answer;
            }
        };
        let mut answer = Self::not_modified(content.clone(), &version);
        answer.status = status;
        answer.put(CONTENT_TYPE, &media::content_type(&content.name));
        answer.put(ACCEPT_RANGES, "bytes");
        if let Some(part) = part {
            answer.put(CONTENT_RANGE, &format!("bytes {part}/{}", opened.len));
        }
        answer.content = Some(content);
        answer.source = Source::File(FileSource::new(opened.file, opened.len, part, reading));
        answer
    }

    /// 304: no body, only what tells the version.
    fn not_modified(content: Content, version: &Version) -> Self {
        let mut answer = Self {
            status: StatusCode::NOT_MODIFIED,
            headers: HeaderMap::new(),
            source: Source::Nothing,
            kind: Kind::Content(content.purpose),
            reason: None,
            content: None,
        };
        answer.put(LAST_MODIFIED, &version.last_modified());
        answer.put(ETAG, &version.etag());
        answer
    }

    /// With the content that the timeline is told of.
    pub(super) fn telling(mut self, content: Content) -> Self {
        self.content = Some(content);
        self
    }

    /// Puts the answer on its way: `keep_alive` says that the connection stays.
    pub(super) fn send(
        mut self,
        exchange: Exchange,
        keep_alive: bool,
        outbox: Outbox,
    ) -> Response<Body> {
        self.put(SERVER, "reveille");
        if keep_alive {
            // HTTP/1.1 needs no word for it; nginx says it and clients look for it.
            self.put(CONNECTION, "keep-alive");
        } else {
            self.put(CONNECTION, "close");
        }
        if self.status != StatusCode::NOT_MODIFIED {
            self.put(CONTENT_LENGTH, &self.source.left().to_string());
        }
        if exchange.method == Method::HEAD {
            self.source = Source::Nothing;
            self.content = None;
        }
        let delivery = Delivery {
            exchange,
            status: self.status,
            kind: self.kind,
            reason: self.reason,
            content: self.content,
            sent: 0,
        };
        let mut response = Response::new(Body::new(self.source, delivery, outbox));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    /// Sets a header. What cannot stand in one is left out; nothing that we
    /// put there can be such.
    fn put(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }
}
