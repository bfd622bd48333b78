//! A record of the election as a Lease object, and back.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

use super::record::Record;

/// Who writes, in `metadata.managedFields`.
pub const FIELD_MANAGER: &str = "reveille";
/// Annotations that say which term each replica has made way for:
/// `leader.reveille.dev/replica-1: "7"`.
pub const KNOWN_PREFIX: &str = "leader.reveille.dev/replica-";

/// Annotations that say from which addresses each replica serves DHCP:
/// `leader.reveille.dev/servers-1: "192.0.2.1,198.51.100.1"`.
pub const SERVERS_PREFIX: &str = "leader.reveille.dev/servers-";
/// Most addresses of one replica that are written or believed.
const MAX_SERVERS: usize = 256;

/// What `lease` says. Nonsense in a field reads as its most careful value.
pub(super) fn record_of(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let meta = &lease.metadata;
    let time = |time: &Option<MicroTime>| time.as_ref().map_or(Timestamp::UNIX_EPOCH, |at| at.0);
    let annotations = || meta.annotations.iter().flatten();
    Record {
        uid: meta.uid.clone().unwrap_or_default(),
        version: meta.resource_version.clone().unwrap_or_default(),
        holder: spec.holder_identity.unwrap_or_default(),
        lease_secs: positive(spec.lease_duration_seconds),
        acquired: time(&spec.acquire_time),
        renewed: time(&spec.renew_time),
        term: positive(spec.lease_transitions),
        known: annotations()
            .filter_map(|(name, term)| {
                let ordinal = name.strip_prefix(KNOWN_PREFIX)?.parse().ok()?;
                Some((ordinal, term.parse().ok()?))
            })
            .collect(),
        servers: annotations()
            .filter_map(|(name, servers)| {
                let ordinal = name.strip_prefix(SERVERS_PREFIX)?.parse().ok()?;
                let servers = servers.split(',').take(MAX_SERVERS);
                let servers: BTreeSet<_> = servers.filter_map(|it| it.parse().ok()).collect();
                Some((ordinal, servers))
            })
            .collect(),
    }
}

/// `record` as an object. What people wrote on `before` stays.
pub(super) fn lease_of(record: &Record, name: &str, before: Option<&Lease>) -> Lease {
    let mut lease = before.cloned().unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        spec: None,
    });
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    lease.metadata.uid = some(&record.uid);
    lease.metadata.resource_version = some(&record.version);
    lease.metadata.managed_fields = None;
    let annotations = lease.metadata.annotations.get_or_insert_with(BTreeMap::new);
    annotations
        .retain(|name, _| !name.starts_with(KNOWN_PREFIX) && !name.starts_with(SERVERS_PREFIX));
    annotations.extend(
        record
            .known
            .iter()
            .map(|(ordinal, term)| (format!("{KNOWN_PREFIX}{ordinal}"), term.to_string())),
    );
    annotations.extend(record.servers.iter().map(|(ordinal, servers)| {
        let servers: Vec<_> = servers
            .iter()
            .take(MAX_SERVERS)
            .map(ToString::to_string)
            .collect();
        (format!("{SERVERS_PREFIX}{ordinal}"), servers.join(","))
    }));
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    spec.holder_identity = Some(record.holder.clone());
    spec.lease_duration_seconds = i32::try_from(record.lease_secs).ok();
    spec.acquire_time = Some(MicroTime(record.acquired));
    spec.renew_time = Some(MicroTime(record.renewed));
    spec.lease_transitions = i32::try_from(record.term).ok();
    lease
}

fn positive(number: Option<i32>) -> u32 {
    number
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_what_people_wrote_stays() {
        let record = Record {
            uid: "u".to_owned(),
            version: "7".to_owned(),
            holder: "edge-0_ab".to_owned(),
            lease_secs: 15,
            acquired: "2026-01-01T00:00:00.000001Z".parse().unwrap(),
            renewed: "2026-01-01T00:00:02.5Z".parse().unwrap(),
            term: 3,
            known: [(1, 3)].into(),
            servers: [(0, [[192, 0, 2, 1].into(), [10, 0, 0, 1].into()].into())].into(),
        };
        let mut before = Lease::default();
        let annotations = before.metadata.annotations.get_or_insert_default();
        annotations.insert("note".to_owned(), "mine".to_owned());
        annotations.insert(format!("{KNOWN_PREFIX}1"), "2".to_owned());
        annotations.insert(format!("{KNOWN_PREFIX}2"), "2".to_owned());
        let lease = lease_of(&record, "reveille", Some(&before));
        assert_eq!(record_of(&lease), record);
        let kept = lease.metadata.annotations.unwrap();
        assert_eq!(kept.get("note").map(String::as_str), Some("mine"));
    }

    #[test]
    fn nonsense_is_read_with_care() {
        let spec = LeaseSpec {
            lease_duration_seconds: Some(-5),
            lease_transitions: Some(-1),
            ..LeaseSpec::default()
        };
        let mut lease = Lease {
            spec: Some(spec),
            ..Lease::default()
        };
        let annotations = lease.metadata.annotations.get_or_insert_default();
        annotations.insert(format!("{KNOWN_PREFIX}x"), "1".to_owned());
        annotations.insert(format!("{KNOWN_PREFIX}1"), "-1".to_owned());
        annotations.insert(format!("{SERVERS_PREFIX}1"), "10.0.0.1,no".to_owned());
        let record = record_of(&lease);
        assert_eq!((record.lease_secs, record.term), (0, 0));
        assert!(record.known.is_empty() && !record.is_released());
        assert_eq!(record.servers, [(1, [[10, 0, 0, 1].into()].into())].into());
    }
}
