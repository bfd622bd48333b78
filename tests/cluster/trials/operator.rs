//! The operator serves what the API server holds, and says what keeps it from that.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use reveille::operator::rbac::NEEDS;

use crate::kubectl::Rules;
use crate::lan::Lan;
use crate::stage::Stage;
use crate::support::card::Card;
use crate::support::dhcp::Machine;
use crate::support::server::Server;
use crate::support::wait::until;

/// The network of the room's bridge, and a profile.
pub(super) const WORLD: &str = "\
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: lab}
spec:
  mode: Server
  cidr: 192.0.2.0/24
  interface: br0
  pools: [{start: 192.0.2.20, end: 192.0.2.219}]
---
apiVersion: reveille.dev/v1alpha1
kind: BootProfile
metadata: {name: linux}
spec: {default: true, linux: {kernel: {path: vmlinuz}}}
";

/// Machine number `number`, at 192.0.2.`last`.
pub(super) fn machine(number: u8, last: u8) -> String {
    format!(
        "apiVersion: reveille.dev/v1alpha1\nkind: Machine\nmetadata: {{name: node-{number}}}\n\
         spec: {{interfaces: [{{mac: \"02:00:00:00:00:{number:02x}\", ip: 192.0.2.{last}}}]}}\n"
    )
}

/// Waits until machine `number` is offered 192.0.2.`last`.
pub(super) fn is_offered(card: &mut Card, number: u16, last: u8) -> Result<()> {
    let wanted = Ipv4Addr::new(192, 0, 2, last);
    until(&format!("an offer of {wanted} to machine {number}"), || {
        let offered = Machine::number(number).discover(card)?.address;
        Ok((offered == wanted).then_some(()))
    })
}

/// Starts the operator in the trial's namespace, with the rights that it says it needs and no more.
pub(super) fn start(stage: &Stage<'_>, words: &[&str]) -> Result<Server> {
    start_as(stage, &account(stage)?, words)
}

/// The same with a kubeconfig that is there already: an account cannot be made without the API server.
pub(super) fn start_as(stage: &Stage<'_>, kubeconfig: &Path, words: &[&str]) -> Result<Server> {
    stage
        .operator("operator", kubeconfig)?
        .with(&["--namespace", &stage.namespace])
        .with(words)
        .start()
}

/// The account of an operator; its kubeconfig.
pub(super) fn account(stage: &Stage<'_>) -> Result<PathBuf> {
    let rules: Vec<_> = NEEDS.iter().map(|need| need.rule()).collect();
    let rules = serde_json::to_string(&rules)?;
    stage.account("reveille", Rules::Here(&rules))
}

/// What is applied is on the wire; what is deleted is not; a status write is no change.
pub(super) fn serves(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    let mut card = lan.card("own")?;
    let server = start(stage, &[])?;
    stage.apply(WORLD)?;
    server.logged("DHCP serves")?;
    stage.apply(&machine(7, 7))?;
    is_offered(&mut card, 7, 7)?;
    stage.apply(&machine(7, 8))?;
    is_offered(&mut card, 7, 8)?;
    // Its neighbour in another namespace is none of ours.
    let elsewhere = machine(9, 9).replace("{name: node-9}", "{name: node-9, namespace: default}");
    stage.plane.apply(&elsewhere)?;
    stage.kubectl(&["delete", "machine", "node-7"])?;
    until("an address of the pool for machine 7", || {
        let last = Machine::number(7).discover(&mut card)?.address.octets()[3];
        Ok((20..=219).contains(&last).then_some(()))
    })?;
    let other = Machine::number(9).discover(&mut card)?.address;
    ensure!(
        other != Ipv4Addr::new(192, 0, 2, 9),
        "another namespace is served"
    );
    stage.plane.kubectl(&["delete", "machine", "node-9"])?;

    // Two Subnets of one network: the older one is served, and the younger one is named.
    let younger = WORLD.replace("{name: lab}", "{name: younger}");
    stage.apply(younger.split("---").next().unwrap_or_default())?;
    server.logged("younger spec.cidr")?;
    is_served_on(&mut card)?;
    let agent = format!("reveille/{}", env!("CARGO_PKG_VERSION"));
    let lists = stage.plane.requests_where(|request| {
        request.agent == agent
            && request.namespace == stage.namespace
            && (request.verb.as_str(), request.resource.as_str()) == ("list", "machines")
    })?;
    let lists = lists.len();
    ensure!(lists == 1, "machines were listed {lists} times");
    server.stop()?;
    Ok(vec![format!("one list, then a watch, by {agent}")])
}

fn is_served_on(card: &mut Card) -> Result<()> {
    Machine::number(3).lease(card).map(drop)
}

/// Manifests beside the API: served from the start, and the API's object of the same name wins.
pub(super) fn files(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    let mut card = lan.card("own")?;
    let folder = stage.folder.join("manifests");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("world.yaml"), WORLD)?;
    std::fs::write(folder.join("node-7.yaml"), machine(7, 7))?;
    let server = start(stage, &["--manifests", &folder.display().to_string()])?;
    is_offered(&mut card, 7, 7)?;
    stage.apply(&machine(7, 8))?;
    is_offered(&mut card, 7, 8)?;
    server.logged("node-7 is in the API and in a file; the API's is served")?;
    stage.kubectl(&["delete", "machine", "node-7"])?;
    is_offered(&mut card, 7, 7)?;
    std::fs::write(folder.join("node-7.yaml"), machine(7, 9))?;
    is_offered(&mut card, 7, 9)?;
    server.stop()?;
    Ok(Vec::new())
}

