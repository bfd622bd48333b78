//! An answer before it is on its way.

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, LAST_MODIFIED, RETRY_AFTER, SERVER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::body::{Body, FileSource, Reading, Source};
use super::delivery::{Content, Delivery, Exchange, Kind, Outbox};
use super::media;
use super::range::{Conditions, Selection, Version, select};
use super::refusal::Refusal;
use crate::files::OpenedFile;
use crate::governor::Turn;

/// Seconds after which a client may ask again for what is not there yet, as our
/// scripts do.
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
    /// Its turn on the link, where it has one.
    turn: Option<Turn>,
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
            turn: None,
        }
    }

    /// 204: heard.
    pub(super) fn heard() -> Self {
        let mut answer = Self::made(Kind::PhoneHome, media::TEXT, String::new());
        answer.headers.remove(CONTENT_TYPE);
        answer.status = StatusCode::NO_CONTENT;
        answer
    }

    /// A status code and the reason in words.
    pub(super) fn refusal(refusal: &Refusal) -> Self {
        let reason = refusal.as_str();
        let mut answer = Self::made(Kind::Refusal, media::TEXT, format!("{reason}\n"));
        answer.status =
            StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        answer.reason = Some(reason);
        if answer.status == StatusCode::METHOD_NOT_ALLOWED {
            answer.put(ALLOW, "GET, HEAD");
        }
        if answer.status == StatusCode::UNAUTHORIZED {
            // What iPXE has from `login` it sends to whoever says so only.
            answer.put(WWW_AUTHENTICATE, "Basic realm=\"menu\", charset=\"UTF-8\"");
        }
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            answer.put(RETRY_AFTER, RETRY_SECONDS);
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
        let kind = media::content_type_for(content.purpose, &content.name);
        answer.put(CONTENT_TYPE, &kind);
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
            turn: None,
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

    /// Bytes of its body.
    pub(super) const fn bytes(&self) -> u64 {
        self.source.left()
    }

    /// With its turn on the link, which it keeps until all has left.
    pub(super) fn with_turn(mut self, turn: Option<Turn>) -> Self {
        self.turn = turn;
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
        if self.status != StatusCode::NOT_MODIFIED && self.status != StatusCode::NO_CONTENT {
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
            turn: self.turn,
        };
        delivery.started();
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use http_body_util::BodyExt;
    use tokio::sync::mpsc::Receiver;

    use super::*;
    use crate::boot::MacAddress;
    use crate::events;
    use crate::http::HttpMetrics;
    use crate::http::delivery::Sinks;
    use crate::http::discs::Discs;
    use crate::telemetry::Meter;
    use crate::timeline::{BootEvent, Fact, Introductions, Purpose, Transfer};

    const PEER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
    const NAMED: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 2]);

    fn exchange(method: Method) -> (Exchange, Receiver<BootEvent>) {
        let meter = Meter::default();
        let (events, receiver) = events::queue(&meter).unwrap();
        let metrics = HttpMetrics::register(&meter).unwrap();
        let in_flight = metrics.begin();
        #[expect(clippy::disallowed_methods, reason = "a request begins")]
        let started = Instant::now();
        let exchange = Exchange {
            sinks: Arc::new(Sinks {
                events,
                metrics,
                told: Introductions::default(),
                discs: Discs::default(),
            }),
            started,
            peer: "192.0.2.1:1234".parse().unwrap(),
            mac: Some(PEER),
            method,
            path: "/boot.ipxe".to_owned(),
            generation: 1,
            _in_flight: in_flight,
        };
        (exchange, receiver)
    }

    fn script(machine: Option<MacAddress>) -> Answer {
        let content = Content {
            purpose: Purpose::Script,
            name: "boot.ipxe".to_owned(),
            size: 7,
            machine,
        };
        let kind = Kind::Content(Purpose::Script);
        Answer::made(kind, media::TEXT, "#!ipxe\n".to_owned()).telling(content)
    }

    async fn read(response: Response<Body>) -> (HeaderMap, Bytes) {
        let (head, body) = response.into_parts();
        (head.headers, body.collect().await.unwrap().to_bytes())
    }

    fn told(receiver: &mut Receiver<BootEvent>) -> Option<(MacAddress, Transfer)> {
        let event = receiver.try_recv().ok()?;
        let Fact::Transfer(transfer) = event.fact else {
            return None;
        };
        Some((event.mac, transfer))
    }

    #[tokio::test]
    async fn a_script_is_told_of_once_it_has_left() {
        let (exchange, mut receiver) = exchange(Method::GET);
        let outbox = Outbox::default();
        let response = script(None).send(exchange, true, outbox.clone());
        let (headers, body) = read(response).await;
        assert_eq!(body, "#!ipxe\n");
        assert_eq!(headers[CONTENT_TYPE], media::TEXT);
        assert_eq!(headers[CONTENT_LENGTH], "7");
        assert_eq!(headers[CACHE_CONTROL], "no-store");
        assert_eq!(told(&mut receiver), None);
        outbox.flushed();
        let (mac, transfer) = told(&mut receiver).unwrap();
        assert_eq!((mac, transfer.purpose), (PEER, Purpose::Script));
        assert_eq!(
            (transfer.bytes, transfer.size, transfer.complete),
            (7, 7, true)
        );
    }

    #[tokio::test]
    async fn the_machine_that_the_path_names_counts() {
        let (exchange, mut receiver) = exchange(Method::GET);
        let outbox = Outbox::default();
        read(script(Some(NAMED)).send(exchange, true, outbox.clone())).await;
        // The connection goes before the last bytes do.
        outbox.close();
        let (mac, transfer) = told(&mut receiver).unwrap();
        assert_eq!((mac, transfer.complete), (NAMED, false));
    }

    #[tokio::test]
    async fn what_nobody_reads_was_not_sent() {
        let (exchange, mut receiver) = exchange(Method::GET);
        drop(script(None).send(exchange, true, Outbox::default()));
        let (_, transfer) = told(&mut receiver).unwrap();
        assert_eq!((transfer.bytes, transfer.complete), (0, false));
    }

    #[tokio::test]
    async fn head_has_the_headers_and_tells_nothing() {
        let (exchange, mut receiver) = exchange(Method::HEAD);
        let outbox = Outbox::default();
        let response = script(None).send(exchange, false, outbox.clone());
        let (headers, body) = read(response).await;
        outbox.flushed();
        assert_eq!(
            (headers[CONTENT_LENGTH].as_bytes(), body.len()),
            (&b"7"[..], 0)
        );
        assert_eq!(headers[CONNECTION], "close");
        assert_eq!(told(&mut receiver), None);
    }
}
