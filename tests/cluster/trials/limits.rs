//! The largest objects that there may be, and changes that there may not.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use reveille::standalone::read_text;
use serde_json::{Value, json};

use crate::stage::Stage;

/// An object full to every limit is accepted, stored, and shown again; one more of anything is refused,
/// and by `check` as well. Rules have a budget: a mistake in the last item of the longest list is found
/// within it.
pub(super) fn limits(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut refused = 0;
    for (full, lists) in [subnet(), profile(), program(), script(), machine()] {
        let size = full.to_string().len();
        let kind = full["kind"].as_str().unwrap_or_default().to_owned();
        ensure!(is_good(&full), "check refuses the full {kind}");
        create(stage, &full, &[])?;
        stage.kubectl(&["delete", &kind, "full"])?;
        lines.push(format!("{kind} of {} kB stored", size / 1000));
        for pointer in lists {
            let more = one_more(&full, pointer)?;
            ensure!(!is_good(&more), "check takes more in {kind} {pointer}");
            let why = create(stage, &more, &["--dry-run=server"]);
            let Err(why) = why else {
                bail!("the API server takes more in {kind} {pointer}");
            };
            let why = why.to_string();
            ensure!(why.contains("Too many"), "{kind} {pointer}: {why}");
            refused += 1;
        }
    }
    lines.push(format!(
        "{refused} objects with one more of something refused"
    ));
    for (object, sentence) in last_mistakes() {
        ensure!(!is_good(&object), "check does not say: {sentence}");
        match create(stage, &object, &["--dry-run=server"]) {
            Ok(_) => bail!("accepted; wanted: {sentence}"),
            Err(why) => ensure!(why.to_string().contains(sentence), "{why}"),
        }
    }
    Ok(lines)
}

/// Objects that are full to every limit: one of each kind that has one, the largest.
pub(super) fn full() -> [Value; 3] {
    [subnet().0, profile().0, machine().0]
}

/// What one object may become.
pub(super) fn transitions(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let lease = |address: &str, machine: &str| {
        json!({"apiVersion": "reveille.dev/v1alpha1", "kind": "DhcpLease", "metadata": {"name": "192.0.2.9"},
               "spec": {"address": address, "subnet": "lab", "mac": "52:54:00:00:00:01", "machine": machine}})
        .to_string()
    };
    stage.apply(&lease("192.0.2.9", "a"))?;
    stage.apply(&lease("192.0.2.9", "b"))?;
    refuses(
        stage,
        &lease("192.0.2.10", "b"),
        "the address of a lease never changes",
    )?;
    let subnet = |cidr: &str, pool: &str| {
        json!({"apiVersion": "reveille.dev/v1alpha1", "kind": "Subnet", "metadata": {"name": "lab"},
               "spec": {"mode": "Server", "cidr": cidr, "interface": "br0", "pools": [{"start": pool, "end": pool}]}})
        .to_string()
    };
    stage.apply(&subnet("192.0.2.0/24", "192.0.2.9"))?;
    refuses(
        stage,
        &subnet("198.51.100.0/24", "192.0.2.9"),
        "192.0.2.9 is no address of a host in 198.51.100.0/24",
    )?;
    stage.apply(&subnet("198.51.100.0/24", "198.51.100.9"))?;
    let machine = |approved: bool| {
        json!({"apiVersion": "reveille.dev/v1alpha1", "kind": "Machine", "metadata": {"name": "a"},
               "spec": {"interfaces": [{"mac": "52:54:00:00:00:01"}], "approved": approved}})
        .to_string()
    };
    for approved in [false, true, false] {
        stage.apply(&machine(approved))?;
        let words = ["get", "machines", "--output=name"];
        let waiting =
            stage.kubectl(&[&words[..], &["--field-selector=spec.approved=false"]].concat())?;
        ensure!(waiting.is_empty() == approved, "waiting: {waiting}");
    }
    Ok(vec![
        "a lease keeps its address; a network may change with its pools; approval comes and goes"
            .to_owned(),
    ])
}

fn refuses(stage: &Stage<'_>, manifest: &str, sentence: &str) -> Result<()> {
    match stage.apply(manifest) {
        Ok(said) => bail!("{}; wanted: {sentence}", said.trim()),
        Err(why) => {
            ensure!(why.to_string().contains(sentence), "{why}");
            Ok(())
        }
    }
}

/// `apply` would keep a second copy in an annotation, which has a limit of its own.
pub(super) fn create(stage: &Stage<'_>, object: &Value, words: &[&str]) -> Result<String> {
    let file = stage.folder.join("created.json");
    std::fs::write(&file, object.to_string())?;
    let path = file.display().to_string();
    let mut all = vec!["create", "--validate=strict", "-f", &path];
    all.extend(words);
    stage.kubectl(&all)
}

/// Whether `check` finds no mistake that the object itself shows.
fn is_good(object: &Value) -> bool {
    let problems = read_text(Path::new("x.json"), &object.to_string()).check();
    let mut errors = problems.iter().filter(|problem| problem.is_error());
    errors.all(|problem| problem.reason == "ProfileNotFound")
}

/// The object with one more item in the list, or entry in the map, at `pointer`.
fn one_more(full: &Value, pointer: &str) -> Result<Value> {
    let mut more = full.clone();
    match more.pointer_mut(pointer) {
        Some(Value::Array(items)) => {
            let last = items.last().cloned().unwrap_or_default();
            items.push(last);
        }
        Some(Value::Object(entries)) => {
            entries.insert("one-more".to_owned(), "x".into());
        }
        _ => bail!("nothing to add to at {pointer}"),
    }
    Ok(more)
}

