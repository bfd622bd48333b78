//! The program under test: started, asked, measured.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::process::Process;
use super::wait::until;

/// The admin door, at its default.
pub(crate) const ADMIN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9167);

/// How long it may take to be ready before we call it dead.
const READY: Duration = Duration::from_secs(60);

/// `reveille serve` or `reveille operator`, running in this room. It ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    admin: SocketAddr,
    /// From its start to the first good answer of `/readyz`.
    pub(crate) ready_after: Duration,
}

/// The program before its start. Its state, its artifact tree and its log are in one folder.
#[derive(Debug)]
pub(crate) struct Launch {
    command: Command,
    log: PathBuf,
    admin: SocketAddr,
}

// === impl Launch ===

impl Launch {
    /// Serves a folder of manifests; `log` says which lines it writes.
    pub(crate) fn serve(
        manifests: &Path,
        loaders: &Path,
        folder: &Path,
        log: &str,
    ) -> Result<Self> {
        let manifests = manifests.as_os_str();
        Self::new(&["serve".as_ref(), manifests], loaders, folder, log)
    }

    /// Serves what an API server holds.
    pub(crate) fn operator(
        kubeconfig: &Path,
        loaders: &Path,
        folder: &Path,
        log: &str,
    ) -> Result<Self> {
        let words = ["operator", "--kubeconfig"].map(OsStr::new);
        let [subcommand, flag] = words;
        Self::new(
            &[subcommand, flag, kubeconfig.as_os_str()],
            loaders,
            folder,
            log,
        )
    }

    fn new(words: &[&OsStr], loaders: &Path, folder: &Path, log: &str) -> Result<Self> {
        let (state, tree) = (folder.join("state"), folder.join("artifacts"));
        std::fs::create_dir_all(&state)?;
        std::fs::create_dir_all(&tree)?;
        let mut command = Server::command();
        command
            .args(words)
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
            admin: ADMIN,
        })
    }

    /// Has its admin door at another port: two of them in one room.
    pub(crate) fn admin(mut self, port: u16) -> Self {
        self.admin.set_port(port);
        self.command.arg("--admin").arg(self.admin.to_string());
        self
    }

    /// Has its admin door at an address of its own: on a host of its own.
    pub(crate) fn admin_at(mut self, address: Ipv4Addr) -> Self {
        self.admin.set_ip(address.into());
        self.command.arg("--admin").arg(self.admin.to_string());
        self
    }

    /// Adds words to the command line.
    pub(crate) fn with(mut self, words: &[&str]) -> Self {
        self.command.args(words);
        self
    }

    /// Sets a variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
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
    pub(crate) fn spawn(self) -> Result<Server> {
        Ok(Server {
            process: Process::spawn("the server", self.command, &self.log)?,
            admin: self.admin,
            ready_after: Duration::ZERO,
        })
    }

    /// Starts it and waits until it is ready.
    #[expect(clippy::disallowed_methods, reason = "measures real time")]
    pub(crate) fn start(self) -> Result<Server> {
        let started = Instant::now();
        let mut server = self.spawn()?;
        while let Err(error) = server.get("/readyz") {
            server.alive()?;
            ensure!(
                started.elapsed() < READY,
                "the server is not ready after {} s: {error}; its log: {}",
                READY.as_secs(),
                server.process.last_words()
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
            let ours = [&b"REVEILLE_"[..], b"KUBE"];
            if ours
                .iter()
                .any(|start| name.as_encoded_bytes().starts_with(start))
            {
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

    /// The body of a good answer of its admin door.
    pub(crate) fn get(&self, path: &str) -> Result<String> {
        fetch(self.admin, path)
    }

    /// The value of a metric: `name{label="value",…}` as `/metrics` writes it; 0 where it is not there.
    pub(crate) fn metric(&self, name: &str) -> Result<u64> {
        metric_in(&self.get("/metrics")?, name)
    }

    /// How many lines of its log hold `words`.
    pub(crate) fn times_logged(&self, words: &str) -> Result<usize> {
        let log = std::fs::read_to_string(self.log())?;
        Ok(log.lines().filter(|line| line.contains(words)).count())
    }

    /// Waits for its log to hold `words`.
    pub(crate) fn logged(&self, words: &str) -> Result<()> {
        until(&format!("`{words}` in the log"), || {
            Ok((self.times_logged(words)? > 0).then_some(()))
        })
    }

    /// Tells it to end, and waits until it has; an error when it did not end in order.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        let status = until("the end after SIGTERM", || self.ended())?;
        ensure!(status.success(), "after SIGTERM: {status}");
        Ok(())
    }

    /// Ends it without a word to it, as the kernel does for want of memory.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        until("the end of a killed process", || self.ended())?;
        Ok(())
    }
}

impl Deref for Server {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// The value of a metric in the text of `/metrics`; 0 where it is not there.
pub(crate) fn metric_in(text: &str, name: &str) -> Result<u64> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.map_or(Ok(0), str::parse)?)
}

/// The body of a good answer of the admin door at its default.
pub(crate) fn get(path: &str) -> Result<String> {
    fetch(ADMIN, path)
}

/// The body of a good answer of any door.
pub(crate) fn fetch(door: SocketAddr, path: &str) -> Result<String> {
    Ok(String::from_utf8(load(door, path)?)?)
}

/// The same, of what need not be text.
pub(crate) fn load(door: SocketAddr, path: &str) -> Result<Vec<u8>> {
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&door, limit)?;
    stream.set_read_timeout(Some(limit))?;
    // HTTP/1.0: the answer ends with the connection and is never chunked.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.with_context(|| format!("GET {path}: no HTTP answer"))?;
    let body = answer.split_off(end + 4);
    let head = String::from_utf8_lossy(&answer);
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    ensure!(
        status == "200",
        "GET {path}: status {status}: {}",
        String::from_utf8_lossy(&body)
    );
    Ok(body)
}
