//! What the operator says of objects, in the API server: conditions, columns, Events, and how little it
//! writes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dhcproto::v4::{Architecture, DhcpOption, MessageType};
use reveille::boot::MacAddress;
use serde_json::Value;

use super::operator::account;
use crate::audit::Request;
use crate::kubectl::Rules;
use crate::lan::Lan;
use crate::stage::Stage;
use crate::support::card::{Card, Frame};
use crate::support::dhcp::{Machine, overheard};
use crate::support::ns;
use crate::support::server::{Server, fetch};
use crate::support::wait::{until, until_all};

/// Machines that wake at once.
const STORM: u16 = 1000;
/// Writes of status that may come within a second, whatever happens.
const MOST: usize = 50;
/// The file that all of them boot.
const KERNEL: &str = "vmlinuz";
/// Our address on the network of the storm, which is too small at [`ns::ADDRESS`].
const OURS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

const OBJECTS: &str = "\
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: lab}
spec:
  mode: Server
  cidr: 192.0.2.0/24
  interface: br0
  pools: [{start: 192.0.2.20, end: 192.0.2.29}]
---
apiVersion: reveille.dev/v1alpha1
kind: BootProfile
metadata: {name: debian}
spec:
  default: true
  linux: {kernel: {path: vmlinuz}}
---
apiVersion: reveille.dev/v1alpha1
kind: Machine
metadata: {name: node}
spec:
  interfaces: [{mac: '02:00:00:00:00:01', ip: 192.0.2.7}]
";

/// Objects that say they are ready, columns with values, the story of a boot, and silence after it.
pub(super) fn told(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    stage.apply(OBJECTS)?;
    let server = start(stage, "first")?;
    for object in ["subnet/lab", "bootprofile/debian", "machine/node"] {
        ready(stage, object)?;
    }
    let rows = columns(stage)?;
    for wanted in [
        "lab Server 192.0.2.0/24 br0 10 0 True",
        "debian linux true 1 0 True",
        "node debian Always Ready 192.0.2.7",
    ] {
        ensure!(rows.contains(wanted), "no row `{wanted}` in:\n{rows}");
    }
    let mac = "reveille.dev/mac=02-00-00-00-00-01";
    let found = until("the label with the MAC address", || {
        let found = stage.kubectl(&["get", "machine", "-l", mac, "-o", "name"])?;
        Ok((!found.is_empty()).then_some(found))
    })?;

    let mut card = lan.card("wire")?;
    boot(&mut card, &[1], ns::ADDRESS.parse()?)?;
    until("a machine that is booted", || {
        let rows = columns(stage)?;
        Ok(rows
            .contains("node debian Always Booted hand-off")
            .then_some(()))
    })?;
    let booted = json(stage, "machine/node")?;
    let first = boots(&booted);
    ensure!(first.len() == 1, "{} boots", first.len());
    let events = until("Events of the boot", || {
        let events = stage.kubectl(&["describe", "machine", "node"])?;
        Ok(["Woke", "HandedOff"]
            .iter()
            .all(|it| events.contains(it))
            .then_some(events))
    })?;
    ensure!(events.contains("debian was sent whole in"), "{events}");

    let quiet = silence(stage)?;
    // What was written in an earlier life stays, though another process knows nothing of it.
    server.stop()?;
    let server = start(stage, "first")?;
    ready(stage, "machine/node")?;
    let after = silence(stage)?;
    ensure!(quiet == after, "a restart changed:\n{quiet}\nto:\n{after}");
    boot(&mut card, &[1], ns::ADDRESS.parse()?)?;
    until("the second boot beside the first", || {
        let all = boots(&json(stage, "machine/node")?);
        Ok((all.len() == 2 && first.is_subset(&all)).then_some(()))
    })?;
    server.stop()?;
    Ok(vec![format!(
        "{}: waited for, listed, booted, told in Events; nothing is written at rest",
        found.trim()
    )])
}

