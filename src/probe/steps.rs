//! Asks a server, step by step. Shell.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::StatusCode;
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

use super::download::{Download, Next};
use super::report::Step;
use super::upload::Upload;
use super::web::{self, PLAIN};
use crate::boot::MacAddress;
use crate::clock;
use crate::explain::Explanation;
use crate::script::{MACHINES, SCRIPT_NAME};
use crate::status::Overview;

/// How often a TFTP datagram is sent again.
const TRIES: u32 = 5;

/// Whom to ask, and for what.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server's name or address.
    pub server: String,
    /// Where its admin port is, if elsewhere.
    pub admin: Option<String>,
    /// Its admin port.
    pub admin_port: u16,
    /// Its HTTP port.
    pub http_port: u16,
    /// Its TFTP port.
    pub tftp_port: u16,
    /// The file to fetch; a loader of the server's when `None`.
    pub file: Option<String>,
    /// The folder into which a file is written by TFTP; none without.
    pub put: Option<String>,
    /// The machine whose script is asked for.
    pub mac: Option<MacAddress>,
    /// How long each step may take.
    pub patience: Duration,
}

/// Tries every step, also after one that failed. Call it within a tokio runtime.
pub async fn run(target: &Target) -> Vec<Step> {
    let mut steps = vec![ready(target).await];
    match address(&target.server).await {
        Ok(at) => {
            let file = match &target.file {
                Some(file) => Ok(file.clone()),
                None => loader(target).await,
            };
            match file {
                Ok(file) => {
                    let (http, bytes) = http(target, at, &file).await;
                    steps.push(http);
                    steps.push(tftp(target, at, &file, bytes).await);
                }
                Err(error) => {
                    let cure = "name a file that it serves by --file";
                    let seen = format!("which loader the server has is not known: {error:#}");
                    steps.push(Step::failed("http", seen, cure));
                    steps.push(Step::skipped("tftp", "no file to ask for"));
                }
            }
            if let Some(folder) = &target.put {
                steps.push(put(target, at, folder).await);
            }
            steps.push(script(target, at).await);
        }
        Err(error) => {
            let cure =
                "name the server by its address; a Pod finds names through the cluster's DNS";
            steps.push(Step::failed("name", format!("{error:#}"), cure));
        }
    }
    steps
}

/// The address of `server`; IPv4 first, which is what machines use.
pub(super) async fn address(server: &str) -> anyhow::Result<IpAddr> {
    if let Ok(address) = server.parse() {
        return Ok(address);
    }
    let found = lookup_host((server, 0))
        .await
        .with_context(|| format!("{server} has no address"))?;
    let mut found: Vec<IpAddr> = found.map(|at| at.ip()).collect();
    found.sort_by_key(IpAddr::is_ipv6);
    let first = found.first().copied();
    first.with_context(|| format!("{server} has no address"))
}

async fn ready(target: &Target) -> Step {
    const NAME: &str = "ready";
    match admin(target, "/readyz").await {
        Ok(answer) if answer.status == StatusCode::OK => {
            Step::passed(NAME, "the server can serve boots".to_owned())
        }
        Ok(answer) => {
            let said = text(&answer.body);
            let cure =
                "`reveille status` on the server, or `kubectl describe pod`, says what to do";
            Step::failed(NAME, format!("not ready: {said}"), cure)
        }
        Err(error) => {
            let cure = "is it running, and its admin port (--admin) on an address that is reached from here?";
            Step::failed(NAME, format!("{error:#}"), cure)
        }
    }
}

/// The digests that the server tells of: its loaders' by name and, of the
/// machine's script, each Artifact's file by URL. Nothing where it cannot be
/// asked: its admin port is not for everyone.
pub async fn known(target: &Target) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    if let Ok(answer) = admin(target, "/status").await
        && let Ok(overview) = serde_json::from_slice::<Overview>(&answer.body)
    {
        let loaders = overview.loaders.into_iter();
        known.extend(loaders.map(|loader| (loader.file, loader.sha256)));
    }
    let Some(mac) = target.mac else {
        return known;
    };
    let explained = admin(target, &format!("/explain?who={}", mac.hyphenated())).await;
    let explained = explained.map(|answer| answer.body).unwrap_or_default();
    let all: Vec<Explanation> = serde_json::from_slice(&explained).unwrap_or_default();
    let scripts = all.into_iter().flat_map(|one| {
        let six = one.ipv6.into_iter().flat_map(|over| over.stages);
        let six = six.filter_map(|stage| stage.script);
        let four = one.stages.into_iter().filter_map(|stage| stage.script);
        four.chain(six)
    });
    let urls = scripts.flat_map(|it| it.urls);
    known.extend(urls.filter_map(|it| Some((it.url, it.sha256?))));
    known
}

