//! The rules of a BootProfile.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;

use super::artifact::file_source;
use super::config::config;
use super::dhcp::options;
use super::menu::menu;
use super::{At, LABEL, List, WORD, at, at_path, params, quoted, rule, rule_of};
use crate::boot::Architecture;

/// Longest kernel argument in characters; a kernel reads 2048 bytes in all,
/// 4096 at most.
const MAX_ARG: i64 = 2048;
/// Longest path of a loader in characters, as for a kernel.
const MAX_FILE: i64 = 512;

pub(in crate::api) fn profile() -> Vec<At> {
    let mut all = vec![source(), firmware(), shim()];
    all.extend(loader());
    all.extend(other_sources());
    all.extend(linux());
    all.extend(menu());
    all.extend(selector());
    all.extend(params());
    all.extend(config());
    all.extend(options("options"));
    all
}

const IS_FILE: &str = "(has(self.loader) && has(self.loader.kind) && self.loader.kind == 'File')";

/// What a profile can boot, in the order of the fields.
const SOURCES: [&str; 7] = ["linux", "efi", "iso", "chain", "script", "menu", "local"];

fn source() -> At {
    let has = |names: &[&str]| {
        let all = names.iter().map(|name| format!("has(self.{name})"));
        all.collect::<Vec<_>>().join(" || ")
    };
    let any = has(&SOURCES);
    let mut at = at("");
    for (index, name) in SOURCES.into_iter().enumerate() {
        let (before, _) = SOURCES.split_at(index);
        let others: Vec<&str> = SOURCES.into_iter().filter(|other| *other != name).collect();
        if let Some((last, earlier)) = before.split_last() {
            let first = earlier
                .iter()
                .rev()
                .fold(format!("'{last}'"), |rest, name| {
                    format!("has(self.{name}) ? '{name}' : {rest}")
                });
            at = at.rule(rule_of(
                name,
                &format!("!has(self.{name}) || !({})", has(before)),
                &format!(
                    "a profile boots `%(({first}))%` or `{name}`, not both; remove one of the two"
                ),
            ));
        }
        let says = if name == "local" {
            "`local` and a loader of kind File contradict each other; remove one of the two"
                .to_owned()
        } else {
            format!(
                "`{name}` is not used: a loader of kind File is all that is sent; \
                 remove it, or use `kind: Ipxe`"
            )
        };
        at = at.rule(rule_of(
            name,
            &format!("!has(self.{name}) || !{IS_FILE} || {}", has(&others)),
            &says,
        ));
    }
    at.rule(rule(
        &format!("{any} || {IS_FILE}"),
        "the profile boots nothing; \
         add `linux`, `efi`, `iso`, `chain`, `script`, `menu` or `local: {}`",
    ))
    .rule(architectures_of_files())
}

/// A loader of kind File has one for each architecture.
fn architectures_of_files() -> ValidationRule {
    let missing = format!(
        "self.architectures.filter(a, !({}))",
        has_file("self.loader.files")
    );
    rule_of(
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
    )
}

/// What needs UEFI, and what a firmware loads without iPXE.
fn firmware() -> At {
    let bios: Vec<String> = Architecture::ALL
        .into_iter()
        .filter(|arch| !arch.is_uefi())
        .map(|arch| format!("'{arch}'"))
        .collect();
    let listed = format!("self.architectures.filter(a, a in [{}])", bios.join(", "));
    let none = format!("!has(self.architectures) || {listed}.size() == 0");
    let ram_disk = "has(self.iso) && has(self.iso.method) && self.iso.method == 'RamDisk'";
    let direct = "has(self.loader) && has(self.loader.kind) && self.loader.kind == 'Direct'";
    let cure = "remove it, and give such machines another profile";
    at("")
        .rule(rule_of(
            "architectures",
            &format!("!has(self.efi) || {none}"),
            &format!("%({listed}[0])% runs no EFI program; {cure}"),
        ))
        .rule(rule_of(
            "architectures",
            &format!("has(self.efi) || !({ram_disk}) || {none}"),
            &format!("%({listed}[0])% boots no RAM disk; {cure}"),
        ))
        .rule(rule_of(
            "loader.kind",
            &format!("!({direct}) || has(self.efi)"),
            "a loader of kind Direct is none: firmware itself loads the program of `efi`; \
             add `efi`, or use `kind: Ipxe`",
        ))
        .rule(rule_of(
            "efi.args",
            &format!(
                "!({direct}) || !has(self.efi) || !has(self.efi.args) \
                 || self.efi.args.size() == 0"
            ),
            "firmware passes no arguments to what it loads itself; \
             remove them, or use `kind: Ipxe`",
        ))
}

