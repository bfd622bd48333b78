//! The program under test: started, asked, measured.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::assets::Assets;
use crate::boots::Boot;

/// The admin door, at its default.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9167);

/// How long it may take to be ready before we call it dead.
const READY: Duration = Duration::from_secs(20);

/// `reveille serve`, running in this room. It ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
    /// From its start to the first good answer of `/readyz`.
    pub(crate) ready_after: Duration,
}

impl Server {
    /// The program: the one cargo built, or the one that `REVEILLE_LAB_BIN` names.
    pub(crate) fn program() -> PathBuf {
        std::env::var_os("REVEILLE_LAB_BIN")
            .map_or_else(|| env!("CARGO_BIN_EXE_reveille").into(), PathBuf::from)
    }

    /// Starts it on a folder of manifests and waits until it is ready. All of its state, the
    /// artifact tree and the log are in `folder`; `log` says which lines it writes.
    #[expect(clippy::disallowed_methods, reason = "measures real time")]
    pub(crate) fn start(
        manifests: &Path,
        assets: &Assets,
        folder: &Path,
        log: &str,
    ) -> Result<Self> {
        let state = folder.join("state");
        std::fs::create_dir_all(&state)?;
        let tree = folder.join("artifacts");
        std::fs::create_dir_all(tree.join("linux"))?;
        std::fs::copy(&assets.kernel, tree.join("linux/vmlinuz")).context("kernel")?;
        std::fs::copy(&assets.initrd, tree.join("linux/initrd.img")).context("initrd")?;

        let file = folder.join("server.log");
        let output = File::create(&file)?;
        let started = Instant::now();
        let mut command = Command::new(Self::program());
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"REVEILLE_") {
                command.env_remove(name);
            }
        }
        let child = command
            .arg("serve")
            .arg(manifests)
            .arg("--state")
            .arg(&state)
            .arg("--artifacts")
            .arg(&tree)
            .arg("--loaders")
            .arg(&assets.loaders)
            .args(["--log-format", "text", "--log", log])
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| Self::program().display().to_string())?;
        let mut server = Self {
            child,
            log: file,
            ready_after: Duration::ZERO,
        };
        while get("/readyz").is_err() {
            server.alive()?;
            ensure!(
                started.elapsed() < READY,
                "the server is not ready after {} s; its log: {}",
                READY.as_secs(),
                server.last_words()
            );
            sleep(Duration::from_millis(10));
        }
        server.ready_after = started.elapsed();
        Ok(server)
    }

    /// An error when it has ended.
    pub(crate) fn alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the server ended ({status}): {}", self.last_words()),
            None => Ok(()),
        }
    }

    /// Where its log is.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The boots that it saw, oldest first.
    pub(crate) fn boots(&self) -> Result<Vec<Boot>> {
        Boot::list(&get("/boots")?)
    }

    /// Resident memory now, in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|value| value.trim().strip_suffix(" kB")?.trim().parse().ok())
            .context("no VmRSS in /proc")?;
        Ok(kib * 1024)
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join(" / ")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of a good answer of the admin door.
pub(crate) fn get(path: &str) -> Result<String> {
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&ADMIN, limit)?;
    stream.set_read_timeout(Some(limit))?;
    // HTTP/1.0: the answer ends with the connection and is never chunked.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("GET {path}: no HTTP answer"))?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    ensure!(status == "200", "GET {path}: status {status}: {body}");
    Ok(body.to_owned())
}
