//! The HTTP door for boot clients: takes requests, asks `route`, sends.
//!
//! It stands on hyper itself, not on axum's router: `route` decides every
//! path, and a router in front of it would have an opinion of its own about
//! doubled slashes, encoded ones and methods. It never redirects.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, RANGE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use jiff::tz::TimeZone;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::answer::Answer;
use super::answer_files::AnswerFiles;
use super::body::{Body, Reading};
use super::delivery::{Content, Exchange, Kind, Sinks};
use super::discs::Discs;
use super::door::{Caller, Door, Limits};
use super::files::{self, Found};
use super::listen::TlsListener;
use super::listing::{Folder, Shown};
use super::media;
use super::metrics::HttpMetrics;
use super::passwords;
use super::phone_home;
use super::range::Conditions;
use super::refusal::Refusal;
use super::release::{Granted, without_token};
use super::route::{self, Locked, Route, route};
use super::target::{Format, decode_path, view};
use crate::boot::MacAddress;
use crate::clock;
use crate::events::EventSender;
use crate::files::{ArtifactPath, Roots};
use crate::governor::{Bears, Busy, Governor};
use crate::lease::LeaseIndex;
use crate::script::{self, NoScript, PASS, SCRIPT_NAME, Urls, file_of, pass_for};
use crate::snapshot::{Acquaintances as _, Reader, Snapshot};
use crate::supervisor::Lanes;
use crate::timeline::{BootEvent, Fact, Introductions, PhoneHome, Purpose, Release};
use crate::tls::Handshakes;

/// For the body of a call to come: it has 4 KiB at most.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What the server needs.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Where it listens; port 0 takes any. An IPv6 address takes no IPv4.
    pub listen: SocketAddr,
    /// Which folders are shown.
    pub listing: Shown,
    /// What it bears.
    pub limits: Limits,
    /// Whose turn it is on a link.
    pub governor: Governor,
    /// The table that answers come from.
    pub snapshots: Reader,
    /// The files.
    pub roots: Arc<Roots>,
    /// TLS; plain HTTP without.
    pub tls: Option<Handshakes>,
    /// Which machine has which address.
    pub leases: LeaseIndex,
    /// What machines told of themselves lately.
    pub told: Introductions,
    /// Makes their answer files.
    pub answer_files: AnswerFiles,
    /// The road to the timeline.
    pub events: EventSender,
    /// The counters, shared with other doors.
    pub metrics: HttpMetrics,
}

/// The server, bound: one port, with TLS or without.
#[derive(Debug)]
pub struct HttpServer {
    door: BootDoor,
    boot: Arc<Boot>,
}

/// The door of a server.
#[derive(Debug)]
enum BootDoor {
    Plain(Door),
    Tls(Door<TlsListener>),
}

/// What every request needs.
#[derive(Debug)]
struct Boot {
    snapshots: Reader,
    roots: Arc<Roots>,
    leases: LeaseIndex,
    told: Introductions,
    answer_files: AnswerFiles,
    sinks: Arc<Sinks>,
    listing: Arc<Shown>,
    zone: TimeZone,
    reading: Reading,
    governor: Governor,
    /// Whether the door speaks TLS.
    tls: bool,
}

// === impl HttpServer ===

impl HttpServer {
    /// Binds the address; connections wait until [`run`](Self::run).
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub fn bind(config: HttpConfig) -> io::Result<Self> {
        let HttpConfig {
            listen,
            listing,
            limits,
            governor,
            snapshots,
            roots,
            tls,
            leases,
            told,
            answer_files,
            events,
            metrics,
        } = config;
        let (at, counts) = (listen, metrics.clone());
        let secured = tls.is_some();
        let lanes = Lanes::start("http", None)?;
        let door = match tls {
            None => BootDoor::Plain(Door::bind_only("boot", at, limits, counts)?.on_lanes(lanes)),
            Some(tls) => {
                let door = Door::bind_tls_only("boot-tls", at, tls, limits, counts)?;
                BootDoor::Tls(door.on_lanes(lanes))
            }
        };
        let boot = Boot {
            snapshots,
            roots,
            leases,
            sinks: Arc::new(Sinks {
                events,
                metrics,
                told: told.clone(),
                discs: Discs::default(),
            }),
            told,
            answer_files,
            listing: Arc::new(listing),
            zone: files::local_zone(),
            reading: Reading::default(),
            governor,
            tls: secured,
        };
        Ok(Self {
            door,
            boot: Arc::new(boot),
        })
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.door {
            BootDoor::Plain(door) => door.local_addr(),
            BootDoor::Tls(door) => door.local_addr(),
        }
    }

