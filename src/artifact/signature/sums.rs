//! Lists of digests: `SHA256SUMS` and the like, as GNU and as BSD write them.

use super::untrusted::Untrusted;
use crate::artifact::unpack::near::Near;

/// The largest list that is read.
pub const MAX_LIST: usize = 16 << 20;

/// A list of digests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    hash: Hash,
    hex: String,
    name: String,
}

/// The algorithms that lists use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

/// The digests that a list has for one file; at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// SHA-256 in hex, small letters.
    pub sha256: Option<String>,
    /// SHA-512 in hex, small letters.
    pub sha512: Option<String>,
}

impl Sums {
    /// Reads a list. Lines that are no digest are passed over: headings,
    /// comments, sizes.
    ///
    /// # Errors
    /// [`Untrusted::List`] where there is no digest at all, as in an error page
    /// of a server.
    pub fn read(text: &[u8]) -> Result<Self, Untrusted> {
        if text.len() > MAX_LIST {
            return Err(Untrusted::List("it is larger than 16 MiB"));
        }
        let text = std::str::from_utf8(text).map_err(|_| Untrusted::List("it is not text"))?;
        let lines: Vec<Line> = text.lines().filter_map(Line::read).collect();
        if lines.is_empty() {
            return Err(Untrusted::List("there is no digest in it"));
        }
        Ok(Self { lines })
    }

    /// The digests of the file at `path`: of a URL, or a bare name. Lists name
    /// files by their own folder, so the entry that is the longest end of the
    /// path is meant.
    ///
    /// # Errors
    /// [`Untrusted::NotListed`], [`Untrusted::Ambiguous`],
    /// [`Untrusted::WeakDigest`].
    pub fn find(&self, path: &str) -> Result<Digests, Untrusted> {
        let wanted: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let length = |line: &Line| {
            let parts: Vec<&str> = line.parts().collect();
            (!parts.is_empty() && wanted.ends_with(&parts)).then_some(parts.len())
        };
        let best = self.lines.iter().filter_map(length).max();
        let Some(best) = best else {
            return Err(self.not_listed(path));
        };
        let mut found = Digests::default();
        let mut weak = None;
        for line in self.lines.iter().filter(|line| length(line) == Some(best)) {
            let slot = match line.hash {
                Hash::Sha256 => &mut found.sha256,
                Hash::Sha512 => &mut found.sha512,
                Hash::Md5 | Hash::Sha1 => {
                    weak = Some(line.hash);
                    continue;
                }
                Hash::Sha384 => continue,
            };
            if slot.as_ref().is_some_and(|known| *known != line.hex) {
                return Err(Untrusted::Ambiguous {
                    name: path.to_owned(),
                });
            }
            *slot = Some(line.hex.clone());
        }
        if found != Digests::default() {
            return Ok(found);
        }
        match weak {
            Some(hash) => Err(Untrusted::WeakDigest {
                name: path.to_owned(),
                hash: if hash == Hash::Md5 { "MD5" } else { "SHA-1" },
            }),
            None => Err(self.not_listed(path)),
        }
    }

    fn not_listed(&self, path: &str) -> Untrusted {
        let mut near = Near::to(path);
        for line in &self.lines {
            near.see(&line.name);
        }
        Untrusted::NotListed {
            name: path.to_owned(),
            near: near.names(),
        }
    }
}

impl Line {
    fn read(line: &str) -> Option<Self> {
        let line = line.trim_end();
        Self::bsd(line).or_else(|| Self::gnu(line))
    }

    /// `SHA256 (name) = hex`
    fn bsd(line: &str) -> Option<Self> {
        let (hash, rest) = line.split_once(" (")?;
        let (name, hex) = rest.rsplit_once(") = ")?;
        let hash = match hash {
            "MD5" => Hash::Md5,
            "SHA1" => Hash::Sha1,
            "SHA256" => Hash::Sha256,
            "SHA384" => Hash::Sha384,
            "SHA512" => Hash::Sha512,
            _ => return None,
        };
        (Hash::of(hex)? == hash).then(|| Self {
            hash,
            hex: hex.to_ascii_lowercase(),
            name: name.to_owned(),
        })
    }

