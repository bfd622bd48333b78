//! TFTP clients: blocking, a socket each, and no copy of what comes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};

use super::{Arguments, address, all_at_once};

/// How long a client waits before it says the last thing again.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it does.
const TRIES: u32 = 30;

#[derive(Clone, Copy, Debug, Default)]
pub struct Fetched {
    pub bytes: u64,
    /// Packets that were said again.
    pub again: u64,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    pub server: SocketAddr,
    pub file: String,
    pub blksize: usize,
    pub windowsize: u16,
}

pub fn many(arguments: &Arguments) {
    let wish = Wish {
        server: arguments.get("server"),
        file: arguments.get("file"),
        blksize: arguments.or("blksize", 1468),
        windowsize: arguments.or("windowsize", 1),
    };
    let clients = arguments.or("clients", 1);
    let from = arguments.or("from", Ipv4Addr::UNSPECIFIED);
    let (done, took) = all_at_once(clients, move |n| {
        let from = if from.is_unspecified() {
            from
        } else {
            address(from, n)
        };
        fetch(from, &wish)
    });
    let (mut bytes, mut again, mut failed) = (0, 0, 0);
    for fetched in &done {
        match fetched {
            Ok(fetched) => (bytes, again) = (bytes + fetched.bytes, again + fetched.again),
            Err(error) => {
                eprintln!("{error}");
                failed += 1;
            }
        }
    }
    let (seconds, bytes) = (took.as_secs_f64(), bytes as f64);
    println!(
        "mbps={:.2} seconds={seconds:.2} mib={:.0} again={again} failed={failed}",
        bytes / 1e6 / seconds,
        bytes / f64::from(1 << 20),
    );
}

/// Loads a file as firmware does, and forgets it.
pub fn fetch(from: Ipv4Addr, wish: &Wish) -> io::Result<Fetched> {
    let socket = UdpSocket::bind((from, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut request = b"\0\x01".to_vec();
    let (blksize, window) = (wish.blksize.to_string(), wish.windowsize.to_string());
    let mut words = vec![
        wish.file.as_str(),
        "octet",
        "tsize",
        "0",
        "blksize",
        &blksize,
    ];
    if wish.windowsize > 1 {
        words.extend(["windowsize", &window]);
    }
    for word in words {
        request.extend(word.as_bytes());
        request.push(0);
    }
    let mut done = Fetched::default();
    let mut buffer = vec![0; 1500];
    let first = loop {
        socket.send_to(&request, wish.server)?;
        match socket.recv_from(&mut buffer) {
            Ok((len, tid)) => {
                socket.connect(tid)?;
                break len;
            }
            Err(error) if is_late(&error) && done.again < TRIES.into() => done.again += 1,
            Err(error) => return Err(error),
        }
    };
    // Without an OACK (RFC 2347) the block in hand is the first of 512 bytes.
    if buffer[1] != 6 {
        return Err(said(&buffer[..first]));
    }
    let options = &buffer[2..first];
    let windows = options
        .windows(10)
        .any(|it| it.eq_ignore_ascii_case(b"windowsize"));
    let window = if windows { wish.windowsize } else { 1 };
    socket.send(&ack(0))?;
    read_blocks(&socket, wish.blksize, window, &mut done)?;
    Ok(done)
}

fn read_blocks(
    socket: &UdpSocket,
    blksize: usize,
    window: u16,
    done: &mut Fetched,
) -> io::Result<()> {
    let (mut last, mut in_window, mut tries) = (0_u16, 0, 0);
    // The head is all that is looked at: the kernel says how long the rest is.
    let (mut head, fd) = ([0; 64], socket.as_raw_fd());
    loop {
        let len = match recv(fd, &mut head, MsgFlags::MSG_TRUNC).map_err(io::Error::from) {
            Ok(len) => len,
            Err(error) if is_late(&error) && tries < TRIES => {
                (tries, done.again, in_window) = (tries + 1, done.again + 1, 0);
                socket.send(&ack(last))?;
                continue;
            }
            Err(error) => return Err(error),
        };
        match head[1] {
            3 => {}
            6 => continue,
            _ => return Err(said(&head[..len.min(64)])),
        }
        let block = u16::from_be_bytes([head[2], head[3]]);
        if block != last.wrapping_add(1) {
            // A gap: told once for each window (RFC 7440 section 4).
            if window > 1 && in_window > 0 {
                (in_window, done.again) = (0, done.again + 1);
                socket.send(&ack(last))?;
            }
            continue;
        }
        let content = len - 4;
        (last, in_window, tries) = (block, in_window + 1, 0);
        done.bytes += content as u64;
        let is_last = content < blksize;
        if is_last || in_window == window {
            in_window = 0;
            socket.send(&ack(last))?;
        }
        if is_last {
            return Ok(());
        }
    }
}

fn ack(block: u16) -> [u8; 4] {
    let [high, low] = block.to_be_bytes();
    [0, 4, high, low]
}

fn said(packet: &[u8]) -> io::Error {
    io::Error::other(String::from_utf8_lossy(packet).into_owned())
}

pub fn is_late(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
