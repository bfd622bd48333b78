//! Strangers push: noise at every door, and more machines than there are addresses.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Result, ensure};
use dhcproto::v4::{DhcpOption, MessageType};
use reveille::boot::MacAddress;

use super::site::{BOOT, INITRD, SERVER, Site, is_whole, metric, script, until};
use super::slow::Slow;
use crate::ns;
use crate::support::card::{Card, EVERYBODY, Frame};
use crate::support::dhcp::{Machine, overheard};

/// Packets of noise at each UDP door.
const NOISE: u64 = 6000;

/// Machines that nobody knows; the pool has 200 addresses.
const CROWD: u16 = 4000;

/// Connections at the HTTP door.
const CALLS: u64 = 200;

/// What the server may grow by, in bytes: all of its bounded memories, filled, stay below.
const GROWTH: u64 = 48 << 20;

/// Ways in which noise is named when it is ignored.
const SILENCES: [&str; 7] = [
    r#"reveille_dhcp_requests_total{outcome="packet-too-short",type="none"}"#,
    r#"reveille_dhcp_requests_total{outcome="too-often",type="discover"}"#,
    r#"reveille_dhcp_requests_total{outcome="not-a-request",type="none"}"#,
    r#"reveille_tftp_ignored_total{reason="opcode-unknown"}"#,
    r#"reveille_tftp_ignored_total{reason="name-unterminated"}"#,
    r#"reveille_http_refused_total{reason="request-unreadable"}"#,
    r#"reveille_http_refused_total{reason="request-incomplete"}"#,
];

/// Numbers without a pattern, the same in every run (xorshift).
struct Dice(u64);

/// The server stays small, answers those whom it knows, and counts what it ignored by name.
pub(super) fn push(site: &mut Site) -> Result<Vec<String>> {
    let server = site.serve()?;
    let mut card = Card::plug("own", ns::BRIDGE)?;
    let known = Machine::number(1);
    let lease = known.lease(&mut card)?;
    let before = server.resident()?;
    let mut dice = Dice(0x5eed);
    udp_noise(&mut card, &mut dice)?;
    crowd(&mut card, &mut dice)?;
    tcp_noise(&mut dice)?;

    known.renew(&mut card, lease)?.acks(lease.address)?;
    // Offers to machines that were made up keep no address from one that is there.
    Machine::number(2).lease(&mut card)?;
    ensure!(
        known.discover(&mut card)?.address == lease.address,
        "another address"
    );
    ensure!(script("02-00-00-00-00-01")?.contains("linux"), "no script");
    is_whole(INITRD, &Slow::tftp(INITRD)?.finish()?)?;
    let after = server.resident()?;
    ensure!(
        after < before + GROWTH,
        "grew from {} to {} MiB",
        before >> 20,
        after >> 20
    );
    let mut lines = vec![format!(
        "{} MiB before, {} MiB after",
        before >> 20,
        after >> 20
    )];
    for silence in SILENCES {
        let count = until(silence, || {
            Ok(Some(metric(silence)?).filter(|count| *count > 0))
        })?;
        lines.push(format!("{silence} {count}"));
    }
    Ok(lines)
}

/// Datagrams of any bytes and lengths, some with a beginning that looks right.
fn udp_noise(card: &mut Card, dice: &mut Dice) -> Result<()> {
    let stranger = Machine::number(0x6666);
    let good = stranger
        .broadcasts(&stranger.message(MessageType::Discover))
        .payload;
    for round in 0..NOISE {
        let mut payload = match round % 3 {
            0 => dice.bytes(1400),
            1 => good.clone(),
            _ => [&good[..240], &dice.bytes(300)].concat(),
        };
        if round % 3 == 1 {
            let at = usize::try_from(dice.roll())? % payload.len();
            payload[at] ^= dice.bytes(1).first().copied().unwrap_or(1) | 1;
        }
        card.send(&Frame {
            to: EVERYBODY,
            from: stranger.mac,
            source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
            target: SocketAddrV4::new(Ipv4Addr::BROADCAST, 67),
            payload,
        })?;
        if round % 100 == 0 {
            overheard(card)?;
        }
    }
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    for round in 0..NOISE {
        let mut packet = dice.bytes(600);
        if round % 2 == 0 {
            packet.splice(0..0, *b"\x00\x01");
        }
        socket.send_to(&packet, SocketAddrV4::new(SERVER, 69))?;
        if round % 100 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// More machines than addresses, half of them with firmware that wants to boot.
fn crowd(card: &mut Card, dice: &mut Dice) -> Result<()> {
    for number in 0..CROWD {
        let [a, b, c, d, ..] = dice.roll().to_le_bytes();
        let stranger = Machine {
            mac: MacAddress::new([0x06, number.to_be_bytes()[0], a, b, c, d]),
            broadcast: number % 3 == 0,
        };
        let mut discover = stranger.message(MessageType::Discover);
        if number % 2 == 0 {
            let class = b"PXEClient:Arch:00007:UNDI:003016".to_vec();
            discover
                .opts_mut()
                .insert(DhcpOption::ClassIdentifier(class));
        }
        card.send(&stranger.broadcasts(&discover))?;
        if number % 100 == 0 {
            overheard(card)?;
        }
    }
    Ok(())
}

/// Calls that are no HTTP, or never end; some stay open.
fn tcp_noise(dice: &mut Dice) -> Result<()> {
    let mut open = Vec::new();
    for call in 0..CALLS {
        let mut stream = TcpStream::connect(BOOT)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let noise = match call % 3 {
            0 => dice.bytes(4000),
            1 => b"GET /".repeat(2000),
            _ => b"GET / HTTP/1.1\r\nHost:".to_vec(),
        };
        // The server may hang up in the middle of it.
        let _ = stream.write_all(&noise);
        if call % 3 == 2 && open.len() < 40 {
            open.push(stream);
        } else {
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read(&mut [0; 512]);
        }
    }
    Ok(())
}

// === impl Dice ===

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Up to `most` bytes.
    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let length = 1 + self.roll() % most;
        (0..length).map(|_| self.roll().to_le_bytes()[3]).collect()
    }
}
