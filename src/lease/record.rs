//! One lease, and what can happen to one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::boot::MacAddress;
use crate::clock::Millis;

/// Longest client identifier that is kept, in bytes: what one option holds
/// (RFC 2132 section 9.14).
pub const MAX_CLIENT_ID: usize = 255;

/// Whom a lease belongs to. Prints as a MAC address, or as `id:` and hex.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeaseKey {
    /// The machine with this address. First choice: the client identifier
    /// changes between ROM, iPXE and system within one boot.
    Mac(MacAddress),
    /// The client that gives this identifier (option 61), where there is no
    /// usable MAC or the Subnet says so.
    ClientId(Box<[u8]>),
}

/// Text that is no lease key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a MAC address nor `id:` and hex digits")]
pub struct ParseKeyError(String);

/// What a record says of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LeaseState {
    /// Offered, not yet asked for; held for a short time, in memory only.
    Offered,
    /// Lent.
    Bound,
    /// Given back, or taken back by a NAK; remembered so that the machine
    /// gets it again while nobody else needs it.
    Released,
    /// Its time is over; remembered like [`LeaseState::Released`].
    Expired,
    /// Somebody else answers there (RFC 2131 section 4.3.3); given to nobody
    /// for a while.
    Declined,
}

/// What is known of one address. There may be a hundred thousand, each of which
/// costs some 200 bytes with its places in the indexes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Line", into = "Line")]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Whom it belongs to; means nothing while it is declined.
    pub key: LeaseKey,
    /// The machine's MAC address, where it has one.
    pub mac: Option<MacAddress>,
    /// Option 61 as it came, type byte included.
    pub client_id: Option<Box<[u8]>>,
    /// The Subnet, as `namespace/name`; its leases share one text.
    pub subnet: Arc<str>,
    /// The name that the machine gave itself (option 12).
    pub hostname: Option<Box<str>>,
    /// What the record says.
    pub state: LeaseState,
    /// Since when this machine has the address.
    pub since: Millis,
    /// Nobody else may have the address before this, whatever the state.
    pub expires: Millis,
}

/// What every kind of lease has, whatever its address is.
pub trait Record: Clone {
    /// What is lent.
    type Address: Copy + Ord + Into<IpAddr>;
    /// The first and the last address there may be.
    const RANGE: (Self::Address, Self::Address);

    /// The address.
    fn address(&self) -> Self::Address;
    /// Whom it belongs to.
    fn key(&self) -> &LeaseKey;
    /// The machine's MAC address, where one is known.
    fn mac(&self) -> Option<MacAddress>;
    /// The Subnet, as `namespace/name`.
    fn subnet(&self) -> &Arc<str>;
    /// What the record says.
    fn state(&self) -> LeaseState;
    /// Nobody else may have the address before this.
    fn expires(&self) -> Millis;
    /// The same in another state.
    #[must_use]
    fn in_state(&self, state: LeaseState) -> Self;
    /// The same of another Subnet.
    #[must_use]
    fn in_subnet(&self, subnet: Arc<str>) -> Self;

    /// Whether its address may go to somebody else at `now`.
    fn is_free(&self, now: Millis) -> bool {
        self.expires() <= now
    }

    /// Whether the record belongs to `key`. A declined one belongs to nobody.
    fn belongs_to(&self, key: &LeaseKey) -> bool {
        self.state() != LeaseState::Declined && self.key() == key
    }

    /// The state at `now`: a lease whose time is over counts as expired even
    /// before the sweep comes by.
    fn state_at(&self, now: Millis) -> LeaseState {
        if self.state() == LeaseState::Bound && self.is_free(now) {
            LeaseState::Expired
        } else {
            self.state()
        }
    }
}

/// A change of a lease table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<L: Record = Lease> {
    /// This is now what is known of its address. Table, disk and mirror share
    /// it: there may be a hundred thousand.
    Put(Arc<L>),
    /// Nothing is known of the address any more.
    Remove(L::Address),
}

