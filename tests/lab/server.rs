//! The program under test: started, asked, measured.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

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

/// `reveille serve` before its start. Its state, its artifact tree and its log are in one folder.
#[derive(Debug)]
pub(crate) struct Launch {
    command: Command,
    log: PathBuf,
}

// === impl Launch ===

impl Launch {
    /// Serves a folder of manifests; `log` says which lines it writes.
    pub(crate) fn new(manifests: &Path, loaders: &Path, folder: &Path, log: &str) -> Result<Self> {
        let (state, tree) = (folder.join("state"), folder.join("artifacts"));
        std::fs::create_dir_all(&state)?;
        std::fs::create_dir_all(&tree)?;
        let mut command = Server::command();
        command
            .arg("serve")
            .arg(manifests)
            .arg("--state")
            .arg(&state)
            .arg("--artifacts")
            .arg(&tree)
            .arg("--loaders")
            .arg(loaders)
            .args(["--log-format", "text", "--log", log])
            .env("RUST_BACKTRACE", "1");
        Ok(Self {
            command,
            log: folder.join("server.log"),
        })
    }

    /// Adds words to the command line.
    pub(crate) fn with(mut self, words: &[&str]) -> Self {
        self.command.args(words);
        self
    }

    /// Has it started by another program, whose arguments end with the path of ours: `path`.
    pub(crate) fn under(mut self, words: &[&str], path: &str) -> Self {
        let (first, more) = words.split_first().unwrap_or((&"env", &[]));
        let inner = std::mem::replace(&mut self.command, Command::new(first));
        self.command.args(more).arg(path).args(inner.get_args());
        self
    }

    /// Starts it. The log is added to that of earlier starts.
    pub(crate) fn spawn(mut self) -> Result<Server> {
        let output = File::options().create(true).append(true).open(&self.log)?;
        let child = self
            .command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("{:?}", self.command.get_program()))?;
        Ok(Server {
            child,
            log: self.log,
            ready_after: Duration::ZERO,
        })
    }

    /// Starts it and waits until it is ready.
    #[expect(clippy::disallowed_methods, reason = "measures real time")]
    pub(crate) fn start(self) -> Result<Server> {
        let started = Instant::now();
        let mut server = self.spawn()?;
        while let Err(error) = get("/readyz") {
            server.alive()?;
            ensure!(
                started.elapsed() < READY,
                "the server is not ready after {} s: {error}; its log: {}",
                READY.as_secs(),
                server.last_words()
            );
            sleep(Duration::from_millis(10));
        }
        server.ready_after = started.elapsed();
        Ok(server)
    }
}

// === impl Server ===

impl Server {
    /// The program, with nothing in its environment that would set it up.
    pub(crate) fn command() -> Command {
        let mut command = Command::new(Self::program());
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"REVEILLE_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// The program: the one cargo built, or the one that `REVEILLE_LAB_BIN` names.
    pub(crate) fn program() -> PathBuf {
        std::env::var_os("REVEILLE_LAB_BIN")
            .map_or_else(|| env!("CARGO_BIN_EXE_reveille").into(), PathBuf::from)
    }

    /// Starts it on a folder of manifests, with the kernel and the initrd that machines boot, and waits
    /// until it is ready; `log` says which lines it writes.
    pub(crate) fn start(
        manifests: &Path,
        assets: &Assets,
        folder: &Path,
        log: &str,
    ) -> Result<Self> {
        let tree = folder.join("artifacts/linux");
        std::fs::create_dir_all(&tree)?;
        std::fs::copy(&assets.kernel, tree.join("vmlinuz")).context("kernel")?;
        std::fs::copy(&assets.initrd, tree.join("initrd.img")).context("initrd")?;
        Launch::new(manifests, &assets.loaders, folder, log)?.start()
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

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).context("a large process id")?;
        Ok(kill(Pid::from_raw(pid), signal)?)
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
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
    fetch(ADMIN, path)
}

/// The body of a good answer of any door.
pub(crate) fn fetch(door: SocketAddr, path: &str) -> Result<String> {
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&door, limit)?;
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
