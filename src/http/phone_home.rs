//! The call of a system that was booted: `POST …/phone-home?token=TOKEN`.
//!
//! Core: what the request means, and what its body says.

use serde::Deserialize;

use crate::boot::MacAddress;
use crate::files::ArtifactPath;
use crate::script::{BootKey, MACHINES, PHONE_HOME_NAME};
use crate::timeline::{BootId, PhoneState};

/// Bytes of a body at most.
pub const MAX_BODY: usize = 4096;
/// Characters of a message that are kept.
pub const MAX_MESSAGE: usize = 120;

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refused {
    /// 405: nothing else takes a POST.
    Method,
    /// 403: no token.
    TokenMissing,
    /// 403: the token is not of a boot of this machine, or not ours.
    TokenWrong,
    /// 413: more than [`MAX_BODY`] bytes.
    BodyTooLong,
    /// 400: the body did not come in time, or not whole.
    BodyCut,
    /// 400: the body is JSON and does not say what it should.
    BodyUnreadable,
}

/// What a body says, where it is JSON: `{"state": "installed", "message": "…"}`.
#[derive(Debug, Default, Deserialize)]
struct Said {
    #[serde(default)]
    state: State,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Installed,
    Failed,
}

impl Refused {
    /// Its name in answers, log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method-not-allowed",
            Self::TokenMissing => "token-missing",
            Self::TokenWrong => "token-wrong",
            Self::BodyTooLong => "body-too-long",
            Self::BodyCut => "body-cut",
            Self::BodyUnreadable => "body-unreadable",
        }
    }

    /// The status code of the answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::TokenMissing | Self::TokenWrong => 403,
            Self::BodyTooLong => 413,
            Self::BodyCut | Self::BodyUnreadable => 400,
        }
    }
}

/// The boot that a POST to `path` (percent-decoded) with `query` speaks of.
///
/// # Errors
/// [`Refused`] says why it is not heard.
pub fn boot_of(key: &BootKey, path: &str, query: Option<&str>) -> Result<BootId, Refused> {
    let mac = machine_of(path).ok_or(Refused::Method)?;
    let mut pairs = query.unwrap_or_default().split('&');
    let token = pairs.find_map(|pair| pair.strip_prefix("token="));
    let token = token.ok_or(Refused::TokenMissing)?;
    key.verify(mac, "", token).ok_or(Refused::TokenWrong)
}

fn machine_of(path: &str) -> Option<MacAddress> {
    let path = ArtifactPath::parse(path).ok()?;
    let rest = path.as_str().strip_prefix(MACHINES)?.strip_prefix('/')?;
    let (mac, name) = rest.split_once('/')?;
    (name == PHONE_HOME_NAME).then_some(())?;
    mac.parse().ok()
}

/// What a body says. One that is no JSON object says that all is well: what
/// installers send of their own (cloud-init's form, say) is not ours to read.
///
/// # Errors
/// [`Refused::BodyUnreadable`] for JSON that says something else.
pub fn said(body: &[u8]) -> Result<(PhoneState, Option<String>), Refused> {
    let body = body.trim_ascii();
    if !body.starts_with(b"{") {
        return Ok((PhoneState::Installed, None));
    }
    let said: Said = serde_json::from_slice(body).map_err(|_| Refused::BodyUnreadable)?;
    let state = match said.state {
        State::Installed => PhoneState::Installed,
        State::Failed => PhoneState::Failed,
    };
    let message = said.message.map(|text| {
        let words: Vec<&str> = text.split_whitespace().collect();
        words
            .join(" ")
            .chars()
            .take(MAX_MESSAGE)
            .collect::<String>()
    });
    Ok((state, message.filter(|text| !text.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hears_who_has_the_token_of_the_machine_in_the_path() {
        let key = BootKey::new([7; 32]);
        let mac = MacAddress::new([0x52, 0x54, 0, 0, 0, 7]);
        let boot = BootId {
            mac,
            number: 0x1999,
        };
        let token = key.token(boot, "").unwrap();
        let path = "/reveille/machines/52-54-00-00-00-07/phone-home";
        let query = format!("token={token}");
        assert_eq!(boot_of(&key, path, Some(&query)), Ok(boot));
        assert_eq!(
            boot_of(&key, path, Some(&format!("a=b&{query}&c"))),
            Ok(boot)
        );
        assert_eq!(boot_of(&key, path, None), Err(Refused::TokenMissing));
        assert_eq!(
            boot_of(&key, path, Some("token=")),
            Err(Refused::TokenWrong)
        );
        let other = path.replace("07", "08");
        assert_eq!(
            boot_of(&key, &other, Some(&query)),
            Err(Refused::TokenWrong)
        );
        for other in ["/", "/reveille/machines/x/phone-home", "/debian/linux"] {
            assert_eq!(boot_of(&key, other, Some(&query)), Err(Refused::Method));
        }
    }

    #[test]
    fn reads_what_a_body_says() {
        let fine = (PhoneState::Installed, None);
        assert_eq!(said(b""), Ok(fine.clone()));
        assert_eq!(said(b"hostname=node-7&pub_key_rsa=x"), Ok(fine.clone()));
        assert_eq!(said(b" {} "), Ok(fine));
        let failed = said(br#"{"state": "failed", "message": " no\ndisk ", "more": 1}"#);
        assert_eq!(failed, Ok((PhoneState::Failed, Some("no disk".to_owned()))));
        let (_, long) =
            said(format!(r#"{{"message": "{}"}}"#, "ä".repeat(999)).as_bytes()).unwrap();
        assert_eq!(long.unwrap().chars().count(), MAX_MESSAGE);
        for bad in [&b"{"[..], br#"{"state": "fine"}"#, br#"{"state": 1}"#] {
            assert_eq!(said(bad), Err(Refused::BodyUnreadable));
        }
    }
}
