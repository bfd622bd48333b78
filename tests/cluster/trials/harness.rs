//! The harness itself: what other trials build upon does what it says.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::kubectl::Rules;
use crate::lan::Lan;
use crate::proxy::Proxy;
use crate::stage::Stage;
use crate::support::dhcp::Machine;
use crate::support::server::Launch;
use crate::support::wait::until;

/// The network of the room's bridge.
const SUBNET: &str = "\
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: lab}
spec:
  mode: Server
  cidr: 192.0.2.0/24
  interface: br0
  pools: [{start: 192.0.2.20, end: 192.0.2.219}]
";

/// What an account may do is what its role says, and what it did is counted.
pub(super) fn accounts(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let reader = stage.account(
        "reader",
        Rules::Here(r"[{apiGroups: [reveille.dev], resources: [subnets], verbs: [get, list]}]"),
    )?;
    let watcher = stage.account(
        "watcher",
        Rules::Everywhere(r"[{apiGroups: [reveille.dev], resources: ['*'], verbs: [list]}]"),
    )?;
    stage.apply(SUBNET)?;
    let found = stage
        .plane
        .kubectl_as(&reader, &["get", "subnets", "-o", "name"])?;
    ensure!(found.trim() == "subnet.reveille.dev/lab", "listed: {found}");
    for words in [
        &["get", "machines"][..],
        &["get", "subnets", "--all-namespaces"],
        &["delete", "subnet", "lab"],
    ] {
        let Err(error) = stage.plane.kubectl_as(&reader, words) else {
            anyhow::bail!("the role does not allow {words:?}, and it worked");
        };
        ensure!(error.to_string().contains("Forbidden"), "{error:#}");
    }
    stage
        .plane
        .kubectl_as(&watcher, &["get", "machines", "--all-namespaces"])?;

    let user = format!("system:serviceaccount:{}:reader", stage.namespace);
    let requests = stage.plane.requests_where(|request| request.user == user)?;
    let asked: Vec<(&str, &str, Option<u64>)> = requests
        .iter()
        .filter(|request| !request.resource.is_empty())
        .map(|request| {
            (
                request.verb.as_str(),
                request.resource.as_str(),
                request.code,
            )
        })
        .collect();
    let expected = [
        ("list", "subnets", 200),
        ("list", "machines", 403),
        ("list", "subnets", 403),
        ("delete", "subnets", 403),
    ];
    let same = asked.len() == expected.len()
        && asked
            .iter()
            .zip(expected)
            .all(|(asked, (verb, resource, code))| {
                // The outcome is noted after the answer.
                *asked == (verb, resource, Some(code)) || *asked == (verb, resource, None)
            });
    ensure!(same, "the audit log holds {asked:?}");
    let counted = stage.plane.count("kubectl", "list", "subnets")?;
    ensure!(counted >= 2, "{counted} lists of subnets by kubectl");
    let key = ["kubectl", "list", "subnets"].map(str::to_owned).into();
    let tallied = stage.plane.tally()?.get(&key).copied();
    ensure!(
        tallied == Some(counted),
        "{counted} counted, {tallied:?} tallied"
    );
    Ok(vec![format!(
        "{} requests of one account, all in the audit log",
        requests.len()
    )])
}

/// Machines on a network of the room are served by the real program.
pub(super) fn network(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    lan.host("pc", "02:00:00:00:10:01")?;
    lan.host("load", "02:00:00:00:10:02")?;
    let manifests = stage.folder.join("manifests");
    std::fs::create_dir_all(&manifests)?;
    std::fs::write(manifests.join("subnet.yaml"), SUBNET)?;
    let loaders = stage.folder.join("loaders");
    let server = Launch::serve(&manifests, &loaders, &stage.folder, "info")?.start()?;
    server.logged("DHCP serves")?;
    let address = lan.udhcpc(&stage.folder, "pc")?;
    let mut card = lan.card("own")?;
    let machine = Machine::number(1);
    let lease = machine.lease(&mut card)?;
    machine.renew(&mut card, lease)?.acks(lease.address)?;
    let report = lan.perfdhcp("load", "192.0.2.250", 50)?;
    let acks = server.metric(r#"reveille_dhcp_requests_total{outcome="ack",type="request"}"#)?;
    ensure!(acks >= 53, "{acks} acks were counted: {report}");
    server.stop()?;
    Ok(vec![format!(
        "udhcpc has {address}, a card of our own {}, perfdhcp 50 more",
        lease.address
    )])
}

/// The API server goes and comes with all that it held; it freezes; a way to it is cut.
pub(super) fn outages(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    stage.apply(SUBNET)?;
    let proxy = Proxy::open()?;
    let plane = &mut *stage.plane;
    let detour = proxy.kubeconfig(&plane.kubeconfig())?;
    let namespace = stage.namespace.as_str();
    let get = [
        "-n",
        namespace,
        "get",
        "subnets",
        "-o",
        "name",
        "--request-timeout=2s",
    ];
    let held = plane.kubectl_as(&detour, &get)?;
    ensure!(held.contains("/lab"), "through the proxy: {held}");
    proxy.slow(Duration::from_millis(50));
    plane.kubectl_as(&detour, &get)?;
    proxy.stick();
    ensure!(
        plane.kubectl_as(&detour, &get).is_err(),
        "a stuck way answers"
    );
    proxy.cut();
    ensure!(
        plane.kubectl_as(&detour, &get).is_err(),
        "a cut way answers"
    );
    proxy.heal();
    plane.kubectl_as(&detour, &get)?;

    plane.freeze()?;
    ensure!(plane.kubectl(&get).is_err(), "a frozen API server answers");
    plane.thaw()?;
    until("an answer after the frost", || {
        plane.kubectl(&get).map(Some)
    })?;

    plane.stop_api_server()?;
    ensure!(plane.kubectl(&get).is_err(), "a stopped API server answers");
    plane.start_api_server()?;
    plane.kill_api_server()?;
    plane.start_api_server()?;
    let again = plane.kubectl_as(&detour, &get)?;
    ensure!(again == held, "after two restarts: {again}");
    let resident = plane.api_server()?.resident()? >> 20;
    Ok(vec![format!(
        "stuck, cut, frozen, stopped and killed, the API server ({resident} MiB) has what it had"
    )])
}