/// The first loader of the server's.
async fn loader(target: &Target) -> anyhow::Result<String> {
    let answer = admin(target, "/status").await?;
    let overview: Overview = serde_json::from_slice(&answer.body)
        .context("its status is of another version; upgrade one of both")?;
    let loaders = overview
        .snapshot
        .context("it has no manifests yet")?
        .loaders;
    let first = loaders.into_values().next();
    first.context("it found no loader; --loaders names their folder")
}

async fn http(target: &Target, at: IpAddr, file: &str) -> (Step, Option<Bytes>) {
    const NAME: &str = "http";
    let at = SocketAddr::new(at, target.http_port);
    let path = format!("/{}", file.trim_start_matches('/'));
    match within(target.patience, web::get(at, &path, PLAIN)).await {
        Ok(answer) if answer.status == StatusCode::OK => {
            let seen = format!("{file}, {} B from {at}", answer.body.len());
            (Step::passed(NAME, seen), Some(answer.body))
        }
        Ok(answer) => {
            let seen = format!("{file}: status {} from {at}", answer.status.as_u16());
            let cure = "is the file in the artifact tree or a loader folder?";
            (Step::failed(NAME, seen, cure), None)
        }
        Err(error) => {
            let cure = format!("open TCP {} from here to {}", at.port(), at.ip());
            (Step::failed(NAME, format!("{error:#}"), cure), None)
        }
    }
}

async fn tftp(target: &Target, at: IpAddr, file: &str, same: Option<Bytes>) -> Step {
    const NAME: &str = "tftp";
    let at = SocketAddr::new(at, target.tftp_port);
    match within(target.patience, read(at, file, None)).await {
        Ok(bytes) if same.as_ref().is_some_and(|same| *same != bytes) => {
            let seen = format!("{file} has other bytes than by HTTP");
            Step::failed(NAME, seen, "is there another TFTP server at this address?")
        }
        Ok(bytes) => Step::passed(NAME, format!("{file}, {} B from {at}", bytes.len())),
        Err(error) => {
            let cure = format!(
                "open UDP {} to {}, and back from its high ports; a Service or NAT does not pass TFTP",
                at.port(),
                at.ip()
            );
            Step::failed(NAME, format!("{error:#}"), cure)
        }
    }
}

/// Writes a file of a name that is not there yet, and reads it back. It stays:
/// TFTP cannot delete.
async fn put(target: &Target, at: IpAddr, folder: &str) -> Step {
    const NAME: &str = "put";
    // Two whole blocks, so that an empty one ends it.
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(1024).collect();
    let at = SocketAddr::new(at, target.tftp_port);
    let file = format!("{}/probe-{}", folder.trim_matches('/'), clock::now().0);
    let work = async {
        write(at, &file, bytes.clone())
            .await
            .context("written by TFTP")?;
        read(at, &file, None).await.context("read back")
    };
    match within(target.patience, work).await {
        Ok(back) if back != bytes => {
            let seen = format!("{file} was written and has other bytes when it is read");
            Step::failed(NAME, seen, "is there another TFTP server at this address?")
        }
        Ok(_) => Step::passed(NAME, format!("{file}, {} B to {at} and back", bytes.len())),
        Err(error) => {
            let cure = format!(
                "the server takes files into the folders that --tftp-uploads names: is {folder} one, and writable?"
            );
            Step::failed(NAME, format!("{file}: {error:#}"), cure)
        }
    }
}

