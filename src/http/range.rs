//! Which part of a file a request wants, and whether it still wants it:
//! conditions and ranges of RFC 9110, sections 13 and 14.
//!
//! Core: the version of the file comes in, an answer goes out.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Last second that an HTTP date can say: 9999-12-31 23:59:59.
const LAST_DATE: u64 = 253_402_300_799;

/// What tells one version of a file from another: when it last changed, to
/// the second, and how long it is.
// Limit: two versions of one length, written within one second, look the
// same. nginx has the same limit; files that are named by their content do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    modified: u64,
    len: u64,
}

/// The headers of a request that choose what is sent; a header that came on
/// several lines is joined with `, ` (RFC 9110 section 5.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `Range`; to be left out of anything but GET (section 14.2).
    pub range: Option<String>,
    /// `If-Range`.
    pub if_range: Option<String>,
    /// `If-Match`.
    pub if_match: Option<String>,
    /// `If-None-Match`.
    pub if_none_match: Option<String>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<String>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<String>,
}

/// What a request gets of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// 200: all of it.
    Whole,
    /// 206: a part.
    Part(Part),
    /// 304: the client's copy is good.
    NotModified,
    /// 412: the file is not the one that the client means.
    PreconditionFailed,
    /// 416: the part begins behind the end.
    Unsatisfiable,
}

/// A part of a file; never empty, never outside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its first byte, counted from 0.
    pub first: u64,
    /// Its last byte, which belongs to it.
    pub last: u64,
}

/// What a `Range` header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// From a byte to a byte, or to the end.
    From(u64, Option<u64>),
    /// The last so many bytes.
    Suffix(u64),
}

// === impl Version ===

impl Version {
    /// The version of a file of `len` bytes that changed at `modified`. Times
    /// that an HTTP date cannot say are moved to the nearest that it can.
    #[must_use]
    pub fn new(modified: SystemTime, len: u64) -> Self {
        let modified = modified
            .duration_since(UNIX_EPOCH)
            .map_or(0, |age| age.as_secs().min(LAST_DATE));
        Self { modified, len }
    }

    /// The length of the file in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The strong validator, made as nginx makes it: `"68e664ee-1d"`.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("\"{:x}-{:x}\"", self.modified, self.len)
    }

    /// The date of `Last-Modified`.
    #[must_use]
    pub fn last_modified(&self) -> String {
        httpdate::fmt_http_date(UNIX_EPOCH + std::time::Duration::from_secs(self.modified))
    }

    /// Whether the entity tag in `header` means this version for `If-Range`:
    /// strong comparison, or the exact date (RFC 9110 section 13.1.5).
    fn is(&self, header: &str) -> bool {
        let header = header.trim();
        header == self.etag() || seconds(header) == Some(self.modified)
    }

    /// Whether a list of entity tags names this version. `weakly`: `W/` does
    /// not matter (section 8.8.3.2).
    fn is_in(&self, list: &str, weakly: bool) -> bool {
        let etag = self.etag();
        // Our tag has no comma in it, so splitting cannot make up a match.
        list.split(',').map(str::trim).any(|tag| {
            let tag = match tag.strip_prefix("W/") {
                Some(rest) if weakly => rest,
                Some(_) | None => tag,
            };
            tag == "*" || tag == etag
        })
    }
}

// === impl Part ===

impl Part {
    /// Its length in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.last - self.first + 1
    }

    /// Never: a part has a byte at least.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Chooses what a GET or HEAD gets of a file, in the order of RFC 9110
/// section 13.2.2.
#[must_use]
pub fn select(conditions: &Conditions, version: &Version) -> Selection {
    let Conditions {
        range,
        if_range,
        if_match,
        if_none_match,
        if_modified_since,
        if_unmodified_since,
    } = conditions;
    if let Some(tags) = if_match {
        if !version.is_in(tags, false) {
            return Selection::PreconditionFailed;
        }
    } else if let Some(date) = if_unmodified_since.as_deref().and_then(seconds)
        && version.modified > date
    {
        return Selection::PreconditionFailed;
    }
    if let Some(tags) = if_none_match {
        if version.is_in(tags, true) {
            return Selection::NotModified;
        }
    } else if let Some(date) = if_modified_since.as_deref().and_then(seconds)
        && version.modified <= date
    {
        return Selection::NotModified;
    }
    match range {
        Some(range) if if_range.as_deref().is_none_or(|is| version.is(is)) => part(range, version),
        Some(_) | None => Selection::Whole,
    }
}

