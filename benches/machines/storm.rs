//! A thousand machines that are switched on at once, through the whole chain.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::dhcp::{self, ACK, OFFER, Reply, Says};
use super::http::Connection;
use super::tftp::{self, Wish};
use super::{Arguments, all_at_once, quantile, sorted};

/// How long firmware waits for an answer, at first.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it asks.
const TRIES: u32 = 12;

#[derive(Clone)]
struct Plan {
    server: Ipv4Addr,
    relay: Ipv4Addr,
    socket: Arc<UdpSocket>,
    loader: Wish,
    script: String,
    files: [String; 2],
}

pub fn storm(arguments: &Arguments) {
    let clients: usize = arguments.or("clients", 1000);
    let server: Ipv4Addr = arguments.get("server");
    let relay: Ipv4Addr = arguments.get("relay");
    let socket = Arc::new(dhcp::relay(relay, server).expect("the relay's socket"));
    let plan = Plan {
        server,
        relay,
        socket: Arc::clone(&socket),
        loader: Wish {
            server: SocketAddr::from((server, 69)),
            file: arguments.get("loader"),
            blksize: 1468,
            // As EDK2 asks.
            windowsize: arguments.or("windowsize", 4),
        },
        script: arguments.get("script"),
        files: [arguments.get("kernel"), arguments.get("initrd")],
    };
    let mut senders = Vec::new();
    let mut receivers = Vec::new();
    for _ in 0..clients {
        let (sender, receiver) = sync_channel(8);
        senders.push(sender);
        receivers.push(std::sync::Mutex::new(receiver));
    }
    thread::spawn(move || hand_out(&socket, &senders));
    let receivers = Arc::new(receivers);
    let (done, took) = all_at_once(clients, move |n| {
        let receiver = receivers[n].lock().expect("its own");
        boot(n as u32, &plan, &receiver)
    });
    let mut times = [const { Vec::new() }; 4];
    let (mut failed, mut again) = (0, 0);
    for booted in done {
        match booted {
            Ok((at, said_again)) => {
                again += said_again;
                for (times, at) in times.iter_mut().zip(at) {
                    times.push(at.as_secs_f64());
                }
            }
            Err(error) => {
                eprintln!("{error}");
                failed += 1;
            }
        }
    }
    let [address, loader, script, all] = times.map(sorted);
    println!(
        "seconds={:.2} failed={failed} again={again} address={:.2} loader={:.2} script={:.2} median={:.2} p99={:.2}",
        took.as_secs_f64(),
        quantile(&address, 0.99),
        quantile(&loader, 0.99),
        quantile(&script, 0.99),
        quantile(&all, 0.5),
        quantile(&all, 0.99),
    );
}

/// Gives each machine the replies to it.
fn hand_out(socket: &UdpSocket, machines: &[SyncSender<Reply>]) {
    let mut buffer = [0; 1500];
    while let Ok(len) = socket.recv(&mut buffer) {
        let reply = dhcp::read(&buffer[..len]);
        let machine = reply.and_then(|reply| Some((reply, machines.get(reply.xid as usize >> 1)?)));
        if let Some((reply, machine)) = machine {
            // One that does not listen any more is done.
            let _ = machine.try_send(reply);
        }
    }
}

/// When each stage was done, and how often a packet was said again.
fn boot(n: u32, plan: &Plan, replies: &Receiver<Reply>) -> io::Result<([Duration; 4], u64)> {
    let started = Instant::now();
    let (first, again) = lease(n, 0, plan, replies, Says::Uefi)?;
    let has_address = started.elapsed();
    let loaded = tftp::fetch(first, &plan.loader)?;
    let has_loader = started.elapsed();
    let (address, more) = lease(n, 1, plan, replies, Says::Ipxe)?;
    let mut connection = Connection::open(address, SocketAddr::from((plan.server, 80)), None)?;
    connection.load(&plan.script.replace("MAC", &hyphened(n)))?;
    let has_script = started.elapsed();
    for file in &plan.files {
        connection.load(file)?;
    }
    let stages = [has_address, has_loader, has_script, started.elapsed()];
    Ok((stages, again + more + loaded.again))
}

fn hyphened(n: u32) -> String {
    let mac = dhcp::mac(n).map(|byte| format!("{byte:02x}"));
    mac.join("-")
}

/// DISCOVER, OFFER, REQUEST, ACK.
fn lease(
    n: u32,
    stage: u32,
    plan: &Plan,
    replies: &Receiver<Reply>,
    says: Says,
) -> io::Result<(Ipv4Addr, u64)> {
    let (xid, mac) = (n << 1 | stage, dhcp::mac(n));
    let (mut again, mut patience) = (0, PATIENCE);
    for _ in 0..TRIES {
        let discover = dhcp::packet(plan.relay, xid, mac, says, None);
        plan.socket.send(&discover)?;
        if let Some(offer) = wait_for(replies, xid, OFFER, patience) {
            let request = dhcp::packet(plan.relay, xid, mac, says, Some(offer));
            plan.socket.send(&request)?;
            if let Some(ack) = wait_for(replies, xid, ACK, patience) {
                return Ok((ack.address, again));
            }
        }
        (again, patience) = (again + 1, patience * 2);
    }
    Err(io::Error::other("no lease"))
}

fn wait_for(replies: &Receiver<Reply>, xid: u32, kind: u8, patience: Duration) -> Option<Reply> {
    let until = Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let reply = replies.recv_timeout(left).ok()?;
        if reply.xid == xid && reply.kind == kind {
            return Some(reply);
        }
    }
}
