//! DHCP clients as systems have them: lease, renew, release, and the same address after a reboot.

use std::fs;

use anyhow::{Result, ensure};
use dhcproto::v4::MessageType;
use nix::sys::signal::Signal;

use super::site::{SUBNET, Site, metric, until};
use crate::ns;
use crate::support::card::Card;
use crate::support::client::Client;
use crate::support::dhcp::{Reply, overheard};
use crate::support::process::Process;

/// The machine that they run on.
const HOST: &str = "pc";
const MAC: &str = "02:00:00:00:10:01";

/// udhcpc and dhclient.
pub(super) fn classic(site: &mut Site) -> Result<Vec<String>> {
    // Clients renew after some seconds, by themselves.
    let lifetimes = format!("{SUBNET}  lifetimes: {{valid: 90s, renew: 4s, rebind: 60s}}\n");
    site.write("subnet.yaml", &lifetimes)?;
    let _server = site.serve()?;
    ns::host(HOST, MAC)?;
    let mut wire = Card::listen(ns::BRIDGE)?;
    let address = udhcpc(site, &mut wire)?;
    let other = dhclient(site, &mut wire)?;
    ensure!(
        address == other,
        "udhcpc had {address}, dhclient on the same machine has {other}"
    );
    Ok(vec![format!(
        "udhcpc and dhclient: lease, renew, release, reboot, all with {address}; dhclient moved from another network"
    )])
}

fn udhcpc(site: &Site, wire: &mut Card) -> Result<String> {
    let start = || Client::udhcpc(&site.folder, HOST);
    let first = start()?;
    let address = first.event("bound")?;
    in_own_frames(wire)?;
    // It would by itself, at half the lease's time: it does not read option 58.
    first.signal(Signal::SIGUSR1)?;
    ensure!(
        first.event("renew")? == address,
        "renewed with another address"
    );
    let before = metric(RELEASES)?;
    first.signal(Signal::SIGUSR2)?;
    until("the release at the server", || {
        Ok((metric(RELEASES)? > before).then_some(()))
    })?;
    first.power_off()?;
    let again = start()?.event("bound")?;
    ensure!(
        again == address,
        "{address} before the reboot, {again} after it"
    );
    Ok(address)
}

/// RELEASEs that the server took note of.
const RELEASES: &str = r#"reveille_dhcp_requests_total{outcome="noted",type="release"}"#;

fn dhclient(site: &Site, wire: &mut Card) -> Result<String> {
    let leases = site.folder.join("dhclient.leases");
    fs::write(&leases, "")?;
    let start = || {
        let mut command = ns::on(HOST, "dhclient");
        command.args(["-d", "-4", "-pf", "/run/dhclient.pid", "-lf"]);
        command.arg(&leases).arg("-sf");
        Client::start(&site.folder, HOST, "dhclient", command, &[HOST])
    };
    let first = start()?;
    let address = first.event("BOUND")?;
    in_own_frames(wire)?;
    ensure!(
        first.event("RENEW")? == address,
        "renewed with another address"
    );
    first.power_off()?;
    // It remembers its lease and asks for that first.
    let second = start()?;
    ensure!(
        second.event("REBOOT")? == address,
        "another address after the reboot"
    );
    second.power_off()?;
    // As if it had been carried here from another network.
    let text = fs::read_to_string(&leases)?.replace(&address, "198.51.100.77");
    fs::write(&leases, text)?;
    let third = start()?;
    let moved = third.event("BOUND")?;
    ensure!(
        moved == address,
        "{address} before it went away, {moved} when it came back"
    );
    let naks: Vec<Reply> = heard(wire)?
        .into_iter()
        .filter(|reply| reply.kind == MessageType::Nak)
        .collect();
    ensure!(!naks.is_empty(), "no NAK for an address of another network");
    let mut release = ns::on(HOST, "dhclient");
    release.args([
        "-4",
        "-r",
        "-pf",
        "/run/dhclient.pid",
        "-sf",
        "/bin/true",
        "-lf",
    ]);
    release.arg(&leases).arg(HOST);
    let before = metric(RELEASES)?;
    ensure!(release.output()?.status.success(), "dhclient -r failed");
    until("the release at the server", || {
        Ok((metric(RELEASES)? > before).then_some(()))
    })?;
    third.power_off()?;
    Ok(address)
}

