//! What goes wrong at a site, so that it is seen on a dashboard and somebody is told.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dhcproto::v4::{DhcpOption, MessageType, OptionCode, UnknownOption};

use crate::support::card::Card;
use crate::support::dhcp::Machine;
use crate::support::ns;

/// The main program's doors for machines.
const HTTP: &str = "192.0.2.1:80";
const TFTP: &str = "192.0.2.1:69";

/// The HTTPS door of the program whose disk is full.
const HTTPS: &str = "10.99.0.1:8443";

/// Machines that ask once and are never heard of again.
const SILENT: u16 = 40;

/// How long a flood may take to do harm.
const FLOOD: Duration = Duration::from_secs(40);

/// Firmware that gets an offer and falls silent.
pub(crate) fn stalls() -> Result<()> {
    let mut card = Card::plug("silent", ns::BRIDGE)?;
    // Twice: an address may be probed first.
    for _ in 0..2 {
        for number in 0..SILENT {
            card.send(&Machine::number(0x1000 + number).wakes())?;
        }
        sleep(Duration::from_secs(1));
    }
    Ok(())
}

/// One of each of the troubles that need no time.
pub(crate) fn small_things() -> Result<()> {
    let mut card = Card::plug("odd", ns::BRIDGE)?;
    let machine = Machine::number(0x2000);
    machine.lease(&mut card)?;
    foreign_server(&mut card, Machine::number(0x2001))?;
    // An answer that is no DHCP at all.
    let mut noise = machine.wakes();
    noise.payload.truncate(100);
    card.send(&noise)?;

    let mut small = Card::plug("small", "br1")?;
    for number in 0..2 {
        Machine::number(0x3000 + number).lease(&mut small)?;
    }
    let mut strangers = Card::plug("strange", "br2")?;
    for number in 0..3 {
        for _ in 0..3 {
            strangers.send(&Machine::number(0x4000 + number).wakes())?;
            sleep(Duration::from_millis(300));
        }
    }
    // What does not boot never becomes a Machine.
    let system = Machine::number(0x4100);
    strangers.send(&system.broadcasts(&system.message(MessageType::Discover)))?;

    Ok(())
}

/// What goes wrong again and again, so that there is a rate of it.
pub(crate) struct Odd(Card);

impl Odd {
    /// On a card of its own.
    pub(crate) fn plug() -> Result<Self> {
        Ok(Self(Card::plug("oddly", ns::BRIDGE)?))
    }

    /// Once more.
    pub(crate) fn again(&mut self) -> Result<()> {
        strange_firmware(&mut self.0, Machine::number(0x2002))?;
        tftp_troubles()?;
        http_troubles()
    }
}

/// A REQUEST that goes to another server.
fn foreign_server(card: &mut Card, machine: Machine) -> Result<()> {
    let offer = machine.discover(card)?;
    let mut request = machine.message(MessageType::Request);
    let options = request.opts_mut();
    options.insert(DhcpOption::RequestedIpAddress(offer.address));
    options.insert(DhcpOption::ServerIdentifier(Ipv4Addr::new(192, 0, 2, 77)));
    card.send(&machine.broadcasts(&request))
}

/// Firmware that nothing here can boot: 64-bit ARM, for which there is no loader.
fn strange_firmware(card: &mut Card, machine: Machine) -> Result<()> {
    let mut message = machine.message(MessageType::Discover);
    let options = message.opts_mut();
    options.insert(DhcpOption::ClassIdentifier(
        b"PXEClient:Arch:00011:UNDI:003016".to_vec(),
    ));
    options.insert(DhcpOption::Unknown(UnknownOption::new(
        OptionCode::from(93),
        vec![0, 11],
    )));
    card.send(&machine.broadcasts(&message))
}

fn tftp_troubles() -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(3)))?;
    let mut buffer = [0; 2048];
    // There is no such file.
    socket.send_to(b"\0\x01missing.efi\0octet\0", TFTP)?;
    socket.recv_from(&mut buffer)?;
    // No request at all.
    socket.send_to(b"\0\x09?", TFTP)?;
    // The size alone, as firmware asks first.
    socket.send_to(b"\0\x01ipxe.efi\0octet\0tsize\x000\0", TFTP)?;
    let (_, peer) = socket.recv_from(&mut buffer)?;
    socket.send_to(b"\0\x05\0\x08enough\0", peer)?;
    // An ACK that repeats changes nothing.
    let other = UdpSocket::bind("0.0.0.0:0")?;
    other.set_read_timeout(Some(Duration::from_secs(3)))?;
    other.send_to(b"\0\x01ipxe.efi\0octet\0", TFTP)?;
    let (_, peer) = other.recv_from(&mut buffer)?;
    for _ in 0..3 {
        other.send_to(b"\0\x04\0\0", peer)?;
    }
    Ok(())
}

fn http_troubles() -> Result<()> {
    // An http:// URL that leads to the HTTPS port.
    let mut stream = TcpStream::connect(HTTPS)?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let _alert = stream.read(&mut [0; 64])?;
    let mut stream = TcpStream::connect(HTTP)?;
    write!(stream, "GET /missing HTTP/1.0\r\n\r\n")?;
    stream.read_to_string(&mut String::new())?;
    // A client that leaves in the middle.
    let mut stream = TcpStream::connect(HTTP)?;
    write!(stream, "GET /linux/initrd.img HTTP/1.0\r\n\r\n")?;
    stream.read_exact(&mut [0; 1000])?;
    Ok(())
}

/// Transfers that are under way while somebody looks.
pub(crate) struct Held {
    _http: TcpStream,
    _tftp: UdpSocket,
}

impl Held {
    /// Begins them, and does not take what comes.
    pub(crate) fn open() -> Result<Self> {
        let mut http = TcpStream::connect(HTTP)?;
        write!(http, "GET /linux/initrd.img HTTP/1.0\r\n\r\n")?;
        http.read_exact(&mut [0; 1000])?;
        let tftp = UdpSocket::bind("0.0.0.0:0")?;
        tftp.set_read_timeout(Some(Duration::from_secs(3)))?;
        tftp.send_to(b"\0\x01linux/vmlinuz\0octet\0blksize\x001024\0", TFTP)?;
        tftp.recv_from(&mut [0; 2048])?;
        Ok(Self {
            _http: http,
            _tftp: tftp,
        })
    }
}

/// Firmware asks and asks, until `is_done`.
#[expect(clippy::disallowed_methods, reason = "a hard limit in real time")]
pub(crate) fn flood(card: &mut Card, mut is_done: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    // A lease that the full disk cannot keep: nobody answers this.
    let machine = Machine::number(0x5000);
    let offer = machine.discover(card)?;
    let mut request = machine.message(MessageType::Request);
    request
        .opts_mut()
        .insert(DhcpOption::RequestedIpAddress(offer.address));
    request
        .opts_mut()
        .insert(DhcpOption::ServerIdentifier(offer.server()?));
    while !is_done()? {
        ensure!(begun.elapsed() < FLOOD, "the flood did no harm");
        card.send(&machine.broadcasts(&request))?;
        for number in 0..200 {
            card.send(&Machine::number(0x6000 + number).wakes())?;
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}
