//! Which replica leads.
//!
//! `elect` is core: the rule by which replicas take turns at a Lease object,
//! with `record` and `timing`, what the object says and how long things take.
//! `shell` carries it out against an API server, `handle` is what the rest of
//! the process asks.

mod config;
mod elect;
mod handle;
mod object;
mod record;
mod shell;
mod timing;

pub use self::config::{ConfigError, LeaderConfig, MAX_REPLICAS, Place};
pub use self::elect::{Action, Elector, Leadership, MAX_WAIT, Reply};
pub use self::handle::{Footing, LeaderHandle};
pub use self::object::{FIELD_MANAGER, KNOWN_PREFIX, SERVERS_PREFIX};
pub use self::record::{RELEASED_SECS, Record};
pub use self::shell::{Election, LeaderMetrics};
pub use self::timing::{MAX_LEASE, Timing, TimingError};