/// Reads a file by TFTP; by an interface only, where one is named.
pub(super) async fn read(
    at: SocketAddr,
    file: &str,
    device: Option<&str>,
) -> anyhow::Result<Vec<u8>> {
    let socket = socket(at).await?;
    if let Some(device) = device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    let (out, mut download) = Download::start(file);
    transfer(&socket, at, out, |datagram| download.take(datagram)).await?;
    Ok(download.into_bytes())
}

/// Writes a file by TFTP.
async fn write(at: SocketAddr, file: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
    let socket = socket(at).await?;
    let (out, mut upload) = Upload::start(file, bytes);
    transfer(&socket, at, out, |datagram| upload.take(datagram)).await
}

/// A socket from which `at` can be reached.
async fn socket(at: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match at {
        SocketAddr::V4(_) => [0; 4].into(),
        SocketAddr::V6(_) => [0_u16; 8].into(),
    };
    UdpSocket::bind((any, 0)).await
}

/// Plays a transfer to its end: `out` first, then what `take` answers.
async fn transfer(
    socket: &UdpSocket,
    at: SocketAddr,
    mut out: Vec<u8>,
    mut take: impl FnMut(&[u8]) -> Result<Next, String>,
) -> anyhow::Result<()> {
    let mut to = at;
    let mut buffer = vec![0; 2048];
    loop {
        let (length, peer) = exchange(socket, &out, to, &mut buffer).await?;
        // The server answers from a port of its own, and keeps to it.
        if to == at && peer.ip() == at.ip() {
            to = peer;
        }
        if peer != to {
            continue;
        }
        let datagram = buffer.get(..length).unwrap_or_default();
        match take(datagram).map_err(anyhow::Error::msg)? {
            Next::Answer(next) => out = next,
            Next::Done(last) => {
                if !last.is_empty() {
                    socket.send_to(&last, to).await?;
                }
                return Ok(());
            }
            Next::Nothing => {}
        }
    }
}

/// Sends until something comes.
async fn exchange(
    socket: &UdpSocket,
    out: &[u8],
    to: SocketAddr,
    buffer: &mut [u8],
) -> anyhow::Result<(usize, SocketAddr)> {
    for _ in 0..TRIES {
        socket.send_to(out, to).await?;
        if let Ok(came) = timeout(Duration::from_secs(1), socket.recv_from(buffer)).await {
            return Ok(came?);
        }
    }
    bail!("{to} does not answer")
}

async fn script(target: &Target, at: IpAddr) -> Step {
    const NAME: &str = "script";
    let Some(mac) = target.mac else {
        return Step::skipped(NAME, "no --mac was given");
    };
    let at = SocketAddr::new(at, target.http_port);
    let path = format!("/{MACHINES}/{}/{SCRIPT_NAME}", mac.hyphenated());
    match within(target.patience, web::get(at, &path, PLAIN)).await {
        Ok(answer) if answer.status == StatusCode::OK && answer.body.starts_with(b"#!ipxe") => {
            let lines = answer.body.split(|byte| *byte == b'\n').count();
            Step::passed(NAME, format!("{mac} is told {lines} lines of iPXE script"))
        }
        Ok(answer) => {
            let seen = format!(
                "{mac}: status {}: {}",
                answer.status.as_u16(),
                text(&answer.body)
            );
            let cure = "is there a Machine with this MAC address, and is it approved?";
            Step::failed(NAME, seen, cure)
        }
        Err(error) => {
            let cure = format!("open TCP {} from here to {}", at.port(), at.ip());
            Step::failed(NAME, format!("{error:#}"), cure)
        }
    }
}

async fn admin(target: &Target, path: &str) -> anyhow::Result<web::Answer> {
    let host = target.admin.as_ref().unwrap_or(&target.server);
    let at = SocketAddr::new(address(host).await?, target.admin_port);
    within(target.patience, web::get(at, path, PLAIN)).await
}

pub(super) async fn within<T>(
    patience: Duration,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let late = || format!("nothing within {} s", patience.as_secs());
    timeout(patience, work).await.with_context(late)?
}

/// The first part of a body, as words.
pub(super) fn text(body: &[u8]) -> String {
    let first = body.get(..body.len().min(400)).unwrap_or_default();
    String::from_utf8_lossy(first).trim().to_owned()
}
