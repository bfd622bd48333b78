//! The contents of an answer: network settings and what to boot next.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::menu;
use super::option;
use super::options::{routes, static_routes, wants};
use super::pxe::Vendor;
use super::request::Request;
use crate::api::{Cidr, Https, LoaderKind, LocalBoot, RomIpxe};
use crate::boot::{Client, ClientKind, MacAddress};
use crate::script::{SCRIPT_NAME, Urls};
use crate::snapshot::{NoLoader, Plan, ProfileEntry, Snapshot, SubnetEntry, Verdict};
use crate::timeline::{NextStep, Purpose};

/// What a client is told to boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootAnswer {
    /// The file name or URL; empty where there is none.
    pub file: String,
    /// What that means, for the timeline.
    pub next: NextStep,
    /// What the firmware itself is told to do, by PXE's vendor options.
    pub vendor: Option<Vendor>,
    /// Why a client that may boot gets no file.
    pub refused: Option<NoLoader>,
}

/// Who asks, as far as what it boots depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// What it is.
    pub client: Client,
    /// Whether it is an iPXE that says that it speaks HTTPS. DHCPv6 has no word
    /// for that.
    pub speaks_https: bool,
    /// Whether it is an iPXE that says what it speaks (option 175), and HTTP is
    /// not in it.
    pub lacks_http: bool,
}

impl From<&Request> for Asker {
    fn from(request: &Request) -> Self {
        Self {
            client: request.client,
            speaks_https: request.ipxe_can(option::IPXE_HTTPS),
            lacks_http: request.option(option::IPXE).is_some()
                && !request.ipxe_can(option::IPXE_HTTP),
        }
    }
}

// === impl BootAnswer ===

impl BootAnswer {
    /// Whether the client is to ask the server for a file: one that is named,
    /// or names of its own.
    #[must_use]
    pub const fn names_server(&self) -> bool {
        !self.file.is_empty() || matches!(self.vendor, Some(Vendor::RaspberryPi(_)))
    }
}

/// What `asker` is told to boot by `plan`. `loader_sent`: this machine was
/// sent our loader a moment ago, so an iPXE that asks now is that one, not
/// its ROM's.
#[must_use]
pub fn boot_answer(
    snapshot: &Snapshot,
    plan: &Plan<'_>,
    asker: &Asker,
    urls: &Urls,
    loader_sent: bool,
) -> BootAnswer {
    let client = &asker.client;
    let nothing = |next| BootAnswer {
        file: String::new(),
        next,
        vendor: None,
        refused: None,
    };
    let profile = match (plan.verdict, plan.profile) {
        _ if client.kind == ClientKind::Plain => return nothing(NextStep::Nothing),
        (Verdict::Boot, Some(profile)) if profile.spec.local.is_none() => profile,
        // What needs no loader of ours cannot ask.
        (Verdict::Tell, Some(profile))
            if profile.spec.local.is_none() && profile.direct(client).is_none() =>
        {
            profile
        }
        (Verdict::Tell, _) => return ask_answer(snapshot, asker, urls),
        (Verdict::Boot | Verdict::Local(_), _) => {
            return local_answer(snapshot, plan, asker, urls);
        }
    };
    let refused = |reason| BootAnswer {
        refused: Some(reason),
        ..nothing(NextStep::Nothing)
    };
    // Firmware trusts nobody that it was not told of, so it has to be said that it was.
    let urls = &match client.kind {
        ClientKind::Ipxe => urls.of_profile(snapshot, Some(profile)),
        ClientKind::HttpBoot if profile.spec.https == Https::All => {
            urls.of_profile(snapshot, Some(profile))
        }
        ClientKind::Plain | ClientKind::Pxe | ClientKind::HttpBoot => *urls,
    };
    let fetches = match fetches_scripts(snapshot, profile, asker, loader_sent) {
        Ok(fetches) => fetches,
        Err(reason) => return refused(reason),
    };
    if client.kind == ClientKind::Ipxe
        && takes_script(profile, loader_sent)
        && fetches
        && let Some(mac) = client.mac
    {
        // It is a loader itself: it needs none of ours.
        return match snapshot.fits(profile, client) {
            Err(reason) => refused(reason),
            Ok(_) => BootAnswer {
                file: script_of(snapshot, plan, profile, urls, mac),
                ..nothing(NextStep::Script {
                    profile: profile.name.name.clone(),
                })
            },
        };
    }
    if let Some((purpose, file)) = profile.direct(client) {
        return match snapshot.fits(profile, client) {
            Err(reason) => refused(reason),
            Ok(_) => {
                let file = match (client.kind, client.mac) {
                    (ClientKind::HttpBoot, Some(mac)) => urls.file(mac, purpose, file),
                    _ => file.trim_start_matches('/').to_owned(),
                };
                let profile = profile.name.name.clone();
                BootAnswer {
                    file: file.clone(),
                    ..nothing(NextStep::Source { profile, file })
                }
            }
        };
    }
    let loader = match snapshot.loader(profile, client) {
        Ok(loader) => loader,
        Err(reason) => return refused(reason),
    };
    // HTTP boot wants a URL, all others a name.
    let file = match (client.kind, client.mac) {
        (ClientKind::HttpBoot, Some(mac)) => urls.file(mac, Purpose::Loader, &loader.file),
        _ => loader.file,
    };
    BootAnswer {
        file: file.clone(),
        ..nothing(NextStep::Loader {
            profile: profile.name.name.clone(),
            file,
        })
    }
}

