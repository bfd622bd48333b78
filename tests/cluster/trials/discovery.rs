//! Machines that nobody knows ask to boot: they become Machines, and wait for approval.

use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dhcproto::v4::MessageType;
use reveille::boot::MacAddress;
use serde_json::Value;

use super::operator;
use crate::lan::Lan;
use crate::stage::Stage;
use crate::support::card::Card;
use crate::support::dhcp::{Machine, overheard};
use crate::support::server::Server;
use crate::support::wait::until;

/// Machines that may wait.
const MAX: usize = 30;
/// Strangers of a flood.
const FLOOD: u16 = 5000;
/// Longer than what a relay's doubled packet takes, for the second one to count.
const PAUSE: Duration = Duration::from_millis(400);

/// Silence until approval by kubectl or by the program, an offer after it; floods make a bounded number
/// of Machines, which go when nobody wants them; who was touched stays.
pub(super) fn waits_for_approval(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    let mut card = lan.card("own")?;
    let kubeconfig = operator::account(stage)?;
    let max = MAX.to_string();
    let flags = ["--discovered-max", &max, "--discovered-rate", "100"];
    let server = operator::start_as(stage, &kubeconfig, &flags)?;
    let world = operator::WORLD.replace(
        "  mode: Server\n",
        "  mode: Server\n  unknownMachines: Discover\n",
    );
    ensure!(world != operator::WORLD, "the Subnet does not discover");
    stage.apply(&world)?;
    server.logged("DHCP serves")?;

    let (one, two) = (Machine::number(1), Machine::number(2));
    let object = is_discovered(stage, &mut card, one)?;
    shows_what_was_told(&object)?;
    is_discovered(stage, &mut card, two)?;
    let patch = r#"{"spec":{"approved":true}}"#;
    stage.kubectl(&[
        "patch",
        "machine",
        &name(one),
        "--type",
        "merge",
        "-p",
        patch,
    ])?;
    let said = approve(stage, two)?;
    ensure!(said.contains(&name(two)), "approve said: {said}");
    for machine in [one, two] {
        let offer = machine.boots(&mut card)?;
        ensure!(offer.kind == MessageType::Offer, "{:?}", offer.kind);
    }

    let lines = flood(stage, &mut card, &server)?;
    let touched = touches_one(stage)?;
    server.stop()?;
    let flags = [&flags[..], &["--discovered-ttl", "10s"]].concat();
    let server = operator::start_as(stage, &kubeconfig, &flags)?;
    let left = [name(one), name(two), touched];
    until("the end of those that nobody wants", || {
        Ok((machines(stage)?.len() == left.len()).then_some(()))
    })?;
    let mut expected = left.to_vec();
    expected.sort();
    ensure!(machines(stage)? == expected, "left: {:?}", machines(stage)?);
    let expired = u64::try_from(MAX - 1)?;
    until("the count of those that expired", || {
        let counted = server.metric("reveille_discovered_expired_total")?;
        Ok((counted == expired).then_some(()))
    })?;
    server.stop()?;
    Ok(lines)
}

/// The machine's firmware asks until its object is there. Nothing answers it.
fn is_discovered(stage: &Stage<'_>, card: &mut Card, machine: Machine) -> Result<Value> {
    overheard(card)?;
    let object = until("a Machine for a stranger", || {
        card.send(&machine.wakes())?;
        let shown = stage.kubectl(&["get", "machine", &name(machine), "-o", "json"])?;
        let object: Value = serde_json::from_str(&shown)?;
        let has_facts = object.pointer("/status/facts").is_some();
        Ok(has_facts.then_some(object))
    })?;
    card.send(&machine.wakes())?;
    let answers = overheard(card)?;
    let answered = answers.iter().any(|reply| reply.mac() == machine.mac);
    ensure!(!answered, "{} was answered", machine.mac);
    Ok(object)
}