/// What shim is there for, and what GRUB boots.
fn shim() -> At {
    let kind = "has(self.loader) && has(self.loader.kind) && self.loader.kind == 'GrubShim'";
    let without: Vec<String> = Architecture::ALL
        .into_iter()
        .filter(|arch| arch.shim_file().is_none())
        .map(|arch| format!("a == '{arch}' && !({})", file("self.loader.files", arch)))
        .collect();
    let bare: Vec<String> = Architecture::ALL
        .into_iter()
        .filter(|arch| arch.shim_file().is_none())
        .map(|arch| format!("a == '{arch}'"))
        .collect();
    let missing = format!(
        "self.architectures.filter(a, has(self.loader.files) ? {} : {})",
        without.join(" || "),
        bare.join(" || ")
    );
    let boots_no = |name: &str| {
        rule_of(
            name,
            &format!("!({kind}) || !has(self.{name})"),
            &format!("GRUB boots no `{name}`; use a loader of kind Ipxe"),
        )
    };
    at("")
        .rule(rule_of(
            "architectures",
            &format!("!({kind}) || !has(self.architectures) || {missing}.size() == 0"),
            &format!(
                "there is no shim for %({missing}[0])%; \
                 remove it, and give such machines another profile"
            ),
        ))
        .rule(boots_no("iso"))
        .rule(boots_no("script"))
}

fn other_sources() -> Vec<At> {
    let url = "write a URL of http, https or tftp, such as http://192.0.2.9/boot.ipxe";
    let control = r"self.matches('\\p{Cc}')";
    let empty = "self.trim() == ''";
    let [list, each] = arguments("efi.args");
    let mut all = vec![
        path("efi.file.path"),
        list,
        each,
        path("iso.file.path"),
        at("chain.url")
            .rule(rule(
                &format!("!{control}"),
                &format!("`%(self)%` has control characters; {url}"),
            ))
            .rule(rule(
                &format!("{control} || self.matches('^(https?://|tftp://|[{{][{{])')"),
                &format!("`%(self)%` is no URL that iPXE loads; {url}"),
            )),
        at("script.text")
            .rule(rule(
                &format!("!({empty})"),
                "the script is empty; write one",
            ))
            .rule(rule(
                &format!(
                    r"{empty} || !self.matches('[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x{{9f}}]')"
                ),
                "the script has control characters; write it as text",
            )),
    ];
    all.extend(file_source("efi.file"));
    all.extend(file_source("iso.file"));
    all
}

/// What the arguments of a program get.
fn arguments(path: &str) -> [At; 2] {
    [
        at(path).list(List::Atomic),
        at_path(format!("{path}[]"))
            .max_length(MAX_ARG)
            .rule(rule(
                "self.trim() != ''",
                "the argument is empty; remove it",
            ))
            .rule(rule(
                r"self.trim() == '' || !self.matches('\\p{Cc}')",
                "`%(self)%` has control characters; write it on one line",
            )),
    ]
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
    let [list, each] = arguments("linux.args");
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
                &format!(
                    "has(self.name) || !has(self.path) || !self.path.matches({space}[^/]*/*$')"
                ),
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
        list,
        each,
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
