//! Which IPv6 address a machine gets: pure.
//!
//! An address follows from who asks: the search begins where a hash of the key
//! points to, so a machine gets the same one again even where nothing is known
//! of it any more. Several replicas need no word between them: each lends from
//! a part of every pool that is its own.

use std::collections::BTreeSet;
use std::iter;
use std::net::Ipv6Addr;

use super::super::allocate::{OFFER_HOLD_SECS, PROBATION_SECS};
use super::super::authority::Authority;
use super::super::record::{LeaseKey, LeaseState, Record as _};
use super::super::request::SilentReason;
use super::LeaseTable6;
use super::part::part;
use super::record::{Change6, Lease6};
use crate::api::{Cidr6, Pool6};
use crate::boot::MacAddress;
use crate::clock::Millis;

/// Records that one Subnet has at most. A pool may have 2^64 addresses, and who
/// makes identities up can ask for each.
pub const MAX_LEASES: usize = 65_536;

/// Offers that are held at once in one Subnet. One that is not held is likely
/// still free when it is asked for.
pub const MAX_OFFERS: usize = 4096;

/// Addresses that are looked at in one pool before it counts as full: all of a
/// small one, and of a large one more than chance fills in a row.
const MAX_STEPS: u128 = 4096;

/// What a machine asks, and what is configured for it.
#[derive(Clone, Copy, Debug)]
pub struct AllocateRequest6<'a> {
    /// The Subnet, as `namespace/name`.
    pub subnet: &'a str,
    /// Its network.
    pub cidr: Cidr6,
    /// Where machines without a reservation get their addresses from.
    pub pools: &'a [Pool6],
    /// The address reserved for this machine.
    pub reserved: Option<Ipv6Addr>,
    /// Addresses that no pool gives away.
    pub taken: &'a BTreeSet<Ipv6Addr>,
    /// Our own address.
    pub server: Ipv6Addr,
    /// Whom the lease is for.
    pub key: &'a LeaseKey,
    /// The machine's MAC address, where one is known.
    pub mac: Option<MacAddress>,
    /// Its DUID.
    pub duid: &'a [u8],
    /// The identity association.
    pub iaid: u32,
    /// How long an address is lent, in seconds.
    pub lifetime_secs: u32,
    /// Whether a lease that we do not know is renewed where its address is free.
    pub authoritative: bool,
    /// Which part of the pools is this replica's.
    pub authority: Authority,
    /// What is asked.
    pub intent: Intent6,
}

/// What a machine asks (RFC 8415 section 18.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent6 {
    /// SOLICIT: any address, or this one.
    Offer(Option<Ipv6Addr>),
    /// REQUEST, or SOLICIT with rapid commit.
    Bind(Option<Ipv6Addr>),
    /// RENEW and REBIND: this one for longer.
    Extend(Ipv6Addr),
    /// RELEASE: it is not needed any more.
    Release(Ipv6Addr),
    /// DECLINE: somebody else has it.
    Decline(Ipv6Addr),
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer6 {
    /// It may have this address.
    Give(Ipv6Addr),
    /// It can have none.
    Nothing(SilentReason),
    /// The address is not lent to it.
    NoBinding(NoBinding),
    /// Taken note of.
    Done,
}

/// Why an address counts as not lent to who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBinding {
    /// Nothing is known of it, or another has it.
    NotItsLease,
    /// It belongs to a part of the pools that another replica lends.
    AnothersShare,
}

/// Everything that one answer looks at.
struct Case<'a> {
    now: Millis,
    table: &'a LeaseTable6,
    request: &'a AllocateRequest6<'a>,
}

/// Answers `request`; the caller applies the changes before the next.
#[must_use]
pub fn allocate6(
    now: Millis,
    table: &LeaseTable6,
    request: &AllocateRequest6<'_>,
) -> (Answer6, Vec<Change6>) {
    let case = Case {
        now,
        table,
        request,
    };
    match request.intent {
        Intent6::Offer(hint) => match case.choose(hint) {
            Ok(address) => (Answer6::Give(address), case.hold(address)),
            Err(reason) => (Answer6::Nothing(reason), Vec::new()),
        },
        Intent6::Bind(hint) => case.bind_chosen(hint),
        Intent6::Extend(address) => case.extend(address),
        Intent6::Release(address) => case.end(address, LeaseState::Released, now),
        Intent6::Decline(address) => {
            let until = now.plus_secs(PROBATION_SECS);
            case.end(address, LeaseState::Declined, until)
        }
    }
}