/// Two objects that want the same both say so, and the older one wins; what can never be is stalled.
pub(super) fn conflicts(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    stage.apply(OBJECTS)?;
    // Age counts in seconds.
    sleep(Duration::from_millis(1100));
    stage.apply(
        "\
apiVersion: reveille.dev/v1alpha1
kind: Machine
metadata: {name: a-twin}
spec: {interfaces: [{mac: '02:00:00:00:00:01'}]}
---
apiVersion: reveille.dev/v1alpha1
kind: Machine
metadata: {name: lost}
spec: {interfaces: [{mac: '02:00:00:00:00:09'}], profileRef: {name: debina}}
---
apiVersion: reveille.dev/v1alpha1
kind: Machine
metadata: {name: stranger}
spec: {interfaces: [{mac: '02:00:00:00:00:08'}], approved: false}
---
apiVersion: reveille.dev/v1alpha1
kind: BootProfile
metadata: {name: a-second}
spec: {default: true, linux: {kernel: {path: nothing}}}
---
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: a-far}
spec: {mode: Server, cidr: 198.51.100.0/24, interface: eth9}
",
    )?;
    let server = start(stage, "second")?;
    for (object, condition, wanted) in [
        ("machine/node", "Ready", "True Served"),
        ("machine/node", "Conflict", "True DuplicateMac"),
        ("machine/a-twin", "Ready", "False DuplicateMac"),
        ("machine/a-twin", "Conflict", "True DuplicateMac"),
        ("machine/lost", "ProfileResolved", "False ProfileNotFound"),
        ("machine/lost", "Ready", "False ProfileNotFound"),
        ("machine/stranger", "Accepted", "False NotApproved"),
        ("bootprofile/debian", "Conflict", "True TwoDefaults"),
        ("bootprofile/a-second", "Conflict", "True TwoDefaults"),
        (
            "bootprofile/a-second",
            "ArtifactsReady",
            "False FilesMissing",
        ),
        ("subnet/a-far", "InterfaceReady", "False InterfaceDown"),
        ("subnet/lab", "Ready", "True Served"),
    ] {
        until(&format!("{object}: {condition} {wanted}"), || {
            let found = condition_of(&json(stage, object)?, condition)?;
            ensure!(found.starts_with(wanted), "it is {found}");
            Ok(Some(()))
        })?;
    }
    let won = condition_of(&json(stage, "machine/node")?, "Conflict")?;
    ensure!(won.ends_with("this one is older and wins"), "{won}");
    let lost = condition_of(&json(stage, "machine/lost")?, "Ready")?;
    ensure!(lost.contains("did you mean `debian`?"), "{lost}");
    let events = until("an Event of the conflict", || {
        let events = stage.kubectl(&["describe", "machine", "a-twin"])?;
        Ok(events
            .contains("already; give it to one machine only")
            .then_some(events))
    })?;
    ensure!(events.contains("Warning"), "{events}");
    // A machine that takes another server's offer gives that server away.
    let mut card = lan.card("wire")?;
    let other = "192.0.2.66".parse()?;
    card.send(&question(
        77,
        MessageType::Request,
        Some((Ipv4Addr::new(192, 0, 2, 99), other)),
    ))?;
    until("a word on the other DHCP server", || {
        let found = condition_of(&json(stage, "subnet/lab")?, "ForeignDhcp")?;
        ensure!(
            found.starts_with("True ServersHeard machines chose the DHCP server 192.0.2.66"),
            "{found}"
        );
        Ok(Some(()))
    })?;
    let series = format!(
        "reveille_foreign_dhcp_servers{{subnet=\"{}/lab\"}}",
        stage.namespace
    );
    until(&format!("1 as {series}"), || {
        Ok((server.metric(&series)? == 1).then_some(()))
    })?;
    // The cure is seen, and the past of a condition is its own.
    let before = json(stage, "machine/node")?;
    stage.kubectl(&["delete", "machine", "a-twin"])?;
    until("a machine without a conflict", || {
        Ok(condition_of(&json(stage, "machine/node")?, "Conflict")
            .is_err()
            .then_some(()))
    })?;
    let after = json(stage, "machine/node")?;
    let since = |object: &Value| transition_of(object, "Ready");
    ensure!(since(&before) == since(&after), "Ready moved its time");
    server.stop()?;
    Ok(vec![
        "both sides of a conflict say so, with the cure".to_owned(),
    ])
}

