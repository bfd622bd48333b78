//! Which class of clients a request is of.

use super::option;
use super::relay::RelayInfo;
use super::request::{Request, names_class};
use crate::api::{ClassMatch, ClientClass, Pool, SubnetSpec, id_bytes};

/// The class of `request`: the first that it matches.
pub(super) fn class_of<'a>(spec: &'a SubnetSpec, request: &Request) -> Option<&'a ClientClass> {
    let mut classes = spec.classes.iter();
    classes.find(|class| matches(&class.matches, request))
}

/// The pools that clients of `class` are lent from.
pub(super) fn pools<'a>(spec: &'a SubnetSpec, class: Option<&'a ClientClass>) -> &'a [Pool] {
    let own = class.map(|class| class.pools.as_slice());
    own.filter(|pools| !pools.is_empty()).unwrap_or(&spec.pools)
}

/// Whether all that `wanted` names holds for `request`.
fn matches(wanted: &ClassMatch, request: &Request) -> bool {
    let ClassMatch {
        vendor_class,
        user_class,
        architectures,
        circuit_id,
        remote_id,
        options,
    } = wanted;
    let relay = RelayInfo::of(request);
    let is = |id: &String, told: Option<&[u8]>| told.is_some() && id_bytes(id).as_deref() == told;
    let begins = |class: &String| {
        let told = request.option(option::VENDOR_CLASS);
        told.is_some_and(|told| told.starts_with(class.as_bytes()))
    };
    let names = |class: &String| {
        let told = request.option(option::USER_CLASS);
        told.is_some_and(|told| names_class(told, class.as_bytes()))
    };
    let architecture = request.client.architecture();
    vendor_class.as_ref().is_none_or(begins)
        && user_class.as_ref().is_none_or(names)
        && (architectures.is_empty() || architecture.is_some_and(|it| architectures.contains(&it)))
        && circuit_id
            .as_ref()
            .is_none_or(|id| is(id, relay.circuit_id()))
        && remote_id
            .as_ref()
            .is_none_or(|id| is(id, relay.remote_id()))
        && options
            .iter()
            .all(|option| option.bytes().as_deref() == request.option(option.code))
}
