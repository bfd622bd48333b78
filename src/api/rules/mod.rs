//! The rules of the CRDs: what the API server refuses, and what it says then.
//!
//! `src/snapshot/validate` holds files to the same rules, and a trial with a
//! real API server holds the two together. Here a rule is an expression in CEL
//! that must be true, with the sentence that is said where it is not. The API
//! server bounds what a rule may cost by the limits of the lists and texts
//! that it reads, so each of those has one. Pure.

mod artifact;
mod config;
mod dhcp;
mod ipv6;
mod machine;
mod menu;
mod profile;
mod subnet;
mod syntax;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, ValidationRule,
};

pub use self::syntax::Syntax;

/// What a field gets beside what its type says.
pub(super) struct At {
    /// The field: `interfaces[].mac`, `params.*`; empty for the spec itself.
    pub(super) path: String,
    rules: Vec<ValidationRule>,
    max_length: Option<i64>,
    max_properties: Option<i64>,
    list: Option<List>,
}

/// How lists are merged by server-side apply.
#[derive(Clone, Copy)]
enum List {
    /// Whole: the order matters.
    Atomic,
    /// By item; none stands there twice.
    Set,
    /// By the field of its items that names them; none stands there twice.
    Map(&'static str),
}

/// What the spec of an Artifact gets.
pub(super) use self::artifact::artifact;
/// What the spec of a Machine gets.
pub(super) use self::machine::machine;
/// What the spec of a BootProfile gets.
pub(super) use self::profile::profile;
/// What the spec of a Subnet gets.
pub(super) use self::subnet::subnet;

/// What the spec of a DhcpLease gets.
pub(super) fn lease() -> Vec<At> {
    vec![
        at("address")
            .max_length(64)
            .rule(rule(
                "isIP(self)",
                "`%(self)%` is not an IP address such as 10.33.0.1 or 2001:db8:33::1",
            ))
            .rule(rule(
                "self == oldSelf",
                "the address of a lease never changes; make another object for another address",
            )),
        at("subnet").max_length(MAX_NAME),
        at("machine").max_length(MAX_NAME),
        at("hostname").max_length(255),
        // 255 bytes are the longest option there is.
        at("clientId").max_length(510),
    ]
}

/// Longest name of an object.
const MAX_NAME: i64 = 253;
/// Most parameters of an object.
const MAX_PARAMS: i64 = 64;
/// Longest value of a parameter.
const MAX_PARAM: i64 = 4096;
/// A part of a host name, as a regular expression.
const LABEL: &str = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
/// The name of a label behind its domain, or its value, as a regular
/// expression.
const WORD: &str = "[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?";

const fn at_path(path: String) -> At {
    At {
        path,
        rules: Vec::new(),
        max_length: None,
        max_properties: None,
        list: None,
    }
}

fn at(path: &str) -> At {
    at_path(path.to_owned())
}

/// What parameters for templates get.
fn params() -> [At; 2] {
    [
        at("params").max_properties(MAX_PARAMS),
        at("params.*").max_length(MAX_PARAM),
    ]
}

/// What a reference to an object of the kind `kind` gets.
fn name_ref(path: &str, kind: &str) -> At {
    let label = LABEL.replace("A-Za-z", "a-z");
    at_path(format!("{path}.name")).rule(rule(
        &format!(
            "self.matches({})",
            quoted(&format!("^{label}([.]{label})*$"))
        ),
        &format!(
            "`%(self)%` cannot be the name of a {kind}; use at most 253 lower-case letters, \
             digits, `-` and `.`, with a letter or digit at both ends"
        ),
    ))
}

/// What an address gets that must be one of a host.
fn host(path: &str) -> At {
    let no_host = "self.matches('^(0|127|22[4-9]|23[0-9]|24[0-9]|25[0-5])[.]')";
    at(path).rule(rule(
        &format!("!({}) || !{no_host}", is_ipv4("self")),
        "no host can have the address %(self)%; name the address of a host",
    ))
}

/// The same of IPv6: one that others reach, on whatever link they are.
fn host6(path: &str) -> At {
    at(path).rule(rule(
        &format!(
            "!({}) || ip(self).isGlobalUnicast()",
            syntax::is_ipv6("self")
        ),
        "no host can be reached at %(self)% from elsewhere; name a global or unique local address",
    ))
}

/// A rule and what is said where it is broken: what is wrong; what to do.
/// Between `%(` and `)%` stands an expression in CEL.
fn rule(holds: &str, says: &str) -> ValidationRule {
    let (message, expression) = sentence(says);
    ValidationRule {
        rule: holds.to_owned(),
        message: Some(message),
        message_expression: expression,
        // The only one with which the API server says the sentence wherever it
        // stands: of a duplicate it says no more than that it is one.
        reason: Some("FieldValueInvalid".to_owned()),
        ..ValidationRule::default()
    }
}

/// A rule about one field of what it reads.
fn rule_of(field: &str, holds: &str, says: &str) -> ValidationRule {
    ValidationRule {
        field_path: Some(format!(".{field}")),
        ..rule(holds, says)
    }
}

/// A sentence without its values, for the API server where it cannot say them,
/// and the expression that makes it with them.
fn sentence(says: &str) -> (String, Option<String>) {
    let mut plain = String::new();
    let mut parts = Vec::new();
    let mut rest = says;
    while let Some((text, tail)) = rest.split_once("%(") {
        let (value, tail) = tail.split_once(")%").unwrap_or((tail, ""));
        plain += text;
        plain += "…";
        if !text.is_empty() {
            parts.push(quoted(text));
        }
        parts.push(value.to_owned());
        rest = tail;
    }
    plain += rest;
    if parts.is_empty() {
        return (plain, None);
    }
    if !rest.is_empty() {
        parts.push(quoted(rest));
    }
    (plain, Some(parts.join(" + ")))
}

/// Text as a literal of CEL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Whether the text `value` is an IPv4 address, in CEL.
fn is_ipv4(value: &str) -> String {
    format!("isIP({value}) && ip({value}).family() == 4")
}

/// The number that the IPv4 address `value` is, in CEL: it knows no other way
/// to compare two.
fn number(value: &str) -> String {
    format!(
        "[{value}.split('.', 5)].map(o, \
         int(o[0]) * 16777216 + int(o[1]) * 65536 + int(o[2]) * 256 + int(o[3]))[0]"
    )
}

// === impl At ===

impl At {
    fn rule(mut self, rule: ValidationRule) -> Self {
        self.rules.push(rule);
        self
    }

