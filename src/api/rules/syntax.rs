//! The syntax of single values: formats and patterns, as rules with a sentence.

use std::sync::{LazyLock, OnceLock};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, ValidationRule,
};
use schemars::SchemaGenerator;

use super::{is_ipv4, rule};
use crate::boot::{MacAddress, Uuid};

/// A syntax that texts can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// An IPv4 address.
    Ipv4,
    /// An IPv4 network without host bits.
    Cidr,
    /// An IPv6 address.
    Ipv6,
    /// An IPv6 network without host bits.
    Cidr6,
    /// A span of time.
    Lifetime,
    /// A MAC address.
    Mac,
    /// A UUID.
    Uuid,
}

impl Syntax {
    const ALL: [Self; 7] = [
        Self::Ipv4,
        Self::Cidr,
        Self::Ipv6,
        Self::Cidr6,
        Self::Lifetime,
        Self::Mac,
        Self::Uuid,
    ];

    /// The syntax of texts that a CRD's schema describes, if it is one of
    /// these.
    #[must_use]
    pub fn of(schema: &JSONSchemaProps) -> Option<Self> {
        // Asked for each text of each object: the rules are written once.
        static FIRST: LazyLock<Vec<(String, Syntax)>> = LazyLock::new(|| {
            let all = Syntax::ALL.into_iter();
            all.filter_map(|syntax| Some((syntax.rules().into_iter().next()?.rule, syntax)))
                .collect()
        });
        let first = &schema.x_kubernetes_validations.as_ref()?.first()?.rule;
        let known = FIRST.iter().find(|(rule, _)| rule == first);
        known.map(|(_, syntax)| *syntax)
    }

    /// The syntax that a type's own schema asks for by `format` or `pattern`.
    pub(in crate::api) fn asked(schema: &JSONSchemaProps) -> Option<Self> {
        match (schema.format.as_deref(), schema.pattern.as_deref()) {
            (Some("ipv4"), _) => Some(Self::Ipv4),
            (Some("cidr"), _) => Some(Self::Cidr),
            (Some("ipv6"), _) => Some(Self::Ipv6),
            (Some("cidr6"), _) => Some(Self::Cidr6),
            (Some("duration"), _) => Some(Self::Lifetime),
            (_, Some(pattern)) if pattern == mac_pattern() => Some(Self::Mac),
            (_, Some(pattern)) if pattern == uuid_pattern() => Some(Self::Uuid),
            _ => None,
        }
    }

    /// The longest text that the rules look at. Nothing right is as long: a
    /// text that is a little too long is told what it should be.
    pub(in crate::api) const fn max_length(self) -> i64 {
        match self {
            Self::Ipv4 => 45,
            Self::Cidr => 49,
            Self::Lifetime | Self::Mac => 32,
            Self::Uuid | Self::Ipv6 | Self::Cidr6 => 64,
        }
    }

    pub(in crate::api) fn rules(self) -> Vec<ValidationRule> {
        match self {
            Self::Ipv4 => vec![rule(
                &is_ipv4("self"),
                "`%(self)%` is not an IPv4 address such as 10.33.0.1",
            )],
            Self::Cidr => vec![
                rule(
                    &is_cidr("self"),
                    "`%(self)%` is not an IPv4 network such as 10.33.0.0/16",
                ),
                rule(
                    &format!(
                        "!({}) || cidr(self).masked() == cidr(self)",
                        is_cidr("self")
                    ),
                    &format!(
                        "`%(self)%` has host bits set; the network is %({})%",
                        network("self")
                    ),
                ),
            ],
            Self::Ipv6 => vec![rule(
                &is_ipv6("self"),
                "`%(self)%` is not an IPv6 address such as 2001:db8:33::1",
            )],
            Self::Cidr6 => vec![
                rule(
                    &is_cidr6("self"),
                    "`%(self)%` is not an IPv6 network such as 2001:db8:33::/64",
                ),
                rule(
                    &format!(
                        "!({}) || cidr(self).masked() == cidr(self)",
                        is_cidr6("self")
                    ),
                    "`%(self)%` has host bits set; behind the prefix all bits of a network are 0",
                ),
            ],
            Self::Lifetime => vec![
                rule(
                    &is_lifetime("self"),
                    "`%(self)%` is not a time such as 4000s, 90m or 1h30m",
                ),
                rule(
                    &format!(
                        "!{} || !self.matches('{TOO_LONG}') \
                         && duration(self) <= duration('4294967295s')",
                        is_lifetime("self")
                    ),
                    "`%(self)%` is more than 4294967295 seconds",
                ),
            ],
            Self::Mac => vec![rule(
                &format!("self.matches('{}')", mac_pattern()),
                "`%(self)%` is not a MAC address such as 52:54:00:12:34:56",
            )],
            Self::Uuid => vec![rule(
                &format!("self.matches('{}')", uuid_pattern()),
                "`%(self)%` is not a UUID such as 4c4c4544-0043-4810-8052-b4c04f4a4d32",
            )],
        }
    }
}

