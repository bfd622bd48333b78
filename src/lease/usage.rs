//! How many addresses of each Subnet are lent, for those who tell of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::api::AddressCounts;

/// Addresses of one Subnet's pools that are not free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Lent from a pool, or offered.
    pub used: u32,
    /// On probation because somebody else answers there.
    pub declined: u32,
}

/// The usage of every Subnet, by `namespace/name`. Written by the keeper of the
/// leases, at most once a second; cheap to clone.
#[derive(Clone, Debug)]
pub struct Usages<U = Usage>(Arc<Mutex<BTreeMap<String, U>>>);

/// The same of IPv6.
pub type Usages6 = Usages<AddressCounts>;

// === impl Usages ===

impl<U> Default for Usages<U> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<U: Copy> Usages<U> {
    /// What is known of `subnet`; `None` before it was counted.
    #[must_use]
    pub fn of(&self, subnet: &str) -> Option<U> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(subnet).copied()
    }

    /// Replaces what is known.
    pub fn set(&self, all: BTreeMap<String, U>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }
}
