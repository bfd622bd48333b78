//! The options that people write themselves, and what is encoded for them.
//!
//! Who wins, from the last to the first: what the fields of the Subnet make,
//! the Subnet's `options`, the class's, the BootProfile's, the Machine's.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::answer::BootAnswer;
use super::option;
use super::request::Request;
use crate::api::{ClientClass, DhcpOption, Route, SubnetSpec};
use crate::snapshot::{Plan, SubnetEntry, Verdict};

/// Whether the client wants option `code`: it asks for it, or for nothing in
/// particular.
pub(super) fn wants(request: &Request, code: u8) -> bool {
    request.option(option::PARAMETER_LIST).is_none() || request.asks_for(code)
}

/// Adds the options that the objects of a machine name. One that is there
/// already is replaced; another only comes where the client wants it, or its
/// manifest says `always`.
pub(super) fn written_options(
    options: &mut BTreeMap<u8, Vec<u8>>,
    request: &Request,
    subnet: &SubnetEntry,
    class: Option<&ClientClass>,
    plan: &Plan<'_>,
) {
    let none: &[DhcpOption] = &[];
    let boots = plan.profile.filter(|_| plan.verdict == Verdict::Boot);
    let sources = [
        subnet.spec.options.as_slice(),
        class.map_or(none, |class| &class.options),
        boots.map_or(none, |profile| &profile.spec.options),
        plan.machine.map_or(none, |machine| &machine.spec().options),
    ];
    for written in sources.into_iter().flatten() {
        let comes =
            written.always || options.contains_key(&written.code) || wants(request, written.code);
        if let Some(bytes) = written.bytes().filter(|_| comes) {
            options.insert(written.code, bytes);
        }
    }
}

/// The routes of a Subnet (RFC 3442): a client that takes them takes no notice
/// of option 3, so the way to all other networks is among them.
pub(super) fn routes(options: &mut BTreeMap<u8, Vec<u8>>, request: &Request, spec: &SubnetSpec) {
    if spec.routes.is_empty() {
        return;
    }
    for code in [option::ROUTES, option::ROUTES_OF_WINDOWS] {
        // Windows of 2000 and XP wants its own number, and asks for it.
        if request.asks_for(code) || (code == option::ROUTES && wants(request, code)) {
            options.insert(code, encode_routes(spec));
        }
    }
}

/// Those routes of a Subnet that option 33 can say: it has no prefix lengths, so
/// the class of an address tells how much of it is the network's (RFC 2132
/// section 5.8). Who is told option 121 is not told this one (RFC 3442).
pub(super) fn static_routes(
    options: &mut BTreeMap<u8, Vec<u8>>,
    request: &Request,
    spec: &SubnetSpec,
) {
    let told = [option::ROUTES, option::ROUTES_OF_WINDOWS];
    let told = told.iter().any(|code| options.contains_key(code));
    if told || !request.asks_for(option::STATIC_ROUTES) {
        return;
    }
    let sayable = spec.routes.iter().filter(|route| is_classful(route));
    let pairs = sayable.map(|route| [route.to.net().network(), route.via]);
    let bytes: Vec<u8> = pairs.flatten().flat_map(|at| at.octets()).collect();
    if !bytes.is_empty() {
        options.insert(option::STATIC_ROUTES, bytes);
    }
}

/// Whether a route leads to a single host, or to a whole network of class A, B
/// or C.
fn is_classful(route: &Route) -> bool {
    let net = route.to.net();
    let class = match net.network().octets() {
        [0, ..] => return false,
        [..128, ..] => 8,
        [..192, ..] => 16,
        [..] => 24,
    };
    net.prefix_len() == 32 || net.prefix_len() == class
}

/// TFTP servers by address (RFC 5859): only who asks for it reads it.
pub(super) fn tftp_servers(
    options: &mut BTreeMap<u8, Vec<u8>>,
    request: &Request,
    answer: &BootAnswer,
    next_server: Ipv4Addr,
) {
    if !answer.file.is_empty() && request.asks_for(option::TFTP_SERVERS) {
        options.insert(option::TFTP_SERVERS, next_server.octets().to_vec());
    }
}

/// Each route as the length of its prefix, as many bytes of it as that has,
/// and its router (RFC 3442).
fn encode_routes(spec: &SubnetSpec) -> Vec<u8> {
    let mut bytes = Vec::new();
    for route in &spec.routes {
        let net = route.to.net();
        bytes.push(net.prefix_len());
        let significant = usize::from(net.prefix_len()).div_ceil(8);
        bytes.extend(net.network().octets().iter().take(significant));
        bytes.extend(route.via.octets());
    }
    let has_default = spec.routes.iter().any(|it| it.to.net().prefix_len() == 0);
    if let Some(router) = spec.routers.first().filter(|_| !has_default) {
        bytes.push(0);
        bytes.extend(router.octets());
    }
    bytes
}
