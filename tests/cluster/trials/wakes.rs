//! Virtual machines are woken by what kubectl applied: with the API server, and without it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::operator::account;
use crate::lan::Lan;
use crate::stage::Stage;
use crate::support::machine::{
    AWAKE, Firmware, LIMIT, Machine, PROMISE, Running, expect_command_line,
};
use crate::support::server::Server;
use crate::support::wait::{until, until_within};

/// What is applied, from the project's root: a Subnet, a BootProfile, three Machines.
const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/first-light");

/// Two of its machines.
const PXE: Machine = Machine {
    name: "uefi-pxe",
    mac: "52:54:00:00:00:02",
    firmware: Firmware::UefiPxe,
    disk: false,
};
const HTTP: Machine = Machine {
    name: "uefi-http",
    mac: "52:54:00:00:00:03",
    firmware: Firmware::UefiHttp,
    disk: false,
};

/// The operator as a service account sees to a machine: kubectl apply, power on, user space.
pub(super) fn woken(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let _lan = Lan::open()?;
    let server = start(stage, &account(stage)?)?;
    stage.kubectl(&["apply", "-f", MANIFESTS])?;
    server.logged("DHCP serves")?;
    let mut running = PXE.power_on(stage.assets()?, &stage.folder)?;
    let after = wakes(&mut running)?;
    let mut lines = vec![told(&server, PXE, after)?];
    shows_the_boot(stage, PXE, "profile-ref")?;
    let events = until("Events of the boot", || {
        let text = stage.kubectl(&["describe", "machine", PXE.name])?;
        Ok(text.contains("HandedOff").then_some(text))
    })?;
    ensure!(events.contains("Woke"), "{events}");
    for words in [
        ["get", "machines", "-o", "wide"],
        ["get", "subnets", "-o", "wide"],
        ["get", "bootprofiles", "-o", "wide"],
        ["get", "machine/uefi-pxe", "-o", "yaml"],
    ] {
        lines.push(format!("kubectl {}", words.join(" ")));
        lines.extend(stage.kubectl(&words)?.lines().map(str::to_owned));
    }
    server.stop()?;
    Ok(lines)
}

/// The same when the API server is gone before power-on, and the operator has only what it kept.
pub(super) fn woken_alone(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let _lan = Lan::open()?;
    let kubeconfig = account(stage)?;
    let server = start(stage, &kubeconfig)?;
    stage.kubectl(&["apply", "-f", MANIFESTS])?;
    is_kept(stage)?;
    stage.plane.kill_api_server()?;
    server.kill()?;

    let server = start(stage, &kubeconfig)?;
    server.logged("what was known before is served")?;
    let mut running = HTTP.power_on(stage.assets()?, &stage.folder)?;
    let after = wakes(&mut running)?;
    ensure!(
        stage.plane.api_server().is_err(),
        "the API server was there"
    );
    let line = told(&server, HTTP, after)?;
    stage.plane.start_api_server()?;
    server.logged("the API server answers")?;
    // No profileRef: the default of its namespace.
    shows_the_boot(stage, HTTP, "namespace-default")?;
    server.stop()?;
    Ok(vec![line])
}

fn start(stage: &Stage<'_>, kubeconfig: &Path) -> Result<Server> {
    stage
        .operator_with_linux("operator", kubeconfig)?
        .with(&["--namespace", &stage.namespace])
        .start()
}

/// Waits until all that was applied is on the operator's disk.
fn is_kept(stage: &Stage<'_>) -> Result<()> {
    let world: PathBuf = stage.folder.join("operator/state/world.json");
    until("the world on disk", || {
        let kept = std::fs::read_to_string(&world)?;
        let all = ["lab", "linux", "bios-pxe", PXE.name, HTTP.name];
        let whole = all.iter().all(|name| kept.contains(&format!("\"{name}\"")));
        Ok(whole.then_some(()))
    })
}

/// Waits until the machine's user space says who it is and how it was booted; the time since power-on.
pub(super) fn wakes(running: &mut Running) -> Result<Duration> {
    let Machine { name, mac, .. } = running.machine;
    let (said, after) = until_within(LIMIT, &format!("user space of {name}"), || {
        // In this order: what a machine said last is read after it went off.
        let off = running.is_off();
        match running.said(AWAKE) {
            Some(line) => Ok(Some(Ok((line, running.uptime())))),
            None if off => Ok(Some(Err(anyhow::anyhow!("{name} went off without a word")))),
            None => Ok(None),
        }
    })??;
    let expected = format!("console=ttyS0 hostname={name} reveille.mac={mac}");
    expect_command_line(&said, name, &expected)?;
    Ok(after)
}

/// Waits until the Machine's status tells of its one boot, from the first offer to the hand-off.
fn shows_the_boot(stage: &Stage<'_>, machine: Machine, rule: &str) -> Result<()> {
    let object = format!("machine/{}", machine.name);
    stage.kubectl(&["wait", "--for=condition=Booted", &object, "--timeout=30s"])?;
    until(&format!("the status of {object}"), || {
        let text = stage.kubectl(&["get", &object, "-o", "json"])?;
        let status = serde_json::from_str::<Value>(&text)?["status"].take();
        for (pointer, expected) in [
            ("/phase", "Booted"),
            ("/profile", "linux"),
            ("/rule", rule),
            ("/boots/0/result", "handed-off"),
            ("/boots/0/architecture", "x86_64-uefi"),
            ("/boots/0/profile", "linux"),
        ] {
            let found = status.pointer(pointer).and_then(Value::as_str);
            ensure!(found == Some(expected), "{pointer}: {found:?} in {status}");
        }
        let boots = status["boots"].as_array().map_or(0, Vec::len);
        ensure!(boots == 1, "{boots} boots of one power-on: {status}");
        let stages = status["boots"][0]["stages"].as_array();
        let mut names = stages
            .into_iter()
            .flatten()
            .map(|one| one["stage"].as_str());
        for stage in [
            "offer", "ack", "loader", "script", "kernel", "initrd", "hand-off",
        ] {
            ensure!(
                names.any(|name| name == Some(stage)),
                "no {stage} in its place: {status}"
            );
        }
        Ok(Some(()))
    })
}

/// The operator's account of the machine's one boot, in a line.
fn told(server: &Server, machine: Machine, after: Duration) -> Result<String> {
    let boot = until("the account of the boot", || {
        let all: Value = serde_json::from_str(&server.get("/boots")?)?;
        let boots = all["boots"].as_array().map(Vec::as_slice);
        let mut own = boots
            .unwrap_or_default()
            .iter()
            .filter(|boot| boot["machine"] == machine.name);
        let Some(boot) = own.next() else {
            return Ok(None);
        };
        ensure!(own.next().is_none(), "two boots of one power-on: {all}");
        Ok((boot["result"] == "HandedOff").then(|| boot.clone()))
    })?;
    let mut line = format!("{}:", machine.firmware.as_str());
    let Some(stages) = boot["stages"].as_array() else {
        bail!("no stages: {boot}");
    };
    for stage in stages {
        let name = stage["stage"].as_str().unwrap_or_default();
        let at = stage["at_ms"].as_u64().unwrap_or_default();
        line += &format!(" {name} {}.{},", at / 1000, at % 1000 / 100);
    }
    line += &format!(" awake {:.1} s after power-on", after.as_secs_f64());
    if after > PROMISE {
        line += &format!("; warning: within {} s is promised", PROMISE.as_secs());
    }
    Ok(line)
}
