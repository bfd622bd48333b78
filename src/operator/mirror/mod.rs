//! Leases as `DhcpLease` objects: for people to look at, and for a replica that
//! takes over without the table of the one before it.
//!
//! `object` and `plan` are core: what an object says of a lease, which objects
//! there should be, and the next write towards that. `shell` writes them, and
//! reads them once when this replica begins to lead; nothing that machines wait
//! for waits for either. IPv6 leases each replica mirrors itself, and reads once.

mod object;
mod plan;
mod shell;

pub use self::object::{Mirrored, Shown, Uid, is_own6, lease_of, name_of, object_of, replica_of};
pub use self::plan::{Plan, Write};
pub use self::shell::{Leads, Mirror, MirrorMetrics, Own, Setup, Table, UidOf};
