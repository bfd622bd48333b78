//! The names and forms of DHCP options: one table for all that is shown.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::boot::{FirmwareType, MacAddress, Uuid};

/// How the bytes of an option are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One address or several.
    Addresses,
    /// A number of as many bytes as there are, up to four.
    Number,
    /// Seconds.
    Seconds,
    /// Text.
    Text,
    /// Domain names in DNS's encoding (RFC 3397).
    Names,
    /// What the message is (RFC 2132 section 9.6).
    MessageType,
    /// Option codes.
    Codes,
    /// A hardware type and an address, or any bytes.
    ClientId,
    /// A type byte and a GUID (RFC 4578 section 2.3).
    MachineId,
    /// Firmware types (RFC 4578 section 2.1).
    Architectures,
    /// A type byte and two of a version (RFC 4578 section 2.2).
    Interface,
    /// Text, or texts with their lengths before them (RFC 3004 section 4).
    Classes,
    /// Options within the option, of this table.
    Inner(&'static [Entry]),
    /// Networks and their routers (RFC 3442).
    Routes,
    /// Which fields hold options (RFC 2132 section 9.3).
    Overload,
    /// Anything.
    Bytes,
}

/// A code, its name and how it is read.
pub type Entry = (u8, &'static str, Form);

/// RFC 2132 unless a line says otherwise; names as the RFCs have them.
const OPTIONS: &[Entry] = &[
    (1, "subnet mask", Form::Addresses),
    (2, "time offset", Form::Number),
    (3, "routers", Form::Addresses),
    (4, "time servers", Form::Addresses),
    (6, "name servers", Form::Addresses),
    (7, "log servers", Form::Addresses),
    (9, "LPR servers", Form::Addresses),
    (12, "host name", Form::Text),
    (13, "boot file size", Form::Number),
    (15, "domain name", Form::Text),
    (17, "root path", Form::Text),
    (18, "extensions path", Form::Text),
    (23, "default TTL", Form::Number),
    (26, "interface MTU", Form::Number),
    (28, "broadcast address", Form::Addresses),
    (33, "static routes", Form::Addresses),
    (40, "NIS domain", Form::Text),
    (41, "NIS servers", Form::Addresses),
    (42, "NTP servers", Form::Addresses),
    (43, "vendor options", Form::Bytes),
    (44, "NetBIOS name servers", Form::Addresses),
    (46, "NetBIOS node type", Form::Number),
    (50, "requested address", Form::Addresses),
    (51, "lease time", Form::Seconds),
    (52, "overload", Form::Overload),
    (53, "message type", Form::MessageType),
    (54, "server identifier", Form::Addresses),
    (55, "parameter request list", Form::Codes),
    (56, "message", Form::Text),
    (57, "maximum message size", Form::Number),
    (58, "renewal time (T1)", Form::Seconds),
    (59, "rebinding time (T2)", Form::Seconds),
    (60, "vendor class", Form::Text),
    (61, "client identifier", Form::ClientId),
    (66, "TFTP server name", Form::Text),
    (67, "boot file name", Form::Text),
    // RFC 3004
    (77, "user class", Form::Classes),
    // RFC 4702
    (81, "client FQDN", Form::Bytes),
    // RFC 3046
    (82, "relay agent information", Form::Inner(RELAY)),
    // RFC 4388
    (91, "client last transaction time", Form::Seconds),
    (92, "associated addresses", Form::Addresses),
    // RFC 4578
    (93, "client architecture", Form::Architectures),
    (94, "network interface", Form::Interface),
    (97, "machine identifier", Form::MachineId),
    // RFC 4833
    (100, "POSIX time zone", Form::Text),
    (101, "TZ database time zone", Form::Text),
    // RFC 8910
    (114, "captive portal", Form::Text),
    // RFC 2563
    (116, "auto-configure", Form::Number),
    // RFC 3011
    (118, "subnet selection", Form::Addresses),
    // RFC 3397
    (119, "domain search", Form::Names),
    // RFC 3442
    (121, "classless static routes", Form::Routes),
    // RFC 3925
    (124, "vendor-identifying class", Form::Bytes),
    (125, "vendor-identifying options", Form::Bytes),
    // PXE 2.1 section 2.2
    (128, "PXE 128", Form::Bytes),
    (129, "PXE 129", Form::Bytes),
    (130, "PXE 130", Form::Bytes),
    (131, "PXE 131", Form::Bytes),
    (132, "PXE 132", Form::Bytes),
    (133, "PXE 133", Form::Bytes),
    (134, "PXE 134", Form::Bytes),
    (135, "PXE 135", Form::Bytes),
    // RFC 5417
    (138, "CAPWAP controllers", Form::Addresses),
    // RFC 5859
    (150, "TFTP server addresses", Form::Addresses),
    // iPXE
    (175, "iPXE options", Form::Inner(IPXE)),
    // RFC 5071
    (208, "pxelinux magic", Form::Bytes),
    (209, "configuration file", Form::Text),
    (210, "path prefix", Form::Text),
    (211, "reboot time", Form::Seconds),
    // RFC 7710, before it was 114
    (160, "captive portal (old)", Form::Text),
    // Microsoft
    (249, "classless static routes (Microsoft)", Form::Routes),
    (252, "proxy autodiscovery", Form::Text),
];

/// Suboptions of 82: RFC 3046, 3527, 3993, 5010, 5107, 8357.
const RELAY: &[Entry] = &[
    (1, "circuit", Form::Bytes),
    (2, "remote", Form::Bytes),
    (5, "link selection", Form::Addresses),
    (6, "subscriber", Form::Text),
    (10, "flags", Form::Number),
    (11, "server override", Form::Addresses),
    (19, "relay port", Form::Number),
];

/// PXE's vendor options (PXE 2.1 section 2.4), where 60 says `PXEClient`.
const PXE: &[Entry] = &[
    (1, "multicast TFTP address", Form::Addresses),
    (6, "discovery control", Form::Number),
    (7, "discovery multicast", Form::Addresses),
    (8, "boot servers", Form::Bytes),
    (9, "boot menu", Form::Bytes),
    (10, "menu prompt", Form::Bytes),
    (71, "boot item", Form::Bytes),
    (116, "VLAN", Form::Number),
];

/// iPXE's encapsulated options, as its `dhcp.h` names them.
const IPXE: &[Entry] = &[
    (1, "priority", Form::Number),
    (8, "keep SAN", Form::Number),
    (9, "skip SAN boot", Form::Number),
    (16, "PXE extensions", Form::Number),
    (17, "iSCSI", Form::Number),
    (18, "AoE", Form::Number),
    (19, "HTTP", Form::Number),
    (20, "HTTPS", Form::Number),
    (21, "TFTP", Form::Number),
    (22, "FTP", Form::Number),
    (23, "DNS", Form::Number),
    (24, "bzImage", Form::Number),
    (25, "multiboot", Form::Number),
    (32, "NBI", Form::Number),
    (33, "PXE", Form::Number),
    (34, "ELF", Form::Number),
    (35, "COMBOOT", Form::Number),
    (36, "EFI", Form::Number),
    (38, "VLAN", Form::Number),
    (39, "menu", Form::Number),
    (41, "NFS", Form::Number),
    (81, "scriptlet", Form::Text),
    (85, "syslog servers", Form::Addresses),
    (176, "no ProxyDHCP", Form::Number),
    (177, "bus", Form::Bytes),
    (178, "use cached", Form::Number),
    (189, "BIOS drive", Form::Number),
    (190, "user name", Form::Text),
    (191, "password", Form::Text),
    (235, "version", Form::Bytes),
];

/// The name of an option; its number where it has none.
#[must_use]
pub fn name(code: u8) -> String {
    find(OPTIONS, code).map_or_else(
        || format!("option {code}"),
        |(_, name, _)| (*name).to_owned(),
    )
}

/// What the bytes of an option say, on one line. `pxe`: the packet's vendor
/// class is PXE's, which gives 43 its meaning.
#[must_use]
pub fn value(code: u8, data: &[u8], pxe: bool) -> String {
    let form = match find(OPTIONS, code) {
        _ if code == 43 && pxe => Form::Inner(PXE),
        Some((_, _, form)) => *form,
        None => Form::Bytes,
    };
    show(form, data)
}

fn find(table: &'static [Entry], code: u8) -> Option<&'static Entry> {
    table.iter().find(|(its, _, _)| *its == code)
}

fn show(form: Form, data: &[u8]) -> String {
    let read = match form {
        Form::Addresses => addresses(data),
        Form::Number => number(data).map(|number| number.to_string()),
        Form::Seconds => number(data).map(|number| format!("{number} s")),
        Form::Text => Some(text(data)),
        Form::Names => names(data),
        Form::MessageType => message_type(data).map(str::to_owned),
        Form::Codes => Some(codes(data)),
        Form::ClientId => client_id(data),
        Form::MachineId => Uuid::from_option(data).map(|uuid| uuid.to_string()),
        Form::Architectures => architectures(data),
        Form::Interface => interface(data),
        Form::Classes => Some(classes(data)),
        Form::Inner(table) => inner(table, data),
        Form::Routes => routes(data),
        Form::Overload => overload(data).map(str::to_owned),
        Form::Bytes => None,
    };
    read.unwrap_or_else(|| bytes(data))
}

/// Hex, or text where all of it can be read.
pub(super) fn bytes(data: &[u8]) -> String {
    let words = data.strip_suffix(&[0]).unwrap_or(data);
    if words.len() > 2 && words.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return text(data);
    }
    hex(data)
}

/// Bytes in hex, two digits each.
#[must_use]
pub fn hex(data: &[u8]) -> String {
    data.iter().fold(String::new(), |mut all, byte| {
        // Writing to a string cannot fail.
        let _ = write!(all, "{byte:02x}");
        all
    })
}

/// Bytes from hex; `None` where it is none.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    let bytes = digits.chunks(2);
    bytes
        .map(|pair| u8::try_from(pair.iter().fold(0, |byte, digit| byte << 4 | digit)).ok())
        .collect()
}

