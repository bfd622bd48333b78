//! Plays a machine on an interface, from its first packet to its initrd. Shell.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::client6::Lease6;
use super::fetch::Came;
use super::ipxe::{self, End, Loads};
use super::offers::{self, Boot, Heard};
use super::offers6;
use super::report::{DhcpServer, Named, Step};
use super::wire::{Talk, Wire};
use crate::boot::{Architecture, MacAddress, Uuid};
use crate::dhcp::destination::CLIENT_PORT;
use crate::dhcp::option;
use crate::packets::{Question, Role};
use crate::tls::Trusting;

/// Scripts that lead to one another, at most.
const SCRIPTS: usize = 8;

/// A client that can be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Player {
    /// A BIOS ROM: PXE, its loader by TFTP, then iPXE
    Bios,
    /// UEFI's PXE: the same; asks UDP 4011 where it is told to
    Uefi,
    /// UEFI HTTP boot: its loader by HTTP, then iPXE
    Http,
    /// An iPXE in a ROM
    Ipxe,
    /// An operating system: an address, nothing to boot
    Plain,
    /// A system behind a relay, which is played too: UDP port 67 must be free here
    Relayed,
    /// UEFI's PXE over IPv6: its loader by TFTP, then iPXE
    Uefi6,
    /// UEFI HTTP boot over IPv6: its loader by HTTP, then iPXE
    Http6,
    /// An iPXE over IPv6
    Ipxe6,
    /// An operating system over IPv6
    Plain6,
}

/// What is played, and where.
#[derive(Clone, Debug)]
pub struct Play {
    /// The interface.
    pub interface: String,
    /// The clients, one after the other.
    pub players: Vec<Player>,
    /// The processor of the UEFI clients.
    pub architecture: Architecture,
    /// The machine that is played; one that stands for this host without it.
    pub mac: Option<MacAddress>,
    /// Its UUID.
    pub uuid: Option<Uuid>,
    /// The servers that are ours; every other is foreign, where any is named.
    pub ours: Vec<Named>,
    /// Addresses that are not on the link and may be asked all the same.
    pub also: Vec<IpAddr>,
    /// Where a relay sends to; everyone on the link without it.
    pub relay_to: Option<Ipv4Addr>,
    /// Whom the clients trust over HTTPS; nobody without it.
    pub trusting: Option<Trusting>,
    /// SHA-256 by URL or by a loader's name, as the server tells them.
    pub known: BTreeMap<String, String>,
    /// How long offers are waited for.
    pub wait: Duration,
    /// How long each other step may take.
    pub patience: Duration,
}

/// What a client went through so far.
pub(super) struct Run<'a> {
    pub(super) play: &'a Play,
    pub(super) wire: &'a Wire,
    pub(super) steps: Vec<Step>,
    /// Addresses that were taken, and from whom.
    leases: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// The same of IPv6.
    pub(super) leases6: Vec<Lease6>,
}

// === impl Player ===

impl Player {
    /// Its name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::Uefi => "uefi",
            Self::Http => "http",
            Self::Ipxe => "ipxe",
            Self::Plain => "plain",
            Self::Relayed => "relay",
            Self::Uefi6 => "uefi6",
            Self::Http6 => "http6",
            Self::Ipxe6 => "ipxe6",
            Self::Plain6 => "plain6",
        }
    }

    pub(super) const fn role(self, uefi: Architecture) -> Role {
        match self {
            Self::Bios => Role::Pxe(Architecture::X86Bios),
            Self::Uefi | Self::Uefi6 => Role::Pxe(uefi),
            Self::Http | Self::Http6 => Role::HttpBoot(uefi),
            Self::Ipxe | Self::Ipxe6 => Role::Ipxe(uefi),
            Self::Plain | Self::Relayed | Self::Plain6 => Role::System,
        }
    }

    const fn speaks_v6(self) -> bool {
        matches!(self, Self::Uefi6 | Self::Http6 | Self::Ipxe6 | Self::Plain6)
    }
}

