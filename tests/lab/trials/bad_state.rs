//! The state folder fails: full, read-only, damaged, taken.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use dhcproto::v4::{DhcpOption, MessageType};

use super::kill::agree;
use super::site::{SERVER, Site};
use crate::ns;
use crate::support::card::Card;
use crate::support::dhcp::{Machine, overheard};

/// What is said once when leases cannot be kept.
const TROUBLE: &str = "leases cannot be kept";

/// One trouble after the other; each is said, and none costs a lease.
pub(super) fn heals(site: &mut Site) -> Result<Vec<String>> {
    let state = site.state();
    fs::create_dir_all(&state)?;
    let place = state.display().to_string();
    ns::run(&format!("mount -t tmpfs -o size=6m tmpfs {place}"))?;
    let mut lines = vec![full(site)?];

    ns::run(&format!("mount -o remount,ro {place}"))?;
    lines.push(refused(site, &[&place, "read-only"])?);
    ns::run(&format!("mount -o remount,rw {place}"))?;

    let file = state.join("leases.redb");
    fs::write(&file, [0x5a; 70_000])?;
    let server = site.serve()?;
    site.logged("the lease database was damaged")?;
    let aside = fs::read_dir(&state)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| name.contains(".broken-"));
    let aside = aside.context("the damaged file is gone")?;
    ensure!(
        site.log()?.contains(&aside),
        "the log does not name {aside}"
    );

    let second = site.launch()?.with(&[
        "--http",
        "127.0.0.1:8080",
        "--tftp",
        "127.0.0.1:6969",
        "--admin",
        "127.0.0.1:9168",
    ]);
    let said = site.refused(second)?;
    let last = said.lines().last().unwrap_or_default().to_owned();
    let holder = format!("(pid {})", server.pid());
    for words in [place.as_str(), holder.as_str()] {
        ensure!(
            last.contains(words),
            "the last line lacks `{words}`: {said}"
        );
    }
    lines.push(last);
    let output = site.reveille(&["leases"])?;
    ensure!(
        !output.status.success(),
        "leases of a running service were read"
    );
    lines.push(String::from_utf8(output.stderr)?.trim().to_owned());
    server.stop()?;
    Ok(lines)
}

/// Starts it when it must not start: the last line, which holds all of `words`.
fn refused(site: &Site, words: &[&str]) -> Result<String> {
    let said = site.refused(site.launch()?)?;
    let last = said.lines().last().unwrap_or_default().to_owned();
    for word in words {
        ensure!(
            last.to_lowercase().contains(word),
            "the last line lacks `{word}`: {said}"
        );
    }
    Ok(last)
}

/// The disk is full for a while: no ACK leaves that is not on it, and it heals by itself.
fn full(site: &Site) -> Result<String> {
    let server = site.serve()?;
    let mut card = Card::plug("own", ns::BRIDGE)?;
    let mut acks: BTreeMap<Ipv4Addr, BTreeSet<String>> = BTreeMap::new();
    let mut lend = |machine: Machine, card: &mut Card| -> Result<()> {
        let lease = machine.lease(card)?;
        acks.entry(lease.address)
            .or_default()
            .insert(machine.mac.to_string());
        Ok(())
    };
    lend(Machine::number(1), &mut card)?;
    let filler = site.state().join("filler");
    fill(&filler)?;
    let late = Machine::number(100);
    let mut unheard = 0;
    while site.times_logged(TROUBLE)? == 0 {
        unheard += 1;
        ensure!(unheard < 4000, "the full disk was not noticed");
        let offer = late.discover(&mut card)?;
        let mut request = late.message(MessageType::Request);
        request
            .opts_mut()
            .insert(DhcpOption::RequestedIpAddress(offer.address));
        request
            .opts_mut()
            .insert(DhcpOption::ServerIdentifier(SERVER));
        card.send(&late.broadcasts(&request))?;
        for reply in overheard(&mut card)? {
            if reply.kind == MessageType::Ack {
                let macs = acks.entry(reply.address).or_default();
                macs.insert(reply.mac().to_string());
            }
        }
    }
    ensure!(
        site.times_logged(TROUBLE)? == 1,
        "the trouble was said twice"
    );
    // The machine asks until there is room.
    fs::remove_file(&filler)?;
    let lease = late.lease(&mut card)?;
    acks.entry(lease.address)
        .or_default()
        .insert(late.mac.to_string());
    site.logged("leases can be kept again")?;
    let log = site.log()?;
    let line = log.lines().find(|line| line.contains(TROUBLE));
    server.stop()?;
    agree(site, &acks)?;
    Ok(line.unwrap_or_default().to_owned())
}

/// Writes until there is no room.
fn fill(path: &std::path::Path) -> Result<()> {
    let mut file = fs::File::create(path)?;
    for size in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    Ok(())
}