/// A lease as one line of JSON: how it is exported, and how databases of before have it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    address: Ipv4Addr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<LeaseKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mac: Option<MacAddress>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    subnet: String,
    state: LeaseState,
    since: Timestamp,
    expires: Timestamp,
}

// === impl LeaseKey ===

impl LeaseKey {
    /// A number that follows from the key alone: FNV-1a, then the finish of
    /// MurmurHash3, because neighbouring MACs differ in few bits. The hasher of
    /// the standard library promises no such thing across releases.
    pub(super) fn spread(&self) -> u64 {
        let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let start = 0xcbf2_9ce4_8422_2325;
        let mut hash = match self {
            Self::Mac(mac) => mac.bytes().iter().fold(start, fnv),
            Self::ClientId(id) => id.iter().fold(start, fnv),
        };
        hash ^= hash >> 33;
        hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 33;
        hash
    }
}

impl fmt::Display for LeaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => mac.fmt(f),
            Self::ClientId(id) => write!(f, "id:{}", hex(id)),
        }
    }
}

impl FromStr for LeaseKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseKeyError(text.to_owned());
        match text.strip_prefix("id:") {
            Some(digits) => unhex(digits)
                .filter(|id| !id.is_empty())
                .map(|id| Self::ClientId(id.into()))
                .ok_or_else(wrong),
            None => text.parse().map(Self::Mac).map_err(|_| wrong()),
        }
    }
}

impl Serialize for LeaseKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LeaseKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

// === impl LeaseState ===

impl LeaseState {
    /// Its name in tables, log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Bound => "bound",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Declined => "declined",
        }
    }

    /// Whether a record in this state is kept on disk. An offer is not a
    /// promise; that a lease has expired can be seen from its time.
    #[must_use]
    pub const fn is_durable(self) -> bool {
        match self {
            Self::Bound | Self::Released | Self::Declined => true,
            Self::Offered | Self::Expired => false,
        }
    }
}

// === impl Lease ===

impl Record for Lease {
    type Address = Ipv4Addr;
    const RANGE: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);

    fn address(&self) -> Ipv4Addr {
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

impl TryFrom<Line> for Lease {
    type Error = &'static str;

    fn try_from(line: Line) -> Result<Self, Self::Error> {
        let client_id = match &line.client_id {
            Some(text) => {
                let id = unhex(text).ok_or("clientId: not hex digits in pairs")?;
                Some(id.into_boxed_slice())
            }
            None => None,
        };
        if client_id
            .as_ref()
            .is_some_and(|id| id.len() > MAX_CLIENT_ID)
        {
            return Err("clientId: longer than 255 bytes");
        }
        let key = line
            .key
            .or_else(|| line.mac.map(LeaseKey::Mac))
            .or_else(|| client_id.clone().map(LeaseKey::ClientId))
            .ok_or("key: neither key nor mac nor clientId given")?;
        Ok(Self {
            address: line.address,
            key,
            mac: line.mac,
            client_id,
            subnet: line.subnet.into(),
            hostname: line.hostname.map(Into::into),
            state: line.state,
            since: from_timestamp(line.since),
            expires: from_timestamp(line.expires),
        })
    }
}

impl From<Lease> for Line {
    fn from(lease: Lease) -> Self {
        Self {
            address: lease.address,
            key: Some(lease.key),
            mac: lease.mac,
            client_id: lease.client_id.as_deref().map(hex),
            hostname: lease.hostname.map(Into::into),
            subnet: lease.subnet.to_string(),
            state: lease.state,
            since: to_timestamp(lease.since),
            expires: to_timestamp(lease.expires),
        }
    }
}

// === impl Change ===

impl<L: Record> Change<L> {
    /// What is now known of its address.
    pub fn put(lease: impl Into<Arc<L>>) -> Self {
        Self::Put(lease.into())
    }

    /// Whether the change must reach the disk before a promise that rests on
    /// it is made.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        match self {
            Self::Put(lease) => lease.state().is_durable(),
            Self::Remove(_) => true,
        }
    }

    /// The address it is about.
    #[must_use]
    pub fn address(&self) -> L::Address {
        match self {
            Self::Put(lease) => lease.address(),
            Self::Remove(address) => *address,
        }
    }
}

