//! Which interface serves which Subnet at this moment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Link, Link6};

/// The interface of each Subnet (`namespace/name`) that was bound last. Whether
/// it still serves is the supervisor's to say. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Links<L = Link>(Arc<Mutex<BTreeMap<String, L>>>);

/// The same of IPv6.
pub type Links6 = Links<Link6>;

// === impl Links ===

impl<L> Default for Links<L> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<L: Clone> Links<L> {
    /// Says that `link` serves `subnet`.
    pub fn set(&self, subnet: &str, link: L) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(subnet.to_owned(), link);
    }

    /// Forgets the Subnets that `keep` does not hold for.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|subnet, _| keep(subnet));
    }

    /// The interface of `subnet`.
    #[must_use]
    pub fn of(&self, subnet: &str) -> Option<L> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(subnet).cloned()
    }
}

impl Links {
    /// Our own addresses on all of them: how others see this server.
    #[must_use]
    pub fn addresses(&self) -> BTreeSet<Ipv4Addr> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().map(|link| link.address).collect()
    }
}
