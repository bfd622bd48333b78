//! Interfaces that come, go and change; and those that are none of our business.

use anyhow::{Result, ensure};
use dhcproto::v4::MessageType;

use super::site::{INITRD, Site, is_whole, metric, not_ready, script, until};
use super::slow::Slow;
use crate::ns;
use crate::support::card::Card;
use crate::support::dhcp::{Machine, overheard};
use crate::support::server::get;

/// A Subnet on an interface that is not there yet.
const LATE: &str = "\
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: late}
spec:
  mode: Server
  cidr: 198.51.100.0/24
  interface: late0
  pools: [{start: 198.51.100.20, end: 198.51.100.200}]
";

/// Restarts of the listener that waits.
const RESTARTS: &str = r#"reveille_service_restarts_total{service="dhcp@default/late"}"#;

/// What is said while it waits.
const WAITS: &str = "there is no interface late0";

/// An interface is absent, comes, goes, and changes; all else is served throughout.
pub(super) fn comes_later(site: &mut Site) -> Result<Vec<String>> {
    site.write("late.yaml", LATE)?;
    let mut server = site.launch()?.spawn()?;
    site.logged("DHCP serves  subnet=default/lab")?;
    let why = until("a /readyz that names the interface", || {
        server.alive()?;
        Ok(not_ready().ok().filter(|why| why.contains(WAITS)))
    })?;
    ensure!(why.contains("default/late"), "/readyz: {why}");
    let mut card = Card::plug("own", ns::BRIDGE)?;
    let lease = Machine::number(1).lease(&mut card)?;
    ensure!(script("02-00-00-00-00-01")?.contains("linux"), "no script");
    is_whole(INITRD, &Slow::tftp(INITRD)?.finish()?)?;

    // Other interfaces come meanwhile, as containers make them: that is no news.
    for name in ["veth1", "veth2"] {
        ns::bridge(name, "203.0.113.1")?;
        let before = metric(RESTARTS)?;
        until("another try", || {
            Ok((metric(RESTARTS)? > before).then_some(()))
        })?;
        ensure!(get("/readyz").is_err(), "/readyz says ok between two tries");
    }
    let told = site.times_logged(WAITS)?;
    ensure!(told == 1, "`{WAITS}` was logged {told} times");

    let mut lines = vec![format!("absent: told once; {why}")];
    for (how, words) in [
        ("came", "ip link add late0 type veth peer name late0-far"),
        (
            "was made anew",
            "ip link add late0 type veth peer name late0-far",
        ),
    ] {
        ns::run(words)?;
        let took = appears(site)?;
        lines.push(format!("served {took:.1} s after it {how}"));
        ns::run("ip link del late0")?;
        until("a /readyz that says no", || Ok(not_ready().ok()))?;
    }
    ns::run("ip link add late0 type veth peer name late0-far")?;
    appears(site)?;
    moves()?;
    Machine::number(1)
        .renew(&mut card, lease)?
        .acks(lease.address)?;
    let restarts = metric(r#"reveille_service_restarts_total{service="dhcp@default/lab"}"#)?;
    ensure!(
        restarts == 0,
        "the other interface's listener was restarted"
    );
    Ok(lines)
}

/// Gives the interface its address and waits until it is served; says after how many seconds.
#[expect(clippy::disallowed_methods, reason = "measures real time")]
fn appears(_site: &Site) -> Result<f64> {
    let begun = std::time::Instant::now();
    ns::run("ip link set late0-far up")?;
    ns::run("ip link set late0 up")?;
    ns::run("ip address add 198.51.100.1/24 dev late0")?;
    until("a good /readyz", || get("/readyz").map(Some))?;
    let took = begun.elapsed().as_secs_f64();
    let mut far = Card::listen("late0-far")?;
    Machine::number(2).lease(&mut far)?;
    Ok(took)
}

/// Changes our address on the interface: offers come from the new one.
fn moves() -> Result<()> {
    ns::run("ip address del 198.51.100.1/24 dev late0")?;
    ns::run("ip address add 198.51.100.2/24 dev late0")?;
    let mut far = Card::listen("late0-far")?;
    until("an offer from the new address", || {
        let offer = Machine::number(3).discover(&mut far)?;
        Ok((offer.server()?.to_string() == "198.51.100.2").then_some(()))
    })?;
    Machine::number(3).lease(&mut far)?;
    Ok(())
}

/// What is asked in a VLAN that is not ours is not answered, there or here.
pub(super) fn tagged(site: &mut Site) -> Result<Vec<String>> {
    let _server = site.serve()?;
    let mut card = Card::plug("own", ns::BRIDGE)?;
    let stranger = Machine::number(9);
    for broadcast in [true, false] {
        let stranger = Machine {
            broadcast,
            ..stranger
        };
        let discover = stranger.broadcasts(&stranger.message(MessageType::Discover));
        card.send_tagged(&discover, 33)?;
        // It comes later and is answered: so would the first have been by now.
        Machine::number(1).lease(&mut card)?;
    }
    let replies = overheard(&mut card)?;
    let about = replies.iter().find(|reply| reply.mac() == stranger.mac);
    ensure!(about.is_none(), "an answer to a tagged frame: {about:?}");
    // The same without a tag.
    stranger.lease(&mut card)?;
    Ok(vec!["silent to frames of another VLAN".to_owned()])
}

/// What is asked on an interface without a Subnet is not answered.
pub(super) fn one_only(site: &mut Site) -> Result<Vec<String>> {
    ns::bridge("br1", "198.51.100.1")?;
    let _server = site.serve()?;
    let mut other = Card::plug("other", "br1")?;
    let mut own = Card::plug("own", ns::BRIDGE)?;
    let stranger = Machine::number(9);
    for broadcast in [true, false] {
        let stranger = Machine {
            broadcast,
            ..stranger
        };
        let discover = stranger.message(MessageType::Discover);
        other.send(&stranger.broadcasts(&discover))?;
        // It comes later and is answered: so would the first have been by now.
        Machine::number(1).lease(&mut own)?;
    }
    let replies = overheard(&mut other)?;
    ensure!(
        replies.is_empty(),
        "an answer on the other interface: {replies:?}"
    );
    let offers = until("the offers that are counted", || {
        let offers = metric(r#"reveille_dhcp_requests_total{outcome="offer",type="discover"}"#)?;
        Ok((offers >= 2).then_some(offers))
    })?;
    ensure!(
        offers == 2,
        "{offers} offers, 2 were asked for on our interface"
    );
    Ok(vec!["silent on the interface without a Subnet".to_owned()])
}
