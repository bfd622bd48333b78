//! What each firmware and loader of a machine gets, exchange by exchange.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use serde::{Deserialize, Serialize};

use super::World;
use super::cure;
use crate::boot::{Architecture, MacAddress};
use crate::dhcp::answer::BootAnswer;
use crate::dhcp::decide::{Arrival, Decision, Ignored, Outcome, decide};
use crate::dhcp::destination::{BOOT_PORT, SERVER_PORT};
use crate::dhcp::lookout::Wire;
use crate::dhcp::option;
use crate::dhcp::reply::{Reply, ReplyKind};
use crate::dhcp::request::Request;
use crate::http::route::{Refused, Route, route};
use crate::lease::LeaseTable;
use crate::packets::options::hex;
use crate::packets::{Decoded, Question, Role};
use crate::script::{Caller, Urls};
use crate::snapshot::SubnetEntry;
use crate::timeline::NextStep;

/// One client of the machine, and what it gets: by DHCPv4, or by DHCPv6, whose
/// packets are others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage<P = Decoded> {
    /// `pxe`, `http-boot`, `ipxe` or `system`.
    pub client: String,
    /// The processor and firmware, where it says one.
    pub architecture: Option<Architecture>,
    /// The exchange that says what it does next: its REQUEST, or its DISCOVER
    /// (SOLICIT) where that gets no offer.
    #[serde(flatten)]
    pub exchange: Exchange<P>,
    /// What it is told at UDP 4011, where a proxy's offer sends it there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_server: Option<Exchange<P>>,
    /// The script that it gets, for iPXE.
    pub script: Option<Script>,
}

/// A request and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange<P = Decoded> {
    /// The request.
    pub request: Option<P>,
    /// `offer`, `ack`, `nak`, `advertise`, `reply`, or the name of the silence.
    pub outcome: String,
    /// Whether a reply leaves.
    pub answered: bool,
    /// Why it is a NAK, lends no address, or names no file though the machine may
    /// boot.
    pub reason: Option<String>,
    /// What to do about a silence, a NAK or a missing file.
    pub cure: Option<String>,
    /// What the client does next, in words.
    pub next: Option<String>,
    /// Where the reply goes: `broadcast`, `hardware`, `client`, `asker` or `relay`.
    pub destination: Option<String>,
    /// The reply.
    pub reply: Option<P>,
    /// The bytes of the reply.
    pub reply_hex: Option<String>,
}

/// A script, as the machine would get it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// Where it is fetched.
    pub url: String,
    /// What it is for, or why there is none.
    pub outcome: String,
    /// Its text.
    pub text: Option<String>,
    /// The URLs in it, and what each is answered.
    pub urls: Vec<StageUrl>,
}

/// A URL and what is answered to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageUrl {
    /// The URL.
    pub url: String,
    /// The path in the tree, `script`, `elsewhere`, or the name of the refusal.
    pub answer: String,
    /// The SHA-256 that it must have, where it is an Artifact's.
    pub sha256: Option<String>,
}

/// The answer where a password is asked for.
const LOCKED: &str = "password-needed";

/// A request as it arrives.
#[derive(Clone, Copy, Debug)]
pub struct Arriving<'a> {
    /// Its bytes.
    pub packet: &'a [u8],
    /// The Subnet of the interface, as `namespace/name`.
    pub subnet: &'a str,
    /// Our address there.
    pub server: Ipv4Addr,
    /// Whether it came to that address alone.
    pub unicast: bool,
    /// Who asks, where it came to the boot server's port (UDP 4011).
    pub boot_port: Option<SocketAddrV4>,
    /// Whether the machine was sent our loader a moment ago.
    pub loader_sent: bool,
}

/// Decides about a packet as the engine does: with `table`, which changes by
/// it. What would leave is in the [`Exchange`].
pub fn exchange(world: World<'_>, table: &mut LeaseTable, arriving: Arriving<'_>) -> Exchange {
    let seen = Decoded::read(arriving.packet);
    let request = match Request::parse(arriving.packet) {
        Ok(request) => request,
        Err(malformed) => return unanswered(seen, Ignored::Malformed(malformed)),
    };
    let arrival = Arrival {
        now: world.now,
        subnet: arriving.subnet,
        server: arriving.server,
        unicast: arriving.unicast,
        from: arriving
            .boot_port
            .unwrap_or_else(|| SocketAddrV4::new(request.giaddr, SERVER_PORT)),
        boot_port: arriving.boot_port,
        wire: world
            .wires
            .get(arriving.subnet)
            .copied()
            .unwrap_or(Wire::Alone),
        loader_sent: arriving.loader_sent,
        told: world.told,
        authority: world.authority,
    };
    let decision = decide(world.snapshot, table, arrival, &request);
    table.apply_all(&decision.changes);
    match &decision.outcome {
        Outcome::Ignored(ignored) => unanswered(seen, *ignored),
        Outcome::Reply(reply) => answered(seen, &decision, reply, &reply.encode(&request)),
    }
}

