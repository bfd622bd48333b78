//! A Subnet without IPv4: its leases as objects and in its status, and a disk that is lost.

use std::fs;

use anyhow::{Result, ensure};

use super::operator::start;
use crate::lan::Lan;
use crate::stage::Stage;
use crate::support::client::Client;
use crate::support::ns;
use crate::support::wait::until;

/// The machine that asks.
const HOST: &str = "six";
const MAC: &str = "02:00:00:00:60:01";

const WORLD: &str = "\
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: lab}
spec:
  mode: Server
  interface: br0
  ipv6:
    cidr: 2001:db8:33::/64
    pools: [{start: '2001:db8:33::100', end: '2001:db8:33::1ff'}]
    lifetimes: {valid: 90s, renew: 3s, rebind: 6s}
---
apiVersion: reveille.dev/v1alpha1
kind: Machine
metadata: {name: node-6}
spec: {interfaces: [{mac: '02:00:00:00:60:01'}]}
";

/// dhclient, and a server whose disk is lost while the machine has its lease.
pub(super) fn mirrored(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    ns::furnish_v6()?;
    lan.host(HOST, MAC)?;
    stage.apply(WORLD)?;
    let server = start(stage, &[])?;
    server.logged("DHCPv6 serves")?;
    server.logged("2001:db8:33::/64 on br0, lends 2001:db8:33::100 to 2001:db8:33::1ff")?;
    settles()?;
    let address = dhclient(stage)?.event("BOUND6")?;

    let label = format!("reveille.dev/mac={}", MAC.replace(':', "-"));
    let table = until("the DhcpLease of the machine", || {
        let table = stage.kubectl(&["get", "dhcpleases", "-o", "wide", "-l", &label])?;
        Ok(table.contains(&address).then_some(table))
    })?;
    let name = address.replace(':', "-");
    ensure!(
        table.contains(&name) && table.contains("node-6"),
        "no {name} of node-6 in {table}"
    );
    let said = until("the status of the Subnet", || {
        let fields = "-o=jsonpath={.status.interface} {.status.ipv6.server} \
             {.status.ipv6.addresses.used}/{.status.ipv6.addresses.total} \
             {.status.conditions[?(@.type==\"Ready\")].message}";
        let said = stage.kubectl(&["get", "subnet", "lab", fields])?;
        let wanted = "br0 2001:db8:33::1 1/256 DHCPv6 serves 2001:db8:33::1 on br0";
        Ok((said == wanted).then_some(said))
    })?;
    let used = format!(
        "reveille_dhcp6_pool_used_addresses{{subnet=\"{}/lab\"}}",
        stage.namespace
    );
    ensure!(server.metric(&used)? == 1, "no address is counted as used");

    server.kill()?;
    fs::remove_dir_all(stage.folder.join("operator/state"))?;
    let server = start(stage, &[])?;
    until("the lease of the object", || {
        Ok(server.get("/leases")?.contains(&address).then_some(()))
    })?;
    let client = dhclient(stage)?;
    let again = client.event("BOUND6")?;
    ensure!(again == address, "{address} before, {again} afterwards");
    ns::on(HOST, "dhclient")
        .args(["-6", "-r", "-D", "LL", "-pf", "/run/dhclient6.pid", "-lf"])
        .arg(leases(stage))
        .args(["-sf", "/bin/true", HOST])
        .output()?;
    until("the end of the object", || {
        let left = stage.kubectl(&["get", "dhcpleases", "-o", "name"])?;
        Ok(left.is_empty().then_some(()))
    })?;
    server.stop()?;
    let mut seen: Vec<String> = table.lines().map(str::to_owned).collect();
    seen.push(said);
    Ok(seen)
}

/// Waits until the machine has a link-local address: a client binds to it.
fn settles() -> Result<()> {
    let settled = "-6 address show dev six scope link -tentative";
    until("a link-local address", || {
        let shown = ns::on(HOST, "ip").args(settled.split(' ')).output()?;
        Ok((!shown.stdout.is_empty()).then_some(()))
    })
}

/// A client that knows of no lease.
fn dhclient(stage: &Stage<'_>) -> Result<Client> {
    let leases = leases(stage);
    fs::write(&leases, "")?;
    let mut command = ns::on(HOST, "dhclient");
    command.args(["-d", "-6", "-D", "LL", "-pf", "/run/dhclient6.pid", "-lf"]);
    command.arg(&leases).arg("-sf");
    Client::start(&stage.folder, HOST, "dhclient6", command, &[HOST])
}

fn leases(stage: &Stage<'_>) -> std::path::PathBuf {
    stage.folder.join("dhclient6.leases")
}