/// Text of a stranger: what does not print is escaped, a NUL at its end is not
/// part of it.
pub(super) fn text(data: &[u8]) -> String {
    let data = data.strip_suffix(&[0]).unwrap_or(data);
    let text = String::from_utf8_lossy(data);
    text.chars().flat_map(char::escape_debug).collect()
}

pub(super) fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn address(data: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(data).ok().map(Ipv4Addr::from)
}

fn addresses(data: &[u8]) -> Option<String> {
    let whole = !data.is_empty() && data.len().is_multiple_of(4);
    whole.then(|| joined(data.chunks(4).filter_map(address).map(|it| it.to_string())))
}

pub(super) fn number(data: &[u8]) -> Option<u32> {
    let fits = (1..=4).contains(&data.len());
    fits.then(|| {
        data.iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte))
    })
}

/// The name of a message type (RFC 2132 section 9.6, RFC 4388, RFC 6926).
#[must_use]
pub fn message_type(data: &[u8]) -> Option<&'static str> {
    Some(match data {
        [1] => "DISCOVER",
        [2] => "OFFER",
        [3] => "REQUEST",
        [4] => "DECLINE",
        [5] => "ACK",
        [6] => "NAK",
        [7] => "RELEASE",
        [8] => "INFORM",
        [9] => "FORCERENEW",
        [10] => "LEASEQUERY",
        [11] => "LEASEUNASSIGNED",
        [12] => "LEASEUNKNOWN",
        [13] => "LEASEACTIVE",
        _ => return None,
    })
}