/// The script of a machine: of what was chosen from its firmware's menu, else
/// its own.
fn script_of(
    snapshot: &Snapshot,
    plan: &Plan<'_>,
    profile: &ProfileEntry,
    urls: &Urls,
    mac: MacAddress,
) -> String {
    let choice = plan
        .item
        .and_then(|item| menu::choice(snapshot, profile, item));
    choice.map_or_else(
        || urls.script(mac),
        |choice| format!("{}/{SCRIPT_NAME}", urls.chosen(mac, &choice)),
    )
}

/// Whether an iPXE can fetch what `profile` says. One in a ROM may have been
/// built without HTTP, and says what it has (option 175); where it says nothing
/// it is believed to. By HTTPS it must trust our authority, too, which it can be
/// told only as it is loaded. One that cannot gets our loader.
fn fetches_scripts(
    snapshot: &Snapshot,
    profile: &ProfileEntry,
    asker: &Asker,
    loader_sent: bool,
) -> Result<bool, NoLoader> {
    if asker.client.kind != ClientKind::Ipxe {
        return Ok(true);
    }
    if !profile.https {
        return Ok(loader_sent || !asker.lacks_http);
    }
    let own = snapshot.https.is_some_and(|https| https.trust.is_some());
    match (asker.speaks_https, loader_sent) {
        (true, true) => Ok(true),
        (true, false) => Ok(!own),
        (false, true) => Err(NoLoader::LoaderWithoutHttps),
        (false, false) => Ok(false),
    }
}

/// Tells an iPXE that is loaded by this answer to trust our own authority: its
/// firmware's packet is handed on to it.
pub(super) fn trust_options(
    options: &mut BTreeMap<u8, Vec<u8>>,
    snapshot: &Snapshot,
    plan: &Plan<'_>,
    answer: &BootAnswer,
) {
    let wants = plan.profile.is_some_and(|profile| profile.https);
    let trust = snapshot.https.and_then(|https| https.trust);
    if let Some(trust) = trust.filter(|_| wants && !answer.file.is_empty()) {
        let ipxe = options.entry(option::IPXE).or_default();
        ipxe.extend([option::IPXE_TRUST, 32]);
        ipxe.extend(trust);
    }
}

/// How a client that no profile is for gets to where it can be asked who it
/// is: iPXE to its script, firmware to our loader.
fn ask_answer(snapshot: &Snapshot, asker: &Asker, urls: &Urls) -> BootAnswer {
    let client = &asker.client;
    let loader = client
        .architecture()
        .map(|architecture| snapshot.loaders.get(&architecture));
    let profile = || "none".to_owned();
    let (file, next, refused) = match (client.kind, client.mac, loader) {
        (ClientKind::Ipxe, Some(mac), _) => {
            let next = NextStep::Script { profile: profile() };
            (urls.script(mac), next, None)
        }
        (_, mac, Some(Some(loader))) => {
            let file = match (client.kind, mac) {
                (ClientKind::HttpBoot, Some(mac)) => urls.file(mac, Purpose::Loader, loader),
                (
                    ClientKind::HttpBoot | ClientKind::Pxe | ClientKind::Ipxe | ClientKind::Plain,
                    _,
                ) => loader.clone(),
            };
            let profile = profile();
            (file.clone(), NextStep::Loader { profile, file }, None)
        }
        (_, _, Some(None)) => (
            String::new(),
            NextStep::Nothing,
            Some(NoLoader::LoaderMissing),
        ),
        (_, _, None) => {
            let refused = Some(NoLoader::ArchitectureUnknown);
            (String::new(), NextStep::Nothing, refused)
        }
    };
    BootAnswer {
        file,
        next,
        vendor: None,
        refused,
    }
}

