//! What a BootProfile must be.

use std::collections::BTreeMap;

use super::artifact::file_source;
use super::config::config;
use super::menu::menu;
use super::{Found, dhcp};
use crate::api::{
    BootProfile, BootProfileSpec, FileField, InitrdSource, IsoMethod, Kind, LinuxSource,
    LoaderKind, Operator, Problem, Selector,
};
use crate::artifact::identity::url_file_name;
use crate::files::ArtifactPath;
use crate::snapshot::{names, template};

/// Every rule that `profile` breaks.
#[must_use]
pub fn validate_profile(profile: &BootProfile) -> Vec<Problem> {
    let mut found = Found::of(Kind::BootProfile, &profile.metadata);
    let spec = &profile.spec;
    source(&mut found, spec);
    firmware(&mut found, spec);
    loader(&mut found, spec);
    shim(&mut found, spec);
    other_sources(&mut found, spec);
    for file in spec.files() {
        self::file(&mut found, &file);
    }
    if let Some(linux) = &spec.linux {
        self::linux(&mut found, linux);
    }
    if let Some(menu) = &spec.menu {
        self::menu(&mut found, menu, &spec.config);
    }
    config(&mut found, &spec.config);
    if let Some(selector) = &spec.machine_selector {
        self::selector(&mut found, selector);
    }
    dhcp::options(&mut found, "/spec/options", &spec.options);
    found.problems
}

fn source(found: &mut Found<'_>, spec: &BootProfileSpec) {
    let is_file = spec.loader.kind == LoaderKind::File;
    let sources: Vec<&str> = [
        ("linux", spec.linux.is_some()),
        ("efi", spec.efi.is_some()),
        ("iso", spec.iso.is_some()),
        ("chain", spec.chain.is_some()),
        ("script", spec.script.is_some()),
        ("menu", spec.menu.is_some()),
        ("local", spec.local.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, is_there)| is_there.then_some(name))
    .collect();
    match sources.as_slice() {
        // A loader of kind File is all that is sent.
        [] if !is_file => found.error(
            "/spec",
            "NoSource",
            "the profile boots nothing",
            "add `linux`, `efi`, `iso`, `chain`, `script`, `menu` or `local: {}`",
        ),
        [] => {}
        ["local"] if is_file => {
            let what = "`local` and a loader of kind File contradict each other";
            found.error("/spec/local", "TwoSources", what, "remove one of the two");
            found.see("/spec/loader/kind", "the loader");
        }
        [one] if is_file => {
            let what = format!("`{one}` is not used: a loader of kind File is all that is sent");
            found.error(
                format!("/spec/{one}"),
                "SourceUnused",
                what,
                "remove it, or use `kind: Ipxe`",
            );
            found.see("/spec/loader/kind", "the loader");
        }
        [first, others @ ..] => {
            for other in others {
                found.error(
                    format!("/spec/{other}"),
                    "TwoSources",
                    format!("a profile boots `{first}` or `{other}`, not both"),
                    "remove one of the two",
                );
                found.see(&format!("/spec/{first}"), "the other one");
            }
        }
    }
}

/// What needs UEFI, and what a firmware loads without iPXE.
fn firmware(found: &mut Found<'_>, spec: &BootProfileSpec) {
    let method = spec.iso.as_ref().and_then(|iso| iso.method);
    let what = match (&spec.efi, method) {
        (Some(_), _) => "runs no EFI program",
        (None, Some(IsoMethod::RamDisk)) => "boots no RAM disk",
        (None, Some(IsoMethod::SanBoot) | None) => "",
    };
    for (index, arch) in spec.architectures.iter().enumerate() {
        if !what.is_empty() && !arch.is_uefi() {
            found.error(
                format!("/spec/architectures/{index}"),
                "NeedsUefi",
                format!("{arch} {what}"),
                "remove it, and give such machines another profile",
            );
        }
    }
    if spec.loader.kind != LoaderKind::Direct {
        return;
    }
    match &spec.efi {
        None => found.error(
            "/spec/loader/kind",
            "DirectWithoutEfi",
            "a loader of kind Direct is none: firmware itself loads the program of `efi`",
            "add `efi`, or use `kind: Ipxe`",
        ),
        Some(efi) if !efi.args.is_empty() => {
            found.error(
                "/spec/efi/args",
                "ArgumentsUnused",
                "firmware passes no arguments to what it loads itself",
                "remove them, or use `kind: Ipxe`",
            );
            found.see("/spec/loader/kind", "the loader");
        }
        Some(_) => {}
    }
}