// === impl Case ===

impl Case<'_> {
    /// The address for this machine.
    fn choose(&self, hint: Option<Ipv6Addr>) -> Result<Ipv6Addr, SilentReason> {
        let reserved = self.reserved();
        if let Some(address) = reserved.filter(|address| self.is_open(*address)) {
            return Ok(address);
        }
        if self.request.pools.is_empty() {
            return Err(match reserved {
                Some(_) => SilentReason::ReservedAddressBusy,
                None => SilentReason::NoPool,
            });
        }
        let own = self.own_records();
        let own = own
            .filter(|lease| self.is_lendable(lease.address) && self.is_open(lease.address))
            .max_by_key(|lease| (lease.expires, lease.address))
            .map(|lease| lease.address);
        let full = self.table.records(self.request.subnet) >= MAX_LEASES;
        let found = own.or_else(|| {
            // What is known already makes no record more.
            let fits = |address: &Ipv6Addr| !full || self.table.get(*address).is_some();
            let hint = hint.filter(|at| self.is_lendable(*at) && self.is_open(*at));
            hint.filter(fits)
                .or_else(|| if full { None } else { self.search() })
                .or_else(|| self.forgotten())
        });
        found.ok_or(SilentReason::PoolExhausted)
    }

    /// Looks through this replica's part of each pool, from where the key
    /// points to: an address that nobody ever had, else one that is free again.
    fn search(&self) -> Option<Ipv6Addr> {
        let mut free_again = None;
        for pool in self.request.pools {
            let Some((start, size)) = part(pool, self.request.authority.place()) else {
                continue;
            };
            let first = u128::from(self.request.key.spread()) % size;
            for step in 0..size.min(MAX_STEPS) {
                let address = Ipv6Addr::from(start + (first + step) % size);
                if !self.is_lendable(address) {
                    continue;
                }
                match self.table.get(address) {
                    None => return Some(address),
                    Some(lease) if lease.is_free(self.now) => {
                        free_again.get_or_insert(address);
                    }
                    Some(_) => {}
                }
            }
        }
        free_again
    }

    /// The address that has been free for longest, of those that somebody had.
    fn forgotten(&self) -> Option<Ipv6Addr> {
        let mut ended = self.table.ended(self.request.subnet, self.now);
        ended
            .find(|lease| self.is_lendable(lease.address))
            .map(|lease| lease.address)
    }

    fn bind_chosen(&self, hint: Option<Ipv6Addr>) -> (Answer6, Vec<Change6>) {
        match self.choose(hint) {
            Ok(address) => (Answer6::Give(address), self.bind(address)),
            Err(reason) => (Answer6::Nothing(reason), Vec::new()),
        }
    }

    /// A lease goes on where it is known, or may be taken for known; else the
    /// machine moves to what it may have now.
    fn extend(&self, address: Ipv6Addr) -> (Answer6, Vec<Change6>) {
        let own = self.own_records().any(|lease| lease.address == address);
        let known = own && self.is_open(address);
        let unknown_but_free = self.request.authoritative && self.is_open(address);
        let its_own = self.reserved() == Some(address);
        let lendable = self.is_in_pools(address) && self.is_spare(address);
        if lendable && !self.is_own_part(address) {
            return if known {
                (Answer6::Give(address), self.bind(address))
            } else {
                (Answer6::NoBinding(NoBinding::AnothersShare), Vec::new())
            };
        }
        let moves = self.reserved().is_some_and(|other| other != address);
        if (its_own || lendable && !moves) && (known || unknown_but_free) {
            if self.is_new_beyond_limit(address) {
                return (Answer6::Nothing(SilentReason::PoolExhausted), Vec::new());
            }
            return (Answer6::Give(address), self.bind(address));
        }
        if own || moves {
            // It has an address to go to, and learns of it by the renewal.
            return self.bind_chosen(None);
        }
        (Answer6::NoBinding(NoBinding::NotItsLease), Vec::new())
    }

    fn is_new_beyond_limit(&self, address: Ipv6Addr) -> bool {
        self.table.get(address).is_none() && self.table.records(self.request.subnet) >= MAX_LEASES
    }

    /// Ends what this machine has at `address`.
    fn end(&self, address: Ipv6Addr, state: LeaseState, until: Millis) -> (Answer6, Vec<Change6>) {
        // UEFI asks twice when a router tells it to: its network stack and its PXE
        // client, by associations of their own, and the first one's is given back
        // while the other's is in use. The lease is whose who asked for it last.
        let (duid, iaid) = (self.request.duid, self.request.iaid);
        let own = self.own_records().find(|lease| {
            lease.address == address
                && lease.state_at(self.now) == LeaseState::Bound
                && (lease.duid.as_slice(), lease.iaid) == (duid, iaid)
        });
        let Some(lease) = own else {
            return (Answer6::NoBinding(NoBinding::NotItsLease), Vec::new());
        };
        let ended = Change6::put(Lease6 {
            state,
            expires: until,
            ..lease.clone()
        });
        (Answer6::Done, vec![ended])
    }

    /// Keeps others off `address` until the machine had time to ask for it.
    fn hold(&self, address: Ipv6Addr) -> Vec<Change6> {
        let until = self.now.plus_secs(OFFER_HOLD_SECS);
        let held = match self.table.get(address) {
            Some(lease) if lease.belongs_to(self.request.key) => {
                if lease.expires >= until {
                    return Vec::new();
                }
                let state = match lease.state {
                    LeaseState::Offered => LeaseState::Offered,
                    // The memory must outlive an offer that is not taken.
                    LeaseState::Bound
                    | LeaseState::Released
                    | LeaseState::Expired
                    | LeaseState::Declined => LeaseState::Expired,
                };
                Lease6 {
                    state,
                    ..lease.clone()
                }
            }
            _ if self.table.counts(self.request.subnet).offered >= MAX_OFFERS => return Vec::new(),
            _ => self.lease(address, LeaseState::Offered),
        };
        vec![Change6::put(Lease6 {
            expires: until,
            ..held
        })]
    }

    /// Lends `address`; what the machine had elsewhere in this Subnet ends.
    fn bind(&self, address: Ipv6Addr) -> Vec<Change6> {
        let mut bound = self.lease(address, LeaseState::Bound);
        bound.expires = self.now.plus_secs(self.request.lifetime_secs.into());
        let lent = |lease: &&Lease6| {
            lease.address == address && lease.state_at(self.now) == LeaseState::Bound
        };
        if let Some(lease) = self.own_records().find(lent) {
            bound.since = lease.since;
        }
        self.own_records()
            .map(|lease| lease.address)
            .filter(|other| *other != address)
            .map(Change6::Remove)
            .chain(iter::once(Change6::put(bound)))
            .collect()
    }

    fn lease(&self, address: Ipv6Addr, state: LeaseState) -> Lease6 {
        let AllocateRequest6 {
            subnet,
            key,
            mac,
            duid,
            iaid,
            ..
        } = *self.request;
        Lease6 {
            address,
            key: key.clone(),
            mac,
            duid: duid.to_vec(),
            iaid,
            subnet: self.table.shared_name(subnet),
            state,
            since: self.now,
            expires: self.now,
        }
    }

    fn own_records(&self) -> impl Iterator<Item = &Lease6> {
        self.table.of_key(self.request.subnet, self.request.key)
    }

    /// The address that is reserved for this machine here.
    fn reserved(&self) -> Option<Ipv6Addr> {
        let host = |address: &Ipv6Addr| self.request.cidr.is_host(*address);
        self.request
            .reserved
            .filter(host)
            .filter(|address| *address != self.request.server)
    }

    /// Whether nobody else has `address`.
    fn is_open(&self, address: Ipv6Addr) -> bool {
        self.table
            .get(address)
            .is_none_or(|lease| lease.is_free(self.now) || lease.belongs_to(self.request.key))
    }

    /// Whether this replica lends `address` to just anyone.
    fn is_lendable(&self, address: Ipv6Addr) -> bool {
        self.is_in_pools(address) && self.is_spare(address) && self.is_own_part(address)
    }

    fn is_in_pools(&self, address: Ipv6Addr) -> bool {
        let mut pools = self.request.pools.iter();
        pools.any(|pool| pool.contains(address))
    }

    /// Whether `address` is nobody's of old.
    fn is_spare(&self, address: Ipv6Addr) -> bool {
        let request = self.request;
        request.cidr.is_host(address)
            && address != request.server
            && !request.taken.contains(&address)
    }

    fn is_own_part(&self, address: Ipv6Addr) -> bool {
        let number = u128::from(address);
        let mut pools = self.request.pools.iter();
        pools.any(|pool| {
            part(pool, self.request.authority.place())
                .is_some_and(|(start, size)| number >= start && number - start < size)
        })
    }
}

#[cfg(test)]
#[path = "allocate_tests.rs"]
mod tests;
