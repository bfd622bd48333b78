//! HTTP clients: blocking, one connection for all that a machine fetches.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, recv};
use socket2::{Domain, Socket, Type};

use super::{Arguments, address, all_at_once, wait_until};

pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub fn open(from: Ipv4Addr, server: SocketAddr, receive: Option<usize>) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if let Some(size) = receive {
            socket.set_recv_buffer_size(size)?;
        }
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect(&server.into())?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            // Hardly touched, so hardly there.
            buffer: vec![0; 256 << 10],
        })
    }

    /// Asks for `path`; the bytes of its body that are still to come.
    pub fn ask(&mut self, path: &str) -> io::Result<u64> {
        write!(self.stream, "GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n")?;
        let mut had = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[had..4096])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            had += read;
            let end = self.buffer[..had]
                .windows(4)
                .position(|it| it == b"\r\n\r\n");
            let Some(end) = end else { continue };
            let head = String::from_utf8_lossy(&self.buffer[..end]).to_lowercase();
            if !head.starts_with("http/1.1 200") {
                let line = head.lines().next().unwrap_or_default();
                return Err(io::Error::other(format!("{path}: {line}")));
            }
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: u64 = length.and_then(|it| it.trim().parse().ok()).unwrap_or(0);
            return Ok(length - (had - end - 4) as u64);
        }
    }

    /// Takes up to `most` bytes, without a copy (`MSG_TRUNC`).
    pub fn take(&mut self, most: usize) -> io::Result<u64> {
        let most = most.min(self.buffer.len());
        let buffer = &mut self.buffer[..most];
        let taken = recv(self.stream.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC)?;
        if taken == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(taken as u64)
    }

    /// Loads `path` and forgets it; its bytes.
    pub fn load(&mut self, path: &str) -> io::Result<u64> {
        let all = self.ask(path)?;
        let mut left = all;
        while left > 0 {
            let most = left.min(1 << 20);
            left -= self.take(most as usize)?;
        }
        Ok(all)
    }
}

/// Clients that take a little each second, so long as told.
pub fn slow(arguments: &Arguments) {
    let (server, path) = (arguments.get("server"), arguments.get::<String>("path"));
    let (clients, from) = (arguments.or("clients", 2000), arguments.get("from"));
    let (rate, seconds) = (arguments.or("rate", 1024), arguments.or("seconds", 10));
    let until = Instant::now() + Duration::from_secs(seconds);
    let (done, _) = all_at_once(clients, move |n| -> io::Result<u64> {
        let mut connection = Connection::open(address(from, n), server, Some(4096))?;
        let (mut taken, mut at) = (0, Instant::now());
        // While it waits for its turn it reads nothing either.
        connection
            .stream
            .set_read_timeout(Some(Duration::from_secs(seconds)))?;
        connection.ask(&path)?;
        while at < until {
            taken += connection.take(rate)?;
            at += Duration::from_secs(1);
            wait_until(at.min(until));
        }
        Ok(taken)
    });
    let served = done.iter().filter(|it| it.is_ok()).count();
    println!("clients={clients} served={served}");
}
