//! The leader dies while machines boot: all of them boot, for they ask again.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::operator::account;
use super::replicas::{TIMES, comes_to_lead, leads};
use super::wakes::wakes;
use crate::lan::Lan;
use crate::proxy::Proxy;
use crate::stage::Stage;
use crate::support::dhcp;
use crate::support::machine::{Firmware, Machine};
use crate::support::ns;
use crate::support::process::Process;
use crate::support::server::Server;
use crate::support::wait::until_within;

/// The replicas' addresses.
const FIRST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const SECOND: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);

/// Machines that boot at once, beside the virtual ones.
const MACHINES: u16 = 40;

/// The first so many have an address of their own; the others get one of the pool.
const RESERVED: u16 = 20;

/// Every so many of them have a slow link.
const SLOW: u16 = 4;

/// Of them have booted when the leader dies.
const BEFORE: usize = 8;

/// So many are in the middle of the leader's kernel then.
const KERNELS: usize = 3;

/// Longer than the longest patience of firmware.
const LIMIT: Duration = Duration::from_secs(150);

const NETWORK: &str = "\
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: lab}
spec:
  mode: Server
  cidr: 192.0.2.0/24
  interface: br0
  pools: [{start: 192.0.2.100, end: 192.0.2.219}]
---
apiVersion: reveille.dev/v1alpha1
kind: BootProfile
metadata: {name: linux}
spec:
  default: true
  linux:
    kernel: {path: linux/vmlinuz}
    initrd: [{path: linux/initrd.img}]
    args: ['console=ttyS0', 'hostname={{ machine.name }}', 'reveille.mac={{ machine.mac }}']
";

/// Virtual machines among them, with addresses of the pool.
const VIRTUAL: [Machine; 2] = [
    Machine {
        name: "bios",
        mac: "52:54:00:00:01:01",
        firmware: Firmware::Bios,
        disk: false,
    },
    Machine {
        name: "uefi",
        mac: "52:54:00:00:01:02",
        firmware: Firmware::UefiPxe,
        disk: false,
    },
];

/// Two replicas on hosts of their own, machines in every stage, and `kill -9` of the leader.
pub(super) fn survives_kill(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    stage.apply(&objects())?;
    let way = Proxy::open_at(ns::ADDRESS.parse()?)?;
    let kubeconfig = way.kubeconfig(&account(stage)?)?;
    let first = replica(stage, &mut lan, 0, &kubeconfig)?;
    comes_to_lead(&first, "replica 0")?;
    let second = replica(stage, &mut lan, 1, &kubeconfig)?;
    second.logged("this replica follows")?;

    for number in 1..=MACHINES {
        lan.host(
            &host(number),
            &dhcp::Machine::number(number).mac.to_string(),
        )?;
    }
    let mut virtual_ones = Vec::new();
    for machine in VIRTUAL {
        virtual_ones.push(machine.power_on_again(stage.assets()?, &stage.folder)?);
    }
    until_within(
        LIMIT,
        "a virtual machine with a lease of the leader",
        || Ok(first.get("/boots")?.contains("\"Ack\"").then_some(())),
    )?;
    let mut machines = Vec::new();
    for number in 1..=MACHINES {
        machines.push(power_on(stage, number)?);
    }
    let seen = until_within(
        LIMIT,
        "the first machines that booted, and kernels under way",
        || {
            let ripe = booted(&machines)?.len() >= BEFORE && loading(&machines)? >= KERNELS;
            ripe.then(|| first.get("/boots")).transpose()
        },
    )?;
    ensure!(leads(&first)?, "replica 0 does not lead");
    first.kill()?;
    let before = booted(&machines)?.len();
    ensure!(before < machines.len(), "all have booted before the kill");
    comes_to_lead(&second, "replica 1")?;

    let mut lines = vec![format!(
        "the leader was killed when {before} of {MACHINES} machines had booted"
    )];
    for running in &mut virtual_ones {
        let Machine { name, mac, .. } = running.machine;
        let after = wakes(running)?.as_secs_f64();
        let stage = last_stage(&seen, mac)?;
        lines.push(format!(
            "virtual machine {name}: at {stage} when the leader was killed, awake {after:.1} s after power-on"
        ));
    }
    for machine in &mut machines {
        has_booted(machine)?;
    }
    lines.push(summary(&machines)?);
    second.stop()?;
    Ok(lines)
}

fn objects() -> String {
    let mut objects = NETWORK.to_owned();
    let machine = |name: &str, interface: String| {
        format!(
            "---\napiVersion: reveille.dev/v1alpha1\nkind: Machine\nmetadata: {{name: {name}}}\n\
             spec: {{interfaces: [{{{interface}}}]}}\n"
        )
    };
    for number in 1..=RESERVED {
        let mac = dhcp::Machine::number(number).mac;
        objects += &machine(
            &host(number),
            format!("mac: '{mac}', ip: 192.0.2.{}", 10 + number),
        );
    }
    for one in VIRTUAL {
        objects += &machine(one.name, format!("mac: '{}'", one.mac));
    }
    objects
}

