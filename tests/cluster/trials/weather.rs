//! An API server in bad weather: it throttles us, its etcd freezes or dies; clocks that differ; what it is
//! asked on a calm day. Machines boot all the while.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::operator::{WORLD, account, is_offered, machine, start_as};
use super::replicas::{TIMES, comes_to_lead, launch, leads};
use crate::kubectl::Rules;
use crate::lan::Lan;
use crate::stage::Stage;
use crate::support::dhcp::Machine;
use crate::support::process::Process;
use crate::support::server::fetch;
use crate::support::wait::until;

/// The program of [`clocks`].
pub(super) const FAKETIME: &str = "faketime";
/// Our door for machines, [`ns::ADDRESS`](crate::support::ns::ADDRESS).
const DOOR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 80);
/// Where machine 7 gets its script.
const SCRIPT: &str = "/reveille/machines/02-00-00-00-00-07/boot.ipxe";
/// How long a state is looked at in which something must not happen.
const LOOK: Duration = Duration::from_secs(10);

/// The API server's own fairness lets one request of these accounts in at a time, and refuses each other with
/// 429. A webhook that never answers holds up who makes a ConfigMap.
const CLOSED: &str = "\
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: hold}
webhooks:
- name: hold.example.net
  clientConfig: {url: 'https://SILENT/'}
  rules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}
  admissionReviewVersions: [v1]
  sideEffects: None
  timeoutSeconds: 30
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {name: closed}
spec:
  type: Limited
  limited:
    nominalConcurrencyShares: 0
    lendablePercent: 0
    borrowingLimitPercent: 0
    limitResponse: {type: Reject}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: closed}
spec:
  priorityLevelConfiguration: {name: closed}
  matchingPrecedence: 2
  rules:
  - subjects:
    - {kind: ServiceAccount, serviceAccount: {name: reveille, namespace: NAMESPACE}}
    - {kind: ServiceAccount, serviceAccount: {name: holder, namespace: NAMESPACE}}
    resourceRules: [{verbs: ['*'], apiGroups: ['*'], resources: ['*'], namespaces: ['*'], clusterScope: true}]
";

/// Each request is answered with 429, also those of a fresh start: machines boot by what is known, the API
/// server is asked ever more seldom, and all is caught up afterwards.
pub(super) fn throttled(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    let mut card = lan.card("own")?;
    let account = account(stage)?;
    stage.apply(&format!("{WORLD}---\n{}", machine(7, 7)))?;
    let server = start_as(stage, &account, &[])?;
    is_offered(&mut card, 7, 7)?;
    let lease = Machine::number(1).lease(&mut card)?;
    server.stop()?;

    // Connections are made, by the kernel, and that is all.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let closed = CLOSED
        .replace("NAMESPACE", &stage.namespace)
        .replace("SILENT", &silent.local_addr()?.to_string());
    stage.plane.apply(&closed)?;
    let holder = hold(stage)?;
    until("the API server to refuse the account", || {
        let asked = stage
            .plane
            .kubectl_as(&account, &["get", "machines", "--request-timeout=2s"]);
        Ok(asked.is_err().then_some(()))
    })?;
    let server = start_as(stage, &account, &[])?;
    server.logged("with 429")?;
    server.logged("what was known before is served")?;
    is_offered(&mut card, 7, 7)?;
    Machine::number(1)
        .renew(&mut card, lease)?
        .acks(lease.address)?;
    Machine::number(2).lease(&mut card)?;
    let before = asked(stage)?;
    sleep(LOOK);
    let after = asked(stage)?;
    // Four watches at most every eight seconds each by now, the election every two, and slack.
    let requests = after.len() - before.len();
    ensure!(
        requests <= 40,
        "{requests} requests in {LOOK:?} of an API server that asks for less: {:?}",
        after.get(before.len()..)
    );

    stage.plane.kubectl(&["delete", "flowschema", "closed"])?;
    drop(holder);
    server.logged("the API server answers")?;
    stage.apply(&machine(7, 8))?;
    is_offered(&mut card, 7, 8)?;
    let ready = [
        "wait",
        "--for=condition=Ready",
        "subnet/lab",
        "--timeout=60s",
    ];
    stage.kubectl(&ready)?;
    server.stop()?;
    Ok(vec![format!(
        "{requests} requests within {LOOK:?} while each was answered with 429"
    )])
}

/// Has one request under way all the time.
fn hold(stage: &Stage<'_>) -> Result<Process> {
    let rules = Rules::Here("[{apiGroups: [''], resources: [configmaps], verbs: [create]}]");
    let account = stage.account("holder", rules)?;
    let mut command = Command::new("sh");
    command
        .args(["-c", "while :; do \"$0\" \"$@\"; done"])
        .arg(&stage.plane.programs.kubectl)
        .args(["create", "configmap", "held", "--kubeconfig"])
        .arg(account);
    Process::spawn("the holder", command, &stage.folder.join("holder.log"))
}

