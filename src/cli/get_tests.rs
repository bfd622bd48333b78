use serde_json::json;

use super::*;

fn shown(kind: Kind, items: Value, wide: bool) -> String {
    let items = serde_json::from_value(items).unwrap();
    let now = Millis(1_700_000_000_000);
    let (head, rows) = kind.cells(items, wide, now).unwrap();
    let mut out = Vec::new();
    table::print(&head, &rows, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn machine(namespace: &str, name: &str) -> Value {
    json!({
        "namespace": namespace, "name": name, "profile": "debian", "rule": "namespace-default",
        "policy": "Always", "phase": "Booted", "local": null, "stage": "hand-off",
        "ip": "192.0.2.7", "lastBoot": 1_699_999_700_000_u64, "created": 1_699_700_000_000_u64,
        "macs": ["52:54:00:12:34:56"], "architecture": "x86_64-uefi", "durationMs": 12_345,
    })
}

#[test]
fn machines_have_the_columns_that_kubectl_shows() {
    let idle = json!({
        "namespace": "default", "name": "node-10", "profile": null, "rule": "none",
        "policy": "Local", "phase": "Local", "local": "policy-local", "stage": null, "ip": null,
        "lastBoot": null, "created": null, "macs": ["52:54:00:12:34:57"], "architecture": null,
        "durationMs": null,
    });
    let items = json!([machine("default", "node-7"), idle]);
    assert_eq!(
        shown(Kind::Machines, items.clone(), false),
        "\
NAME     PROFILE  POLICY  PHASE   STAGE     IP         LAST-BOOT  AGE
node-7   debian   Always  Booted  hand-off  192.0.2.7  5m         3d11h
node-10  -        Local   Local   -         -          -          -
"
    );
    let wide = shown(Kind::Machines, items, true);
    let first = wide.lines().nth(1).unwrap();
    assert!(
        first.ends_with("  52:54:00:12:34:56  x86_64-uefi  12.3s     3d11h"),
        "{first}"
    );
}

#[test]
fn the_namespace_stands_where_there_are_several() {
    let shown = shown(
        Kind::Machines,
        json!([machine("a", "n"), machine("b", "n")]),
        false,
    );
    let names: Vec<_> = shown
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(names, ["NAME", "a/n", "b/n"]);
}

#[test]
fn the_usual_tables_fit_80_columns() {
    let subnet = json!({
        "namespace": "default", "name": "lab", "mode": "Server", "cidr": "192.0.2.0/24",
        "interface": "enp0s31f6", "free": 48, "used": 3, "ready": false, "reason": "no link",
    });
    let profile = json!({
        "namespace": "default", "name": "debian", "source": "linux", "default": true,
        "machines": 12, "boots": 3400, "ready": true, "reason": null,
    });
    let boot = json!({
        "id": "x", "mac": "52:54:00:12:34:56", "machine": null, "profile": "debian",
        "architecture": "x86_64-uefi", "address": "192.0.2.7", "loader": "snponly.efi",
        "result": "HandedOff", "started": 1_699_999_700_000_u64,
        "last_seen": 1_699_999_712_000_u64, "stages": [{"stage": "Offer"}, {"stage": "HandOff"}],
    });
    for (kind, item) in [
        (Kind::Machines, machine("default", "node-7")),
        (Kind::Subnets, subnet),
        (Kind::Profiles, profile),
        (Kind::Boots, boot),
    ] {
        for line in shown(kind, json!([item]), false).lines() {
            assert!(line.len() <= 80, "{line}");
            assert_eq!(line, line.trim_end());
        }
    }
}

#[test]
fn an_item_goes_by_name_mac_and_address() {
    let machine = machine("default", "node-7");
    for name in ["node-7", "default/node-7", "52-54-00-12-34-56", "192.0.2.7"] {
        assert!(is_called(&machine, name), "{name}");
    }
    for name in ["node", "other/node-7", "52:54:00:12:34:57", "debian"] {
        assert!(!is_called(&machine, name), "{name}");
    }
    let lease = json!({"address": "192.0.2.9", "key": "id:ff01", "hostname": "printer"});
    assert!(is_called(&lease, "id:ff01") && is_called(&lease, "printer"));
}