/// `at` as a point in time; the far end of time where it lies beyond.
pub(super) fn to_timestamp(at: Millis) -> Timestamp {
    i64::try_from(at.0)
        .ok()
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .unwrap_or(Timestamp::MAX)
}

pub(super) fn from_timestamp(at: Timestamp) -> Millis {
    Millis(u64::try_from(at.as_millisecond()).unwrap_or(0))
}

/// `bytes` in lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The bytes that `text` spells in hex, with or without `:` between them.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let pair = |pair: &str| {
        let digits = pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
        digits.then(|| u8::from_str_radix(pair, 16).ok()).flatten()
    };
    if text.contains(':') {
        return text.split(':').map(pair).collect();
    }
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let pairs = (0..text.len()).step_by(2);
    pairs.map(|at| pair(text.get(at..at + 2)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> Lease {
        Lease {
            address: [10, 33, 1, 100].into(),
            key: LeaseKey::Mac(MacAddress::new([0x52, 0x54, 0, 0, 0, 1])),
            mac: Some(MacAddress::new([0x52, 0x54, 0, 0, 0, 1])),
            client_id: Some([1, 0x52, 0x54, 0, 0, 0, 1].into()),
            subnet: "default/lab".into(),
            hostname: Some("node-7".into()),
            state: LeaseState::Bound,
            since: Millis(1_700_000_000_123),
            expires: Millis(1_700_004_000_123),
        }
    }

    #[test]
    fn a_lease_reads_back_as_it_was_written() {
        let text = serde_json::to_string(&lease()).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"address":"10.33.1.100","key":"52:54:00:00:00:01","mac":"52:54:00:00:00:01","#,
                r#""clientId":"01525400000001","hostname":"node-7","subnet":"default/lab","#,
                r#""state":"bound","since":"2023-11-14T22:13:20.123Z","expires":"2023-11-14T23:20:00.123Z"}"#
            )
        );
        assert_eq!(serde_json::from_str::<Lease>(&text).unwrap(), lease());
    }

    #[test]
    fn a_lease_without_an_end_can_be_written() {
        let endless = Lease {
            expires: Millis(u64::MAX),
            ..lease()
        };
        let text = serde_json::to_string(&endless).unwrap();
        let back: Lease = serde_json::from_str(&text).unwrap();
        assert!(!back.is_free(Millis::from_secs(200_000_000_000)));
    }

    #[test]
    fn the_key_follows_from_the_mac_and_then_from_the_client_id() {
        let line = |more: &str| {
            serde_json::from_str::<Lease>(&format!(
                r#"{{"address":"10.0.0.1",{more}"subnet":"a/b","state":"bound","since":"2026-01-01T00:00:00Z","expires":"2026-01-01T01:00:00Z"}}"#
            ))
        };
        let mac = line(r#""mac":"52:54:00:00:00:01","clientId":"0102","#).unwrap();
        assert_eq!(mac.key.to_string(), "52:54:00:00:00:01");
        let id = line(r#""clientId":"0102","#).unwrap();
        assert_eq!(id.key.to_string(), "id:0102");
        assert!(line("").unwrap_err().to_string().contains("key"));
        let odd = line(r#""clientId":"012","#).unwrap_err();
        assert!(odd.to_string().contains("clientId"), "{odd}");
    }

    #[test]
    fn keys_read_back_as_they_print() {
        for text in ["52:54:00:12:34:56", "id:00", "id:ff0102"] {
            assert_eq!(text.parse::<LeaseKey>().unwrap().to_string(), text);
        }
        for text in ["", "id:", "id:0", "id:+1", "id:0g", "id:é1", "mac"] {
            assert!(text.parse::<LeaseKey>().is_err(), "{text}");
        }
    }
}
