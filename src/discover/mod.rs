//! Discovery: machines that no object names ask to boot, and become Machines
//! that wait for approval.
//!
//! DHCP hands sightings over; [`Discovery`] folds them and says which Machines
//! are to be made, noted and cleaned up. A stranger can send any MAC address,
//! and as many as he likes, so a MAC address must be heard twice before
//! anything is kept of it, and all that is kept has a bound. Core, but for the
//! queue and the counters.

mod glimpse;
mod limits;
mod machine;
mod metrics;
mod queue;
mod sighting;
mod table;
#[cfg(test)]
mod table_tests;

pub use self::limits::{DiscoverArgs, Limits};
pub use self::machine::{
    DISCOVERED_LABEL, Facts, facts_of, is_untouched, machine, may_be_untouched, name_of, time,
    time_of,
};
pub use self::metrics::DiscoveryMetrics;
pub use self::queue::{QUEUE, SightingSender, queue};
pub use self::sighting::{Overlooked, Sighting};
pub use self::table::{
    Discovery, Dropped, Found, MAX_CANDIDATES, MAX_OF_SUBNET, Seen, Standing, Who,
};
