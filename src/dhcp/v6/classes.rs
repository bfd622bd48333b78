//! Which class of clients a request is of.

use super::request::Request;
use crate::api::{ClassMatch, ClientClass, SubnetSpec, id_bytes};

/// The class of `request`: the first that it matches. What a class asks of
/// DHCPv4's options no request over IPv6 has.
pub(super) fn class_of<'a>(spec: &'a SubnetSpec, request: &Request) -> Option<&'a ClientClass> {
    let mut classes = spec.classes.iter();
    classes.find(|class| matches(&class.matches, request))
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
    // The relay next to the client knows its port.
    let relay = request.hops.last();
    let is = |id: &String, told: Option<&[u8]>| told.is_some() && id_bytes(id).as_deref() == told;
    let begins = |class: &String| {
        let mut told = request.vendor_classes.iter();
        told.any(|told| told.starts_with(class.as_bytes()))
    };
    let names = |class: &String| {
        let mut told = request.user_classes.iter();
        told.any(|told| told == class.as_bytes())
    };
    let circuit = relay.and_then(|relay| relay.interface_id.as_deref());
    // Behind the number of its maker.
    let remote = relay.and_then(|relay| relay.remote_id.as_deref()?.get(4..));
    let architecture = request.client.architecture();
    vendor_class.as_ref().is_none_or(begins)
        && user_class.as_ref().is_none_or(names)
        && (architectures.is_empty() || architecture.is_some_and(|it| architectures.contains(&it)))
        && circuit_id.as_ref().is_none_or(|id| is(id, circuit))
        && remote_id.as_ref().is_none_or(|id| is(id, remote))
        && options.is_empty()
}