fn unanswered(request: Option<Decoded>, why: Ignored) -> Exchange {
    silent(request, why.as_str(), cure::of_silence(why))
}

/// A request that is met with a silence of this name.
pub(super) fn silent<P>(request: Option<P>, why: &str, cure: Option<&'static str>) -> Exchange<P> {
    Exchange {
        request,
        outcome: why.to_owned(),
        answered: false,
        reason: None,
        cure: cure.map(str::to_owned),
        next: None,
        destination: None,
        reply: None,
        reply_hex: None,
    }
}

fn answered(
    request: Option<Decoded>,
    decision: &Decision,
    reply: &Reply,
    bytes: &[u8],
) -> Exchange {
    let boot = decision.boot.as_ref();
    let no_file = boot.and_then(|boot| boot.refused);
    let nak = decision.nak;
    Exchange {
        request,
        outcome: reply.kind.as_str().to_owned(),
        answered: true,
        reason: nak
            .map(|nak| nak.as_str().to_owned())
            .or_else(|| no_file.map(|reason| reason.as_str().to_owned())),
        cure: nak
            .map(cure::of_nak)
            .or_else(|| no_file.map(cure::of_no_loader))
            .map(str::to_owned),
        next: boot.map(next),
        destination: Some(reply.destination.as_str().to_owned()),
        reply: Decoded::read(bytes),
        reply_hex: Some(hex(bytes)),
    }
}

/// What a client does that is told so, in words.
pub(super) fn next(boot: &BootAnswer) -> String {
    match &boot.next {
        NextStep::Nothing if boot.refused.is_some() => {
            "nothing here boots it: it gets an address only".to_owned()
        }
        NextStep::Nothing => "it gets an address and settings".to_owned(),
        NextStep::Loader { file, .. } => format!("loads the loader {file}"),
        NextStep::Source { file, .. } => format!("loads {file} itself, without a loader of ours"),
        NextStep::Script { .. } => format!("fetches its script {}", boot.file),
        NextStep::Local => "boots its disk".to_owned(),
        NextStep::LocalScript if boot.file.is_empty() => "boots its disk".to_owned(),
        NextStep::LocalScript => format!("loads {}, whose script boots the disk", boot.file),
    }
}

/// Each client of the machine in the order of a boot.
pub(super) fn stages(
    world: World<'_>,
    subnet: &SubnetEntry,
    server: Ipv4Addr,
    question: Question,
    architectures: &[Architecture],
) -> Vec<Stage> {
    let mut stages = Vec::new();
    let mut add = |role| {
        let question = Question { role, ..question };
        stages.push(stage(world, subnet, server, question));
    };
    for architecture in architectures.iter().copied() {
        add(Role::Pxe(architecture));
        if architecture.is_uefi() {
            add(Role::HttpBoot(architecture));
        }
        add(Role::Ipxe(architecture));
    }
    add(Role::System);
    stages
}

fn stage(world: World<'_>, subnet: &SubnetEntry, server: Ipv4Addr, question: Question) -> Stage {
    // What one stage is lent is not there for the next: each is asked alone.
    let mut table = world.table.clone();
    let first = Arriving {
        packet: &question.discover(),
        subnet: &subnet.key,
        server,
        unicast: false,
        boot_port: None,
        loader_sent: matches!(question.role, Role::Ipxe(_)),
    };
    let mut last = exchange(world, &mut table, first);
    let offered = last.reply.as_ref().map(|reply| reply.yiaddr);
    let offered = offered.filter(|address| !address.is_unspecified());
    if let Some(address) = offered
        && last.outcome == ReplyKind::Offer.as_str()
    {
        let request = Arriving {
            packet: &question.request(address, server),
            ..first
        };
        last = exchange(world, &mut table, request);
    }
    let boot_server = boot_server(subnet, server, question, &last).map(|(asker, packet)| {
        let asked = Arriving {
            packet: &packet,
            unicast: true,
            boot_port: Some(asker),
            ..first
        };
        exchange(world, &mut table, asked)
    });
    let script = last.reply.as_ref().and_then(|reply| {
        let url = reply.option(option::BOOT_FILE);
        let address = reply.yiaddr.into();
        script(
            world,
            server.into(),
            (question.role, question.mac),
            (url?, address),
        )
    });
    Stage {
        client: question.role.as_str().to_owned(),
        architecture: question.role.architecture(),
        exchange: last,
        boot_server,
        script,
    }
}

