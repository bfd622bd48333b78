//! How many addresses of each Subnet are lent, for those who tell of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

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
#[derive(Clone, Debug, Default)]
pub struct Usages(Arc<Mutex<BTreeMap<String, Usage>>>);

// === impl Usages ===

impl Usages {
    /// What is known of `subnet`; `None` before it was counted.
    #[must_use]
    pub fn of(&self, subnet: &str) -> Option<Usage> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(subnet).copied()
    }

    /// Replaces what is known.
    pub fn set(&self, all: BTreeMap<String, Usage>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }
}
