//! `reveille probe` as machines on a network of ours, and what was said then: `explain` and `packets`
//! tell what was on the wire, and tshark reads it.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::site::{SERVER, Site, profile, said};
use crate::ns;
use crate::support::process::Process;
use crate::support::server::Server;

/// The machine on which the probe runs, and its address.
const HOST: &str = "pc";
const MAC: &str = "02:00:00:00:10:01";
const ADDRESS: &str = "192.0.2.10/24";

/// The machine that is played.
const PLAYED: &str = "02:00:00:00:20:01";

/// Runs the probe on a host of the room.
pub(super) fn probe(words: &[&str]) -> Result<Output> {
    let program = Server::program();
    let mut command = ns::on(HOST, &program.display().to_string());
    command.args(["probe", "--interface", HOST]).args(words);
    command.output().context("the probe")
}

/// The host of the probe, with an address of the network.
pub(super) fn plug() -> Result<()> {
    ns::host(HOST, MAC)?;
    ns::run(&format!("ip -n {HOST} address add {ADDRESS} dev {HOST}"))
}

/// What each client went through: `client step outcome`.
pub(super) fn steps(report: &Value) -> Vec<String> {
    let all = report["steps"].as_array().into_iter().flatten();
    let word = |step: &Value, name: &str| step[name].as_str().unwrap_or("?").to_owned();
    all.map(|step| {
        let names = ["client", "step", "outcome"].map(|name| word(step, name));
        names.join(" ")
    })
    .filter(|step| !step.contains(" says "))
    .collect()
}

/// The steps of a client that boots all the way.
pub(super) fn whole(client: &str, loader: bool) -> Vec<String> {
    let loader = if loader {
        &["offer", "ack", "loader"][..]
    } else {
        &[]
    };
    let rest = ["offer", "ack", "script", "kernel", "initrd", "boot"];
    let all = loader.iter().chain(&rest);
    all.map(|step| format!("{client} {step} pass")).collect()
}

