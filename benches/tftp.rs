//! Our TFTP server next to `async-tftp`: same machine, same file, same client,
//! one run. Prints MB/s (10^6 bytes) of both and the ratio; the rounds of the
//! two alternate and the best of each counts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a program for developers that measures time and prints"
)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use async_tftp::server::TftpServerBuilder;
use reveille::events;
use reveille::files::Roots;
use reveille::governor::{Governor, GovernorMetrics};
use reveille::lease::LeaseIndex;
use reveille::snapshot::{self, Snapshot};
use reveille::telemetry::Meter;
use reveille::tftp::resolve::{Naming, Uploads};
use reveille::tftp::wire::{self, Options, Packet};
use reveille::tftp::{AnswerFrom, TftpConfig, TftpLimits, TftpMetrics, TftpServer};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Bytes of the file: an initial RAM disk's size.
const LEN: usize = 64 << 20;

/// Rounds of each server for each line.
const ROUNDS: usize = 3;

/// Clients at a time and their windows.
const LINES: [(usize, u16); 4] = [(1, 1), (1, 4), (1, 16), (4, 16)];

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..=250).cycle().take(LEN).collect();
    fs::write(dir.path().join("file"), &content).unwrap();
    let runtime = Runtime::new().unwrap();
    let ours = start_ours(&runtime, dir.path());
    let theirs = start_theirs(dir.path());
    println!("clients  windowsize  reveille MB/s  async-tftp MB/s  ratio");
    for (clients, windowsize) in LINES {
        let (mut our_best, mut their_best) = (0.0_f64, 0.0_f64);
        for _ in 0..ROUNDS {
            our_best = our_best.max(megabytes_per_second(ours, clients, windowsize));
            their_best = their_best.max(megabytes_per_second(theirs, clients, windowsize));
        }
        let ratio = our_best / their_best;
        println!(
            "{clients:>7}  {windowsize:>10}  {our_best:>13.0}  {their_best:>15.0}  {ratio:>5.2}"
        );
    }
}

fn start_ours(runtime: &Runtime, dir: &Path) -> SocketAddr {
    let (publisher, snapshots) = snapshot::channel();
    publisher.publish(Snapshot::default());
    let (sender, _events) = events::queue(&Meter::default()).unwrap();
    let config = TftpConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        only_v6: false,
        from: AnswerFrom::AnyPort,
        naming: Naming::default(),
        uploads: Uploads::default(),
        governor: Governor::new(0, GovernorMetrics::register(&Meter::default()).unwrap()),
        limits: TftpLimits::default(),
        snapshots,
        roots: Arc::new(Roots::new(Some(dir.to_owned()), vec![], vec![])),
        leases: LeaseIndex::default(),
        told: reveille::timeline::Introductions::default(),
        events: sender,
        metrics: TftpMetrics::register(&Meter::default()).unwrap(),
    };
    let _guard = runtime.enter();
    let server = TftpServer::bind(config).unwrap();
    let address = server.local_addr().unwrap();
    runtime.spawn(server.run(CancellationToken::new()));
    address
}

fn start_theirs(dir: &Path) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let builder = TftpServerBuilder::with_dir_ro(dir).unwrap();
    let builder = builder.std_socket(socket).unwrap();
    thread::spawn(move || {
        // It brings an executor of its own: any runtime only polls it.
        Runtime::new().unwrap().block_on(async {
            let server = builder.build().await.unwrap();
            server.serve().await.unwrap();
        });
    });
    address
}

fn megabytes_per_second(server: SocketAddr, clients: usize, windowsize: u16) -> f64 {
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| assert_eq!(fetch(server, windowsize), LEN));
        }
    });
    (clients * LEN) as f64 / started.elapsed().as_secs_f64() / 1e6
}

/// Reads the file as a client with windows does; its length.
fn fetch(server: SocketAddr, windowsize: u16) -> usize {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let options = Options {
        blksize: Some(1468),
        tsize: Some(0),
        timeout: None,
        windowsize: Some(windowsize),
    };
    let request = wire::read_request(b"file", &options);
    socket.send_to(&request, server).unwrap();
    let mut buffer = [0; 2048];
    let (mut len, mut last, mut in_window) = (0, 0_u16, 0);
    let (_, tid) = socket.peek_from(&mut buffer).unwrap();
    socket.connect(tid).unwrap();
    loop {
        let received = socket.recv(&mut buffer).unwrap();
        let (block, content) = match Packet::decode(&buffer[..received]).unwrap() {
            Packet::OptionAck(_) => (0, None),
            Packet::Data { block, content } => (block, Some(content.len())),
            Packet::Read(_) | Packet::Write(_) | Packet::Ack { .. } | Packet::Error { .. } => {
                panic!("no data")
            }
        };
        let Some(content) = content else {
            socket.send(&wire::ack(0)).unwrap();
            continue;
        };
        if block == last.wrapping_add(1) {
            (last, len, in_window) = (block, len + content, in_window + 1);
            if content == 1468 && in_window < windowsize {
                continue;
            }
        }
        socket.send(&wire::ack(last)).unwrap();
        in_window = 0;
        if block == last && content < 1468 {
            return len;
        }
    }
}
