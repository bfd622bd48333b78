//! Folders of manifests: what is accepted, and what each mistake looks like.
//!
//! `tests/manifests/invalid/X.yaml` has its output beside it in `X.stderr`;
//! `UPDATE_GOLDEN=1 cargo test --test manifests` writes it anew.

#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use proptest::prelude::*;
use reveille::cli::check::{CheckArgs, Output};
use reveille::standalone::{diagnostics, read_paths, read_text, yaml};

fn check(paths: &[&str], output: Output) -> (bool, String) {
    let args = CheckArgs {
        paths: paths.iter().map(PathBuf::from).collect(),
        output,
        warnings_as_errors: false,
        online: false,
        secrets: None,
        plain_registries: Vec::new(),
    };
    let mut out = Vec::new();
    let code = args.run_with(&mut out, false).unwrap();
    // ExitCode cannot be compared, but shown.
    let good = format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS);
    (good, String::from_utf8(out).unwrap())
}

#[test]
fn accepts_the_valid_ones() {
    let (good, text) = check(&["tests/manifests/valid"], Output::Human);
    assert!(good, "{text}");
    assert_eq!(
        text,
        "43 objects in 12 files: 13 Subnets, 22 BootProfiles, 5 Machines, 3 Artifacts; no mistakes\n"
    );
    assert_eq!(check(&["tests/manifests/valid"], Output::Json).1, "[]\n");
}

#[test]
fn accepts_every_example() {
    let mut folders: Vec<PathBuf> = std::fs::read_dir("examples")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    // Roles of Kubernetes and a flake are no manifests of ours.
    folders.retain(|folder| !folder.ends_with("operator") && !folder.ends_with("nixos"));
    assert!(folders.len() >= 2);
    for folder in folders {
        let (good, text) = check(&[folder.to_str().unwrap()], Output::Human);
        assert!(good && text.ends_with("no mistakes\n"), "{text}");
    }
}

#[test]
fn names_the_publisher_of_each_system() {
    const SYSTEMS: [&str; 8] = [
        "debian",
        "fedora",
        "flatcar",
        "memtest",
        "nixos",
        "plain-iso",
        "talos",
        "ubuntu",
    ];
    for system in SYSTEMS {
        let file = format!("examples/systems/{system}.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("https://"), "{file} names no publisher");
        let readme = std::fs::read_to_string("examples/systems/README.md").unwrap();
        assert!(readme.contains(&format!("({system}.yaml)")), "{file}");
        let loaded = read_paths(&[file.clone().into()]);
        let profiles = &loaded.inputs.profiles;
        assert!(!profiles.is_empty(), "{file} boots nothing");
        // Nobody boots an installer for want of another profile.
        assert!(profiles.iter().all(|it| !it.spec.default), "{file}");
    }
}

#[test]
fn shows_each_mistake() {
    let folder = Path::new("tests/manifests/invalid");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "stderr") {
            continue;
        }
        seen += 1;
        let (good, text) = check(&[path.to_str().unwrap()], Output::Human);
        assert!(!good, "{}: no mistakes found", path.display());
        let golden = path.with_extension("stderr");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &text).unwrap();
        }
        let want = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(
            text,
            want,
            "{}: UPDATE_GOLDEN=1 rewrites it",
            golden.display()
        );
    }
    assert!(seen >= 7);
}

#[test]
fn costs_the_bad_object_only() {
    let loaded = read_paths(&["tests/manifests/invalid/world.yaml".into()]);
    assert_eq!(
        loaded.inputs.machines.len(),
        2,
        "the third is written twice"
    );
    let loaded = read_paths(&["tests/manifests/invalid/yaml.yaml".into()]);
    assert_eq!(loaded.inputs.machines.len(), 0);
    let loaded = read_paths(&["tests/manifests".into()]);
    assert!(!loaded.problems.is_empty());
    assert!(
        loaded
            .inputs
            .machines
            .iter()
            .any(|m| m.metadata.name.as_deref() == Some("node-8"))
    );
}

#[test]
fn says_what_is_missing_or_empty() {
    let (good, text) = check(&["tests/none"], Output::Human);
    assert!(!good);
    assert!(
        text.starts_with("error[CannotRead]: cannot read tests/none: no such file or directory\n"),
        "{text}"
    );
    let empty = tempfile::tempdir().unwrap();
    let (good, text) = check(&[empty.path().to_str().unwrap()], Output::Human);
    assert!(good);
    assert!(text.ends_with("1 warning in 0 files\n"), "{text}");
}