/// A thousand machines boot at once: their status follows, at a pace that the API server bears.
pub(super) fn storm(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    ns::run(&format!("ip address add {OURS}/16 dev {}", ns::BRIDGE))?;
    let mut objects = OBJECTS
        .replace("192.0.2.0/24", "10.9.0.0/16")
        .replace("192.0.2.20", "10.9.1.0")
        .replace("192.0.2.29", "10.9.8.255");
    let cut = objects.rfind("---").context("objects")?;
    objects.truncate(cut);
    for number in 1..=STORM {
        write!(
            objects,
            "---\napiVersion: reveille.dev/v1alpha1\nkind: Machine\nmetadata: {{name: m{number}}}\n\
             spec: {{interfaces: [{{mac: '{}'}}]}}\n",
            Machine::number(number).mac
        )?;
    }
    let file = stage.folder.join("storm.yaml");
    std::fs::write(&file, objects)?;
    stage.kubectl(&["create", "-f", &file.display().to_string()])?;
    let server = start(stage, "storm")?;
    let machines = usize::from(STORM);
    let of_phase = |phase: &str| Ok(phases(stage)?.get(phase).copied().unwrap_or(0));
    until_all("a status of every machine", machines, || of_phase("Ready"))?;
    let at_rest = writes(stage)?.len();
    let all: Vec<u16> = (1..=STORM).collect();
    let mut card = lan.card("wire")?;
    boot(&mut card, &all, OURS)?;
    until_all("every machine booted", machines, || of_phase("Booted"))?;
    until_all("every boot counted", machines, || {
        let profile = json(stage, "bootprofile/debian")?;
        let counted = profile.pointer("/status/boots").and_then(Value::as_u64);
        Ok(usize::try_from(counted.unwrap_or(0))?)
    })?;
    until("nothing to be written", || {
        let left = server.metric("reveille_status_queue_length")?;
        ensure!(left == 0, "{left} wait");
        Ok(Some(()))
    })?;
    let counted = json(stage, "bootprofile/debian")?;
    ensure!(
        counted.pointer("/status/boots") == Some(&STORM.into()),
        "a boot is counted twice: {counted}"
    );
    let written = writes(stage)?;
    let most = busiest(&written);
    ensure!(most <= MOST, "{most} writes within a second");
    let events = stage.plane.requests_where(|it| {
        it.namespace == stage.namespace
            && it.resource == "events"
            && it.agent.starts_with("reveille")
    })?;
    let most_events = busiest(&events);
    server.stop()?;
    Ok(vec![format!(
        "{STORM} boots: {} writes, {most} within a second at most; {} Events, {most_events} within a second at most",
        written.len() - at_rest,
        events.len()
    )])
}

/// A role that allows too little is said; a boot that nobody could write down is written later.
pub(super) fn outage(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    let mut card = lan.card("wire")?;
    stage.apply(OBJECTS)?;
    let rules = r"[{apiGroups: [reveille.dev], resources: ['*'], verbs: [list, watch]}]";
    let poor = stage.account("poor", Rules::Here(rules))?;
    let server = start_as(stage, "poor", &poor)?;
    for resource in ["machines", "subnets", "bootprofiles"] {
        server.logged(&format!("we may not patch {resource}/status.reveille.dev"))?;
    }
    let events = "allow the verbs create and patch on events.events.k8s.io";
    boot(&mut card, &[1], ns::ADDRESS.parse()?)?;
    server.logged(events)?;
    for words in ["we may not patch machines/status", events] {
        let times = server.times_logged(words)?;
        ensure!(times == 1, "`{words}` is said {times} times");
    }
    server.stop()?;

    let server = start(stage, "first")?;
    until("a machine that was seen to boot", || {
        Ok(columns(stage)?.contains("node debian Always").then_some(()))
    })?;
    let before = boots(&json(stage, "machine/node")?);
    stage.plane.kill_api_server()?;
    boot(&mut card, &[1], ns::ADDRESS.parse()?)?;
    server.logged("the status of objects cannot be written now")?;
    stage.plane.start_api_server()?;
    until("the boot that nobody could write down", || {
        let node = json(stage, "machine/node")?;
        let all = boots(&node);
        let booted = condition_of(&node, "Booted")?;
        ensure!(booted.starts_with("True HandedOff"), "{booted}");
        Ok((all.len() == before.len() + 1).then_some(()))
    })?;
    server.logged("the status of objects is written again")?;
    server.stop()?;
    Ok(vec![
        "what was seen while the API server was away is told afterwards".to_owned(),
    ])
}

