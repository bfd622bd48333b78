//! One fetch by HTTP or HTTPS, as firmware does it: one connection, no redirects.
//! Shell.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::pin::{Pin, pin};

use anyhow::{Context as _, anyhow};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderName, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{self, Connection};
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};

use crate::tls::Trusting;

/// Most that is kept of a body; all of it is read and counted.
const MOST: usize = 64 << 20;

/// How firmware gets a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct By<'a> {
    /// By this interface alone, where one is named.
    pub(super) device: Option<&'a str>,
    /// Over HTTPS, where it trusts somebody.
    pub(super) trusting: Option<&'a Trusting>,
}

/// By HTTP, on whatever road leads there.
pub(super) const PLAIN: By<'static> = By {
    device: None,
    trusting: None,
};

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The beginning of the body; all of it up to 64 MiB.
    pub(super) body: Bytes,
    /// Bytes that came.
    pub(super) bytes: u64,
    /// Bytes that were said to come.
    pub(super) length: Option<u64>,
    /// What it is said to be.
    pub(super) kind: Option<String>,
    /// Where it is said to be instead.
    pub(super) location: Option<String>,
    /// The body's SHA-256, in hex.
    pub(super) sha256: String,
}

/// GET `path`.
///
/// # Errors
/// No connection, no TLS where that is asked for, no HTTP, or a body that ends
/// early.
pub(super) async fn get(at: SocketAddr, path: &str, by: By<'_>) -> anyhow::Result<Answer> {
    let stream = connect(at, by.device)
        .await
        .with_context(|| format!("{at} takes no connection"))?;
    match by.trusting {
        None => ask(stream, at, path).await,
        Some(trusting) => {
            let secured = trusting.handshake(stream, at.ip()).await;
            ask(secured.context("no TLS with it")?, at, path).await
        }
    }
}

async fn ask<I>(stream: I, at: SocketAddr, path: &str) -> anyhow::Result<Answer>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, wire) = http1::handshake(TokioIo::new(stream)).await?;
    let mut wire = pin!(wire);
    let request = Request::get(path)
        .header("host", at.to_string())
        .header(
            "user-agent",
            concat!("reveille-probe/", env!("CARGO_PKG_VERSION")),
        )
        .body(Empty::new())?;
    let response = beside(wire.as_mut(), sender.send_request(request)).await?;
    let header = |name: HeaderName| {
        let value = response.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let mut answer = Answer {
        status: response.status(),
        body: Bytes::new(),
        bytes: 0,
        length: header(CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        kind: header(CONTENT_TYPE),
        location: header(LOCATION),
        sha256: String::new(),
    };
    let mut body = response.into_body();
    let (mut kept, mut digest) = (BytesMut::new(), Sha256::new());
    let all = async {
        while let Some(frame) = body.frame().await {
            let part = frame?.into_data().unwrap_or_default();
            answer.bytes += part.len() as u64;
            digest.update(&part);
            let room = MOST.saturating_sub(kept.len()).min(part.len());
            kept.extend_from_slice(part.get(..room).unwrap_or_default());
        }
        Ok::<(), hyper::Error>(())
    };
    let read = beside(wire.as_mut(), all).await;
    read.map_err(|error| anyhow!("the body broke off: {error}"))?;
    answer.body = kept.freeze();
    for byte in digest.finalize() {
        // Writing to a string cannot fail.
        let _ = write!(answer.sha256, "{byte:02x}");
    }
    Ok(answer)
}

async fn connect(at: SocketAddr, device: Option<&str>) -> std::io::Result<TcpStream> {
    let socket = match at {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(device) = device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    socket.connect(at).await
}

/// Does `work` while the connection moves its bytes.
async fn beside<T, I>(
    mut wire: Pin<&mut Connection<TokioIo<I>, Empty<Bytes>>>,
    work: impl Future<Output = T>,
) -> T
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = work.as_mut() => return done,
        // How it ended is seen by the work.
        _ = wire.as_mut() => {}
    }
    work.await
}