fn object(kind: &str, spec: Value) -> Value {
    json!({"apiVersion": "reveille.dev/v1alpha1", "kind": kind, "metadata": {"name": "full"}, "spec": spec})
}

/// Text of `length` letters that ends in `number`.
fn text(number: usize, length: usize) -> String {
    format!("{}-{number:03}", "x".repeat(length - 4))
}

/// A name of 253 letters: parts have 63 at most.
fn name(number: usize) -> String {
    [
        text(number, 63),
        text(number, 63),
        text(number, 63),
        text(number, 61),
    ]
    .join(".")
}

fn params() -> Value {
    (0..64)
        .map(|n| (text(n, 63), Value::from("x".repeat(4096))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn subnet() -> (Value, Vec<&'static str>) {
    let pools: Vec<_> = (0..64)
        .map(|n| json!({"start": format!("10.200.{n}.100"), "end": format!("10.200.{n}.200")}))
        .collect();
    let hosts: Vec<_> = (100..116).map(|n| format!("10.200.200.{n}")).collect();
    let search: Vec<_> = (0..16).map(|n| format!("{}.", name(n))).collect();
    let spec = json!({
        "mode": "Server", "cidr": "10.200.0.0/16", "interface": "x".repeat(127), "pools": pools,
        "lifetimes": {"valid": "4294967295s", "renew": "4294967293s", "rebind": "4294967294s"},
        "routers": hosts, "dns": {"servers": hosts, "search": search}, "ntp": hosts,
        "defaultProfileRef": {"name": name(0)},
    });
    let lists = [
        "/spec/pools",
        "/spec/routers",
        "/spec/dns/servers",
        "/spec/dns/search",
        "/spec/ntp",
    ];
    (object("Subnet", spec), lists.into())
}

fn profile() -> (Value, Vec<&'static str>) {
    let initrds: Vec<_> = (0..16)
        .map(|n| json!({"path": text(n, 512), "name": text(n, 128)}))
        .collect();
    let args: Vec<_> = (0..256).map(|n| text(n, 2048)).collect();
    let values: Vec<_> = (0..64).map(|n| text(n, 63)).collect();
    let expressions: Vec<_> = (0..32)
        .map(|n| json!({"key": format!("{}/{}", name(n), text(n, 63)), "operator": "In", "values": values}))
        .collect();
    let labels: serde_json::Map<_, _> = (0..32)
        .map(|n| (text(n, 63), Value::from(text(n, 63))))
        .collect();
    let files: serde_json::Map<_, _> = reveille::boot::Architecture::ALL
        .into_iter()
        .map(|arch| (arch.to_string(), Value::from(text(0, 512))))
        .collect();
    let spec = json!({
        "machineSelector": {"matchLabels": labels, "matchExpressions": expressions},
        "architectures": reveille::boot::Architecture::ALL,
        "loader": {"files": files},
        "linux": {"kernel": {"path": text(0, 512)}, "initrd": initrds, "args": args},
        "params": params(),
    });
    let lists = [
        "/spec/machineSelector/matchLabels",
        "/spec/machineSelector/matchExpressions",
        "/spec/machineSelector/matchExpressions/0/values",
        "/spec/linux/initrd",
        "/spec/linux/args",
        "/spec/params",
    ];
    (object("BootProfile", spec), lists.into())
}

fn program() -> (Value, Vec<&'static str>) {
    let args: Vec<_> = (0..256).map(|n| text(n, 2048)).collect();
    let spec = json!({"efi": {"file": {"path": text(0, 512)}, "args": args}});
    (object("BootProfile", spec), vec!["/spec/efi/args"])
}

fn script() -> (Value, Vec<&'static str>) {
    let spec = json!({"script": {"text": text(0, 16_384)}});
    (object("BootProfile", spec), Vec::new())
}

fn machine() -> (Value, Vec<&'static str>) {
    let interfaces: Vec<_> = (0..32)
        .map(|n| json!({"mac": format!("52-54-00-00-FF-{n:02X}"), "ip": format!("10.200.1.{n}"), "hostname": name(n)}))
        .collect();
    let spec = json!({
        "interfaces": interfaces, "profileRef": {"name": name(0)}, "params": params(),
    });
    (
        object("Machine", spec),
        vec!["/spec/interfaces", "/spec/params"],
    )
}

/// Full objects whose last item is wrong, and what is said of it.
fn last_mistakes() -> [(Value, &'static str); 5] {
    let (mut overlap, _) = subnet();
    overlap["spec"]["pools"][63] = json!({"start": "10.200.0.200", "end": "10.200.0.201"});
    let (mut outside, _) = subnet();
    outside["spec"]["pools"][63] = json!({"start": "10.200.255.1", "end": "10.200.255.255"});
    let (mut mac, _) = machine();
    mac["spec"]["interfaces"][31]["mac"] = "5254.0000.ff1e".into();
    let (mut ip, _) = machine();
    ip["spec"]["interfaces"][31]["ip"] = "10.200.1.30".into();
    let (mut initrd, _) = profile();
    initrd["spec"]["linux"]["initrd"][15]["name"] = text(14, 128).into();
    [
        (
            overlap,
            "10.200.0.200-10.200.0.201 overlaps 10.200.0.100-10.200.0.200; make the pools disjoint",
        ),
        (
            outside,
            "10.200.255.255 is no address of a host in 10.200.0.0/16; keep the pool inside the network",
        ),
        (
            mac,
            "two interfaces have the address 52:54:00:00:ff:1e; give each its own",
        ),
        (
            ip,
            "two interfaces have the address 10.200.1.30; give each its own",
        ),
        (initrd, "give one a `name` of its own"),
    ]
}