    /// Serves until `cancel`; then no new connection is taken, answers in
    /// flight get the drain time, and idle connections end at once.
    ///
    /// # Errors
    /// Where the listener breaks.
    pub async fn run(self, cancel: CancellationToken) -> io::Result<()> {
        let Self { door, boot } = self;
        // Its own token: a broken listener must end this door alone.
        let cancel = cancel.child_token();
        let stopping = cancel.clone();
        let serve = move |caller: Caller| {
            let (boot, stopping) = (Arc::clone(&boot), stopping.clone());
            service_fn(move |request| {
                let (boot, caller) = (Arc::clone(&boot), caller.clone());
                let stopping = stopping.is_cancelled();
                async move { Ok::<_, Infallible>(boot.serve(request, caller, stopping).await) }
            })
        };
        match door {
            BootDoor::Plain(door) => door.run(cancel, serve).await,
            BootDoor::Tls(door) => door.run(cancel, serve).await,
        }
    }
}

// === impl Boot ===

impl Boot {
    /// Answers a request and says how the connection goes on.
    async fn serve(
        &self,
        request: Request<Incoming>,
        caller: Caller,
        stopping: bool,
    ) -> Response<Body> {
        let (head, body) = request.into_parts();
        #[expect(clippy::disallowed_methods, reason = "the shell times its answers")]
        let started = Instant::now();
        // One request, one snapshot.
        let snapshot = self.snapshots.current();
        let mut exchange = Exchange {
            sinks: Arc::clone(&self.sinks),
            started,
            peer: caller.ends.peer,
            mac: self.machine_at(caller.ends.peer),
            method: head.method.clone(),
            path: without_token(head.uri.path()),
            generation: snapshot.as_ref().map_or(0, |snapshot| snapshot.generation),
            _in_flight: self.sinks.metrics.begin(),
        };
        let answer = if head.method == Method::POST {
            self.phoned_home(&head, body, &mut exchange).await
        } else {
            let snapshot = snapshot.as_deref();
            self.answer(snapshot, &head, &caller, &mut exchange).await
        };
        let answer = answer.unwrap_or_else(|refusal| {
            self.sinks.metrics.answer_file_refused(&refusal);
            Answer::refusal(&refusal)
        });
        let keep_alive = persists(&head) && !stopping;
        answer.send(exchange, keep_alive, caller.outbox)
    }

    async fn answer(
        &self,
        snapshot: Option<&Snapshot>,
        head: &Parts,
        caller: &Caller,
        exchange: &mut Exchange,
    ) -> Result<Answer, Refusal> {
        if head.method != Method::GET && head.method != Method::HEAD {
            return Err(Refusal::Method);
        }
        let snapshot = snapshot.ok_or(Refusal::NoSnapshot)?;
        let path = decode_path(head.uri.path()).map_err(Refusal::Target)?;
        exchange.path = without_token(&path);
        let server = Urls {
            server: caller.ends.local.ip(),
            port: caller.ends.local.port(),
            tls: self.tls,
        };
        let asking = script::Caller {
            address: caller.ends.peer.ip(),
            mac: exchange.mac,
            told: &self.told,
        };
        let query = head.uri.query();
        let ask = |query: Option<&str>| {
            route(snapshot, asking, server, &path, query).map_err(Refusal::Route)
        };
        let mut found = ask(query)?;
        if let Route::Locked(locked) = &found {
            match self.unlock(locked, head).await {
                // The pass opens what the password did, for the rest of the boot.
                Ok(pass) => found = ask(Some(&format!("{PASS}{pass}")))?,
                Err(refusal) => return Ok(shut(locked, &refusal)),
            }
        }
        match found {
            Route::Locked(locked) => Ok(shut(&locked, &NEEDED)),
            Route::Config(granted) => self.answer_file(&granted, exchange).await,
            Route::Text {
                name,
                body,
                purpose,
                machine,
                told,
            } => {
                if let (Some(mac), Some(told)) = (machine, told) {
                    self.told.insert(mac, told, clock::now());
                }
                Ok(text(name, body, purpose, machine))
            }
            Route::File {
                path,
                purpose,
                machine,
            } => {
                let content = Content {
                    purpose,
                    name: path.as_str().to_owned(),
                    size: 0,
                    machine,
                };
                let found = match self.look_up(path, content.clone(), head).await {
                    Ok(answer) => self.in_turn(answer, purpose, head, caller).await,
                    refused => refused,
                };
                // The boot that wanted it is told that it got nothing.
                Ok(found.unwrap_or_else(|refusal| Answer::refusal(&refusal).telling(content)))
            }
        }
    }

