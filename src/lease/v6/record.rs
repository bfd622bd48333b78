//! One IPv6 lease.

use std::net::Ipv6Addr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::record::{
    Change, LeaseKey, LeaseState, Record, from_timestamp, hex, to_timestamp, unhex,
};
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
    /// The Subnet, as `namespace/name`; its leases share one text.
    pub subnet: Arc<str>,
    /// What the record says.
    pub state: LeaseState,
    /// Since when this machine has the address.
    pub since: Millis,
    /// Nobody else may have the address before this, whatever the state.
    pub expires: Millis,
}

/// A change of the table.
pub type Change6 = Change<Lease6>;

/// A lease as one line of JSON: how databases of before have it.
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

/// Whose a lease is where the MAC address of the interface is not known for
/// certain: that of DUID and IAID (RFC 8415 section 12).
#[must_use]
pub fn association_key(duid: &[u8], iaid: u32) -> LeaseKey {
    LeaseKey::ClientId([duid, &iaid.to_be_bytes()].concat().into())
}

/// DUID and IAID of a key that [`association_key`] made.
#[must_use]
pub fn association_of(key: &LeaseKey) -> Option<(&[u8], u32)> {
    let LeaseKey::ClientId(id) = key else {
        return None;
    };
    let (duid, iaid) = id.split_last_chunk::<4>()?;
    Some((duid, u32::from_be_bytes(*iaid)))
}

// === impl Lease6 ===

impl Record for Lease6 {
    type Address = Ipv6Addr;
    const RANGE: (Ipv6Addr, Ipv6Addr) = (Ipv6Addr::UNSPECIFIED, Ipv6Addr::from_bits(u128::MAX));

    fn address(&self) -> Ipv6Addr {
        self.address
    }

    fn key(&self) -> &LeaseKey {
        &self.key
    }

    fn mac(&self) -> Option<MacAddress> {
        self.mac
    }

    fn subnet(&self) -> &Arc<str> {
        &self.subnet
    }

    fn state(&self) -> LeaseState {
        self.state
    }

    fn expires(&self) -> Millis {
        self.expires
    }

    fn in_state(&self, state: LeaseState) -> Self {
        Self {
            state,
            ..self.clone()
        }
    }

    fn in_subnet(&self, subnet: Arc<str>) -> Self {
        Self {
            subnet,
            ..self.clone()
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
            subnet: line.subnet.into(),
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
            subnet: lease.subnet.to_string(),
            state: lease.state,
            since: to_timestamp(lease.since),
            expires: to_timestamp(lease.expires),
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
            subnet: "default/lab".into(),
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
