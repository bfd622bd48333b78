//! Which replica leads.
//!
//! `elect` is core: the rule by which replicas take turns at a Lease object.
//! `shell` carries it out against an API server, `handle` is what the rest of
//! the process asks.

mod config;
mod elect;
mod handle;
mod object;
mod shell;

pub use self::config::{ConfigError, LeaderConfig, MAX_REPLICAS, Place};
pub use self::elect::{
    Action, Elector, Leadership, MAX_LEASE, MAX_WAIT, RELEASED_SECS, Record, Reply, Timing,
    TimingError,
};
pub use self::handle::{Footing, LeaderHandle};
pub use self::object::{FIELD_MANAGER, KNOWN_PREFIX, SERVERS_PREFIX};
pub use self::shell::{Election, LeaderMetrics};
