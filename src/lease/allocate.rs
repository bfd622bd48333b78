//! Which address a machine gets: RFC 2131 section 4.3 as a pure function.
//!
//! [`allocate`] looks at the table and says what to answer and what to change;
//! the caller applies the changes at once, makes the durable ones durable, and
//! answers after that. It reads no clock and performs no I/O.

use std::iter;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::authority::Authority;
use super::record::{Change, Lease, LeaseState, Record as _};
use super::request::{AllocateRequest, Answer, Intent, NakReason, SilentReason};
use super::table::LeaseTable;
use crate::api::Pool;
use crate::clock::Millis;

/// Seconds that an offered address is held for its machine: long enough for
/// firmware that waits for more offers (PXE 2.1 section 2.2.3 waits up to
/// 28 s), short enough that a flood of DISCOVERs does not empty a pool for long.
pub const OFFER_HOLD_SECS: u64 = 60;

/// Seconds that a declined address is given to nobody: 24 hours, as Kea does.
pub const PROBATION_SECS: u64 = 24 * 3600;

/// Seconds after which an offer that was not taken keeps its address from
/// others no longer where the pools are empty: who asks for it first has it.
/// Firmware takes an offer within a few.
pub const CONTESTED_SECS: u64 = 10;

/// Offers that are always held. Of more, those that would have more than half
/// of the pools are made without: a flood of made-up machines cannot keep all
/// addresses from those that are there.
const ALWAYS_HELD: usize = 16;

/// Useless memories that one search of a full pool may clear away.
const MAX_CLEARED: usize = 1024;

type Verdict = (Answer, Vec<Change>);

/// One request, the moment it is looked at, and the table.
struct Case<'a> {
    now: Millis,
    table: &'a LeaseTable,
    request: &'a AllocateRequest<'a>,
}

/// Decides what a machine gets, and what that changes. The same table,
/// request and time give the same answer.
#[must_use]
pub fn allocate(
    now: Millis,
    table: &LeaseTable,
    request: &AllocateRequest<'_>,
) -> (Answer, Vec<Change>) {
    let case = Case {
        now,
        table,
        request,
    };
    match request.intent {
        Intent::Offer { requested } => case.offer(requested),
        Intent::Select { requested } => case.select(requested),
        Intent::ChoseAnother => case.chose_another(),
        Intent::InitReboot { requested } => case.init_reboot(requested),
        Intent::Renew { address } => case.renew(address),
        Intent::Release { address } => case.release(address),
        Intent::Decline { address } => case.decline(address),
    }
}

/// Whether `address` should be probed before it is offered: this replica holds
/// the pools since a short time, and the one before it may have given the
/// address without a word; or it cannot tell who holds them, and the machine
/// may have left the address to another meanwhile.
#[must_use]
pub fn wants_probe(
    now: Millis,
    table: &LeaseTable,
    request: &AllocateRequest<'_>,
    address: Ipv4Addr,
) -> bool {
    let case = Case {
        now,
        table,
        request,
    };
    match request.authority {
        Authority::Sole | Authority::Standby { .. } => false,
        Authority::Holder { .. } => case.is_unsure_of(address) && !case.has(address),
        Authority::Isolated { shares, .. } => {
            request.reserved != Some(address) && !shares.is_own(request.pools, address)
        }
    }
}

/// Whether `address` is offered to a machine that did not have it before: for
/// Subnets that probe those. What is reserved for it is its own.
#[must_use]
pub fn is_first_offer(
    table: &LeaseTable,
    request: &AllocateRequest<'_>,
    address: Ipv4Addr,
) -> bool {
    let record = table.get(address);
    let had = record.is_some_and(|record| {
        let lent = !matches!(record.state, LeaseState::Offered | LeaseState::Declined);
        lent && record.belongs_to(request.key)
    });
    !had && request.reserved != Some(address)
}

/// The change that puts `address` on probation: for the shell, when its own
/// probe finds somebody there before the first offer.
#[must_use]
pub fn probation(now: Millis, request: &AllocateRequest<'_>, address: Ipv4Addr) -> Change {
    Change::put(Lease {
        expires: now.plus_secs(PROBATION_SECS),
        ..lease(
            now,
            request,
            request.subnet.into(),
            address,
            LeaseState::Declined,
        )
    })
}

// === impl Case ===

