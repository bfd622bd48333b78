//! Everything that the behaviour book says we send, read by tshark.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use reveille::packets::{Datagram, capture};

use super::site::{Site, said};
use crate::scenarios_runner::play_book;

/// What tshark finds fault with. Its notes and warnings are of traffic, such as a NAK.
const FAULTY: &str = "_ws.malformed || _ws.expert.severity == error";

/// A reply of the book is one that no part of Wireshark finds fault with, unless it found it with the
/// request already: what a client or relay says of itself comes back as it was.
pub(super) fn is_well_formed(site: &mut Site) -> Result<Vec<String>> {
    let (mut requests, mut replies) = (Vec::new(), Vec::new());
    for (_, played) in play_book("") {
        for pair in played.packets.windows(2) {
            let [request, reply] = pair else { continue };
            if is_reply(reply) {
                requests.push(request.clone());
                replies.push(reply.clone());
            }
        }
    }
    ensure!(replies.len() > 200, "{} replies only", replies.len());
    let all = read(site, "replies", &replies, "dhcp || dhcpv6")?;
    ensure!(all.len() == replies.len(), "{} are DHCP", all.len());
    let asked = read(site, "requests", &requests, FAULTY)?;
    let faulty = read(site, "replies", &replies, FAULTY)?;
    let ours: Vec<&String> = faulty.difference(&asked).collect();
    ensure!(
        ours.is_empty(),
        "faults of ours in the frames {ours:?} of replies.pcap"
    );
    // It can fail: an option that is longer than its packet.
    let mut bent = replies.first().cloned().context("no reply")?;
    bent.payload.truncate(240);
    bent.payload.extend([53, 1, 2, 54, 200, 1]);
    let faults = read(site, "bent", &[bent], FAULTY)?;
    ensure!(!faults.is_empty(), "tshark takes anything");
    Ok(vec![format!(
        "{} replies, none malformed but {} that echo what came so",
        replies.len(),
        faulty.len()
    )])
}

/// BOOTREPLY; ADVERTISE, REPLY, and what relays hand back.
fn is_reply(datagram: &Datagram) -> bool {
    let replies: &[u8] = if datagram.from.0.is_ipv4() {
        &[2]
    } else {
        &[2, 7, 13]
    };
    let kind = datagram.payload.first();
    kind.is_some_and(|kind| replies.contains(kind))
}

/// The numbers of the packets that a filter lets through.
fn read(site: &Site, name: &str, packets: &[Datagram], filter: &str) -> Result<BTreeSet<String>> {
    let file = site.folder.join(format!("{name}.pcap"));
    std::fs::write(&file, capture::write(packets))?;
    tshark(&file, filter)
}

fn tshark(file: &Path, filter: &str) -> Result<BTreeSet<String>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-T", "fields", "-e", "frame.number", "-Y", filter]);
    let output = command.arg("-r").arg(file).output().context("tshark")?;
    ensure!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().map(str::to_owned).collect())
}
