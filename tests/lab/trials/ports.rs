//! Other programs hold the ports that we need.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use anyhow::{Result, ensure};

use super::site::{INITRD, Site, is_whole, not_ready, script, until};
use super::slow::Slow;
use crate::ns;
use crate::support::card::Card;
use crate::support::dhcp::Machine;

/// Takes a port and keeps it as long as the value lives.
type Hold = fn() -> io::Result<OwnedFd>;

/// Ports without which it does not start.
const HELD: [(&str, Hold); 3] = [
    ("TFTP", || Ok(UdpSocket::bind("0.0.0.0:69")?.into())),
    ("HTTP", || Ok(TcpListener::bind("0.0.0.0:80")?.into())),
    ("the admin port", || {
        Ok(TcpListener::bind("127.0.0.1:9167")?.into())
    }),
];

/// The program that is in the way is named. Port 67 is waited for, while all else is served.
pub(super) fn taken(site: &mut Site) -> Result<Vec<String>> {
    // It is this program that is in the way.
    let holder = format!("(pid {})", std::process::id());
    let mut lines = Vec::new();
    for (what, hold) in HELD {
        let held = hold()?;
        let said = site.refused(site.launch()?)?;
        drop(held);
        let last = said.lines().last().unwrap_or_default().to_owned();
        ensure!(
            last.starts_with("reveille: ") && last.contains(what) && last.contains(&holder),
            "the last line is not about {what} and {holder}: {said}"
        );
        lines.push(last);
    }

    let held = UdpSocket::bind("0.0.0.0:67")?;
    let server = site.launch()?.spawn()?;
    let why = until("a /readyz that names the holder", || {
        Ok(not_ready().ok().filter(|why| why.contains("holds port 67")))
    })?;
    ensure!(why.contains("default/lab"), "/readyz: {why}");
    site.logged("another program serves DHCP here  port=67  program=lab")?;
    ensure!(script("02-00-00-00-00-01")?.contains("linux"), "no script");
    is_whole(INITRD, &Slow::tftp(INITRD)?.finish()?)?;
    drop(held);
    let mut card = Card::plug("own", ns::BRIDGE)?;
    Machine::number(1).lease(&mut card)?;
    server.stop()?;
    lines.push(why);
    Ok(lines)
}
