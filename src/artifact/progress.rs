//! How far a fetch is: bytes, rate, time left.

use std::collections::VecDeque;

use crate::clock::Millis;

/// The rate is that of this last time.
const WINDOW_MILLIS: u64 = 10_000;
/// Between two samples of it.
const SAMPLE_MILLIS: u64 = 500;

/// How far a fetch is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// What is fetched now, by its path.
    pub file: String,
    /// Bytes that are there, of all files.
    pub bytes: u64,
    /// Bytes that there are, where every server said.
    pub total: Option<u64>,
    samples: VecDeque<(Millis, u64)>,
}

impl Progress {
    /// `bytes` are there at `now`.
    pub fn at(&mut self, bytes: u64, now: Millis) {
        // What begins anew has no rate yet.
        if bytes < self.bytes {
            self.samples.clear();
        }
        self.bytes = bytes;
        let last = self.samples.back().map(|(at, _)| *at);
        if last.is_none_or(|last| now.since(last) >= SAMPLE_MILLIS) {
            self.samples.push_back((now, bytes));
        }
        while self
            .samples
            .get(1)
            .is_some_and(|(at, _)| now.since(*at) >= WINDOW_MILLIS)
        {
            self.samples.pop_front();
        }
    }

    /// Bytes a second, lately; `None` while nobody can say.
    #[must_use]
    pub fn rate(&self, now: Millis) -> Option<u64> {
        let (at, bytes) = self.samples.front()?;
        let millis = now.since(*at);
        if millis < SAMPLE_MILLIS {
            return None;
        }
        let more = self.bytes.saturating_sub(*bytes);
        u64::try_from(u128::from(more) * 1000 / u128::from(millis)).ok()
    }

    /// Seconds that are left, at the rate of late; `None` where nobody can say.
    #[must_use]
    pub fn seconds_left(&self, now: Millis) -> Option<u64> {
        let rate = self.rate(now).filter(|rate| *rate > 0)?;
        Some(self.total?.saturating_sub(self.bytes).div_ceil(rate))
    }

    /// Of a hundred, rounded down, so that 100 is the end; `None` where nobody
    /// can say.
    #[must_use]
    pub fn percent(&self) -> Option<u64> {
        let total = self.total.filter(|total| *total > 0)?;
        let percent = u128::from(self.bytes.min(total)) * 100 / u128::from(total);
        u64::try_from(percent).ok()
    }

    /// For a column: `42%`, or `12 MiB` where nobody knows of how much.
    #[must_use]
    pub fn column(&self) -> String {
        match self.percent() {
            Some(percent) => format!("{percent}%"),
            None => human(self.bytes),
        }
    }
}

/// Bytes for people: `512 B`, `1.5 KiB`, `56 MiB`.
#[must_use]
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "B";
    for next in UNITS {
        if tenths < 10_235 {
            break;
        }
        tenths = tenths.div_ceil(1024).max(10);
        unit = next;
    }
    if tenths < 100 {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    } else {
        format!("{} {unit}", (tenths + 5) / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_rate_and_time_left() {
        let mut progress = Progress {
            total: Some(10_000),
            ..Progress::default()
        };
        progress.at(0, Millis(0));
        assert_eq!(progress.rate(Millis(100)), None);
        progress.at(1000, Millis(1000));
        assert_eq!(progress.rate(Millis(1000)), Some(1000));
        assert_eq!(progress.seconds_left(Millis(1000)), Some(9));
        assert_eq!(progress.column(), "10%");
        // A server that is silent: the rate falls.
        assert_eq!(progress.rate(Millis(2000)), Some(500));
        // The past is forgotten.
        for second in 2..=30 {
            progress.at(1000 + second * 100, Millis(second * 1000));
        }
        assert_eq!(progress.rate(Millis(30_000)), Some(100));
        // Begun anew.
        progress.at(10, Millis(30_100));
        assert_eq!(progress.rate(Millis(30_200)), None);
    }

    #[test]
    fn is_not_at_the_end_before_it_is() {
        let mut progress = Progress {
            total: Some(1000),
            ..Progress::default()
        };
        progress.at(999, Millis(0));
        assert_eq!(progress.column(), "99%");
        progress.at(1000, Millis(0));
        assert_eq!(progress.column(), "100%");
        progress.total = None;
        assert_eq!(progress.column(), "1000 B");
    }

    #[test]
    fn says_bytes_for_people() {
        for (bytes, want) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (58_720_256, "56 MiB"),
            (1 << 30, "1.0 GiB"),
            (1_073_741_000, "1.0 GiB"),
            (20 << 30, "20 GiB"),
        ] {
            assert_eq!(human(bytes), want, "{bytes}");
        }
    }
}
