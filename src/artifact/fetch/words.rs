//! What went wrong with a server, for people.

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::{Failure, Reason};
use crate::artifact::progress::human;
pub(super) use crate::operator::watch::chain;

/// A request that got no answer.
pub(super) fn of_error(url: &str, error: &reqwest::Error) -> Failure {
    let text = plain(error);
    let lower = text.to_ascii_lowercase();
    let is_tls = ["certificate", "tls", "handshake"]
        .iter()
        .any(|word| lower.contains(word));
    let reason = if error.is_redirect() {
        Reason::Redirect
    } else if error.is_timeout() {
        Reason::Stalled
    } else if is_tls {
        Reason::Tls
    } else {
        Reason::Unreachable
    };
    let cure = if reason == Reason::Redirect {
        "; name the URL that it leads to"
    } else if reason == Reason::Tls {
        "; put the authority's certificate into `ca.crt` of a Secret, and name it by `secretRef`"
    } else {
        ""
    };
    Failure::new(reason, format!("{url}: {text}{cure}"))
}

/// A body that broke off.
pub(super) fn of_body(
    url: &str,
    error: &reqwest::Error,
    there: u64,
    total: Option<u64>,
) -> Failure {
    let of = total.map_or_else(String::new, |total| format!(" of {}", human(total)));
    let there = human(there);
    if error.is_timeout() {
        let what = format!("{url}: nothing came for a minute after {there}{of}");
        return Failure::new(Reason::Stalled, what);
    }
    let what = format!("{url} broke off after {there}{of}: {}", plain(error));
    Failure::new(Reason::Truncated, what)
}

/// An answer that is an error.
pub(super) fn of_status(url: &str, status: StatusCode, headers: &HeaderMap) -> Failure {
    let (reason, cure) = match status.as_u16() {
        401 => (Reason::Unauthorized, "; name a Secret by `secretRef`"),
        403 => (
            Reason::Unauthorized,
            "; it must be allowed to what the Secret of `secretRef` names",
        ),
        404 | 410 => (Reason::NotFound, "; correct the URL"),
        429 => (Reason::TooManyRequests, ""),
        300..=399 => (Reason::Redirect, "; name the URL that it leads to"),
        _ => (Reason::ServerError, ""),
    };
    let mut failure = Failure::new(reason, format!("{url} answers {status}{cure}"));
    failure.retry_after = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    failure
}

pub(super) fn page(url: &str) -> Failure {
    let what =
        format!("{url} is a page (HTML) and no file to boot; correct the URL, or give the digest");
    Failure::new(Reason::ErrorPage, what)
}

pub(super) fn too_big(url: &str, len: Option<u64>, most: u64) -> Failure {
    let len = len.map_or_else(|| "more".to_owned(), human);
    let what = format!("{url} has {len}; at most {} are taken", human(most));
    Failure::new(Reason::TooBig, what)
}

pub(super) fn no_room(url: &str, wants: u64, free: u64) -> Failure {
    let what = format!(
        "{url} needs {} and the volume has {} free; make room, or use a bigger volume",
        human(wants),
        human(free)
    );
    Failure::new(Reason::VolumeFull, what)
}

/// An error without the URL, which stands before it already.
fn plain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&next);
        }
        cause = error.source();
    }
    if text.is_empty() {
        text = error.to_string();
    }
    text
}
