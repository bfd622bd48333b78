//! The syntax of strings: what a pattern or format means, in words.

use std::net::Ipv4Addr;
use std::sync::OnceLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use regex::Regex;
use schemars::SchemaGenerator;

use super::super::yaml::shown;
use crate::api::{Cidr, Lifetime};
use crate::boot::{MacAddress, Uuid};

/// What is wrong with `text` by the format or pattern of `schema`. The types
/// that the API reads it into are asked first: they know more than a pattern
/// and say it in words.
pub(super) fn syntax(schema: &JSONSchemaProps, text: &str) -> Option<String> {
    match schema.format.as_deref() {
        Some("ipv4") => {
            return text
                .parse::<Ipv4Addr>()
                .err()
                .map(|_| format!("`{}` is not an IPv4 address such as 10.33.0.1", shown(text)));
        }
        Some("cidr") => return words(text.parse::<Cidr>()),
        Some("duration") => return words(text.parse::<Lifetime>()),
        Some(_) | None => {}
    }
    let pattern = schema.pattern.as_deref()?;
    if pattern == mac_pattern() {
        return words(text.parse::<MacAddress>());
    }
    if pattern == uuid_pattern() {
        return words(text.parse::<Uuid>());
    }
    let fits = Regex::new(pattern).is_ok_and(|regex| regex.is_match(text));
    (!fits).then(|| format!("`{}` does not match the pattern {pattern}", shown(text)))
}

/// Whether a pattern is one that we have words for.
#[cfg(test)]
pub(super) fn has_words(schema: &JSONSchemaProps) -> bool {
    matches!(schema.format.as_deref(), Some("ipv4" | "cidr" | "duration"))
        || schema
            .pattern
            .as_deref()
            .is_none_or(|p| p == mac_pattern() || p == uuid_pattern())
}

fn words<T, E: ToString>(parsed: Result<T, E>) -> Option<String> {
    parsed.err().map(|error| shown(&error.to_string()))
}

/// The pattern that stands in the CRD for MAC addresses.
fn mac_pattern() -> &'static str {
    static PATTERN: OnceLock<String> = OnceLock::new();
    PATTERN.get_or_init(pattern_of::<MacAddress>)
}

/// The pattern that stands in the CRD for UUIDs.
fn uuid_pattern() -> &'static str {
    static PATTERN: OnceLock<String> = OnceLock::new();
    PATTERN.get_or_init(pattern_of::<Uuid>)
}

fn pattern_of<T: schemars::JsonSchema>() -> String {
    T::json_schema(&mut SchemaGenerator::default())
        .get("pattern")
        .and_then(|pattern| pattern.as_str())
        .unwrap_or_default()
        .to_owned()
}
