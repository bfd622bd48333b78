//! Leases as text: export and import as lines of JSON. Pure; see `kea` for
//! the leases of another server.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::record::{Lease, LeaseKey, LeaseState, MAX_CLIENT_ID, Record, unhex};
use super::v6::{Lease6, MAX_DUID};
use crate::api::{Cidr, Cidr6};
use crate::boot::MacAddress;

/// A lease of either kind, as one line of JSON has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AnyLease {
    /// Of an IPv4 address.
    V4(Lease),
    /// Of an IPv6 address.
    V6(Lease6),
}

/// The networks of the Subnets (`namespace/name`) that leases may belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Those of IPv4.
    pub v4: Vec<(String, Cidr)>,
    /// Those of IPv6.
    pub v6: Vec<(String, Cidr6)>,
}

/// What an import found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// The leases of the lines that can be read, in the order of addresses.
    pub leases: Vec<Lease>,
    /// The same of IPv6.
    pub leases6: Vec<Lease6>,
    /// The lines that cannot.
    pub problems: Vec<LineProblem>,
}

/// A line that cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {field}: {message}")]
pub struct LineProblem {
    /// Counts from 1.
    pub line: usize,
    /// The field, or `line` where it is none of them.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: String,
}

/// Text formats of leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line, as [`export`] writes them.
    Jsonl,
    /// The CSV file that Kea's memfile backend keeps, of IPv4 or IPv6.
    Kea,
}

impl Format {
    /// The format that `text` looks like: JSON lines begin with a brace.
    #[must_use]
    pub fn detect(text: &str) -> Self {
        match text.trim_start().chars().next() {
            Some('{') | None => Self::Jsonl,
            Some(_) => Self::Kea,
        }
    }
}

// === impl Networks ===

impl Networks {
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// The Subnet that has `address`; of overlapping ones the narrowest.
    pub(super) fn subnet_of(&self, address: impl Into<IpAddr>) -> Option<&str> {
        let narrowest = match address.into() {
            IpAddr::V4(address) => {
                let holding = self.v4.iter().filter(|(_, cidr)| cidr.contains(address));
                let found = holding.max_by_key(|(_, cidr)| cidr.net().prefix_len());
                found.map(|(name, _)| name)
            }
            IpAddr::V6(address) => {
                let holding = self.v6.iter().filter(|(_, cidr)| cidr.contains(address));
                let found = holding.max_by_key(|(_, cidr)| cidr.net().prefix_len());
                found.map(|(name, _)| name)
            }
        };
        narrowest.map(String::as_str)
    }
}

/// A lease as one line of JSON, without the line's end. Times are RFC 3339 in UTC.
///
/// # Errors
/// None in practice: every lease can be written as JSON.
pub fn export(lease: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string(lease)
}

/// Reads what [`export`] wrote. A line that cannot be read costs only itself;
/// of two lines for one address the later counts. The Subnet of a lease is
/// the one of `networks` that has its address, else the one it names.
#[must_use]
pub fn import_jsonl(text: &str, networks: &Networks) -> Imported {
    let mut found = Imported::default();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match read_line(line) {
            Ok(AnyLease::V4(mut lease)) => {
                if let Some(name) = networks.subnet_of(lease.address) {
                    lease.subnet = name.into();
                }
                found.leases.push(kept(lease));
            }
            Ok(AnyLease::V6(mut lease)) => {
                if let Some(name) = networks.subnet_of(lease.address) {
                    lease.subnet = name.into();
                }
                found.leases6.push(kept(lease));
            }
            Err((field, message)) => {
                let line = index + 1;
                found.problems.push(LineProblem {
                    line,
                    field,
                    message,
                });
            }
        }
    }
    found.leases = last_of_each(found.leases);
    found.leases6 = last_of_each(found.leases6);
    found
}

/// The lease in `line`, or the field that makes it unreadable and why.
fn read_line(line: &str) -> Result<AnyLease, (&'static str, String)> {
    let error = match serde_json::from_str(line) {
        Ok(lease) => return Ok(AnyLease::V4(lease)),
        Err(error) => error,
    };
    let object: Option<Value> = serde_json::from_str(line).ok();
    let address = object.as_ref().and_then(|it| it.get("address")?.as_str());
    if address.is_some_and(|address| address.contains(':')) {
        let lease = serde_json::from_str(line).map(AnyLease::V6);
        return lease.map_err(|error| diagnose(object.as_ref(), &error, &CHECKS6));
    }
    Err(diagnose(object.as_ref(), &error, &CHECKS))
}