#[test]
fn does_not_blame_a_reference_for_the_profile_s_own_mistakes() {
    let text = "apiVersion: reveille.dev/v1alpha1\nkind: BootProfile\nmetadata: {name: p}\nspec: {x: 1}\n---\n\
                apiVersion: reveille.dev/v1alpha1\nkind: Machine\nmetadata: {name: m}\n\
                spec: {interfaces: [{mac: '52:54:00:00:00:01'}], profileRef: {name: p}}\n";
    let problems = read_text(Path::new("x.yaml"), text).check();
    let reasons: Vec<_> = problems.iter().map(|p| p.reason).collect();
    assert_eq!(reasons, ["UnknownField"]);
    let line = problems[0].line(&read_text(Path::new("x.yaml"), text).files);
    assert!(
        line.starts_with("x.yaml:4:8: BootProfile default/p: unknown field `spec.x`; "),
        "{line}"
    );
}

#[test]
fn writes_json_that_a_program_can_place() {
    let (good, text) = check(&["tests/manifests/invalid/world.yaml"], Output::Json);
    assert!(!good);
    let array: serde_json::Value = serde_json::from_str(&text).unwrap();
    let entry = array
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["reason"] == "DuplicateMac")
        .unwrap();
    assert_eq!(entry["severity"], "error");
    assert_eq!(entry["object"]["name"], "b");
    assert_eq!(entry["pointer"], "/spec/interfaces/0/mac");
    assert_eq!(
        (&entry["line"], &entry["column"], &entry["endColumn"]),
        (&31.into(), &22.into(), &39.into())
    );
    assert_eq!(entry["related"][0]["line"], 25);
    assert!(!entry["cure"].as_str().unwrap().is_empty());
}

#[test]
fn shows_a_mistake_in_a_line_of_ten_megabytes() {
    let long = "x".repeat(10 << 20);
    let text = format!(
        "{{\"apiVersion\": \"reveille.dev/v1alpha1\", \"kind\": \"Machine\", \"metadata\": {{\"name\": \"{long}\"}}, \"spec\": {{\"interfaces\": 5}}}}"
    );
    let loaded = read_text(Path::new("long.json"), &text);
    let problems = loaded.check();
    assert_eq!(problems.len(), 2);
    for problem in &problems {
        let shown = diagnostics::render(problem, &loaded.files, false);
        assert!(shown.len() < 2000, "{}", shown.len());
        assert!(
            shown.contains("long.json:1:") && shown.contains("note: near …"),
            "{shown}"
        );
    }
    assert!(
        diagnostics::to_json(&problems, &loaded.files)[1]["column"]
            .as_u64()
            .unwrap()
            > 10 << 20
    );
}

#[test]
fn never_hands_control_characters_to_a_terminal() {
    let text = "apiVersion: reveille.dev/v1alpha1\nkind: Subnet\nmetadata: {name: \"a\\e[31m\"}\n\"k\\e]0;x\\a\": 1\nspec: {mode: \"\\e[2J\", cidr: \"\\e\", interface: \"\\e\"}\n";
    let loaded = read_text(Path::new("x.yaml"), text);
    let problems = loaded.check();
    assert!(problems.len() >= 4);
    for problem in problems {
        let shown = diagnostics::render(&problem, &loaded.files, false);
        assert!(
            !shown.contains('\x1b') && !shown.contains('\x07'),
            "{shown:?}"
        );
        assert!(!problem.line(&loaded.files).contains('\x1b'));
    }
}

/// Where our reader and serde_yaml differ on purpose: text, why.
const DIFFERENCES: &[(&str, &str)] = &[
    ("a: yes", "a boolean in YAML 1.1, as for kubectl"),
    ("a: On", "a boolean in YAML 1.1, as for kubectl"),
    ("a: n", "a boolean in YAML 1.1, as for kubectl"),
    (
        "y: 1",
        "the key is a boolean and becomes `true`, as for kubectl",
    ),
    ("a: 0644", "octal in YAML 1.1, as for kubectl"),
    ("a: 1_000", "an integer in YAML 1.1, as for kubectl"),
    (
        "a: 1.0",
        "whole floats are integers after JSON, as for kubectl",
    ),
    (
        "a: 1e3",
        "whole floats are integers after JSON, as for kubectl",
    ),
    (
        "a: 1.",
        "whole floats are integers after JSON, as for kubectl",
    ),
    (
        "a: {<<: {b: 1}, c: 2}",
        "merge keys are merged, as for kubectl",
    ),
    (
        "{\"a\": \"\\ud83d\\ude00\"}",
        "surrogate pairs are JSON; kubectl reads a JSON file as JSON",
    ),
    (
        "\tb: 1",
        "the parser takes a tab before the only key; nothing depends on it",
    ),
    ("a: .inf", "JSON has no infinity; refused, as by kubectl"),
    ("a: !x b", "a tag that means nothing is refused"),
    ("a: !!binary aGk=", "JSON has no bytes; refused"),
];

