//! The syntax of strings, in words.

use std::net::{Ipv4Addr, Ipv6Addr};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;

use super::super::yaml::shown;
use crate::api::{Cidr, Cidr6, Lifetime, Syntax};
use crate::boot::{MacAddress, Uuid};

/// What is wrong with `text` by the syntax that `schema` asks for. The types
/// that the API reads it into are asked: they know it best and say it in
/// words. Other rules of the schema are left to `snapshot::validate`.
pub(super) fn syntax(schema: &JSONSchemaProps, text: &str) -> Option<String> {
    match Syntax::of(schema)? {
        Syntax::Ipv4 => text
            .parse::<Ipv4Addr>()
            .err()
            .map(|_| format!("`{}` is not an IPv4 address such as 10.33.0.1", shown(text))),
        Syntax::Cidr => words(text.parse::<Cidr>()),
        Syntax::Ipv6 => text.parse::<Ipv6Addr>().err().map(|_| {
            format!(
                "`{}` is not an IPv6 address such as 2001:db8:33::1",
                shown(text)
            )
        }),
        Syntax::Cidr6 => words(text.parse::<Cidr6>()),
        Syntax::Lifetime => words(text.parse::<Lifetime>()),
        Syntax::Mac => words(text.parse::<MacAddress>()),
        Syntax::Uuid => words(text.parse::<Uuid>()),
    }
}

fn words<T, E: ToString>(parsed: Result<T, E>) -> Option<String> {
    parsed.err().map(|error| shown(&error.to_string()))
}
