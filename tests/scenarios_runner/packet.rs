//! DHCP packets: made from human terms, and taken apart byte by byte. Stands
//! on no code of the product, so that a mistake there shows.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::book::{Ask, Options};
use super::options;

const COOKIE: [u8; 4] = [99, 130, 83, 99];
const OPTIONS: usize = 240;
const TYPES: [(&str, u8); 13] = [
    ("discover", 1),
    ("offer", 2),
    ("request", 3),
    ("decline", 4),
    ("ack", 5),
    ("nak", 6),
    ("release", 7),
    ("inform", 8),
    ("force-renew", 9),
    ("lease-query", 10),
    ("lease-unassigned", 11),
    ("lease-unknown", 12),
    ("lease-active", 13),
];

/// Options by code, their parts joined.
type Joined = BTreeMap<u8, Vec<u8>>;

/// A packet, taken apart.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) kind: String,
    pub(crate) ciaddr: Ipv4Addr,
    pub(crate) yiaddr: Ipv4Addr,
    pub(crate) siaddr: Ipv4Addr,
    pub(crate) sname: String,
    pub(crate) file: String,
    /// The hardware address, in hex.
    pub(crate) chaddr: String,
    pub(crate) options: Joined,
}

/// The bytes of a request.
pub(crate) fn build(ask: &Ask) -> Result<Vec<u8>, String> {
    let chaddr = match (&ask.mac, &ask.chaddr) {
        (Some(mac), None) => options::unhex(mac)?,
        (None, Some(chaddr)) => options::unhex(chaddr)?,
        (None, None) if ask.kind == "lease-query" => Vec::new(),
        _ => return Err("name one of `mac` and `chaddr`".to_owned()),
    };
    let mut packet = vec![
        ask.op,
        ask.htype,
        u8::try_from(chaddr.len()).unwrap(),
        ask.hops,
    ];
    packet.extend(ask.xid.to_be_bytes());
    packet.extend(ask.secs.to_be_bytes());
    packet.extend([if ask.broadcast { 0x80 } else { 0 }, 0]);
    packet.extend(ask.ciaddr.octets());
    packet.extend([0; 8]);
    packet.extend(ask.giaddr.octets());
    packet.extend(padded(chaddr, 16)?);
    packet.extend(padded(field(&ask.in_sname)?, 64)?);
    packet.extend(padded(field(&ask.in_file)?, 128)?);
    if ask.no_cookie {
        packet.resize(300, 0);
        return Ok(packet);
    }
    packet.extend(COOKIE);
    if ask.kind != "bootp" {
        let code = TYPES.iter().find(|(name, _)| *name == ask.kind);
        let (_, code) = code.ok_or_else(|| format!("no message is called {}", ask.kind))?;
        packet.extend([53, 1, *code]);
    }
    packet.extend(encoded(&ask.options)?);
    packet.extend(options::unhex(&ask.tail)?);
    packet.push(255);
    Ok(packet)
}

/// Takes a reply apart and holds it against the request that it answers.
pub(crate) fn take_apart(packet: &[u8], request: &[u8]) -> Result<Packet, String> {
    let at_least = |what: &str, good: bool| {
        if good {
            Ok(())
        } else {
            Err(format!("    {what}\n"))
        }
    };
    at_least(
        "the packet is shorter than BOOTP's 300 bytes (RFC 1542 section 2.1)",
        packet.len() >= 300,
    )?;
    at_least(
        "the packet is larger than the client takes (option 57)",
        packet.len() <= limit(request)?,
    )?;
    at_least("op is not BOOTREPLY", packet[0] == 2)?;
    for (what, range) in [("xid", 4..8), ("giaddr", 24..28)] {
        let same = packet[range.clone()] == request[range];
        at_least(
            &format!("{what} is not the request's (RFC 2131 table 3)"),
            same,
        )?;
    }
    at_least("hops is not zero", packet[3] == 0)?;
    at_least("secs is not zero", packet[8..10] == [0, 0])?;
    at_least("there is no cookie", packet[236..240] == COOKIE)?;
    let (mut options, order) = walk(&packet[OPTIONS..])?;
    let kind = match options.get(&53).map(Vec::as_slice) {
        Some([code]) => {
            let kind = TYPES.iter().find(|(_, known)| known == code);
            kind.map_or("unknown", |(name, _)| *name).to_owned()
        }
        None if is_bootp(request) => "bootp-reply".to_owned(),
        _ => return Err("    option 53 is absent\n".to_owned()),
    };
    if kind == "bootp-reply" {
        let own = (50..60).find(|code| options.contains_key(code));
        at_least(
            "an option of DHCP's own is there (RFC 1534 section 2)",
            own.is_none(),
        )?;
    }
    // A relay is told of somebody else's hardware.
    if kind != "lease-active" {
        let same = packet[1..3] == request[1..3] && packet[28..44] == request[28..44];
        at_least(
            "htype, hlen or chaddr is not the request's (RFC 2131 table 3)",
            same,
        )?;
    }
    let mut flags = [request[10], request[11]];
    if kind == "nak" && request[24..28] != [0; 4] {
        flags[0] |= 0x80;
    }
    at_least(
        "flags are not the request's (RFC 2131 table 3)",
        packet[10..12] == flags,
    )?;
    if options.contains_key(&82) {
        let last = order.last() == Some(&82);
        at_least("option 82 is not last (RFC 3046 section 2.2)", last)?;
    }
    let (sname, file) = (&packet[44..108], &packet[108..236]);
    let overload = options.get(&52).map_or(0, |data| data[0]);
    let mut held = |bit: u8, what: &str, field: &[u8]| {
        if overload & bit == 0 {
            return text(what, field);
        }
        for (code, data) in walk(field)?.0 {
            if options.insert(code, data).is_some() {
                return Err(format!("    option {code} is there twice\n"));
            }
        }
        Ok(String::new())
    };
    let (file, sname) = (held(1, "file", file)?, held(2, "sname", sname)?);
    let address = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
    let hardware = 28..28 + usize::from(packet[2]).min(16);
    Ok(Packet {
        kind,
        ciaddr: address(12),
        yiaddr: address(16),
        siaddr: address(20),
        sname,
        file,
        chaddr: options::hex(&packet[hardware]),
        options,
    })
}

