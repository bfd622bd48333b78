//! Leases as `DhcpLease` objects: for people to look at, and for a replica that
//! takes over without the table of the one before it.
//!
//! `plan` is core: which objects there should be, and the next write towards
//! that. `shell` writes them, and reads them once when this replica begins to
//! lead; nothing that machines wait for waits for either.

mod plan;
mod shell;

pub use self::plan::{Plan, Uid, Write, lease_of, object_of};
pub use self::shell::{Leads, Mirror, MirrorMetrics, Setup, UidOf};
