//! DHCP clients behind one relay, which all their packets come from.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Socket, Type};

use super::{Arguments, quantile, sorted, tftp::is_late};

/// How long an exchange may take before it counts as lost.
const LOST: Duration = Duration::from_secs(1);

/// What a client says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Nothing.
    Nothing,
    /// What a network card's UEFI says (x86-64).
    Uefi,
    /// What iPXE says.
    Ipxe,
}

/// A packet of the server's.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    pub kind: u8,
    pub xid: u32,
    pub address: Ipv4Addr,
    pub server: Ipv4Addr,
}

pub const OFFER: u8 = 2;
pub const ACK: u8 = 5;

/// The socket of the relay.
pub fn relay(at: Ipv4Addr, server: Ipv4Addr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    // So that nothing is lost here.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20));
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddrV4::new(at, 67).into())?;
    socket.connect(&SocketAddrV4::new(server, 67).into())?;
    Ok(socket.into())
}

/// The Ethernet address of machine `n`.
pub fn mac(n: u32) -> [u8; 6] {
    let [a, b, c, d] = n.to_be_bytes();
    [0x52, 0x54, a, b, c, d]
}

/// A DISCOVER, or the REQUEST for what `offer` has.
pub fn packet(
    relay: Ipv4Addr,
    xid: u32,
    mac: [u8; 6],
    says: Says,
    offer: Option<Reply>,
) -> Vec<u8> {
    let mut packet = vec![0; 240];
    packet[..4].copy_from_slice(&[1, 1, 6, 1]);
    packet[4..8].copy_from_slice(&xid.to_be_bytes());
    packet[24..28].copy_from_slice(&relay.octets());
    packet[28..34].copy_from_slice(&mac);
    packet[236..].copy_from_slice(&[99, 130, 83, 99]);
    let mut put = |code: u8, value: &[u8]| {
        packet.extend([code, value.len() as u8]);
        packet.extend(value);
    };
    put(53, &[if offer.is_some() { 3 } else { 1 }]);
    if let Some(offer) = offer {
        put(54, &offer.server.octets());
        put(50, &offer.address.octets());
    }
    if says != Says::Nothing {
        put(60, b"PXEClient:Arch:00007:UNDI:003001");
        put(93, &[0, 7]);
        put(94, &[1, 3, 0]);
        let [a, b, c, d, e, f] = mac;
        put(97, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, a, b, c, d, e, f]);
    }
    if says == Says::Ipxe {
        put(77, b"iPXE");
        // Its version, and that it speaks HTTP.
        put(175, &[235, 3, 1, 21, 1, 19, 1, 1]);
    }
    put(55, &[1, 3, 6, 12, 15, 28, 42, 43, 54, 60, 66, 67, 119, 175]);
    packet.push(255);
    packet.resize(packet.len().max(300), 0);
    packet
}

pub fn read(packet: &[u8]) -> Option<Reply> {
    let four = |at: usize| -> Option<[u8; 4]> { packet.get(at..at + 4)?.try_into().ok() };
    let mut reply = Reply {
        kind: 0,
        xid: u32::from_be_bytes(four(4)?),
        address: four(16)?.into(),
        server: Ipv4Addr::UNSPECIFIED,
    };
    let mut at = 240;
    while let Some(&[code, len]) = packet.get(at..at + 2) {
        match code {
            255 => break,
            53 => reply.kind = *packet.get(at + 2)?,
            54 => reply.server = four(at + 2)?.into(),
            _ => {}
        }
        at += 2 + usize::from(len);
    }
    Some(reply)
}

/// One exchange on its way.
#[derive(Clone, Copy)]
struct Exchange {
    begun: Instant,
    asked: Option<Instant>,
}

struct Load<'a> {
    socket: &'a std::net::UdpSocket,
    relay: Ipv4Addr,
    says: Says,
    first: u32,
    exchanges: Vec<Option<Exchange>>,
    offers: Vec<f64>,
    acks: Vec<f64>,
    lost: usize,
}