    /// Holds what was typed against the passwords on the way to what was chosen.
    async fn unlock(&self, locked: &Locked, head: &Parts) -> Result<String, Refusal> {
        let typed = head.headers.get(&AUTHORIZATION);
        let typed = typed.map(HeaderValue::as_bytes);
        let checked = self.answer_files.passwords().check(locked, typed).await;
        checked.map_err(Refusal::Password)?;
        let pass = self.told.token_for(locked.mac, &pass_for(&locked.choice));
        // It asks for an address again, and then a boot is known.
        let unknown = route::Refused::Script(NoScript::BootUnknown);
        pass.ok_or(Refusal::Route(unknown))
    }

    /// Makes an answer file, and tells the timeline that it was given away.
    async fn answer_file(&self, granted: &Granted, exchange: &Exchange) -> Result<Answer, Refusal> {
        let file = &granted.file;
        let text = self.answer_files.text(granted).await;
        let fact = match &text {
            Ok(text) => Fact::Released(Release {
                boot: granted.boot,
                name: file.name.clone(),
                address: exchange.peer.ip(),
                bytes: text.len() as u64,
            }),
            Err(refused) => Fact::Refused {
                purpose: Purpose::Config,
                name: file.name.clone(),
                reason: refused.as_str(),
            },
        };
        if exchange.method == Method::GET {
            let (mac, at) = (granted.boot.mac, clock::now());
            self.sinks.events.emit(BootEvent { mac, at, fact });
        }
        let text = text.map_err(Refusal::AnswerFile)?;
        self.sinks.metrics.answer_file_given();
        let kind = Kind::Content(Purpose::Config);
        Ok(Answer::made(kind, file.kind.media(), text))
    }