/// How a client is sent to its disk. iPXE is told by a script, and a BIOS ROM
/// goes on at once when no file is named. UEFI does not: EDK2 ignores an offer
/// without a file and waits a minute for another, at each of its boot entries.
/// It is sent our loader, whose script exits; an old one that cannot do that
/// ([`Snapshot::autoexec`]) is spared, and the firmware is told itself: PXE by
/// a menu of one item, HTTP boot by a URL that is not there.
fn local_answer(snapshot: &Snapshot, plan: &Plan<'_>, asker: &Asker, urls: &Urls) -> BootAnswer {
    let client = &asker.client;
    let answer = |file: String, next, vendor| BootAnswer {
        file,
        next,
        vendor,
        refused: None,
    };
    let scripted = match plan.local_boot() {
        LocalBoot::NotFound => NextStep::Local,
        LocalBoot::Exit | LocalBoot::SanBoot => NextStep::LocalScript,
    };
    let uefi = client.architecture().filter(|arch| arch.is_uefi());
    let exits = uefi.filter(|arch| snapshot.autoexec.contains(arch));
    let loader = exits.and_then(|arch| snapshot.loaders.get(&arch));
    match (client.kind, client.mac, loader) {
        (ClientKind::Ipxe, Some(mac), _) => answer(urls.script(mac), scripted, None),
        (ClientKind::Pxe, _, Some(loader)) => answer(loader.clone(), scripted, None),
        (ClientKind::Pxe, _, None) if uefi.is_some() => {
            answer(String::new(), NextStep::Local, Some(Vendor::Disk))
        }
        (ClientKind::HttpBoot, Some(mac), Some(loader)) => {
            answer(urls.file(mac, Purpose::Loader, loader), scripted, None)
        }
        (ClientKind::HttpBoot, Some(mac), None) => answer(urls.disk(mac), NextStep::Local, None),
        (ClientKind::Plain | ClientKind::Pxe | ClientKind::HttpBoot | ClientKind::Ipxe, _, _) => {
            answer(String::new(), NextStep::Local, None)
        }
    }
}

/// Whether an iPXE gets the script: a ROM's iPXE that is to be replaced gets
/// our loader first.
fn takes_script(profile: &ProfileEntry, loader_sent: bool) -> bool {
    let loader = &profile.spec.loader;
    loader.kind != LoaderKind::File && (loader.rom_ipxe == RomIpxe::Use || loader_sent)
}

/// The options that carry a boot answer: server and file by name (66, 67, as
/// some ROMs read only those), the mark that UEFI HTTP boot insists on (60,
/// UEFI 24.7.3), the machine's own identifier echoed (97, PXE 2.1 section
/// 2.2.3), and iPXE's leave not to wait two seconds for a ProxyDHCP server.
///
/// A PXE client gets no option 60: with it and without 43, EDK2 takes the
/// offer for a BINL one and asks port 4011.
pub(super) fn boot_options(
    options: &mut BTreeMap<u8, Vec<u8>>,
    request: &Request,
    answer: &BootAnswer,
    next_server: Ipv4Addr,
) {
    match request.client.kind {
        ClientKind::Plain => return,
        ClientKind::Ipxe => {
            options.insert(option::IPXE, vec![option::IPXE_NO_PXEDHCP, 1, 1]);
        }
        ClientKind::Pxe => {}
        ClientKind::HttpBoot if answer.file.is_empty() => {}
        ClientKind::HttpBoot => {
            options.insert(option::VENDOR_CLASS, b"HTTPClient".to_vec());
        }
    }
    if let Some(vendor) = answer.vendor {
        options.insert(option::VENDOR_CLASS, b"PXEClient".to_vec());
        options.insert(option::VENDOR_OPTIONS, vendor.encode(next_server));
    }
    if let Some(id) = request.option(option::MACHINE_ID) {
        options.insert(option::MACHINE_ID, id.to_vec());
    }
    if answer.names_server() {
        options.insert(option::TFTP_SERVER, next_server.to_string().into_bytes());
    }
    if !answer.file.is_empty() {
        options.insert(option::BOOT_FILE, answer.file.clone().into_bytes());
    }
}

