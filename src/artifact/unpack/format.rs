//! What a file is, by its first bytes.

use std::fmt;

/// The formats that are unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// tar: ustar, GNU or pax.
    Tar,
    /// tar under gzip.
    TarGz,
    /// tar under xz.
    TarXz,
    /// tar under zstd.
    TarZst,
    /// zip, stored or deflated.
    Zip,
    /// ISO 9660, with Rock Ridge or Joliet names.
    Iso,
    /// One file under gzip.
    Gz,
    /// One file under xz.
    Xz,
    /// One file under zstd.
    Zst,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Tar,
        Self::TarGz,
        Self::TarXz,
        Self::TarZst,
        Self::Zip,
        Self::Iso,
        Self::Gz,
        Self::Xz,
        Self::Zst,
    ];

    /// Its name in manifests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tar => "Tar",
            Self::TarGz => "TarGz",
            Self::TarXz => "TarXz",
            Self::TarZst => "TarZst",
            Self::Zip => "Zip",
            Self::Iso => "Iso",
            Self::Gz => "Gz",
            Self::Xz => "Xz",
            Self::Zst => "Zst",
        }
    }

    /// What a file with this name is, by the endings that people use.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        [
            (".tar", Self::Tar),
            (".tar.gz", Self::TarGz),
            (".tgz", Self::TarGz),
            (".tar.xz", Self::TarXz),
            (".txz", Self::TarXz),
            (".tar.zst", Self::TarZst),
            (".tzst", Self::TarZst),
            (".zip", Self::Zip),
            (".iso", Self::Iso),
            (".gz", Self::Gz),
            (".xz", Self::Xz),
            (".zst", Self::Zst),
        ]
        .into_iter()
        .find_map(|(ending, format)| name.ends_with(ending).then_some(format))
    }

    /// What it is, for people.
    #[must_use]
    pub(super) const fn described(self) -> &'static str {
        match self {
            Self::Tar => "a tar archive",
            Self::TarGz | Self::Gz => "gzip",
            Self::TarXz | Self::Xz => "xz",
            Self::TarZst | Self::Zst => "zstd",
            Self::Zip => "a zip archive",
            Self::Iso => "an ISO 9660 image",
        }
    }

    /// Whether a file that begins with `head` can be of this format. Tar and
    /// ISO images say so later in the file.
    #[must_use]
    pub(super) fn may_begin(self, head: &[u8]) -> bool {
        match self {
            Self::Tar => head.len() > 262,
            Self::TarGz | Self::Gz => head.starts_with(GZ),
            Self::TarXz | Self::Xz => head.starts_with(XZ),
            // A frame, or one that is skipped.
            Self::TarZst | Self::Zst => {
                head.starts_with(ZST)
                    || matches!(head, [first, 0x2a, 0x4d, 0x18, ..] if first & 0xf0 == 0x50)
            }
            // Programs unpack themselves: the archive is at the end.
            Self::Zip => head.starts_with(b"PK") || head.starts_with(b"MZ"),
            Self::Iso => true,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const GZ: &[u8] = &[0x1f, 0x8b];
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
const ZST: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// What a file that begins with `head` looks like.
#[must_use]
pub fn looks(head: &[u8]) -> &'static str {
    let text: Vec<u8> = head
        .iter()
        .skip_while(|byte| byte.is_ascii_whitespace() || **byte >= 0x80)
        .take(14)
        .map(u8::to_ascii_lowercase)
        .collect();
    if head.is_empty() {
        return "it is empty";
    }
    if [b"<!doctype".as_slice(), b"<html", b"<head", b"<?xml"]
        .iter()
        .any(|start| text.starts_with(start))
    {
        return "it is a web page, perhaps an error page of the server";
    }
    if text.starts_with(b"{") {
        return "it looks like JSON, perhaps an error of the server";
    }
    if text.starts_with(b"version https:") {
        return "it is a pointer of Git LFS, not the file itself";
    }
    let known: [(&[u8], &str); 8] = [
        (GZ, "it is gzip"),
        (XZ, "it is xz"),
        (ZST, "it is zstd"),
        (b"BZh", "it is bzip2, which is not supported"),
        (b"PK\x03\x04", "it is zip"),
        (b"7z\xbc\xaf\x27\x1c", "it is 7z, which is not supported"),
        (b"hsqs", "it is a squashfs image"),
        (b"MZ", "it is an EFI program or a kernel"),
    ];
    if let Some((_, looks)) = known.iter().find(|(start, _)| head.starts_with(start)) {
        return looks;
    }
    if head.get(257..262) == Some(b"ustar") {
        return "it is tar, not compressed";
    }
    "its first bytes are of another kind"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_formats_by_name() {
        for (name, want) in [
            ("netboot.tar.gz", Some(Format::TarGz)),
            ("x.TGZ", Some(Format::TarGz)),
            ("a.tar", Some(Format::Tar)),
            ("disk.raw.xz", Some(Format::Xz)),
            ("debian-12.iso", Some(Format::Iso)),
            ("vmlinuz", None),
        ] {
            assert_eq!(Format::of_name(name), want, "{name}");
        }
    }

    #[test]
    fn tells_what_came_instead() {
        assert!(looks(b"\n\n<!DOCTYPE html><html>").contains("web page"));
        assert!(looks(b"\xef\xbb\xbf<html>").contains("web page"));
        assert!(looks(b"{\"errors\":[]}").contains("JSON"));
        assert!(looks(b"").contains("empty"));
        assert!(looks(b"BZh91").contains("not supported"));
    }

    #[test]
    fn every_format_has_one_name() {
        let mut names: Vec<&str> = Format::ALL.iter().map(|format| format.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Format::ALL.len());
    }
}