/// `lease` as it is kept: only memories and promises are.
fn kept<L: Record>(lease: L) -> L {
    if lease.state().is_durable() {
        lease
    } else {
        lease.in_state(LeaseState::Released)
    }
}

/// The last lease of each address, in the order of addresses.
fn last_of_each<L: Record>(leases: Vec<L>) -> Vec<L> {
    let by_address: BTreeMap<_, _> = leases
        .into_iter()
        .map(|lease| (lease.address(), lease))
        .collect();
    by_address.into_values().collect()
}

/// The fields of a line, and what each must be.
const CHECKS: [(&str, Check); 9] = [
    ("address", complaint::<Ipv4Addr>),
    ("key", complaint::<LeaseKey>),
    ("mac", complaint::<MacAddress>),
    ("clientId", client_id_complaint),
    ("hostname", complaint::<String>),
    ("subnet", complaint::<String>),
    ("state", complaint::<LeaseState>),
    ("since", complaint::<Timestamp>),
    ("expires", complaint::<Timestamp>),
];

/// The same of a line about an IPv6 address.
const CHECKS6: [(&str, Check); 9] = [
    ("address", complaint::<Ipv6Addr>),
    ("key", complaint::<LeaseKey>),
    ("mac", complaint::<MacAddress>),
    ("duid", duid_complaint),
    ("iaid", complaint::<u32>),
    ("subnet", complaint::<String>),
    ("state", complaint::<LeaseState>),
    ("since", complaint::<Timestamp>),
    ("expires", complaint::<Timestamp>),
];

