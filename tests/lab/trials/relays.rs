//! A network behind a relay: dnsmasq carries the packets, and machines there lease, renew past it, and
//! are not given what somebody has already.

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use super::site::{Site, metric, until};
use crate::ns;
use crate::support::client::Client;
use crate::support::process::Process;

/// The machine behind the relay, and the one that has an address that it should not have.
const HOST: &str = "far";
const SQUATTER: &str = "squatter";

/// The network behind the relay. It has no interface of ours.
const FAR: &str = "\
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: far}
spec:
  mode: Server
  cidr: 10.1.0.0/24
  pools: [{start: 10.1.0.50, end: 10.1.0.51}]
  routers: [10.1.0.1]
  lifetimes: {valid: 90s, renew: 4s, rebind: 60s}
  conflictProbe: true
";

/// Offers that were not made because somebody answered there.
const ANSWERS: &str = r#"reveille_dhcp_requests_total{outcome="address-answers",type="discover"}"#;

/// A real client behind a real relay.
pub(super) fn far_network(site: &mut Site) -> Result<Vec<String>> {
    site.write("far.yaml", FAR)?;
    let _server = site.serve()?;
    router()?;
    // Both addresses of the pool are taken but one, by a machine that nobody told us of.
    far_host(SQUATTER, "02:00:00:00:20:02")?;
    ns::run("ip -n squatter address add 10.1.0.50/24 dev squatter")?;
    ns::run("ip -n squatter route add default via 10.1.0.1")?;
    let mut command = ns::on("router", "dnsmasq");
    command.args([
        "--no-daemon",
        "--user=root",
        "--conf-file=/dev/null",
        "--port=0",
    ]);
    command.args(["--dhcp-relay=10.1.0.1,192.0.2.1", "--pid-file="]);
    let mut relay = Process::spawn("relay", command, &site.folder.join("relay.log"))?;
    far_host(HOST, "02:00:00:00:20:01")?;
    let client = Client::udhcpc(&site.folder, HOST)?;
    let address = client.event("bound")?;
    relay.alive()?;
    ensure!(address == "10.1.0.51", "the client was given {address}");
    ns::run("ip -n far route add default via 10.1.0.1")?;
    client.signal(Signal::SIGUSR1)?;
    let renewed = client.event("renew")?;
    ensure!(renewed == address, "renewed with {renewed}");
    // Whichever of the two it was first to be offered.
    let refused = metric(ANSWERS)?;
    client.power_off()?;
    // The other one comes to be offered now, and is answered for.
    far_host("third", "02:00:00:00:20:03")?;
    let third = Client::udhcpc(&site.folder, "third")?;
    until("the probe that is answered", || {
        Ok((metric(ANSWERS)?.max(refused) > 0).then_some(()))
    })?;
    site.logged("somebody has the address that was about to be offered")?;
    drop(third);
    Ok(vec![format!(
        "udhcpc behind dnsmasq's relay: lease and renewal of {address}; 10.1.0.50 was found taken by ICMP"
    )])
}

/// A router between the bridge and a bridge of its own.
fn router() -> Result<()> {
    ns::host("router", "02:00:00:00:20:fe")?;
    ns::run("ip -n router address add 192.0.2.2/24 dev router")?;
    ns::run("ip -n router link add far0 type bridge")?;
    ns::run("ip -n router address add 10.1.0.1/24 dev far0")?;
    ns::run("ip -n router link set far0 up")?;
    ns::run("ip netns exec router sysctl -qw net.ipv4.ip_forward=1")?;
    ns::run("ip route add 10.1.0.0/24 via 192.0.2.2")
}

/// A host on the far side: its card has its name.
fn far_host(name: &str, mac: &str) -> Result<()> {
    ns::run(&format!("ip netns add {name}"))?;
    ns::run(&format!(
        "ip link add {name} netns {name} type veth peer name {name}-port netns router"
    ))?;
    ns::run(&format!("ip -n router link set {name}-port master far0 up"))?;
    ns::run(&format!("ip -n {name} link set {name} address {mac}"))?;
    ns::run(&format!("ip -n {name} link set lo up"))?;
    ns::run(&format!("ip -n {name} link set {name} up"))
}
