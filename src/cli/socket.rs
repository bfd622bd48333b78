//! Asks the running service over its admin socket.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection};
use hyper_util::rt::TokioIo;
use nix::unistd::{Gid, Group, Uid, User};
use rustix::io::Errno;
use tokio::net::UnixStream;

use crate::config::ADMIN_SOCKET;
use crate::status::Overview;

/// For the service to begin its answer. It takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is said of an answer that cannot be read.
pub(super) const STRANGE: &str = "the service answers in a way that this version does not know";

/// Where the service's socket is.
#[derive(Args, Clone, Debug)]
pub struct SocketArgs {
    /// The state folder of the service; its socket is in it.
    #[arg(
        long,
        value_name = "DIR",
        env = "REVEILLE_STATE",
        default_value = "/var/lib/reveille"
    )]
    state: PathBuf,

    /// The admin socket of the service, where it is elsewhere.
    #[arg(long, value_name = "PATH", env = "REVEILLE_ADMIN_SOCKET")]
    socket: Option<PathBuf>,
}

/// Takes the parts of an answer.
type Chunks<'a> = &'a mut dyn FnMut(&[u8]) -> anyhow::Result<()>;

/// A connection to the service.
type Wire = Connection<TokioIo<UnixStream>, Empty<Bytes>>;

// === impl SocketArgs ===

impl SocketArgs {
    /// The state folder.
    pub(super) fn state(&self) -> &Path {
        &self.state
    }

    fn path(&self) -> PathBuf {
        let default = || self.state.join(ADMIN_SOCKET);
        self.socket.clone().unwrap_or_else(default)
    }

    /// The body of the answer to GET `target`.
    ///
    /// # Errors
    /// The service cannot be asked, or refuses; in words that name the cure.
    pub fn get(&self, target: &str) -> anyhow::Result<String> {
        self.whole(Method::GET, target)
    }

    /// How the service is, and the text that says so.
    ///
    /// # Errors
    /// As for [`get`](Self::get), or it is of a version that says it otherwise.
    pub(super) fn overview(&self) -> anyhow::Result<(Overview, String)> {
        let text = self.get("/status")?;
        Ok((serde_json::from_str(&text).context(STRANGE)?, text))
    }

    /// The body of the answer to POST `target`.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub fn post(&self, target: &str) -> anyhow::Result<String> {
        self.whole(Method::POST, target)
    }

    fn whole(&self, method: Method, target: &str) -> anyhow::Result<String> {
        let mut text = Vec::new();
        self.ask(method, target, &mut |line| {
            text.push(line.to_owned());
            Ok(())
        })?;
        Ok(text.join("\n"))
    }

    /// Gives each line of the answer to GET `target` to `each` as it comes,
    /// until the service ends it; empty lines only show that it lives.
    ///
    /// # Errors
    /// As for [`get`](Self::get); and what `each` returns.
    pub fn lines(
        &self,
        target: &str,
        each: &mut dyn FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.ask(Method::GET, target, each)
    }

    /// The bytes of the answer to GET `target`.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub(super) fn bytes(&self, target: &str) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.run(Method::GET, target, &mut |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })?;
        Ok(bytes)
    }

    fn ask(
        &self,
        method: Method,
        target: &str,
        each: &mut dyn FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut rest = Vec::new();
        self.run(method, target, &mut |chunk| {
            rest.extend_from_slice(chunk);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                give(&line, each)?;
            }
            Ok(())
        })?;
        give(&rest, each)
    }

    fn run(&self, method: Method, target: &str, each: Chunks<'_>) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the runtime does not start")?;
        runtime.block_on(self.talk(method, target, each))
    }

    async fn talk(&self, method: Method, target: &str, each: Chunks<'_>) -> anyhow::Result<()> {
        let path = self.path();
        let stream = UnixStream::connect(&path)
            .await
            .map_err(|error| explain(&path, &error))?;
        let (mut sender, wire) = http1::handshake(TokioIo::new(stream)).await?;
        let mut wire = pin!(wire);
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "reveille")
            .body(Empty::new())?;
        let head = tokio::time::timeout(
            PATIENCE,
            beside(wire.as_mut(), sender.send_request(request)),
        );
        let silent = || {
            let seconds = PATIENCE.as_secs();
            anyhow!("the service did not answer for {seconds} s; `reveille status` may say why")
        };
        let response = head
            .await
            .map_err(|_| silent())?
            .map_err(|error| broken("the connection", &error))?;
        if !response.status().is_success() {
            let mut words = Vec::new();
            read(wire, response, &mut |chunk| {
                words.extend_from_slice(chunk);
                Ok(())
            })
            .await?;
            bail!("{}", String::from_utf8_lossy(&words).trim());
        }
        read(wire, response, each).await
    }
}

/// Does `work` while the connection `wire` moves its bytes.
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

/// Gives a body to `each`, part by part.
async fn read(
    mut wire: Pin<&mut Wire>,
    response: Response<Incoming>,
    each: Chunks<'_>,
) -> anyhow::Result<()> {
    let mut body = response.into_body();
    let mut ended = false;
    loop {
        let frame = if ended {
            body.frame().await
        } else {
            tokio::select! {
                biased;
                frame = body.frame() => frame,
                _ = wire.as_mut() => {
                    ended = true;
                    continue;
                }
            }
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| broken("its answer", &error))?;
        each(&frame.into_data().unwrap_or_default())?;
    }
    Ok(())
}

/// In words alone: a broken pipe of the service is not that of our reader,
/// which is no mistake.
fn broken(what: &str, error: &hyper::Error) -> anyhow::Error {
    anyhow!("the service broke {what} off: {error}")
}

fn give(line: &[u8], each: &mut dyn FnMut(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let line = String::from_utf8_lossy(line);
    match line.trim_end() {
        "" => Ok(()),
        line => each(line),
    }
}

/// Why the socket cannot be opened, and what to do.
fn explain(path: &Path, error: &io::Error) -> anyhow::Error {
    let shown = path.display();
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => anyhow!(
            "there is no admin socket at {shown}: start `reveille serve`, or name its state \
             folder by --state DIR or its socket by --socket PATH"
        ),
        Some(Errno::CONNREFUSED) => anyhow!(
            "nobody serves the admin socket {shown}: the service that made it has ended; start \
             `reveille serve`"
        ),
        Some(Errno::ACCESS) => {
            let me = user(Uid::current());
            match fs::symlink_metadata(path) {
                Ok(metadata) => anyhow!(
                    "user {me} may not open the admin socket {shown}: it is for user {} and group \
                     {}; use sudo, or become a member of that group",
                    user(metadata.uid().into()),
                    group(metadata.gid().into()),
                ),
                Err(_) => anyhow!(
                    "user {me} may not enter the folder of the admin socket {shown}; use sudo, or \
                     become a member of the folder's group"
                ),
            }
        }
        Some(_) | None => anyhow!("the admin socket {shown} cannot be opened: {error}"),
    }
}

fn user(uid: Uid) -> String {
    let user = User::from_uid(uid).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

fn group(gid: Gid) -> String {
    let group = Group::from_gid(gid).ok().flatten();
    group.map_or_else(|| gid.to_string(), |group| group.name)
}
