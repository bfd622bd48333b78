//! Manifests change while machines boot.

use std::fs;

use anyhow::{Result, ensure};

use super::site::{INITRD, KERNEL, Site, metric, profile, script, script_says, until};
use super::slow::Slow;
use crate::ns;
use crate::support::card::Card;
use crate::support::dhcp::Machine;
use crate::support::server::get;

/// A machine of no object.
const SOMEBODY: &str = "02-00-00-00-00-63";

/// Machine number 7, at an address outside the pool.
const MACHINE: &str = "\
apiVersion: reveille.dev/v1alpha1
kind: Machine
metadata: {name: seven}
spec:
  interfaces: [{mac: \"02:00:00:00:00:07\", ip: 192.0.2.7}]
";

/// A Subnet on a second bridge.
const SECOND: &str = "\
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: second}
spec:
  mode: Server
  cidr: 198.51.100.0/24
  interface: br1
  pools: [{start: 198.51.100.20, end: 198.51.100.200}]
";

/// Edits, mistakes, a folder that vanishes, Subnets and machines that come and go.
pub(super) fn hot_reload(site: &mut Site) -> Result<Vec<String>> {
    let _server = site.serve()?;
    let mut card = Card::plug("own", ns::BRIDGE)?;
    let lease = Machine::number(1).lease(&mut card)?;
    script_says(SOMEBODY, "quiet")?;

    let (http, tftp) = (Slow::http(KERNEL)?, Slow::tftp(INITRD)?);
    site.write("profile.yaml", &profile("edited"))?;
    script_says(SOMEBODY, "edited")?;
    let mut lines = vec![mistakes(site)?];
    folder_vanishes(site)?;
    half_saved(site)?;
    second_subnet(site)?;
    machine_goes(site, &mut card)?;
    http.finish_whole()?;
    tftp.finish_whole()?;

    Machine::number(1)
        .renew(&mut card, lease)?
        .acks(lease.address)?;
    ensure!(
        site.times_logged("DHCP serves  subnet=default/lab")? == 1,
        "the first interface's listener was restarted"
    );
    lines.push("two transfers lasted through all of it".to_owned());
    Ok(lines)
}

/// A file breaks as YAML, and as a manifest: it is said where, and the old one is served.
fn mistakes(site: &Site) -> Result<String> {
    let good = profile("broken");
    let broken = good.replace("default: true", "default: maybe");
    site.write("profile.yaml", &broken)?;
    site.logged("profile.yaml:5:12: ")?;
    ensure!(
        script(SOMEBODY)?.contains("edited"),
        "the mistake is served"
    );
    site.logged("BootProfile default/linux is served as it was before")?;
    site.write(
        "profile.yaml",
        &good.replace("default: true", "default: \"true"),
    )?;
    site.logged("profile.yaml:5:")?;
    ensure!(
        script(SOMEBODY)?.contains("edited"),
        "the mistake is served"
    );
    let log = site.log()?;
    let line = log
        .lines()
        .find(|line| line.contains("profile.yaml:5:12: "));
    site.write("profile.yaml", &profile("cured"))?;
    script_says(SOMEBODY, "cured")?;
    Ok(line.unwrap_or_default().to_owned())
}

/// The folder goes, and comes back with other contents.
fn folder_vanishes(site: &Site) -> Result<()> {
    let away = site.folder.join("away");
    fs::rename(&site.manifests, &away)?;
    site.logged("cannot read")?;
    ensure!(
        script(SOMEBODY)?.contains("cured"),
        "nothing is served any more"
    );
    fs::write(away.join("profile.yaml"), profile("returned"))?;
    fs::rename(&away, &site.manifests)?;
    script_says(SOMEBODY, "returned")
}

/// A file is empty for a while: somebody's editor, shell or full disk is not done with it.
fn half_saved(site: &Site) -> Result<()> {
    let file = site.manifests.join("profile.yaml");
    fs::write(&file, "")?;
    site.logged("profile.yaml: the file is empty")?;
    ensure!(
        script(SOMEBODY)?.contains("returned"),
        "an empty file is served"
    );
    fs::write(&file, profile("saved"))?;
    script_says(SOMEBODY, "saved")
}

/// Another interface is served, and no more.
fn second_subnet(site: &Site) -> Result<()> {
    ns::bridge("br1", "198.51.100.1")?;
    site.write("second.yaml", SECOND)?;
    let mut card = Card::plug("other", "br1")?;
    let machine = Machine::number(2);
    let lease = machine.lease(&mut card)?;
    machine.renew(&mut card, lease)?.acks(lease.address)?;
    fs::remove_file(site.manifests.join("second.yaml"))?;
    until("the end of the second listener", || {
        Ok((!get("/metrics")?.contains("dhcp@default/second\"} 1")).then_some(()))
    })?;
    get("/readyz")?;
    Ok(())
}

/// A machine gets its address as long as its object is there.
fn machine_goes(site: &Site, card: &mut Card) -> Result<()> {
    let machine = Machine::number(7);
    site.write("machine.yaml", MACHINE)?;
    until("the machine's own address", || {
        Ok((machine.discover(card)?.address.to_string() == "192.0.2.7").then_some(()))
    })?;
    let lease = machine.lease(card)?;
    fs::remove_file(site.manifests.join("machine.yaml"))?;
    until("an address of the pool", || {
        Ok((machine.discover(card)?.address.to_string() != "192.0.2.7").then_some(()))
    })?;
    let answer = machine.renew(card, lease)?;
    ensure!(
        answer.acks(lease.address).is_err(),
        "the address is still lent"
    );
    // It is counted once it has left.
    until("a NAK that is counted", || {
        let naks = metric(r#"reveille_dhcp_requests_total{outcome="nak",type="request"}"#)?;
        Ok((naks > 0).then_some(()))
    })
}
