//! The rules of IPv6 that only all objects together show. Core: pure, and total.

use super::Inputs;
use super::names::namespace_of;
use crate::api::{Kind, ObjectRef, Problem, Subnet};

/// Two Subnets share no IPv6 address, and no interface with it: nothing in a
/// machine's question tells two networks of one link apart.
pub(super) fn networks(
    subnet: &Subnet,
    object: &ObjectRef,
    older: &[(&Subnet, ObjectRef)],
    problems: &mut Vec<Problem>,
) {
    let Some(network) = &subnet.spec.ipv6 else {
        return;
    };
    let older = older
        .iter()
        .filter_map(|(other, at)| Some((other, other.spec.ipv6.as_ref()?, at)));
    for (other, theirs, at) in older {
        let (net, their) = (network.cidr.net(), theirs.cidr.net());
        if net.contains(&their) || their.contains(&net) {
            let what = format!("{} overlaps {} of {at}", network.cidr, theirs.cidr);
            let cure = "make the networks disjoint";
            problems.push(
                Problem::error(object, "/spec/ipv6/cidr", "SubnetsOverlap", what, cure).with(
                    at,
                    "/spec/ipv6/cidr",
                    "the other network",
                ),
            );
        }
        let interface = subnet.spec.interface.as_ref();
        if interface.is_some() && interface == other.spec.interface.as_ref() {
            let what = format!("{at} serves IPv6 on this interface already");
            let cure = "write one `ipv6` for an interface";
            problems.push(
                Problem::error(object, "/spec/ipv6", "InterfaceTaken", what, cure).with(
                    at,
                    "/spec/ipv6",
                    "served here",
                ),
            );
        }
    }
}

/// Reserved addresses lie in the IPv6 network of a Subnet, and are not its
/// server's own.
pub(super) fn reservations(inputs: &Inputs, problems: &mut Vec<Problem>) {
    for machine in &inputs.machines {
        let namespace = namespace_of(&machine.metadata);
        let mut near = inputs
            .subnets
            .iter()
            .filter(|subnet| namespace_of(&subnet.metadata) == namespace)
            .peekable();
        // What is there alone is looked at alone.
        if near.peek().is_none() {
            continue;
        }
        let networks: Vec<_> = near
            .filter_map(|subnet| subnet.spec.ipv6.as_ref())
            .collect();
        let interfaces = machine.spec.interfaces.iter().enumerate();
        for (index, ip) in interfaces.filter_map(|(index, it)| Some((index, it.ipv6?))) {
            let object = || ObjectRef::of(Kind::Machine, &machine.metadata);
            let pointer = format!("/spec/interfaces/{index}/ipv6");
            let found = networks.iter().find(|network| network.cidr.contains(ip));
            problems.extend(match found {
                None => Some(
                    Problem::error(
                        &object(),
                        pointer,
                        "NoSubnet",
                        format!("{ip} lies in no IPv6 network of namespace {namespace}"),
                        "correct the address, or give its Subnet an `ipv6`",
                    )
                    .warning(),
                ),
                Some(network) if !network.cidr.is_host(ip) => Some(Problem::error(
                    &object(),
                    pointer,
                    "BadAddress",
                    format!("no host can have {ip} in {}", network.cidr),
                    "reserve another address",
                )),
                Some(network) if network.server == Some(ip) => Some(Problem::error(
                    &object(),
                    pointer,
                    "AddressTaken",
                    format!("{ip} is our own (`ipv6.server`)"),
                    "reserve another address",
                )),
                Some(_) => None,
            });
        }
    }
}
