//! Which interface serves which Subnet at this moment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use super::Link;

/// The interface of each Subnet (`namespace/name`) that was bound last. Whether
/// it still serves is the supervisor's to say. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Links(Arc<Mutex<BTreeMap<String, Link>>>);

// === impl Links ===

impl Links {
    /// Says that `link` serves `subnet`.
    pub fn set(&self, subnet: &str, link: Link) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(subnet.to_owned(), link);
    }

    /// Forgets the Subnets that `keep` does not hold for.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|subnet, _| keep(subnet));
    }

    /// Our own addresses on all of them: how others see this server.
    #[must_use]
    pub fn addresses(&self) -> BTreeSet<Ipv4Addr> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().map(|link| link.address).collect()
    }

    /// The interface of `subnet`.
    #[must_use]
    pub fn of(&self, subnet: &str) -> Option<Link> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(subnet).cloned()
    }
}
