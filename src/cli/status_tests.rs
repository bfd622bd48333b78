use serde_json::json;

use super::*;

fn overview(change: impl FnOnce(&mut Overview)) -> String {
    let mut overview: Overview = serde_json::from_value(json!({
        "version": "1.2.3", "pid": 42, "uptimeSeconds": 305, "ready": true, "reason": null,
        "source": {"kind": "folder", "paths": ["./boot"]},
        "listening": {"http": "0.0.0.0:80", "tftp": "0.0.0.0:69", "admin": "127.0.0.1:9167"},
        "snapshot": {"generation": 3, "subnets": 1, "profiles": 1, "machines": 3,
                     "incomplete": false, "loaders": {"x86_64-uefi": "snponly.efi"}},
        "services": [{"name": "dhcp", "up": true, "cause": null},
                     {"name": "http", "up": true, "cause": null}],
        "problems": [], "phases": {"Booted": 2, "Ready": 1}, "booting": 0, "leases": 3,
    }))
    .unwrap();
    change(&mut overview);
    let mut out = Vec::new();
    print(&overview, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn says_what_is_up_and_no_more_when_all_is_well() {
    assert_eq!(
        overview(|_| {}),
        "\
reveille 1.2.3 is ready, up 5m5s, pid 42
  manifests  ./boot, generation 3: 1 Subnet, 1 BootProfile, 3 Machines
  listening  HTTP 0.0.0.0:80, TFTP 0.0.0.0:69, admin 127.0.0.1:9167
  services   2 of 2 up
  machines   1 Ready, 2 Booted
  boots      0 going on
  leases     3 lent
"
    );
}

#[test]
fn says_each_trouble_once_with_its_cure() {
    let text = overview(|overview| {
        overview.ready = false;
        overview.reason = Some("dhcp@default/lab: there is no interface eno1".to_owned());
        overview.services.push(crate::status::Service {
            name: "dhcp@default/lab".to_owned(),
            up: false,
            cause: Some("there is no interface eno1".to_owned()),
        });
        overview.problems.push(crate::status::ProblemLine {
            error: true,
            text: "boot/a.yaml:3:1: wrong; mend it".to_owned(),
        });
        overview.snapshot.as_mut().unwrap().loaders.clear();
    });
    assert!(text.starts_with("reveille 1.2.3 is NOT READY, "), "{text}");
    let wrong: Vec<_> = text
        .split("what is wrong\n")
        .nth(1)
        .unwrap()
        .lines()
        .collect();
    assert_eq!(wrong.len(), 3, "{text}");
    assert_eq!(wrong[0], "  dhcp@default/lab: there is no interface eno1");
    assert!(wrong[1].contains("install the package `ipxe`"));
    assert_eq!(wrong[2], "  not served: boot/a.yaml:3:1: wrong; mend it");
}

#[test]
fn says_why_it_is_not_ready_where_no_service_is_to_blame() {
    let text = overview(|overview| {
        overview.ready = false;
        overview.reason = Some("no manifests were read yet".to_owned());
        overview.snapshot = None;
    });
    assert!(text.contains("./boot: not read yet"), "{text}");
    assert!(
        text.ends_with("what is wrong\n  no manifests were read yet\n"),
        "{text}"
    );
}
