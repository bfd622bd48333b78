//! Whose object a document is: `apiVersion` and `kind`.

use serde_json::Value;

use super::super::yaml::shown;
use super::planned;
use crate::api::{API_VERSION, GROUP, Kind};
use crate::snapshot::suggest;

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// One of our resources.
    Object(Kind),
    /// A list of objects, as `kubectl get` writes it.
    List,
}

/// A mistake in what is not known to be an object of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Its stable name.
    pub reason: &'static str,
    /// JSON pointer to the value meant.
    pub pointer: &'static str,
    /// What is wrong.
    pub what: String,
    /// What to do about it; may be empty.
    pub cure: String,
}

/// What `value` is.
///
/// # Errors
/// [`Stray`] says why it is nothing that we read.
pub fn identify(value: &Value) -> Result<Header, Stray> {
    if !value.is_object() {
        return Err(stray(
            "NotAnObject",
            "",
            "not a manifest".to_owned(),
            "a manifest is a mapping with apiVersion, kind, metadata and spec".to_owned(),
        ));
    }
    let version = text(value, "/apiVersion", API_VERSION)?;
    let kind = text(value, "/kind", "Subnet")?;
    let ours = version
        .strip_prefix(GROUP)
        .is_some_and(|rest| rest.starts_with('/'));
    if !ours {
        return foreign(version, kind);
    }
    if version != API_VERSION {
        return Err(stray(
            "UnknownVersion",
            "/apiVersion",
            format!("`{}` is not a version that we serve", shown(version)),
            format!("write `{API_VERSION}`"),
        ));
    }
    if let Some(kind) = Kind::parse(kind) {
        return Ok(Header::Object(kind));
    }
    if kind.strip_suffix("List").and_then(Kind::parse).is_some() {
        return Ok(Header::List);
    }
    if let Some(cure) = planned::kind_cure(kind) {
        return Err(stray(
            "NotServed",
            "/kind",
            format!("the kind {kind} is not served by this version"),
            cure.to_owned(),
        ));
    }
    Err(stray(
        "UnknownKind",
        "/kind",
        format!("there is no kind `{}`", shown(kind)),
        suggest::cure(kind, Kind::ALL.map(Kind::as_str)),
    ))
}

fn foreign(version: &str, kind: &str) -> Result<Header, Stray> {
    if version == "v1" && kind == "List" {
        return Ok(Header::List);
    }
    let named_like_ours = Kind::parse(kind).is_some() || planned::kind_cure(kind).is_some();
    let slip = suggest::nearest(version, [API_VERSION]).is_some();
    if named_like_ours || slip {
        return Err(stray(
            "UnknownVersion",
            "/apiVersion",
            format!("`{}` is not our apiVersion", shown(version)),
            format!("write `{API_VERSION}`"),
        ));
    }
    Err(stray(
        "ForeignObject",
        "/kind",
        format!(
            "not a Reveille resource: {} of {}",
            shown(kind),
            shown(version)
        ),
        format!("keep manifests of other programs elsewhere; ours have apiVersion `{API_VERSION}`"),
    ))
}

fn text<'a>(value: &'a Value, pointer: &'static str, example: &str) -> Result<&'a str, Stray> {
    let name = pointer.trim_start_matches('/');
    match value.get(name) {
        Some(Value::String(text)) => Ok(text),
        None | Some(Value::Null) => Err(stray(
            "MissingField",
            pointer,
            format!("`{name}` is missing"),
            format!("add `{name}: {example}`"),
        )),
        Some(_) => Err(stray(
            "WrongType",
            pointer,
            format!("`{name}` is not text"),
            format!("write `{name}: {example}`"),
        )),
    }
}

const fn stray(reason: &'static str, pointer: &'static str, what: String, cure: String) -> Stray {
    Stray {
        reason,
        pointer,
        what,
        cure,
    }
}
