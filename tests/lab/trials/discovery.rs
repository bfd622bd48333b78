//! A machine that nobody wrote down asks to boot: it is kept beside the folder, and waits for approval.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use dhcproto::v4::MessageType;

use super::site::{SUBNET, Site, said, script_says, until};
use crate::ns;
use crate::support::card::Card;
use crate::support::dhcp::{Machine, overheard};

const MAC: &str = "02:00:00:00:00:01";
const PATH: &str = "02-00-00-00-00-01";

/// The machine, written down by a person at last.
const OBJECT: &str = "\
apiVersion: reveille.dev/v1alpha1
kind: Machine
metadata: {name: one}
spec:
  interfaces: [{mac: \"02:00:00:00:00:01\", ip: 192.0.2.7}]
";

/// Silence until `reveille approve`, an offer after it, also after crashes; the folder is not touched,
/// and what it says wins.
pub(super) fn waits_for_approval(site: &mut Site) -> Result<Vec<String>> {
    site.write(
        "subnet.yaml",
        &format!("{SUBNET}  unknownMachines: Discover\n"),
    )?;
    let folder = listing(site)?;
    let server = site.serve()?;
    let mut card = Card::plug("own", ns::BRIDGE)?;
    let machine = Machine::number(1);
    let refused = site.reveille(&["approve", MAC])?;
    ensure!(!refused.status.success(), "a stranger is approved");

    until("a discovered machine", || {
        card.send(&machine.wakes())?;
        Ok((site.times_logged("machine discovered")? > 0).then_some(()))
    })?;
    until("its phase", || {
        let shown = said(&site.reveille(&["get", "machines"])?);
        Ok((shown.contains(&format!("mac-{PATH}")) && shown.contains("Discovered")).then_some(()))
    })?;
    card.send(&machine.wakes())?;
    let answered = overheard(&mut card)?;
    ensure!(
        answered.is_empty(),
        "answered before approval: {answered:?}"
    );

    until("it in the state folder", || {
        Ok(kept(site)?.contains(MAC).then_some(()))
    })?;
    server.kill()?;
    let server = site.serve()?;
    let approved = said(&site.reveille(&["approve", MAC])?);
    ensure!(approved.contains("is approved and boots"), "{approved}");
    server.kill()?;
    let _server = site.serve()?;
    let offer = machine.boots(&mut card)?;
    ensure!(offer.kind == MessageType::Offer, "{:?}", offer.kind);
    script_says(PATH, "quiet")?;
    ensure!(listing(site)? == folder, "the user's folder was touched");

    site.write("one.yaml", OBJECT)?;
    let reserved = Ipv4Addr::new(192, 0, 2, 7);
    until("the address that the folder says", || {
        Ok((machine.boots(&mut card)?.address == reserved).then_some(()))
    })?;
    until("the end of the discovered one", || {
        Ok((!kept(site)?.contains(MAC)).then_some(()))
    })?;
    Ok(vec![approved.trim().to_owned()])
}

fn kept(site: &Site) -> Result<String> {
    Ok(fs::read_to_string(site.state().join("discovered.json"))?)
}

/// The files of the user's folder, and what is in them.
fn listing(site: &Site) -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(&site.manifests)? {
        let path = entry?.path();
        files.push((path.display().to_string(), fs::read_to_string(&path)?));
    }
    files.sort();
    Ok(files)
}
