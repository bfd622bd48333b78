//! What is wanted: an Artifact as a value, and what makes it another.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::api::{
    ArchiveSource, ArtifactFile, ArtifactSpec, FileField, Lifetime, OciSource, Signature,
};
use crate::snapshot::ObjectName;

/// The namespace of what no Artifact names: files that profiles name by URL and
/// digest. No namespace of a cluster is called so.
pub const ANONYMOUS: &str = "-";

/// One artifact that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Want {
    /// Its name; that of an anonymous one is its digest.
    pub name: ObjectName,
    /// Where it comes from.
    pub origin: Origin,
    /// The Secret with what the servers ask for.
    pub secret: Option<String>,
    /// How often it is looked for something newer, in seconds.
    pub refresh: Option<u32>,
}

/// Where an artifact comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// Single files.
    Files(Vec<FileWant>),
    /// An archive: the file, and what is unpacked of it.
    Archive(FileWant, Box<ArchiveSource>),
    /// An image of a registry.
    Oci(Box<OciSource>),
}

/// One file that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileWant {
    /// The field that says so, for messages: `spec.files[0]`.
    pub field: String,
    /// Its path in the tree.
    pub path: String,
    /// Where it is, the preferred place first.
    pub urls: Vec<String>,
    /// Its SHA-256 digest.
    pub sha256: Option<String>,
    /// Its SHA-512 digest.
    pub sha512: Option<String>,
    /// The publisher's signature.
    pub signature: Option<Signature>,
}

// === impl Want ===

impl Want {
    /// What an Artifact wants.
    #[must_use]
    pub fn of(name: &ObjectName, spec: &ArtifactSpec) -> Self {
        let origin = match (&spec.archive, &spec.oci) {
            (Some(archive), _) => {
                Origin::Archive(FileWant::of_archive(archive), Box::new(archive.clone()))
            }
            (None, Some(oci)) => Origin::Oci(Box::new(oci.clone())),
            (None, None) => {
                let files = spec.files.iter().enumerate();
                Origin::Files(files.map(|(at, file)| FileWant::of(at, file)).collect())
            }
        };
        Self {
            name: name.clone(),
            origin,
            secret: spec.secret_ref.as_ref().map(|secret| secret.name.clone()),
            refresh: spec.refresh.map(Lifetime::secs),
        }
    }

    /// What a profile wants that names a file by URL and digest; `profile` is
    /// the object, for messages.
    #[must_use]
    pub fn anonymous(file: &FileField<'_>, profile: &str) -> Option<Self> {
        let (url, sha256) = (file.url?, file.sha256?);
        let want = FileWant {
            field: format!("{profile} {}", field(&file.pointer)),
            path: url_file_name(url),
            urls: vec![url.to_owned()],
            sha256: Some(sha256.to_owned()),
            ..FileWant::default()
        };
        Some(Self {
            name: ObjectName {
                namespace: ANONYMOUS.to_owned(),
                name: sha256.to_owned(),
            },
            origin: Origin::Files(vec![want]),
            secret: None,
            refresh: None,
        })
    }

    /// Names what is wanted: another one where other bytes may come of it.
    /// Where it is fetched from is part of it only where nothing else says
    /// which bytes are meant.
    #[must_use]
    pub fn identity(&self) -> String {
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        };
        match &self.origin {
            Origin::Files(files) => {
                part("files");
                for file in files {
                    file.each(&mut part);
                }
            }
            Origin::Archive(file, archive) => {
                part("archive");
                file.each(&mut part);
                part(&format!("{:?} {}", archive.format, archive.strip));
                archive.include.iter().for_each(|pattern| part(pattern));
            }
            Origin::Oci(oci) => {
                part("oci");
                part(&oci.image);
                part(oci.platform.as_deref().unwrap_or_default());
                oci.include.iter().for_each(|pattern| part(pattern));
            }
        }
        hex(&hash.finalize())
    }

    /// Whether a look for something newer can find something: not where
    /// digests say what it is for ever.
    #[must_use]
    pub fn may_change(&self) -> bool {
        match &self.origin {
            Origin::Files(files) => files.iter().any(|file| !file.has_digest()),
            Origin::Archive(file, _) => !file.has_digest(),
            Origin::Oci(oci) => !oci.image.contains("@sha256:"),
        }
    }
}

// === impl FileWant ===

impl FileWant {
    fn of(index: usize, file: &ArtifactFile) -> Self {
        Self {
            field: format!("spec.files[{index}]"),
            path: file.path.clone(),
            urls: urls(&file.url, &file.mirrors),
            sha256: file.sha256.clone(),
            sha512: file.sha512.clone(),
            signature: file.signature.clone(),
        }
    }

    fn of_archive(archive: &ArchiveSource) -> Self {
        Self {
            field: "spec.archive".to_owned(),
            path: url_file_name(&archive.url),
            urls: urls(&archive.url, &archive.mirrors),
            sha256: archive.sha256.clone(),
            sha512: archive.sha512.clone(),
            signature: archive.signature.clone(),
        }
    }

    /// Whether a digest says what it is.
    #[must_use]
    pub const fn has_digest(&self) -> bool {
        self.sha256.is_some() || self.sha512.is_some()
    }

