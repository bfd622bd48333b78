//! A proxy beside somebody else's DHCP server, which knows nothing of it: who gets which answer at which
//! port, what remains when that server dies, and the way back.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use dhcproto::Decodable as _;
use dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode, UnknownOption};
use reveille::boot::MacAddress;

use super::site::{SERVER, SUBNET, Site, metric, said, until};
use crate::ns;
use crate::support::card::{Card, Frame};
use crate::support::client::Client;
use crate::support::dhcp::{Machine, Reply};
use crate::support::foreign::{Foreign, Kind, ROUTER};
use crate::support::setup;

/// The machine that boots, and the address that it says it has.
const BOOTS: Machine = Machine::number(7);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 90);

/// The plain client's host.
const HOST: &str = "pc";
const MAC: &str = "02:00:00:00:10:01";

const OFFERS: &str = r#"reveille_dhcp_requests_total{outcome="offer",type="discover"}"#;
const PLAIN: &str = r#"reveille_dhcp_requests_total{outcome="not-a-boot-client",type="discover"}"#;

/// The Subnet of [`SUBNET`], as a proxy.
fn proxy() -> String {
    let lines = SUBNET.lines().filter(|line| !line.contains("pools:"));
    let lines: Vec<&str> = lines.collect();
    lines.join("\n").replace("mode: Server", "mode: Proxy") + "\n"
}

pub(super) fn dnsmasq(site: &mut Site) -> Result<Vec<String>> {
    site.write("subnet.yaml", &proxy())?;
    let mut foreign = Foreign::plug(Kind::Dnsmasq, &site.folder)?;
    foreign.start()?;
    let server = site.serve()?;
    let mut card = Card::plug("own", ns::BRIDGE)?;

    let lent = plain_client(site)?;
    let ours = both_offer(&mut card)?;
    at_boot_port(&mut card, ours)?;

    foreign.kill();
    let offers = offers(&mut card)?;
    ensure!(
        offers
            .iter()
            .all(|offer| offer.server().is_ok_and(|at| at == SERVER)),
        "an offer of a dead server"
    );
    ensure!(
        !offers.is_empty(),
        "no offer of ours without the other server"
    );

    // The same program lends addresses as soon as it is told so, and the port of boot servers is closed.
    site.write("subnet.yaml", SUBNET)?;
    server.logged("DHCP serves")?;
    let lease = until("a lease of our own", || {
        Ok(Machine::number(8)
            .discover(&mut card)
            .ok()
            .filter(|offer| offer.address != Ipv4Addr::UNSPECIFIED))
    })?;
    ensure!(lease.server()? == SERVER, "not our lease");
    let malformed = malformed(site)?;
    Ok(vec![
        format!(
            "{lent} is of the other server; offers and 4011 are ours; it was killed, and ours went on"
        ),
        malformed,
    ])
}

/// dnsmasq and Kea take what `reveille explain --foreign` prints, and tell machines themselves then what to boot.
pub(super) fn foreign(site: &mut Site) -> Result<Vec<String>> {
    site.write(
        "subnet.yaml",
        &SUBNET.replace("mode: Server", "mode: Disabled"),
    )?;
    let _server = site.serve()?;
    let mut card = Card::plug("own", ns::BRIDGE)?;
    let mut lines = Vec::new();
    for kind in [Kind::Dnsmasq, Kind::Kea] {
        let name = if kind == Kind::Kea { "kea" } else { "dnsmasq" };
        let output = site.reveille(&["explain", "--foreign", name, "--server", "192.0.2.1"])?;
        ensure!(output.status.success(), "{}", said(&output));
        let mut foreign = match kind {
            Kind::Dnsmasq => Foreign::plug(kind, &site.folder)?,
            Kind::Kea => Foreign::beside_the_last(kind, &site.folder),
        };
        foreign.start_with(&String::from_utf8(output.stdout)?)?;
        let file = until("an offer with a loader", || {
            let offer = BOOTS.boots(&mut card)?;
            let file = offer.message.fname().unwrap_or_default().to_vec();
            ensure!(
                offer.server()?.to_string() == ROUTER,
                "an offer of {}",
                offer.server()?
            );
            ensure!(
                offer.message.siaddr() == SERVER,
                "siaddr {}",
                offer.message.siaddr()
            );
            Ok(file.starts_with(b"ipxe").then_some(file))
        })?;
        lines.push(format!("{name} names {}", String::from_utf8_lossy(&file)));
    }
    Ok(lines)
}