/// Whether the text `value` is an IPv4 network, in CEL.
pub(super) fn is_cidr(value: &str) -> String {
    format!("isCIDR({value}) && cidr({value}).ip().family() == 4")
}

/// Whether the text `value` is an IPv6 address, in CEL.
pub(super) fn is_ipv6(value: &str) -> String {
    format!("isIP({value}) && ip({value}).family() == 6")
}

/// Whether the text `value` is an IPv6 network, in CEL.
pub(super) fn is_cidr6(value: &str) -> String {
    format!("isCIDR({value}) && cidr({value}).ip().family() == 6")
}

/// Whether the text `value` is a span of time that can be counted, in CEL.
pub(super) fn is_time(value: &str) -> String {
    format!("({} && !{value}.matches('{TOO_LONG}'))", is_lifetime(value))
}

/// Hours, minutes or seconds of more than 136 years. CEL's `duration()` ends at
/// 292 and says so in its own words.
const TOO_LONG: &str =
    "[2-9][0-9]{6}h|[1-9][0-9]{7,}h|[1-9][0-9]{8,}m|[5-9][0-9]{9}s|[1-9][0-9]{10,}s";

/// Whether the text `value` is written as a span of time, in CEL.
fn is_lifetime(value: &str) -> String {
    format!("{value}.matches('^([0-9]+[hms])+$')")
}

/// The pattern that the type of MAC addresses asks for.
pub(super) fn mac_pattern() -> &'static str {
    static PATTERN: OnceLock<String> = OnceLock::new();
    PATTERN.get_or_init(pattern_of::<MacAddress>)
}

/// The pattern that the type of UUIDs asks for.
pub(super) fn uuid_pattern() -> &'static str {
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

/// The network of `value`, which has host bits, as text in CEL. `string()`
/// would do, but nothing bounds what it makes, and so what the sentence costs.
fn network(value: &str) -> String {
    let digit = |value: &str| format!("'0123456789'.substring({value}, {value} + 1)");
    let text = format!(
        "(v > 99 ? {} : '') + (v > 9 ? {} : '') + {}",
        digit("v / 100"),
        digit("v / 10 % 10"),
        digit("v % 10")
    );
    let octets = [0, 8, 16, 24].map(|bits| {
        // What is left of an octet, by how many bits of it are the network's.
        let block = format!(
            "(int(o[4]) > {} ? 1 : int(o[4]) < {bits} ? 256 : \
             [256, 128, 64, 32, 16, 8, 4, 2, 1][int(o[4]) - {bits}])",
            bits + 8
        );
        let octet = format!("int(o[{}])", bits / 8);
        format!("[{octet} - {octet} % {block}].map(v, {text})[0]")
    });
    format!(
        "[{value}.replace('/', '.').split('.', 5)].map(o, {})[0] + {value}.find('/.*')",
        octets.join(" + '.' + ")
    )
}
