//! Which class of clients a request is of, over IPv4 and over IPv6.

use super::option;
use super::relay::RelayInfo;
use super::request::{Request, names_class};
use crate::api::{ClassMatch, ClientClass, DhcpOption, Pool, SubnetSpec, id_bytes};
use crate::boot::Architecture;

/// What a client, and the relay next to it, say that classes ask for.
pub(super) trait Says {
    /// Whether its vendor class begins so.
    fn vendor_begins(&self, class: &[u8]) -> bool;
    /// Whether it names this user class.
    fn names_user_class(&self, class: &[u8]) -> bool;
    /// What it runs on.
    fn architecture(&self) -> Option<Architecture>;
    /// The circuit by which it came.
    fn circuit_id(&self) -> Option<&[u8]>;
    /// Who is at the remote end of that.
    fn remote_id(&self) -> Option<&[u8]>;
    /// Whether it sent this option of DHCPv4.
    fn sent(&self, option: &DhcpOption) -> bool;
}

impl Says for Request {
    fn vendor_begins(&self, class: &[u8]) -> bool {
        let told = self.option(option::VENDOR_CLASS);
        told.is_some_and(|told| told.starts_with(class))
    }

    fn names_user_class(&self, class: &[u8]) -> bool {
        let told = self.option(option::USER_CLASS);
        told.is_some_and(|told| names_class(told, class))
    }

    fn architecture(&self) -> Option<Architecture> {
        self.client.architecture()
    }

    fn circuit_id(&self) -> Option<&[u8]> {
        RelayInfo::of(self).circuit_id()
    }

    fn remote_id(&self) -> Option<&[u8]> {
        RelayInfo::of(self).remote_id()
    }

    fn sent(&self, option: &DhcpOption) -> bool {
        option.bytes().as_deref() == self.option(option.code)
    }
}

/// The class of `request`: the first that it matches.
pub(super) fn class_of<'a>(spec: &'a SubnetSpec, request: &impl Says) -> Option<&'a ClientClass> {
    let mut classes = spec.classes.iter();
    classes.find(|class| matches(&class.matches, request))
}

/// The pools that clients of `class` are lent from.
pub(super) fn pools<'a>(spec: &'a SubnetSpec, class: Option<&'a ClientClass>) -> &'a [Pool] {
    let own = class.map(|class| class.pools.as_slice());
    own.filter(|pools| !pools.is_empty()).unwrap_or(&spec.pools)
}

/// Whether all that `wanted` names holds for `request`.
fn matches(wanted: &ClassMatch, request: &impl Says) -> bool {
    let ClassMatch {
        vendor_class,
        user_class,
        architectures,
        circuit_id,
        remote_id,
        options,
    } = wanted;
    let is = |id: &String, told: Option<&[u8]>| told.is_some() && id_bytes(id).as_deref() == told;
    let begins = |class: &String| request.vendor_begins(class.as_bytes());
    let names = |class: &String| request.names_user_class(class.as_bytes());
    let fits = |it: Architecture| architectures.contains(&it);
    vendor_class.as_ref().is_none_or(begins)
        && user_class.as_ref().is_none_or(names)
        && (architectures.is_empty() || request.architecture().is_some_and(fits))
        && circuit_id
            .as_ref()
            .is_none_or(|id| is(id, request.circuit_id()))
        && remote_id
            .as_ref()
            .is_none_or(|id| is(id, request.remote_id()))
        && options.iter().all(|option| request.sent(option))
}
