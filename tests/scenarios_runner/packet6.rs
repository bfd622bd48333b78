//! DHCPv6 packets: made from human terms, and taken apart byte by byte. Stands
//! on no code of the product, so that a mistake there shows.

use std::net::Ipv6Addr;

use super::book::{Ask6, Hop6};
use super::diff::Facts;
use super::options::unhex;

/// Our DUID in every scenario: a DUID-LL.
pub(crate) const SERVER_DUID: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 0, 1];

const TYPES: [(&str, u8); 8] = [
    ("solicit", 1),
    ("request", 3),
    ("confirm", 4),
    ("renew", 5),
    ("rebind", 6),
    ("release", 8),
    ("decline", 9),
    ("information-request", 11),
];
const STATUS: [&str; 7] = [
    "success",
    "failed",
    "no-addresses",
    "no-binding",
    "not-on-link",
    "use-multicast",
    "no-prefixes",
];

/// The bytes of a request.
pub(crate) fn build(ask: &Ask6) -> Result<Vec<u8>, String> {
    let code = TYPES.iter().find(|(name, _)| *name == ask.kind);
    let (_, code) = code.ok_or_else(|| format!("no message is called {}", ask.kind))?;
    let mut packet = vec![*code, 1, 2, 3];
    let duid = client_duid(ask)?;
    if !duid.is_empty() {
        put(&mut packet, 1, &duid);
    }
    match ask.server.as_deref() {
        None => {}
        Some("ours") => put(&mut packet, 2, &SERVER_DUID),
        Some(hex) => put(&mut packet, 2, &unhex(hex)?),
    }
    for (index, addresses) in ask.ia.iter().enumerate() {
        let mut data = (ask.before_iaid + u32::try_from(index).unwrap() + 1)
            .to_be_bytes()
            .to_vec();
        data.extend([0; 8]);
        for address in addresses {
            let mut inner = address.octets().to_vec();
            inner.extend([0; 8]);
            put(&mut data, 5, &inner);
        }
        put(&mut packet, 3, &data);
    }
    if let Some(iaid) = ask.temporary {
        put(&mut packet, 4, &iaid.to_be_bytes());
    }
    if let Some(iaid) = ask.prefix {
        put(
            &mut packet,
            25,
            &[&iaid.to_be_bytes()[..], &[0; 8]].concat(),
        );
    }
    if ask.rapid {
        put(&mut packet, 14, &[]);
    }
    if let Some(class) = &ask.user_class {
        put(&mut packet, 15, &counted(class));
    }
    if let Some(class) = &ask.vendor_class {
        put(
            &mut packet,
            16,
            &[&343_u32.to_be_bytes()[..], &counted(class)].concat(),
        );
    }
    if let Some(architecture) = ask.architecture {
        put(&mut packet, 61, &architecture.to_be_bytes());
    }
    if let Some(wanted) = &ask.wants {
        let data: Vec<u8> = wanted.iter().flat_map(|code| code.to_be_bytes()).collect();
        put(&mut packet, 6, &data);
    }
    packet.extend(unhex(&ask.tail)?);
    for (count, hop) in ask.relays.iter().rev().enumerate() {
        packet = wrap(hop, u8::try_from(count).unwrap(), &packet)?;
    }
    Ok(packet)
}