/// What machine `number` is called, and its host.
fn host(number: u16) -> String {
    format!("m{number}")
}

/// Starts replica `number` of two on a host of its own.
fn replica(stage: &Stage<'_>, lan: &mut Lan, number: u8, kubeconfig: &Path) -> Result<Server> {
    let name = format!("replica-{number}");
    let address = [FIRST, SECOND][usize::from(number)];
    lan.host(&name, &format!("02:00:00:00:ff:{number:02x}"))?;
    // The Subnet names one interface for both.
    for command in [
        format!("link set {name} down"),
        format!("link set {name} name br0"),
        format!("address add {address}/24 dev br0"),
        "link set br0 up".to_owned(),
    ] {
        ns::run(&format!("ip -n {name} {command}"))?;
    }
    let program = Server::program();
    let program = program.to_str().context("the program's path")?;
    stage
        .operator_with_linux(&name, kubeconfig)?
        .under(&["ip", "netns", "exec", &name], program)
        .admin_at(address)
        .with(&["--namespace", &stage.namespace])
        .with(&["--replicas=2", &format!("--ordinal={number}")])
        .with(&TIMES)
        .start()
}

/// Switches machine `number` on.
fn power_on(stage: &Stage<'_>, number: u16) -> Result<Process> {
    let name = host(number);
    let program = std::env::current_exe()?;
    let mut command = ns::on(&name, program.to_str().context("our own path")?);
    command
        .args(["machine", &name])
        .arg(dhcp::Machine::number(number).mac.to_string())
        .arg(stage.folder.join("replica-1/artifacts"));
    if number.is_multiple_of(SLOW) {
        command.arg("slow");
    }
    Process::spawn(&name, command, &stage.folder.join(format!("{name}.log")))
}

/// The last words of those that have booted.
fn booted(machines: &[Process]) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for machine in machines {
        let text = std::fs::read_to_string(machine.log())?;
        let line = text.lines().find(|line| line.contains(": booted from "));
        lines.extend(line.map(str::to_owned));
    }
    Ok(lines)
}

/// How many load the kernel from replica 0 now.
fn loading(machines: &[Process]) -> Result<usize> {
    let mut count = 0;
    for machine in machines {
        let text = std::fs::read_to_string(machine.log())?;
        let last = text.lines().last().unwrap_or_default();
        count += usize::from(last.contains(&format!("loads http://{FIRST}/")));
    }
    Ok(count)
}

fn has_booted(machine: &mut Process) -> Result<()> {
    let status = until_within(LIMIT, "a machine that boots", || machine.ended())
        .with_context(|| machine.last_words())?;
    ensure!(status.success(), "{status}: {}", machine.last_words());
    Ok(())
}

/// How they booted: by whom, how many had trouble, and how long the last one took.
fn summary(machines: &[Process]) -> Result<String> {
    let all = booted(machines)?;
    let by = |address: &str| all.iter().filter(|line| line.contains(address)).count();
    let again = all
        .iter()
        .filter(|line| !line.ends_with(" at try 1"))
        .count();
    let logs = machines
        .iter()
        .map(|machine| std::fs::read_to_string(machine.log()));
    let logs = logs.collect::<Result<Vec<_>, _>>()?;
    let with = |words: &str| logs.iter().filter(|log| log.contains(words)).count();
    let kernels = with(": `kernel ");
    ensure!(kernels > 0, "no kernel was cut off");
    let troubled = logs
        .iter()
        .filter(|log| log.contains(": trouble: ") || log.contains(": `"))
        .count();
    let seconds = all
        .iter()
        .filter_map(|line| line.split(' ').next()?.parse::<f64>().ok());
    let last = seconds.fold(0.0, f64::max);
    Ok(format!(
        "{} machines booted, {} from replica 0 and {} from replica 1; {troubled} felt the kill, \
         {kernels} in the middle of the kernel, {again} began again at their firmware; the last one took {last:.1} s",
        all.len(),
        by(&format!(" {FIRST} ")),
        by(&format!(" {SECOND} ")),
    ))
}

/// The stage that the newest boot of a machine had reached, by `/boots`.
fn last_stage(boots: &str, mac: &str) -> Result<String> {
    let all: serde_json::Value = serde_json::from_str(boots)?;
    let boots = all["boots"].as_array().context("no boots")?;
    let own = boots.iter().rfind(|boot| boot["mac"] == mac);
    let stage = own.and_then(|boot| boot["stages"].as_array()?.last()?["stage"].as_str());
    Ok(stage.unwrap_or("no stage").to_owned())
}