/// The part that a `Range` header means.
fn part(range: &str, version: &Version) -> Selection {
    let Some(wanted) = parse(range) else {
        // Firmware and old iPXE send `bytes=u-u` and negative numbers where
        // theirs overflow. A server may ignore Range (section 14.2), and the
        // whole file boots them; 416 does not.
        return Selection::Whole;
    };
    let Some(end) = version.len.checked_sub(1) else {
        return match wanted {
            // All of an empty file cannot be said as a range.
            Wanted::Suffix(1..) => Selection::Whole,
            Wanted::Suffix(0) | Wanted::From(..) => Selection::Unsatisfiable,
        };
    };
    let (first, last) = match wanted {
        Wanted::From(first, last) => (first, last.unwrap_or(end).min(end)),
        Wanted::Suffix(0) => return Selection::Unsatisfiable,
        Wanted::Suffix(count) => (version.len.saturating_sub(count), end),
    };
    if first > end {
        return Selection::Unsatisfiable;
    }
    Selection::Part(Part { first, last })
}

/// Reads a header of one range; `None` for several, another unit, or nonsense.
fn parse(range: &str) -> Option<Wanted> {
    let (unit, set) = range.trim().split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", count) => Some(Wanted::Suffix(number(count)?)),
        (first, "") => Some(Wanted::From(number(first)?, None)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Wanted::From(first, Some(last)))
        }
    }
}

/// Reads decimal digits. What is too big for any file stays too big.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

