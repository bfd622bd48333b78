use serde_json::json;

use super::*;
use crate::api::Syntax;

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
        json!({"metadata": {"name": "x"}, "spec": {"interfaces": [{"mac": "52:54:00:00:00:01"}], "params": {"b": "x"}}})
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
        (format!("{api}kind: DhcpLease"), Err("NotServed")),
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
fn a_set_has_each_item_once_and_a_map_its_limit() {
    let params: Vec<String> = (0..65).map(|n| format!("p{n}: x")).collect();
    let text = format!(
        "metadata: {{name: x}}\nspec: {{architectures: [arm-uefi, x86_64-bios, arm-uefi], local: {{}}, params: {{{}}}}}",
        params.join(", ")
    );
    assert_eq!(
        problems(Kind::BootProfile, &text),
        [
            ("/spec/architectures/2".to_owned(), "Duplicate"),
            ("/spec/params".to_owned(), "TooMany")
        ]
    );
}

#[test]
fn every_syntax_in_the_crds_is_one_that_has_words() {
    fn visit(schema: &JSONSchemaProps) -> usize {
        use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
            JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
        };
        assert_eq!(schema.pattern, None);
        let is_text = schema.type_.as_deref() == Some("string");
        assert!(!is_text || schema.format.is_none(), "{:?}", schema.format);
        let mut found = usize::from(Syntax::of(schema).is_some());
        found += schema
            .properties
            .iter()
            .flatten()
            .map(|(_, s)| visit(s))
            .sum::<usize>();
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
            found += visit(items);
        }
        if let Some(JSONSchemaPropsOrBool::Schema(rest)) = &schema.additional_properties {
            found += visit(rest);
        }
        found
    }
    let spec = |kind| visit(&schema(kind).properties.as_ref().unwrap()["spec"]);
    // cidr, two ends of a pool, four times, four kinds of servers, two ends of a relay's range, of
    // one that may ask for leases and of an excluded one, both of a route, an address and addresses
    // of an option, of a class's and of those that it matches, two ends of its pools; of options; of
    // IPv6 the network, two ends of a pool, name servers, relays, the server, three times; mac, ip,
    // ipv6, uuid, a reserved address, of options; refresh.
    assert_eq!(Kind::ALL.map(spec), [36, 3, 7, 1]);
}
