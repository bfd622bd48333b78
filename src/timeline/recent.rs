//! Which machines were sent our loader a moment ago. Shell state: shared
//! between the timeline, which sees it, and DHCP, which asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::boot::MacAddress;
use crate::clock::Millis;
use crate::script::BootKey;
use crate::snapshot::{Acquaintances, Identity};
use crate::timeline::BootId;

/// How long a loader may take from its last byte to its own first DISCOVER.
/// iPXE needs a second or two; a switch port that learns needs up to 30. A
/// machine that is switched off and on within this time is sent the script
/// at once, which its ROM's iPXE may well boot.
pub const LOADER_MEMORY_SECS: u64 = 60;
/// Machines that are remembered; more than wake within a minute anywhere.
const MAX: usize = 10_000;

/// Remembers for [`LOADER_MEMORY_SECS`] which machines got our loader. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RecentLoaders(Arc<Mutex<BTreeMap<MacAddress, Millis>>>);

impl RecentLoaders {
    /// Takes note that `mac` was sent our loader.
    pub fn insert(&self, mac: MacAddress, now: Millis) {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= MAX {
            map.retain(|_, at| now.since(*at) < LOADER_MEMORY_SECS * 1000);
        }
        if map.len() < MAX {
            map.insert(mac, now);
        }
    }

    /// Whether `mac` was.
    #[must_use]
    pub fn contains(&self, mac: MacAddress, now: Millis) -> bool {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.get(&mac)
            .is_some_and(|at| now.since(*at) < LOADER_MEMORY_SECS * 1000)
    }
}

/// How long a machine is who it said it was: until it boots again, mostly. The
/// system that runs then renews its lease without saying so again.
pub const INTRODUCTION_SECS: u64 = 7 * 24 * 3600;

/// Remembers for [`INTRODUCTION_SECS`] what machines told of themselves beside
/// their MAC addresses; of too many, the one heard of longest ago goes. Cheap
/// to clone.
#[derive(Clone, Debug, Default)]
pub struct Introductions {
    told: Arc<Mutex<Told>>,
    /// The key of boot tokens; without one there are none.
    key: Option<Arc<BootKey>>,
}

#[derive(Debug, Default)]
struct Told {
    machines: BTreeMap<MacAddress, (Identity, Millis)>,
    by_age: BTreeSet<(Millis, MacAddress)>,
    /// The boot that each began last.
    boots: BTreeMap<MacAddress, u64>,
    /// The same by number, which is time mostly.
    boots_by_age: BTreeSet<(u64, MacAddress)>,
}

impl Introductions {
    /// With the key of boot tokens.
    #[must_use]
    pub fn with_key(key: BootKey) -> Self {
        Self {
            key: Some(Arc::new(key)),
            ..Self::default()
        }
    }

    /// The key of boot tokens.
    #[must_use]
    pub fn key(&self) -> Option<&BootKey> {
        self.key.as_deref()
    }

    /// Takes note that a boot began.
    pub fn began(&self, boot: BootId) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = told.boots.insert(boot.mac, boot.number) {
            told.boots_by_age.remove(&(before, boot.mac));
        }
        told.boots_by_age.insert((boot.number, boot.mac));
        if told.boots.len() > MAX
            && let Some((_, oldest)) = told.boots_by_age.pop_first()
        {
            told.boots.remove(&oldest);
        }
    }

    /// The boot that `mac` began last, for log lines.
    #[must_use]
    pub fn boot(&self, mac: MacAddress) -> Option<BootId> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let number = *told.boots.get(&mac)?;
        Some(BootId { mac, number })
    }

    /// Takes note of what `mac` tells; what it told before and does not say
    /// again stays.
    pub fn insert(&self, mac: MacAddress, identity: Identity, now: Millis) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut identity = identity;
        if let Some((before, at)) = told.machines.remove(&mac) {
            told.by_age.remove(&(at, mac));
            identity.complete(before);
        }
        while let Some((at, oldest)) = told.by_age.first().copied() {
            let old = now.since(at) >= INTRODUCTION_SECS * 1000;
            if !old && told.machines.len() < MAX {
                break;
            }
            told.by_age.remove(&(at, oldest));
            told.machines.remove(&oldest);
        }
        told.machines.insert(mac, (identity, now));
        told.by_age.insert((now, mac));
    }
}

impl Acquaintances for Introductions {
    fn identity(&self, mac: MacAddress) -> Identity {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = told
            .machines
            .get(&mac)
            .map(|(identity, _)| identity.clone());
        let mut identity = Identity::from(mac);
        identity.complete(told.unwrap_or_default());
        identity
    }

    fn token_for(&self, mac: MacAddress, what: &str) -> Option<String> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let number = *told.boots.get(&mac)?;
        drop(told);
        self.key()?.token(BootId { mac, number }, what)
    }

    fn boot_of(&self, mac: MacAddress, what: &str, token: &str) -> Option<BootId> {
        self.key()?.verify(mac, what, token)
    }

    fn last_boot(&self, mac: MacAddress) -> Option<BootId> {
        self.boot(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn introductions_are_completed_and_bounded() {
        let introductions = Introductions::default();
        let mac = |n: u32| {
            let [a, b, c, d] = n.to_be_bytes();
            MacAddress::new([2, 0, a, b, c, d])
        };
        let told = |serial: Option<&str>, asset: Option<&str>| Identity {
            serial: serial.map(str::to_owned),
            asset: asset.map(str::to_owned),
            ..Identity::default()
        };
        introductions.insert(mac(0), told(Some("A"), None), Millis(1));
        introductions.insert(mac(0), told(None, Some("7")), Millis(2));
        let known = introductions.identity(mac(0));
        assert_eq!(
            (known.serial.as_deref(), known.asset.as_deref()),
            (Some("A"), Some("7"))
        );
        let many = u32::try_from(MAX).unwrap();
        for n in 1..=many {
            introductions.insert(mac(n), told(Some("B"), None), Millis(2 + u64::from(n)));
        }
        assert_eq!(introductions.identity(mac(0)), mac(0).into());
        assert_eq!(introductions.identity(mac(1)).serial.as_deref(), Some("B"));
        // A week later nobody is who it was.
        let later = Millis(10 + u64::from(many)).plus_secs(INTRODUCTION_SECS);
        introductions.insert(mac(0), told(None, None), later);
        assert_eq!(introductions.identity(mac(1)), mac(1).into());
    }
}