/// What shim is there for, and what GRUB boots.
fn shim(found: &mut Found<'_>, spec: &BootProfileSpec) {
    if spec.loader.kind != LoaderKind::GrubShim {
        return;
    }
    for (index, arch) in spec.architectures.iter().enumerate() {
        if arch.shim_file().is_none() && !spec.loader.files.contains_key(arch) {
            found.error(
                format!("/spec/architectures/{index}"),
                "NoShim",
                format!("there is no shim for {arch}"),
                "remove it, and give such machines another profile",
            );
        }
    }
    for (name, is_there) in [
        ("iso", spec.iso.is_some()),
        ("script", spec.script.is_some()),
    ] {
        if is_there {
            found.error(
                format!("/spec/{name}"),
                "NotByGrub",
                format!("GRUB boots no `{name}`"),
                "use a loader of kind Ipxe",
            );
            found.see("/spec/loader/kind", "the loader");
        }
    }
}

fn other_sources(found: &mut Found<'_>, spec: &BootProfileSpec) {
    if let Some(efi) = &spec.efi {
        for (index, arg) in efi.args.iter().enumerate() {
            argument(found, &format!("/spec/efi/args/{index}"), arg);
        }
    }
    if let Some(chain) = &spec.chain {
        self::chain(found, &chain.url);
    }
    if let Some(script) = &spec.script {
        self::script(found, &script.text);
    }
}

fn chain(found: &mut Found<'_>, url: &str) {
    const AT: &str = "/spec/chain/url";
    const CURE: &str = "write a URL of http, https or tftp, such as http://192.0.2.9/boot.ipxe";
    let shown = url.escape_debug();
    let schemes = ["http://", "https://", "tftp://", "{{"];
    if url.contains(char::is_control) {
        found.error(
            AT,
            "BadUrl",
            format!("`{shown}` has control characters"),
            CURE,
        );
    } else if !schemes.iter().any(|scheme| url.starts_with(scheme)) {
        found.error(
            AT,
            "BadUrl",
            format!("`{shown}` is no URL that iPXE loads"),
            CURE,
        );
    }
    for (reason, what, cure) in template::check(url) {
        found.error(AT, reason, what, cure);
    }
}

fn script(found: &mut Found<'_>, text: &str) {
    const AT: &str = "/spec/script/text";
    if text.trim().is_empty() {
        found.error(AT, "EmptyScript", "the script is empty", "write one");
    } else if text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        let what = "the script has control characters";
        found.error(AT, "BadScript", what, "write it as text");
    }
    for (reason, what, cure) in template::check(text) {
        found.error(AT, reason, what, cure);
    }
}

fn loader(found: &mut Found<'_>, spec: &BootProfileSpec) {
    let files = &spec.loader.files;
    for (arch, path) in files {
        self::path(found, &format!("/spec/loader/files/{arch}"), path);
    }
    if spec.loader.kind != LoaderKind::File {
        return;
    }
    if files.is_empty() {
        found.error(
            "/spec/loader/files",
            "NoLoaderFile",
            "a loader of kind File names no file",
            "name one for each architecture in `files`",
        );
        return;
    }
    for (index, arch) in spec.architectures.iter().enumerate() {
        if !files.contains_key(arch) {
            found.error(
                format!("/spec/architectures/{index}"),
                "NoLoaderFile",
                format!("there is no loader file for {arch}"),
                "name it in `loader.files`, or remove the architecture",
            );
        }
    }
}

fn linux(found: &mut Found<'_>, linux: &LinuxSource) {
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    for (index, initrd) in linux.initrd.iter().enumerate() {
        let at = format!("/spec/linux/initrd/{index}");
        let (name, field) = initrd_name(initrd);
        let pointer = format!("{at}/{field}");
        // A path without a name was told already.
        if name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
            found.error(
                &pointer,
                "BadInitrdName",
                format!("`{}` cannot be the name of an initrd", name.escape_debug()),
                "give it a `name` without spaces and slashes",
            );
        }
        if name.is_empty() {
            continue;
        }
        if let Some(first) = taken.get(&name) {
            let what = format!("two initrds have the name `{}`", name.escape_debug());
            found.error(
                &pointer,
                "DuplicateInitrd",
                what,
                "give one a `name` of its own",
            );
            found.see(first, "first used here");
        } else {
            taken.insert(name, pointer);
        }
    }
    for (index, arg) in linux.args.iter().enumerate() {
        argument(found, &format!("/spec/linux/args/{index}"), arg);
    }
}