/// The field that makes a line unreadable and why, field by field: the
/// reader's own message does not always name it.
fn diagnose(
    object: Option<&Value>,
    error: &serde_json::Error,
    checks: &[(&'static str, Check)],
) -> (&'static str, String) {
    let wrong = object.and_then(|object| {
        checks
            .iter()
            .find_map(|(field, check)| Some((*field, check(object.get(field)?)?)))
    });
    wrong.unwrap_or_else(|| {
        let text = error.to_string();
        let missing = |(field, _): &&(&str, _)| text.contains(&format!("missing field `{field}`"));
        let field = checks.iter().find(missing).map(|(field, _)| *field);
        // The reader saw one line only, so its line number says nothing.
        let message = match text.split_once(" at line 1 column ") {
            Some((message, column)) => format!("{message} (column {column})"),
            None => text.clone(),
        };
        (field.unwrap_or("line"), message)
    })
}

/// What is wrong with a value, if anything.
type Check = fn(&Value) -> Option<String>;

fn client_id_complaint(value: &Value) -> Option<String> {
    let id = value.as_str().and_then(unhex);
    let fits = id.is_some_and(|id| id.len() <= MAX_CLIENT_ID);
    (!fits).then(|| format!("{value} is not up to {MAX_CLIENT_ID} bytes in hex"))
}

fn duid_complaint(value: &Value) -> Option<String> {
    let duid = value.as_str().and_then(unhex);
    let fits = duid.is_some_and(|duid| duid.len() <= MAX_DUID);
    (!fits).then(|| format!("{value} is not up to {MAX_DUID} bytes in hex"))
}

fn complaint<T: DeserializeOwned>(value: &Value) -> Option<String> {
    let read: Result<T, _> = serde_json::from_value(value.clone());
    read.err().map(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::LeaseState;

    const ONE: &str = r#"{"address":"10.33.1.100","key":"52:54:00:00:00:01","mac":"52:54:00:00:00:01","hostname":"node-7","subnet":"default/lab","state":"bound","since":"2026-01-01T00:00:00Z","expires":"2026-01-01T01:06:40Z"}"#;

    const SIX: &str = r#"{"address":"2001:db8:33::100","key":"52:54:00:00:00:01","mac":"52:54:00:00:00:01","duid":"00030001525400000001","iaid":7,"subnet":"default/lab","state":"bound","since":"2026-01-01T00:00:00Z","expires":"2026-01-01T01:06:40Z"}"#;

    fn none() -> Networks {
        Networks::default()
    }

    #[test]
    fn an_export_reads_back_as_it_was() {
        let found = import_jsonl(&format!("{SIX}\n{ONE}"), &none());
        assert_eq!(found.problems, vec![]);
        assert_eq!(export(&found.leases[0]).unwrap(), ONE);
        assert_eq!(found.leases[0].state, LeaseState::Bound);
        assert_eq!(export(&found.leases6[0]).unwrap(), SIX);
        let lines: Vec<AnyLease> = [ONE, SIX]
            .map(|it| serde_json::from_str(it).unwrap())
            .into();
        let [AnyLease::V4(_), AnyLease::V6(_)] = lines.as_slice() else {
            panic!("{lines:?}");
        };
    }

    #[test]
    fn a_bad_line_about_an_ipv6_address_is_told_by_its_own_fields() {
        let text = [
            &SIX.replace("33::100", "33::g"),
            &SIX.replace("0003000152540000000", "x"),
            &SIX.replace(r#""iaid":7,"#, ""),
            &SIX.replace("iaid", "hostname"),
            SIX,
        ]
        .join("\n");
        let found = import_jsonl(&text, &none());
        assert_eq!((found.leases.len(), found.leases6.len()), (0, 1));
        let lines: Vec<_> = found.problems.iter().map(|p| (p.line, p.field)).collect();
        assert_eq!(
            lines,
            [(1, "address"), (2, "duid"), (3, "iaid"), (4, "line")]
        );
    }

    #[test]
    fn times_may_have_an_offset() {
        let line = ONE.replace("00:00:00Z", "02:00:00+02:00");
        assert_eq!(import_jsonl(&line, &none()), import_jsonl(ONE, &none()));
    }

    #[test]
    fn a_bad_line_is_named_and_the_good_ones_are_kept() {
        let text = [
            ONE,
            &ONE.replace("10.33.1.100", "10.33.1"),
            "",
            &ONE.replace("52:54:00:00:00:01", "5254"),
            &ONE.replace(r#""state":"bound","#, ""),
            &ONE.replace("hostname", "hostnam"),
            "{",
            &ONE.replace("hostname", "clientId"),
            &ONE.replace("1.100", "1.101"),
        ]
        .join("\n");
        let found = import_jsonl(&text, &none());
        assert_eq!(found.leases.len(), 2);
        let lines: Vec<_> = found.problems.iter().map(|p| (p.line, p.field)).collect();
        assert_eq!(
            lines,
            [
                (2, "address"),
                (4, "key"),
                (5, "state"),
                (6, "line"),
                (7, "line"),
                (8, "clientId")
            ]
        );
        assert!(found.problems[3].message.contains("hostnam"));
    }

    #[test]
    fn the_subnet_is_the_one_that_has_the_address_now() {
        let networks = Networks {
            v4: vec![
                ("a/wide".to_owned(), "10.33.0.0/16".parse().unwrap()),
                ("a/narrow".to_owned(), "10.33.1.0/24".parse().unwrap()),
            ],
            v6: vec![("a/six".to_owned(), "2001:db8:33::/64".parse().unwrap())],
        };
        assert_eq!(&*import_jsonl(ONE, &networks).leases[0].subnet, "a/narrow");
        assert_eq!(&*import_jsonl(SIX, &networks).leases6[0].subnet, "a/six");
        assert_eq!(&*import_jsonl(ONE, &none()).leases[0].subnet, "default/lab");
    }

    #[test]
    fn of_two_lines_for_one_address_the_later_counts() {
        let text = format!("{ONE}\n{}", ONE.replace("node-7", "node-8"));
        let found = import_jsonl(&text, &none());
        assert_eq!(found.leases.len(), 1);
        assert_eq!(found.leases[0].hostname.as_deref(), Some("node-8"));
    }

    #[test]
    fn formats_are_told_apart_by_their_first_character() {
        assert_eq!(Format::detect(ONE), Format::Jsonl);
        assert_eq!(Format::detect("address,hwaddr"), Format::Kea);
        assert_eq!(Format::detect(""), Format::Jsonl);
    }
}