/// What our account asked so far, as verb and resource.
fn asked(stage: &Stage<'_>) -> Result<Vec<(String, String)>> {
    let user = format!("system:serviceaccount:{}:reveille", stage.namespace);
    let requests = stage
        .plane
        .requests_where(|request| request.user == user && request.agent.starts_with("reveille/"))?;
    let words = requests.into_iter().map(|it| (it.verb, it.resource));
    Ok(words.collect())
}

/// The API server's etcd freezes, then dies: requests hang, then fail with 500 and their like.
pub(super) fn etcd(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    let mut card = lan.card("own")?;
    let account = account(stage)?;
    let one_of_two = ["--replicas=2", "--ordinal=0"];
    let words: Vec<_> = TIMES.into_iter().chain(one_of_two).collect();
    let server = start_as(stage, &account, &words)?;
    stage.apply(&format!("{WORLD}---\n{}", machine(7, 7)))?;
    is_offered(&mut card, 7, 7)?;
    comes_to_lead(&server, "the replica")?;
    let lease = Machine::number(1).lease(&mut card)?;

    stage.plane.signal_etcd(Signal::SIGSTOP)?;
    server.logged("cannot tell who leads")?;
    is_offered(&mut card, 7, 7)?;
    Machine::number(1)
        .renew(&mut card, lease)?
        .acks(lease.address)?;
    stage.plane.signal_etcd(Signal::SIGCONT)?;
    until("the lead after the frost", || {
        Ok(leads(&server)?.then_some(()))
    })?;
    stage.apply(&machine(7, 8))?;
    is_offered(&mut card, 7, 8)?;

    stage.plane.kill_etcd()?;
    let code = until("an error of the API server itself", || {
        let failed = stage
            .plane
            .requests_where(|it| it.agent.starts_with("reveille/") && it.code >= Some(500))?;
        Ok(failed.first().and_then(|it| it.code))
    })?;
    until("the end of its lead", || {
        Ok((!leads(&server)?).then_some(()))
    })?;
    is_offered(&mut card, 7, 8)?;
    Machine::number(1)
        .renew(&mut card, lease)?
        .acks(lease.address)?;
    stage.plane.start_etcd()?;
    until("the lead with etcd back", || {
        Ok(leads(&server)?.then_some(()))
    })?;
    until("the API server to take an edit", || {
        Ok(stage.apply(&machine(7, 9)).ok())
    })?;
    is_offered(&mut card, 7, 9)?;
    server.stop()?;
    Ok(vec![format!("the API server answered with {code}")])
}

/// Replicas whose clocks are twenty minutes apart, far more than a lease of the lead lasts: one leads, and
/// each machine keeps its address through the change.
pub(super) fn clocks(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    let mut card = lan.card("own")?;
    stage.apply(WORLD)?;
    let account = account(stage)?;
    let library = library()?;
    let start = |number: u16, offset: &str| {
        launch(stage, number, &account)?
            .env("LD_PRELOAD", &library.display().to_string())
            .env("FAKETIME", offset)
            // Its steady clock is as steady as any.
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .start()
    };
    let early = start(0, "+10m")?;
    comes_to_lead(&early, "replica 0")?;
    let late = start(1, "-10m")?;
    late.logged("this replica follows")?;
    let lease = Machine::number(1).lease(&mut card)?;
    until("the mirror of its lease", || {
        let all = stage.kubectl(&["get", "dhcpleases", "-o", "name"])?;
        Ok(all.contains(&lease.address.to_string()).then_some(()))
    })?;
    sleep(LOOK);
    ensure!(leads(&early)? && !leads(&late)?, "the lead went by a clock");

    early.kill()?;
    comes_to_lead(&late, "replica 1")?;
    Machine::number(1)
        .renew(&mut card, lease)?
        .acks(lease.address)?;
    let second = Machine::number(2).lease(&mut card)?;
    ensure!(second.address != lease.address, "{} twice", lease.address);
    // Back, it finds a lead that was renewed long ago by its own clock, and leaves it alone.
    let early = start(0, "+10m")?;
    early.logged("this replica follows")?;
    sleep(LOOK);
    ensure!(leads(&late)? && !leads(&early)?, "the lead went by a clock");
    late.stop()?;
    comes_to_lead(&early, "replica 0")?;
    for (number, lease) in [(1, lease), (2, second)] {
        Machine::number(number)
            .renew(&mut card, lease)?
            .acks(lease.address)?;
    }
    early.stop()?;
    Ok(vec!["twenty minutes apart, one leads".to_owned()])
}

