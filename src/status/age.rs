//! Spans of time as kubectl prints them. Core.

use crate::clock::Millis;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY;

/// From `then` to `now`, as kubectl prints an age: `45s`, `5m10s`, `3h`, `12d`.
/// The shorter the span, the finer; one unit or two.
#[must_use]
pub fn age(then: Millis, now: Millis) -> String {
    let secs = now.since(then) / 1000;
    // The first bound that is above `secs` decides: the unit, and the smaller
    // unit that is said beside it.
    let (unit, name, rest) = match secs {
        _ if secs < 2 * MINUTE => (1, "s", None),
        _ if secs < 10 * MINUTE => (MINUTE, "m", Some((1, "s"))),
        _ if secs < 3 * HOUR => (MINUTE, "m", None),
        _ if secs < 8 * HOUR => (HOUR, "h", Some((MINUTE, "m"))),
        _ if secs < 2 * DAY => (HOUR, "h", None),
        _ if secs < 8 * DAY => (DAY, "d", Some((HOUR, "h"))),
        _ if secs < 2 * YEAR => (DAY, "d", None),
        _ if secs < 8 * YEAR => (YEAR, "y", Some((DAY, "d"))),
        _ => (YEAR, "y", None),
    };
    let whole = format!("{}{name}", secs / unit);
    match rest {
        Some((smaller, name)) if secs % unit / smaller > 0 => {
            format!("{whole}{}{name}", secs % unit / smaller)
        }
        _ => whole,
    }
}

/// A duration in milliseconds: tenths of a second below a minute, then as an age.
#[must_use]
pub fn span(millis: u64) -> String {
    if millis < 60_000 {
        format!("{}.{}s", millis / 1000, millis % 1000 / 100)
    } else {
        age(Millis(0), Millis(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_ages_as_kubectl_does() {
        for (secs, want) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (121, "2m1s"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * HOUR - 1, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 60, "3h1m"),
            (8 * HOUR + 60, "8h"),
            (47 * HOUR, "47h"),
            (48 * HOUR, "2d"),
            (49 * HOUR, "2d1h"),
            (8 * DAY + HOUR, "8d"),
            (700 * DAY, "700d"),
            (2 * YEAR, "2y"),
            (2 * YEAR + 3 * DAY, "2y3d"),
            (9 * YEAR + 3 * DAY, "9y"),
        ] {
            let now = Millis::from_secs(1_000_000_000);
            let then = Millis::from_secs(1_000_000_000 - secs);
            assert_eq!(age(then, now), want, "{secs}");
        }
        // A clock that was set back.
        assert_eq!(age(Millis(5000), Millis(0)), "0s");
    }

    #[test]
    fn says_short_spans_in_tenths() {
        assert_eq!(span(12_345), "12.3s");
        assert_eq!(span(59_999), "59.9s");
        assert_eq!(span(61_500), "61s");
        assert_eq!(span(150_000), "2m30s");
    }
}
