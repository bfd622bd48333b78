//! What an Artifact must be, and files that are fetched.

use std::collections::BTreeMap;

use super::Found;
use crate::api::{Artifact, ArtifactRef, FileField, Kind, Problem, Signature};
use crate::artifact::identity::{is_digest, is_fetchable, is_tree_path};

/// Looking for something newer more often is nothing that servers like.
const LEAST_REFRESH_SECS: u32 = 60;
/// The first line of an OpenPGP key.
const OPENPGP_HEAD: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// Every rule that `artifact` breaks.
#[must_use]
pub fn validate_artifact(artifact: &Artifact) -> Vec<Problem> {
    let mut found = Found::of(Kind::Artifact, &artifact.metadata);
    let spec = &artifact.spec;
    source(&mut found, artifact);
    if let Some(secret) = &spec.secret_ref {
        found.name("/spec/secretRef/name", "Secret", &secret.name);
    }
    if let Some(refresh) = spec.refresh.filter(|it| it.secs() < LEAST_REFRESH_SECS) {
        let what = format!("every {refresh} is too often for the servers");
        let cure = "write 60s at least";
        found.error("/spec/refresh", "TooOften", what, cure);
    }
    let mut taken: BTreeMap<&str, String> = BTreeMap::new();
    for (index, file) in spec.files.iter().enumerate() {
        let at = format!("/spec/files/{index}");
        let pointer = format!("{at}/path");
        tree_path(&mut found, &pointer, &file.path);
        if let Some(first) = taken.get(file.path.as_str()) {
            let what = "two files have one path";
            let cure = "give each a path of its own";
            found.error(&pointer, "DuplicatePath", what, cure);
            found.see(first, "first used here");
        } else {
            taken.insert(&file.path, pointer);
        }
        urls(&mut found, &at, &file.url, &file.mirrors);
        digests(
            &mut found,
            &at,
            file.sha256.as_deref(),
            file.sha512.as_deref(),
        );
        signature(&mut found, &at, file.signature.as_ref());
    }
    if let Some(archive) = &spec.archive {
        let at = "/spec/archive";
        urls(&mut found, at, &archive.url, &archive.mirrors);
        digests(
            &mut found,
            at,
            archive.sha256.as_deref(),
            archive.sha512.as_deref(),
        );
        signature(&mut found, at, archive.signature.as_ref());
        patterns(&mut found, at, &archive.include);
    }
    if let Some(oci) = &spec.oci {
        if !is_image(&oci.image) {
            let what = format!(
                "`{}` is no image with its registry",
                oci.image.escape_debug()
            );
            let cure = "write it as registry.example.net/boot/debian:12";
            found.error("/spec/oci/image", "BadImage", what, cure);
        }
        patterns(&mut found, "/spec/oci", &oci.include);
    }
    found.problems
}

fn source(found: &mut Found<'_>, artifact: &Artifact) {
    let spec = &artifact.spec;
    let sources = [
        !spec.files.is_empty(),
        spec.archive.is_some(),
        spec.oci.is_some(),
    ];
    match sources.iter().filter(|is| **is).count() {
        0 => found.error(
            "/spec",
            "NoSource",
            "the artifact has nothing",
            "add `files`, `archive` or `oci`",
        ),
        1 => {}
        _ => found.error(
            "/spec",
            "TwoSources",
            "an artifact is `files`, `archive` or `oci`",
            "remove all but one",
        ),
    }
}

/// A file that a profile names.
pub(super) fn file_source(found: &mut Found<'_>, file: &FileField<'_>) {
    let at = &file.pointer;
    let named = [
        (!file.path.is_empty()).then_some("path"),
        file.artifact_ref.map(|_| "artifactRef"),
        file.url.map(|_| "url"),
    ];
    let mut named = named.into_iter().flatten();
    match (named.next(), named.next()) {
        (None, _) => found.error(
            at,
            "NoFile",
            "the file is not named",
            "add `path`, `artifactRef` or `url`",
        ),
        (Some(_), None) => {}
        (Some(first), Some(second)) => {
            let what = "a file is named once";
            let cure = "keep one of `path`, `artifactRef` and `url`";
            found.error(format!("{at}/{second}"), "NamedTwice", what, cure);
            found.see(&format!("{at}/{first}"), "named here, too");
        }
    }
    if let Some(url) = file.url {
        fetchable(found, &format!("{at}/url"), url);
    }
    match (file.url, file.sha256) {
        (Some(_), None) => found.error(
            format!("{at}/url"),
            "NoDigest",
            "what is fetched is verified",
            "add its `sha256`",
        ),
        (None, Some(_)) => found.error(
            format!("{at}/sha256"),
            "DigestUnused",
            "nothing is verified here",
            "`sha256` goes with `url`",
        ),
        (Some(_), Some(_)) | (None, None) => {}
    }
    digests(found, at, file.sha256, None);
    if let Some(ArtifactRef { name, path }) = file.artifact_ref {
        found.reference(&format!("{at}/artifactRef/name"), Kind::Artifact, name);
        tree_path(found, &format!("{at}/artifactRef/path"), path);
    }
}

