//! One IPv6 lease.

use std::net::Ipv6Addr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::record::{LeaseKey, LeaseState, from_timestamp, hex, to_timestamp, unhex};
use crate::boot::MacAddress;
use crate::clock::Millis;

/// Longest DUID, in bytes: a type and 128 (RFC 8415 section 11.1).
pub const MAX_DUID: usize = 130;

/// What is known of one IPv6 address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Line", into = "Line")]
pub struct Lease6 {
    /// The address.
    pub address: Ipv6Addr,
    /// Whom it belongs to; means nothing while it is declined.
    pub key: LeaseKey,
    /// The machine's MAC address, where one is known.
    pub mac: Option<MacAddress>,
    /// The DUID of who asked last (option 1).
    pub duid: Vec<u8>,
    /// The identity association that it was asked for (IAID).
    pub iaid: u32,
    /// The Subnet, as `namespace/name`.
    pub subnet: String,
    /// What the record says.
    pub state: LeaseState,
    /// Since when this machine has the address.
    pub since: Millis,
    /// Nobody else may have the address before this, whatever the state.
    pub expires: Millis,
}

/// A change of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change6 {
    /// This is now what is known of its address.
    Put(Arc<Lease6>),
    /// Nothing is known of the address any more.
    Remove(Ipv6Addr),
}

/// A lease as one line of JSON: how it is stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    address: Ipv6Addr,
    key: LeaseKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mac: Option<MacAddress>,
    duid: String,
    iaid: u32,
    subnet: String,
    state: LeaseState,
    since: Timestamp,
    expires: Timestamp,
}

// === impl Lease6 ===

impl Lease6 {
    /// Whether its address may go to somebody else at `now`.
    #[must_use]
    pub fn is_free(&self, now: Millis) -> bool {
        self.expires <= now
    }

    /// Whether the record belongs to `key`. A declined one belongs to nobody.
    #[must_use]
    pub fn belongs_to(&self, key: &LeaseKey) -> bool {
        self.state != LeaseState::Declined && self.key == *key
    }

    /// The state at `now`, before the sweep comes by.
    #[must_use]
    pub fn state_at(&self, now: Millis) -> LeaseState {
        if self.state == LeaseState::Bound && self.is_free(now) {
            LeaseState::Expired
        } else {
            self.state
        }
    }
}

impl TryFrom<Line> for Lease6 {
    type Error = &'static str;

    fn try_from(line: Line) -> Result<Self, Self::Error> {
        let duid = unhex(&line.duid).ok_or("duid: not hex digits in pairs")?;
        if duid.len() > MAX_DUID {
            return Err("duid: longer than 130 bytes");
        }
        Ok(Self {
            address: line.address,
            key: line.key,
            mac: line.mac,
            duid,
            iaid: line.iaid,
            subnet: line.subnet,
            state: line.state,
            since: from_timestamp(line.since),
            expires: from_timestamp(line.expires),
        })
    }
}

impl From<Lease6> for Line {
    fn from(lease: Lease6) -> Self {
        Self {
            address: lease.address,
            key: lease.key,
            mac: lease.mac,
            duid: hex(&lease.duid),
            iaid: lease.iaid,
            subnet: lease.subnet,
            state: lease.state,
            since: to_timestamp(lease.since),
            expires: to_timestamp(lease.expires),
        }
    }
}

// === impl Change6 ===

impl Change6 {
    /// What is now known of its address.
    pub fn put(lease: impl Into<Arc<Lease6>>) -> Self {
        Self::Put(lease.into())
    }

    /// Whether the change must reach the disk before a promise that rests on
    /// it is made.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        match self {
            Self::Put(lease) => lease.state.is_durable(),
            Self::Remove(_) => true,
        }
    }

    /// The address it is about.
    #[must_use]
    pub fn address(&self) -> Ipv6Addr {
        match self {
            Self::Put(lease) => lease.address,
            Self::Remove(address) => *address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_reads_back_as_it_was_written() {
        let lease = Lease6 {
            address: "2001:db8::100".parse().unwrap(),
            key: LeaseKey::Mac(MacAddress::new([0x52, 0x54, 0, 0, 0, 1])),
            mac: Some(MacAddress::new([0x52, 0x54, 0, 0, 0, 1])),
            duid: vec![0, 3, 0, 1],
            iaid: 7,
            subnet: "default/lab".to_owned(),
            state: LeaseState::Bound,
            since: Millis(1_700_000_000_123),
            expires: Millis(1_700_004_000_123),
        };
        let text = serde_json::to_string(&lease).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"address":"2001:db8::100","key":"52:54:00:00:00:01","mac":"52:54:00:00:00:01","#,
                r#""duid":"00030001","iaid":7,"subnet":"default/lab","state":"bound","#,
                r#""since":"2023-11-14T22:13:20.123Z","expires":"2023-11-14T23:20:00.123Z"}"#
            )
        );
        assert_eq!(serde_json::from_str::<Lease6>(&text).unwrap(), lease);
        let long = text.replace("00030001", &"00".repeat(MAX_DUID + 1));
        assert!(serde_json::from_str::<Lease6>(&long).is_err());
    }
}