    /// Hears the call of a system that was booted.
    async fn phoned_home(
        &self,
        head: &Parts,
        body: Incoming,
        exchange: &mut Exchange,
    ) -> Result<Answer, Refusal> {
        exchange.path = decode_path(head.uri.path()).map_err(Refusal::Target)?;
        let (key, query) = (self.told.key(), head.uri.query());
        let boot = key.map_or(Err(phone_home::Refused::Method), |key| {
            phone_home::boot_of(key, &exchange.path, query)
        });
        let boot = boot.map_err(Refusal::PhoneHome)?;
        exchange.mac = Some(boot.mac);
        let body = Limited::new(body, phone_home::MAX_BODY).collect();
        let body = tokio::time::timeout(BODY_TIMEOUT, body).await;
        let body = match body {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(Refusal::PhoneHome(phone_home::Refused::BodyTooLong));
            }
            Ok(Err(_)) | Err(_) => {
                return Err(Refusal::PhoneHome(phone_home::Refused::BodyCut));
            }
        };
        let (state, message) = phone_home::said(&body).map_err(Refusal::PhoneHome)?;
        self.sinks.events.emit(BootEvent {
            mac: boot.mac,
            at: clock::now(),
            fact: Fact::PhonedHome(PhoneHome {
                boot,
                address: exchange.peer.ip(),
                state,
                message,
            }),
        });
        Ok(Answer::heard())
    }

    /// Looks a path up and sends what is there.
    async fn look_up(
        &self,
        path: ArtifactPath,
        content: Content,
        head: &Parts,
    ) -> Result<Answer, Refusal> {
        let found = match self.roots.open_at_once(&path) {
            Some(Ok(opened)) if !opened.is_dir => Found::File(opened),
            Some(_) | None => self.find(path).await?,
        };
        Ok(match found {
            Found::File(opened) => {
                let size = opened.len;
                let content = Content { size, ..content };
                Answer::file(opened, content, &conditions(head), &self.reading)
            }
            Found::Folder(folder) => self.folder(&folder, head),
        })
    }

    /// Looks a path up by a thread that may wait for the disk.
    async fn find(&self, path: ArtifactPath) -> Result<Found, Refusal> {
        let (roots, listing) = (Arc::clone(&self.roots), Arc::clone(&self.listing));
        let found = spawn_blocking(move || files::find(&roots, path, &listing)).await;
        found.map_err(|_| Refusal::ReadFailed)?
    }

    /// Has an answer with content wait for its turn on the link.
    async fn in_turn(
        &self,
        answer: Answer,
        purpose: Purpose,
        head: &Parts,
        caller: &Caller,
    ) -> Result<Answer, Refusal> {
        if head.method != Method::GET {
            return Ok(answer);
        }
        let ends = (caller.ends.local.ip(), caller.ends.peer.ip());
        let turn = self.governor.turn(ends, answer.bytes(), Bears::of(purpose));
        let turn = turn.await.map_err(|Busy| Refusal::Busy)?;
        Ok(answer.with_turn(turn))
    }

    fn folder(&self, folder: &Folder, head: &Parts) -> Answer {
        let accept = joined(&head.headers, &ACCEPT);
        let view = view(head.uri.query(), accept.as_deref());
        let (media, body) = match view.format {
            Format::Html => (media::HTML, folder.html(&self.zone, &view)),
            Format::Json => (media::JSON, folder.json(&view)),
        };
        Answer::made(Kind::Listing, media, body)
    }

    fn machine_at(&self, peer: SocketAddr) -> Option<MacAddress> {
        self.leases.mac_of(peer.ip())
    }
}

/// A text that was made for `machine`.
fn text(name: String, body: String, purpose: Purpose, machine: Option<MacAddress>) -> Answer {
    let content = Content {
        purpose,
        name,
        size: body.len() as u64,
        machine,
    };
    Answer::made(Kind::Content(purpose), media::TEXT, body).telling(content)
}

/// Nobody typed a password yet.
const NEEDED: Refusal = Refusal::Password(passwords::Refused::Needed);

/// The answer to who does not get what is behind a password. The boot is told
/// of it where somebody typed one.
fn shut(locked: &Locked, refusal: &Refusal) -> Answer {
    let answer = Answer::refusal(refusal);
    if *refusal == NEEDED {
        return answer;
    }
    answer.telling(Content {
        purpose: Purpose::Script,
        name: file_of(&locked.choice, SCRIPT_NAME),
        size: 0,
        machine: Some(locked.mac),
    })
}

/// Whether the client keeps the connection: RFC 9112 section 9.3. A request
/// that we do not serve may have a body that nobody reads.
fn persists(head: &Parts) -> bool {
    let says = |word: &str| {
        let options = joined(&head.headers, &CONNECTION).unwrap_or_default();
        options
            .split(',')
            .any(|option| option.trim().eq_ignore_ascii_case(word))
    };
    let serves = head.method == Method::GET || head.method == Method::HEAD;
    serves && !says("close") && (head.version >= Version::HTTP_11 || says("keep-alive"))
}

/// The headers that choose what is sent of a file.
fn conditions(head: &Parts) -> Conditions {
    let header = |name| joined(&head.headers, &name);
    Conditions {
        range: header(RANGE).filter(|_| head.method == Method::GET),
        if_range: header(IF_RANGE),
        if_match: header(IF_MATCH),
        if_none_match: header(IF_NONE_MATCH),
        if_modified_since: header(IF_MODIFIED_SINCE),
        if_unmodified_since: header(IF_UNMODIFIED_SINCE),
    }
}

/// All lines of a header as one; `None` without any.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|line| String::from_utf8_lossy(line.as_bytes()))
        .collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}
