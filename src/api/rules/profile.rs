//! The rules of a BootProfile.

use super::artifact::file_source;
use super::{At, LABEL, List, WORD, at, at_path, params, quoted, rule, rule_of};
use crate::boot::Architecture;

/// Longest kernel argument in characters; a kernel reads 2048 bytes in all,
/// 4096 at most.
const MAX_ARG: i64 = 2048;
/// Longest path of a loader in characters, as for a kernel.
const MAX_FILE: i64 = 512;

pub(in crate::api) fn profile() -> Vec<At> {
    let mut all = vec![source()];
    all.extend(loader());
    all.extend(linux());
    all.extend(selector());
    all.extend(params());
    all
}

const IS_FILE: &str = "(has(self.loader) && has(self.loader.kind) && self.loader.kind == 'File')";

fn source() -> At {
    let says_file = "has(self.linux) || has(self.local)";
    let missing = format!(
        "self.architectures.filter(a, !({}))",
        has_file("self.loader.files")
    );
    at("")
        .rule(rule_of(
            "local",
            "!(has(self.linux) && has(self.local))",
            "a profile boots `linux` or `local`, not both; remove one of the two",
        ))
        .rule(rule(
            &format!("{says_file} || {IS_FILE}"),
            "the profile boots nothing; add `linux` or `local: {}`",
        ))
        .rule(rule_of(
            "linux",
            &format!("!has(self.linux) || has(self.local) || !{IS_FILE}"),
            "`linux` is not used: a loader of kind File is all that is sent; \
             remove it, or use `kind: Ipxe`",
        ))
        .rule(rule_of(
            "local",
            &format!("!has(self.local) || has(self.linux) || !{IS_FILE}"),
            "`local` and a loader of kind File contradict each other; remove one of the two",
        ))
        .rule(rule_of(
            "architectures",
            &format!(
                "!{IS_FILE} || !has(self.architectures) || !has(self.loader.files) || !({}) \
                 || {missing}.size() == 0",
                any_file("self.loader.files")
            ),
            &format!(
                "there is no loader file for %({missing}[0])%; \
                 name it in `loader.files`, or remove the architecture"
            ),
        ))
}

/// The accessor of an architecture's file: CEL's names have no hyphens.
fn file(files: &str, arch: Architecture) -> String {
    format!("has({files}.{})", arch.as_str().replace('-', "__dash__"))
}

/// Whether any architecture has a file.
fn any_file(files: &str) -> String {
    Architecture::ALL.map(|arch| file(files, arch)).join(" || ")
}

/// Whether the architecture `a` has a file.
fn has_file(files: &str) -> String {
    Architecture::ALL
        .map(|arch| format!("a == '{arch}' && {}", file(files, arch)))
        .join(" || ")
}

fn loader() -> Vec<At> {
    let kind = "has(self.kind) && self.kind == 'File'";
    let mut all = vec![
        at("architectures").list(List::Set),
        at("loader").rule(rule_of(
            "files",
            &format!(
                "!({kind}) || has(self.files) && ({})",
                any_file("self.files")
            ),
            "a loader of kind File names no file; name one for each architecture in `files`",
        )),
    ];
    let files = Architecture::ALL.map(|arch| path(&format!("loader.files.{arch}")));
    all.extend(files.map(|file| file.max_length(MAX_FILE)));
    all
}

