use serde_json::json;

use super::*;

fn problems(kind: Kind, text: &str) -> Vec<(String, &'static str)> {
    let parsed = super::super::yaml::parse(text);
    assert_eq!(parsed.errors, []);
    let mut value = parsed.documents.into_iter().next().unwrap().value;
    let object = ObjectRef::new(kind, "default", "x");
    check(&object, &mut value)
        .into_iter()
        .map(|problem| (problem.place.pointer, problem.reason))
        .collect()
}

#[test]
fn finds_every_mistake_at_once() {
    let text = "apiVersion: x\nkind: x\npools: []\nstatus: {}\nmetadata: {name: Lab, label: {a: 1}, uid: x, labels: {a: 1, 'b c': x}}
spec:
  mode: Sever
  cidr: 10.33.1.0/16
  pools: [{start: 10.0.0.300, ende: 10.0.0.1}, 5]
  lifetimes: {valid: 4000}
  routers: 10.33.0.1
  mtu: 20
  authoritative: \"yes\"
  relays: []
  unknownMachines: Discover
";
    let want = [
        ("/pools", "UnknownField"),
        ("/status", "NotServed"),
        ("/metadata/label", "UnknownField"),
        ("/metadata/name", "BadName"),
        ("/metadata/labels/a", "WrongType"),
        ("/metadata/labels/b c", "BadLabelKey"),
        ("/spec/mode", "UnknownValue"),
        ("/spec/cidr", "BadValue"),
        ("/spec/pools/0/start", "BadValue"),
        ("/spec/pools/0/ende", "UnknownField"),
        ("/spec/pools/0/end", "MissingField"),
        ("/spec/pools/1", "WrongType"),
        ("/spec/lifetimes/valid", "WrongType"),
        ("/spec/routers", "WrongType"),
        ("/spec/mtu", "OutOfRange"),
        ("/spec/authoritative", "WrongType"),
        ("/spec/relays", "NotServed"),
        ("/spec/unknownMachines", "NotServed"),
        ("/spec/interface", "MissingField"),
    ];
    let found = problems(Kind::Subnet, text);
    let found: Vec<_> = found.iter().map(|(p, r)| (p.as_str(), *r)).collect();
    assert_eq!(found, want);
}

#[test]
fn drops_nulls_as_the_api_server_does() {
    let text = "metadata: {name: x, creationTimestamp: null}\nspec: {interfaces: [{mac: '52:54:00:00:00:01', ip: null}], params: {a: null, b: x}, boot: }\n";
    let mut value = super::super::yaml::parse(text).documents.remove(0).value;
    let object = ObjectRef::new(Kind::Machine, "default", "x");
    assert_eq!(check(&object, &mut value), []);
    assert_eq!(
        value,
        json!({"metadata": {"name": "x"}, "spec": {"interfaces": [{"mac": "52:54:00:00:00:01", "ip": null}], "params": {"b": "x"}}})
    );
    assert_eq!(
        problems(
            Kind::Machine,
            "metadata: {name: x}\nspec: {interfaces: [{mac: }]}"
        ),
        [("/spec/interfaces/0/mac".to_owned(), "MissingField")]
    );
}

#[test]
fn tells_whose_object_it_is() {
    let api = API_VERSION_LINE;
    for (text, want) in [
        (
            format!("{api}kind: Subnet"),
            Ok(Header::Object(Kind::Subnet)),
        ),
        ("apiVersion: v1\nkind: List".to_owned(), Ok(Header::List)),
        (format!("{api}kind: MachineList"), Ok(Header::List)),
        (format!("{api}kind: Artifact"), Err("NotServed")),
        (format!("{api}kind: subnets"), Err("UnknownKind")),
        (
            "apiVersion: v1\nkind: ConfigMap".to_owned(),
            Err("ForeignObject"),
        ),
        (
            "apiVersion: reveille.dev/v1\nkind: Subnet".to_owned(),
            Err("UnknownVersion"),
        ),
        (
            "apiVersion: v1\nkind: Subnet".to_owned(),
            Err("UnknownVersion"),
        ),
        ("kind: Subnet".to_owned(), Err("MissingField")),
        ("apiVersion: 1\nkind: Subnet".to_owned(), Err("WrongType")),
        ("[1]".to_owned(), Err("NotAnObject")),
    ] {
        let value = super::super::yaml::parse(&text).documents.remove(0).value;
        assert_eq!(
            identify(&value).map_err(|stray| stray.reason),
            want,
            "{text}"
        );
    }
}

const API_VERSION_LINE: &str = "apiVersion: reveille.dev/v1alpha1\n";

#[test]
fn has_words_for_every_pattern_of_the_crds() {
    fn visit(schema: &JSONSchemaProps) {
        use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
            JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
        };
        assert!(text::has_words(schema), "{:?}", schema.pattern);
        schema
            .properties
            .iter()
            .flatten()
            .for_each(|(_, s)| visit(s));
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
            visit(items);
        }
        if let Some(JSONSchemaPropsOrBool::Schema(rest)) = &schema.additional_properties {
            visit(rest);
        }
    }
    Kind::ALL.into_iter().for_each(|kind| visit(schema(kind)));
}
