//! `reveille probe` as machines over IPv6, and what was said then: `packets`, `explain` and tshark agree.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::ipv6::NETWORK;
use super::probe::{plug, probe, steps};
use super::site::{SUBNET, Site, said, until};
use crate::ns;
use crate::support::process::Process;

/// The machine that is played, and its link-local address.
const PLAYED: &str = "02:00:00:00:20:01";
const LOCAL: &str = "fe80::ff:fe00:2001";
const UUID: &str = "4c4c4544-0043-4810-8052-b4c04f4a4d32";

/// All clients against our server; a stranger beside it; what was said, told three ways.
pub(super) fn plays_machines(site: &mut Site) -> Result<Vec<String>> {
    ns::furnish_v6()?;
    site.write("subnet.yaml", &format!("{SUBNET}{NETWORK}"))?;
    let _server = site.serve()?;
    plug()?;
    ns::run("ip -n pc address add 2001:db8:33::10/64 dev pc nodad")?;
    let duid = fs::read(site.state().join("server.duid"))?;
    let duid: String = duid.iter().map(|byte| format!("{byte:02x}")).collect();
    let words = [
        "--ours", &duid, "--mac", PLAYED, "--uuid", UUID, "--wait", "1",
    ];
    let clients = ["--as", "uefi6,http6,ipxe6,plain6", "--output", "json"];
    let output = probe(&[&words[..], &clients].concat())?;
    ensure!(output.status.success(), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let mut want = Vec::new();
    for (client, loader) in [("uefi6", true), ("http6", true), ("ipxe6", false)] {
        let loader: &[&str] = if loader {
            &["advertise", "reply", "loader"]
        } else {
            &[]
        };
        let rest = ["advertise", "reply", "script", "kernel", "initrd", "boot"];
        let all = loader.iter().chain(&rest);
        want.extend(all.map(|step| format!("{client} {step} pass")));
    }
    want.extend(["advertise", "reply"].map(|step| format!("plain6 {step} pass")));
    let went = steps(&report);
    ensure!(went == want, "{went:?}");
    let servers = report["servers"].as_array().context("no servers")?;
    ensure!(
        servers.len() == 1 && servers[0]["foreign"] == false && servers[0]["id"] == *duid,
        "{servers:?}"
    );
    let shown = ns::on("pc", "ip")
        .args(["-6", "address", "show"])
        .output()?;
    ensure!(
        !said(&shown).contains(LOCAL),
        "it kept the address of the machine"
    );
    told(site)?;

    // A machine that runs has its link-local address: it is not played beside it.
    ns::host("twin", PLAYED)?;
    until("the twin's address", || {
        let words = [
            "-6",
            "address",
            "show",
            "dev",
            "twin",
            "scope",
            "link",
            "-tentative",
        ];
        let shown = ns::on("twin", "ip").args(words).output()?;
        Ok((!shown.stdout.is_empty()).then_some(()))
    })?;
    let output = probe(&[&words[..], &["--as", "plain6"]].concat())?;
    let text = said(&output);
    ensure!(output.status.code() == Some(1), "{text}");
    ensure!(text.contains("the machine that is played runs"), "{text}");
    ns::run("ip netns delete twin")?;

    let _stranger = stranger(&site.folder)?;
    let output = probe(&["--as", "plain6", "--ours", &duid, "--wait", "2"])?;
    let text = said(&output);
    ensure!(output.status.code() == Some(3), "{text}");
    ensure!(
        text.contains(&format!("OURS  {duid}: gives addresses")),
        "{text}"
    );
    ensure!(text.contains("FOREIGN  "), "{text}");
    Ok(vec![format!(
        "{} steps as four clients; a twin and a stranger are named; tshark, explain and packets agree",
        went.len()
    )])
}

/// dnsmasq, which nobody asked for.
fn stranger(folder: &Path) -> Result<Process> {
    ns::host("rogue", "02:00:00:00:30:01")?;
    ns::run("ip -n rogue address add 2001:db8:33::9/64 dev rogue nodad")?;
    let mut command = ns::on("rogue", "dnsmasq");
    let leases = folder.join("rogue6.leases");
    command
        .args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0"])
        .args(["--interface=rogue"])
        .args(["--dhcp-range=2001:db8:33::900,2001:db8:33::9ff,64,1h"])
        .arg(format!("--dhcp-leasefile={}", leases.display()));
    let mut process = Process::spawn("the stranger", command, &folder.join("rogue6.log"))?;
    until("the stranger's lease file", || {
        process.alive()?;
        Ok(leases.exists().then_some(()))
    })?;
    Ok(process)
}

/// `packets` has what was on the wire, tshark finds nothing wrong in it, and `explain` says the same.
fn told(site: &Site) -> Result<()> {
    let file = site.folder.join("packets6.pcap");
    let path = file.display().to_string();
    let output = site.reveille(&["packets", PLAYED, "--pcap", &path])?;
    ensure!(output.status.success(), "{}", said(&output));
    let mut command = Command::new("tshark");
    command.args(["-r", &path, "-T", "fields", "-o", "udp.check_checksum:TRUE"]);
    for field in [
        "dhcpv6.msgtype",
        "ipv6.src",
        "ipv6.dst",
        "udp.checksum.status",
        "_ws.malformed",
    ] {
        command.args(["-e", field]);
    }
    let output = command.output()?;
    ensure!(output.status.success(), "tshark: {}", said(&output));
    let read = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows: Vec<Vec<&str>> = read
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    let ours = Command::new("ip")
        .args(["-6", "-o", "address", "show", "dev", "br0", "scope", "link"])
        .output()?;
    let ours = said(&ours);
    for row in &rows {
        let [kind, from, to, checksum, malformed] = row[..] else {
            anyhow::bail!("{row:?}");
        };
        ensure!(
            !kind.is_empty() && malformed.is_empty(),
            "malformed: {row:?}"
        );
        ensure!(checksum == "1", "a checksum is wrong: {row:?}");
        // Requests are the machine's to everyone, replies ours to it.
        let asks = from == LOCAL && to == "ff02::1:2";
        let answers = to == LOCAL && ours.contains(from);
        ensure!(asks || answers, "{row:?}; ours are {ours}");
    }
    let output = site.reveille(&["packets", PLAYED, "--output", "json"])?;
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Result<Vec<Value>, _> = lines.lines().map(serde_json::from_str).collect();
    let lines = lines?;
    ensure!(
        lines.len() == rows.len() && rows.len() > 20,
        "{} packets",
        rows.len()
    );
    // The REPLY for the iPXE that was loaded by UEFI, on the wire and explained.
    let url = |packet: &Value| {
        let all = packet["options"].as_array().into_iter().flatten();
        let mut urls = all.filter(|field| field["code"] == 59);
        let value = urls.next().and_then(|field| field["value"].as_str());
        value.unwrap_or_default().to_owned()
    };
    let reply = lines.iter().rev().find(|line| {
        line["outcome"] == "reply"
            && line["direction"] == "out"
            && url(&line["packet"]).ends_with("boot.ipxe")
    });
    let reply = &reply.context("no REPLY for an iPXE")?["packet"];
    let words = ["explain", PLAYED, "--arch", "x86_64-uefi", "-o", "json"];
    let output = site.reveille(&words)?;
    ensure!(output.status.success(), "{}", said(&output));
    let explained: Value = serde_json::from_slice(&output.stdout)?;
    let stages = explained[0]["ipv6"]["stages"].as_array();
    let stage = stages
        .context("no stages")?
        .iter()
        .find(|stage| stage["client"] == "ipxe");
    let stage = stage.context("no stage for iPXE")?;
    for code in [2, 3, 59] {
        let of = |packet: &Value| {
            let all = packet["options"].as_array().into_iter().flatten();
            let mut found = all.filter(|field| field["code"] == code);
            found.next().cloned()
        };
        let (wire, said) = (of(reply), of(&stage["reply"]));
        ensure!(
            wire.is_some() && wire == said,
            "{code}: {wire:?} on the wire, {said:?} explained"
        );
    }
    let script = stage["script"]["text"].as_str().unwrap_or_default();
    ensure!(script.starts_with("#!ipxe"), "explained {script}");
    // What was captured is explained, too.
    let output = site.reveille(&["explain", "--pcap", &path, "-o", "json"])?;
    ensure!(output.status.success(), "{}", said(&output));
    let captured: Value = serde_json::from_slice(&output.stdout)?;
    let requests = lines.iter().filter(|line| line["direction"] == "in");
    ensure!(
        captured.as_array().map(Vec::len) == Some(requests.count()),
        "{captured}"
    );
    Ok(())
}