fn urls(found: &mut Found<'_>, at: &str, url: &str, mirrors: &[String]) {
    fetchable(found, &format!("{at}/url"), url);
    for (index, mirror) in mirrors.iter().enumerate() {
        fetchable(found, &format!("{at}/mirrors/{index}"), mirror);
    }
}

fn fetchable(found: &mut Found<'_>, pointer: &str, url: &str) {
    if !is_fetchable(url) {
        let what = format!("`{}` is no URL that can be fetched", url.escape_debug());
        let cure = "write it as https://example.net/linux or file:///srv/linux, \
                    without blanks and passwords";
        found.error(pointer, "BadUrl", what, cure);
    }
}

fn digests(found: &mut Found<'_>, at: &str, sha256: Option<&str>, sha512: Option<&str>) {
    for (field, name, digits, text) in [
        ("sha256", "SHA-256", 64, sha256),
        ("sha512", "SHA-512", 128, sha512),
    ] {
        let Some(text) = text.filter(|text| !is_digest(text, digits)) else {
            continue;
        };
        let what = format!("`{}` is no {name} digest", text.escape_debug());
        let cure = format!("write the {digits} digits that {field}sum prints");
        found.error(format!("{at}/{field}"), "BadDigest", what, cure);
    }
}

fn signature(found: &mut Found<'_>, at: &str, signature: Option<&Signature>) {
    let Some(signature) = signature else { return };
    let at = format!("{at}/signature");
    if signature.openpgp.is_some() == signature.minisign.is_some() {
        let what = "a signature is checked with one kind of key";
        let cure = "write `openpgp` or `minisign`";
        found.error(&at, "BadSignature", what, cure);
    }
    fetchable(found, &format!("{at}/url"), &signature.url);
    if let Some(sums) = &signature.sums {
        fetchable(found, &format!("{at}/sums"), sums);
    }
    if signature
        .openpgp
        .as_ref()
        .is_some_and(|key| !key.contains(OPENPGP_HEAD))
    {
        let what = "this is no OpenPGP key";
        let cure = format!("paste it with its first line, {OPENPGP_HEAD}");
        found.error(format!("{at}/openpgp"), "BadKey", what, cure);
    }
    if let Some(key) = signature.minisign.as_ref().filter(|key| !is_minisign(key)) {
        let what = format!("`{}` is no minisign key", key.escape_debug());
        let cure = "write its line of 56 characters that begins with RW";
        found.error(format!("{at}/minisign"), "BadKey", what, cure);
    }
}

fn is_minisign(key: &str) -> bool {
    let is_base64 = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/');
    key.len() == 56 && key.starts_with("RW") && key.bytes().all(is_base64)
}

fn patterns(found: &mut Found<'_>, at: &str, include: &[String]) {
    for (index, pattern) in include.iter().enumerate() {
        tree_path(found, &format!("{at}/include/{index}"), pattern);
    }
}

fn tree_path(found: &mut Found<'_>, pointer: &str, path: &str) {
    if !is_tree_path(path) {
        let what = format!("`{}` cannot be a path in an artifact", path.escape_debug());
        let cure = "write it as debian/linux, without `.`, `..` and slashes at the ends";
        found.error(pointer, "BadPath", what, cure);
    }
}

/// Whether `text` is `REGISTRY/NAME[:TAG][@sha256:DIGEST]`.
fn is_image(text: &str) -> bool {
    let (text, digest) = match text.split_once("@sha256:") {
        Some((text, digest)) => (text, is_digest(digest, 64)),
        None => (text, true),
    };
    let Some((host, path)) = text.split_once('/') else {
        return false;
    };
    let (name, tag) = path
        .split_once(':')
        .map_or((path, None), |(n, t)| (n, Some(t)));
    let (host, port) = host
        .split_once(':')
        .map_or((host, None), |(h, p)| (h, Some(p)));
    let all = |text: &str, is: &dyn Fn(u8) -> bool| !text.is_empty() && text.bytes().all(is);
    let is_host = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-');
    let is_name =
        |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'_' | b'-');
    let is_tag = |tag: &str| {
        let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
        tag.len() <= 128
            && tag.starts_with(first)
            && tag
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'))
    };
    digest
        && all(host, &is_host)
        && port.is_none_or(|port| all(port, &|c| c.is_ascii_digit()))
        && name.split('/').all(|part| all(part, &is_name))
        && tag.is_none_or(is_tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_images() {
        let digest = format!("@sha256:{}", "a".repeat(64));
        for image in [
            "registry.example.net/boot/debian:12".to_owned(),
            "localhost:5000/debian".to_owned(),
            format!("10.0.0.1:5000/a/b{digest}"),
            format!("r/a:tag{digest}"),
        ] {
            assert!(is_image(&image), "{image}");
        }
        for image in [
            "debian",
            "https://registry.example.net/debian",
            "r/Debian",
            "r/a:",
            "r/a@sha256:12",
            "r:port/a",
            "r/a b",
            "/a",
            "r//a",
        ] {
            assert!(!is_image(image), "{image}");
        }
    }
}
