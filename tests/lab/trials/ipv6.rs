//! IPv6 comes with the manifest that says so, and a real client leases, renews and keeps its address over a
//! crash.

use std::fs;

use anyhow::{Result, ensure};

use super::site::{SUBNET, Site, until};
use crate::ns;
use crate::support::client::Client;

/// The machine that asks.
const HOST: &str = "six";
const MAC: &str = "02:00:00:00:60:01";

/// What turns it on.
pub(super) const NETWORK: &str = "  ipv6: {cidr: '2001:db8:33::/64', \
     pools: [{start: '2001:db8:33::100', end: '2001:db8:33::1ff'}], \
     lifetimes: {valid: 90s, renew: 4s, rebind: 60s}}\n";

/// Ports of IPv6 that are ours: DHCPv6, TFTP, HTTP.
const PORTS: [(&str, u16); 3] = [("udp6", 547), ("udp6", 69), ("tcp6", 80)];

/// dhclient, with a server that is killed between its questions.
pub(super) fn comes_and_goes(site: &mut Site) -> Result<Vec<String>> {
    ns::furnish_v6()?;
    let server = site.serve()?;
    for (table, port) in PORTS {
        ensure!(
            !is_open(table, port)?,
            "{table} {port} is open without IPv6"
        );
    }
    site.write("subnet.yaml", &format!("{SUBNET}{NETWORK}"))?;
    for (table, port) in PORTS {
        until(&format!("{table} {port}"), || {
            Ok(is_open(table, port)?.then_some(()))
        })?;
    }
    ns::host(HOST, MAC)?;
    // It binds to its link-local address, which nobody else must have.
    until("a link-local address", || {
        let settled = [
            "-6",
            "address",
            "show",
            "dev",
            HOST,
            "scope",
            "link",
            "-tentative",
        ];
        let shown = ns::on(HOST, "ip").args(settled).output()?;
        Ok((!shown.stdout.is_empty()).then_some(()))
    })?;
    let client = dhclient(site)?;
    let address = client.event("BOUND6")?;
    ensure!(address.starts_with("2001:db8:33::1"), "{address} is lent");
    let duid = fs::read(site.state().join("server.duid"))?;
    server.kill()?;
    let _server = site.serve()?;
    ensure!(
        fs::read(site.state().join("server.duid"))? == duid,
        "the server has another name after a crash"
    );
    // It names the server that it had, which must still be this one.
    ensure!(
        client.event("RENEW6")? == address,
        "renewed with another address"
    );
    client.power_off()?;
    fs::write(leases(site), "")?;
    let again = dhclient(site)?.event("BOUND6")?;
    ensure!(again == address, "{address} before, {again} afterwards");
    site.write("subnet.yaml", SUBNET)?;
    for (table, port) in PORTS {
        until(&format!("no {table} {port}"), || {
            Ok((!is_open(table, port)?).then_some(()))
        })?;
    }
    Ok(vec![format!(
        "dhclient -6: lease, renewal after a crash, and reboot with {address}; no port of IPv6 before and after"
    )])
}

fn dhclient(site: &Site) -> Result<Client> {
    let leases = leases(site);
    if !leases.exists() {
        fs::write(&leases, "")?;
    }
    let mut command = ns::on(HOST, "dhclient");
    command.args(["-d", "-6", "-D", "LL", "-pf", "/run/dhclient6.pid", "-lf"]);
    command.arg(&leases).arg("-sf");
    Client::start(&site.folder, HOST, "dhclient6", command, &[HOST])
}

fn leases(site: &Site) -> std::path::PathBuf {
    site.folder.join("dhclient6.leases")
}

/// Whether somebody listens at a port, on any address of IPv6.
fn is_open(table: &str, port: u16) -> Result<bool> {
    let text = fs::read_to_string(format!("/proc/net/{table}"))?;
    let wanted = format!("{:032}:{port:04X}", 0);
    Ok(text.contains(&wanted))
}
