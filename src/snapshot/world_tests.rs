//! The rules that only all objects together show, one by one.

use serde_json::{Value, json};

use super::*;
use crate::api::Severity;

fn object<T: serde::de::DeserializeOwned>(kind: Kind, name: &str, spec: Value) -> T {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    let metadata = json!({"name": name, "namespace": namespace});
    let api = crate::api::API_VERSION;
    let object =
        json!({"apiVersion": api, "kind": kind.as_str(), "metadata": metadata, "spec": spec});
    serde_json::from_value(object).unwrap()
}

fn subnet(name: &str, interface: &str, cidr: &str, mode: &str, more: Value) -> Subnet {
    let mut spec = json!({"mode": mode, "cidr": cidr, "interface": interface});
    spec.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    object(Kind::Subnet, name, spec)
}

fn machine(name: &str, mac: u8, ip: Option<&str>, profile: Option<&str>) -> Machine {
    let profile = profile.map(|name| json!({"name": name}));
    let mac = format!("52:54:00:00:00:{mac:02x}");
    let spec = json!({"interfaces": [{"mac": mac, "ip": ip}], "profileRef": profile});
    object(Kind::Machine, name, spec)
}

/// `Kind namespace/name pointer reason -> related object`, `?` for warnings.
fn told(inputs: &Inputs) -> Vec<String> {
    check_world(inputs)
        .iter()
        .map(|problem| {
            let mark = if problem.severity == Severity::Warning {
                "?"
            } else {
                ""
            };
            let related: Vec<_> = problem
                .related
                .iter()
                .map(|(place, _)| place.object.name.as_str())
                .collect();
            let place = &problem.place;
            format!(
                "{mark}{} {} {} {}",
                place.object,
                place.pointer,
                problem.reason,
                related.join(",")
            )
            .trim_end()
            .to_owned()
        })
        .collect()
}

#[test]
fn gives_an_interface_and_a_network_to_the_older_subnet() {
    let none = json!({});
    let inputs = Inputs {
        subnets: vec![
            subnet("off", "e1", "10.0.0.0/8", "Disabled", none.clone()),
            subnet("a", "e1", "10.0.0.0/16", "Server", none.clone()),
            subnet("b", "e1", "10.1.0.0/16", "Server", none.clone()),
            subnet("other/b", "e1", "10.2.0.0/16", "Server", none.clone()),
            subnet("other/c", "e2", "10.0.5.0/24", "Server", none),
        ],
        ..Inputs::default()
    };
    assert_eq!(
        told(&inputs),
        [
            "Subnet other/b /spec/interface InterfaceTaken a",
            "Subnet other/c /spec/cidr SubnetsOverlap a",
        ]
    );
}

#[test]
fn gives_a_relay_to_the_older_subnet() {
    let relays = |relays: Value| json!({ "relays": relays });
    let range = json!([{"start": "172.16.0.1", "end": "172.16.0.9"}]);
    let inputs = Inputs {
        subnets: vec![
            subnet("a", "e1", "10.0.0.0/16", "Server", relays(range)),
            subnet(
                "b",
                "e2",
                "10.1.0.0/16",
                "Server",
                relays(json!([{"start": "172.16.0.9"}])),
            ),
            subnet(
                "c",
                "e3",
                "10.2.0.0/16",
                "Server",
                relays(json!([{"start": "172.16.0.10"}])),
            ),
        ],
        ..Inputs::default()
    };
    assert_eq!(
        told(&inputs),
        ["Subnet default/b /spec/relays/0/start RelayTaken a"]
    );
}

#[test]
fn finds_machines_that_are_twice_there() {
    let inputs = Inputs {
        machines: vec![
            machine("a", 1, Some("10.0.0.1"), None).into(),
            machine("b", 1, Some("10.0.0.1"), None).into(),
            machine("other/c", 1, Some("10.0.0.1"), None).into(),
        ],
        ..Inputs::default()
    };
    assert_eq!(
        told(&inputs),
        [
            "Machine default/b /spec/interfaces/0/mac DuplicateMac a",
            "Machine default/b /spec/interfaces/0/ip DuplicateIp a",
        ]
    );
}

