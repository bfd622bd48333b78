//! What a request line asks for, before anyone looks it up.
//!
//! Core: text in, text out.

use percent_encoding::percent_decode_str;

/// Why a path cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTarget {
    /// A `%` without two hexadecimal digits behind it.
    Percent,
    /// Bytes that are not UTF-8 once decoded.
    NotUtf8,
}

/// How a folder is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// For whom.
    pub format: Format,
    /// What its entries stand by.
    pub sort: Sort,
    /// Whether the largest, or latest, comes first.
    pub descending: bool,
    /// Whether times are in UTC and not in local time.
    pub utc: bool,
}

/// For whom a folder is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A page for people.
    #[default]
    Html,
    /// For programs.
    Json,
}

/// What the entries of a folder stand by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Their names, in the order of bytes.
    #[default]
    Name,
    /// Their lengths.
    Size,
    /// When they changed last.
    Time,
}

impl BadTarget {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Percent => "path-has-bad-percent-encoding",
            Self::NotUtf8 => "path-is-not-utf-8",
        }
    }
}

/// Decodes the path of a request, once.
///
/// # Errors
/// [`BadTarget`] says what cannot be read.
pub fn decode_path(path: &str) -> Result<String, BadTarget> {
    let mut rest = path;
    while let Some((_, behind)) = rest.split_once('%') {
        let digits = behind.as_bytes().iter().take(2);
        if digits.filter(|digit| digit.is_ascii_hexdigit()).count() != 2 {
            return Err(BadTarget::Percent);
        }
        rest = behind;
    }
    let decoded = percent_decode_str(path).decode_utf8();
    decoded
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| BadTarget::NotUtf8)
}

/// How the client wants a folder: `?format=json` or `Accept: application/json`
/// get JSON, all else a page; `sort=name|size|time`, `order=desc` and `time=utc`
/// change either. What is not understood counts as not said.
#[must_use]
pub fn view(query: Option<&str>, accept: Option<&str>) -> View {
    let asked = |name: &str| {
        let pairs = query.unwrap_or_default().split('&');
        let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let accepts = |wanted: &str| {
        accept.unwrap_or_default().split(',').any(|range| {
            let kind = range.split(';').next().unwrap_or_default();
            kind.trim().eq_ignore_ascii_case(wanted)
        })
    };
    View {
        format: match asked("format") {
            Some("json") => Format::Json,
            Some("html") => Format::Html,
            Some(_) | None if accepts("application/json") && !accepts("text/html") => Format::Json,
            Some(_) | None => Format::Html,
        },
        sort: match asked("sort") {
            Some("size") => Sort::Size,
            Some("time") => Sort::Time,
            Some(_) | None => Sort::Name,
        },
        descending: asked("order") == Some("desc"),
        utc: asked("time") == Some("utc"),
    }
}

impl View {
    /// The query that asks for this page; what is usual is left out.
    #[must_use]
    pub fn query(&self) -> String {
        let sort = match self.sort {
            Sort::Name => "sort=name",
            Sort::Size => "sort=size",
            Sort::Time => "sort=time",
        };
        let order = if self.descending { "&order=desc" } else { "" };
        let time = if self.utc { "&time=utc" } else { "" };
        format!("?{sort}{order}{time}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decodes_once() {
        for (path, want) in [
            ("/", "/"),
            ("/a%20b", "/a b"),
            ("/a+b", "/a+b"),
            ("/%C3%A4", "/ä"),
            ("/ä", "/ä"),
            ("/%2e%2E/x", "/../x"),
            ("/%252e", "/%2e"),
            ("/a%2Fb", "/a/b"),
        ] {
            assert_eq!(decode_path(path).as_deref(), Ok(want), "{path}");
        }
    }

    #[test]
    fn refuses_what_cannot_be_decoded() {
        for path in ["/%", "/%4", "/%zz", "/%%41", "/%4ä", "/a%2"] {
            assert_eq!(decode_path(path), Err(BadTarget::Percent), "{path}");
        }
        for path in ["/%ff", "/%c3", "/%c0%af"] {
            assert_eq!(decode_path(path), Err(BadTarget::NotUtf8), "{path}");
        }
    }

    #[test]
    fn shows_a_folder_as_asked() {
        use Format::{Html, Json};
        for (query, accept, want) in [
            (None, None, Html),
            (Some("format=json"), None, Json),
            (Some("a=b&format=json"), Some("text/html"), Json),
            (Some("format=html"), Some("application/json"), Html),
            (None, Some("application/json"), Json),
            (None, Some("Application/JSON;q=0.9, */*"), Json),
            (None, Some("*/*"), Html),
            (None, Some("text/html, application/json"), Html),
        ] {
            assert_eq!(view(query, accept).format, want, "{query:?} {accept:?}");
        }
    }

    #[test]
    fn a_page_links_to_itself() {
        for query in [
            "",
            "sort=size&order=desc",
            "time=utc&sort=time",
            "sort=x&order=y",
        ] {
            let seen = view(Some(query), None);
            assert_eq!(view(seen.query().strip_prefix('?'), None), seen, "{query}");
        }
    }

    proptest! {
        #[test]
        fn any_path_gets_an_answer(path in any::<String>()) {
            let _ = decode_path(&path);
        }
    }
}
