use serde_json::{Value, json};

use super::*;
use crate::api::Kind;
use crate::api::Severity;

fn found(kind: Kind, spec: Value) -> Vec<(String, &'static str)> {
    let object = json!({
        "apiVersion": "reveille.dev/v1alpha1", "kind": kind.as_str(),
        "metadata": {"name": "x"}, "spec": spec,
    });
    let problems = match kind {
        Kind::Subnet => validate_subnet(&serde_json::from_value(object).unwrap()),
        Kind::BootProfile => validate_profile(&serde_json::from_value(object).unwrap()),
        Kind::Machine => validate_machine(&serde_json::from_value(object).unwrap()),
        Kind::Artifact => validate_artifact(&serde_json::from_value(object).unwrap()),
    };
    problems
        .into_iter()
        .map(|problem| {
            assert!(!problem.what.is_empty() && !problem.what.ends_with('.'));
            assert!(!problem.cure.is_empty(), "{problem}");
            let mark = match problem.severity {
                Severity::Warning => "?",
                Severity::Error => "",
            };
            (format!("{mark}{}", problem.place.pointer), problem.reason)
        })
        .collect()
}

#[track_caller]
fn expect(kind: Kind, spec: Value, want: &[(&str, &'static str)]) {
    let found = found(kind, spec);
    let found: Vec<_> = found.iter().map(|(p, r)| (p.as_str(), *r)).collect();
    assert_eq!(found, want);
}

fn subnet(more: Value) -> Value {
    let mut spec = json!({"mode": "Server", "cidr": "10.33.0.0/16", "interface": "ens38"});
    for (name, value) in more.as_object().unwrap() {
        spec[name] = value.clone();
    }
    spec
}

#[test]
fn accepts_what_is_right() {
    for spec in [
        json!({}),
        json!({"pools": [{"start": "10.33.1.1", "end": "10.33.1.9"}, {"start": "10.33.1.10", "end": "10.33.1.10"}],
               "routers": ["10.33.0.1"], "nextServer": "10.33.0.2",
               "dns": {"servers": ["9.9.9.9"], "search": ["example.net", "Example.net."]},
               "lifetimes": {"valid": "4000s", "renew": "1000s", "rebind": "2000s"}}),
        json!({"interface": "52:54:00:12:34:56"}),
        json!({"lifetimes": {"valid": "60s"}}),
    ] {
        expect(Kind::Subnet, subnet(spec), &[]);
    }
    expect(Kind::BootProfile, json!({"local": {}}), &[]);
    expect(
        Kind::BootProfile,
        json!({"loader": {"kind": "File", "files": {"x86_64-uefi": "a.efi"}}}),
        &[],
    );
    expect(
        Kind::Machine,
        json!({"interfaces": [{"mac": "52:54:00:00:00:01", "ip": "10.0.0.1", "hostname": "Node-7.lab"}, {"mac": "52:54:00:00:00:02"}]}),
        &[],
    );
}

#[test]
fn holds_lifetimes_in_order() {
    let at = |renew, rebind, valid| {
        subnet(json!({"lifetimes": {"renew": renew, "rebind": rebind, "valid": valid}}))
    };
    let (renew, rebind) = ("/spec/lifetimes/renew", "/spec/lifetimes/rebind");
    let bad = "BadLifetimes";
    expect(
        Kind::Subnet,
        at(json!("2000s"), json!("1000s"), "4000s"),
        &[(renew, bad)],
    );
    expect(
        Kind::Subnet,
        at(json!("1s"), json!("4000s"), "4000s"),
        &[(rebind, bad)],
    );
    expect(
        Kind::Subnet,
        at(json!("5000s"), json!(null), "4000s"),
        &[(renew, bad)],
    );
    expect(
        Kind::Subnet,
        at(json!(null), json!("10s"), "4000s"),
        &[(rebind, bad)],
    );
    expect(
        Kind::Subnet,
        at(json!("0s"), json!(null), "4000s"),
        &[(renew, bad)],
    );
    expect(
        Kind::Subnet,
        at(json!(null), json!(null), "59s"),
        &[("/spec/lifetimes/valid", "LeaseTooShort")],
    );
}

#[test]
fn keeps_pools_and_addresses_apart() {
    expect(
        Kind::Subnet,
        subnet(json!({"pools": [
            {"start": "10.33.0.0", "end": "10.33.0.9"},
            {"start": "10.33.9.9", "end": "10.33.9.1"},
            {"start": "10.33.0.5", "end": "10.34.0.1"},
        ], "routers": ["10.99.0.1", "10.33.0.3", "224.0.0.1"], "nextServer": "0.0.0.0"})),
        &[
            ("/spec/pools/0/start", "OutsideCidr"),
            ("/spec/pools/1/end", "BadRange"),
            ("/spec/pools/2/end", "OutsideCidr"),
            ("/spec/pools/2/start", "PoolsOverlap"),
            ("/spec/pools/2/start", "PoolsOverlap"),
            ("?/spec/routers/0", "OutsideCidr"),
            ("?/spec/routers/1", "AddressInPool"),
            ("/spec/routers/2", "BadAddress"),
            ("/spec/nextServer", "BadAddress"),
        ],
    );
    expect(
        Kind::Subnet,
        subnet(json!({"cidr": "224.0.0.0/8"})),
        &[("/spec/cidr", "BadCidr")],
    );
    expect(
        Kind::Subnet,
        subnet(json!({"dns": {"search": ["a b"]}})),
        &[("/spec/dns/search/0", "BadDomain")],
    );
}

#[test]
fn refuses_what_is_no_interface() {
    for name in ["", "a b", "a/b", "..", "eth0:1", &"x".repeat(128)] {
        expect(
            Kind::Subnet,
            subnet(json!({"interface": name})),
            &[("/spec/interface", "BadInterface")],
        );
    }
}

#[test]
fn wants_one_source_and_good_paths() {
    expect(Kind::BootProfile, json!({}), &[("/spec", "NoSource")]);
    expect(
        Kind::BootProfile,
        json!({"local": {}, "linux": {"kernel": {"path": "../vmlinuz"}, "initrd": [
            {"path": "a/initrd"}, {"path": "b/initrd"}, {"path": "c", "name": "two words"}, {"path": "/"}],
            "args": ["", "a\nb", "{{ machine.nmae }}", "{{"]}}),
        &[
            ("/spec/local", "TwoSources"),
            ("/spec/linux/kernel/path", "BadPath"),
            ("/spec/linux/initrd/3/path", "BadPath"),
            ("/spec/linux/initrd/1/path", "DuplicateInitrd"),
            ("/spec/linux/initrd/2/name", "BadInitrdName"),
            ("/spec/linux/args/0", "EmptyArgument"),
            ("/spec/linux/args/1", "BadArgument"),
            ("/spec/linux/args/2", "UnknownVariable"),
            ("/spec/linux/args/3", "BadTemplate"),
        ],
    );
}

#[test]
fn wants_files_for_a_loader_of_kind_file() {
    expect(
        Kind::BootProfile,
        json!({"loader": {"kind": "File"}}),
        &[("/spec/loader/files", "NoLoaderFile")],
    );
    expect(
        Kind::BootProfile,
        json!({"architectures": ["x86_64-uefi", "aarch64-uefi"], "local": {},
               "loader": {"kind": "File", "files": {"x86_64-uefi": "a.efi", "arm-uefi": "x/"}}}),
        &[
            ("/spec/local", "TwoSources"),
            ("/spec/loader/files/arm-uefi", "BadPath"),
            ("/spec/architectures/1", "NoLoaderFile"),
        ],
    );
}

#[test]
fn wants_selectors_that_say_something() {
    let with = |selector| json!({"local": {}, "machineSelector": selector});
    let at = "/spec/machineSelector";
    expect(Kind::BootProfile, with(json!({})), &[(at, "EmptySelector")]);
    expect(
        Kind::BootProfile,
        with(
            json!({"matchLabels": {"a/b": "x", "-": "y", "c": "two words"}, "matchExpressions": [
            {"key": "a", "operator": "In"}, {"key": "a", "operator": "Exists", "values": ["x"]}]}),
        ),
        &[
            ("/spec/machineSelector/matchLabels/-", "BadLabelKey"),
            ("/spec/machineSelector/matchLabels/c", "BadLabel"),
            (
                "/spec/machineSelector/matchExpressions/0/operator",
                "BadSelector",
            ),
            (
                "/spec/machineSelector/matchExpressions/1/values",
                "BadSelector",
            ),
        ],
    );
}

#[test]
fn wants_machines_that_can_be_told_apart() {
    expect(
        Kind::Machine,
        json!({"interfaces": [
            {"mac": "52:54:00:00:00:01", "ip": "10.0.0.1"},
            {"mac": "525400000001", "ip": "10.0.0.1", "hostname": "node_7"},
            {"mac": "ff:ff:ff:ff:ff:ff", "ip": "255.255.255.255"},
        ]}),
        &[
            ("/spec/interfaces/1/mac", "DuplicateMac"),
            ("/spec/interfaces/1/ip", "DuplicateIp"),
            ("/spec/interfaces/1/hostname", "BadHostname"),
            ("/spec/interfaces/2/mac", "BadMac"),
            ("/spec/interfaces/2/ip", "BadAddress"),
        ],
    );
    expect(
        Kind::Machine,
        json!({"interfaces": [], "profileRef": {"name": "De bian"}}),
        &[
            ("/spec/interfaces", "NoInterface"),
            ("/spec/profileRef/name", "BadName"),
        ],
    );
    expect(
        Kind::Machine,
        json!({
            "uuid": "03000200-0400-0500-0006-000700080009",
            "serial": "To be filled by O.E.M.",
            "assetTag": " "
        }),
        &[
            ("/spec/uuid", "SharedUuid"),
            ("/spec/serial", "SharedTag"),
            ("/spec/assetTag", "SharedTag"),
        ],
    );
    let uuid = "4c4c4544-0043-4810-8052-b4c04f4a4d32";
    for spec in [
        json!({"uuid": uuid}),
        json!({"serial": "X1"}),
        json!({"assetTag": "7"}),
    ] {
        expect(Kind::Machine, spec, &[]);
    }
}