/// dhcpcd, which sets addresses itself.
pub(super) fn dhcpcd(site: &mut Site) -> Result<Vec<String>> {
    let _server = site.serve()?;
    ns::host(HOST, MAC)?;
    fs::create_dir_all("/var/lib/dhcpcd")?;
    ns::run("mount -t tmpfs tmpfs /var/lib/dhcpcd")?;
    let mut addresses = Vec::new();
    for _ in 0..2 {
        let mut command = ns::on(HOST, "dhcpcd");
        command.args(["-4", "--nobackground", "--noarp", "--noipv4ll", "--script"]);
        let client = Client::start(&site.folder, HOST, "dhcpcd", command, &[HOST])?;
        let known = if addresses.is_empty() {
            "BOUND"
        } else {
            "REBOOT"
        };
        addresses.push(client.event(known)?);
        client.power_off()?;
    }
    ensure!(
        addresses[0] == addresses[1],
        "after a reboot: {addresses:?}"
    );
    Ok(vec![format!(
        "dhcpcd: lease and reboot with {}",
        addresses[0]
    )])
}

/// Checks that offers and acks went in frames to the client alone, to an address that it did not have
/// yet: these clients ask for no broadcast.
fn in_own_frames(wire: &mut Card) -> Result<()> {
    let replies = heard(wire)?;
    ensure!(replies.len() >= 2, "{} answers on the wire", replies.len());
    for reply in replies {
        ensure!(
            reply.frame.to.to_string() == MAC && *reply.frame.target.ip() == reply.address,
            "{:?} {} went to {} at {}",
            reply.kind,
            reply.address,
            reply.frame.target,
            reply.frame.to
        );
    }
    Ok(())
}

fn heard(wire: &mut Card) -> Result<Vec<Reply>> {
    let replies = overheard(wire)?.into_iter();
    Ok(replies
        .filter(|reply| reply.mac().to_string() == MAC)
        .collect())
}

/// Where systemd keeps it.
pub(super) const NETWORKD: &str = "/lib/systemd/systemd-networkd";

/// What networkd is told, and starts as: with /sys to be read only it does not wait for udev.
const AS_NETWORKD: &str = "\
set -e
mount -o remount,ro /sys || mount -o remount,bind,ro /sys
mkdir -p /run/systemd/network /run/systemd/netif/links /run/systemd/netif/leases
chown -R systemd-network: /run/systemd/netif
printf '[Match]\\nName=pc\\n[Network]\\nDHCP=ipv4\\nLinkLocalAddressing=no\\nIPv6AcceptRA=no\\n' \\
  > /run/systemd/network/10-pc.network
exec /lib/systemd/systemd-networkd
";

/// ACKs to REQUESTs.
const ACKS: &str = r#"reveille_dhcp_requests_total{outcome="ack",type="request"}"#;

/// systemd-networkd: it leases, renews and takes its name.
pub(super) fn networkd(site: &mut Site) -> Result<Vec<String>> {
    let more = "  lifetimes: {valid: 90s, renew: 4s, rebind: 60s}\n  hostnames: Generate\n";
    site.write("subnet.yaml", &format!("{SUBNET}{more}"))?;
    let _server = site.serve()?;
    ns::host(HOST, MAC)?;
    let script = site.folder.join("networkd.sh");
    fs::write(&script, AS_NETWORKD)?;
    let mut command = ns::on(HOST, "unshare");
    command.args(["--mount", "sh"]).arg(&script);
    command.env("SYSTEMD_LOG_LEVEL", "debug");
    command.env("SYSTEMD_LOG_TARGET", "console");
    let log = site.folder.join("networkd.log");
    let mut networkd = Process::spawn("systemd-networkd", command, &log)?;
    let lease = until("a lease of systemd-networkd", || {
        networkd.alive()?;
        let leases = fs::read_dir("/run/systemd/netif/leases");
        let file = leases.into_iter().flatten().flatten().next();
        let text = file.map(|file| fs::read_to_string(file.path()));
        Ok(text.transpose()?.filter(|text| text.contains("HOSTNAME=")))
    })?;
    let of = |name: &str| {
        let mut lines = lease.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_default().to_owned()
    };
    let address = of("ADDRESS");
    let name = format!("ip-{}", address.replace('.', "-"));
    ensure!(of("HOSTNAME") == name, "{lease}");
    ensure!(of("LIFETIME") == "90" && of("T1") == "4", "{lease}");
    let before = metric(ACKS)?;
    until("a renewal of systemd-networkd", || {
        networkd.alive()?;
        Ok((metric(ACKS)? > before).then_some(()))
    })?;
    Ok(vec![format!(
        "systemd-networkd: {address}, renewed, and called {name}"
    )])
}
