//! `reveille explain --cluster` says by the resources alone what the operator then does.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::operator::{WORLD, account, is_offered, machine, start};
use crate::lan::Lan;
use crate::stage::Stage;
use crate::support::server::Server;

/// Nothing runs yet: the resources are explained. Then the operator does as was said, and is explained
/// in the same words.
pub(super) fn resources(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    stage.apply(&format!("{WORLD}---\n{}", machine(7, 7)))?;
    let kubeconfig = account(stage)?;
    let said = by_cluster(stage, &kubeconfig, "node-7")?;
    let own = format!("{}/node-7", stage.namespace);
    for (field, want) in [
        ("machine", own.as_str()),
        ("verdict", "boot"),
        ("rule", "namespace-default"),
    ] {
        ensure!(said[field] == want, "{field}: {}", said[field]);
    }
    ensure!(
        stage_of(&said, "system")?["reply"]["yiaddr"] == "192.0.2.7",
        "{said}"
    );
    // Nobody that is there by that name, and the one that is meant.
    let output = command(stage, &kubeconfig, "node-8").output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        !output.status.success() && text.contains("did you mean `node-7`?"),
        "{text}"
    );

    let mut lan = Lan::open()?;
    let mut card = lan.card("own")?;
    let server = start(stage, &[])?;
    is_offered(&mut card, 7, 7)?;
    let mut running = Server::command();
    running
        .args(["explain", "node-7", "--output", "json", "--state"])
        .arg(stage.folder.join("operator/state"));
    let running = first(running)?;
    for client in ["pxe", "ipxe", "system"] {
        let (before, now) = (stage_of(&said, client)?, stage_of(&running, client)?);
        ensure!(
            before["reply_hex"] == now["reply_hex"],
            "{client}: {} by the cluster, {} by the operator",
            before["reply"],
            now["reply"]
        );
        ensure!(before["reply_hex"].is_string(), "{client}: no reply");
    }
    // Another namespace is explained where its name is given, and is empty.
    let mut elsewhere = Server::command();
    elsewhere
        .args(["explain", "node-7", "--cluster", "--namespace", "default"])
        .arg("--kubeconfig")
        .arg(stage.plane.kubeconfig());
    let output = elsewhere.output()?;
    ensure!(!output.status.success(), "a Machine of another namespace");
    server.stop()?;
    Ok(vec![
        "the bytes that were explained by the resources are those of the operator".to_owned(),
    ])
}

fn command(stage: &Stage<'_>, kubeconfig: &Path, who: &str) -> std::process::Command {
    let mut command = Server::command();
    command
        .args(["explain", who, "--cluster", "--output", "json"])
        .args(["--namespace", &stage.namespace, "--server", "192.0.2.1"])
        .arg("--loaders")
        .arg(stage.folder.join("loaders"))
        .arg("--kubeconfig")
        .arg(kubeconfig);
    command
}

fn by_cluster(stage: &Stage<'_>, kubeconfig: &Path, who: &str) -> Result<Value> {
    first(command(stage, kubeconfig, who))
}

/// The first explanation that a command prints.
fn first(mut command: std::process::Command) -> Result<Value> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{command:?}: {text}");
    let all: Value = serde_json::from_slice(&output.stdout)?;
    let one = all.get(0).cloned();
    one.with_context(|| format!("nothing is explained: {all}"))
}

/// What a client gets.
fn stage_of<'a>(said: &'a Value, client: &str) -> Result<&'a Value> {
    let stages = said["stages"].as_array().into_iter().flatten();
    let mut its = stages.filter(|stage| stage["client"] == client);
    its.next().with_context(|| format!("no stage {client}"))
}
