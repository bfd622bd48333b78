//! Leases as text: export and import as lines of JSON. Pure; see `kea` for
//! the leases of another server.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::record::{Lease, LeaseKey, LeaseState, MAX_CLIENT_ID, unhex};
use crate::api::Cidr;
use crate::boot::MacAddress;

/// What an import found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// The leases of the lines that can be read, in the order of addresses.
    pub leases: Vec<Lease>,
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
    /// The CSV file that Kea's memfile backend keeps.
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

/// `lease` as one line of JSON, without the line's end. Times are RFC 3339 in UTC.
///
/// # Errors
/// None in practice: every lease can be written as JSON.
pub fn export(lease: &Lease) -> Result<String, serde_json::Error> {
    serde_json::to_string(lease)
}

/// Reads what [`export`] wrote. A line that cannot be read costs only itself;
/// of two lines for one address the later counts. The Subnet of a lease is
/// the one among `subnets` (`namespace/name` and network) that has its
/// address, else the one it names.
#[must_use]
pub fn import_jsonl(text: &str, subnets: &[(String, Cidr)]) -> Imported {
    let mut found = Imported::default();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str::<Lease>(line) {
            Ok(mut lease) => {
                if let Some(name) = subnet_of(lease.address, subnets) {
                    lease.subnet = name.into();
                }
                if !lease.state.is_durable() {
                    // Only memories and promises are kept.
                    lease.state = LeaseState::Released;
                }
                found.leases.push(lease);
            }
            Err(error) => {
                let (field, message) = diagnose(line, &error);
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
    found
}

/// The Subnet that has `address`; of overlapping ones the narrowest.
pub(super) fn subnet_of(address: Ipv4Addr, subnets: &[(String, Cidr)]) -> Option<&str> {
    let holding = subnets.iter().filter(|(_, cidr)| cidr.contains(address));
    holding
        .max_by_key(|(_, cidr)| cidr.net().prefix_len())
        .map(|(name, _)| name.as_str())
}

/// The last lease of each address, in the order of addresses.
fn last_of_each(leases: Vec<Lease>) -> Vec<Lease> {
    let by_address: BTreeMap<_, _> = leases
        .into_iter()
        .map(|lease| (lease.address, lease))
        .collect();
    by_address.into_values().collect()
}

/// The field that makes `line` unreadable and why, field by field: the
/// reader's own message does not always name it.
fn diagnose(line: &str, error: &serde_json::Error) -> (&'static str, String) {
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
    let object: Option<Value> = serde_json::from_str(line).ok();
    let wrong = object.and_then(|object| {
        CHECKS
            .iter()
            .find_map(|(field, check)| Some((*field, check(object.get(field)?)?)))
    });
    wrong.unwrap_or_else(|| {
        let text = error.to_string();
        let missing = |(field, _): &&(&str, _)| text.contains(&format!("missing field `{field}`"));
        let field = CHECKS.iter().find(missing).map(|(field, _)| *field);
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

fn complaint<T: DeserializeOwned>(value: &Value) -> Option<String> {
    let read: Result<T, _> = serde_json::from_value(value.clone());
    read.err().map(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::LeaseState;

    const ONE: &str = r#"{"address":"10.33.1.100","key":"52:54:00:00:00:01","mac":"52:54:00:00:00:01","hostname":"node-7","subnet":"default/lab","state":"bound","since":"2026-01-01T00:00:00Z","expires":"2026-01-01T01:06:40Z"}"#;

    #[test]
    fn an_export_reads_back_as_it_was() {
        let found = import_jsonl(ONE, &[]);
        assert_eq!(found.problems, vec![]);
        assert_eq!(export(&found.leases[0]).unwrap(), ONE);
        assert_eq!(found.leases[0].state, LeaseState::Bound);
    }

    #[test]
    fn times_may_have_an_offset() {
        let line = ONE.replace("00:00:00Z", "02:00:00+02:00");
        assert_eq!(import_jsonl(&line, &[]), import_jsonl(ONE, &[]));
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
        let found = import_jsonl(&text, &[]);
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
        let subnets = [
            ("a/wide".to_owned(), "10.33.0.0/16".parse().unwrap()),
            ("a/narrow".to_owned(), "10.33.1.0/24".parse().unwrap()),
        ];
        assert_eq!(&*import_jsonl(ONE, &subnets).leases[0].subnet, "a/narrow");
        assert_eq!(&*import_jsonl(ONE, &[]).leases[0].subnet, "default/lab");
    }

    #[test]
    fn of_two_lines_for_one_address_the_later_counts() {
        let text = format!("{ONE}\n{}", ONE.replace("node-7", "node-8"));
        let found = import_jsonl(&text, &[]);
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
