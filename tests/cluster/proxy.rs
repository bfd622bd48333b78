//! The way to the API server, for one client alone: slow, stuck or cut, while others see no trouble.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::plane::API;

/// How often a way that is stuck looks whether it still is.
const LOOK: Duration = Duration::from_millis(10);

/// The way. It is cut when this value ends.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where the client is to connect.
    pub(crate) address: SocketAddr,
    way: Arc<Mutex<Way>>,
}

#[derive(Debug, Default)]
struct Way {
    state: State,
    delay: Duration,
    streams: Vec<TcpStream>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// Connections are made and stay, nothing passes.
    Stuck,
    /// Connections are closed as soon as they are made.
    Cut,
}

// === impl Proxy ===

impl Proxy {
    /// Opens a way.
    pub(crate) fn open() -> Result<Self> {
        Self::open_at(Ipv4Addr::LOCALHOST)
    }

    /// Opens a way at another address of the room, for clients on other hosts.
    pub(crate) fn open_at(address: Ipv4Addr) -> Result<Self> {
        let listener = TcpListener::bind((address, 0))?;
        let address = listener.local_addr()?;
        let way = Arc::new(Mutex::new(Way::default()));
        let shared = Arc::clone(&way);
        // It waits for connections until the process ends: a room does not live long.
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // An error is that of one connection, which ends.
                let _ = connect(near, &shared);
            }
        });
        Ok(Self { address, way })
    }

    /// A kubeconfig that is `original` but for the way; it is beside that one.
    pub(crate) fn kubeconfig(&self, original: &Path) -> Result<PathBuf> {
        let text = std::fs::read_to_string(original)?;
        // A name of the API server's certificate, whatever the address of the way.
        let detour = text.replace(
            &format!("\"https://{API}\""),
            &format!("\"https://{}\", tls-server-name: kubernetes", self.address),
        );
        ensure!(detour != text, "{} names no {API}", original.display());
        let path = original.with_extension(format!("by-{}", self.address.port()));
        std::fs::write(&path, detour)?;
        Ok(path)
    }

    /// From now on, everything takes so much longer, in both directions.
    pub(crate) fn slow(&self, delay: Duration) {
        lock(&self.way).delay = delay;
    }

    /// Nothing passes, and nobody is told.
    pub(crate) fn stick(&self) {
        lock(&self.way).state = State::Stuck;
    }

    /// All connections are closed, and new ones as soon as they are made.
    pub(crate) fn cut(&self) {
        let mut way = lock(&self.way);
        way.state = State::Cut;
        for stream in way.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// All is well again; what was stuck goes on.
    pub(crate) fn heal(&self) {
        let mut way = lock(&self.way);
        way.state = State::Open;
        way.delay = Duration::ZERO;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

fn lock(way: &Mutex<Way>) -> MutexGuard<'_, Way> {
    way.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(near: TcpStream, way: &Arc<Mutex<Way>>) -> Result<()> {
    let far = TcpStream::connect(API)?;
    {
        let mut way = lock(way);
        if way.state == State::Cut {
            return Ok(());
        }
        way.streams.push(near.try_clone()?);
        way.streams.push(far.try_clone()?);
    }
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        let way = Arc::clone(way);
        std::thread::spawn(move || {
            let _ = pass(&from, &to, &way);
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

fn pass(mut from: &TcpStream, mut to: &TcpStream, way: &Mutex<Way>) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        while lock(way).state == State::Stuck {
            sleep(LOOK);
        }
        let delay = lock(way).delay;
        sleep(delay);
        to.write_all(&buffer[..length])?;
    }
}
