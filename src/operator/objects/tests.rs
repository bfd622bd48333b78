//! What is made of what the API server says.

use super::*;
use crate::snapshot::Labels;

fn machine(name: &str, created: &str, spec: Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": API_VERSION,
        "kind": "Machine",
        "metadata": {"name": name, "namespace": "edge", "uid": name, "generation": 1,
            "creationTimestamp": created, "managedFields": []},
        "spec": spec,
    }))
    .unwrap()
}

fn kept(objects: &Objects) -> Vec<Box<RawValue>> {
    let all = objects.to_keep(None);
    all.map(|(_, kept)| serde_json::value::to_raw_value(&kept).unwrap())
        .collect()
}

fn spec(mac: &str) -> Value {
    json!({"interfaces": [{"mac": mac}]})
}

fn names(inputs: &Inputs) -> Vec<&str> {
    let machines = inputs.machines.iter();
    machines
        .filter_map(|machine| machine.metadata.name.as_deref())
        .collect()
}

#[test]
fn orders_by_age_and_name() {
    let mut objects = Objects::default();
    for (name, created) in [
        ("c", "2026-01-02T00:00:00Z"),
        ("b", "2026-01-02T00:00:00Z"),
        ("a", "2026-01-03T00:00:00Z"),
    ] {
        let object = machine(name, created, spec("52:54:00:00:00:01"));
        assert_eq!(objects.apply(Kind::Machine, object), Change::World);
    }
    assert_eq!(names(&objects.inputs()), ["b", "c", "a"]);
    assert!(objects.inputs().incomplete);
}

#[test]
fn keeps_the_last_good_version_of_what_cannot_be_read() {
    let mut objects = Objects::default();
    let at = "2026-01-02T00:00:00Z";
    objects.apply(Kind::Machine, machine("a", at, spec("52:54:00:00:00:01")));
    let broken = json!({"interfaces": [{"mac": "52:54:00:00:00:02"}], "colour": "red"});
    let change = objects.apply(Kind::Machine, machine("a", at, broken.clone()));
    assert_eq!(change, Change::World);
    let mac = objects.inputs().machines[0].spec.interfaces[0].mac;
    assert_eq!(mac.to_string(), "52:54:00:00:00:01");
    assert_eq!(objects.problems().len(), 1);
    // What it is known by now counts too, and that of one that never was good.
    assert_eq!(objects.inputs().withheld.len(), 1);
    objects.apply(Kind::Machine, machine("b", at, broken.clone()));
    assert_eq!(objects.inputs().withheld.len(), 2);

    // All of it outlives a restart, without the API server and with it.
    let kept = Objects::of_kept(&kept(&objects));
    let inputs = kept.inputs();
    assert_eq!((inputs.machines.len(), inputs.withheld.len()), (1, 1));
    assert!(!inputs.incomplete);
    let mut live = Objects::default();
    live.apply(Kind::Machine, machine("a", at, broken));
    live.remember(&kept);
    assert_eq!(live.inputs().machines.len(), 1);
    assert!(
        Objects::of_kept(&[serde_json::value::to_raw_value("?").unwrap()])
            .inputs()
            .incomplete
    );

    objects.apply(Kind::Machine, machine("b", at, spec("52:54:00:00:00:02")));
    assert_eq!(objects.inputs().withheld.len(), 1);
}

#[test]
fn a_status_changes_nothing_that_is_served() {
    let mut objects = Objects::default();
    let mut object = machine("a", "2026-01-02T00:00:00Z", spec("52:54:00:00:00:01"));
    objects.apply(Kind::Machine, object.clone());
    assert_eq!(objects.apply(Kind::Machine, object.clone()), Change::None);
    object.data["status"] = json!({"phase": "Ready", "boots": [
        {"id": "x", "started": "2026-01-02T00:00:01Z"}, {"id": "y", "stages": [{"stage": "ack"}],
        "started": "2026-01-02T00:00:02Z"}]});
    assert_eq!(objects.apply(Kind::Machine, object.clone()), Change::Status);
    let reference = ObjectRef::of(Kind::Machine, &object.metadata);
    let info = objects.info(&reference).unwrap();
    assert_eq!(info.status.text(), r#"{"phase":"Ready"}"#);
    let latest = info.latest.as_deref().unwrap();
    assert_eq!((latest.id.as_str(), latest.stages.len()), ("y", 0));
    // Nor does the label that we write: selectors know it before.
    let label = "52-54-00-00-00-01".to_owned();
    let machine = objects.inputs().machines[0].clone();
    assert_eq!(
        Labels::of(&machine).get(MAC_LABEL).as_deref(),
        Some(&*label)
    );
    object.metadata.labels = Some([(MAC_LABEL.to_owned(), label)].into());
    assert_eq!(objects.apply(Kind::Machine, object.clone()), Change::Status);
    // Nor does it count as a change of the object.
    let before = objects.revision();
    assert_eq!(objects.changed(&reference), Some(before));
    object.data["spec"]["approved"] = json!(false);
    assert_eq!(objects.apply(Kind::Machine, object), Change::World);
    assert_eq!(
        objects.changed_after(before).collect::<Vec<_>>(),
        [&reference]
    );
}

#[test]
fn a_list_takes_away_what_it_does_not_name() {
    let mut objects = Objects::default();
    let at = "2026-01-02T00:00:00Z";
    for kind in Kind::ALL {
        objects.list_begins(kind);
    }
    for name in ["a", "b"] {
        objects.apply(Kind::Machine, machine(name, at, spec("52:54:00:00:00:01")));
    }
    for kind in Kind::ALL {
        assert_eq!(objects.list_ends(kind), Change::World);
    }
    assert!(objects.is_synced());
    // While a new list is read, everything is served on.
    objects.list_begins(Kind::Machine);
    objects.apply(Kind::Machine, machine("b", at, spec("52:54:00:00:00:01")));
    assert_eq!(names(&objects.inputs()), ["a", "b"]);
    assert_eq!(objects.list_ends(Kind::Machine), Change::World);
    assert_eq!(names(&objects.inputs()), ["b"]);
}

#[test]
fn what_is_kept_on_disk_comes_back_the_same() {
    let mut objects = Objects::default();
    let mut object = machine("a", "2026-01-02T00:00:00Z", spec("52:54:00:00:00:01"));
    object.metadata.labels = Some([("role".to_owned(), "worker".to_owned())].into());
    objects.apply(Kind::Machine, object);
    let back = Objects::of_kept(&kept(&objects));
    let (mut want, got) = (objects.inputs(), back.inputs());
    want.incomplete = false;
    assert_eq!(got, want);
}
