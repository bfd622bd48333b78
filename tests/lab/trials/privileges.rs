//! Little privilege, and too little.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::site::{
    BOOT, INITRD, KERNEL, Site, is_whole, not_ready, profile, said, script_says, until,
};
use crate::ns;
use crate::support::card::Card;
use crate::support::dhcp::Machine;
use crate::support::server::{Server, get};

/// `nobody`, as Debian numbers it.
const NOBODY: u32 = 65534;

/// CAP_NET_BIND_SERVICE and CAP_NET_RAW.
const KEPT: u64 = 1 << 10 | 1 << 13;

/// Started by root, it becomes another user, and serves all the same.
pub(super) fn becomes_nobody(site: &mut Site) -> Result<Vec<String>> {
    let tree = site.folder.join("artifacts");
    fs::set_permissions(&tree, Permissions::from_mode(0o777))?;
    let server = site.launch()?.with(&["--user", "nobody"]).start()?;
    site.logged("anyone on this host may write")?;
    is_small(&server)?;
    let mut card = Card::plug("own", ns::BRIDGE)?;
    let machine = Machine::number(1);
    let offer = machine.discover(&mut card)?;
    ensure!(
        offer.frame.to == machine.mac,
        "the offer went to {}",
        offer.frame.to
    );
    let lease = machine.lease(&mut card)?;
    machine.renew(&mut card, lease)?.acks(lease.address)?;
    loads(site)?;

    site.write("profile.yaml", &profile("reloaded"))?;
    script_says("02-00-00-00-00-01", "reloaded")?;
    // The file is root's alone.
    site.write("secret.yaml", &profile("hidden"))?;
    let secret = site.manifests.join("secret.yaml");
    fs::set_permissions(&secret, Permissions::from_mode(0o600))?;
    site.write("profile.yaml", &profile("later"))?;
    site.logged("cannot read")?;
    ensure!(
        site.log()?.contains("secret.yaml"),
        "the log does not name the file"
    );
    script_says("02-00-00-00-00-01", "later")?;
    server.stop()?;

    // Root starts it the next time, as somebody will.
    let server = site.serve()?;
    machine.renew(&mut card, lease)?.acks(lease.address)?;
    server.stop()?;
    let unknown = site.refused(site.launch()?.with(&["--user", "nosuchuser"]))?;
    ensure!(
        unknown.contains("there is no such user"),
        "an unknown user: {unknown}"
    );
    Ok(vec![
        "nobody, two capabilities, no new privileges; then root again".to_owned(),
    ])
}

/// Checks user, capabilities and the rest by what the kernel says of the process.
fn is_small(server: &Server) -> Result<()> {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
    let field = |name: &str| -> Result<Vec<&str>> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        Ok(line
            .with_context(|| format!("no {name}"))?
            .split_whitespace()
            .collect())
    };
    let nobody = NOBODY.to_string();
    ensure!(
        field("Uid:")?.iter().all(|uid| *uid == nobody),
        "user {:?}",
        field("Uid:")?
    );
    for name in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
        let bits = u64::from_str_radix(field(name)?[0], 16)?;
        let expected = if name == "CapEff:" || name == "CapPrm:" {
            KEPT
        } else {
            0
        };
        ensure!(bits == expected, "{name} {bits:x}, expected {expected:x}");
    }
    ensure!(
        field("NoNewPrivs:")? == ["1"],
        "new privileges are possible"
    );
    Ok(())
}

/// Other people's programs load from us.
fn loads(site: &Site) -> Result<()> {
    let file = site.folder.join("loaded");
    let place = file.to_str().context("the folder is not UTF-8")?;
    let load = |program: &str, words: &[&str]| -> Result<Vec<u8>> {
        let output = Command::new(program).args(words).output()?;
        ensure!(output.status.success(), "{program}: {}", said(&output));
        Ok(fs::read(&file)?)
    };
    let kernel = format!("http://{}/{KERNEL}", BOOT.ip());
    is_whole(KERNEL, &load("curl", &["-sSf", "-o", place, &kernel])?)?;
    let initrd = format!("tftp://{}/{INITRD}", BOOT.ip());
    is_whole(INITRD, &load("curl", &["-sSf", "-o", place, &initrd])?)?;
    let server = BOOT.ip().to_string();
    let words = [
        "--option",
        "blksize 1400",
        "-g",
        "-r",
        INITRD,
        "-l",
        place,
        &server,
    ];
    is_whole(INITRD, &load("atftp", &words)?)
}

/// Without root: each thing that is missing is named, with its cure.
pub(super) fn says_what_is_missing(site: &mut Site) -> Result<Vec<String>> {
    // A path that every user may walk.
    let program = "/run/reveille";
    fs::write(program, "")?;
    ns::run(&format!(
        "mount --bind {} {program}",
        Server::program().display()
    ))?;
    let user = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let launch = || Ok::<_, anyhow::Error>(site.launch()?.under(&user, program));
    let mut lines = Vec::new();
    let mut refused = |said: String, words: &[&str]| {
        let last = said.lines().last().unwrap_or_default().to_owned();
        for word in words {
            ensure!(last.contains(word), "the last line lacks `{word}`: {said}");
        }
        lines.push(last);
        Ok(())
    };
    refused(
        site.refused(launch()?)?,
        &["HTTP", "0.0.0.0:80", "run as root"],
    )?;
    let ports = ["--http", "0.0.0.0:8080", "--tftp", "0.0.0.0:6969"];
    let high = || anyhow::Ok(launch()?.with(&ports));
    refused(
        site.refused(high()?)?,
        &["leases", "/run/site/state", "denied"],
    )?;
    chown(site.state(), Some(NOBODY), Some(NOBODY))?;
    let user = high()?.with(&["--user", "nobody"]);
    refused(site.refused(user)?, &["--user", "only root"])?;

    let server = high()?.spawn()?;
    let why = until("a /readyz that says why", || {
        let says_cure = |why: &String| why.contains("CAP_NET_BIND_SERVICE");
        Ok(not_ready().ok().filter(says_cure))
    })?;
    ensure!(why.contains("default/lab"), "/readyz: {why}");
    ensure!(why.contains(":67"), "/readyz: {why}");
    ensure!(get("/healthz").is_ok(), "not alive without DHCP");
    server.stop()?;
    lines.push(why);
    Ok(lines)
}
