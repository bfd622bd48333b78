//! What a row of the lease database says of its lease.
//!
//! A byte that names the form, then the fields by postcard: a million rows are read at a start,
//! and a tenth of the time that lines of JSON take is what a start has. Lines of JSON, which
//! begin with a brace, are read all the same.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::record::{Lease, LeaseKey, LeaseState, MAX_CLIENT_ID};
use super::v6::{Lease6, MAX_DUID};
use crate::boot::MacAddress;
use crate::clock::Millis;

/// The first byte of a row in the form below; no text of JSON begins so.
const FORM: u8 = 1;

/// A lease that a row can hold.
pub(super) trait Form: DeserializeOwned {
    /// Its address, which the key of its row tells.
    type At;

    /// What its row says.
    fn to_row(&self) -> Result<Vec<u8>, postcard::Error>;

    /// What the fields say of the lease with `address`; `None` where
    /// they are no lease.
    fn of_fields(address: Self::At, fields: &[u8]) -> Option<Self>;
}

/// The fields of an IPv4 lease; its address is the key of the row.
#[derive(Serialize, Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    key: Key<'a>,
    mac: Option<[u8; 6]>,
    #[serde(borrow)]
    client_id: Option<&'a [u8]>,
    subnet: &'a str,
    #[serde(borrow)]
    hostname: Option<&'a str>,
    state: LeaseState,
    since: u64,
    expires: u64,
}

/// The same of IPv6.
#[derive(Serialize, Deserialize)]
struct Fields6<'a> {
    #[serde(borrow)]
    key: Key<'a>,
    mac: Option<[u8; 6]>,
    duid: &'a [u8],
    iaid: u32,
    subnet: &'a str,
    state: LeaseState,
    since: u64,
    expires: u64,
}

#[derive(Serialize, Deserialize)]
enum Key<'a> {
    Mac([u8; 6]),
    ClientId(&'a [u8]),
}

/// The lease in the row of the address `at`, in whichever form it is; `None` where
/// there is none that can be read.
pub(super) fn read<L: Form>(at: L::At, row: &[u8]) -> Option<L> {
    match row {
        [FORM, fields @ ..] => L::of_fields(at, fields),
        line => serde_json::from_slice(line).ok(),
    }
}

fn row(fields: &impl Serialize) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_extend(fields, vec![FORM])
}

// === impl Form ===

impl Form for Lease {
    type At = Ipv4Addr;

    fn to_row(&self) -> Result<Vec<u8>, postcard::Error> {
        row(&Fields {
            key: Key::of(&self.key),
            mac: self.mac.map(|mac| mac.bytes()),
            client_id: self.client_id.as_deref(),
            subnet: &self.subnet,
            hostname: self.hostname.as_deref(),
            state: self.state,
            since: self.since.0,
            expires: self.expires.0,
        })
    }

    fn of_fields(address: Ipv4Addr, fields: &[u8]) -> Option<Self> {
        let fields: Fields<'_> = postcard::from_bytes(fields).ok()?;
        let too_long = fields.client_id.is_some_and(|id| id.len() > MAX_CLIENT_ID);
        (!too_long).then(|| Self {
            address,
            key: fields.key.into(),
            mac: fields.mac.map(MacAddress::new),
            client_id: fields.client_id.map(Into::into),
            subnet: fields.subnet.into(),
            hostname: fields.hostname.map(Into::into),
            state: fields.state,
            since: Millis(fields.since),
            expires: Millis(fields.expires),
        })
    }
}

impl Form for Lease6 {
    type At = Ipv6Addr;

    fn to_row(&self) -> Result<Vec<u8>, postcard::Error> {
        row(&Fields6 {
            key: Key::of(&self.key),
            mac: self.mac.map(|mac| mac.bytes()),
            duid: &self.duid,
            iaid: self.iaid,
            subnet: &self.subnet,
            state: self.state,
            since: self.since.0,
            expires: self.expires.0,
        })
    }

    fn of_fields(address: Ipv6Addr, fields: &[u8]) -> Option<Self> {
        let fields: Fields6<'_> = postcard::from_bytes(fields).ok()?;
        let too_long = fields.duid.len() > MAX_DUID;
        (!too_long).then(|| Self {
            address,
            key: fields.key.into(),
            mac: fields.mac.map(MacAddress::new),
            duid: fields.duid.into(),
            iaid: fields.iaid,
            subnet: fields.subnet.into(),
            state: fields.state,
            since: Millis(fields.since),
            expires: Millis(fields.expires),
        })
    }
}

// === impl Key ===

impl<'a> Key<'a> {
    fn of(key: &'a LeaseKey) -> Self {
        match key {
            LeaseKey::Mac(mac) => Self::Mac(mac.bytes()),
            LeaseKey::ClientId(id) => Self::ClientId(id),
        }
    }
}

impl From<Key<'_>> for LeaseKey {
    fn from(key: Key<'_>) -> Self {
        match key {
            Key::Mac(mac) => Self::Mac(MacAddress::new(mac)),
            Key::ClientId(id) => Self::ClientId(id.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    const MAC: MacAddress = MacAddress::new([0x52, 0x54, 0, 0, 0, 1]);

    /// Both forms of `lease` are read as what they were made of.
    fn reads_back<L>(lease: &L, at: L::At) -> Vec<u8>
    where
        L: Form<At: Copy> + Serialize + PartialEq + Debug,
    {
        let row = lease.to_row().unwrap();
        assert_eq!(read::<L>(at, &row).as_ref(), Some(lease));
        let line = serde_json::to_vec(lease).unwrap();
        assert_eq!(read::<L>(at, &line).as_ref(), Some(lease));
        assert!(row.len() * 2 < line.len(), "{row:?}");
        for cut in 0..row.len() {
            assert_eq!(read::<L>(at, row.get(..cut).unwrap()), None);
        }
        row
    }

    #[test]
    fn a_lease_reads_back_in_either_form() {
        let mut lease = Lease {
            address: Ipv4Addr::new(192, 0, 2, 7),
            key: LeaseKey::Mac(MAC),
            mac: Some(MAC),
            client_id: Some([1, 2, 3][..].into()),
            subnet: "default/lab".into(),
            hostname: Some("n1".into()),
            state: LeaseState::Declined,
            since: Millis(1_700_000_000_123),
            expires: Millis(1_700_004_000_123),
        };
        reads_back(&lease, lease.address);
        lease.key = LeaseKey::ClientId([0, 9][..].into());
        (lease.mac, lease.client_id, lease.hostname) = (None, None, None);
        reads_back(&lease, lease.address);
        lease.client_id = Some(vec![0; MAX_CLIENT_ID + 1].into());
        assert_eq!(read::<Lease>(lease.address, &lease.to_row().unwrap()), None);
    }

    #[test]
    fn an_ipv6_lease_does_so_too() {
        let lease = Lease6 {
            address: "2001:db8::100".parse().unwrap(),
            key: LeaseKey::Mac(MAC),
            mac: Some(MAC),
            duid: vec![0, 3, 0, 1],
            iaid: 7,
            subnet: "default/lab".into(),
            state: LeaseState::Bound,
            since: Millis(1_700_000_000_123),
            expires: Millis(1_700_004_000_123),
        };
        let row = reads_back(&lease, lease.address);
        // Another form than any that is known, and rows of nothing.
        let unknown = [&[9], row.get(1..).unwrap()].concat();
        for row in [&unknown[..], b"{}", b""] {
            assert_eq!(read::<Lease6>(lease.address, row), None);
        }
    }
}