/// The network settings of `subnet`. Mask and routers always; the rest where
/// the client asks for it (option 55) or asks for nothing in particular.
pub(super) fn network_options(
    options: &mut BTreeMap<u8, Vec<u8>>,
    request: &Request,
    subnet: &SubnetEntry,
    hostname: Option<&str>,
) {
    let spec = &subnet.spec;
    let net = spec.cidr.map(Cidr::net);
    if let Some(net) = net {
        options.insert(option::SUBNET_MASK, net.netmask().octets().to_vec());
    }
    insert_addresses(options, option::ROUTERS, &spec.routers);
    let wanted = |code| wants(request, code);
    routes(options, request, spec);
    static_routes(options, request, spec);
    if let Some(net) = net
        && wanted(option::BROADCAST)
    {
        options.insert(option::BROADCAST, net.broadcast().octets().to_vec());
    }
    if wanted(option::DNS_SERVERS) {
        insert_addresses(options, option::DNS_SERVERS, &spec.dns.servers);
    }
    if wanted(option::NTP_SERVERS) {
        insert_addresses(options, option::NTP_SERVERS, &spec.ntp);
    }
    if let Some(domain) = spec.dns.search.first()
        && wanted(option::DOMAIN_NAME)
    {
        options.insert(option::DOMAIN_NAME, domain.clone().into_bytes());
    }
    if !spec.dns.search.is_empty() && wanted(option::DOMAIN_SEARCH) {
        options.insert(option::DOMAIN_SEARCH, encode_names(&spec.dns.search));
    }
    if let Some(mtu) = spec.mtu
        && wanted(option::MTU)
    {
        options.insert(option::MTU, mtu.to_be_bytes().to_vec());
    }
    if let Some(hostname) = hostname
        && wanted(option::HOST_NAME)
    {
        options.insert(option::HOST_NAME, hostname.as_bytes().to_vec());
    }
}

/// The times of a lease (51, 58, 59).
pub(super) fn lease_options(options: &mut BTreeMap<u8, Vec<u8>>, subnet: &SubnetEntry) {
    let times = &subnet.spec.lifetimes;
    for (code, secs) in [
        (option::LEASE_TIME, times.valid.secs()),
        (option::RENEWAL_TIME, times.renew_secs()),
        (option::REBINDING_TIME, times.rebind_secs()),
    ] {
        options.insert(code, secs.to_be_bytes().to_vec());
    }
}

/// What every reply carries: our identity, and the client's own marks echoed
/// (61 by RFC 6842, 82 by RFC 3046, 118 by RFC 3011 where a relay's client
/// sent it).
pub(super) fn identity_options(
    options: &mut BTreeMap<u8, Vec<u8>>,
    request: &Request,
    server: Ipv4Addr,
) {
    options.insert(option::SERVER_ID, server.octets().to_vec());
    let relayed = !request.giaddr.is_unspecified();
    let selection = relayed.then_some(option::SUBNET_SELECTION);
    let echoed = [option::CLIENT_ID, option::RELAY_INFO].into_iter();
    for code in echoed.chain(selection) {
        if let Some(data) = request.option(code) {
            options.insert(code, data.to_vec());
        }
    }
}

fn insert_addresses(options: &mut BTreeMap<u8, Vec<u8>>, code: u8, addresses: &[Ipv4Addr]) {
    if !addresses.is_empty() {
        let bytes = addresses.iter().flat_map(Ipv4Addr::octets).collect();
        options.insert(code, bytes);
    }
}

/// Domain names in DNS's encoding, without compression (RFC 3397 allows it,
/// some clients do not read it).
pub(super) fn encode_names(names: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in names {
        for label in name.trim_matches('.').split('.') {
            let label = label.as_bytes();
            let length = u8::try_from(label.len()).unwrap_or(63).min(63);
            bytes.push(length);
            bytes.extend(label.iter().take(usize::from(length)));
        }
        bytes.push(0);
    }
    bytes
}
