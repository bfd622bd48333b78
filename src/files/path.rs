//! Names that clients ask for, made safe.

use std::fmt;

/// Longest path that is looked up, in bytes. Linux's own limit is 4096; no
/// firmware sends more than a TFTP packet of 512.
pub const MAX_PATH: usize = 1024;

/// A relative path inside a root: no empty, `.` or `..` part, no NUL, no
/// leading or trailing `/`. The empty path is the root itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactPath(String);

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// It climbs out of the root.
    #[error("the name leaves the root")]
    Escapes,
    /// It has bytes that no name has: NUL or another control character.
    #[error("the name has control characters")]
    Control,
    /// It is longer than [`MAX_PATH`].
    #[error("the name is too long")]
    TooLong,
}

impl BadPath {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Escapes => "path-escapes-root",
            Self::Control => "path-has-control-characters",
            Self::TooLong => "path-too-long",
        }
    }
}

impl ArtifactPath {
    /// Normalises `name`: doubled and leading slashes go, `.` parts go, `..`
    /// is refused even where it would stay inside.
    ///
    /// # Errors
    /// [`BadPath`] says why the name cannot be looked up.
    pub fn parse(name: &str) -> Result<Self, BadPath> {
        if name.len() > MAX_PATH {
            return Err(BadPath::TooLong);
        }
        if name.chars().any(char::is_control) {
            return Err(BadPath::Control);
        }
        let mut parts = Vec::new();
        for part in name.split('/') {
            match part {
                "" | "." => {}
                ".." => return Err(BadPath::Escapes),
                part => parts.push(part),
            }
        }
        Ok(Self(parts.join("/")))
    }

    /// The root.
    #[must_use]
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// The path of `name` in this folder.
    ///
    /// # Errors
    /// Those of [`ArtifactPath::parse`].
    pub fn join(&self, name: &str) -> Result<Self, BadPath> {
        Self::parse(&format!("{self}/{name}"))
    }

    /// Its parts, in order.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }

    /// The path as text, `/` between its parts.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the root itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The last part; empty for the root.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The first part and the rest; `None` for the root.
    #[must_use]
    pub fn split_first(&self) -> Option<(&str, Self)> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.split_once('/') {
            Some((first, rest)) => (first, Self(rest.to_owned())),
            None => (&self.0, Self(String::new())),
        })
    }
}

impl fmt::Display for ArtifactPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_what_firmware_sends() {
        for (name, want) in [
            ("ipxe.efi", "ipxe.efi"),
            ("/ipxe.efi", "ipxe.efi"),
            ("//debian//./linux", "debian/linux"),
            ("debian/", "debian"),
            ("", ""),
            ("/", ""),
            ("ä/ö", "ä/ö"),
            ("..hidden", "..hidden"),
        ] {
            assert_eq!(ArtifactPath::parse(name).unwrap().as_str(), want, "{name}");
        }
    }

    #[test]
    fn refuses_to_leave_the_root() {
        for name in ["..", "../etc/passwd", "a/../../b", "a/..", "/../x"] {
            assert_eq!(ArtifactPath::parse(name), Err(BadPath::Escapes), "{name}");
        }
        assert_eq!(ArtifactPath::parse("a\0b"), Err(BadPath::Control));
        assert_eq!(
            ArtifactPath::parse(&"a".repeat(MAX_PATH + 1)),
            Err(BadPath::TooLong)
        );
    }

    #[test]
    fn splits_the_first_part_off() {
        let path = ArtifactPath::parse("a/b/c").unwrap();
        let (first, rest) = path.split_first().unwrap();
        assert_eq!((first, rest.as_str()), ("a", "b/c"));
        assert_eq!(path.file_name(), "c");
        assert!(ArtifactPath::parse("/").unwrap().split_first().is_none());
    }
}
