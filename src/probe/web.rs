//! One HTTP fetch, as firmware does it: one connection, no redirects. Shell.

use std::net::SocketAddr;
use std::pin::{Pin, pin};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::{self, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Most that is kept of a body.
const MOST: usize = 64 << 20;

type Wire = Connection<TokioIo<TcpStream>, Empty<Bytes>>;

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// GET `path`.
///
/// # Errors
/// No connection, no HTTP, or a body that ends early.
pub(super) async fn get(at: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    let stream = TcpStream::connect(at)
        .await
        .with_context(|| format!("{at} takes no connection"))?;
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
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST).collect();
    match beside(wire.as_mut(), body).await {
        Ok(body) => Ok(Answer {
            status,
            body: body.to_bytes(),
        }),
        Err(error) => bail!("the body broke off: {error}"),
    }
}

/// Does `work` while the connection moves its bytes.
async fn beside<T>(mut wire: Pin<&mut Wire>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = work.as_mut() => return done,
        // How it ended is seen by the work.
        _ = wire.as_mut() => {}
    }
    work.await
}
