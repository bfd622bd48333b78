//! A network for machines in this room: a bridge with our address, hosts on it, and what they ask.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::support::card::Card;
use crate::support::client::Client;
use crate::support::ns;
use crate::support::wait::until;

/// The network. Its bridge is [`ns::BRIDGE`], our address there [`ns::ADDRESS`]; both go with this value,
/// as do the hosts.
#[derive(Debug)]
pub(crate) struct Lan {
    hosts: Vec<String>,
    cards: Vec<String>,
}

// === impl Lan ===

impl Lan {
    /// Makes the bridge.
    pub(crate) fn open() -> Result<Self> {
        ns::bridge(ns::BRIDGE, ns::ADDRESS)?;
        Ok(Self {
            hosts: Vec::new(),
            cards: Vec::new(),
        })
    }

    /// Plugs a host in: a network namespace with one card, called as the host. [`ns::on`] runs programs
    /// there.
    pub(crate) fn host(&mut self, name: &str, mac: &str) -> Result<()> {
        self.hosts.push(name.to_owned());
        ns::host(name, mac)
    }

    /// Plugs in a card on which a trial sends and sees frames of its own.
    pub(crate) fn card(&mut self, name: &str) -> Result<Card> {
        self.cards.push(name.to_owned());
        Card::plug(name, ns::BRIDGE)
    }

    /// Has udhcpc ask on a host; the address that it got. Its log is in `folder`.
    pub(crate) fn udhcpc(&self, folder: &Path, host: &str) -> Result<String> {
        let client = Client::udhcpc(folder, host)?;
        let address = client.event("bound")?;
        client.power_off()?;
        Ok(address)
    }

    /// Has perfdhcp lease for `clients` machines from a host, as a relay with `address` would pass their
    /// questions on; what it printed at the end. As machines do, it asks again where answers are missing.
    pub(crate) fn perfdhcp(&self, host: &str, address: &str, clients: u32) -> Result<String> {
        let (count, rate) = (clients.to_string(), clients.min(100).to_string());
        ns::run(&format!(
            "ip -n {host} address replace {address}/24 dev {host}"
        ))?;
        until("an answer to all that perfdhcp asks", || {
            let output = ns::on(host, "perfdhcp")
                .args(["-4", "-l", host, "-R", &count, "-n", &count, "-r", &rate])
                // The last answers may take two seconds.
                .args(["-d", "2", "-W", "2000000", ns::ADDRESS])
                .output()
                .context("perfdhcp")?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            ensure!(output.status.success(), "{}: {text}", output.status);
            Ok(Some(text))
        })
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for host in &self.hosts {
            let _ = ns::run(&format!("ip netns delete {host}"));
            // The card went with the namespace, unless a program there still holds it.
            let _ = ns::run(&format!("ip link delete {host}-port"));
        }
        for card in &self.cards {
            let _ = ns::run(&format!("ip link delete {card}"));
        }
        let _ = ns::run(&format!("ip link delete {}", ns::BRIDGE));
    }
}
