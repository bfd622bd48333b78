//! Who we are at a registry, out of a Secret.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::reference::Reference;

/// A name and its password, or a token. Shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// Name and password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// A token that is sent as it is.
    Token(String),
}

/// Logins by registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// For the registry that is asked, whichever that is.
    any: Option<Login>,
    /// `host` or `host/path` to its login.
    by_place: BTreeMap<String, Login>,
}

/// Why a Secret is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCredentials {
    /// It is no JSON of the kind.
    #[error(
        "`.dockerconfigjson` cannot be read: {0}; `kubectl create secret docker-registry` writes a good one"
    )]
    Unreadable(String),
    /// `auth` is not base64 of `user:password`.
    #[error("`.dockerconfigjson`: `auth` of `{0}` is not base64 of `user:password`")]
    Auth(String),
    /// Only an identity token is there.
    #[error(
        "`.dockerconfigjson`: `{0}` has an identity token only, which is not supported: give user and password"
    )]
    IdentityToken(String),
}

#[derive(Deserialize)]
struct RawFile {
    #[serde(default)]
    auths: BTreeMap<String, RawLogin>,
}

#[derive(Deserialize)]
struct RawLogin {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl Credentials {
    /// This login, whichever registry is asked.
    #[must_use]
    pub fn login(login: Login) -> Self {
        Self {
            any: Some(login),
            by_place: BTreeMap::new(),
        }
    }

    /// Those of the text under `.dockerconfigjson` of a Secret.
    ///
    /// # Errors
    /// [`BadCredentials`]; no password is in it.
    pub fn docker_config(text: &str) -> Result<Self, BadCredentials> {
        let raw: RawFile = serde_json::from_str(text).map_err(|error| {
            // The message of the parser may quote the text: only its place.
            let place = format!("line {}, column {}", error.line(), error.column());
            BadCredentials::Unreadable(place)
        })?;
        let mut by_place = BTreeMap::new();
        for (key, login) in raw.auths {
            by_place.insert(place(&key), Login::read(&key, login)?);
        }
        Ok(Self {
            any: None,
            by_place,
        })
    }

    /// The login for a reference: that of the longest place it is in.
    #[must_use]
    pub fn of(&self, reference: &Reference) -> Option<&Login> {
        let full = format!("{}/{}", reference.host(), reference.repository());
        let mut best = None;
        for (place, login) in &self.by_place {
            let inside = full
                .strip_prefix(place.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            // They are sorted: a longer one comes later.
            if inside {
                best = Some(login);
            }
        }
        best.or(self.any.as_ref())
    }
}

impl Login {
    fn read(key: &str, raw: RawLogin) -> Result<Self, BadCredentials> {
        if let Some(token) = raw.registrytoken.filter(|token| !token.is_empty()) {
            return Ok(Self::Token(token));
        }
        let bad = || BadCredentials::Auth(key.to_owned());
        if let (Some(user), Some(password)) = (raw.username, raw.password) {
            return Ok(Self::Password { user, password });
        }
        let Some(auth) = raw.auth.filter(|auth| !auth.is_empty()) else {
            return Err(match raw.identitytoken {
                Some(_) => BadCredentials::IdentityToken(key.to_owned()),
                None => bad(),
            });
        };
        let bytes = STANDARD.decode(auth.trim()).map_err(|_| bad())?;
        let text = String::from_utf8(bytes).map_err(|_| bad())?;
        let (user, password) = text.split_once(':').ok_or_else(bad)?;
        Ok(Self::Password {
            user: user.to_owned(),
            password: password.trim_end_matches('\0').to_owned(),
        })
    }
}

/// `https://index.docker.io/v1/` and the like as a place.
fn place(key: &str) -> String {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    let rest = rest.trim_end_matches('/');
    let rest = rest
        .strip_suffix("/v1")
        .or_else(|| rest.strip_suffix("/v2"))
        .unwrap_or(rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = match host.to_ascii_lowercase().as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    };
    if path.is_empty() {
        host
    } else {
        format!("{host}/{path}")
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password",
            Self::Token(_) => "Token",
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_place.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(credentials: &Credentials, reference: &str) -> Option<String> {
        let login = credentials.of(&Reference::parse(reference).unwrap())?;
        Some(match login {
            Login::Password { user, password } => format!("{user}:{password}"),
            Login::Token(token) => token.clone(),
        })
    }

    #[test]
    fn finds_the_login_of_a_registry() {
        let text = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "aHViOnBhc3M="},
            "r.example": {"username": "u", "password": "p:q"},
            "r.example/team": {"auth": "dGVhbTpw"},
            "t.example:5000": {"registrytoken": "tok"}
        }}"#;
        let credentials = Credentials::docker_config(text).unwrap();
        for (reference, want) in [
            ("docker.io/library/debian", Some("hub:pass")),
            ("r.example/a", Some("u:p:q")),
            ("r.example/team/a", Some("team:p")),
            ("r.example/teamwork", Some("u:p:q")),
            ("t.example:5000/a", Some("tok")),
            ("t.example/a", None),
        ] {
            assert_eq!(of(&credentials, reference).as_deref(), want, "{reference}");
        }
        assert!(!format!("{credentials:?}").contains("pass"));
    }

    #[test]
    fn says_what_is_wrong_without_showing_it() {
        for (text, want) in [
            ("secret!", "cannot be read: line 1"),
            (
                r#"{"auths": {"r": {"auth": "not base64 secret"}}}"#,
                "`auth` of `r`",
            ),
            (r#"{"auths": {"r": {"auth": "c2VjcmV0"}}}"#, "`auth` of `r`"),
            (
                r#"{"auths": {"r": {"identitytoken": "secret"}}}"#,
                "identity token",
            ),
        ] {
            let error = Credentials::docker_config(text).unwrap_err().to_string();
            assert!(
                error.contains(want) && !error.contains("secret!"),
                "{error}"
            );
        }
    }
}
