//! An object held against the schema of its CRD: every mistake at once.
//!
//! The schema is the one that the cluster gets, so a folder and a cluster
//! refuse the same. Pure.

mod header;
mod meta;
mod planned;
mod text;
mod walk;

#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde_json::Value;

use self::walk::Walk;
use super::yaml::{join, shown};
use crate::api::{self, Kind, ObjectRef, Problem};
use crate::boot::MacAddress;
use crate::snapshot::{Identity, suggest};

pub use self::header::{Header, Stray, identify};

/// Most mistakes told about one object; nobody reads on.
pub const MAX_PROBLEMS: usize = 100;

/// Fields of an object. `status` is there in `kubectl get -o yaml` and says
/// nothing in a file: it is dropped, like what a cluster adds to `metadata`.
const TOP: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// Checks an object of ours against the schema of its kind. What the API
/// server would drop is dropped from `value`: nulls of fields that cannot be
/// null, and what a cluster writes into `metadata`.
#[must_use]
pub fn check(object: &ObjectRef, value: &mut Value) -> Vec<Problem> {
    let mut walk = Walk {
        object,
        problems: Vec::new(),
    };
    let Value::Object(fields) = value else {
        return walk.problems;
    };
    let schema = schema(object.kind);
    let specs = schema
        .properties
        .as_ref()
        .and_then(|properties| properties.get("spec"));
    for name in fields.keys() {
        if !TOP.contains(&name.as_str()) {
            unknown_top(&mut walk, name, specs);
        }
    }
    fields.remove("status");
    match fields.get_mut("metadata") {
        Some(metadata) => walk.metadata(metadata),
        None => walk.tell(
            "/metadata",
            "MissingField",
            "`metadata` is missing",
            "add `metadata: {name: …}`",
        ),
    }
    match (fields.get_mut("spec"), specs) {
        (Some(spec), Some(schema)) if !spec.is_null() => walk.value(schema, spec, "/spec"),
        _ => walk.tell("/spec", "MissingField", "`spec` is missing", "add it"),
    }
    walk.problems
}

/// The MAC addresses that a machine's document names, whatever else it says.
pub fn macs(value: &Value) -> impl Iterator<Item = MacAddress> {
    let interfaces = value.pointer("/spec/interfaces").and_then(Value::as_array);
    interfaces
        .into_iter()
        .flatten()
        .filter_map(|interface| interface.get("mac")?.as_str()?.parse().ok())
}

/// What else it names itself by, as far as it can be read.
#[must_use]
pub fn names(value: &Value) -> Option<Identity> {
    let text = |field: &str| value.get("spec")?.get(field)?.as_str();
    let identity = Identity {
        uuid: text("uuid").and_then(|uuid| uuid.parse().ok()),
        serial: text("serial").map(str::to_owned),
        asset: text("assetTag").map(str::to_owned),
        ..Identity::default()
    };
    (identity != Identity::default()).then_some(identity)
}

/// Whether a problem is about the key at its pointer, not about the value.
#[must_use]
pub fn points_at_key(problem: &Problem) -> bool {
    match problem.reason {
        "UnknownField" | "BadLabelKey" => true,
        "NotServed" => {
            let place = &problem.place;
            planned::field_cure(place.object.kind, &place.pointer).is_some()
        }
        _ => false,
    }
}

fn unknown_top(walk: &mut Walk<'_>, name: &str, specs: Option<&JSONSchemaProps>) {
    let pointer = join("", name);
    if let Some(cure) = planned::field_cure(walk.object.kind, &pointer) {
        let what = format!("`{name}` is not served by this version");
        walk.tell(&pointer, "NotServed", what, cure);
        return;
    }
    let in_spec = specs
        .and_then(|specs| specs.properties.as_ref())
        .is_some_and(|fields| fields.contains_key(name));
    let cure = if in_spec {
        format!("move it under `spec`: it is `spec.{name}`")
    } else {
        suggest::cure(name, TOP)
    };
    let what = format!("unknown field `{}`", shown(name));
    walk.tell(&pointer, "UnknownField", what, cure);
}

/// The schema of a kind, made once.
fn schema(kind: Kind) -> &'static JSONSchemaProps {
    static SCHEMAS: OnceLock<Vec<(Kind, JSONSchemaProps)>> = OnceLock::new();
    static NONE: OnceLock<JSONSchemaProps> = OnceLock::new();
    let of = |kind| {
        api::crd(kind)
            .spec
            .versions
            .into_iter()
            .find(|version| version.name == api::VERSION)
            .and_then(|version| version.schema)
            .and_then(|schema| schema.open_api_v3_schema)
            .unwrap_or_default()
    };
    SCHEMAS
        .get_or_init(|| Kind::ALL.into_iter().map(|kind| (kind, of(kind))).collect())
        .iter()
        .find(|(of, _)| *of == kind)
        .map_or_else(|| NONE.get_or_init(JSONSchemaProps::default), |(_, s)| s)
}
