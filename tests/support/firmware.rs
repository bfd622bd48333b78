//! A machine in a process of its own, on a host of its own ([`ns::host`]): it asks as x64 UEFI firmware
//! does, and then as the iPXE that it loaded, with their patience. What fails leads back to its beginning,
//! as a machine's boot order does.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dhcproto::v4::{Architecture, DhcpOption, Message, MessageType, OptionCode};
use reveille::boot::MacAddress;

use super::card::Card;
use super::dhcp::{Machine, Reply};
use super::{ipxe, ns};

/// Between the failure of one boot option and the next one's begin.
const NEXT_OPTION: Duration = Duration::from_secs(1);

/// How long the firmware waits for a TFTP packet, and how often (EDK2, MtftpDriver).
const TFTP_WAIT: Duration = Duration::from_secs(3);
const TFTP_TRIES: usize = 5;

/// What a slow link passes at once, and how long that takes.
const PIECE: u64 = 64 << 10;
const PAUSE: Duration = Duration::from_millis(20);

/// Without a byte for so long, a download has failed.
const HTTP_WAIT: Duration = Duration::from_secs(15);

/// Who asks, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// EDK2 waits 4, 8, 16, 32 seconds, each time to the end: a better offer might come (PxeBcDhcp4.c).
    Firmware,
    /// iPXE takes the first offer that it can boot from (net/udp/dhcp.c).
    Ipxe,
}

/// The machine, as far as it has come.
#[derive(Debug)]
pub(crate) struct Netboot {
    machine: Machine,
    card: Card,
    name: String,
    exchanges: u32,
    began: Instant,
    slow: bool,
}

/// What DHCP brought.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) address: Ipv4Addr,
    pub(crate) next_server: Ipv4Addr,
    pub(crate) filename: String,
}

// === impl Asker ===

impl Asker {
    const fn waits(self) -> &'static [u64] {
        match self {
            Self::Firmware => &[4, 8, 16, 32],
            Self::Ipxe => &[1, 2, 4, 8],
        }
    }

    fn marks(self, message: &mut Message) {
        let options = message.opts_mut();
        options.insert(DhcpOption::ClassIdentifier(
            b"PXEClient:Arch:00007:UNDI:003016".to_vec(),
        ));
        // RFC 4578, and its erratum: x64 UEFI.
        options.insert(DhcpOption::ClientSystemArchitecture(Architecture::from(7)));
        if self == Self::Ipxe {
            options.insert(DhcpOption::UserClass(b"iPXE".to_vec()));
        }
    }
}

/// Runs the machine whose card is called `name` until it has booted: the process of one machine. It says
/// on its output what happened. `slow`: three megabytes a second are what its link can do.
#[expect(clippy::disallowed_methods, reason = "measures real time")]
pub(crate) fn run(name: &str, mac: MacAddress, artifacts: &Path, slow: bool) -> Result<()> {
    let mut machine = Netboot {
        machine: Machine {
            mac,
            broadcast: false,
        },
        card: Card::listen(name)?,
        name: name.to_owned(),
        exchanges: 0,
        began: Instant::now(),
        slow,
    };
    let mut tries = 1;
    loop {
        match machine.boot() {
            Ok(booted) => {
                is_whole(&booted, artifacts)?;
                machine.say(&format!("booted from {} at try {tries}", booted.server));
                return Ok(());
            }
            Err(error) => machine.say(&format!("trouble: {error:#}")),
        }
        tries += 1;
        sleep(NEXT_OPTION);
    }
}

/// What a boot loaded, byte for byte as it is on the servers' disks.
fn is_whole(booted: &ipxe::Booted, artifacts: &Path) -> Result<()> {
    for (file, loaded) in [
        ("linux/vmlinuz", booted.kernel.as_slice()),
        ("linux/initrd.img", booted.initrd.as_slice()),
    ] {
        let kept = std::fs::read(artifacts.join(file))?;
        ensure!(kept == loaded, "{file} came with other bytes");
    }
    Ok(())
}

// === impl Netboot ===

impl Netboot {
    /// One way through the boot option: firmware, loader, iPXE, script, kernel and initrd.
    fn boot(&mut self) -> Result<ipxe::Booted> {
        let settings = self.dhcp(Asker::Firmware)?;
        let loader = tftp(settings.next_server, &settings.filename).context("TFTP")?;
        ensure!(!loader.is_empty(), "the loader is empty");
        // The loader starts with an interface without an address, and asks anew.
        let settings = self.dhcp(Asker::Ipxe)?;
        ipxe::boot(self, settings)
    }

    /// DISCOVER, OFFER, REQUEST, ACK; the address is the card's afterwards.
    pub(crate) fn dhcp(&mut self, asker: Asker) -> Result<Settings> {
        ns::run(&format!("ip -4 address flush dev {}", self.name))?;
        self.exchanges += 1;
        let offer = self
            .exchange(asker, None)?
            .with_context(|| format!("no offer for {asker:?}"))?;
        let ack = self
            .exchange(asker, Some(&offer))?
            .with_context(|| format!("no ack from {}", offer.frame.source))?;
        ensure!(ack.kind == MessageType::Ack, "{:?}", ack.kind);
        let settings = Settings {
            address: ack.address,
            next_server: ack.message.siaddr(),
            filename: filename(&ack).context("no boot file")?,
        };
        ns::run(&format!(
            "ip address add {}/24 dev {}",
            settings.address, self.name
        ))?;
        Ok(settings)
    }

