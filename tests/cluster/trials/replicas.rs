//! Two replicas of the operator: one leads, and the other takes over when it is killed, freezes or loses
//! the API server. Both are in one room and have one address; what tells them apart is who answers.

use std::path::Path;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use super::operator::{WORLD, account, machine, start};
use crate::lan::Lan;
use crate::proxy::Proxy;
use crate::stage::Stage;
use crate::support::dhcp::Machine;
use crate::support::server::{Launch, Server};
use crate::support::wait::until;

/// Sooner than by default, in the same proportions.
pub(super) const TIMES: [&str; 3] = [
    "--lease-duration=6",
    "--renew-deadline=4",
    "--retry-period=1",
];

/// Starts replica `number` of two.
fn replica(stage: &Stage<'_>, number: u16, kubeconfig: &Path) -> Result<Server> {
    launch(stage, number, kubeconfig)?.start()
}

/// The same before its start.
pub(super) fn launch(stage: &Stage<'_>, number: u16, kubeconfig: &Path) -> Result<Launch> {
    let ordinal = format!("--ordinal={number}");
    let doors = [
        format!("--http=0.0.0.0:{}", 8080 + number),
        format!("--tftp=0.0.0.0:{}", 6900 + number),
    ];
    let launch = stage.operator(&format!("replica-{number}"), kubeconfig)?;
    Ok(launch
        .admin(9200 + number)
        .with(&["--namespace", &stage.namespace])
        .with(&["--replicas=2", &ordinal])
        .with(&[&doors[0], &doors[1]])
        .with(&TIMES))
}

pub(super) fn leads(server: &Server) -> Result<bool> {
    Ok(server.metric("reveille_leader")? == 1)
}

pub(super) fn comes_to_lead(server: &Server, name: &str) -> Result<()> {
    until(
        &format!("{name} leads"),
        || Ok(leads(server)?.then_some(())),
    )?;
    until(&format!("{name} has taken over"), || {
        Ok((server.times_logged("leases taken over")? > 0).then_some(()))
    })
}

/// The mirror of `machine`, once it is there.
fn mirrored(stage: &Stage<'_>, machine: Machine, address: &str) -> Result<String> {
    let label = format!("reveille.dev/mac={}", machine.mac).replace(':', "-");
    until(&format!("the DhcpLease of {}", machine.mac), || {
        let table = stage.kubectl(&["get", "dhcpleases", "-l", &label])?;
        Ok(table.contains(address).then_some(table))
    })
}

/// The leader is killed: the other takes over what was mirrored, and probes before it offers.
pub(super) fn killed(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    let mut card = lan.card("own")?;
    stage.apply(WORLD)?;
    let account = account(stage)?;
    let first = replica(stage, 0, &account)?;
    comes_to_lead(&first, "replica 0")?;
    let second = replica(stage, 1, &account)?;
    second.logged("this replica follows")?;

    let client = Machine::number(1);
    let lease = client.lease(&mut card)?;
    let table = mirrored(stage, client, &lease.address.to_string())?;
    let uid = stage.kubectl(&["get", "subnet", "lab", "-o", "jsonpath={.metadata.uid}"])?;
    let owner = "-o=jsonpath={.metadata.ownerReferences[0].uid}";
    let owned = stage.kubectl(&["get", "dhcplease", &lease.address.to_string(), owner])?;
    ensure!(owned == uid, "owned by {owned}, not by {uid}");
    ensure!(!leads(&second)?, "both lead");

    first.kill()?;
    comes_to_lead(&second, "replica 1")?;
    // Known without its disk: the same machine keeps its address.
    client.renew(&mut card, lease)?.acks(lease.address)?;
    // An address that somebody else has though nobody was told of it.
    let other = Machine::number(2);
    let offered = other.discover(&mut card)?.address;
    card.addresses.insert(offered, Machine::number(77).mac);
    let instead = other.lease(&mut card)?.address;
    ensure!(instead != offered, "{offered} is given though it answers");
    second.logged("somebody has the address that was about to be offered")?;
    mirrored(stage, other, &instead.to_string())?;

    // The first comes again without its disk and makes way.
    std::fs::remove_dir_all(stage.folder.join("replica-0/state"))?;
    let first = replica(stage, 0, &account)?;
    first.logged("this replica follows")?;
    let known = r"-o=jsonpath={.metadata.annotations.leader\.reveille\.dev/replica-0}";
    let term = until("that replica 0 made way", || {
        let term = stage.kubectl(&["get", "lease", "reveille", known])?;
        Ok((!term.is_empty()).then_some(term))
    })?;
    // A clean end hands over at once.
    second.stop()?;
    comes_to_lead(&first, "replica 0")?;
    first.stop()?;
    let mut seen: Vec<String> = table.lines().map(str::to_owned).collect();
    seen.push(format!("replica 0 made way for term {term}"));
    Ok(seen)
}

/// The leader freezes and returns: the other leads meanwhile, and the first does nothing as before.
pub(super) fn frozen(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    let mut card = lan.card("own")?;
    stage.apply(WORLD)?;
    let account = account(stage)?;
    let first = replica(stage, 0, &account)?;
    comes_to_lead(&first, "replica 0")?;
    let client = Machine::number(1);
    let lease = client.lease(&mut card)?;
    mirrored(stage, client, &lease.address.to_string())?;
    let second = replica(stage, 1, &account)?;
    second.logged("this replica follows")?;

    first.signal(Signal::SIGSTOP)?;
    comes_to_lead(&second, "replica 1")?;
    first.signal(Signal::SIGCONT)?;
    // What it answers first after its sleep is already right.
    ensure!(!leads(&first)?, "it still leads after its sleep");
    let given = Machine::number(2).lease(&mut card)?;
    ensure!(given.address != lease.address, "{} twice", lease.address);
    first.logged("what it may give away is forgotten")?;
    ensure!(leads(&second)? && !leads(&first)?, "not one leader");
    let silent = "reveille_dhcp_requests_total{outcome=\"not-holder\",type=\"discover\"}";
    until("a silence of the one that follows", || {
        Machine::number(3).discover(&mut card)?;
        Ok((first.metric(silent)? > 0).then_some(()))
    })?;
    first.stop()?;
    second.stop()?;
    Ok(Vec::new())
}

