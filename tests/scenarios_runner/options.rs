//! Options by name: their bytes for a request, their text for a diff. Stands
//! on no code of the product, so that a mistake there shows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::book::{Options, Value};

/// How the bytes of an option read.
#[derive(Clone, Copy)]
enum Form {
    Addresses,
    Text,
    /// Big-endian numbers of so many bytes.
    Numbers(usize),
    Bytes,
}

/// Names as in RFC 2132 and the RFCs that came after it.
const NAMES: [(&str, u8, Form); 50] = [
    ("subnet-mask", 1, Form::Addresses),
    ("time-offset", 2, Form::Numbers(4)),
    ("routers", 3, Form::Addresses),
    ("dns-servers", 6, Form::Addresses),
    ("log-servers", 7, Form::Addresses),
    ("host-name", 12, Form::Text),
    ("domain-name", 15, Form::Text),
    ("mtu", 26, Form::Numbers(2)),
    ("broadcast-address", 28, Form::Addresses),
    ("static-routes", 33, Form::Addresses),
    ("ntp-servers", 42, Form::Addresses),
    ("vendor-options", 43, Form::Bytes),
    ("requested-address", 50, Form::Addresses),
    ("lease-time", 51, Form::Numbers(4)),
    ("overload", 52, Form::Numbers(1)),
    ("message-type", 53, Form::Numbers(1)),
    ("server-id", 54, Form::Addresses),
    ("parameter-list", 55, Form::Numbers(1)),
    ("message", 56, Form::Text),
    ("max-size", 57, Form::Numbers(2)),
    ("renewal-time", 58, Form::Numbers(4)),
    ("rebinding-time", 59, Form::Numbers(4)),
    ("vendor-class", 60, Form::Text),
    ("client-id", 61, Form::Bytes),
    ("tftp-server", 66, Form::Text),
    ("boot-file", 67, Form::Text),
    ("user-class", 77, Form::Text),
    ("fqdn", 81, Form::Bytes),
    ("relay-info", 82, Form::Bytes),
    ("last-transaction", 91, Form::Numbers(4)),
    ("associated-ip", 92, Form::Addresses),
    ("architecture", 93, Form::Numbers(2)),
    ("interface-id", 94, Form::Bytes),
    ("machine-id", 97, Form::Bytes),
    ("captive-portal", 114, Form::Text),
    ("subnet-selection", 118, Form::Addresses),
    ("domain-search", 119, Form::Bytes),
    ("routes", 121, Form::Bytes),
    ("option-128", 128, Form::Bytes),
    ("option-129", 129, Form::Bytes),
    ("tftp-addresses", 150, Form::Addresses),
    ("ipxe", 175, Form::Bytes),
    ("option-223", 223, Form::Bytes),
    ("option-224", 224, Form::Bytes),
    ("option-249", 249, Form::Bytes),
    ("option-254", 254, Form::Bytes),
    ("vendor-124", 124, Form::Bytes),
    ("vendor-125", 125, Form::Bytes),
    ("capwap", 138, Form::Addresses),
    ("option-252", 252, Form::Text),
];

/// The bytes of named options by code; `None` where one must be absent.
pub(crate) fn encode(options: &Options) -> Result<BTreeMap<u8, Option<Vec<u8>>>, String> {
    options
        .iter()
        .map(|(name, value)| {
            let known = NAMES.iter().find(|(known, ..)| known == name);
            let (_, code, form) = known.ok_or_else(|| format!("no option is called {name}"))?;
            Ok((*code, bytes(*form, value)?))
        })
        .collect()
}

/// How an option is called.
pub(crate) fn name(code: u8) -> String {
    let known = NAMES.iter().find(|(_, known, _)| *known == code);
    known.map_or_else(
        || format!("option {code}"),
        |(name, ..)| format!("option {code} {name}"),
    )
}

/// The bytes of an option for a person: as they read, and in hex.
pub(crate) fn show(code: u8, data: &[u8]) -> String {
    let form = NAMES.iter().find(|(_, known, _)| *known == code);
    let text = match form.map_or(Form::Bytes, |(.., form)| *form) {
        Form::Addresses => join(data.chunks(4).map(|part| match part {
            [a, b, c, d] => Ipv4Addr::new(*a, *b, *c, *d).to_string(),
            rest => hex(rest),
        })),
        Form::Text => format!("{:?}", String::from_utf8_lossy(data)),
        Form::Numbers(size) => join(data.chunks(size).map(|part| {
            let number = part.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
            number.to_string()
        })),
        Form::Bytes => String::new(),
    };
    format!("{text} [{}]", hex(data)).trim().to_owned()
}

/// Bytes from hex digits; white space and `#` comments do not count.
pub(crate) fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u32> = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .flat_map(str::chars)
        .filter(|c| !c.is_whitespace() && *c != ':')
        .map(|c| {
            c.to_digit(16)
                .ok_or_else(|| format!("`{c}` is no hex digit"))
        })
        .collect::<Result<_, _>>()?;
    if !digits.len().is_multiple_of(2) {
        return Err("half a byte is left over".to_owned());
    }
    let byte = |pair: &[u32]| u8::try_from(pair.iter().fold(0, |all, digit| all << 4 | digit));
    Ok(digits.chunks(2).map(|pair| byte(pair).unwrap()).collect())
}

pub(crate) fn hex(data: &[u8]) -> String {
    data.iter().fold(String::new(), |mut all, byte| {
        let _ = write!(all, "{byte:02x}");
        all
    })
}

fn bytes(form: Form, value: &Value) -> Result<Option<Vec<u8>>, String> {
    let wrong = || format!("{value:?} does not fit the option");
    Ok(Some(match (value, form) {
        (Value::Nothing(()), _) => return Ok(None),
        (Value::List(values), _) => {
            let mut all = Vec::new();
            for value in values {
                all.extend(bytes(form, value)?.ok_or_else(wrong)?);
            }
            all
        }
        (Value::Text(text), form) => match (text.strip_prefix("hex:"), form) {
            (Some(digits), _) => unhex(digits)?,
            (None, Form::Addresses) => {
                let address: Ipv4Addr = text.parse().map_err(|_| wrong())?;
                address.octets().to_vec()
            }
            (None, Form::Text) => text.as_bytes().to_vec(),
            (None, Form::Numbers(_) | Form::Bytes) => return Err(wrong()),
        },
        (Value::Number(number), Form::Numbers(size)) => {
            let (zero, rest) = {
                let all = number.to_be_bytes();
                (all[..4 - size].to_vec(), all[4 - size..].to_vec())
            };
            if zero.iter().any(|byte| *byte != 0) {
                return Err(wrong());
            }
            rest
        }
        (Value::Number(_), Form::Addresses | Form::Text | Form::Bytes) => return Err(wrong()),
    }))
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}
