//! The CRDs in `crds/` are those of the types, and ones that a cluster takes.
//!
//! Run `make crds` (or this test with `UPDATE_GOLDEN=1`) after a change.

#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use reveille::api;
use reveille::cli::crds::CrdsArgs;
use reveille::cli::rbac::RbacArgs;
use reveille::cli::reference::{ReferenceArgs, Topic};
use reveille::cli::settings::SettingsArgs;
use reveille::standalone::yaml;

#[test]
fn the_folder_is_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let fresh = tempfile::tempdir().unwrap();
    let target = if std::env::var_os("UPDATE_GOLDEN").is_some() {
        folder.as_path()
    } else {
        fresh.path()
    };
    let args = CrdsArgs {
        output_dir: Some(target.to_owned()),
        schemas: false,
    };
    args.run(&mut Vec::new()).unwrap();
    let names = |path: &Path| {
        let entries = std::fs::read_dir(path).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(target), names(&folder), "run `make crds`");
    for name in names(target) {
        let (new, old) = (target.join(&name), folder.join(&name));
        let same = std::fs::read(new).unwrap() == std::fs::read(old).unwrap();
        assert!(
            same,
            "crds/{} is not up to date: run `make crds`",
            name.display()
        );
    }
}

#[test]
fn the_pages_made_from_the_types_are_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = |topic| {
        let mut page = Vec::new();
        ReferenceArgs { topic }.run(&mut page).unwrap();
        page
    };
    let mut roles = Vec::new();
    let args = RbacArgs {
        namespace: "reveille".to_owned(),
        name: "reveille".to_owned(),
        all_namespaces: false,
        secrets: Vec::new(),
        config_maps: Vec::new(),
    };
    args.run(&mut roles).unwrap();
    let mut schemas = Vec::new();
    let args = CrdsArgs {
        output_dir: None,
        schemas: true,
    };
    args.run(&mut schemas).unwrap();
    let mut settings = Vec::new();
    SettingsArgs {}.run(&mut settings).unwrap();
    for (name, new) in [
        ("nix/settings.json", settings),
        ("nix/schemas.json", schemas),
        ("docs/api.md", page(Topic::Resources)),
        ("docs/metrics.md", page(Topic::Metrics)),
        ("examples/operator/rbac.yaml", roles),
    ] {
        let path = root.join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &new).unwrap();
        }
        let same = std::fs::read(&path).is_ok_and(|old| old == new);
        assert!(same, "{name} is not up to date: run `make crds`");
    }
}

#[test]
fn the_yaml_means_to_kubectl_what_we_mean() {
    let mut text = Vec::new();
    let args = CrdsArgs {
        output_dir: None,
        schemas: false,
    };
    args.run(&mut text).unwrap();
    let parsed = yaml::parse(std::str::from_utf8(&text).unwrap());
    assert_eq!(parsed.errors, []);
    assert_eq!(parsed.documents.len(), api::crds().len());
    for (document, crd) in parsed.documents.iter().zip(api::crds()) {
        // 576.0 is 576 after a way through YAML, here as in a cluster.
        let mut value = serde_json::to_value(&crd).unwrap();
        whole(&mut value);
        assert_eq!(document.value, value, "{}", crd.spec.names.kind);
    }
}

fn whole(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Number(number) => {
            let text = number.to_string();
            if let Some(whole) = text.strip_suffix(".0") {
                *value = whole.parse::<i64>().unwrap().into();
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(whole),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(whole),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::String(_) => {}
    }
}

#[test]
fn the_schemas_are_structural_and_described() {
    for crd in api::crds() {
        let schema = crd.spec.versions[0].schema.clone().unwrap();
        let root = schema.open_api_v3_schema.unwrap();
        assert!(root.description.as_deref().unwrap().len() > 30);
        visit(&crd.spec.names.kind, &root, true);
    }
}

/// The rules of structural schemas as far as ours could break them.
fn visit(at: &str, schema: &JSONSchemaProps, is_field: bool) {
    assert!(schema.type_.is_some(), "{at}: no type");
    if is_field {
        let text = schema.description.as_deref().unwrap_or_default();
        assert!(!text.is_empty(), "{at}: no description");
        assert!(!text.contains("Auto-generated"), "{at}: {text}");
    }
    let composed = [&schema.all_of, &schema.any_of, &schema.one_of];
    assert!(composed.into_iter().all(Option::is_none), "{at}: composed");
    assert!(schema.not.is_none() && schema.ref_path.is_none(), "{at}");
    assert!(schema.unique_items != Some(true), "{at}: uniqueItems");
    if let Some(rest) = &schema.additional_properties {
        let JSONSchemaPropsOrBool::Schema(rest) = rest else {
            unreachable!("{at}: additionalProperties is a boolean");
        };
        assert!(schema.properties.is_none(), "{at}: two kinds of properties");
        visit(&format!("{at}.*"), rest, false);
    }
    for (name, schema) in schema.properties.iter().flatten() {
        visit(&format!("{at}.{name}"), schema, true);
    }
    let is_spec = at.contains(".spec");
    match schema.type_.as_deref() {
        // What is not bounded costs the rules that read it their budget.
        Some("string") if is_spec => {
            let bounded = schema.max_length.is_some() || schema.enum_.is_some();
            let is_time = schema.format.as_deref() == Some("date-time");
            assert!(bounded || is_time, "{at}: no limit");
        }
        Some("array") => {
            assert!(!is_spec || schema.max_items.is_some(), "{at}: no limit");
            assert!(
                schema.x_kubernetes_list_type.is_some(),
                "{at}: no list type"
            );
        }
        Some("object") if is_spec && schema.additional_properties.is_some() => {
            assert!(schema.max_properties.is_some(), "{at}: no limit");
        }
        _ => {}
    }
    assert!(schema.nullable.is_none(), "{at}: nullable");
    if schema.type_.as_deref() == Some("array") {
        let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items else {
            unreachable!("{at}: items is not one schema");
        };
        visit(&format!("{at}[]"), items, false);
    }
}