/// Where it comes from: as written, else the link-local address of its MAC.
pub(crate) fn source(ask: &Ask6) -> Result<Ipv6Addr, String> {
    if let Some(from) = ask.from {
        return Ok(from);
    }
    let mac = ask.mac.as_deref().ok_or("name `mac` or `from`")?;
    let [a, b, c, d, e, f] = unhex(mac)?[..] else {
        return Err(format!("{mac} is no MAC address"));
    };
    let mut octets = [0; 16];
    octets[..2].copy_from_slice(&[0xfe, 0x80]);
    octets[8..].copy_from_slice(&[a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Ok(octets.into())
}

fn client_duid(ask: &Ask6) -> Result<Vec<u8>, String> {
    match (&ask.duid, &ask.mac) {
        (Some(duid), _) => unhex(duid),
        (None, Some(mac)) => Ok([&[0, 3, 0, 1][..], &unhex(mac)?].concat()),
        (None, None) => Ok(Vec::new()),
    }
}

fn wrap(hop: &Hop6, count: u8, inner: &[u8]) -> Result<Vec<u8>, String> {
    let mut packet = vec![12, count];
    packet.extend(hop.link.octets());
    packet.extend(hop.peer.octets());
    if let Some(id) = &hop.interface_id {
        put(&mut packet, 18, id.as_bytes());
    }
    if let Some(id) = &hop.remote_id {
        put(&mut packet, 37, &unhex(id)?);
    }
    if let Some(mac) = &hop.mac {
        put(&mut packet, 79, &[&[0, 1][..], &unhex(mac)?].concat());
    }
    put(&mut packet, 9, inner);
    Ok(packet)
}

fn put(packet: &mut Vec<u8>, code: u16, data: &[u8]) {
    packet.extend(code.to_be_bytes());
    packet.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    packet.extend(data);
}

fn counted(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&length[..], text.as_bytes()].concat()
}

/// What a reply says, each thing by its name. Identities and transaction are
/// held against the request.
pub(crate) fn take_apart(packet: &[u8], ask: &Ask6) -> Result<Facts, String> {
    let mut facts = Facts::new();
    let (mut rest, mut relays) = (packet.to_vec(), Vec::new());
    while rest.first() == Some(&13) {
        let address =
            |at: usize| -> Ipv6Addr { <[u8; 16]>::try_from(&rest[at..at + 16]).unwrap().into() };
        let mut relay = format!("{} {}", address(2), address(18));
        let options = walk(&rest[34..])?;
        let mut inner = None;
        for (code, data) in options {
            match code {
                9 => inner = Some(data),
                18 => relay = format!("{relay} {}", String::from_utf8_lossy(&data)),
                135 => relay.push_str(" port"),
                code => return Err(format!("    a relay is sent option {code}\n")),
            }
        }
        relays.push(relay);
        rest = inner.ok_or("    a relay is sent nothing\n")?;
    }
    if !relays.is_empty() {
        facts.insert("relays".to_owned(), relays.join("; "));
    }
    let kind = match rest.first() {
        Some(2) => "advertise",
        Some(7) => "reply",
        _ => return Err("    it is neither advertisement nor reply\n".to_owned()),
    };
    facts.insert("type".to_owned(), kind.to_owned());
    if rest.get(1..4) != Some(&[1, 2, 3]) {
        return Err("    the transaction is not the request's\n".to_owned());
    }
    let (mut client, mut server) = (Vec::new(), Vec::new());
    for (code, data) in walk(&rest[4..])? {
        let text = || String::from_utf8_lossy(&data).into_owned();
        let (name, value) = match code {
            1 => {
                client = data;
                continue;
            }
            2 => {
                server = data;
                continue;
            }
            3 => (format!("ia-{}", number(&data[..4])), association(&data)?),
            4 => (
                format!("temporary-{}", number(&data[..4])),
                inside(&data[4..])?,
            ),
            25 => (
                format!("prefix-{}", number(&data[..4])),
                inside(&data[12..])?,
            ),
            7 => ("preference".to_owned(), data[0].to_string()),
            13 => ("status".to_owned(), status(&data)),
            14 => ("rapid".to_owned(), data.len().to_string()),
            16 => ("vendor-class".to_owned(), {
                if data[..4] != [0, 0, 1, 87] {
                    return Err("    the vendor class is not Intel's\n".to_owned());
                }
                String::from_utf8_lossy(&data[6..]).into_owned()
            }),
            23 => ("dns".to_owned(), {
                let all = data
                    .chunks(16)
                    .map(|one| Ipv6Addr::from(<[u8; 16]>::try_from(one).unwrap()).to_string());
                all.collect::<Vec<_>>().join(" ")
            }),
            24 => ("search".to_owned(), text().escape_debug().to_string()),
            59 => ("url".to_owned(), text()),
            code => (format!("option-{code}"), text()),
        };
        if facts.insert(name.clone(), value).is_some() {
            return Err(format!("    {name} is there twice\n"));
        }
    }
    if client != client_duid(ask)? {
        return Err("    the client's DUID is not echoed\n".to_owned());
    }
    if server != SERVER_DUID {
        return Err("    the server's DUID is not ours\n".to_owned());
    }
    Ok(facts)
}

fn association(data: &[u8]) -> Result<String, String> {
    let times = format!("{}/{}", number(&data[4..8]), number(&data[8..12]));
    let inner = inside(&data[12..])?;
    Ok(if times == "0/0" {
        inner
    } else {
        format!("{inner} renew {times}")
    })
}

/// Addresses with their lifetimes, and how it went.
fn inside(data: &[u8]) -> Result<String, String> {
    let all = walk(data)?.into_iter().map(|(code, data)| match code {
        5 => {
            let address = Ipv6Addr::from(<[u8; 16]>::try_from(&data[..16]).unwrap());
            let (preferred, valid) = (number(&data[16..20]), number(&data[20..24]));
            let valid = format!("{address} for {valid}");
            let same = preferred == number(&data[20..24]);
            Ok(if same {
                valid
            } else {
                format!("{valid} ({preferred})")
            })
        }
        13 => Ok(status(&data)),
        code => Err(format!("    an association has option {code}\n")),
    });
    Ok(all.collect::<Result<Vec<_>, _>>()?.join(", "))
}

fn status(data: &[u8]) -> String {
    let code = usize::from(u16::from_be_bytes([data[0], data[1]]));
    STATUS
        .get(code)
        .map_or_else(|| code.to_string(), |name| (*name).to_owned())
}

fn number(data: &[u8]) -> u32 {
    u32::from_be_bytes(data.try_into().unwrap())
}

fn walk(mut field: &[u8]) -> Result<Vec<(u16, Vec<u8>)>, String> {
    let mut options = Vec::new();
    while !field.is_empty() {
        let [a, b, c, d, rest @ ..] = field else {
            return Err("    an option has no head\n".to_owned());
        };
        let length = usize::from(u16::from_be_bytes([*c, *d]));
        let data = rest
            .get(..length)
            .ok_or("    an option is longer than the packet\n")?;
        options.push((u16::from_be_bytes([*a, *b]), data.to_vec()));
        field = &rest[length..];
    }
    Ok(options)
}