/// What firmware asks at UDP 4011 after a proxy's offer that has option 60 and
/// no option 43 (EDK2 `PxeBcDhcp4.c`), and from where: an address of the network,
/// since that which the other server lends is not known.
fn boot_server(
    subnet: &SubnetEntry,
    server: Ipv4Addr,
    question: Question,
    offered: &Exchange,
) -> Option<(SocketAddrV4, Vec<u8>)> {
    let offer = offered.reply.as_ref()?;
    let is_proxy = offered.outcome == ReplyKind::Offer.as_str() && offer.yiaddr.is_unspecified();
    let asks = matches!(question.role, Role::Pxe(_))
        && is_proxy
        && offer.option(option::VENDOR_OPTIONS).is_none();
    let mut hosts = subnet.spec.cidr?.net().hosts();
    let address = hosts.find(|host| *host != server).filter(|_| asks)?;
    let asker = SocketAddrV4::new(address, BOOT_PORT);
    Some((asker, question.boot_server(address, None)))
}

/// The script that is named by `url`, as iPXE gets it that was lent `address`.
pub(super) fn script(
    world: World<'_>,
    server: IpAddr,
    (role, mac): (Role, MacAddress),
    (url, address): (&str, IpAddr),
) -> Option<Script> {
    let Role::Ipxe(_) = role else {
        return None;
    };
    let url = url.to_owned();
    let caller = Caller {
        address,
        mac: Some(mac),
        told: world.told,
    };
    let asked = |url: &str| fetch(world, caller, server, url);
    let (outcome, text) = match asked(&url)? {
        Ok(Route::Text { body, purpose, .. }) => (purpose.as_str().to_owned(), Some(body)),
        Ok(Route::File { path, .. }) => (path.as_str().to_owned(), None),
        Ok(Route::Config(granted)) => (granted.file.name.clone(), None),
        Ok(Route::Locked(_)) => (LOCKED.to_owned(), None),
        Err(refused) => (refused.as_str().to_owned(), None),
    };
    let urls = text.iter().flat_map(|text| urls(text));
    let urls = urls.filter(|inner| *inner != url).map(|url| {
        let answer = match asked(&url) {
            None => "elsewhere".to_owned(),
            Some(Ok(Route::File { path, .. })) => path.as_str().to_owned(),
            Some(Ok(Route::Text { purpose, .. })) => purpose.as_str().to_owned(),
            Some(Ok(Route::Config(granted))) => granted.file.name.clone(),
            Some(Ok(Route::Locked(_))) => LOCKED.to_owned(),
            Some(Err(refused)) => refused.as_str().to_owned(),
        };
        StageUrl {
            sha256: digest(world, &answer),
            answer,
            url,
        }
    });
    Some(Script {
        urls: urls.collect(),
        url,
        outcome,
        text,
    })
}

/// What our HTTP service answers to a URL; `None` for one that is not ours.
fn fetch(
    world: World<'_>,
    caller: Caller<'_>,
    server: IpAddr,
    url: &str,
) -> Option<Result<Route, Refused>> {
    let http = Urls {
        server,
        port: world.snapshot.http_port,
        tls: false,
    };
    let https = world.snapshot.https.map(|https| Urls {
        port: https.port,
        tls: true,
        ..http
    });
    let mut doors = [Some(http), https].into_iter().flatten();
    let (urls, rest) = doors.find_map(|urls| Some((urls, url.strip_prefix(&urls.base())?)))?;
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    Some(route(world.snapshot, caller, urls, &path, query))
}

/// The digest of a file of an Artifact, by the path at which it is served.
fn digest(world: World<'_>, path: &str) -> Option<String> {
    world.held.iter().find_map(|(name, held)| {
        let mut files = held.files.iter();
        let file = files.find(|(inner, _)| held.served_at(name, inner) == path);
        // A file that was damaged and taken out has none.
        file.map(|(_, file)| file.sha256.clone())
            .filter(|digest| !digest.is_empty())
    })
}

/// The URLs of a script, each once, in its order.
fn urls(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let is_url = ["http://", "https://", "tftp://"];
        let is_url = is_url.iter().any(|scheme| word.starts_with(scheme));
        // What iPXE fills in is no URL yet.
        if is_url && !word.contains("${") && !all.iter().any(|it| it == word) {
            all.push(word.to_owned());
        }
    }
    all
}