/// Reads an HTTP date as seconds since the Unix epoch; a condition with a bad
/// date is no condition (sections 13.1.3 and 13.1.4).
fn seconds(date: &str) -> Option<u64> {
    let date = httpdate::parse_http_date(date.trim()).ok()?;
    Some(date.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const DATE: &str = "Wed, 08 Oct 2025 13:19:42 GMT";
    const BEFORE: &str = "Wed, 08 Oct 2025 13:19:41 GMT";
    const AFTER: &str = "Wed, 08 Oct 2025 13:19:43 GMT";
    const TAG: &str = "\"68e664ee-1d\"";

    fn file(len: u64) -> Version {
        Version::new(UNIX_EPOCH + Duration::from_secs(0x68e6_64ee), len)
    }

    fn of_range(range: &str, len: u64) -> Selection {
        let conditions = Conditions {
            range: Some(range.to_owned()),
            ..Conditions::default()
        };
        select(&conditions, &file(len))
    }

    fn bytes(first: u64, last: u64) -> Selection {
        Selection::Part(Part { first, last })
    }

    #[test]
    fn names_a_version_as_nginx_does() {
        assert_eq!(file(29).etag(), TAG);
        assert_eq!(file(29).last_modified(), DATE);
    }

    #[test]
    fn survives_times_that_no_date_can_say() {
        let old = Version::new(UNIX_EPOCH - Duration::from_secs(9), 1);
        assert_eq!(old.last_modified(), "Thu, 01 Jan 1970 00:00:00 GMT");
        let late = Version::new(UNIX_EPOCH + Duration::from_secs(1 << 40), 1);
        assert_eq!(late.last_modified(), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn gives_the_part_that_is_asked_for() {
        for (range, want) in [
            ("bytes=0-0", bytes(0, 0)),
            ("bytes=0-", bytes(0, 28)),
            ("bytes=5-9", bytes(5, 9)),
            ("BYTES = 5 - 9 ", bytes(5, 9)),
            ("bytes=5-999", bytes(5, 28)),
            ("bytes=28-28", bytes(28, 28)),
            ("bytes=-1", bytes(28, 28)),
            ("bytes=-99", bytes(0, 28)),
            ("bytes=1-99999999999999999999999", bytes(1, 28)),
            ("bytes=29-", Selection::Unsatisfiable),
            ("bytes=29-30", Selection::Unsatisfiable),
            ("bytes=99999999999999999999999-", Selection::Unsatisfiable),
            ("bytes=-0", Selection::Unsatisfiable),
        ] {
            assert_eq!(of_range(range, 29), want, "{range}");
        }
    }

    #[test]
    fn counts_past_four_gibibytes() {
        let len = 5 << 30;
        assert_eq!(of_range("bytes=-10", len), bytes(len - 10, len - 1));
        assert_eq!(
            of_range("bytes=4294967296-4294967297", len),
            bytes(1 << 32, (1 << 32) + 1)
        );
    }

    #[test]
    fn ignores_a_range_that_nobody_can_read() {
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=u-u",
            "bytes=-2147483648--2147483137",
            "bytes=-5-9",
            "bytes=9-5",
            "bytes=0x1-0x2",
            "bytes=+1-2",
            "bytes=1",
            "lines=1-2",
            "bytes=0-1,5-6",
            "bytes=0-1, bytes=5-6",
        ] {
            assert_eq!(of_range(range, 29), Selection::Whole, "{range}");
        }
    }

    #[test]
    fn finds_no_part_in_an_empty_file() {
        assert_eq!(of_range("bytes=0-", 0), Selection::Unsatisfiable);
        assert_eq!(of_range("bytes=-0", 0), Selection::Unsatisfiable);
        assert_eq!(of_range("bytes=-5", 0), Selection::Whole);
    }

    #[test]
    fn resumes_only_the_same_version() {
        for (if_range, want) in [
            (TAG, bytes(0, 0)),
            (DATE, bytes(0, 0)),
            ("W/\"68e664ee-1d\"", Selection::Whole),
            ("\"68e664ee-1e\"", Selection::Whole),
            ("*", Selection::Whole),
            (AFTER, Selection::Whole),
            (BEFORE, Selection::Whole),
            ("yesterday", Selection::Whole),
        ] {
            let conditions = Conditions {
                range: Some("bytes=0-0".to_owned()),
                if_range: Some(if_range.to_owned()),
                ..Conditions::default()
            };
            assert_eq!(select(&conditions, &file(29)), want, "{if_range}");
        }
    }

    #[test]
    fn sends_nothing_to_who_has_it() {
        for (tags, want) in [
            (TAG, Selection::NotModified),
            ("W/\"68e664ee-1d\"", Selection::NotModified),
            ("\"other\", \"68e664ee-1d\"", Selection::NotModified),
            ("*", Selection::NotModified),
            ("\"other\"", Selection::Whole),
        ] {
            let conditions = Conditions {
                if_none_match: Some(tags.to_owned()),
                // Does not count beside If-None-Match.
                if_modified_since: Some(AFTER.to_owned()),
                ..Conditions::default()
            };
            assert_eq!(select(&conditions, &file(29)), want, "{tags}");
        }
        for (date, want) in [
            (DATE, Selection::NotModified),
            (AFTER, Selection::NotModified),
            (BEFORE, Selection::Whole),
            ("yesterday", Selection::Whole),
        ] {
            let conditions = Conditions {
                if_modified_since: Some(date.to_owned()),
                ..Conditions::default()
            };
            assert_eq!(select(&conditions, &file(29)), want, "{date}");
        }
    }

    #[test]
    fn refuses_another_version_than_is_meant() {
        for (tags, want) in [
            (TAG, Selection::Whole),
            ("*", Selection::Whole),
            ("W/\"68e664ee-1d\"", Selection::PreconditionFailed),
            ("\"other\"", Selection::PreconditionFailed),
        ] {
            let conditions = Conditions {
                if_match: Some(tags.to_owned()),
                // Does not count beside If-Match.
                if_unmodified_since: Some(BEFORE.to_owned()),
                ..Conditions::default()
            };
            assert_eq!(select(&conditions, &file(29)), want, "{tags}");
        }
        for (date, want) in [
            (DATE, Selection::Whole),
            (AFTER, Selection::Whole),
            (BEFORE, Selection::PreconditionFailed),
            ("yesterday", Selection::Whole),
        ] {
            let conditions = Conditions {
                if_unmodified_since: Some(date.to_owned()),
                ..Conditions::default()
            };
            assert_eq!(select(&conditions, &file(29)), want, "{date}");
        }
    }

    proptest! {
        #[test]
        fn a_part_lies_inside_the_file(
            range in prop_oneof![
                "bytes=[0-9]{0,21}-[0-9]{0,21}",
                "[ -~]{0,40}",
                any::<String>(),
            ],
            len in prop_oneof![0..40_u64, any::<u64>()],
        ) {
            if let Selection::Part(part) = of_range(&range, len) {
                prop_assert!(part.first <= part.last);
                prop_assert!(part.last < len);
                prop_assert!(part.len() <= len);
            }
        }

        #[test]
        fn any_headers_get_an_answer(
            headers in proptest::array::uniform6(proptest::option::of("[ -~]{0,30}")),
            modified in any::<u64>(),
            len in any::<u64>(),
        ) {
            let [range, if_range, if_match, if_none_match, if_modified_since, if_unmodified_since] =
                headers;
            let conditions = Conditions {
                range, if_range, if_match, if_none_match, if_modified_since, if_unmodified_since,
            };
            let modified = UNIX_EPOCH.checked_add(Duration::from_secs(modified));
            let version = Version::new(modified.unwrap_or(UNIX_EPOCH), len);
            let _ = select(&conditions, &version);
            let _ = (version.etag(), version.last_modified());
        }
    }
}