fn codes(data: &[u8]) -> String {
    joined(data.iter().map(u8::to_string))
}

fn client_id(data: &[u8]) -> Option<String> {
    let (kind, rest) = data.split_first()?;
    let mac: [u8; 6] = rest.try_into().ok()?;
    (*kind == 1).then(|| MacAddress::new(mac).to_string())
}

pub(super) fn architectures(data: &[u8]) -> Option<String> {
    let whole = !data.is_empty() && data.len().is_multiple_of(2);
    let each = data.chunks(2).filter_map(number).map(|number| {
        let kind = FirmwareType(u16::try_from(number).unwrap_or(u16::MAX));
        format!("{number} ({})", kind.name())
    });
    whole.then(|| joined(each))
}

pub(super) fn interface(data: &[u8]) -> Option<String> {
    let [kind, major, minor] = data else {
        return None;
    };
    let name = if *kind == 1 { "UNDI" } else { "type" };
    Some(match kind {
        1 => format!("{name} {major}.{minor}"),
        other => format!("{name} {other}, {major}.{minor}"),
    })
}

fn classes(data: &[u8]) -> String {
    let mut all = Vec::new();
    let mut rest = data;
    while let Some((length, behind)) = rest.split_first() {
        let length = usize::from(*length);
        match behind.split_at_checked(length) {
            Some((class, others)) if length > 0 => {
                all.push(text(class));
                rest = others;
            }
            // The bare text that iPXE and others send.
            Some(_) | None => return text(data),
        }
    }
    all.join(", ")
}

/// Options within an option: code, length, value, as in 43, 82 and 175.
fn inner(table: &'static [Entry], data: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    let mut rest = data;
    while let Some((code, behind)) = rest.split_first() {
        match code {
            0 => rest = behind,
            255 => break,
            code => {
                let (length, behind) = behind.split_first()?;
                let (value, behind) = behind.split_at_checked(usize::from(*length))?;
                let (name, form) = match find(table, *code) {
                    Some((_, name, form)) => (format!("{code} {name}"), *form),
                    None => (code.to_string(), Form::Bytes),
                };
                parts.push(format!("{name}: {}", show(form, value)));
                rest = behind;
            }
        }
    }
    Some(parts.join("; "))
}

