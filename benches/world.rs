//! What the world takes to compile, and how that grows: processor time, which
//! what else runs on the machine changes least.
//!
//! `cargo bench --bench world -- 100 10000` for some sizes; each row is the
//! least of a few runs.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints and measures"
)]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use reveille::api::{API_VERSION, Kind};
use reveille::operator::Objects;
use reveille::snapshot::{Inputs, Settings, compile};
use serde_json::{Value, json};

const SIZES: [u32; 4] = [100, 1_000, 10_000, 100_000];
const RUNS: usize = 7;

fn main() {
    println!(
        "{:>9}  {:>12}  {:>12}  {:>12}  {:>14}",
        "machines", "read ms", "inputs ms", "compile ms", "compile us each"
    );
    let named: Vec<u32> = std::env::args().filter_map(|it| it.parse().ok()).collect();
    let sizes = if named.is_empty() {
        SIZES.to_vec()
    } else {
        named
    };
    for machines in sizes {
        let mut objects = Objects::default();
        let manifests = world(machines);
        let started = processor();
        for value in manifests {
            let object: kube::core::DynamicObject = serde_json::from_value(value).unwrap();
            let kind = Kind::parse(&object.types.as_ref().unwrap().kind).unwrap();
            objects.apply(kind, object);
        }
        let read = processor() - started;
        for kind in Kind::ALL {
            objects.list_begins(kind);
        }
        let inputs_took = least(|| drop(black_box(objects.inputs())));
        let inputs = objects.inputs();
        let settings = settings();
        let mut served = BTreeSet::new();
        let compile_took = least(|| served.extend([compiled(&inputs, &settings)]));
        assert_eq!(served, BTreeSet::from([usize::try_from(machines).unwrap()]));
        println!(
            "{machines:>9}  {:>12.1}  {:>12.1}  {:>12.1}  {:>14.2}",
            millis(read),
            millis(inputs_took),
            millis(compile_took),
            millis(compile_took) * 1000.0 / f64::from(machines)
        );
    }
}

fn compiled(inputs: &Inputs, settings: &Settings) -> usize {
    let compiled = compile(1, inputs, settings);
    assert!(compiled.report.is_empty(), "{:?}", compiled.report.first());
    compiled.snapshot.machines.len()
}

fn least(mut run: impl FnMut()) -> Duration {
    let took = (0..RUNS).map(|_| {
        let started = processor();
        run();
        processor() - started
    });
    took.min().unwrap()
}

/// The processor time of this process so far.
fn processor() -> Duration {
    let clock = ClockId::CLOCK_PROCESS_CPUTIME_ID;
    clock_gettime(clock).unwrap().into()
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

fn settings() -> Settings {
    Settings {
        own_addresses: vec![[10, 0, 0, 1].into()],
        ..Settings::default()
    }
}

/// A site: one Subnet, twenty profiles of which most select by label, machines
/// with an address each, a third of which names its profile.
fn world(machines: u32) -> Vec<Value> {
    let mut all = vec![object(
        Kind::Subnet,
        "site",
        &json!({}),
        json!({"mode": "Server", "cidr": "10.0.0.0/8", "interface": "eth0",
            "pools": [{"start": "10.255.0.0", "end": "10.255.255.0"}]}),
    )];
    for number in 0..20 {
        let mut spec = json!({"linux": {"kernel": {"path": "linux"}, "args": ["hostname={{ machine.name }}"]}});
        if number == 0 {
            spec["default"] = true.into();
        } else {
            spec["machineSelector"] = json!({"matchLabels": {"role": format!("role-{number}")}});
        }
        all.push(object(
            Kind::BootProfile,
            &format!("profile-{number}"),
            &json!({}),
            spec,
        ));
    }
    for number in 0..machines {
        let [_, b, c, d] = number.to_be_bytes();
        let mac = format!("52:54:00:{b:02x}:{c:02x}:{d:02x}");
        let ip = format!("10.{}.{c}.{}", b + 1, d);
        let mut spec =
            json!({"interfaces": [{"mac": mac, "ip": ip, "hostname": format!("node-{number}")}]});
        if number % 3 == 0 {
            spec["profileRef"] = json!({"name": "profile-7"});
        }
        let labels = json!({"role": format!("role-{}", number % 25)});
        all.push(object(
            Kind::Machine,
            &format!("node-{number}"),
            &labels,
            spec,
        ));
    }
    all
}

fn object(kind: Kind, name: &str, labels: &Value, spec: Value) -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": kind.as_str(),
        "metadata": {"name": name, "namespace": "edge", "labels": labels, "uid": name, "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": spec,
    })
}
