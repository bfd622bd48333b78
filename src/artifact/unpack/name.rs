//! Names inside archives, made safe.

use std::fmt;

/// The longest part of a path that Linux file systems take, in bytes.
pub const MAX_PART: usize = 255;

/// A path inside an archive or a tree: relative, `/` between its parts, no
/// empty, `.` or `..` part, no control character. The empty one is the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName(String);

/// Why a name cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BadName {
    /// It begins with `/`.
    #[error("the name is absolute")]
    Absolute,
    /// It has a `..` part, also where that would stay inside.
    #[error("the name climbs with `..`")]
    Climbs,
    /// It has NUL or another control character.
    #[error("the name has control characters")]
    Control,
    /// It is not UTF-8: no URL and no manifest could name it.
    #[error("the name is not UTF-8")]
    NotUtf8,
    /// It is longer than allowed, as a whole or in one part.
    #[error("the name is too long")]
    TooLong,
    /// It has more parts than allowed.
    #[error("the name has too many parts")]
    TooDeep,
}

impl BadName {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absolute => "name-absolute",
            Self::Climbs => "name-climbs",
            Self::Control => "name-has-control-characters",
            Self::NotUtf8 => "name-not-utf8",
            Self::TooLong => "name-too-long",
            Self::TooDeep => "name-too-deep",
        }
    }

    /// Whether an archive with such a name is refused as a whole. The others
    /// cannot be served under their name and are left out.
    #[must_use]
    pub const fn is_hostile(self) -> bool {
        match self {
            Self::Absolute | Self::Climbs | Self::TooLong | Self::TooDeep => true,
            Self::Control | Self::NotUtf8 => false,
        }
    }
}

/// How long and how deep a name may be.
#[derive(Clone, Copy, Debug)]
pub struct NameLimits {
    /// Bytes of the whole name.
    pub bytes: usize,
    /// Parts of the name.
    pub depth: usize,
}

impl EntryName {
    /// Reads a name as an archive spells it. Doubled slashes, `.` parts and a
    /// trailing slash go.
    ///
    /// # Errors
    /// [`BadName`].
    pub fn parse(raw: &[u8], limits: NameLimits) -> Result<Self, BadName> {
        if raw.first() == Some(&b'/') {
            return Err(BadName::Absolute);
        }
        Self::parse_rooted(raw, limits)
    }

    /// As [`EntryName::parse`], but a leading slash is the root of the tree:
    /// that is what it means in the layers of an image.
    ///
    /// # Errors
    /// [`BadName`].
    pub fn parse_rooted(raw: &[u8], limits: NameLimits) -> Result<Self, BadName> {
        // The room that `./` and doubled slashes may take.
        if raw.len() > limits.bytes.saturating_mul(2) {
            return Err(BadName::TooLong);
        }
        let text = std::str::from_utf8(raw).map_err(|_| BadName::NotUtf8)?;
        if text.chars().any(char::is_control) {
            return Err(BadName::Control);
        }
        let mut parts: Vec<&str> = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => return Err(BadName::Climbs),
                part if part.len() > MAX_PART => return Err(BadName::TooLong),
                part => parts.push(part),
            }
        }
        if parts.len() > limits.depth {
            return Err(BadName::TooDeep);
        }
        let name = parts.join("/");
        if name.len() > limits.bytes {
            return Err(BadName::TooLong);
        }
        Ok(Self(name))
    }

    /// The name of a path that is known to be clean: parts of other names.
    pub(super) fn of_parts(parts: &[&str]) -> Self {
        Self(parts.join("/"))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the root itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Its parts.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }

    /// The last part; empty for the root.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The folder it is in; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let parent = self.0.rsplit_once('/').map_or("", |(parent, _)| parent);
        Some(Self(parent.to_owned()))
    }

    /// The name of `part` in this folder.
    #[must_use]
    pub(super) fn join(&self, part: &str) -> Self {
        if self.is_root() {
            return Self(part.to_owned());
        }
        Self(format!("{}/{part}", self.0))
    }

    /// What follows `folder` in it; `None` where it is not inside.
    #[must_use]
    pub fn beneath(&self, folder: &Self) -> Option<&str> {
        if folder.is_root() {
            return (!self.is_root()).then_some(&self.0);
        }
        self.0.strip_prefix(&folder.0)?.strip_prefix('/')
    }

    /// Without its first `count` parts; `None` where nothing is left.
    #[must_use]
    pub fn strip(&self, count: usize) -> Option<Self> {
        let parts: Vec<&str> = self.parts().skip(count).collect();
        (!parts.is_empty()).then(|| Self(parts.join("/")))
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name of a stranger, for people: cut, and without what moves a cursor.
#[must_use]
pub fn shown(raw: &[u8]) -> String {
    /// Longer names are cut.
    const MOST: usize = 200;
    let text = String::from_utf8_lossy(raw);
    let mut shown: String = text
        .chars()
        .take(MOST)
        .map(|letter| {
            if letter.is_control() {
                '\u{fffd}'
            } else {
                letter
            }
        })
        .collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: NameLimits = NameLimits {
        bytes: 40,
        depth: 4,
    };

    #[test]
    fn reads_what_packers_write() {
        for (raw, want) in [
            ("./", ""),
            ("./boot/vmlinuz", "boot/vmlinuz"),
            ("boot//vmlinuz", "boot/vmlinuz"),
            ("boot/", "boot"),
            ("ä b/ö", "ä b/ö"),
            ("..x/.y", "..x/.y"),
        ] {
            let name = EntryName::parse(raw.as_bytes(), LIMITS).unwrap();
            assert_eq!(name.as_str(), want, "{raw}");
        }
    }

    #[test]
    fn refuses_what_leads_out_or_cannot_be_served() {
        let deep = "a/b/c/d/e";
        let long = "x".repeat(41);
        for (raw, want) in [
            (b"/etc/passwd".as_slice(), BadName::Absolute),
            (b"../x", BadName::Climbs),
            (b"a/../b", BadName::Climbs),
            (b"a/..", BadName::Climbs),
            (b"a\0b", BadName::Control),
            (b"a\x1b[2J", BadName::Control),
            (b"\xff\xfe", BadName::NotUtf8),
            (deep.as_bytes(), BadName::TooDeep),
            (long.as_bytes(), BadName::TooLong),
        ] {
            assert_eq!(EntryName::parse(raw, LIMITS), Err(want), "{raw:?}");
        }
        let rooted = EntryName::parse_rooted(b"/etc/passwd", LIMITS).unwrap();
        assert_eq!(rooted.as_str(), "etc/passwd");
    }

    #[test]
    fn takes_names_apart() {
        let name = EntryName::parse(b"a/b/c", LIMITS).unwrap();
        assert_eq!(name.file_name(), "c");
        let parent = name.parent().unwrap();
        assert_eq!(name.beneath(&parent), Some("c"));
        assert_eq!(parent.beneath(&name), None);
        assert_eq!(name.strip(2).unwrap().as_str(), "c");
        assert_eq!(name.strip(3), None);
        assert_eq!(shown(b"a\x07b"), "a\u{fffd}b");
    }
}
