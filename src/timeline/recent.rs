//! Which machines were sent our loader a moment ago. Shell state: shared
//! between the timeline, which sees it, and DHCP, which asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::boot::MacAddress;
use crate::clock::Millis;

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
