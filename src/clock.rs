//! The clock. Shells read it here; the core gets times as arguments.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// Whole seconds since the Unix epoch.
    #[must_use]
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// From whole seconds since the Unix epoch.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds from `earlier` to this; 0 where the clock went back.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// So many milliseconds later.
    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// So many seconds later.
    #[must_use]
    pub const fn plus_secs(self, secs: u64) -> Self {
        self.plus_millis(secs.saturating_mul(1000))
    }
}

/// The time now, by the wall clock: leases outlive the process.
#[must_use]
pub fn now() -> Millis {
    Millis(u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX))
}

/// The time since `then`, which is given as its distance from the Unix epoch, as
/// the kernel stamps packets; none where the clock was set back since.
#[must_use]
pub fn elapsed_since(then: Duration) -> Duration {
    since_epoch().saturating_sub(then)
}

fn since_epoch() -> Duration {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Milliseconds since the host started, suspension included. Never goes back,
/// whatever is done to the wall clock: what is promised for a time is measured
/// by this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uptime(pub u64);

impl Uptime {
    /// So much later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// Time from `earlier` to this; none where that is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// The host's uptime now.
#[must_use]
pub fn uptime() -> Uptime {
    // Fails only for a clock that the kernel does not have; Linux has had this
    // one since 2.6.39. The far end of time then: no promise is believed.
    let Ok(time) = clock_gettime(ClockId::CLOCK_BOOTTIME) else {
        return Uptime(u64::MAX);
    };
    Uptime(u64::try_from(Duration::from(time).as_millis()).unwrap_or(u64::MAX))
}
