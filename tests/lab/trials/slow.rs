//! Transfers that take their time until they are let go.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::site::{BOOT, SERVER, is_whole, until};

/// Between two pieces, as long as the transfer is slow.
const PAUSE: Duration = Duration::from_millis(20);

/// Without a word from the server: it is gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// A transfer in a thread of its own.
#[derive(Debug)]
pub(crate) struct Slow {
    name: &'static str,
    loaded: Arc<AtomicUsize>,
    hurry: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<u8>>>,
}

/// The transfer's own side.
struct Pace {
    loaded: Arc<AtomicUsize>,
    hurry: Arc<AtomicBool>,
}

// === impl Slow ===

impl Slow {
    /// Loads `name` over HTTP.
    pub(crate) fn http(name: &'static str) -> Result<Self> {
        Self::begin(name, http)
    }

    /// Loads `name` over TFTP, in blocks of the classic size.
    pub(crate) fn tftp(name: &'static str) -> Result<Self> {
        Self::begin(name, tftp)
    }

    /// Returns once the first bytes are there.
    fn begin(name: &'static str, load: fn(&str, &Pace) -> Result<Vec<u8>>) -> Result<Self> {
        let (loaded, hurry) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let pace = Pace {
            loaded: Arc::clone(&loaded),
            hurry: Arc::clone(&hurry),
        };
        let thread = std::thread::spawn(move || load(name, &pace));
        let slow = Self {
            name,
            loaded,
            hurry,
            thread,
        };
        until(&format!("the first bytes of {name}"), || {
            ensure!(!slow.thread.is_finished(), "the transfer ended at once");
            Ok((slow.loaded() > 0).then_some(()))
        })?;
        Ok(slow)
    }

    /// Bytes that came so far.
    pub(crate) fn loaded(&self) -> usize {
        self.loaded.load(Ordering::Relaxed)
    }

    /// Whether it is still under way.
    pub(crate) fn is_under_way(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Lets it go at full speed, to its end.
    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        self.hurry.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("the transfer of {} panicked", self.name))?
            .with_context(|| self.name)
    }

    /// Lets it go and checks that all of the artifact came, and that it was not at its end before.
    pub(crate) fn finish_whole(self) -> Result<()> {
        let name = self.name;
        ensure!(
            self.is_under_way(),
            "{name} was loaded too early to show anything"
        );
        is_whole(name, &self.finish()?)
    }
}

// === impl Pace ===

impl Pace {
    /// Takes note of what came, and waits where there is no hurry.
    fn keep(&self, loaded: usize) {
        self.loaded.store(loaded, Ordering::Relaxed);
        if !self.hurry.load(Ordering::Relaxed) {
            sleep(PAUSE);
        }
    }
}

fn http(name: &str, pace: &Pace) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(BOOT)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /{name} HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece)? {
            0 => break,
            length => answer.extend_from_slice(&piece[..length]),
        }
        pace.keep(answer.len());
    }
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let head = answer.drain(..end.context("no HTTP answer")? + 4).collect();
    let head = String::from_utf8(head)?;
    ensure!(head.contains(" 200 "), "{head}");
    Ok(answer)
}

/// RFC 1350.
fn tftp(name: &str, pace: &Pace) -> Result<Vec<u8>> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let request = [b"\x00\x01", name.as_bytes(), b"\x00octet\x00"].concat();
    socket.send_to(&request, SocketAddrV4::new(SERVER, 69))?;
    let mut loaded = Vec::new();
    let mut next: u16 = 1;
    let mut packet = [0; 600];
    loop {
        let (length, peer) = socket.recv_from(&mut packet)?;
        let (head, data) = packet[..length].split_at(4);
        match (head[1], u16::from_be_bytes([head[2], head[3]])) {
            (3, block) if block == next => {
                loaded.extend_from_slice(data);
                pace.keep(loaded.len());
                socket.send_to(&[0, 4, head[2], head[3]], peer)?;
                if data.len() < 512 {
                    return Ok(loaded);
                }
                next = next.wrapping_add(1);
            }
            // A repetition: our answer was late.
            (3, _) => {}
            (code, number) => bail!(
                "the server said {code} {number}: {}",
                String::from_utf8_lossy(data)
            ),
        }
    }
}