    /// `hex  name`, `hex *name`; `\hex  name` where the name is escaped.
    fn gnu(line: &str) -> Option<Self> {
        let (line, escaped) = match line.strip_prefix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        let (hex, name) = line.split_once(' ')?;
        // The second letter tells text from binary, which is one here.
        let name = name.strip_prefix([' ', '*']).unwrap_or(name);
        let name = if escaped {
            unescaped(name)?
        } else {
            name.to_owned()
        };
        (!name.is_empty()).then_some(Self {
            hash: Hash::of(hex)?,
            hex: hex.to_ascii_lowercase(),
            name,
        })
    }

    fn parts(&self) -> impl Iterator<Item = &str> {
        let parts = self.name.split('/');
        parts.filter(|part| !part.is_empty() && *part != ".")
    }
}

impl Hash {
    fn of(hex: &str) -> Option<Self> {
        if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        Some(match hex.len() {
            32 => Self::Md5,
            40 => Self::Sha1,
            64 => Self::Sha256,
            96 => Self::Sha384,
            128 => Self::Sha512,
            _ => return None,
        })
    }
}

fn unescaped(name: &str) -> Option<String> {
    let mut out = String::with_capacity(name.len());
    let mut letters = name.chars();
    while let Some(letter) = letters.next() {
        out.push(match letter {
            '\\' => match letters.next()? {
                '\\' => '\\',
                'n' => '\n',
                'r' => '\r',
                _ => return None,
            },
            other => other,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(text: &str) -> Sums {
        Sums::read(text.as_bytes()).unwrap()
    }

    fn sha256(text: &str, path: &str) -> String {
        match sums(text).find(path) {
            Ok(digests) => digests.sha256.unwrap_or_default(),
            Err(error) => error.as_str().to_owned(),
        }
    }

    #[test]
    fn reads_gnu_and_bsd_lists() {
        let (a, b) = ("a".repeat(64), "B".repeat(64));
        let lower = "b".repeat(64);
        let long = "c".repeat(128);
        for (text, path, want) in [
            (format!("{a}  linux\n{b} *initrd.gz\n"), "linux", a.as_str()),
            (
                format!("{a}  linux\n{b} *initrd.gz\r\n"),
                "initrd.gz",
                &lower,
            ),
            (
                format!("{a}  ./netboot/linux\n{b}  ./cdrom/linux\n"),
                "images/netboot/linux",
                &a,
            ),
            (
                format!("{a}  linux\n{b}  netboot/linux\n"),
                "x/netboot/linux",
                &lower,
            ),
            (
                format!("# linux: 12 bytes\nSHA256 (linux) = {a}\n"),
                "linux",
                &a,
            ),
            (
                format!("SHA256 (a (1).iso) = {a}\nSHA512 (a (1).iso) = {long}"),
                "a (1).iso",
                &a,
            ),
            (format!("\\{a}  a\\\\b\n"), "a\\b", &a),
            (format!("{a}  with space\n"), "with space", &a),
            (format!("{a}  netboot/linux\n"), "linux", "not-in-list"),
            (
                format!("{a}  linux\n{b}  linux\n"),
                "linux",
                "list-ambiguous",
            ),
            (format!("{a}  linux\n{a}  linux\n"), "linux", &a),
            (
                format!("{}  linux\n", "a".repeat(40)),
                "linux",
                "weak-digest",
            ),
            (
                format!("{}  linux\n", "a".repeat(32)),
                "linux",
                "weak-digest",
            ),
            (
                format!("{}  linux\n", "a".repeat(96)),
                "linux",
                "not-in-list",
            ),
            // The tag and the length disagree.
            (
                format!("MD5 (linux) = {a}\n{b}  other"),
                "linux",
                "not-in-list",
            ),
        ] {
            assert_eq!(sha256(&text, path), want, "{text}");
        }
    }

    #[test]
    fn tells_names_that_come_near() {
        let a = "a".repeat(64);
        let error = sums(&format!("{a}  debian-12.7.0-netinst.iso\n"));
        let error = error
            .find("debian-12.6.0-netinst.iso")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("near it are `debian-12.7.0-netinst.iso`"),
            "{error}"
        );
        assert_eq!(
            Sums::read(b"<html>404</html>").unwrap_err().as_str(),
            "list-unreadable"
        );
    }
}