/// What both read alike.
const ALIKE: &[&str] = &[
    "a: 1",
    "a: -5",
    "a: 0x1F",
    "a: 0o17",
    "a: 1.5",
    "a: 0b101",
    "1.5: a",
    "12: a",
    "true: a",
    "a: .5",
    "a: true",
    "a: False",
    "a: ~",
    "a:",
    "a: null",
    "a: 'yes'",
    "a: \"on\\n\\u00e4\"",
    "a: |\n  b\n  c\n",
    "a: >-\n  b\n  c\n\n  d\n",
    "a: |+\n  b\n\n",
    "a: 12:30",
    "a: 2001-01-01",
    "a: 52:54:00:12:34:56",
    "a: 10.0.0.1",
    "a: [1, [2, {b: c}], ]",
    "a: {b: , c: 'd'}",
    "a: &x {b: 1}\nc: *x",
    "- a\n-\n- - b\n  - c",
    "a: !!str 12",
    "a: b # c",
    "a: b#c",
    "a:\n- b\n- c",
    "? a\n: b",
    "a: 18446744073709551615",
    "a: +12",
    "{\"a\": \"\\u00e4\", \"b\": [1.25, null]}",
    "a: b: c",
    "a: [",
    "a: {b: 1}}",
    "a: 1\na: 2",
    "a: *x",
    "a: @b",
    "a: 'b",
    "--- x\n",
    "%YAML 1.1\n---\na: b\n",
];

fn ours(text: &str) -> Result<serde_json::Value, ()> {
    let mut parsed = yaml::parse(text);
    match (parsed.errors.is_empty(), parsed.documents.len()) {
        (true, 1) => Ok(parsed.documents.remove(0).value),
        (true, 0) => Ok(serde_json::Value::Null),
        _ => Err(()),
    }
}

fn theirs(text: &str) -> Result<serde_json::Value, ()> {
    let value: serde_yaml::Value = serde_yaml::from_str(text).map_err(|_| ())?;
    serde_json::to_value(value).map_err(|_| ())
}

#[test]
fn reads_as_serde_yaml_does_except_where_listed() {
    let parted: Vec<_> = ALIKE
        .iter()
        .filter(|text| ours(text) != theirs(text))
        .collect();
    assert!(parted.is_empty(), "alike no more: {parted:#?}");
    let met: Vec<_> = DIFFERENCES
        .iter()
        .filter(|(text, _)| ours(text) == theirs(text))
        .collect();
    assert!(met.is_empty(), "differ no more: {met:#?}");
    let folders = ["crds", "tests/manifests/valid"];
    for path in folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
    {
        let path = path.unwrap().path();
        // Whole floats and YAML 1.1 booleans are listed above.
        let text = std::fs::read_to_string(&path).unwrap();
        if path.extension().is_some_and(|ending| ending == "json") {
            let value = serde_json::from_str(&text).map_err(drop);
            assert_eq!(ours(&text), value, "{}", path.display());
            continue;
        }
        let text = text
            .replace(".0\n", "\n")
            .replace(": yes ", ": true ")
            .replace("0x10", "16");
        for part in text.split("\n---\n") {
            assert_eq!(ours(part), theirs(part), "{}", path.display());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_read_without_a_panic(text in "\\PC*|[-a-c:{}\\[\\],&*!|>'\"#%@`?<~ \t\n\r0-9.]{0,200}") {
        let loaded = read_text(Path::new("x.yaml"), &text);
        for problem in loaded.check() {
            let _shown = diagnostics::render(&problem, &loaded.files, false);
        }
        let _array = diagnostics::to_json(&loaded.problems, &loaded.files);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _parsed = yaml::parse(&String::from_utf8_lossy(&bytes));
    }

    /// A good manifest with a piece of it replaced: the deep paths of the checks.
    #[test]
    fn any_slip_is_told_without_a_panic(at in 0_usize..700, len in 0_usize..40, with in "[-a-z:{}\\[\\],&*!|>'\" \n0-9.]{0,12}") {
        let text = include_str!("manifests/valid/two-objects.yaml");
        let at = at.min(text.len());
        let end = (at + len).min(text.len());
        let slip = format!("{}{with}{}", &text[..at], &text[end..]);
        let loaded = read_text(Path::new("x.yaml"), &slip);
        for problem in loaded.check() {
            let shown = diagnostics::render(&problem, &loaded.files, true);
            prop_assert!(shown.contains("x.yaml"));
        }
    }
}