fn linux() -> Vec<At> {
    // Its own name, or the last part of its path. That of a URL is told only by
    // `snapshot::validate`: CEL knows no URLs.
    let last = |path: &str| format!("{path}.find('[^/]*/*$').replace('/', '')");
    let name = format!(
        "(has(i.name) ? i.name : has(i.path) ? {} : has(i.artifactRef) ? {} : '')",
        last("i.path"),
        last("i.artifactRef.path")
    );
    let names = format!("self.map(i, {name}).filter(n, n != '')");
    let space = r"'[\\s\\p{Z}\\p{Cc}]";
    let says = |name: &str| {
        format!(
            "`%({name})%` cannot be the name of an initrd; \
             give it a `name` without spaces and slashes"
        )
    };
    let mut all = vec![
        path("linux.kernel.path"),
        at("linux.initrd").list(List::Atomic).rule(rule(
            &format!("[{names}].all(l, l.all(a, l.filter(b, a == b).size() == 1))"),
            &format!(
                "two initrds have the name \
                 `%([{names}].map(l, l.filter(a, l.filter(b, a == b).size() > 1)[0])[0])%`; \
                 give one a `name` of its own"
            ),
        )),
        path("linux.initrd[].path"),
        at("linux.initrd[]")
            .rule(rule_of(
                "name",
                &format!("!has(self.name) || !self.name.matches({space}|/')"),
                &says("self.name"),
            ))
            .rule(rule_of(
                "path",
                &format!("has(self.name) || !self.path.matches({space}[^/]*/*$')"),
                &says("self.path.find('[^/]*/*$').replace('/', '')"),
            ))
            .rule(rule_of(
                "artifactRef",
                &format!(
                    "has(self.name) || !has(self.artifactRef) \
                     || !self.artifactRef.path.matches({space}[^/]*$')"
                ),
                &says("self.artifactRef.path.find('[^/]*$')"),
            )),
        at("linux.args").list(List::Atomic),
        at("linux.args[]")
            .max_length(MAX_ARG)
            .rule(rule(
                "self.trim() != ''",
                "the argument is empty; remove it",
            ))
            .rule(rule(
                r"self.trim() == '' || !self.matches('\\p{Cc}')",
                "`%(self)%` has control characters; write it on one line",
            )),
    ];
    all.extend(file_source("linux.kernel"));
    all.extend(file_source("linux.initrd[]"));
    all
}

/// What the path of a file in the artifact tree gets.
fn path(at: &str) -> At {
    let shown = "`%(self)%`";
    let cure = "write the path of a file in the artifact tree, such as debian/linux";
    let control = r"self.matches('\\p{Cc}')";
    let escapes = "self.matches('(^|/)[.][.](/|$)')";
    let root = "self.matches('^([.]?/)*[.]?$')";
    at_path(at.to_owned())
        .rule(rule(
            "bytes(self).size() <= 1024",
            &format!("{shown}: the name is too long; {cure}"),
        ))
        .rule(rule(
            &format!("!{control}"),
            &format!("{shown}: the name has control characters; {cure}"),
        ))
        .rule(rule(
            &format!("{control} || !{escapes}"),
            &format!("{shown}: the name leaves the root; {cure}"),
        ))
        .rule(rule(
            &format!("!{root}"),
            &format!("{shown} names no file; {cure}"),
        ))
        .rule(rule(
            &format!("{control} || {escapes} || {root} || !self.endsWith('/')"),
            &format!("{shown} names a folder; {cure}"),
        ))
}

fn selector() -> [At; 8] {
    let wants = "self.operator in ['In', 'NotIn']";
    let has = "has(self.values) && self.values.size() > 0";
    let domain = LABEL.replace("A-Za-z", "a-z");
    let key = format!("^({domain}([.]{domain})*/)?{WORD}$");
    let key_rule = |key_of: &str, holds: &str| {
        rule(
            holds,
            &format!(
                "`%({key_of})%` cannot be the key of a label; write it as role or example.net/role"
            ),
        )
    };
    let is_key = |value: &str| {
        format!(
            "{value}.matches({}) && {value}.indexOf('/') <= 253",
            quoted(&key)
        )
    };
    let value = |path: &str| {
        at(path).max_length(256).rule(rule(
            &format!("self.matches({})", quoted(&format!("^({WORD})?$"))),
            "`%(self)%` cannot be the value of a label; \
             use at most 63 letters, digits, `-`, `_` and `.`",
        ))
    };
    [
        at("machineSelector").rule(rule(
            "has(self.matchLabels) && self.matchLabels.size() > 0 \
             || has(self.matchExpressions) && self.matchExpressions.size() > 0",
            "an empty selector would match every machine; \
             add a requirement, or remove it and set `default: true`",
        )),
        at("machineSelector.matchLabels")
            .max_properties(32)
            .rule(key_rule(
                &format!("self.map(k, k).filter(k, !({}))[0]", is_key("k")),
                &format!("self.all(k, {})", is_key("k")),
            )),
        value("machineSelector.matchLabels.*"),
        at("machineSelector.matchExpressions").list(List::Atomic),
        at("machineSelector.matchExpressions[]")
            .rule(rule_of(
                "operator",
                &format!("!({wants}) || {has}"),
                "`%(self.operator)%` compares with no value; add `values`",
            ))
            .rule(rule_of(
                "values",
                &format!("{wants} || !({has})"),
                "`%(self.operator)%` takes no values; remove them",
            )),
        at("machineSelector.matchExpressions[].key").rule(key_rule("self", &is_key("self"))),
        at("machineSelector.matchExpressions[].values").list(List::Atomic),
        value("machineSelector.matchExpressions[].values[]"),
    ]
}
