//! Everything that the behaviour book says we send, read by tshark.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use reveille::packets::{Datagram, capture};

use super::site::{Site, said};
use crate::scenarios_runner::play_book;

/// A reply of the book is one that no part of Wireshark finds fault with.
pub(super) fn is_well_formed(site: &mut Site) -> Result<Vec<String>> {
    let book = play_book("");
    let replies: Vec<Datagram> = book
        .into_iter()
        .flat_map(|(_, played)| played.packets)
        .filter(|packet| packet.payload.first() == Some(&2))
        .collect();
    ensure!(replies.len() > 400, "{} replies only", replies.len());
    let file = site.folder.join("book.pcap");
    std::fs::write(&file, capture::write(&replies))?;
    let read = tshark(&file, "dhcp")?;
    ensure!(
        read.lines().count() == replies.len(),
        "{} of {} replies are DHCP",
        read.lines().count(),
        replies.len()
    );
    // Notes and warnings are of traffic, such as a NAK; an error is of bytes.
    let faults = tshark(&file, "_ws.malformed || _ws.expert.severity == error")?;
    ensure!(faults.is_empty(), "{faults}");
    // The test can fail: the same with options that are cut off.
    let mut bent = replies.first().cloned().context("no reply")?;
    bent.payload.truncate(300);
    let end = bent.payload.len();
    bent.payload[243..end].fill(0);
    bent.payload[243..245].copy_from_slice(&[54, 200]);
    std::fs::write(&file, capture::write(&[bent]))?;
    let faults = tshark(&file, "_ws.malformed || _ws.expert.severity == error")?;
    ensure!(!faults.is_empty(), "tshark takes anything");
    Ok(vec![format!("{} replies, none malformed", replies.len())])
}

/// The packets of a capture that a filter lets through, a line each.
fn tshark(file: &Path, filter: &str) -> Result<String> {
    let mut command = Command::new("tshark");
    // Its helpers have no business in a room.
    command.args(["-n", "-Y", filter, "-r"]).arg(file);
    let output = command.output().context("tshark")?;
    ensure!(output.status.success(), "{}", said(&output));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