/// Starts the program with the file that machines boot.
fn start(stage: &Stage<'_>, name: &str) -> Result<Server> {
    start_as(stage, name, &account(stage)?)
}

fn start_as(stage: &Stage<'_>, name: &str, kubeconfig: &Path) -> Result<Server> {
    let launch = stage.operator(name, kubeconfig)?;
    let tree = stage.folder.join(name).join("artifacts");
    std::fs::write(tree.join(KERNEL), KERNEL.repeat(1000))?;
    // Some trials have interfaces that are not there: it is never ready.
    let server = launch.with(&["--namespace", &stage.namespace]).spawn()?;
    server.logged("DHCP serves")?;
    Ok(server)
}

fn ready(stage: &Stage<'_>, object: &str) -> Result<()> {
    stage.kubectl(&["wait", "--for=condition=Ready", object, "--timeout=30s"])?;
    Ok(())
}

/// The tables of all kinds, with single spaces.
fn columns(stage: &Stage<'_>) -> Result<String> {
    let mut rows = String::new();
    for kind in ["subnets", "bootprofiles", "machines"] {
        let table = stage.kubectl(&["get", kind, "--no-headers"])?;
        for line in table.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            writeln!(rows, "{}", words.join(" "))?;
        }
    }
    Ok(rows)
}

fn json(stage: &Stage<'_>, object: &str) -> Result<Value> {
    let text = stage.kubectl(&["get", object, "-o", "json"])?;
    Ok(serde_json::from_str(&text)?)
}

/// `Status Reason message` of a condition.
fn condition_of(object: &Value, kind: &str) -> Result<String> {
    let found = condition(object, kind).with_context(|| format!("no condition {kind}"))?;
    let word = |name: &str| found.get(name).and_then(Value::as_str).unwrap_or_default();
    ensure!(
        found.get("observedGeneration") == object.pointer("/metadata/generation"),
        "{kind} is of another generation"
    );
    Ok(format!(
        "{} {} {}",
        word("status"),
        word("reason"),
        word("message")
    ))
}

fn transition_of(object: &Value, kind: &str) -> Option<Value> {
    condition(object, kind)?.get("lastTransitionTime").cloned()
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let all = object.pointer("/status/conditions")?.as_array()?;
    all.iter()
        .find(|one| one.get("type").and_then(Value::as_str) == Some(kind))
}

/// The ids of a machine's boots.
fn boots(machine: &Value) -> std::collections::BTreeSet<String> {
    let all = machine.pointer("/status/boots").and_then(Value::as_array);
    let ids = all
        .into_iter()
        .flatten()
        .filter_map(|boot| boot.get("id")?.as_str());
    ids.map(str::to_owned).collect()
}

/// How many machines there are in each phase.
fn phases(stage: &Stage<'_>) -> Result<BTreeMap<String, usize>> {
    let path = "jsonpath={range .items[*]}{.status.phase}{\"\\n\"}{end}";
    let mut phases = BTreeMap::new();
    for phase in stage.kubectl(&["get", "machines", "-o", path])?.lines() {
        *phases.entry(phase.to_owned()).or_default() += 1;
    }
    Ok(phases)
}