/// Plays every client; what was tried, and every server that answered. Call it
/// within a tokio runtime.
///
/// # Errors
/// The interface cannot be used at all.
pub async fn play(play: &Play) -> anyhow::Result<(Vec<Step>, Vec<DhcpServer>)> {
    let mut also = play.also.clone();
    also.extend(play.relay_to.map(IpAddr::V4));
    also.extend(play.ours.iter().filter_map(|named| match named {
        Named::Address(address) => Some(*address),
        Named::Duid(_) => None,
    }));
    let wire = Wire::open(&play.interface, also)?;
    let (mut steps, mut heard, mut heard6) = (Vec::new(), Vec::new(), Vec::new());
    for player in &play.players {
        let mut run = Run {
            play,
            wire: &wire,
            steps: Vec::new(),
            leases: Vec::new(),
            leases6: Vec::new(),
        };
        if player.speaks_v6() {
            heard6.extend(run.through6(*player).await);
        } else {
            heard.extend(run.through(*player).await);
        }
        steps.extend(run.steps.into_iter().map(|step| step.by(player.as_str())));
    }
    let mut servers = offers::servers(&heard, &play.ours);
    servers.extend(offers6::servers(&heard6, &play.ours));
    Ok((steps, servers))
}

// === impl Run ===

impl Run<'_> {
    /// The whole boot; every reply to its DISCOVERs.
    async fn through(&mut self, player: Player) -> Vec<Heard> {
        let role = player.role(self.play.architecture);
        let relay = match (player, self.wire.address()) {
            (Player::Relayed, None) => {
                let cure = "give the interface an address: the relay answers for it";
                self.fail("offer", "a relay has an address", cure);
                return Vec::new();
            }
            (Player::Relayed, address) => address,
            _ => None,
        };
        let to = relay.and(self.play.relay_to).unwrap_or(Ipv4Addr::BROADCAST);
        let talk = match self.wire.talk(relay, to) {
            Ok(talk) => talk,
            Err(error) => {
                let cure = "run it as root, and where nothing else has the port";
                self.fail("offer", &format!("{error:#}"), cure);
                return Vec::new();
            }
        };
        let mut heard = Vec::new();
        let boot = self.lease(&talk, role, relay, &mut heard).await;
        if let Some(boot) = boot {
            self.boot(&talk, role, boot, &mut heard).await;
        }
        self.release(&talk, role, relay).await;
        heard
    }

    /// DISCOVER to ACK; what is booted by it, for who boots.
    async fn lease(
        &mut self,
        talk: &Talk,
        role: Role,
        relay: Option<Ipv4Addr>,
        all: &mut Vec<Heard>,
    ) -> Option<Boot> {
        let question = self.question(role, relay);
        let heard: Vec<Heard> = match talk.ask(&question.discover(), self.play.wait, false).await {
            Ok(heard) => heard,
            Err(error) => {
                self.fail(
                    "offer",
                    &format!("{error:#}"),
                    "`ip link show` says how it is",
                );
                return None;
            }
        };
        all.extend(heard.iter().cloned());
        let Some(offer) = offers::lease(role, &heard) else {
            let seconds = self.play.wait.as_secs();
            let proxies = heard.len();
            let seen =
                format!("no address was offered within {seconds} s ({proxies} other replies)");
            let cure = "is a DHCP server on this network, and does it serve this machine? `reveille explain MAC` says why ours does not";
            self.fail("offer", &seen, cure);
            return None;
        };
        let (address, server) = (offer.packet.yiaddr, offer.server());
        self.pass("offer", format!("{address} from {server}"));
        let request = question.request(address, server);
        let acks: anyhow::Result<Vec<Heard>> = talk.ask(&request, self.play.wait, true).await;
        let ack = acks.unwrap_or_default().into_iter().next();
        let Some(ack) = ack.filter(|ack| ack.packet.kind == "ACK") else {
            let seen = format!("{server} offers {address} and does not give it");
            let cure = "is its lease database writable? does another server answer beside it?";
            self.fail("ack", &seen, cure);
            return None;
        };
        self.leases.push((address, server));
        let time = ack.packet.option(option::LEASE_TIME).unwrap_or("-");
        self.pass("ack", format!("{address} for {time}"));
        (role != Role::System).then(|| offers::boot(role, &ack, &heard))
    }

    /// From what the firmware is told to the last file.
    async fn boot(&mut self, talk: &Talk, role: Role, boot: Boot, all: &mut Vec<Heard>) {
        let boot = if let Boot::Ask(server, item) = boot {
            match self.ask_boot_server(role, server, item).await {
                Some(boot) => boot,
                None => return,
            }
        } else {
            boot
        };
        if let Role::Ipxe(_) = role {
            return self.script(role, boot).await;
        }
        let Some(ipxe) = self.loaded(role, boot).await else {
            return;
        };
        // The loader is iPXE: it asks for an address itself.
        if let Some(boot) = self.lease(talk, ipxe, None, all).await {
            self.script(ipxe, boot).await;
        }
    }

    /// Loads what the firmware `role` is told to; the iPXE that it is, where it is
    /// one.
    pub(super) async fn loaded(&mut self, role: Role, boot: Boot) -> Option<Role> {
        let loader = self.first_file(boot).await?;
        if !loader.is_ipxe() {
            let seen = "what came is no iPXE: what it does next is its own";
            self.steps.push(Step::skipped("ipxe", seen));
            return None;
        }
        let architecture = role.architecture().unwrap_or(self.play.architecture);
        Some(Role::Ipxe(architecture))
    }

    /// What a boot server says at UDP 4011.
    async fn ask_boot_server(
        &mut self,
        role: Role,
        server: Ipv4Addr,
        item: Option<u16>,
    ) -> Option<Boot> {
        const NAME: &str = "4011";
        if let Err(seen) = self.wire.may_reach(server) {
            self.fail(NAME, &seen, ALSO);
            return None;
        }
        // Who has no other address answers for the interface's own.
        let own = self.wire.address().unwrap_or(Ipv4Addr::UNSPECIFIED);
        let packet = self.question(role, None).boot_server(own, item);
        let uefi = role.architecture().is_some_and(Architecture::is_uefi);
        let from = if uefi { Wire::uefi_port() } else { CLIENT_PORT };
        let wait = self.play.wait;
        match self.wire.ask_boot_server(from, server, &packet, wait).await {
            Ok(answer) => {
                let file = answer.file().unwrap_or("no file");
                self.pass(NAME, format!("{server} names {file}"));
                Some(offers::boot_of(&answer))
            }
            Err(error) => {
                let cure = "open UDP 4011 to the boot server; firmware shows PXE-E55 here";
                self.fail(NAME, &format!("{error:#}"), cure);
                None
            }
        }
    }

    /// Fetches what the firmware is told to load.
    async fn first_file(&mut self, boot: Boot) -> Option<Came> {
        const NAME: &str = "loader";
        let url = match boot {
            Boot::File(server, file) => format!("tftp://{server}/{}", file.trim_start_matches('/')),
            Boot::Url(url) => url,
            Boot::Nothing(why) => {
                let cure = "`reveille explain MAC` says why; of another server, options 66 and 67 are to be set (DHCPv6: 59)";
                self.fail(NAME, why, cure);
                return None;
            }
            // A boot server does not send to another one.
            Boot::Ask(..) => return None,
        };
        self.fetch(NAME, &url).await
    }

    /// Follows a script to the files that it loads.
    pub(super) async fn script(&mut self, role: Role, boot: Boot) {
        const NAME: &str = "script";
        let mut url = match boot {
            Boot::Url(url) => url,
            Boot::File(server, file) => format!("tftp://{server}/{file}"),
            Boot::Nothing(why) => {
                let cure = "iPXE wants the URL of a script in option 67 (DHCPv6: 59) where option 77 (15) says iPXE";
                return self.fail(NAME, why, cure);
            }
            Boot::Ask(..) => return,
        };
        let mut seen = BTreeSet::new();
        for _ in 0..SCRIPTS {
            if !seen.insert(url.clone()) {
                let words = "the script leads to itself: it waits for something";
                return self.fail(
                    NAME,
                    words,
                    "its last words are above; `reveille log MAC` says what is missing",
                );
            }
            let Some(came) = self.fetch(NAME, &url).await else {
                return;
            };
            let text = String::from_utf8_lossy(&came.body).into_owned();
            if !text.starts_with("#!ipxe") {
                let program = format!("{url} is a program: what it does next is its own");
                return self.steps.push(Step::skipped("boot", &program));
            }
            let reading = ipxe::read(&text, &self.settings(role));
            for says in &reading.says {
                self.pass("says", says.clone());
            }
            match self.follow(&url, &reading).await {
                Some(next) => url = next,
                None => return,
            }
        }
        let cure = "a script leads to a script for ever; does a loader load itself?";
        self.fail(NAME, &format!("{SCRIPTS} scripts led to one another"), cure);
    }

    /// Fetches what a script loads; the script that it goes on with.
    async fn follow(&mut self, base: &str, reading: &ipxe::Reading) -> Option<String> {
        for (what, target) in &reading.loads {
            let url = ipxe::resolve(base, target);
            match what {
                Loads::Chain => return Some(url),
                Loads::Kernel => drop(self.fetch("kernel", &url).await?),
                Loads::Initrd => drop(self.fetch("initrd", &url).await?),
                Loads::Drive => drop(self.fetch("drive", &url).await?),
            }
        }
        match reading.end {
            End::Boots => self.pass("boot", "everything that it boots from came".to_owned()),
            End::Exits => self.pass("boot", "it goes on to the disk".to_owned()),
            End::Waits => {
                let words = "the script waits for a person's choice";
                self.steps.push(Step::skipped("boot", words));
            }
            End::Ends | End::Chains => {
                let cure = "`reveille explain MAC` shows it";
                self.fail("boot", "the script ends without a boot", cure);
            }
        }
        None
    }

    /// Gives back what was taken, but for what is the host's own.
    async fn release(&self, talk: &Talk, role: Role, relay: Option<Ipv4Addr>) {
        let question = self.question(role, relay);
        if question.mac == self.wire.mac {
            return;
        }
        let mut given = BTreeSet::new();
        for (address, server) in &self.leases {
            let reachable = self.wire.may_reach(*server).is_ok();
            if reachable && given.insert((address, server)) {
                // It is said once and not answered; the lease ends by itself.
                let _ = talk
                    .send_to(*server, &question.release(*address, *server))
                    .await;
            }
        }
    }

    fn question(&self, role: Role, relay: Option<Ipv4Addr>) -> Question {
        Question {
            role,
            mac: self.mac(),
            uuid: self.play.uuid,
            relay: relay.unwrap_or(Ipv4Addr::UNSPECIFIED),
            // Anything that is not the last one: replies to that are late.
            xid: getrandom::u32().unwrap_or_default(),
            // We have not the address that a unicast would be sent to.
            broadcast: true,
        }
    }

    /// The machine that is played.
    pub(super) fn mac(&self) -> MacAddress {
        self.play.mac.unwrap_or_else(|| stand_in(self.wire.mac))
    }

    /// What an iPXE there knows of itself.
    fn settings(&self, role: Role) -> BTreeMap<String, String> {
        let mac = self.mac();
        let uefi = role.architecture().is_some_and(Architecture::is_uefi);
        let uuid = self.play.uuid.map(|uuid| uuid.to_string());
        let address = self.leases.last().map(|(address, _)| address.to_string());
        let build = match role.architecture() {
            Some(Architecture::X86Bios | Architecture::X86Uefi) => "i386",
            Some(Architecture::Arm32Uefi) => "arm32",
            Some(Architecture::Arm64Uefi) => "arm64",
            _ => "x86_64",
        };
        let mut all = BTreeMap::from([
            ("platform", if uefi { "efi" } else { "pcbios" }.to_owned()),
            ("buildarch", build.to_owned()),
            ("uuid", uuid.unwrap_or_default()),
        ]);
        for name in ["mac", "net0/mac", "netX/mac"] {
            all.insert(name, mac.to_string());
        }
        for name in ["mac:hexhyp", "net0/mac:hexhyp"] {
            all.insert(name, mac.hyphenated());
        }
        for name in ["ip", "net0/ip"] {
            all.insert(name, address.clone().unwrap_or_default());
        }
        let address6 = self.leases6.last().map(|lease| lease.address.to_string());
        for name in ["ip6", "net0/ip6"] {
            all.insert(name, address6.clone().unwrap_or_default());
        }
        let all = all.into_iter();
        all.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    pub(super) fn pass(&mut self, name: &'static str, seen: String) {
        self.steps.push(Step::passed(name, seen));
    }

    pub(super) fn fail(&mut self, name: &'static str, seen: &str, cure: &str) {
        self.steps.push(Step::failed(name, seen.to_owned(), cure));
    }
}

/// What is said of an address that is not on the link.
pub(super) const ALSO: &str = "nothing is sent there unasked: name the address by --also";

/// The address of a machine that stands for this host: its own, made local, so
/// that its own lease is left alone.
fn stand_in(own: MacAddress) -> MacAddress {
    let [first, rest @ ..] = own.bytes();
    let [b, c, d, e, f] = rest;
    // One that is local already becomes another local one.
    let first = if first & 2 == 0 {
        first | 2
    } else {
        first ^ 0x40
    };
    MacAddress::new([first, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_s_own_lease_is_left_alone() {
        for first in [0x52, 0x02, 0x00, 0xf0] {
            let own = MacAddress::new([first, 1, 2, 3, 4, 5]);
            let other = stand_in(own);
            assert_ne!(own, other);
            assert!(other.is_station() && other.bytes()[0] & 2 == 2, "{other}");
        }
    }
}
