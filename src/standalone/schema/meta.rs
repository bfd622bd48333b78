//! What every object has: `metadata`.

use serde_json::{Map, Value};

use super::super::yaml::{join, shown};
use super::walk::Walk;
use crate::snapshot::{names, suggest};

/// What a person writes.
const OURS: [&str; 4] = ["name", "namespace", "labels", "annotations"];
/// What a cluster adds: there in `kubectl get -o yaml`, without meaning in a
/// file.
const CLUSTERS: [&str; 10] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "managedFields",
    "selfLink",
    "ownerReferences",
    "finalizers",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];
/// The API server's limit on all annotations of one object.
const MAX_ANNOTATIONS: usize = 256 * 1024;

impl Walk<'_> {
    /// Checks `metadata` and leaves in it what a person writes.
    pub(super) fn metadata(&mut self, value: &mut Value) {
        let Value::Object(fields) = value else {
            self.wrong_type("object", value, "/metadata", None);
            return;
        };
        for name in fields.keys() {
            if !OURS.contains(&name.as_str()) && !CLUSTERS.contains(&name.as_str()) {
                let cure = if name == "generateName" {
                    "only a cluster makes names up; give it a `name`".to_owned()
                } else {
                    suggest::cure(name, OURS)
                };
                let what = format!("unknown field `metadata.{}`", shown(name));
                self.tell(&join("/metadata", name), "UnknownField", what, cure);
            }
        }
        fields.retain(|name, value| OURS.contains(&name.as_str()) && !value.is_null());
        self.name(fields);
        self.namespace(fields);
        for (group, is_label) in [("labels", true), ("annotations", false)] {
            if let Some(value) = fields.get(group) {
                self.pairs(value, &join("/metadata", group), is_label);
            }
        }
    }

    fn name(&mut self, fields: &Map<String, Value>) {
        let at = "/metadata/name";
        match fields.get("name") {
            None => self.tell(at, "MissingField", "`metadata.name` is missing", "add it"),
            Some(Value::String(name)) if names::is_object_name(name) => {}
            Some(Value::String(name)) => self.tell(
                at,
                "BadName",
                format!("`{}` is not a name", shown(name)),
                "use at most 253 lower-case letters, digits, `-` and `.`, \
                 with a letter or digit at both ends",
            ),
            Some(value) => self.wrong_type("string", value, at, None),
        }
    }

    fn namespace(&mut self, fields: &Map<String, Value>) {
        let at = "/metadata/namespace";
        match fields.get("namespace") {
            None => {}
            Some(Value::String(name)) if names::is_dns_label(name) => {}
            Some(Value::String(name)) => self.tell(
                at,
                "BadName",
                format!("`{}` is not the name of a namespace", shown(name)),
                "use at most 63 lower-case letters, digits and `-`",
            ),
            Some(value) => self.wrong_type("string", value, at, None),
        }
    }

    fn pairs(&mut self, value: &Value, at: &str, is_label: bool) {
        let Value::Object(pairs) = value else {
            self.wrong_type("object", value, at, None);
            return;
        };
        let kind = if is_label { "label" } else { "annotation" };
        let mut bytes = 0;
        for (key, value) in pairs {
            let pointer = join(at, key);
            if !names::is_label_key(key) {
                self.tell(
                    &pointer,
                    "BadLabelKey",
                    format!("`{}` cannot be the key of a {kind}", shown(key)),
                    "use letters, digits, `-`, `_` and `.`, with a domain and `/` before it if you like",
                );
            }
            match value {
                Value::String(text) if !is_label || names::is_label_value(text) => {
                    bytes += key.len() + text.len();
                }
                Value::String(text) => self.tell(
                    &pointer,
                    "BadLabel",
                    format!("`{}` cannot be the value of a label", shown(text)),
                    "use at most 63 letters, digits, `-`, `_` and `.`, or an annotation",
                ),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Array(_)
                | Value::Object(_) => self.wrong_type("string", value, &pointer, None),
            }
        }
        if bytes > MAX_ANNOTATIONS {
            let what = format!("the {kind}s of this object hold {bytes} bytes");
            let cure = format!("at most {MAX_ANNOTATIONS} are accepted");
            self.tell(at, "TooLong", what, cure);
        }
    }
}