fn shows_what_was_told(object: &Value) -> Result<()> {
    for (pointer, expected) in [
        ("/spec/approved", Value::Bool(false)),
        ("/spec/interfaces/0/mac", "02:00:00:00:00:01".into()),
        ("/metadata/labels/reveille.dev~1discovered", "true".into()),
        ("/status/facts/firmware", "x64 UEFI".into()),
        (
            "/status/facts/vendorClass",
            "PXEClient:Arch:00007:UNDI:003016".into(),
        ),
        (
            "/status/facts/uuid",
            "00000000-0000-0000-0000-020000000001".into(),
        ),
        ("/status/facts/subnet", "lab".into()),
    ] {
        let found = object.pointer(pointer);
        ensure!(found == Some(&expected), "{pointer}: {found:?} of {object}");
    }
    let seen = object.pointer("/status/facts/firstSeen");
    ensure!(seen.is_some(), "no firstSeen: {object}");
    Ok(())
}

/// Strangers who ask once come to nothing; of those who ask again, as many become Machines as may wait.
fn flood(stage: &Stage<'_>, card: &mut Card, server: &Server) -> Result<Vec<String>> {
    let before = server.resident()?;
    let plain = Machine::number(0x6666);
    let question = plain.broadcasts(&plain.message(MessageType::Discover));
    for _ in 0..3 {
        card.send(&question)?;
        sleep(PAUSE);
    }
    let heard = r#"reveille_dhcp_requests_total{outcome="machine-unknown",type="discover"}"#;
    let start = server.metric(heard)?;
    for number in 0..FLOOD {
        card.send(&stranger(number).wakes())?;
    }
    until("the first flood", || {
        Ok((server.metric(heard)? > start + u64::from(FLOOD) / 10).then_some(()))
    })?;
    let known = machines(stage)?.len();
    ensure!(known == 2, "{known} Machines after a flood that asks once");
    let full = r#"reveille_discovery_dropped_total{reason="namespace-full"}"#;
    until("as many Machines as may wait", || {
        for number in 0..FLOOD {
            card.send(&stranger(number).wakes())?;
        }
        let known = machines(stage)?.len();
        ensure!(known <= MAX + 2, "{known} Machines");
        let dropped = server.metric(full)?;
        Ok((known == MAX + 2 && dropped > 0).then_some(()))
    })?;
    let plain = r#"reveille_discovery_dropped_total{reason="plain-client"}"#;
    ensure!(server.metric(plain)? == 3, "plain clients were not named");
    ensure!(
        !machines(stage)?.contains(&name(Machine::number(0x6666))),
        "a plain client is a Machine"
    );
    // The answer's path goes on beside it.
    Machine::number(1).boots(card)?;
    let grown = server.resident()?.saturating_sub(before);
    ensure!(grown < 32 << 20, "grew by {} MiB", grown >> 20);
    Ok(vec![
        format!("{FLOOD} strangers who ask once make no Machine, asking on they make {MAX}"),
        format!("grew by {} KiB", grown >> 10),
    ])
}

/// Somebody takes one of the flood for his own, by a label.
fn touches_one(stage: &Stage<'_>) -> Result<String> {
    let all = machines(stage)?;
    let mine = all
        .into_iter()
        .find(|name| name.starts_with("mac-02-00-00-01"));
    let mine = mine.context("no Machine of the flood")?;
    stage.kubectl(&["label", "machine", &mine, "example.net/rack=7"])?;
    Ok(mine)
}

/// `reveille approve`, as a person calls it on the host.
fn approve(stage: &Stage<'_>, machine: Machine) -> Result<String> {
    let output = Server::command()
        .args(["approve", &machine.mac.to_string()])
        .env("REVEILLE_STATE", stage.folder.join("operator/state"))
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "approve: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One of the flood.
fn stranger(number: u16) -> Machine {
    let [high, low] = number.to_be_bytes();
    Machine {
        mac: MacAddress::new([0x02, 0, 0, 1, high, low]),
        broadcast: false,
    }
}

fn name(machine: Machine) -> String {
    reveille::discover::name_of(machine.mac)
}

/// The names of all Machines, in order.
fn machines(stage: &Stage<'_>) -> Result<Vec<String>> {
    let shown = stage.kubectl(&["get", "machines", "-o", "name"])?;
    let names = shown.lines().filter_map(|line| line.split('/').nth(1));
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    Ok(names)
}
