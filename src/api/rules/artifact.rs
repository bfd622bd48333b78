//! The rules of an Artifact, and of files that are fetched.

use super::syntax::is_time;
use super::{At, List, at, at_path, name_ref, quoted, rule, rule_of};

/// Longest digest that is looked at; what is a little too long is told what it
/// should be.
const MAX_DIGEST: i64 = 256;
/// Longest URL in characters.
const MAX_URL: i64 = 2048;
/// Longest path in characters.
const MAX_PATH: i64 = 512;

pub(in crate::api) fn artifact() -> Vec<At> {
    let mut all = vec![source(), refresh(), name_ref("secretRef", "Secret")];
    all.extend(files());
    for part in ["files[]", "archive"] {
        all.extend(remote(part));
    }
    all.push(at("archive.include").list(List::Set));
    all.push(tree_path("archive.include[]"));
    all.push(at("oci.include").list(List::Set));
    all.push(tree_path("oci.include[]"));
    all.push(image());
    all
}

fn source() -> At {
    let files = "(has(self.files) && self.files.size() > 0)";
    at("")
        .rule(rule(
            &format!("{files} || has(self.archive) || has(self.oci)"),
            "the artifact has nothing; add `files`, `archive` or `oci`",
        ))
        .rule(rule(
            &format!(
                "!({files} && has(self.archive) || {files} && has(self.oci) \
                 || has(self.archive) && has(self.oci))"
            ),
            "an artifact is `files`, `archive` or `oci`; remove all but one",
        ))
}

fn refresh() -> At {
    at("refresh").rule(rule(
        &format!("!{} || duration(self) >= duration('60s')", is_time("self")),
        "every %(self)% is too often for the servers; write 60s at least",
    ))
}

fn files() -> [At; 2] {
    [
        at("files").list(List::Atomic).rule(rule(
            "self.all(a, self.filter(b, a.path == b.path).size() == 1)",
            "two files have the path \
             `%(self.filter(a, self.filter(b, a.path == b.path).size() > 1)[0].path)%`; \
             give each a path of its own",
        )),
        tree_path("files[].path"),
    ]
}

/// What is fetched over the network gets.
fn remote(part: &str) -> Vec<At> {
    let field = |name: &str| format!("{part}.{name}");
    vec![
        url(&field("url")),
        at_path(field("mirrors")).list(List::Atomic),
        url(&field("mirrors[]")),
        sha256(&field("sha256")),
        at_path(field("sha512")).max_length(MAX_DIGEST).rule(rule(
            "self.matches('^[0-9a-f]{128}$')",
            "`%(self)%` is no SHA-512 digest; write the 128 digits that sha512sum prints",
        )),
        at_path(field("signature")).rule(rule(
            "has(self.openpgp) != has(self.minisign)",
            "a signature is checked with one kind of key; write `openpgp` or `minisign`",
        )),
        url(&field("signature.url")),
        url(&field("signature.sums")),
        at_path(field("signature.openpgp")).rule(rule(
            "self.contains('-----BEGIN PGP PUBLIC KEY BLOCK-----')",
            "this is no OpenPGP key; \
             paste it with its first line, -----BEGIN PGP PUBLIC KEY BLOCK-----",
        )),
        at_path(field("signature.minisign")).rule(rule(
            "self.matches('^RW[A-Za-z0-9+/]{54}$')",
            "`%(self)%` is no minisign key; write its line of 56 characters that begins with RW",
        )),
    ]
}

fn image() -> At {
    let pattern = "^[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+\
                   (:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$";
    at("oci.image").rule(rule(
        &format!("self.matches({})", quoted(pattern)),
        "`%(self)%` is no image with its registry; \
         write it as registry.example.net/boot/debian:12",
    ))
}

/// A URL that can be fetched: `artifact::identity::is_fetchable`.
pub(super) fn url(path: &str) -> At {
    let rest = r"[^\s\p{Z}\p{Cc}]";
    let pattern = format!(r"^(https?://[^/?#@\s\p{{Z}}\p{{Cc}}]+([/?#]{rest}*)?|file:///{rest}+)$");
    at_path(path.to_owned()).max_length(MAX_URL).rule(rule(
        &format!("self.matches({})", quoted(&pattern)),
        "`%(self)%` is no URL that can be fetched; write it as https://example.net/linux \
         or file:///srv/linux, without blanks and passwords",
    ))
}

/// A SHA-256 digest.
pub(super) fn sha256(path: &str) -> At {
    at_path(path.to_owned()).max_length(MAX_DIGEST).rule(rule(
        "self.matches('^[0-9a-f]{64}$')",
        "`%(self)%` is no SHA-256 digest; write the 64 digits that sha256sum prints",
    ))
}

/// A path in an Artifact's tree: `artifact::identity::is_tree_path`.
pub(super) fn tree_path(path: &str) -> At {
    at_path(path.to_owned()).max_length(MAX_PATH).rule(rule(
        r"self.matches('^[^/\\p{Cc}]+(/[^/\\p{Cc}]+)*$') && !self.matches('(^|/)[.][.]?(/|$)')",
        "`%(self)%` cannot be a path in an artifact; \
         write it as debian/linux, without `.`, `..` and slashes at the ends",
    ))
}

/// What a file gets that a profile names.
pub(super) fn file_source(path: &str) -> Vec<At> {
    let count = "[has(self.path), has(self.artifactRef), has(self.url)].filter(n, n).size()";
    let field = |name: &str| format!("{path}.{name}");
    vec![
        at_path(path.to_owned())
            .rule(rule(
                &format!("{count} > 0"),
                "the file is not named; add `path`, `artifactRef` or `url`",
            ))
            .rule(rule(
                &format!("{count} < 2"),
                "a file is named once; keep one of `path`, `artifactRef` and `url`",
            ))
            .rule(rule_of(
                "url",
                "!has(self.url) || has(self.sha256)",
                "what is fetched is verified; add its `sha256`",
            ))
            .rule(rule_of(
                "sha256",
                "has(self.url) || !has(self.sha256)",
                "nothing is verified here; `sha256` goes with `url`",
            )),
        name_ref(&field("artifactRef"), "Artifact"),
        tree_path(&field("artifactRef.path")),
        url(&field("url")),
        sha256(&field("sha256")),
    ]
}
