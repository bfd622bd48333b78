//! What one of several replicas may give of the pools.
//!
//! Reservations need no state: every replica answers them. For the rest, the
//! last tenths of each pool are shares, one for each replica by its ordinal,
//! that no other replica ever gives from; all before them belongs to the
//! replica that holds the pools.

use std::net::Ipv4Addr;

use crate::api::Pool;

/// Of how many parts of a pool one is a share. Pools with fewer addresses have
/// no shares: there, nothing new is given while the holder is unknown.
pub const SHARE_OF: u32 = 10;

/// What this replica may give of the pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authority {
    /// There is no other replica: everything, and nobody is asked.
    #[default]
    Sole,
    /// It holds the pools: everything but the shares of others.
    Holder {
        /// Who has which share.
        shares: Shares,
        /// For how many seconds it has been certain that nobody else renews
        /// what this replica does not know of; `None` while it is not. It is
        /// sure of an address once a lease's lifetime has passed since.
        settled_secs: Option<u64>,
    },
    /// It cannot tell who holds the pools: leases that it knows go on, new
    /// ones come from its own share.
    Isolated {
        /// Who has which share.
        shares: Shares,
        /// Seconds since it started without its table; `None` where it has
        /// one. It may have given any address of its share before.
        fresh_secs: Option<u64>,
    },
    /// Another holds the pools, or is about to: reservations, and what it gave
    /// from its own share.
    Standby {
        /// Who has which share.
        shares: Shares,
    },
}

/// Who has which share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// How many replicas there are, 8 at most.
    pub replicas: u8,
    /// Which one this is, from 0.
    pub ordinal: u8,
}

// === impl Authority ===

impl Authority {
    /// Its name in log lines and scenarios.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sole => "sole",
            Self::Holder { .. } => "holder",
            Self::Isolated { .. } => "isolated",
            Self::Standby { .. } => "standby",
        }
    }

    /// How many replicas there are, and which one this is, from 0.
    pub(super) const fn place(self) -> (u8, u8) {
        match self {
            Self::Sole => (1, 0),
            Self::Holder { shares, .. }
            | Self::Isolated { shares, .. }
            | Self::Standby { shares } => (shares.replicas, shares.ordinal),
        }
    }

    /// Whether it may refuse an address of the pools. Others stay silent: the
    /// one that holds the pools knows more.
    #[must_use]
    pub const fn judges(self) -> bool {
        matches!(self, Self::Sole | Self::Holder { .. })
    }

    /// A replica without others in a cluster, which started without its table:
    /// everything is its own, but what it gave before it may not know.
    /// `settled_secs` as in [`Authority::Holder`].
    #[must_use]
    pub const fn alone(settled_secs: Option<u64>) -> Self {
        Self::Holder {
            shares: Shares {
                replicas: 1,
                ordinal: 0,
            },
            settled_secs,
        }
    }

    /// Whether there is no other replica, which might go on with a lease.
    #[must_use]
    pub const fn is_alone(self) -> bool {
        match self {
            Self::Sole => true,
            Self::Holder { shares, .. } => shares.replicas == 1,
            Self::Isolated { .. } | Self::Standby { .. } => false,
        }
    }

    /// Whether somebody that we know nothing of may have an address that is
    /// lent for `lifetime_secs`.
    #[must_use]
    pub fn is_unsure(self, lifetime_secs: u32) -> bool {
        match self {
            Self::Holder { settled_secs, .. } => {
                settled_secs.is_none_or(|secs| secs < u64::from(lifetime_secs))
            }
            Self::Sole | Self::Isolated { .. } | Self::Standby { .. } => false,
        }
    }

    /// Where new addresses come from, the parts of first choice first. The
    /// holder begins with the part of the pool that has its number, so that
    /// after a change of hands it collides least with what it was not told of.
    pub(super) fn tiers(self, pools: &[Pool], lifetime_secs: u32) -> Vec<Vec<(u32, u32)>> {
        let of = |part: &dyn Fn(&Pool) -> Option<(u32, u32)>| -> Vec<(u32, u32)> {
            pools.iter().filter_map(part).collect()
        };
        match self {
            _ if self.is_alone() => {
                vec![of(&|pool| Some((pool.start.into(), pool.end.into())))]
            }
            Self::Holder { shares, .. } => vec![
                of(&|pool| shares.region(pool)),
                of(&|pool| shares.common(pool)),
                of(&|pool| shares.own(pool)),
            ],
            Self::Isolated { shares, fresh_secs } if is_aged(fresh_secs, lifetime_secs) => {
                vec![of(&|pool| shares.own(pool))]
            }
            Self::Sole | Self::Isolated { .. } | Self::Standby { .. } => Vec::new(),
        }
    }

    /// Whether it started without its table less than a lease's lifetime ago.
    pub(super) fn is_fresh(self, lifetime_secs: u32) -> bool {
        matches!(self, Self::Isolated { fresh_secs, .. } if !is_aged(fresh_secs, lifetime_secs))
    }
}

