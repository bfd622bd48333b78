//! Why an HTTP request gets no content.
//!
//! Core: names and status codes.

use super::target::BadTarget;
use super::{passwords, phone_home, release, route};

/// A refusal of a request: its name is the body of the answer, the log field
/// and the metric's label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 405: neither GET nor HEAD.
    Method,
    /// 503: there is no snapshot yet; the client may come back.
    NoSnapshot,
    /// 503: too many large transfers on the link; the client may come back.
    Busy,
    /// 400: the path cannot be read.
    Target(BadTarget),
    /// What `phone_home` refuses.
    PhoneHome(phone_home::Refused),
    /// What `route` refuses.
    Route(route::Refused),
    /// What `release` refuses.
    AnswerFile(release::Refused),
    /// What a password is refused for.
    Password(passwords::Refused),
    /// 404: nothing is there.
    NotFound,
    /// 403: it is there, but must not be read or leads out of the root.
    NotReadable,
    /// 403: it is a folder and folders are not shown.
    ListingOff,
    /// 500: it cannot be read, for no fault of the client.
    ReadFailed,
    /// 412: it is not the version that the client means.
    OtherVersion,
    /// 416: the range begins behind the end.
    BehindEnd,
}

impl Refusal {
    /// Its name in answers, log lines and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Method => "method-not-allowed",
            Self::NoSnapshot => "no-snapshot",
            Self::Busy => "busy",
            Self::Target(bad) => bad.as_str(),
            Self::PhoneHome(refused) => refused.as_str(),
            Self::Route(refused) => refused.as_str(),
            Self::AnswerFile(refused) => refused.as_str(),
            Self::Password(refused) => refused.as_str(),
            Self::NotFound => "not-found",
            Self::NotReadable => "not-readable",
            Self::ListingOff => "listing-is-off",
            Self::ReadFailed => "read-failed",
            Self::OtherVersion => "file-is-another-version",
            Self::BehindEnd => "range-behind-end",
        }
    }

    /// The status code of the answer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Method => 405,
            Self::NoSnapshot | Self::Busy => 503,
            Self::Target(_) => 400,
            Self::PhoneHome(refused) => refused.status(),
            Self::Route(refused) => refused.status(),
            Self::AnswerFile(refused) => refused.status(),
            Self::Password(refused) => refused.status(),
            Self::NotFound => 404,
            Self::NotReadable | Self::ListingOff => 403,
            Self::ReadFailed => 500,
            Self::OtherVersion => 412,
            Self::BehindEnd => 416,
        }
    }
}
