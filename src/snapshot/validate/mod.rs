//! The rules that one object shows by itself.
//!
//! What a schema says (types, ranges, syntax) is checked before; here is what
//! fields mean together. Core: pure, and total.

mod artifact;
mod config;
mod dhcp;
mod ipv6;
mod machine;
mod menu;
mod profile;
mod subnet;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, Ipv6Addr};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::names;
use crate::api::{Kind, ObjectRef, Problem};

pub use self::artifact::validate_artifact;
pub use self::machine::validate_machine;
pub use self::profile::validate_profile;
pub use self::subnet::validate_subnet;

/// The problems of one object, as they are found. Most have none: its name is
/// written down where there is one.
struct Found<'a> {
    kind: Kind,
    metadata: &'a ObjectMeta,
    problems: Vec<Problem>,
}

impl<'a> Found<'a> {
    const fn of(kind: Kind, metadata: &'a ObjectMeta) -> Self {
        Self {
            kind,
            metadata,
            problems: Vec::new(),
        }
    }

    fn object(&self) -> ObjectRef {
        ObjectRef::of(self.kind, self.metadata)
    }

    fn error(
        &mut self,
        pointer: impl Into<String>,
        reason: &'static str,
        what: impl Into<String>,
        cure: impl Into<String>,
    ) {
        self.problems
            .push(Problem::error(&self.object(), pointer, reason, what, cure));
    }

    fn warn(
        &mut self,
        pointer: impl Into<String>,
        reason: &'static str,
        what: impl Into<String>,
        cure: impl Into<String>,
    ) {
        self.problems
            .push(Problem::error(&self.object(), pointer, reason, what, cure).warning());
    }

    /// Adds a second place of the same object to the last problem.
    fn see(&mut self, pointer: &str, note: &str) {
        if let Some(last) = self.problems.pop() {
            self.problems.push(last.with(&self.object(), pointer, note));
        }
    }

    /// The name of another object.
    fn reference(&mut self, pointer: &str, kind: Kind, name: &str) {
        self.name(pointer, kind.as_str(), name);
    }

    /// The same of a kind that is not ours.
    fn name(&mut self, pointer: &str, kind: &str, name: &str) {
        if !names::is_object_name(name) {
            let what = format!("`{}` cannot be the name of a {kind}", name.escape_debug());
            self.error(
                pointer,
                "BadName",
                what,
                "use at most 253 lower-case letters, digits, `-` and `.`, \
                 with a letter or digit at both ends",
            );
        }
    }

    /// The same of IPv6: no link's own either, which names no host beyond it.
    fn unicast6(&mut self, pointer: &str, address: Ipv6Addr) {
        if !ipv6::is_unicast(address) {
            self.error(
                pointer,
                "BadAddress",
                format!("no host can be reached at {address} from elsewhere"),
                "name a global or unique local address",
            );
        }
    }

    /// An address that a host can have: no group, no loopback, not all zero.
    fn unicast(&mut self, pointer: &str, address: Ipv4Addr) {
        if !is_unicast(address) {
            self.error(
                pointer,
                "BadAddress",
                format!("no host can have the address {address}"),
                "name the address of a host",
            );
        }
    }
}

/// Whether a host on a network can have `address` (RFC 1122 section 3.2.1.3).
fn is_unicast(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first != 127 && first < 224
}