/// Whether a request has no message type (RFC 951).
fn is_bootp(request: &[u8]) -> bool {
    let field = request.get(OPTIONS..).unwrap_or_default();
    let is_plain = request.get(236..240) != Some(&COOKIE);
    is_plain || walk(field).is_ok_and(|(options, _)| !options.contains_key(&53))
}

/// The options of a packet's field up to END, joined (RFC 3396), and in which
/// order their codes came. Nothing but PAD may follow END.
fn walk(field: &[u8]) -> Result<(Joined, Vec<u8>), String> {
    let (mut options, mut order): (Joined, Vec<u8>) = Default::default();
    let mut at = 0;
    loop {
        let code = *field.get(at).ok_or("    END is absent\n")?;
        at += 1;
        match code {
            0 => {}
            255 => break,
            code => {
                let length = usize::from(*field.get(at).ok_or("    an option has no length\n")?);
                let data = field.get(at + 1..at + 1 + length);
                let data = data.ok_or("    an option is longer than the packet\n")?;
                if options.contains_key(&code) && order.last() != Some(&code) {
                    return Err(format!("    option {code} is there twice\n"));
                }
                options.entry(code).or_default().extend_from_slice(data);
                order.push(code);
                at += 1 + length;
                let split = field.get(at) == Some(&67);
                if code == 67 && !split && field.get(at) != Some(&0) {
                    return Err("    no PAD follows option 67\n".to_owned());
                }
            }
        }
    }
    if field[at..].iter().any(|byte| *byte != 0) {
        return Err("    bytes follow END\n".to_owned());
    }
    Ok((options, order))
}

/// Option 57 less the heads of IP and UDP; 548 without (RFC 2131 section 2); the
/// 300 bytes of BOOTP (RFC 1542 section 2.1).
fn limit(request: &[u8]) -> Result<usize, String> {
    if is_bootp(request) {
        return Ok(300);
    }
    let field = request.get(OPTIONS..).unwrap_or_default();
    // A request need not end in good order.
    let options = walk(field).map(|(options, _)| options).unwrap_or_default();
    Ok(match options.get(&57).map(Vec::as_slice) {
        Some([high, low]) => usize::from(u16::from_be_bytes([*high, *low])).clamp(576, 1500) - 28,
        _ => 548,
    })
}

fn text(what: &str, field: &[u8]) -> Result<String, String> {
    let end = field.iter().position(|byte| *byte == 0);
    let end = end.ok_or_else(|| format!("    {what} has no NUL (RFC 2131 section 2)\n"))?;
    String::from_utf8(field[..end].to_vec()).map_err(|_| format!("    {what} is no text\n"))
}

fn encoded(named: &Options) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for (code, data) in options::encode(named)? {
        let data = data.ok_or("an option of a request cannot be `~`")?;
        for part in data.chunks(255) {
            bytes.extend([code, u8::try_from(part.len()).unwrap()]);
            bytes.extend(part);
        }
        if data.is_empty() {
            bytes.extend([code, 0]);
        }
    }
    Ok(bytes)
}

fn field(named: &Options) -> Result<Vec<u8>, String> {
    let mut bytes = encoded(named)?;
    if !bytes.is_empty() {
        bytes.push(255);
    }
    Ok(bytes)
}

fn padded(mut bytes: Vec<u8>, size: usize) -> Result<Vec<u8>, String> {
    if bytes.len() > size {
        return Err(format!("{} bytes do not fit into {size}", bytes.len()));
    }
    bytes.resize(size, 0);
    Ok(bytes)
}