/// Exchanges at a rate, or as many at a time as told, of ever new machines.
pub fn load(arguments: &Arguments) {
    let relay_at: Ipv4Addr = arguments.get("relay");
    let socket = relay(relay_at, arguments.get("server")).expect("the relay's socket");
    socket
        .set_read_timeout(Some(Duration::from_micros(500)))
        .expect("a time-out");
    let seconds = Duration::from_secs(arguments.or("seconds", 4));
    let uefi = arguments.or("uefi", false);
    let mut load = Load {
        socket: &socket,
        relay: relay_at,
        says: if uefi { Says::Uefi } else { Says::Nothing },
        first: arguments.or("first", 0),
        exchanges: Vec::new(),
        offers: Vec::new(),
        acks: Vec::new(),
        lost: 0,
    };
    if arguments.has("rate") {
        load.at_rate(arguments.get("rate"), seconds);
    } else {
        load.in_flight(arguments.get("flight"), seconds);
    }
    let (offers, acks) = (sorted(load.offers), sorted(load.acks));
    println!(
        "begun={} done={} rate={:.0} lost={} offer-median={:.2} offer-p99={:.2} ack-median={:.2} ack-p99={:.2}",
        load.exchanges.len(),
        acks.len(),
        acks.len() as f64 / seconds.as_secs_f64(),
        load.exchanges.len() - acks.len(),
        quantile(&offers, 0.5),
        quantile(&offers, 0.99),
        quantile(&acks, 0.5),
        quantile(&acks, 0.99),
    );
}

impl Load<'_> {
    fn begin(&mut self) {
        let n = self.exchanges.len() as u32;
        self.exchanges.push(Some(Exchange {
            begun: Instant::now(),
            asked: None,
        }));
        let packet = packet(self.relay, n, mac(self.first + n), self.says, None);
        // What the kernel has no room for is lost, as on the way.
        let _ = self.socket.send(&packet);
    }

    /// Takes one packet; whether an exchange is done.
    fn take(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 1500];
        let len = self.socket.recv(&mut buffer)?;
        let Some(reply) = read(&buffer[..len]) else {
            return Ok(false);
        };
        let Some(Some(exchange)) = self.exchanges.get_mut(reply.xid as usize) else {
            return Ok(false);
        };
        let now = Instant::now();
        let ms = |since: Instant| now.duration_since(since).as_secs_f64() * 1e3;
        match (reply.kind, exchange.asked) {
            (OFFER, None) => {
                self.offers.push(ms(exchange.begun));
                exchange.asked = Some(now);
                let mac = mac(self.first + reply.xid);
                let packet = packet(self.relay, reply.xid, mac, self.says, Some(reply));
                let _ = self.socket.send(&packet);
                Ok(false)
            }
            (ACK, Some(asked)) => {
                self.acks.push(ms(asked));
                self.exchanges[reply.xid as usize] = None;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn at_rate(&mut self, rate: f64, seconds: Duration) {
        let started = Instant::now();
        let end = started + seconds;
        // Stragglers count where they come soon.
        while Instant::now() < end + LOST {
            let elapsed = started.elapsed().min(seconds).as_secs_f64();
            // A burst at most where we were held up ourselves.
            for _ in 0..64 {
                if (self.exchanges.len() as f64) >= elapsed * rate {
                    break;
                }
                self.begin();
            }
            for _ in 0..64 {
                match self.take() {
                    Ok(_) => {}
                    Err(error) if is_late(&error) => break,
                    Err(error) => panic!("{error}"),
                }
                if (self.exchanges.len() as f64) + 8.0 < started.elapsed().as_secs_f64() * rate {
                    break;
                }
            }
        }
    }

    fn in_flight(&mut self, flight: usize, seconds: Duration) {
        let started = Instant::now();
        let mut looked = started;
        for _ in 0..flight {
            self.begin();
        }
        while started.elapsed() < seconds {
            match self.take() {
                Ok(true) => self.begin(),
                Ok(false) => {}
                Err(error) if is_late(&error) => {}
                Err(error) => panic!("{error}"),
            }
            if looked.elapsed() > LOST / 4 {
                looked = Instant::now();
                let late = |it: &Option<Exchange>| it.is_some_and(|it| it.begun.elapsed() > LOST);
                let gone: Vec<usize> = (0..self.exchanges.len())
                    .filter(|n| late(&self.exchanges[*n]))
                    .collect();
                for n in gone {
                    self.exchanges[n] = None;
                    self.lost += 1;
                    self.begin();
                }
            }
        }
    }
}
