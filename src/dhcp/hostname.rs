//! Which name a client is told (options 12 and 81). Core.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::answer::encode_names;
use super::option;
use super::request::Request;
use crate::api::{Hostnames, SubnetSpec};
use crate::snapshot::{Plan, Selection};

/// Longest label of a name (RFC 1035 section 2.3.4).
const LABEL: usize = 63;
/// The client wants the server to tell DNS its address (RFC 4702 section 2.1).
const S: u8 = 1;
/// The server does otherwise than the client wants.
const O: u8 = 2;
/// The name is in DNS's encoding.
const E: u8 = 4;
/// The server tells DNS nothing.
const N: u8 = 8;
/// What the deprecated result codes hold in replies (RFC 4702 section 2.2).
const NO_RESULT: u8 = 255;

/// The name that a client is told with `address`. What somebody wrote into its
/// Machine comes first; then the Subnet's `hostnames` decides.
pub(super) fn name(
    plan: &Plan<'_>,
    request: &Request,
    spec: &SubnetSpec,
    address: Ipv4Addr,
) -> Option<String> {
    let machine = plan
        .machine
        .filter(|machine| machine.selection != Selection::Refused);
    if let (Some(_), Some(written)) = (machine, plan.hostname) {
        return Some(written.to_owned());
    }
    let own = || machine.map(|machine| machine.name.name.clone());
    match spec.hostnames {
        Hostnames::FromMachine => own(),
        Hostnames::FromClient => of_client(request).or_else(own),
        Hostnames::Generate => own().or_else(|| made_of(address)),
    }
}

/// The answer to option 81, which no policy but the client's own name and a
/// made one needs: the client's full name, and that we tell DNS nothing. So
/// the client may (RFC 4702 section 4).
pub(super) fn fqdn_option(
    options: &mut BTreeMap<u8, Vec<u8>>,
    request: &Request,
    spec: &SubnetSpec,
    name: Option<&str>,
) {
    let asked = request.option(option::FQDN).and_then(<[u8]>::first);
    let (Some(flags), Some(name)) = (asked, name) else {
        return;
    };
    if spec.hostnames == Hostnames::FromMachine {
        return;
    }
    let wants_us = if flags & S != 0 { O } else { 0 };
    let mut bytes = vec![N | wants_us | (flags & E), NO_RESULT, NO_RESULT];
    let domain = spec
        .dns
        .search
        .first()
        .map(|domain| domain.trim_matches('.'));
    let full = match domain {
        Some(domain) if !name.contains('.') => format!("{name}.{domain}"),
        _ => name.to_owned(),
    };
    if flags & E == 0 {
        bytes.extend(full.into_bytes());
    } else {
        let partial = !full.contains('.');
        bytes.extend(encode_names(&[full]));
        // A name that is not whole does not end (RFC 4702 section 2.3.1).
        if partial {
            bytes.pop();
        }
    }
    options.insert(option::FQDN, bytes);
}

/// The first label of what the client calls itself: by option 81, which counts
/// before 12 (RFC 4702 section 3.1).
fn of_client(request: &Request) -> Option<String> {
    let full = request.option(option::FQDN).and_then(first_label);
    let short = || request.option(option::HOST_NAME).and_then(sanitised);
    full.as_deref().and_then(sanitised).or_else(short)
}

/// The first label of option 81.
fn first_label(data: &[u8]) -> Option<Vec<u8>> {
    let [flags, _, _, name @ ..] = data else {
        return None;
    };
    if flags & E == 0 {
        return Some(name.to_vec());
    }
    let (length, rest) = name.split_first()?;
    rest.get(..usize::from(*length)).map(<[u8]>::to_vec)
}

/// The label of a host name that a stranger's text comes to: small letters,
/// digits and hyphens (RFC 1123 section 2.1); `None` where nothing is left, or
/// a name that every host has for itself.
fn sanitised(text: &[u8]) -> Option<String> {
    let label = text.split(|byte| *byte == b'.').next()?;
    let label = label.iter().take_while(|byte| **byte != 0).take(LABEL);
    let mapped: String = label
        .map(|byte| match byte {
            letter if letter.is_ascii_alphanumeric() => char::from(letter.to_ascii_lowercase()),
            _ => '-',
        })
        .collect();
    let name = mapped.trim_matches('-');
    (!name.is_empty() && name != "localhost").then(|| name.to_owned())
}

/// A name that follows from the address.
fn made_of(address: Ipv4Addr) -> Option<String> {
    let [a, b, c, d] = address.octets();
    (!address.is_unspecified()).then(|| format!("ip-{a}-{b}-{c}-{d}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_writes_comes_to_a_label_or_to_nothing() {
        let cases: [(&[u8], Option<&str>); 8] = [
            (b"Node_7.example.net", Some("node-7")),
            (b"a b\xc3\xa9\0junk", Some("a-b")),
            (b"--x--", Some("x")),
            (b"LOCALHOST.localdomain", None),
            (b"...", None),
            (b"\0", None),
            (b"", None),
            (b"$(reboot)", Some("reboot")),
        ];
        for (text, name) in cases {
            assert_eq!(sanitised(text).as_deref(), name, "{text:?}");
        }
        assert_eq!(sanitised(&[b'a'; 300]).map(|name| name.len()), Some(LABEL));
    }

    #[test]
    fn full_names_are_read_in_both_encodings() {
        assert_eq!(
            first_label(b"\0\0\0node.example"),
            Some(b"node.example".to_vec())
        );
        assert_eq!(
            first_label(b"\x05\0\0\x04node\x07example\0"),
            Some(b"node".to_vec())
        );
        assert_eq!(first_label(b"\x04\0\0\x09node"), None);
        assert_eq!(first_label(b"\x04\0\0"), None);
        assert_eq!(first_label(b"\x04"), None);
    }
}
