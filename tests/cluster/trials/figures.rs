//! How soon an edit is on the wire, and what ten thousand machines cost. It
//! measures, so it runs only when it is named, best with a release build in
//! `REVEILLE_LAB_BIN`.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt as _;
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use reveille::api::Machine as Resource;
use serde_json::json;

use super::operator::{account, start_as};
use crate::lan::Lan;
use crate::stage::Stage;
use crate::support::dhcp::Machine;
use crate::support::ns;
use crate::support::server::Server;
use crate::support::wait::{until, until_within};

/// Machines that are present.
const MACHINES: u32 = 10_000;
/// Leases that are on disk when the program starts.
const LEASES: u32 = 100_000;
/// Edits that are timed.
const EDITS: u8 = 100;
/// Requests to the API server at once, while the machines are made.
const AT_ONCE: usize = 16;

/// A /16 in which the machines have their addresses, and a hall whose machines lease theirs.
const WORLD: &str = "\
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: site}
spec:
  mode: Server
  cidr: 192.0.0.0/16
  interface: br0
  pools: [{start: 192.0.200.0, end: 192.0.200.255}]
---
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: hall}
spec:
  mode: Server
  cidr: 10.0.0.0/8
  interface: hall0
  pools: [{start: 10.32.0.0, end: 10.33.255.255}]
---
apiVersion: reveille.dev/v1alpha1
kind: BootProfile
metadata: {name: linux}
spec: {default: true, linux: {kernel: {path: vmlinuz}}}
";

/// Ten thousand machines and a hundred thousand leases, then one machine after the other is edited.
#[expect(clippy::disallowed_methods, reason = "measures real time")]
pub(super) fn figures(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    let mut card = lan.card("own")?;
    ns::run("ip link add hall0 type bridge")?;
    ns::run("ip address add 10.0.0.1/8 dev hall0")?;
    ns::run("ip link set hall0 up")?;
    stage.apply(WORLD)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let api = runtime.block_on(api(&stage.plane.kubeconfig(), &stage.namespace))?;
    let made = Instant::now();
    runtime.block_on(fill(&api))?;
    let made = made.elapsed();
    lend(stage)?;
    let server = start_as(stage, &account(stage)?, &[])?;
    let first = until_within(Duration::from_secs(60), "all machines to be served", || {
        let served = server.get("/status")?.contains(&format!("{MACHINES}"));
        served.then(|| server.resident()).transpose()
    })?;

    let mut took = Vec::new();
    for edit in 0..EDITS {
        let number = u16::from(edit) + 1;
        let wanted = Ipv4Addr::new(192, 0, 210, edit);
        let spec = json!({"spec": {"interfaces": [
            {"mac": Machine::number(number).mac.to_string(), "ip": wanted.to_string()}]}});
        let name = format!("node-{number}");
        runtime.block_on(api.patch(&name, &PatchParams::default(), &Patch::Merge(&spec)))?;
        let accepted = Instant::now();
        until("the new address on the wire", || {
            let offered = Machine::number(number).discover(&mut card)?.address;
            Ok((offered == wanted).then_some(()))
        })?;
        took.push(accepted.elapsed());
    }
    took.sort();
    let at = |percent: usize| took.get((took.len() * percent / 100).min(took.len() - 1));
    let (half, most) = (at(50).context("edits")?, at(99).context("edits")?);
    let last = server.resident()?;
    ensure!(
        server.metric("reveille_status_queue_length")? <= u64::from(MACHINES) + 2,
        "queue"
    );
    server.stop()?;
    Ok(vec![
        format!("{MACHINES} machines made in {:.0} s", made.as_secs_f64()),
        format!(
            "edit to wire: median {} ms, p99 {} ms, most {} ms, of {EDITS}",
            half.as_millis(),
            most.as_millis(),
            took.last().map_or(0, Duration::as_millis)
        ),
        format!(
            "resident with {LEASES} leases: {} MiB once served, {} MiB after the edits",
            first >> 20,
            last >> 20
        ),
    ])
}

/// Has every lease of the hall on disk before the start, as a week of work leaves them: with names, and
/// client ids as systems send them.
fn lend(stage: &Stage<'_>) -> Result<()> {
    let mut lines = String::new();
    for number in 0..LEASES {
        let [_, b, c, d] = number.to_be_bytes();
        writeln!(
            lines,
            "{}",
            json!({"address": Ipv4Addr::new(10, 32 + b, c, d), "mac": format!("02:11:00:{b:02x}:{c:02x}:{d:02x}"),
                "clientId": format!("ff00000000000100012a{number:08x}0211{b:02x}{c:02x}{d:02x}"),
                "hostname": format!("worker-{number}"), "subnet": format!("{}/hall", stage.namespace),
                "state": "bound", "since": "2026-01-01T00:00:00Z", "expires": "2099-01-01T00:00:00Z"})
        )?;
    }
    let file = stage.folder.join("leases.jsonl");
    std::fs::write(&file, lines)?;
    let state = stage.folder.join("operator/state");
    std::fs::create_dir_all(&state)?;
    let done = Server::command()
        .args(["leases", "import", "--state"])
        .args([&state, &file])
        .output()?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "leases import: {said}");
    Ok(())
}

async fn api(kubeconfig: &Path, namespace: &str) -> Result<Api<Resource>> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(Api::namespaced(Client::try_from(config)?, namespace))
}

/// Makes the machines, the first of them with the MACs that the trial's own cards have.
async fn fill(api: &Api<Resource>) -> Result<()> {
    let made = futures_util::stream::iter(1..=MACHINES)
        .map(|number| async move {
            let [_, b, c, d] = number.to_be_bytes();
            let spec = json!({"apiVersion": reveille::api::API_VERSION, "kind": "Machine",
                "metadata": {"name": format!("node-{number}")},
                "spec": {"interfaces": [{"mac": format!("02:00:00:{b:02x}:{c:02x}:{d:02x}"),
                    "ip": format!("192.0.{}.{d}", c + 10)}]}});
            let object: Resource = serde_json::from_value(spec)?;
            api.create(&PostParams::default(), &object).await?;
            anyhow::Ok(())
        })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    made.into_iter().collect()
}