    /// Asks until an answer is there or the asker's patience ends.
    fn exchange(&mut self, asker: Asker, offer: Option<&Reply>) -> Result<Option<Reply>> {
        let kind = match offer {
            None => MessageType::Discover,
            Some(_) => MessageType::Request,
        };
        let mut question = self.machine.message(kind);
        let [.., high, low] = self.machine.mac.bytes();
        let xid = self.exchanges << 16 | u32::from(u16::from_be_bytes([high, low]));
        question.set_xid(xid);
        asker.marks(&mut question);
        if let Some(offer) = offer {
            let options = question.opts_mut();
            options.insert(DhcpOption::RequestedIpAddress(offer.address));
            options.insert(DhcpOption::ServerIdentifier(offer.server()?));
        }
        let frame = self.machine.broadcasts(&question);
        for wait in asker.waits() {
            self.card.send(&frame)?;
            let wait = Duration::from_secs(*wait);
            // Only an offer is worth waiting for a better one.
            let to_the_end = asker == Asker::Firmware && offer.is_none();
            let answer = self.answer(xid, offer, wait, to_the_end)?;
            if answer.is_some() {
                return Ok(answer);
            }
        }
        Ok(None)
    }

    /// The first good answer within `wait`.
    #[expect(clippy::disallowed_methods, reason = "a machine's real patience")]
    fn answer(
        &mut self,
        xid: u32,
        offer: Option<&Reply>,
        wait: Duration,
        to_the_end: bool,
    ) -> Result<Option<Reply>> {
        let begun = Instant::now();
        let mut first = None;
        while begun.elapsed() < wait && (first.is_none() || to_the_end) {
            let Some(reply) = self.card.receive()?.and_then(Reply::read) else {
                continue;
            };
            let ours = reply.message.xid() == xid && reply.mac() == self.machine.mac;
            let good = match offer {
                None => reply.kind == MessageType::Offer && filename(&reply).is_some(),
                Some(offer) => {
                    reply.kind != MessageType::Offer && reply.server()? == offer.server()?
                }
            };
            if ours && good && first.is_none() {
                first = Some(reply);
            }
        }
        Ok(first)
    }

    /// Loads a URL as iPXE does. A body that ends early is a failure.
    pub(crate) fn http(&self, url: &str) -> Result<Vec<u8>> {
        let rest = url.strip_prefix("http://").context("not an http URL")?;
        let (host, path) = rest.split_once('/').context("a URL without a path")?;
        let door = match host.contains(':') {
            true => host.to_owned(),
            false => format!("{host}:80"),
        };
        let mut stream = TcpStream::connect_timeout(&door.parse()?, HTTP_WAIT)?;
        stream.set_read_timeout(Some(HTTP_WAIT))?;
        write!(
            stream,
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: iPXE\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        while (&mut stream).take(PIECE).read_to_end(&mut answer)? > 0 {
            if self.slow {
                sleep(PAUSE);
            }
        }
        body(answer).context(url.to_owned())
    }

    /// Prints a line, with the time since power-on.
    pub(crate) fn say(&self, words: &str) {
        println!("{:.1} s: {words}", self.began.elapsed().as_secs_f64());
    }

    /// Its MAC address.
    pub(crate) const fn mac(&self) -> MacAddress {
        self.machine.mac
    }
}

/// What it is told to load.
pub(crate) fn filename(reply: &Reply) -> Option<String> {
    let bytes = match reply.message.opts().get(OptionCode::BootfileName) {
        Some(DhcpOption::BootfileName(name)) => name,
        _ => reply.message.fname()?,
    };
    let text = String::from_utf8_lossy(bytes);
    let name = text.trim_end_matches('\0');
    (!name.is_empty()).then(|| name.to_owned())
}

/// Loads a file as the firmware does (RFC 1350, 2347, 2348).
pub(crate) fn tftp(server: Ipv4Addr, name: &str) -> Result<Vec<u8>> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(TFTP_WAIT))?;
    let mut packet = format!("\0\u{1}{name}\0octet\0blksize\01468\0").into_bytes();
    let mut to = SocketAddrV4::new(server, 69).into();
    let (mut loaded, mut next, mut tries) = (Vec::new(), 1_u16, 0);
    let mut buffer = [0; 2048];
    loop {
        socket.send_to(&packet, to)?;
        let (length, peer) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(_) if tries < TFTP_TRIES => {
                tries += 1;
                continue;
            }
            Err(error) => bail!("{server} is silent about {name}: {error}"),
        };
        (to, tries) = (peer, 0);
        let (head, data) = buffer[..length].split_at_checked(4).context("too short")?;
        let block = u16::from_be_bytes([head[2], head[3]]);
        match head[1] {
            6 => packet = vec![0, 4, 0, 0],
            3 if block == next => {
                loaded.extend_from_slice(data);
                packet = vec![0, 4, head[2], head[3]];
                if data.len() < 1468 {
                    socket.send_to(&packet, to)?;
                    return Ok(loaded);
                }
                next = next.wrapping_add(1);
            }
            3 => {}
            _ => bail!("{server} said: {}", String::from_utf8_lossy(data)),
        }
    }
}

/// The body of a good answer.
fn body(mut answer: Vec<u8>) -> Result<Vec<u8>> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let head: Vec<u8> = answer.drain(..end.context("no HTTP answer")? + 4).collect();
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    ensure!(head.starts_with("http/1.1 200 "), "{head}");
    let length: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .context("no content-length")?
        .trim()
        .parse()?;
    ensure!(
        answer.len() == length,
        "{} of {length} bytes came",
        answer.len()
    );
    Ok(answer)
}