    /// Whether its bytes are held against something: a digest or a signature.
    #[must_use]
    pub const fn is_verified(&self) -> bool {
        self.has_digest() || self.signature.is_some()
    }

    fn each(&self, part: &mut dyn FnMut(&str)) {
        part(&self.path);
        part(self.sha256.as_deref().unwrap_or_default());
        part(self.sha512.as_deref().unwrap_or_default());
        if let Some(signature) = &self.signature {
            part(&format!("{signature:?}"));
        }
        if !self.has_digest() {
            self.urls.iter().for_each(|url| part(url));
        }
    }
}

fn urls(first: &str, mirrors: &[String]) -> Vec<String> {
    let mut urls = vec![first.to_owned()];
    for mirror in mirrors {
        if !urls.contains(mirror) {
            urls.push(mirror.clone());
        }
    }
    urls
}

/// A JSON pointer as people write it: `spec.linux.initrd[0]`.
fn field(pointer: &str) -> String {
    pointer
        .split('/')
        .skip(1)
        .fold(String::new(), |field, part| {
            let is_index = part.bytes().all(|digit| digit.is_ascii_digit());
            match (field.is_empty(), is_index) {
                (true, _) => part.to_owned(),
                (false, true) => format!("{field}[{part}]"),
                (false, false) => format!("{field}.{part}"),
            }
        })
}

/// The name of the file that a URL names; `file` where it names none.
#[must_use]
pub fn url_file_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let (_, path) = path.split_once('/').unwrap_or_default();
    let name = path.trim_end_matches('/').rsplit('/').next();
    let name = percent_encoding::percent_decode_str(name.unwrap_or_default()).decode_utf8_lossy();
    if is_tree_path(&name) && !name.contains('/') {
        name.into_owned()
    } else {
        "file".to_owned()
    }
}

/// Whether `path` can be a path in an artifact: parts between single slashes,
/// none of them `.` or `..`, no control characters.
#[must_use]
pub fn is_tree_path(path: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part != "." && part != "..";
    path.split('/').all(is_part) && !path.contains(char::is_control)
}

/// Whether `url` is one that can be fetched: `http`, `https` or `file`, with no
/// blanks and no password in it.
#[must_use]
pub fn is_fetchable(url: &str) -> bool {
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return false;
    }
    if let Some(path) = url.strip_prefix("file:///") {
        return !path.is_empty();
    }
    let rest = url.strip_prefix("https://");
    let rest = rest.or_else(|| url.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    host.is_some_and(|host| !host.is_empty() && !host.contains('@'))
}

/// Whether `text` is a digest of `digits` hex digits, in small letters.
#[must_use]
pub fn is_digest(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

/// Bytes as hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(files: serde_json::Value) -> Want {
        let spec = serde_json::from_value(serde_json::json!({ "files": files })).unwrap();
        let name = ObjectName {
            namespace: "default".to_owned(),
            name: "debian".to_owned(),
        };
        Want::of(&name, &spec)
    }

    #[test]
    fn another_place_of_the_same_bytes_is_the_same_artifact() {
        let digest = "a".repeat(64);
        let with = |url: &str, sha256: Option<&str>| {
            let file = serde_json::json!([{"path": "linux", "url": url, "sha256": sha256}]);
            want(file).identity()
        };
        let first = with("https://a/linux", Some(&digest));
        assert_eq!(first, with("https://b/linux", Some(&digest)));
        assert_ne!(first, with("https://a/linux", Some(&"b".repeat(64))));
        assert_ne!(with("https://a/linux", None), with("https://b/linux", None));
    }

    #[test]
    fn only_what_no_digest_names_may_change() {
        let file = |sha256: Option<String>| serde_json::json!({"path": "a", "url": "https://a/a", "sha256": sha256});
        assert!(!want(serde_json::json!([file(Some("a".repeat(64)))])).may_change());
        assert!(want(serde_json::json!([file(None)])).may_change());
    }

    #[test]
    fn tells_what_can_be_fetched() {
        for url in [
            "https://example.net/linux",
            "http://10.0.0.1:8080",
            "http://[2001:db8::1]/x?y=z#a",
            "file:///srv/ä",
        ] {
            assert!(is_fetchable(url), "{url}");
        }
        for url in [
            "",
            "linux",
            "ftp://example.net/linux",
            "https://",
            "https:///linux",
            "https://me:secret@example.net/linux",
            "https://example.net/a b",
            "file://host/x",
            "file:///",
        ] {
            assert!(!is_fetchable(url), "{url}");
        }
    }

    #[test]
    fn knows_the_file_that_a_url_names() {
        for (url, want) in [
            ("https://example.net/debian/linux", "linux"),
            ("https://example.net/a%20b.gz?x=/y", "a b.gz"),
            ("https://example.net/", "file"),
            ("https://example.net", "file"),
            ("https://example.net/..", "file"),
            ("https://example.net/a%2Fb", "file"),
            ("file:///srv/linux", "linux"),
        ] {
            assert_eq!(url_file_name(url), want, "{url}");
        }
    }
}
