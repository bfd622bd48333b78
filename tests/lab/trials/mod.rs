//! What a night can bring: crashes, edits, missing cards, full disks, strangers. Each trial is the real
//! program in a room of its own, without machines.

mod artifacts;
mod bad_state;
mod beside;
mod book;
mod clients;
mod discovery;
mod downloads;
mod drain;
mod interfaces;
mod ipv6;
mod kill;
mod peers;
mod ports;
mod privileges;
mod probe;
mod probe6;
mod relays;
mod reload;
mod site;
mod slow;
mod strangers;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::support::assets::Assets;
use crate::support::setup::{self, CANNOT};

use self::site::Site;

/// One trial, run in a room of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial {
    pub(crate) name: &'static str,
    /// Programs that it cannot do without; `setup.sh` installs them.
    needs: &'static [&'static str],
    /// Says what was seen, in lines.
    run: fn(&mut Site) -> Result<Vec<String>>,
}

/// All trials, the longest first.
pub(crate) const ALL: [Trial; 32] = [
    trial(
        "artifacts-boot",
        &["docker-registry", "openssl"],
        artifacts::boots,
    ),
    trial("artifacts-volume", &[], artifacts::volume),
    trial(
        "leases-survive-kill",
        &["perfdhcp"],
        kill::leases_survive_kill,
    ),
    trial("artifacts-unpack", &[], artifacts::unpacks),
    trial("interface-comes-later", &[], interfaces::comes_later),
    trial("probe", &["tshark", "dnsmasq"], probe::plays_machines),
    trial("probe-https", &[], probe::over_https),
    trial(
        "probe-peers",
        &["kea-dhcp4", "nginx", "in.tftpd", "dnsmasq"],
        peers::are_probed,
    ),
    trial("hot-reload", &["curl"], reload::hot_reload),
    trial("bad-state", &[], bad_state::heals),
    trial("real-clients", &["udhcpc", "dhclient"], clients::classic),
    trial("dhcpcd", &["dhcpcd"], clients::dhcpcd),
    trial("tftp-hpa", &["tftp"], downloads::tftp_hpa),
    trial("aria2c", &["aria2c"], downloads::aria2c),
    trial("networkd", &[clients::NETWORKD], clients::networkd),
    trial(
        "behind-a-relay",
        &["udhcpc", "dnsmasq"],
        relays::far_network,
    ),
    trial("sigterm-drains", &[], drain::sigterm),
    trial("strangers", &[], strangers::push),
    trial("proxy-ports", &["dnsmasq", "udhcpc"], beside::dnsmasq),
    trial(
        "foreign-options",
        &["dnsmasq", "kea-dhcp4"],
        beside::foreign,
    ),
    trial("auto-dnsmasq", &["dnsmasq"], beside::auto_dnsmasq),
    trial("auto-kea", &["kea-dhcp4"], beside::auto_kea),
    trial("ipv6", &["dhclient"], ipv6::comes_and_goes),
    trial("probe-ipv6", &["tshark", "dnsmasq"], probe6::plays_machines),
    trial("discovery", &[], discovery::waits_for_approval),
    trial("arm64-loader", &[], artifacts::arm64),
    trial("book-by-tshark", &["tshark"], book::is_well_formed),
    trial("port-taken", &[], ports::taken),
    trial(
        "unprivileged",
        &["curl", "atftp"],
        privileges::becomes_nobody,
    ),
    trial("one-interface-only", &[], interfaces::one_only),
    trial("tagged-frames", &[], interfaces::tagged),
    trial("not-root", &["setpriv"], privileges::says_what_is_missing),
];

const fn trial(
    name: &'static str,
    needs: &'static [&'static str],
    run: fn(&mut Site) -> Result<Vec<String>>,
) -> Trial {
    Trial { name, needs, run }
}

// === impl Trial ===

impl Trial {
    /// Runs behind the walls. The exit code is [`CANNOT`] where a program is missing.
    pub(crate) fn run(&self, assets: Assets, folder: &Path) -> Result<ExitCode> {
        let missing: Vec<&str> = self
            .needs
            .iter()
            .copied()
            .filter(|name| !setup::is_here(name))
            .collect();
        if !missing.is_empty() {
            println!(
                "not here: {}; tests/lab/setup.sh installs it",
                missing.join(", ")
            );
            return Ok(ExitCode::from(CANNOT));
        }
        let mut site = Site::open(assets, folder)?;
        for line in (self.run)(&mut site)? {
            println!("{line}");
        }
        Ok(ExitCode::SUCCESS)
    }
}