/// The leader loses the API server: it goes on with what it knows, and the other leads.
pub(super) fn isolated(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    let mut card = lan.card("own")?;
    stage.apply(WORLD)?;
    let account = account(stage)?;
    let way = Proxy::open()?;
    let first = replica(stage, 0, &way.kubeconfig(&account)?)?;
    comes_to_lead(&first, "replica 0")?;
    let client = Machine::number(1);
    let lease = client.lease(&mut card)?;
    mirrored(stage, client, &lease.address.to_string())?;
    let second = replica(stage, 1, &account)?;
    second.logged("this replica follows")?;

    way.stick();
    first.logged("cannot tell who leads")?;
    comes_to_lead(&second, "replica 1")?;
    client
        .reboot(&mut card, lease.address)?
        .acks(lease.address)?;
    Machine::number(2).lease(&mut card)?;
    way.heal();
    first.logged("what it may give away is forgotten")?;
    until("replica 0 follows", || {
        Ok((first.times_logged("this replica follows")? > 0).then_some(()))
    })?;
    ensure!(leads(&second)? && !leads(&first)?, "not one leader");
    first.stop()?;
    second.stop()?;
    Ok(Vec::new())
}

/// No API server at all: what the leader knows goes on, and its share is given.
pub(super) fn without(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    let mut card = lan.card("own")?;
    stage.apply(WORLD)?;
    let account = account(stage)?;
    let first = replica(stage, 0, &account)?;
    comes_to_lead(&first, "replica 0")?;
    let client = Machine::number(1);
    let lease = client.lease(&mut card)?;
    // Its table is kept from before, so that its share may be used at once.
    first.stop()?;
    std::fs::remove_file(stage.folder.join("replica-0/state/leases.since"))?;
    let first = replica(stage, 0, &account)?;
    comes_to_lead(&first, "replica 0 again")?;
    stage.plane.kill_api_server()?;
    first.logged("cannot tell who leads")?;
    client.renew(&mut card, lease)?.acks(lease.address)?;
    // 200 addresses: the last 20 are the share of replica 0.
    let new = Machine::number(2).lease(&mut card)?.address;
    ensure!(
        (200..=219).contains(&new.octets()[3]),
        "{new} is no address of its share"
    );
    stage.plane.start_api_server()?;
    comes_to_lead(&first, "replica 0 with the API server back")?;
    mirrored(stage, Machine::number(2), &new.to_string())?;
    first.stop()?;
    Ok(vec![format!("{new} was given without the API server")])
}

/// A lone replica: its leases as objects, which follow bindings and not renewals, and of which a lost
/// table is made anew.
pub(super) fn alone(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    let mut card = lan.card("own")?;
    stage.apply(&WORLD.replace("mode: Server", "mode: Server\n  unknownMachines: Ignore"))?;
    let named = |number: u8| {
        let with = machine(number, 9);
        with.replace(", ip: 192.0.2.9", "")
    };
    stage.apply(&format!("{}---\n{}", named(1), named(2)))?;
    let server = start(stage, &[])?;
    let (one, two) = (Machine::number(1), Machine::number(2));
    let lease = one.lease(&mut card)?;
    let address = lease.address.to_string();
    let table = mirrored(stage, one, &address)?;
    ensure!(table.contains("node-1"), "no machine in {table}");
    let agent = format!("reveille/{}", env!("CARGO_PKG_VERSION"));
    let before = stage.plane.count(&agent, "patch", "dhcpleases")?;
    for _ in 0..5 {
        one.renew(&mut card, lease)?.acks(lease.address)?;
    }
    // Writes come in order: the renewals would be before it.
    let second = two.lease(&mut card)?.address.to_string();
    mirrored(stage, two, &second)?;
    let after = stage.plane.count(&agent, "patch", "dhcpleases")?;
    ensure!(after == before + 1, "{} writes", after - before);

    // The table is lost: the objects know.
    server.kill()?;
    std::fs::remove_dir_all(stage.folder.join("operator/state"))?;
    let server = start(stage, &[])?;
    until("the leases of the objects", || {
        let leases = server.get("/leases")?;
        Ok((leases.contains(&address) && leases.contains(&second)).then_some(()))
    })?;
    // A machine that goes has nothing. Who went before the engine looked first is not missed.
    let bound = format!(
        "reveille_dhcp_addresses{{state=\"bound\",subnet=\"{}/lab\"}}",
        stage.namespace
    );
    until("the count of leases", || {
        Ok((server.metric(&bound)? == 2).then_some(()))
    })?;
    stage.kubectl(&["delete", "machine", "node-1"])?;
    until("the end of node-1's lease", || {
        let left = stage.kubectl(&["get", "dhcpleases", "-o", "name"])?;
        Ok((!left.contains(&address) && left.contains(&second)).then_some(()))
    })?;
    let watches = stage.plane.count(&agent, "watch", "dhcpleases")?;
    ensure!(watches == 0, "dhcpleases are watched");
    server.stop()?;
    Ok(table.lines().map(str::to_owned).collect())
}
