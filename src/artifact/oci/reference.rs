//! References to images: `registry.example/boot/debian:12@sha256:…`.

use std::fmt;

use super::digest::Digest;

/// The host of the images that Docker Hub has, as people write it, and as it
/// answers.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");
/// The longest repository name, host included (OCI distribution
/// specification).
const MAX_NAME: usize = 255;

/// What an image or artifact is called, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a reference is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReference {
    /// It does not say which registry.
    #[error("`{0}` names no registry: write its host first, such as `docker.io/library/debian`")]
    NoRegistry(String),
    /// The repository is no name.
    #[error("`{0}`: a repository has small letters, digits and `._-/` between them")]
    Repository(String),
    /// The tag is none.
    #[error("`{0}`: a tag has up to 128 letters, digits and `._-`")]
    Tag(String),
    /// The digest is none.
    #[error("`{0}`: a digest is `sha256:` and 64 hex digits in small letters")]
    Digest(String),
}

impl Reference {
    /// Reads a reference; `oci://` before it is allowed.
    ///
    /// # Errors
    /// [`BadReference`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, BadReference> {
        let rest = text.strip_prefix("oci://").unwrap_or(text);
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => {
                let digest =
                    Digest::parse(digest).ok_or_else(|| BadReference::Digest(text.to_owned()))?;
                (rest, Some(digest))
            }
            None => (rest, None),
        };
        let (host, rest) = rest
            .split_once('/')
            .filter(|(host, _)| is_host(host))
            .ok_or_else(|| BadReference::NoRegistry(text.to_owned()))?;
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if !is_repository(repository) || host.len() + repository.len() > MAX_NAME {
            return Err(BadReference::Repository(text.to_owned()));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(BadReference::Tag(text.to_owned()));
        }
        Ok(Self {
            host: host.to_ascii_lowercase(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// The registry as it was written: its credentials are under this name.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The registry that is asked.
    #[must_use]
    pub fn server(&self) -> &str {
        if self.host == HUB.0 {
            HUB.1
        } else {
            &self.host
        }
    }

    /// The repository in the registry.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The digest, where there is one: the tag means nothing then.
    #[must_use]
    pub const fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What the registry is asked for: the digest, else the tag, else `latest`.
    #[must_use]
    pub fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The same repository, at this digest.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        // An IPv6 address stands in brackets.
        Some((name, port)) if !host.ends_with(']') => (name, Some(port)),
        Some(_) | None => (host, None),
    };
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let name_fits = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
        }
    };
    // Without one of these it is the first part of a repository.
    let says_so = name.contains('.') || port.is_some() || address.is_some() || name == "localhost";
    port_fits && name_fits && says_so
}

fn is_repository(repository: &str) -> bool {
    repository.split('/').all(|part| {
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        part.bytes().next().is_some_and(alphanumeric)
            && part.bytes().last().is_some_and(alphanumeric)
            && part
                .bytes()
                .all(|byte| alphanumeric(byte) || matches!(byte, b'.' | b'_' | b'-'))
            && !part.contains("..")
    })
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag
            .bytes()
            .all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_references() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (text, server, repository, version) in [
            (
                "docker.io/library/debian:12",
                "registry-1.docker.io",
                "library/debian",
                "12",
            ),
            ("localhost:5000/a", "localhost:5000", "a", "latest"),
            ("oci://r.example/a/b_c:v1.2", "r.example", "a/b_c", "v1.2"),
            ("[fd00::1]:5000/a:x", "[fd00::1]:5000", "a", "x"),
            (
                &format!("r.example/a:1@{digest}"),
                "r.example",
                "a",
                &digest,
            ),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.server(), server, "{text}");
            assert_eq!(reference.repository(), repository, "{text}");
            assert_eq!(reference.version(), version, "{text}");
            let shown = reference.to_string();
            assert_eq!(shown, text.trim_start_matches("oci://"), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong_with_the_others() {
        for (text, want) in [
            ("debian", "names no registry"),
            ("library/debian:12", "names no registry"),
            ("r.example", "names no registry"),
            ("r.example:99999/a", "names no registry"),
            ("r.example/A", "a repository has"),
            ("r.example/a/../b", "a repository has"),
            ("r.example/", "a repository has"),
            ("r.example/a?x=1", "a repository has"),
            ("r.example/a:-x", "a tag has"),
            ("r.example/a@sha256:12", "a digest is"),
        ] {
            let error = Reference::parse(text).unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