/// The library that lies about the time.
fn library() -> Result<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib")?.flatten();
    let mut places = folders.map(|it| it.path().join("faketime/libfaketime.so.1"));
    places
        .find(|path| path.exists())
        .context("libfaketime.so.1 of the package libfaketime")
}

/// On a calm day the API server is asked for nothing: its watches tell, and the lead is renewed.
pub(super) fn calm(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    let mut card = lan.card("own")?;
    stage.apply(&format!("{WORLD}---\n{}", machine(7, 7)))?;
    let account = account(stage)?;
    // With an election, which there is where there may be another.
    let server = start_as(stage, &account, &["--replicas=2", "--ordinal=0"])?;
    comes_to_lead(&server, "the replica")?;
    is_offered(&mut card, 7, 7)?;
    let idle = || -> Result<bool> { Ok(server.metric("reveille_status_queue_length")? == 0) };
    for (condition, object) in [("Ready", "subnet/lab"), ("Accepted", "machine/node-7")] {
        let condition = format!("--for=condition={condition}");
        stage.kubectl(&["wait", &condition, object, "--timeout=60s"])?;
    }
    until("all status to be written", || Ok(idle()?.then_some(())))?;
    // What an offer leaves behind is written within this.
    sleep(LOOK);
    let before = asked(stage)?.len();
    sleep(2 * LOOK);
    let asked = asked(stage)?;
    let since = asked.get(before..).unwrap_or_default();
    let is_lead = |resource: &str| resource == "leases";
    let leads = since.iter().filter(|(_, resource)| is_lead(resource));
    let leads = leads.count();
    let others: Vec<_> = since
        .iter()
        .filter(|(verb, resource)| verb != "watch" && !is_lead(resource))
        .collect();
    ensure!(others.is_empty(), "asked at rest: {others:?}");
    ensure!(
        (1..=30).contains(&leads),
        "the lead was asked about {leads} times"
    );
    server.stop()?;
    Ok(vec![format!(
        "within {:?}: {leads} renewals of the lead, nothing else",
        2 * LOOK
    )])
}

/// A profile is deleted while a machine loads its kernel: what was begun comes to its end, what comes next is
/// said, and with the profile all is back.
pub(super) fn profile_gone(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    const SIZE: u64 = 64 << 20;
    let mut lan = Lan::open()?;
    let mut card = lan.card("own")?;
    let special = "apiVersion: reveille.dev/v1alpha1\nkind: BootProfile\nmetadata: {name: special}\n\
                   spec: {linux: {kernel: {path: special/vmlinuz}}}\n";
    let of_special = machine(7, 7).replace("spec: {", "spec: {profileRef: {name: special}, ");
    stage.apply(&format!("{WORLD}---\n{special}---\n{of_special}"))?;
    let tree = stage.folder.join("operator/artifacts/special");
    std::fs::create_dir_all(&tree)?;
    std::fs::File::create(tree.join("vmlinuz"))?.set_len(SIZE)?;
    let server = start_as(stage, &account(stage)?, &[])?;
    is_offered(&mut card, 7, 7)?;
    let kernel = "/reveille/machines/02-00-00-00-00-07/kernel/special/vmlinuz";
    until("the script of the profile", || {
        Ok(fetch(DOOR, SCRIPT)?.contains(kernel).then_some(()))
    })?;
    let mut transfer = TcpStream::connect(DOOR)?;
    write!(transfer, "GET {kernel} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut begun = vec![0; 1 << 20];
    transfer.read_exact(&mut begun)?;

    stage.kubectl(&["delete", "bootprofile", "special"])?;
    until("a script without the profile", || {
        Ok(fetch(DOOR, SCRIPT)?
            .contains("boots its disk")
            .then_some(()))
    })?;
    let reason = "-o=jsonpath={.status.conditions[?(@.type=='Ready')].reason}";
    until("the Machine to say so", || {
        let reason = stage.kubectl(&["get", "machine", "node-7", reason])?;
        Ok((reason == "ProfileNotFound").then_some(()))
    })?;
    ensure!(
        fetch(DOOR, kernel).is_err(),
        "a kernel of a profile that is gone"
    );
    is_offered(&mut card, 7, 7)?;
    let rest = std::io::copy(&mut transfer, &mut std::io::sink())?;
    let all = rest + (1 << 20);
    ensure!(all > SIZE, "{all} of {SIZE} bytes came");

    stage.apply(special)?;
    until("the script with the profile back", || {
        Ok(fetch(DOOR, SCRIPT)?.contains(kernel).then_some(()))
    })?;
    stage.kubectl(&[
        "wait",
        "--for=condition=Ready",
        "machine/node-7",
        "--timeout=60s",
    ])?;
    server.stop()?;
    Ok(vec![format!(
        "a transfer of {} MiB came to its end",
        SIZE >> 20
    )])
}
