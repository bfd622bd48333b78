//! How long an election takes, and what of it makes sense together. Core: pure.

use std::time::Duration;

/// The longest lease that may be set or is believed: a number that somebody
/// wrote by hand must not keep everybody out for ever.
pub const MAX_LEASE: Duration = Duration::from_secs(300);

/// How long things take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Others take a Lease that has not changed for so long.
    pub lease: Duration,
    /// A holder that could not renew it for so long leads no more.
    pub renew: Duration,
    /// How often the object is written or read.
    pub retry: Duration,
}

/// Times that make no sense together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// Clocks that run at different speeds would make two leaders.
    #[error("the lease duration must be at least 1.5 times the renew deadline, and at most 300 s")]
    Lease,
    /// One failed attempt would end the leadership.
    #[error("the renew deadline must be at least 3 times the retry period")]
    Renew,
    /// The API server is asked as often.
    #[error("the retry period must be at least 100 ms")]
    Retry,
}

// === impl Timing ===

impl Default for Timing {
    /// client-go's, as kube-controller-manager and kube-scheduler use them.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

impl Timing {
    /// Whether the times make sense together.
    ///
    /// # Errors
    /// Which one does not.
    pub fn check(self) -> Result<Self, TimingError> {
        if self.retry < Duration::from_millis(100) {
            return Err(TimingError::Retry);
        }
        if self.renew < self.retry * 3 {
            return Err(TimingError::Renew);
        }
        if self.lease * 2 < self.renew * 3 || self.lease > MAX_LEASE {
            return Err(TimingError::Lease);
        }
        Ok(self)
    }

    /// How long one request to the API server may take: a write that takes so
    /// long leaves the holder time for another before its own time is over.
    #[must_use]
    pub fn request(self) -> Duration {
        self.renew * 9 / 20
    }

    pub(super) fn lease_secs(self) -> u32 {
        let up = self.lease + Duration::from_millis(999);
        u32::try_from(up.as_secs()).unwrap_or(u32::MAX)
    }
}
