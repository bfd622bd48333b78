//! The Machine that discovery makes, and whether it is still as it was made.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::table::Who;
use crate::api::{GROUP, Interface, MAC_LABEL, Machine, MachineFacts, MachineSpec, SUBNET_LABEL};
use crate::boot::MacAddress;
use crate::clock::Millis;

/// The label of a Machine that discovery made; its value is `true`.
pub const DISCOVERED_LABEL: &str = "reveille.dev/discovered";
/// Longest value that a label may have.
const MAX_LABEL: usize = 63;

/// What the firmware of a machine told; text is printable and short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Facts {
    /// Its type (option 93), in IANA's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// Its vendor class (option 60).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor_class: Option<String>,
    /// Its user class (option 77).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_class: Option<String>,
    /// Its UUID (option 97).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Its host name (option 12).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
}

// === impl Facts ===

impl Facts {
    /// Takes over what `newer` says; what it is silent of stays.
    pub fn update(&mut self, newer: Self) {
        let take = |old: &mut Option<String>, new: Option<String>| {
            if new.is_some() {
                *old = new;
            }
        };
        take(&mut self.firmware, newer.firmware);
        take(&mut self.vendor_class, newer.vendor_class);
        take(&mut self.user_class, newer.user_class);
        take(&mut self.uuid, newer.uuid);
        take(&mut self.hostname, newer.hostname);
    }
}

/// The name of the Machine of a MAC address: `mac-52-54-00-12-34-56`.
#[must_use]
pub fn name_of(mac: MacAddress) -> String {
    format!("mac-{}", mac.hyphenated())
}

/// The Machine that discovery makes for `who`, seen on `subnet`: it waits.
#[must_use]
pub fn machine(who: &Who, subnet: &str) -> Machine {
    let mut labels = BTreeMap::from([
        (DISCOVERED_LABEL.to_owned(), "true".to_owned()),
        (MAC_LABEL.to_owned(), who.mac.hyphenated()),
    ]);
    if subnet.len() <= MAX_LABEL {
        labels.insert(SUBNET_LABEL.to_owned(), subnet.to_owned());
    }
    let mut machine = Machine::new(&name_of(who.mac), spec(who.mac));
    machine.metadata.namespace = Some(who.namespace.clone());
    machine.metadata.labels = Some(labels);
    machine
}

fn spec(mac: MacAddress) -> MachineSpec {
    MachineSpec {
        interfaces: vec![Interface {
            mac,
            ip: None,
            ipv6: None,
            hostname: None,
            netboot: true,
        }],
        approved: false,
        ..MachineSpec::default()
    }
}

/// Whether discovery made this Machine and nobody touched it since: only such
/// a one may be deleted. Who approved it and took that back has touched it,
/// since `generation` counts the changes of its spec.
#[must_use]
pub fn is_untouched(machine: &Machine) -> bool {
    let ObjectMeta {
        annotations,
        deletion_timestamp,
        finalizers,
        generation,
        labels,
        owner_references,
        ..
    } = &machine.metadata;
    let empty = BTreeMap::new();
    may_be_untouched(
        &machine.spec,
        labels.as_ref().unwrap_or(&empty),
        *generation,
    ) && annotations.as_ref().is_none_or(BTreeMap::is_empty)
        && finalizers.as_ref().is_none_or(Vec::is_empty)
        && owner_references.as_ref().is_none_or(Vec::is_empty)
        && deletion_timestamp.is_none()
}

/// [`is_untouched`], as far as spec, labels and generation show it.
#[must_use]
pub fn may_be_untouched(
    machine: &MachineSpec,
    labels: &BTreeMap<String, String>,
    generation: Option<i64>,
) -> bool {
    let [interface] = machine.interfaces.as_slice() else {
        return false;
    };
    let is_ours = |label: &String| {
        let prefix = label.split_once('/').map(|(prefix, _)| prefix);
        prefix == Some(GROUP)
    };
    labels.get(DISCOVERED_LABEL).map(String::as_str) == Some("true")
        && labels.keys().all(is_ours)
        && generation.is_none_or(|generation| generation <= 1)
        && *machine == spec(interface.mac)
}

/// What is written to `status.facts`.
#[must_use]
pub fn facts_of(
    facts: &Facts,
    subnet: &str,
    first: Millis,
    last: Millis,
    asked: u64,
) -> MachineFacts {
    let facts = facts.clone();
    MachineFacts {
        uuid: facts.uuid,
        vendor_class: facts.vendor_class,
        user_class: facts.user_class,
        firmware: facts.firmware,
        hostname: facts.hostname,
        subnet: Some(subnet.to_owned()),
        first_seen: time(first),
        last_seen: time(last),
        requests: Some(i64::try_from(asked).unwrap_or(i64::MAX)),
    }
}

/// A time as objects have it, in whole seconds; `None` past the year 9999.
#[must_use]
pub fn time(at: Millis) -> Option<Time> {
    let secs = i64::try_from(at.secs()).ok()?;
    Timestamp::from_second(secs).ok().map(Time)
}

/// [`time()`], read back.
#[must_use]
pub fn time_of(time: &Time) -> Option<Millis> {
    let secs = u64::try_from(time.0.as_second()).ok()?;
    Some(Millis::from_secs(secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> Machine {
        let who = Who {
            namespace: "edge".to_owned(),
            mac: MacAddress::new([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
        };
        machine(&who, "lab")
    }

    #[test]
    fn makes_a_machine_that_waits() {
        let json = serde_json::to_value(made()).unwrap();
        assert_eq!(json["metadata"]["name"], "mac-52-54-00-12-34-56");
        assert_eq!(json["metadata"]["labels"][DISCOVERED_LABEL], "true");
        assert_eq!(json["spec"]["approved"], false);
        assert_eq!(json["spec"]["interfaces"][0]["mac"], "52:54:00:12:34:56");
        let name = "n".repeat(64);
        let long = machine(
            &Who {
                namespace: String::new(),
                mac: MacAddress::new([2; 6]),
            },
            &name,
        );
        assert!(!long.metadata.labels.unwrap().contains_key(SUBNET_LABEL));
    }

    #[test]
    fn knows_which_machines_nobody_touched() {
        assert!(is_untouched(&made()));
        let touches: [fn(&mut Machine); 8] = [
            |it| it.spec.approved = true,
            |it| it.metadata.generation = Some(3),
            |it| it.spec.interfaces[0].hostname = Some("node".to_owned()),
            |it| {
                it.metadata
                    .labels
                    .get_or_insert_default()
                    .insert("role".to_owned(), "db".to_owned());
            },
            |it| it.metadata.labels = None,
            |it| {
                it.metadata
                    .annotations
                    .get_or_insert_default()
                    .insert("note".to_owned(), "mine".to_owned());
            },
            |it| it.metadata.finalizers = Some(vec!["example.net/mine".to_owned()]),
            |it| it.spec.params = [("a".to_owned(), "b".to_owned())].into(),
        ];
        for (number, touch) in touches.into_iter().enumerate() {
            let mut machine = made();
            touch(&mut machine);
            assert!(!is_untouched(&machine), "touch {number}");
        }
    }

    #[test]
    fn what_is_not_told_again_stays() {
        let text = |text: &str| Some(text.to_owned());
        let mut facts = Facts {
            uuid: text("u"),
            hostname: text("old"),
            ..Facts::default()
        };
        facts.update(Facts {
            hostname: text("new"),
            ..Facts::default()
        });
        assert_eq!((facts.uuid, facts.hostname), (text("u"), text("new")));
    }
}
