//! What a registry wants before it answers.

use http_auth::ChallengeRef;

/// How we are to say who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// By name and password with each request.
    Basic,
    /// By a token that is to be fetched.
    Bearer {
        /// Where.
        realm: String,
        /// For which service.
        service: Option<String>,
        /// For what.
        scope: Option<String>,
    },
}

impl Challenge {
    /// The best of what `WWW-Authenticate` has: a token, else a password.
    #[must_use]
    pub fn read(header: &str) -> Option<Self> {
        let challenges = http_auth::parse_challenges(header).ok()?;
        let bearer = challenges.iter().find_map(Self::bearer);
        bearer.or_else(|| {
            let basic =
                |challenge: &ChallengeRef<'_>| challenge.scheme.eq_ignore_ascii_case("basic");
            challenges.iter().any(basic).then_some(Self::Basic)
        })
    }

    fn bearer(challenge: &ChallengeRef<'_>) -> Option<Self> {
        if !challenge.scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let param = |wanted: &str| {
            let mut params = challenge.params.iter();
            let found = params.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
            Some(found.1.to_unescaped())
        };
        Some(Self::Bearer {
            realm: param("realm")?,
            service: param("service"),
            scope: param("scope"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_challenges() {
        let header = "Bearer realm=\"https://auth.example/token\",service=\"r.example\",\
                      scope=\"repository:a/b:pull\"";
        let Some(Challenge::Bearer {
            realm,
            service,
            scope,
        }) = Challenge::read(header)
        else {
            panic!("no bearer");
        };
        assert_eq!(realm, "https://auth.example/token");
        assert_eq!(service.as_deref(), Some("r.example"));
        assert_eq!(scope.as_deref(), Some("repository:a/b:pull"));
        assert_eq!(Challenge::read("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(Challenge::read("Negotiate"), None);
        assert_eq!(Challenge::read("Bearer service=\"x\""), None);
    }
}