/// The versions of all objects, once nothing has been written for a while.
fn silence(stage: &Stage<'_>) -> Result<String> {
    let path = "jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.resourceVersion}{\"\\n\"}{end}";
    let versions = || stage.kubectl(&["get", "reveille", "-o", path]);
    until("a moment without writes", || {
        let (before, written) = (versions()?, writes(stage)?.len());
        // Longer than the looks at subnets and files, and than two writes of an object lie apart.
        sleep(Duration::from_secs(6));
        let now = writes(stage)?.len();
        ensure!(
            written == now,
            "{} writes within six seconds",
            now - written
        );
        ensure!(versions()? == before, "versions changed");
        Ok(Some(before))
    })
}

/// The operator's writes of our objects so far.
fn writes(stage: &Stage<'_>) -> Result<Vec<Request>> {
    stage.plane.requests_where(|request| {
        request.namespace == stage.namespace
            && request.agent.starts_with("reveille")
            && ["patch", "update", "create"].contains(&request.verb.as_str())
            && ["machines", "subnets", "bootprofiles", "artifacts"]
                .contains(&request.resource.as_str())
    })
}

/// The most requests within any second.
fn busiest(requests: &[Request]) -> usize {
    let times: Vec<jiff::Timestamp> = requests
        .iter()
        .filter_map(|request| request.at.parse().ok())
        .collect();
    let second = jiff::SignedDuration::from_secs(1);
    let within = |from: &jiff::Timestamp| {
        let later = times.iter().filter(|at| *at >= from);
        later.filter(|at| at.duration_since(*from) < second).count()
    };
    times.iter().map(within).max().unwrap_or(0)
}

/// Boots machines by their numbers, as their firmware and iPXE do: addresses by DHCP, then script and
/// kernel by HTTP.
fn boot(card: &mut Card, numbers: &[u16], server: Ipv4Addr) -> Result<()> {
    let mut waiting: BTreeMap<MacAddress, u16> = numbers
        .iter()
        .map(|number| (Machine::number(*number).mac, *number))
        .collect();
    until_all("an address for every machine", numbers.len(), || {
        // A few at a time: what the server's queue does not hold would be asked again anyway.
        let some: Vec<u16> = waiting.values().take(100).copied().collect();
        for number in some {
            card.send(&question(number, MessageType::Discover, None))?;
        }
        for offer in overheard(card)? {
            let number = waiting.get(&offer.mac()).copied();
            if let Some(number) = number.filter(|_| offer.kind == MessageType::Offer) {
                let chosen = Some((offer.address, offer.server()?));
                card.send(&question(number, MessageType::Request, chosen))?;
            }
        }
        for ack in overheard(card)? {
            if ack.kind == MessageType::Ack {
                waiting.remove(&ack.mac());
            }
        }
        Ok(numbers.len() - waiting.len())
    })?;
    let door = SocketAddr::from((server, 80));
    for number in numbers {
        let mac = Machine::number(*number).mac.hyphenated();
        until("a script and a kernel", || {
            fetch(door, &format!("/reveille/machines/{mac}/boot.ipxe"))?;
            let kernel = format!("/reveille/machines/{mac}/kernel/{KERNEL}");
            fetch(door, &kernel).map(Some)
        })?;
    }
    Ok(())
}

/// What the ROM of a PC asks.
fn question(number: u16, kind: MessageType, chosen: Option<(Ipv4Addr, Ipv4Addr)>) -> Frame {
    let machine = Machine::number(number);
    let mut message = machine.message(kind);
    let options = message.opts_mut();
    options.insert(DhcpOption::ClassIdentifier(
        b"PXEClient:Arch:00000:UNDI:002001".to_vec(),
    ));
    options.insert(DhcpOption::ClientSystemArchitecture(Architecture::X86_Bios));
    if let Some((address, server)) = chosen {
        options.insert(DhcpOption::RequestedIpAddress(address));
        options.insert(DhcpOption::ServerIdentifier(server));
    }
    machine.broadcasts(&message)
}