/// What an account may not do is said with the verb and the resource; once it may, it is done.
pub(super) fn forbidden(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let rules = |resources: &str| {
        format!("[{{apiGroups: [reveille.dev], resources: {resources}, verbs: [list, watch]}}]")
    };
    let account = stage.account("operator", Rules::Here(&rules("[subnets, bootprofiles]")))?;
    let server = stage
        .operator("operator", &account)?
        .with(&["--namespace", &stage.namespace])
        .spawn()?;
    server.logged("we may not list machines.reveille.dev")?;
    if server.get("/readyz").is_ok() {
        bail!("it is ready without the machines");
    }
    stage.account("operator", Rules::Here(&rules("['*']")))?;
    until("the machines to be listed", || {
        Ok(server.get("/readyz").is_ok().then_some(()))
    })?;
    server.stop()?;
    Ok(Vec::new())
}

/// An object that cannot be read costs itself only, and is served as it was.
pub(super) fn bad_objects(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    let mut card = lan.card("own")?;
    let server = start(stage, &[])?;
    stage.apply(&format!(
        "{WORLD}---\n{}---\n{}",
        machine(7, 7),
        machine(8, 8)
    ))?;
    is_offered(&mut card, 8, 8)?;
    loosen(stage)?;
    // A watch that is older than the schema still sees objects without the field.
    let mut tries = 0;
    until("the unreadable object to be named", || {
        tries += 1;
        let bad = format!(
            r#"{{"spec":{{"colour":"red-{tries}","interfaces":[{{"mac":"02:00:00:00:00:07","ip":"192.0.2.9"}}]}}}}"#
        );
        stage.kubectl(&["patch", "machine", "node-7", "--type=merge", "-p", &bad])?;
        let line = "Machine operator-bad-objects/node-7: unknown field `spec.colour`";
        Ok((server.times_logged(line)?
            + server.times_logged("node-7 spec.colour: unknown field")?
            > 0)
        .then_some(()))
    })?;
    let good = r#"{"spec":{"colour":null}}"#;
    stage.kubectl(&["patch", "machine", "node-8", "--type=merge", "-p", good])?;
    stage.apply(&machine(8, 10))?;
    is_offered(&mut card, 8, 10)?;
    // One that never was good: it is not taken for an unknown machine.
    let never = machine(6, 6).replace("spec: {", "spec: {colour: red, ");
    stage.plane.kubectl_output(
        &stage.plane.kubeconfig(),
        &[
            "apply",
            "--validate=false",
            "-n",
            &stage.namespace,
            "-f",
            "-",
        ],
        &never,
    )?;
    server.logged("node-6 spec.colour")?;
    stage.kubectl(&["patch", "machine", "node-7", "--type=merge", "-p", good])?;
    is_offered(&mut card, 7, 9)?;
    server.stop()?;
    Ok(Vec::new())
}

/// Has the API server take any field in a Machine, as one of another version might.
fn loosen(stage: &Stage<'_>) -> Result<()> {
    let place = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-preserve-unknown-fields";
    let patch = format!(r#"[{{"op": "add", "path": "{place}", "value": true}}]"#);
    let crd = "crd/machines.reveille.dev";
    stage
        .plane
        .kubectl(&["patch", crd, "--type=json", "-p", &patch])?;
    // The new schema is used a moment later.
    let colour = r#"{"spec":{"colour":"blue"}}"#;
    until("a stored field that nobody knows", || {
        stage.kubectl(&["patch", "machine", "node-8", "--type=merge", "-p", colour])?;
        let stored =
            stage.kubectl(&["get", "machine", "node-8", "-o", "jsonpath={.spec.colour}"])?;
        Ok((stored == "blue").then_some(()))
    })
}

/// Without a definition it says which, waits, and serves once it is there.
pub(super) fn not_installed(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let machines = "crd/machines.reveille.dev";
    stage.plane.kubectl(&["delete", machines, "--wait=true"])?;
    let kubeconfig = account(stage)?;
    let server = stage
        .operator("operator", &kubeconfig)?
        .with(&["--namespace", &stage.namespace])
        .spawn()?;
    server.logged("the cluster knows no machines.reveille.dev; install the CRDs")?;
    stage.plane.install_crds()?;
    until("readiness", || {
        Ok(server.get("/readyz").is_ok().then_some(()))
    })?;
    let mut lan = Lan::open()?;
    let mut card = lan.card("own")?;
    stage.apply(&format!("{WORLD}---\n{}", machine(7, 7)))?;
    is_offered(&mut card, 7, 7)?;
    ensure!(
        server.resident()? < 100 << 20,
        "{} MiB",
        server.resident()? >> 20
    );
    server.stop()?;
    Ok(Vec::new())
}