impl Case<'_> {
    /// RFC 2131 section 4.3.1: the reservation, else the address the machine
    /// has or had, else the one it asks for, else a new one.
    fn offer(&self, requested: Option<Ipv4Addr>) -> Verdict {
        if let Some(reserved) = self.reservation() {
            // Nobody else can get it: it need not be held.
            return (Answer::Offer(reserved), Vec::new());
        }
        if matches!(self.request.authority, Authority::Standby { .. }) {
            return (Answer::Silent(self.nothing_left()), Vec::new());
        }
        let fits = |address: &Ipv4Addr| self.can_have(*address);
        if let Some(address) = self.remembered().or_else(|| requested.filter(fits)) {
            return (Answer::Offer(address), self.hold(address));
        }
        let mut changes = Vec::new();
        let free = self.unused().or_else(|| self.longest_ended(&mut changes));
        match free.or_else(|| self.contested()) {
            Some(address) => {
                changes.extend(self.hold(address));
                (Answer::Offer(address), changes)
            }
            None => (Answer::Silent(self.nothing_left()), changes),
        }
    }

    /// RFC 2131 section 4.3.2, SELECTING. Lenient about offers that we do not
    /// remember: they are not kept on disk and we may have restarted since.
    fn select(&self, requested: Option<Ipv4Addr>) -> Verdict {
        let offered = || self.reservation().or_else(|| self.remembered());
        match requested.or_else(offered) {
            Some(address) => self.doubt(address).unwrap_or_else(|| self.settle(address)),
            None if self.request.authority.judges() => {
                (Answer::Nak(NakReason::NothingOffered), Vec::new())
            }
            None => (Answer::Silent(SilentReason::NotHolder), Vec::new()),
        }
    }

    /// RFC 2131 section 3.1 point 4: the address goes back to the pool.
    fn chose_another(&self) -> Verdict {
        let offers = self.own_records();
        let changes = offers
            .filter(|lease| lease.state == LeaseState::Offered)
            .map(|lease| Change::Remove(lease.address))
            .collect();
        (Answer::Silent(SilentReason::ChoseAnotherServer), changes)
    }

    /// RFC 2131 section 4.3.2, INIT-REBOOT. The machine does not use the
    /// address yet, so a lease that it has elsewhere wins.
    fn init_reboot(&self, requested: Ipv4Addr) -> Verdict {
        if let Some(silent) = self.not_ours_to_judge(requested) {
            return silent;
        }
        let elsewhere = |lease: &Lease| {
            lease.address != requested
                && lease.state_at(self.now) == LeaseState::Bound
                && self.objection(lease.address).is_none()
        };
        let moved = || self.own_records().any(elsewhere);
        if self.can_have(requested) && self.judges(requested) && moved() {
            return (Answer::Nak(NakReason::HasAnotherLease), Vec::new());
        }
        self.doubt(requested)
            .unwrap_or_else(|| self.settle(requested))
    }

    /// RFC 2131 section 4.3.2, RENEWING and REBINDING. The machine uses the
    /// address now, so it keeps it where that harms nobody, whatever else we
    /// thought it had.
    fn renew(&self, address: Ipv4Addr) -> Verdict {
        self.not_ours_to_judge(address)
            .unwrap_or_else(|| self.settle(address))
    }

    /// RFC 2131 section 4.3.4: free for others, remembered for this machine.
    fn release(&self, address: Ipv4Addr) -> Verdict {
        match self.own_record(address) {
            Some(lease) => (Answer::Done, self.take_back(lease)),
            None => (Answer::Silent(SilentReason::NotItsLease), Vec::new()),
        }
    }

    /// RFC 2131 section 4.3.3. Only what a machine was given can it decline:
    /// else one packet after the other could empty a pool.
    fn decline(&self, address: Ipv4Addr) -> Verdict {
        let given =
            |lease: &&Lease| !lease.is_free(self.now) && lease.state != LeaseState::Released;
        match self.own_record(address).filter(given) {
            Some(_) => {
                let change = probation(self.now, self.request, address);
                (Answer::Done, vec![change])
            }
            None => (Answer::Silent(SilentReason::NotItsLease), Vec::new()),
        }
    }

    /// Silence about an address that only an authoritative server may judge.
    fn not_ours_to_judge(&self, address: Ipv4Addr) -> Option<Verdict> {
        let request = self.request;
        let known = request.reserved == Some(address) || self.own_record(address).is_some();
        if known || request.authoritative {
            return None;
        }
        let reason = if request.cidr.contains(address) {
            SilentReason::UnknownLease
        } else {
            SilentReason::OtherNetwork
        };
        Some((Answer::Silent(reason), Vec::new()))
    }

    /// ACK or NAK. A machine that is told NAK stops using the address at once
    /// (RFC 2131 section 4.4.5), so the lease ends with it.
    fn settle(&self, address: Ipv4Addr) -> Verdict {
        if let Some(reason) = self.bar(address) {
            return (Answer::Silent(reason), Vec::new());
        }
        let moved = || {
            self.reservation()
                .filter(|reserved| *reserved != address)
                .map(|_| NakReason::HasReservation)
        };
        match self.objection(address).or_else(moved) {
            Some(_) if !self.judges(address) => {
                (Answer::Silent(SilentReason::NotHolder), Vec::new())
            }
            Some(reason) => {
                let lease = self.own_record(address);
                let changes = lease.map_or_else(Vec::new, |lease| self.take_back(lease));
                (Answer::Nak(reason), changes)
            }
            None => (Answer::Ack(address), self.bind(address)),
        }
    }

    /// Why the machine may not have `address`; `None` when it may.
    fn objection(&self, address: Ipv4Addr) -> Option<NakReason> {
        let request = self.request;
        if !request.cidr.is_host(address) {
            return Some(NakReason::WrongNetwork);
        }
        if request.reserved != Some(address) {
            if request.taken.contains(address) {
                return Some(NakReason::ReservedForAnother);
            }
            if !self.is_in_pools(address) {
                return Some(NakReason::OutsidePools);
            }
        }
        let record = self.table.get(address)?;
        if record.is_free(self.now) || self.owns(record) || self.is_contested(record) {
            None
        } else if record.state == LeaseState::Declined {
            Some(NakReason::OnProbation)
        } else {
            Some(NakReason::InUse)
        }
    }

    /// Why this replica says nothing about `address`, whoever asks: it belongs
    /// to another replica. What is reserved or in no pool belongs to all.
    fn bar(&self, address: Ipv4Addr) -> Option<SilentReason> {
        let request = self.request;
        if request.reserved == Some(address) || !self.is_in_pools(address) {
            return None;
        }
        match request.authority {
            Authority::Sole => None,
            Authority::Holder { shares, .. } => shares
                .owner(request.pools, address)
                .filter(|owner| *owner != shares.ordinal)
                .map(|_| SilentReason::AnothersShare),
            Authority::Isolated { shares, .. } => {
                let own = shares.is_own(request.pools, address);
                let fresh = request.authority.is_fresh(request.lifetime_secs);
                match (self.has(address), own) {
                    (true, _) => None,
                    (false, true) if fresh => Some(SilentReason::FreshDisk),
                    (false, true) => None,
                    (false, false) => Some(SilentReason::NotHolder),
                }
            }
            Authority::Standby { shares } => {
                let given = shares.is_own(request.pools, address) && self.has(address);
                (!given).then_some(SilentReason::NotHolder)
            }
        }
    }

    /// Whether the machine may have `address`, from this replica.
    fn can_have(&self, address: Ipv4Addr) -> bool {
        self.objection(address).is_none() && self.bar(address).is_none()
    }

    /// Whether this replica may refuse `address`.
    fn judges(&self, address: Ipv4Addr) -> bool {
        self.request.authority.judges() || !self.is_in_pools(address)
    }

    /// Whether somebody that we were not told of may have `address`.
    fn is_unsure_of(&self, address: Ipv4Addr) -> bool {
        let request = self.request;
        request.authority.is_unsure(request.lifetime_secs)
            && request.reserved != Some(address)
            && self.is_in_pools(address)
    }

    /// Silence to a machine that says it was offered, or had, an address of
    /// which we know nothing while we cannot know: it will ask anew, and then
    /// the address can be probed. One that uses its address is believed.
    fn doubt(&self, address: Ipv4Addr) -> Option<Verdict> {
        let ours = self.own_record(address);
        let known = ours.is_some_and(|record| !record.is_free(self.now));
        let doubted = !known && self.is_unsure_of(address) && self.can_have(address);
        doubted.then(|| (Answer::Silent(SilentReason::NotSureYet), Vec::new()))
    }

    /// Whether the machine has a lease of `address` that we know.
    fn has(&self, address: Ipv4Addr) -> bool {
        self.own_record(address)
            .is_some_and(|record| record.state_at(self.now) == LeaseState::Bound)
    }

    fn is_in_pools(&self, address: Ipv4Addr) -> bool {
        let holds = |pool: &Pool| pool.start <= address && address <= pool.end;
        self.request.pools.iter().any(holds)
    }

    /// The machine's reservation, where it can have it now. While another
    /// still has the address (its lease is older than the reservation), the
    /// machine gets one from the pools; the other is told NAK when it renews,
    /// and then the machine is when it does, and moves.
    fn reservation(&self) -> Option<Ipv4Addr> {
        let reserved = self.request.reserved;
        reserved.filter(|address| self.objection(*address).is_none())
    }

    /// Whether `record` is this machine's. What was lent to another program
    /// of the same machine at its reserved address is its own too: with client
    /// identifiers as keys, ROM and system have different ones.
    fn owns(&self, record: &Lease) -> bool {
        let request = self.request;
        let same_machine = request.reserved == Some(record.address)
            && record.state != LeaseState::Declined
            && record.mac.is_some()
            && record.mac == request.mac;
        record.belongs_to(request.key) || same_machine
    }

    fn own_record(&self, address: Ipv4Addr) -> Option<&Lease> {
        self.table.get(address).filter(|record| self.owns(record))
    }

    fn own_records(&self) -> impl Iterator<Item = &Lease> {
        self.table.of_key(self.request.subnet, self.request.key)
    }

    /// The address that the machine has, or had last.
    fn remembered(&self) -> Option<Ipv4Addr> {
        self.own_records()
            .filter(|lease| self.can_have(lease.address))
            .max_by_key(|lease| lease.expires)
            .map(|lease| lease.address)
    }

    /// An address of which nothing is known. Where the search starts follows
    /// from the key, so that machines spread over the pools, and get the same
    /// addresses again should the table be lost.
    fn unused(&self) -> Option<Ipv4Addr> {
        let request = self.request;
        let tiers = request
            .authority
            .tiers(request.pools, request.lifetime_secs);
        tiers.iter().find_map(|ranges| self.unused_in(ranges))
    }

    fn unused_in(&self, ranges: &[(u32, u32)]) -> Option<Ipv4Addr> {
        let ranges: Vec<(u32, u32)> = self.hosts_of(ranges).collect();
        let size = |(start, end): &(u32, u32)| u64::from(end - start) + 1;
        let total: u64 = ranges.iter().map(size).sum();
        let mut skip = self.request.key.spread().checked_rem(total)?;
        let (index, (start, end)) = ranges.iter().enumerate().find_map(|(index, range)| {
            let within = skip < size(range);
            skip -= if within { 0 } else { size(range) };
            within.then_some((index, *range))
        })?;
        let from = start + u32::try_from(skip).ok()?;
        let (before, rest) = ranges.split_at(index);
        iter::once((from, end))
            .chain(rest.iter().skip(1).copied())
            .chain(before.iter().copied())
            .chain((from > start).then(|| (start, from - 1)))
            .find_map(|(start, end)| {
                self.table
                    .next_unused(start.into(), end.into(), self.request.taken)
            })
    }

    /// The address that has been free for longest. Memories on the way that
    /// nobody can use (the pool was moved, the address reserved since) are
    /// cleared, so that no later search walks past them again.
    fn longest_ended(&self, changes: &mut Vec<Change>) -> Option<Ipv4Addr> {
        for record in self.table.ended(self.request.subnet, self.now) {
            if self.can_have(record.address) {
                return Some(record.address);
            }
            // What another replica may give is of use again one day.
            let useless = self.objection(record.address).is_some();
            if useless && changes.len() < MAX_CLEARED {
                changes.push(Change::Remove(record.address));
            }
        }
        None
    }

    /// The address that another was offered and did not take for longest.
    fn contested(&self) -> Option<Ipv4Addr> {
        let until = self.now.plus_secs(OFFER_HOLD_SECS);
        let records = self.table.ended(self.request.subnet, until);
        records
            .take(MAX_CLEARED)
            .filter(|record| self.is_contested(record))
            .map(|record| record.address)
            .find(|address| self.can_have(*address))
    }

    /// Whether `record` is an offer that its machine left lying.
    fn is_contested(&self, record: &Lease) -> bool {
        record.state == LeaseState::Offered && self.now.since(record.since) >= CONTESTED_SECS * 1000
    }

    /// Whether so much of the pools is on offer that no more is held.
    fn is_flooded(&self) -> bool {
        let offered = self.table.counts(self.request.subnet).offered;
        let size = |pool: &Pool| u64::from(u32::from(pool.end).saturating_sub(pool.start.into()));
        let all: u64 = self.request.pools.iter().map(|pool| size(pool) + 1).sum();
        offered >= ALWAYS_HELD && offered as u64 * 2 > all
    }

    /// Parts of the pools, cut to the host addresses of the network.
    fn hosts_of(&self, ranges: &[(u32, u32)]) -> impl Iterator<Item = (u32, u32)> {
        let net = self.request.cidr.net();
        let edge = u32::from(net.prefix_len() < 31);
        let first = u32::from(net.network()) + edge;
        let last = u32::from(net.broadcast()) - edge;
        ranges.iter().filter_map(move |(start, end)| {
            let (start, end) = (*start.max(&first), *end.min(&last));
            (start <= end).then_some((start, end))
        })
    }

    fn nothing_left(&self) -> SilentReason {
        let request = self.request;
        if !request.pools.is_empty() {
            match request.authority {
                Authority::Sole | Authority::Holder { .. } => SilentReason::PoolExhausted,
                Authority::Standby { .. } => SilentReason::NotHolder,
                Authority::Isolated { .. } if request.authority.is_fresh(request.lifetime_secs) => {
                    SilentReason::FreshDisk
                }
                Authority::Isolated { .. } => SilentReason::ShareExhausted,
            }
        } else if request.reserved.is_some_and(|at| request.cidr.is_host(at)) {
            SilentReason::ReservedAddressBusy
        } else {
            SilentReason::NoPool
        }
    }

    /// Keeps others off `address` until the machine had time to ask for it.
    fn hold(&self, address: Ipv4Addr) -> Vec<Change> {
        let until = self.now.plus_secs(OFFER_HOLD_SECS);
        let fresh = || self.fresh(address, LeaseState::Offered);
        let held = match self.own_record(address) {
            Some(record) if record.expires >= until => return Vec::new(),
            // A lease that is known may go on; what is no lease may not.
            Some(_) if !self.judges(address) && self.has(address) => return Vec::new(),
            // The memory must outlive an offer that is not taken.
            Some(record) if record.state != LeaseState::Offered => Lease {
                state: LeaseState::Expired,
                ..record.clone()
            },
            // Offered anew, it is held anew.
            Some(record) => Lease {
                since: self.now,
                ..record.clone()
            },
            // Another has it still, and may ask for it first.
            None if self
                .table
                .get(address)
                .is_some_and(|it| !it.is_free(self.now)) =>
            {
                return Vec::new();
            }
            None if self.is_flooded() => return Vec::new(),
            None => fresh(),
        };
        vec![Change::put(Lease {
            expires: until,
            ..held
        })]
    }

    /// Lends `address`; what the machine had elsewhere in this Subnet ends.
    fn bind(&self, address: Ipv4Addr) -> Vec<Change> {
        let now = self.now;
        let mut bound = self.fresh(address, LeaseState::Bound);
        bound.expires = now.plus_secs(self.request.lifetime_secs.into());
        let lent = |record: &&Lease| record.state_at(now) == LeaseState::Bound;
        if let Some(record) = self.own_record(address).filter(lent) {
            bound.since = record.since;
        }
        let elsewhere = self.own_records().map(|lease| lease.address);
        elsewhere
            .filter(|other| *other != address)
            .map(Change::Remove)
            .chain(iter::once(Change::put(bound)))
            .collect()
    }

    /// A record of this request that begins and ends now.
    fn fresh(&self, address: Ipv4Addr, state: LeaseState) -> Lease {
        let subnet = self.table.shared_name(self.request.subnet);
        lease(self.now, self.request, subnet, address, state)
    }

    /// Ends a lease now; the machine is remembered, an offer is not.
    fn take_back(&self, lease: &Lease) -> Vec<Change> {
        if lease.state == LeaseState::Offered {
            return vec![Change::Remove(lease.address)];
        }
        if lease.is_free(self.now) {
            return Vec::new();
        }
        vec![Change::put(Lease {
            state: LeaseState::Released,
            expires: self.now,
            ..lease.clone()
        })]
    }
}

/// A record of `request` that begins and ends now.
fn lease(
    now: Millis,
    request: &AllocateRequest<'_>,
    subnet: Arc<str>,
    address: Ipv4Addr,
    state: LeaseState,
) -> Lease {
    Lease {
        address,
        key: request.key.clone(),
        mac: request.mac,
        client_id: request.client_id.map(Into::into),
        subnet,
        hostname: request.hostname.map(Into::into),
        state,
        since: now,
        expires: now,
    }
}

#[cfg(test)]
#[path = "allocate_tests/mod.rs"]
mod tests;