fn is_aged(fresh_secs: Option<u64>, lifetime_secs: u32) -> bool {
    fresh_secs.is_none_or(|secs| secs >= u64::from(lifetime_secs))
}

// === impl Shares ===

impl Shares {
    /// The replica whose share `address` is in; `None` for the part that
    /// belongs to the holder, and for addresses of no pool.
    #[must_use]
    pub fn owner(self, pools: &[Pool], address: Ipv4Addr) -> Option<u8> {
        let pool = pools
            .iter()
            .find(|pool| (pool.start..=pool.end).contains(&address))?;
        let from_end = u32::from(pool.end) - u32::from(address);
        let share = from_end.checked_div(size(pool))?;
        u8::try_from(share).ok().filter(|at| *at < self.replicas)
    }

    /// Whether `address` is in this replica's own share.
    #[must_use]
    pub fn is_own(self, pools: &[Pool], address: Ipv4Addr) -> bool {
        self.owner(pools, address) == Some(self.ordinal)
    }

    /// This replica's share of `pool`.
    fn own(self, pool: &Pool) -> Option<(u32, u32)> {
        let size = size(pool);
        let last = u32::from(pool.end) - size * u32::from(self.ordinal);
        (size > 0).then(|| (last - size + 1, last))
    }

    /// What is in no share.
    fn common(self, pool: &Pool) -> Option<(u32, u32)> {
        let start = u32::from(pool.start);
        let kept = u64::from(size(pool)) * u64::from(self.replicas.min(8));
        let length = (u64::from(u32::from(pool.end)) + 1)
            .checked_sub(u64::from(start))?
            .checked_sub(kept)?;
        let last = u64::from(start) + length.checked_sub(1)?;
        Some((start, u32::try_from(last).ok()?))
    }

    /// The part of the common addresses that this replica begins with.
    fn region(self, pool: &Pool) -> Option<(u32, u32)> {
        let (start, end) = self.common(pool)?;
        let length = u64::from(end - start) + 1;
        let edge = |at: u8| u32::try_from(length * u64::from(at) / u64::from(self.replicas.max(1)));
        let (from, to) = (edge(self.ordinal).ok()?, edge(self.ordinal + 1).ok()?);
        (from < to).then(|| (start + from, start + to - 1))
    }
}

/// Addresses in one share of `pool`.
fn size(pool: &Pool) -> u32 {
    let steps = u32::from(pool.end).saturating_sub(u32::from(pool.start));
    // One more than there are steps; a pool of all addresses has one fewer here.
    steps.saturating_add(1) / SHARE_OF
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the pool and the number of replicas: what any two of them
        /// may give while either may be isolated has nothing in common.
        #[test]
        fn shares_are_disjoint_and_the_holder_spares_them(
            start in 0u32..1000,
            length in 1u32..400,
            replicas in 2u8..9,
        ) {
            let pool = Pool { start: start.into(), end: (start + length - 1).into() };
            let pools = [pool];
            let all = |ordinal| Shares { replicas, ordinal };
            for address in start..start + length {
                let at = Ipv4Addr::from(address);
                let within = |range: Option<(u32, u32)>| {
                    range.is_some_and(|(from, to)| (from..=to).contains(&address))
                };
                let owners: Vec<u8> =
                    (0..replicas).filter(|n| within(all(*n).own(&pools[0]))).collect();
                let common = within(all(0).common(&pools[0]));
                prop_assert_eq!(owners.len() + usize::from(common), 1, "{}", at);
                prop_assert_eq!(all(0).owner(&pools, at), owners.first().copied());
                let regions = (0..replicas).filter(|n| within(all(*n).region(&pools[0]))).count();
                prop_assert_eq!(regions, usize::from(common));
            }
        }
    }

    #[test]
    fn alone_without_its_table_it_has_the_whole_pool_and_is_unsure_of_it() {
        let pool = Pool {
            start: [10, 0, 0, 1].into(),
            end: [10, 0, 0, 100].into(),
        };
        let tiers = |authority: Authority| authority.tiers(&[pool], 60);
        let alone = Authority::alone;
        assert_eq!(tiers(alone(None)), tiers(Authority::Sole));
        assert!(alone(None).is_unsure(60) && alone(Some(59)).is_unsure(60));
        assert!(!alone(Some(60)).is_unsure(60));
        assert!(alone(None).is_alone() && alone(None).judges());
    }

    #[test]
    fn a_small_pool_has_no_shares_and_the_largest_is_no_trouble() {
        let shares = Shares {
            replicas: 2,
            ordinal: 1,
        };
        let small = Pool {
            start: [10, 0, 0, 1].into(),
            end: [10, 0, 0, 9].into(),
        };
        assert_eq!(shares.own(&small), None);
        assert_eq!(shares.owner(&[small], [10, 0, 0, 9].into()), None);
        let all = Pool {
            start: Ipv4Addr::UNSPECIFIED,
            end: Ipv4Addr::BROADCAST,
        };
        assert_eq!(shares.owner(&[all], Ipv4Addr::BROADCAST), Some(0));
    }
}