    const fn max_length(mut self, most: i64) -> Self {
        self.max_length = Some(most);
        self
    }

    const fn max_properties(mut self, most: i64) -> Self {
        self.max_properties = Some(most);
        self
    }

    const fn list(mut self, list: List) -> Self {
        self.list = Some(list);
        self
    }

    /// Adds it to the schema of the field.
    pub(super) fn apply(self, schema: &mut JSONSchemaProps) {
        if !self.rules.is_empty() {
            schema
                .x_kubernetes_validations
                .get_or_insert_default()
                .extend(self.rules);
        }
        schema.max_length = self.max_length.or(schema.max_length);
        schema.max_properties = self.max_properties.or(schema.max_properties);
        if let Some(list) = self.list {
            let (name, key) = match list {
                List::Atomic => ("atomic", None),
                List::Set => ("set", None),
                List::Map(key) => ("map", Some(vec![key.to_owned()])),
            };
            schema.x_kubernetes_list_type = Some(name.to_owned());
            schema.x_kubernetes_list_map_keys = key;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_sentences() {
        assert_eq!(
            sentence("it's %(self.a)%-%(self.b)%"),
            (
                "it's …-…".to_owned(),
                Some(r"'it\'s ' + self.a + '-' + self.b".to_owned())
            )
        );
        assert_eq!(sentence("`x`; y"), ("`x`; y".to_owned(), None));
    }
}