/// A chain over HTTPS from the firmware's first file on, by who knows the authority; who does not is told.
pub(super) fn over_https(site: &mut Site) -> Result<Vec<String>> {
    let profile = profile("quiet").replace("  default: true\n", "  default: true\n  https: All\n");
    site.write("profile.yaml", &profile)?;
    let _server = site.launch()?.with(&["--https", "0.0.0.0:443"]).start()?;
    plug()?;
    let authority = site.folder.join("authority.pem");
    std::fs::write(&authority, site.reveille(&["ca"])?.stdout)?;
    let clients = ["--as", "http", "--mac", PLAYED, "--wait", "1"];
    let knows = ["--ca", &authority.display().to_string(), "--output", "json"];
    let output = probe(&[&clients[..], &knows].concat())?;
    ensure!(output.status.success(), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let went = steps(&report);
    ensure!(went == whole("http", true), "{went:?}");
    let by_https = String::from_utf8_lossy(&output.stdout)
        .matches("https://192.0.2.1/")
        .count();
    // The loader, the script, the kernel and the initrd.
    ensure!(by_https >= 4, "{by_https} files by HTTPS");
    let output = probe(&clients)?;
    let text = said(&output);
    ensure!(output.status.code() == Some(1), "{text}");
    ensure!(text.contains("--ca"), "{text}");
    Ok(vec![format!(
        "{} steps, {by_https} files by HTTPS",
        went.len()
    )])
}

/// All clients against our server; a stranger beside it; what was said, told three ways.
pub(super) fn plays_machines(site: &mut Site) -> Result<Vec<String>> {
    let _server = site.serve()?;
    plug()?;
    let ours = SERVER.to_string();
    let clients = "bios,uefi,http,ipxe,plain,relayed";
    let words = [
        "--as", clients, "--ours", &ours, "--mac", PLAYED, "--wait", "1",
    ];
    let output = probe(&[&words[..], &["--output", "json"]].concat())?;
    ensure!(output.status.success(), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let mut want = Vec::new();
    for (client, loader) in [
        ("bios", true),
        ("uefi", true),
        ("http", true),
        ("ipxe", false),
    ] {
        want.extend(whole(client, loader));
    }
    for client in ["plain", "relay"] {
        want.extend(["offer", "ack"].map(|step| format!("{client} {step} pass")));
    }
    let went = steps(&report);
    ensure!(went == want, "{went:?}");
    let servers = report["servers"].as_array().context("no servers")?;
    ensure!(
        servers.len() == 1 && servers[0]["foreign"] == false,
        "{servers:?}"
    );
    told(site)?;

    let _stranger = stranger(&site.folder)?;
    let output = probe(&["--as", "plain", "--ours", &ours, "--wait", "2"])?;
    let text = said(&output);
    ensure!(output.status.code() == Some(3), "{text}");
    ensure!(text.contains("OURS  192.0.2.1: gives addresses"), "{text}");
    ensure!(
        text.contains("FOREIGN  192.0.2.9: gives addresses"),
        "{text}"
    );
    Ok(vec![format!(
        "{} steps as six clients; a stranger is named; tshark, explain and packets agree",
        went.len()
    )])
}

/// dnsmasq, which nobody asked for.
fn stranger(folder: &Path) -> Result<Process> {
    ns::host("rogue", "02:00:00:00:30:01")?;
    ns::run("ip -n rogue address add 192.0.2.9/24 dev rogue")?;
    let mut command = ns::on("rogue", "dnsmasq");
    let leases = folder.join("rogue.leases");
    command
        .args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0"])
        .args(["--interface=rogue", "--dhcp-range=192.0.2.230,192.0.2.239"])
        // It would ask for three seconds whether the address is free.
        .args(["--no-ping"])
        .arg(format!("--dhcp-leasefile={}", leases.display()));
    let mut process = Process::spawn("the stranger", command, &folder.join("rogue.log"))?;
    super::site::until("the stranger's lease file", || {
        process.alive()?;
        Ok(leases.exists().then_some(()))
    })?;
    Ok(process)
}

/// `packets` has what was on the wire, tshark finds nothing wrong in it, and `explain` says the same.
fn told(site: &Site) -> Result<()> {
    let file = site.folder.join("packets.pcap");
    let path = file.display().to_string();
    let output = site.reveille(&["packets", PLAYED, "--pcap", &path])?;
    ensure!(output.status.success(), "{}", said(&output));
    let output = Command::new("tshark")
        .args(["-r", &path, "-T", "fields", "-e", "dhcp.option.dhcp"])
        .args([
            "-e",
            "dhcp.ip.your",
            "-e",
            "_ws.malformed",
            "-e",
            "ip.checksum.status",
        ])
        .args([
            "-o",
            "ip.check_checksum:TRUE",
            "-o",
            "udp.check_checksum:TRUE",
        ])
        .args(["-e", "udp.checksum.status"])
        .output()?;
    let read = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "tshark: {}", said(&output));
    let rows: Vec<Vec<&str>> = read
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    // Each exchange of four packets, and releases; the latest 32 are kept.
    ensure!(rows.len() == 32, "{} packets", rows.len());
    for row in &rows {
        ensure!(row.len() == 5 && row[2].is_empty(), "malformed: {row:?}");
        ensure!(
            row[3] == "1" && row[4] == "1",
            "a checksum is wrong: {row:?}"
        );
    }
    let output = site.reveille(&["packets", PLAYED, "--output", "json"])?;
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Result<Vec<Value>, _> = lines.lines().map(serde_json::from_str).collect();
    let lines = lines?;
    let kinds: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["packet"]["kind"].as_str())
        .collect();
    ensure!(kinds.len() == rows.len(), "{kinds:?}");
    // The ACK of the iPXE that was loaded by UEFI, on the wire and explained.
    let ack = lines.iter().rev().find(|line| {
        let file = line["packet"]["file"].as_str().unwrap_or_default();
        line["outcome"] == "ack" && line["direction"] == "out" && file.ends_with("boot.ipxe")
    });
    let ack = &ack.context("no ACK for an iPXE")?["packet"];
    let words = ["explain", PLAYED, "--arch", "x86_64-uefi", "-o", "json"];
    let output = site.reveille(&words)?;
    ensure!(output.status.success(), "{}", said(&output));
    let explained: Value = serde_json::from_slice(&output.stdout)?;
    let stages = explained[0]["stages"].as_array().context("no stages")?;
    let stage = stages.iter().find(|stage| stage["client"] == "ipxe");
    let stage = stage.context("no stage for iPXE")?;
    for field in ["file", "siaddr", "yiaddr", "options"] {
        let (wire, said) = (&ack[field], &stage["reply"][field]);
        ensure!(
            wire == said,
            "{field}: {wire} on the wire, {said} explained"
        );
    }
    let script = stage["script"]["text"].as_str().unwrap_or_default();
    let served = super::site::script("02-00-00-00-20-01")?;
    ensure!(script == served, "explained {script}, served {served}");
    // What was captured is explained, too.
    let output = site.reveille(&["explain", "--pcap", &path, "-o", "json"])?;
    ensure!(output.status.success(), "{}", said(&output));
    let captured: Value = serde_json::from_slice(&output.stdout)?;
    let requests = kinds.iter().filter(|kind| !["OFFER", "ACK"].contains(kind));
    ensure!(
        captured.as_array().map(Vec::len) == Some(requests.count()),
        "{captured}"
    );
    Ok(())
}
