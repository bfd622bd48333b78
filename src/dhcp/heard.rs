//! What DHCP heard that a person should know of: other servers, and machines
//! that nothing here boots. Bounded; cheap to clone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Millis;
use crate::snapshot::NoLoader;

/// Other servers of one Subnet that are remembered.
pub const MAX_SERVERS: usize = 16;
/// How long another server counts after it was last heard of.
pub const SERVER_MEMORY_SECS: u64 = 3600;
/// Refusals that wait to be told; what is more is lost.
pub const MAX_REFUSALS: usize = 256;

/// What was heard.
#[derive(Clone, Debug, Default)]
pub struct Heard(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// By Subnet (`namespace/name`): servers and when they were heard of last.
    servers: BTreeMap<String, BTreeMap<Ipv4Addr, Millis>>,
    refusals: VecDeque<Refusal>,
    /// Where other replicas of this service serve.
    siblings: BTreeSet<Ipv4Addr>,
}

/// A machine that may boot and that nothing here boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The Subnet, as `namespace/name`.
    pub subnet: String,
    /// The machine's object, by name.
    pub machine: String,
    /// Why.
    pub reason: NoLoader,
}

// === impl Heard ===

impl Heard {
    /// A machine on `subnet` chose `server`, which is not us. Whether that is news.
    #[must_use]
    pub fn server(&self, subnet: &str, server: Ipv4Addr, now: Millis) -> bool {
        let mut inner = self.lock();
        if inner.siblings.contains(&server) {
            return false;
        }
        let servers = inner.servers.entry(subnet.to_owned()).or_default();
        servers.retain(|_, at| now.since(*at) < SERVER_MEMORY_SECS * 1000);
        if let Some(at) = servers.get_mut(&server) {
            *at = now;
            return false;
        }
        let is_news = servers.len() < MAX_SERVERS;
        if is_news {
            servers.insert(server, now);
        }
        is_news
    }

    /// The other servers of `subnet` and when they were heard of last.
    #[must_use]
    pub fn servers(&self, subnet: &str, now: Millis) -> BTreeMap<Ipv4Addr, Millis> {
        let inner = self.lock();
        let servers = inner.servers.get(subnet).into_iter().flatten();
        servers
            .filter(|(server, at)| {
                now.since(**at) < SERVER_MEMORY_SECS * 1000 && !inner.siblings.contains(*server)
            })
            .map(|(server, at)| (*server, *at))
            .collect()
    }

    /// Other replicas serve from these addresses: machines may choose them.
    pub fn know_siblings(&self, siblings: BTreeSet<Ipv4Addr>) {
        self.lock().siblings = siblings;
    }

    /// Whether another replica serves from `server`.
    #[must_use]
    pub fn is_sibling(&self, server: Ipv4Addr) -> bool {
        self.lock().siblings.contains(&server)
    }

    /// Forgets the Subnets that `keep` does not hold for.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.lock().servers.retain(|subnet, _| keep(subnet));
    }

    /// Takes note of a refusal.
    pub fn refused(&self, refusal: Refusal) {
        let mut inner = self.lock();
        if inner.refusals.len() < MAX_REFUSALS {
            inner.refusals.push_back(refusal);
        }
    }

    /// The refusals since the last call.
    #[must_use]
    pub fn refusals(&self) -> VecDeque<Refusal> {
        std::mem::take(&mut self.lock().refusals)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_news_once_and_few() {
        let heard = Heard::default();
        let server = |n: u8| Ipv4Addr::new(192, 0, 2, n);
        assert!(heard.server("a/lab", server(1), Millis(0)));
        assert!(!heard.server("a/lab", server(1), Millis(10)));
        for n in 2..=40 {
            let _ = heard.server("a/lab", server(n), Millis(20));
        }
        assert_eq!(heard.servers("a/lab", Millis(20)).len(), MAX_SERVERS);
        assert!(heard.servers("a/other", Millis(20)).is_empty());
        // The first is forgotten an hour after it was heard of last.
        let late = Millis(10 + SERVER_MEMORY_SECS * 1000);
        assert!(!heard.servers("a/lab", late).contains_key(&server(1)));
        assert!(heard.server("a/lab", server(1), late));
        heard.retain(|subnet| subnet != "a/lab");
        assert!(heard.servers("a/lab", late).is_empty());
    }

    #[test]
    fn another_replica_is_no_other_server_however_late_it_is_known() {
        let heard = Heard::default();
        let (sibling, foreign) = ([192, 0, 2, 2].into(), [192, 0, 2, 3].into());
        assert!(heard.server("a/lab", sibling, Millis(0)));
        heard.know_siblings([sibling].into());
        assert!(heard.servers("a/lab", Millis(1)).is_empty());
        assert!(!heard.server("a/lab", sibling, Millis(2)));
        assert!(heard.server("a/lab", foreign, Millis(2)));
        assert_eq!(heard.servers("a/lab", Millis(3)).len(), 1);
    }
}