/// The name under which the kernel finds it, and the field that says so.
fn initrd_name(initrd: &InitrdSource) -> (String, &'static str) {
    let last = |path: &str| {
        let last = path.trim_end_matches('/').rsplit('/').next();
        last.unwrap_or_default().to_owned()
    };
    match (&initrd.name, &initrd.artifact_ref, &initrd.url) {
        (Some(name), _, _) => (name.clone(), "name"),
        (None, Some(artifact), _) if initrd.path.is_empty() => {
            (last(&artifact.path), "artifactRef")
        }
        (None, None, Some(url)) if initrd.path.is_empty() => (url_file_name(url), "url"),
        (None, _, _) => (last(&initrd.path), "path"),
    }
}

fn file(found: &mut Found<'_>, file: &FileField<'_>) {
    file_source(found, file);
    if !file.path.is_empty() {
        path(found, &format!("{}/path", file.pointer), file.path);
    }
}

fn argument(found: &mut Found<'_>, pointer: &str, arg: &str) {
    if arg.trim().is_empty() {
        found.error(
            pointer,
            "EmptyArgument",
            "the argument is empty",
            "remove it",
        );
    } else if arg.contains(char::is_control) {
        let what = format!("`{}` has control characters", arg.escape_debug());
        found.error(pointer, "BadArgument", what, "write it on one line");
    }
    for (reason, what, cure) in template::check(arg) {
        found.error(pointer, reason, what, cure);
    }
}

fn path(found: &mut Found<'_>, pointer: &str, path: &str) {
    let shown = path.escape_debug();
    let what = match ArtifactPath::parse(path) {
        Err(error) => format!("`{shown}`: {error}"),
        Ok(parsed) if parsed.is_root() => format!("`{shown}` names no file"),
        Ok(_) if path.ends_with('/') => format!("`{shown}` names a folder"),
        Ok(_) => return,
    };
    let cure = "write the path of a file in the artifact tree, such as debian/linux";
    found.error(pointer, "BadPath", what, cure);
}

fn selector(found: &mut Found<'_>, selector: &Selector) {
    let at = "/spec/machineSelector";
    if selector.match_labels.is_empty() && selector.match_expressions.is_empty() {
        let what = "an empty selector would match every machine";
        let cure = "add a requirement, or remove it and set `default: true`";
        found.error(at, "EmptySelector", what, cure);
    }
    for (key, value) in &selector.match_labels {
        let pointer = format!(
            "{at}/matchLabels/{}",
            key.replace('~', "~0").replace('/', "~1")
        );
        label(found, &pointer, key, [value]);
    }
    for (index, requirement) in selector.match_expressions.iter().enumerate() {
        let pointer = format!("{at}/matchExpressions/{index}");
        label(found, &pointer, &requirement.key, &requirement.values);
        let (wants_values, operator) = match requirement.operator {
            Operator::In => (true, "In"),
            Operator::NotIn => (true, "NotIn"),
            Operator::Exists => (false, "Exists"),
            Operator::DoesNotExist => (false, "DoesNotExist"),
        };
        if wants_values && requirement.values.is_empty() {
            let what = format!("`{operator}` compares with no value");
            found.error(
                format!("{pointer}/operator"),
                "BadSelector",
                what,
                "add `values`",
            );
        } else if !wants_values && !requirement.values.is_empty() {
            let what = format!("`{operator}` takes no values");
            found.error(
                format!("{pointer}/values"),
                "BadSelector",
                what,
                "remove them",
            );
        }
    }
}

fn label<'a>(
    found: &mut Found<'_>,
    pointer: &str,
    key: &str,
    values: impl IntoIterator<Item = &'a String>,
) {
    if !names::is_label_key(key) {
        let what = format!("`{}` cannot be the key of a label", key.escape_debug());
        found.error(
            pointer,
            "BadLabelKey",
            what,
            "write it as role or example.net/role",
        );
    }
    for value in values {
        if !names::is_label_value(value) {
            let what = format!("`{}` cannot be the value of a label", value.escape_debug());
            let cure = "use at most 63 letters, digits, `-`, `_` and `.`";
            found.error(pointer, "BadLabel", what, cure);
        }
    }
}
