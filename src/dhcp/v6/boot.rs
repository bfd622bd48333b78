//! What an answer says beside addresses: name resolution, and what to boot.

use std::net::IpAddr;

use super::option;
use super::request::Request;
use super::wire::{Options, domain};
use crate::api::{Ipv6Network, SubnetSpec};
use crate::boot::ClientKind;
use crate::dhcp::answer::{Asker, BootAnswer, boot_answer};
use crate::script::Urls;
use crate::snapshot::{Plan, Snapshot};

/// What the client is told to boot: the same answer as over DHCPv4, in URLs,
/// for DHCPv6 has no field for a bare name.
pub(super) fn boot(
    snapshot: &Snapshot,
    plan: &Plan<'_>,
    request: &Request,
    server: IpAddr,
    loader_sent: bool,
) -> BootAnswer {
    let urls = Urls {
        server,
        port: snapshot.http_port,
        tls: false,
    };
    let asker = Asker {
        client: request.client,
        // It has no word for that, nor one to have iPXE trust our authority: a
        // profile over HTTPS is refused by name.
        speaks_https: false,
        lacks_http: false,
    };
    let mut boot = boot_answer(snapshot, plan, &asker, &urls, loader_sent);
    // PXE's own options, a menu say, are DHCPv4's.
    boot.vendor = None;
    if !boot.file.is_empty() && !boot.file.contains("://") {
        boot.file = urls.tftp(&boot.file);
    }
    boot
}

/// The options of a boot answer: the URL, and the class that UEFI HTTP boot
/// insists on (UEFI 24.7.3.3).
pub(super) fn boot_options(options: &mut Options, request: &Request, boot: &BootAnswer) {
    if boot.file.is_empty() {
        return;
    }
    if request.client.kind == ClientKind::HttpBoot {
        let mut class = option::INTEL.to_be_bytes().to_vec();
        class.extend([0, 10]);
        class.extend(b"HTTPClient");
        options.push((option::VENDOR_CLASS, class));
    }
    options.push((option::BOOT_FILE_URL, boot.file.clone().into_bytes()));
}

/// Name resolution, where it is asked for.
pub(super) fn network_options(
    options: &mut Options,
    request: &Request,
    spec: &SubnetSpec,
    network: &Ipv6Network,
) {
    let servers = &network.dns.servers;
    if !servers.is_empty() && request.wants(option::DNS_SERVERS) {
        let data = servers.iter().flat_map(|server| server.octets());
        options.push((option::DNS_SERVERS, data.collect()));
    }
    let search = if network.dns.search.is_empty() {
        &spec.dns.search
    } else {
        &network.dns.search
    };
    if !search.is_empty() && request.wants(option::DOMAIN_SEARCH) {
        let data = search.iter().flat_map(|name| domain(name));
        options.push((option::DOMAIN_SEARCH, data.collect()));
    }
}
