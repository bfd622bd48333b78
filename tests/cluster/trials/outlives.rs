//! Machines boot and renew while the API server is away, even after a restart.

use anyhow::{Result, ensure};

use super::operator::{WORLD, account, is_offered, machine, start, start_as};
use crate::lan::Lan;
use crate::stage::Stage;
use crate::support::dhcp::Machine;
use crate::support::wait::until;

/// The API server is gone, then the program is killed and started again.
pub(super) fn outlives(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    let mut card = lan.card("own")?;
    let kubeconfig = account(stage)?;
    let server = start_as(stage, &kubeconfig, &[])?;
    stage.apply(&format!("{WORLD}---\n{}", machine(7, 7)))?;
    is_offered(&mut card, 7, 7)?;
    let lease = Machine::number(1).lease(&mut card)?;
    let world = stage.folder.join("operator/state/world.json");
    until("the world on disk", || {
        let kept = std::fs::read_to_string(&world).unwrap_or_default();
        Ok(kept.contains("node-7").then_some(()))
    })?;

    stage.plane.kill_api_server()?;
    server.logged("the API server")?;
    Machine::number(1)
        .renew(&mut card, lease)?
        .acks(lease.address)?;
    let second = Machine::number(2).lease(&mut card)?;
    server.kill()?;

    let server = start_as(stage, &kubeconfig, &[])?;
    server.logged("what was known before is served")?;
    for (number, lease) in [(1, lease), (2, second)] {
        Machine::number(number)
            .renew(&mut card, lease)?
            .acks(lease.address)?;
    }
    is_offered(&mut card, 7, 7)?;
    Machine::number(3).lease(&mut card)?;

    stage.plane.start_api_server()?;
    server.logged("the API server answers")?;
    stage.apply(&machine(7, 8))?;
    is_offered(&mut card, 7, 8)?;
    server.stop()?;
    Ok(vec![
        "renewed, leased and reserved without an API server".to_owned(),
    ])
}

/// Watches that end, histories that are gone: a new list makes it good, and nothing is lost meanwhile.
pub(super) fn relists(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    let mut card = lan.card("own")?;
    let server = start(stage, &[])?;
    stage.apply(&format!(
        "{WORLD}---\n{}---\n{}",
        machine(7, 7),
        machine(8, 8)
    ))?;
    is_offered(&mut card, 8, 8)?;
    // Frozen with the watches open: what comes before the thaw comes after it.
    stage.plane.freeze()?;
    is_offered(&mut card, 7, 7)?;
    stage.plane.thaw()?;
    // The watches are cut with the API server; what changes before they are back is
    // seen by the next list, deletions too.
    stage.plane.kill_api_server()?;
    stage.plane.start_api_server()?;
    stage.kubectl(&["delete", "machine", "node-8", "--wait=false"])?;
    stage.apply(&machine(7, 9))?;
    is_offered(&mut card, 7, 9)?;
    until("machine 8 to be unknown", || {
        let last = Machine::number(8).discover(&mut card)?.address.octets()[3];
        Ok((last != 8).then_some(()))
    })?;
    ensure!(
        server.times_logged("DHCP serves")? == 1,
        "the listener was started again"
    );
    server.stop()?;
    Ok(Vec::new())
}