/// `mode: Auto`, both ways.
pub(super) fn auto_dnsmasq(site: &mut Site) -> Result<Vec<String>> {
    auto(site, Kind::Dnsmasq)
}

pub(super) fn auto_kea(site: &mut Site) -> Result<Vec<String>> {
    auto(site, Kind::Kea)
}

fn auto(site: &mut Site, kind: Kind) -> Result<Vec<String>> {
    let subnet = |foreign: &str| {
        SUBNET.replace("mode: Server", "mode: Auto")
            + &format!("  auto: {{foreignDhcp: {foreign}, servesAfter: 10s}}\n")
    };
    site.write("subnet.yaml", &subnet("Proxy"))?;
    let mut foreign = Foreign::plug(kind, &site.folder)?;
    let server = site.serve()?;
    let mut card = Card::plug("own", ns::BRIDGE)?;
    let is = |role: &str| {
        let name = format!(r#"reveille_dhcp_role{{role="{role}",subnet="default/lab"}}"#);
        until(&name, || Ok((metric(&name)? == 1).then_some(())))
    };
    is("looking")?;
    let silences = r#"reveille_dhcp_requests_total{outcome="looking-for-servers",type="discover"}"#;
    until(silences, || {
        card.send(&BOOTS.wakes())?;
        Ok((metric(silences)? > 0).then_some(()))
    })?;
    is("server")?;
    ensure!(
        server.times_logged("no other DHCP server answers")? == 1,
        "not said"
    );
    let lease = Machine::number(8).lease(&mut card)?;

    // A server comes: a machine that chooses it, or our own question, finds it.
    foreign.start()?;
    is("proxy")?;
    let offer = Machine::number(9).discover(&mut card)?;
    ensure!(
        offer.server()?.to_string() == ROUTER,
        "an offer of {}",
        offer.server()?
    );
    let ours = offers(&mut card)?;
    ensure!(
        ours.iter()
            .all(|offer| offer.server().is_ok_and(|at| at != SERVER)
                || offer.address.is_unspecified()),
        "we lend beside another server"
    );

    foreign.kill();
    is("server")?;
    let again = Machine::number(8).lease(&mut card)?;
    ensure!(
        again == lease,
        "another lease after the other server had gone"
    );

    site.write("subnet.yaml", &subnet("Refuse"))?;
    foreign.start()?;
    is("refused")?;
    server.logged("we answer nobody, as the Subnet says")?;
    Ok(vec![format!(
        "served, stood beside {}, served again, refused",
        kind.program()
    )])
}

/// A client that does not boot has its address of the other server, and no word of ours.
fn plain_client(site: &Site) -> Result<String> {
    ns::host(HOST, MAC)?;
    let client = Client::udhcpc(&site.folder, HOST)?;
    let address = client.event("bound")?;
    let last: u8 = address.rsplit('.').next().context("an address")?.parse()?;
    ensure!((50..80).contains(&last), "{address} is none of {ROUTER}'s");
    ensure!(metric(PLAIN)? > 0, "the plain client was not heard");
    ensure!(
        metric(OFFERS)? == 0,
        "the plain client was offered something"
    );
    client.power_off()?;
    until("the other server in the log", || {
        Ok((site.times_logged("a DHCP server lends the addresses here")? > 0).then_some(()))
    })?;
    let foreign = metric(r#"reveille_foreign_dhcp_servers{subnet="default/lab"}"#)?;
    ensure!(
        foreign == 0,
        "a proxy takes the other server for a stranger"
    );
    Ok(address)
}

/// The offers that a UEFI machine collects.
fn offers(card: &mut Card) -> Result<Vec<Reply>> {
    let mut offers: Vec<Reply> = Vec::new();
    until("an offer of ours", || {
        card.send(&BOOTS.wakes())?;
        while let Some(frame) = card.receive()? {
            let mine = Reply::read(frame).filter(|reply| reply.mac() == BOOTS.mac);
            offers.extend(mine);
        }
        let ours = |offer: &Reply| offer.server().is_ok_and(|at| at == SERVER);
        Ok(offers.iter().any(ours).then_some(()))
    })?;
    Ok(offers)
}

/// Both servers offer, each what it has; says from which card ours came.
fn both_offer(card: &mut Card) -> Result<MacAddress> {
    let mut all = Vec::new();
    let other: Ipv4Addr = ROUTER.parse()?;
    until("an offer of each", || {
        all.extend(offers(card)?);
        let of = |server| {
            all.iter()
                .any(|offer: &Reply| offer.server().is_ok_and(|at| at == server))
        };
        Ok((of(SERVER) && of(other)).then_some(()))
    })?;
    let ours = all
        .iter()
        .find(|offer| offer.server().is_ok_and(|at| at == SERVER));
    let ours = ours.context("our offer")?;
    ensure!(
        ours.address.is_unspecified(),
        "a proxy offered {}",
        ours.address
    );
    ensure!(
        ours.message.siaddr() == SERVER,
        "siaddr {}",
        ours.message.siaddr()
    );
    let class = ours.message.opts().get(OptionCode::ClassIdentifier);
    ensure!(
        class == Some(&DhcpOption::ClassIdentifier(b"PXEClient".to_vec())),
        "{class:?}"
    );
    let vendor = ours.message.opts().get(OptionCode::VendorExtensions);
    ensure!(vendor.is_none(), "UEFI was sent option 43");
    Ok(ours.frame.from)
}

/// The answer at UDP 4011 goes to the address and the port that asked.
fn at_boot_port(card: &mut Card, server: MacAddress) -> Result<()> {
    card.addresses.insert(ADDRESS, BOOTS.mac);
    for port in [4011, 50_000] {
        let mut request = BOOTS.message(MessageType::Request);
        request.set_ciaddr(ADDRESS);
        let options = request.opts_mut();
        options.insert(DhcpOption::ClassIdentifier(
            b"PXEClient:Arch:00007:UNDI:003016".to_vec(),
        ));
        let arch = UnknownOption::new(OptionCode::from(93), vec![0, 7]);
        options.insert(DhcpOption::Unknown(arch));
        let frame = Frame {
            to: server,
            source: SocketAddrV4::new(ADDRESS, port),
            target: SocketAddrV4::new(SERVER, 4011),
            ..BOOTS.broadcasts(&request)
        };
        let answer = until("an answer at 4011", || {
            card.send(&frame)?;
            while let Some(frame) = card.receive()? {
                if frame.source == SocketAddrV4::new(SERVER, 4011) {
                    return Ok(Some(frame));
                }
            }
            Ok(None)
        })?;
        let to = SocketAddrV4::new(ADDRESS, port);
        ensure!(answer.target == to, "the answer went to {}", answer.target);
        let message = Message::from_bytes(&answer.payload)?;
        ensure!(
            message.opts().msg_type() == Some(MessageType::Ack),
            "no ACK"
        );
        let file = message.fname().unwrap_or_default();
        ensure!(file.starts_with(b"ipxe"), "no loader: {file:?}");
    }
    Ok(())
}

/// What tshark finds malformed in all that crossed the bridge.
fn malformed(site: &Site) -> Result<String> {
    if !setup::is_here("tshark") {
        return Ok("tshark is not here: nothing was looked at for malformed packets".to_owned());
    }
    let output = Command::new("tshark")
        .arg("-r")
        .arg(site.folder.join("capture.pcap"))
        .args(["-d", "udp.port==4011,dhcp", "-Y", "_ws.malformed"])
        .output()
        .context("tshark")?;
    let found = String::from_utf8_lossy(&output.stdout);
    ensure!(found.trim().is_empty(), "tshark: malformed: {found}");
    Ok("tshark finds nothing malformed".to_owned())
}