#[test]
fn finds_machines_that_are_known_by_the_same() {
    let known =
        |name: &str, spec: Value| -> Arc<Machine> { Arc::new(object(Kind::Machine, name, spec)) };
    let uuid = "4c4c4544-0043-4810-8052-b4c04f4a4d32";
    let swapped = "44454C4C-4300-1048-8052-B4C04F4A4D32";
    let inputs = Inputs {
        machines: vec![
            known("a", json!({"uuid": uuid, "serial": "X1", "assetTag": "7"})),
            known("b", json!({"uuid": swapped})),
            known("c", json!({"serial": " x1 "})),
            known("d", json!({"assetTag": "7"})),
            known(
                "other/e",
                json!({"uuid": uuid, "serial": "7", "assetTag": "X1"}),
            ),
        ],
        ..Inputs::default()
    };
    assert_eq!(
        told(&inputs),
        [
            "Machine default/b /spec/uuid DuplicateUuid a",
            "Machine default/c /spec/serial DuplicateSerial a",
            "Machine default/d /spec/assetTag DuplicateAssetTag a",
        ]
    );
}

#[test]
fn holds_reservations_against_subnets() {
    let more = json!({"routers": ["10.0.0.1"], "nextServer": "10.0.0.2"});
    let inputs = Inputs {
        subnets: vec![subnet("a", "e1", "10.0.0.0/24", "Server", more)],
        machines: vec![
            machine("router", 1, Some("10.0.0.1"), None).into(),
            machine("next", 2, Some("10.0.0.2"), None).into(),
            machine("net", 3, Some("10.0.0.255"), None).into(),
            machine("far", 4, Some("10.9.0.1"), None).into(),
            machine("fine", 5, Some("10.0.0.9"), None).into(),
            machine("other/unserved", 6, Some("10.9.0.1"), None).into(),
        ],
        ..Inputs::default()
    };
    assert_eq!(
        told(&inputs),
        [
            "Machine default/router /spec/interfaces/0/ip AddressTaken a",
            "Machine default/next /spec/interfaces/0/ip AddressTaken a",
            "Machine default/net /spec/interfaces/0/ip BadAddress a",
            "?Machine default/far /spec/interfaces/0/ip NoSubnet",
        ]
    );
}

#[test]
fn finds_profiles_that_are_not_there() {
    let profile = |name| {
        object(
            Kind::BootProfile,
            name,
            json!({"default": true, "local": {}}),
        )
    };
    let more = json!({"defaultProfileRef": {"name": "debina"}});
    let inputs = Inputs {
        subnets: vec![subnet("a", "e1", "10.0.0.0/24", "Server", more)],
        profiles: vec![profile("debian"), profile("rescue"), profile("other/far")],
        machines: vec![
            machine("m", 1, None, Some("debian")).into(),
            machine("n", 2, None, Some("far")).into(),
        ],
        ..Inputs::default()
    };
    assert_eq!(
        told(&inputs),
        [
            "?BootProfile default/rescue /spec/default TwoDefaults debian",
            "Subnet default/a /spec/defaultProfileRef/name ProfileNotFound",
            "Machine default/n /spec/profileRef/name ProfileNotFound",
        ]
    );
    let cures: Vec<_> = check_world(&inputs).into_iter().map(|p| p.cure).collect();
    assert_eq!(cures[1], "did you mean `debian`?");
    assert!(cures[2].contains("namespace other"), "{}", cures[2]);
}

#[test]
fn is_quick_with_ten_thousand_machines() {
    let machines = (0..10_000_u32)
        .map(|n| {
            let mut one = machine(&format!("m{n}"), 0, None, None);
            let [a, b, c, d] = n.to_be_bytes();
            one.spec.interfaces[0].mac = MacAddress::new([2, 0, a, b, c, d]);
            one.spec.interfaces[0].ip = Some(Ipv4Addr::from(0x0a00_0001 + n));
            one.into()
        })
        .collect();
    let inputs = Inputs {
        subnets: vec![subnet("a", "e1", "10.0.0.0/8", "Server", json!({}))],
        machines,
        ..Inputs::default()
    };
    assert_eq!(told(&inputs), [""; 0]);
}