fn routes(data: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    let mut rest = data;
    while let Some((width, behind)) = rest.split_first() {
        let significant = usize::from(width.div_ceil(8));
        let (network, behind) = behind.split_at_checked(significant)?;
        let (router, behind) = behind.split_at_checked(4)?;
        let mut octets = [0; 4];
        octets.get_mut(..significant)?.copy_from_slice(network);
        let (network, router) = (Ipv4Addr::from(octets), address(router)?);
        parts.push(format!("{network}/{width} by {router}"));
        rest = behind;
    }
    Some(parts.join(", "))
}

fn overload(data: &[u8]) -> Option<&'static str> {
    Some(match data {
        [1] => "the file field holds options",
        [2] => "the sname field holds options",
        [3] => "the file and sname fields hold options",
        _ => return None,
    })
}

/// Names without compression; what is compressed is shown as bytes.
pub(super) fn names(data: &[u8]) -> Option<String> {
    let (mut all, mut labels) = (Vec::new(), Vec::new());
    let mut rest = data;
    while let Some((length, behind)) = rest.split_first() {
        if *length == 0 {
            all.push(std::mem::take(&mut labels).join("."));
            rest = behind;
            continue;
        }
        if *length > 63 {
            return None;
        }
        let (label, behind) = behind.split_at_checked(usize::from(*length))?;
        labels.push(text(label));
        rest = behind;
    }
    labels.is_empty().then(|| all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_one_name_and_those_that_boot_machines_have_theirs() {
        for table in [OPTIONS, RELAY, PXE, IPXE] {
            for (at, (code, _, _)) in table.iter().enumerate() {
                assert!(
                    !table[..at].iter().any(|(other, _, _)| other == code),
                    "{code}"
                );
            }
        }
        assert_eq!(name(67), "boot file name");
        assert_eq!(name(199), "option 199");
    }

    #[test]
    fn values_read_as_people_write_them() {
        for (code, data, want) in [
            (1, &[255, 255, 255, 0][..], "255.255.255.0"),
            (6, &[192, 0, 2, 1, 192, 0, 2, 2], "192.0.2.1, 192.0.2.2"),
            (6, &[192, 0, 2], "c00002"),
            (51, &[0, 0, 0x0e, 0x10], "3600 s"),
            (53, &[2], "OFFER"),
            (53, &[99], "63"),
            (55, &[1, 3, 6], "1, 3, 6"),
            (57, &[5, 0xc0], "1472"),
            (60, b"PXEClient", "PXEClient"),
            (61, &[1, 2, 0, 0, 0, 0, 9], "02:00:00:00:00:09"),
            (67, b"ipxe.efi\0", "ipxe.efi"),
            (77, b"iPXE", "iPXE"),
            (77, b"\x04iPXE\x02ab", "iPXE, ab"),
            (
                82,
                b"\x01\x04port\x05\x04\xc0\x00\x02\x00",
                "1 circuit: port; 5 link selection: 192.0.2.0",
            ),
            (
                93,
                &[0, 7, 0, 16],
                "7 (x64 UEFI), 16 (x64 UEFI boot from HTTP)",
            ),
            (94, &[1, 3, 16], "UNDI 3.16"),
            (119, b"\x07example\x03net\0\x01a\0", "example.net, a"),
            (119, &[0xc0, 0], "c000"),
            (
                121,
                &[24, 10, 1, 2, 192, 0, 2, 1, 0, 192, 0, 2, 9],
                "10.1.2.0/24 by 192.0.2.1, 0.0.0.0/0 by 192.0.2.9",
            ),
            (121, &[99, 1], "6301"),
            (175, &[176, 1, 1], "176 no ProxyDHCP: 1"),
            (12, b"a\x1b[2J", "a\\u{1b}[2J"),
        ] {
            assert_eq!(value(code, data, false), want, "{code}");
        }
        assert_eq!(value(43, &[6, 1, 8, 255], true), "6 discovery control: 8");
        assert_eq!(value(43, &[6, 1, 8, 255], false), "060108ff");
    }

    #[test]
    fn hex_is_read_again() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&all)), Some(all));
        assert_eq!(
            (unhex("0"), unhex("0g"), unhex("")),
            (None, None, Some(vec![]))
        );
    }

    #[test]
    fn any_bytes_are_shown() {
        for code in 0..=u8::MAX {
            for length in 0..40_u8 {
                let data: Vec<u8> = (0..length).map(|at| at.wrapping_mul(37)).collect();
                let _ = (value(code, &data, true), value(code, &data, false));
            }
        }
    }
}
