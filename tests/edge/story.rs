//! What an edge site lives through, in order.

use std::fs;
use std::os::unix::fs::chown;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::node::POD_ADDRESS;
use crate::site::{LIMIT, NAMESPACE, PODS, Site, has};
use crate::support::machine::{
    AWAKE, Firmware, LIMIT as BOOT, Machine, Running, expect_command_line,
};
use crate::support::ns;
use crate::support::server::{fetch, load};
use crate::support::wait::until_within;

/// A Subnet, a BootProfile, three Machines.
const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/first-light");

/// Its machines.
const BIOS: Machine = machine("bios-pxe", "52:54:00:00:00:01", Firmware::Bios);
const PXE: Machine = machine("uefi-pxe", "52:54:00:00:00:02", Firmware::UefiPxe);
const HTTP: Machine = machine("uefi-http", "52:54:00:00:00:03", Firmware::UefiHttp);

/// The user of the image.
const USER: u32 = 65532;

const fn machine(name: &'static str, mac: &'static str, firmware: Firmware) -> Machine {
    Machine {
        name,
        mac,
        firmware,
        disk: false,
    }
}

/// The whole story.
pub(crate) fn tell(site: &mut Site) -> Result<()> {
    furnish(site)?;
    install(site)?;
    wake(site)?;
    upgrade_while_a_machine_boots(site)?;
    killed(site)?;
    without_the_api_server(site)?;
    containerd_restarts(site)?;
    mistakes(site)?;
    refused_by_pod_security(site)?;
    other_kinds(site)?;
    a_card_of_its_own(site)?;
    uninstall(site)
}

/// The artifact tree and the state folder of the node, the namespace, hosts on the network.
fn furnish(site: &mut Site) -> Result<()> {
    let tree = site.folder.join("boot/linux");
    fs::create_dir_all(&tree)?;
    fs::copy(&site.assets.kernel, tree.join("vmlinuz")).context("kernel")?;
    fs::copy(&site.assets.initrd, tree.join("initrd.img")).context("initrd")?;
    let state = site.folder.join("state");
    fs::create_dir_all(&state)?;
    chown(&state, Some(USER), Some(USER))?;
    let values = format!(
        "image: {{pullPolicy: Never}}\n\
         persistence: {{hostPath: {}}}\n\
         artifacts: {{hostPath: {}}}\n\
         tests: {{mac: \"{}\"}}\n",
        state.display(),
        site.folder.join("boot").display(),
        PXE.mac
    );
    fs::write(site.folder.join("values.yaml"), values)?;
    site.plane.kubectl(&["create", "namespace", NAMESPACE])?;
    let level = "pod-security.kubernetes.io/enforce=privileged";
    site.plane
        .kubectl(&["label", "namespace", NAMESPACE, level])?;
    site.lan.host("guest", "52:54:00:00:01:01")
}

/// `helm install` to a Pod that is ready.
fn install(site: &Site) -> Result<()> {
    let began = site.now();
    let notes = site.release(
        "install",
        "reveille",
        NAMESPACE,
        &["--wait", "--timeout=5m"],
    )?;
    let took = site.now() - began;
    has(&notes, "kubectl -n boot get machines --watch")?;
    ensure!(!notes.contains("MISSING"), "{notes}");
    let pod = site.ready_pod()?;
    let seconds = ready_after(site, &pod)?;
    site.say(&format!(
        "helm install: ready after {:.1} s, the Pod {seconds} s after its start",
        took.as_secs_f64()
    ));
    // As Kubernetes gives capabilities: in the bounding set only. The file's make them permitted.
    let status = fs::read_to_string(format!("/proc/{}/status", site.process()?))?;
    for line in [
        "Uid:\t65532",
        "CapPrm:\t0000000000002400",
        "CapEff:\t0000000000002400",
        "CapBnd:\t0000000000002400",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
    ] {
        has(&status, line)?;
    }
    site.say(&format!("resident, idle: {:.1} MiB", site.resident()?));
    Ok(())
}

/// Whole seconds from the container's start to the Pod's readiness, by the kubelet's account.
fn ready_after(site: &Site, pod: &str) -> Result<String> {
    let text = site.kubectl(&["get", "pod", pod, "-o", "json"])?;
    let pod: serde_json::Value = serde_json::from_str(&text)?;
    let started = &pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"];
    let ready = pod["status"]["conditions"].as_array().into_iter().flatten();
    let mut ready = ready
        .filter(|one| one["type"] == "Ready")
        .map(|one| &one["lastTransitionTime"]);
    let ready = ready.next_back().context("no condition Ready")?;
    let time = |value: &serde_json::Value| -> Result<jiff::Timestamp> {
        Ok(value.as_str().context("no time")?.parse()?)
    };
    Ok((time(ready)?.as_second() - time(started)?.as_second()).to_string())
}

/// `kubectl apply` to a machine's user space; logs, tables and `helm test` agree.
fn wake(site: &Site) -> Result<()> {
    let began = site.now();
    site.kubectl(&["apply", "-f", MANIFESTS])?;
    site.kubectl(&[
        "wait",
        "--for=condition=Ready",
        "subnet/lab",
        "--timeout=60s",
    ])?;
    let mut running = PXE.power_on(&site.assets, &site.folder)?;
    awake(&mut running)?;
    drop(running);
    site.say(&format!(
        "{}: user space {:.1} s after kubectl apply",
        PXE.firmware.as_str(),
        (site.now() - began).as_secs_f64()
    ));
    booted(site, PXE)?;
    let pod = site.ready_pod()?;
    let logs = site.kubectl(&["logs", &pod])?;
    for words in ["DHCP serves", "hand-off", PXE.name] {
        has(&logs, words)?;
    }
    let machines = site.kubectl(&["get", "machines"])?;
    let row = machines.lines().find(|line| line.starts_with(PXE.name));
    has(row.context("no row")?, "Booted")?;
    println!("{machines}");
    let told = site.kubectl(&["exec", &pod, "--", "/usr/bin/reveille", "get", "machines"])?;
    has(&told, PXE.name)?;
    let said = site.helm(&[
        "test",
        "reveille",
        "-n",
        NAMESPACE,
        "--logs",
        "--timeout=3m",
    ])?;
    for step in ["ready", "http", "tftp", "script"] {
        has(&said, &format!("PASS  {step}"))?;
    }
    for line in said.lines().filter(|line| line.starts_with("PASS")) {
        println!("          {line}");
    }
    site.say("helm test passes");
    Ok(())
}

/// `helm upgrade` while a machine boots: it comes up, and who had a lease keeps it.
fn upgrade_while_a_machine_boots(site: &Site) -> Result<()> {
    let address = site.lease("guest")?;
    let before = site.ready_pod()?;
    let mut running = BIOS.power_on_again(&site.assets, &site.folder)?;
    until_within(LIMIT, "the machine's first packet", || {
        let logs = site.kubectl(&["logs", &before])?;
        Ok(logs.contains(BIOS.name).then_some(()))
    })?;
    let began = site.now();
    let more = ["--set", "log.level=debug", "--wait", "--timeout=5m"];
    site.release("upgrade", "reveille", NAMESPACE, &more)?;
    let after = site.ready_pod()?;
    ensure!(before != after, "the Pod is the same");
    site.say(&format!(
        "helm upgrade while a machine boots: ready after {:.1} s",
        (site.now() - began).as_secs_f64()
    ));
    awake(&mut running)?;
    drop(running);
    site.say(&format!(
        "{}: user space all the same",
        BIOS.firmware.as_str()
    ));
    let again = site.lease("guest")?;
    ensure!(address == again, "the lease of {address} became {again}");
    booted(site, PXE)
}

/// The process is killed: the kubelet starts it anew, and what was lent stays lent.
fn killed(site: &Site) -> Result<()> {
    let address = site.lease("guest")?;
    let pod = site.ready_pod()?;
    let began = site.now();
    end_process(site)?;
    until_within(LIMIT, "another start of the container", || {
        let path = "jsonpath={.status.containerStatuses[0].restartCount}";
        let count = site.kubectl(&["get", "pod", &pod, "-o", path])?;
        Ok((count == "1").then_some(()))
    })?;
    site.ready_pod()?;
    site.say(&format!(
        "killed: ready after {:.1} s",
        (site.now() - began).as_secs_f64()
    ));
    ensure!(
        address == site.lease("guest")?,
        "the lease of {address} is lost"
    );
    // A Pod that is deleted without a word, as when its node is drained by force.
    let began = site.now();
    site.kubectl(&["delete", "pod", &pod, "--grace-period=0", "--force"])?;
    until_within(LIMIT, "another Pod", || {
        Ok((site.pod()? != pod).then_some(()))
    })?;
    site.say(&format!(
        "Pod deleted by force: another is ready after {:.1} s",
        (site.now() - began).as_secs_f64()
    ));
    ensure!(
        address == site.lease("guest")?,
        "the lease of {address} is lost"
    );
    Ok(())
}

/// Ends the server's process without a word, and waits until it has.
fn end_process(site: &Site) -> Result<()> {
    let pid = site.process()?;
    kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?;
    until_within(LIMIT, "the end of the process", || {
        Ok((site.process().ok() != Some(pid)).then_some(()))
    })
}

/// The API server is gone: machines boot, also after the container's restart.
fn without_the_api_server(site: &mut Site) -> Result<()> {
    let address = site.lease("guest")?;
    site.plane.kill_api_server()?;
    ensure!(
        address == site.lease("guest")?,
        "the lease of {address} is lost"
    );
    end_process(site)?;
    let began = site.now();
    until_within(LIMIT, "the server without the API server", || {
        site.process()?;
        Ok(Some(fetch("192.0.2.1:9167".parse()?, "/readyz")?))
    })?;
    site.say(&format!(
        "no API server, container killed: serves again after {:.1} s",
        (site.now() - began).as_secs_f64()
    ));
    let mut running = HTTP.power_on(&site.assets, &site.folder)?;
    awake(&mut running)?;
    drop(running);
    site.say(&format!(
        "{}: user space without the API server",
        HTTP.firmware.as_str()
    ));
    site.plane.start_api_server()?;
    booted(site, HTTP)?;
    site.say("the API server is back and told");
    Ok(())
}

/// containerd restarts: the process is the same, and the kubelet finds it again.
fn containerd_restarts(site: &mut Site) -> Result<()> {
    let (pid, pod) = (site.process()?, site.ready_pod()?);
    site.node.kill_containerd()?;
    let address = site.lease("guest")?;
    site.node.start_containerd()?;
    let logs = until_within(LIMIT, "logs after containerd's restart", || {
        Ok(Some(site.kubectl(&[
            "exec",
            &pod,
            "--",
            "/usr/bin/reveille",
            "status",
        ])?))
    })?;
    has(&logs, "is ready")?;
    ensure!(pid == site.process()?, "another process");
    ensure!(pod == site.ready_pod()?, "another Pod");
    site.say(&format!(
        "containerd restarted: the same process, {address} stays"
    ));
    Ok(())
}

/// What an admin gets wrong: the Pod says so, and serves what it can.
fn mistakes(site: &Site) -> Result<()> {
    let wrong = "apiVersion: reveille.dev/v1alpha1\nkind: Subnet\nmetadata: {name: wrong}\n\
                 spec: {mode: Server, cidr: 198.51.100.0/24, interface: eth9, \
                 pools: [{start: 198.51.100.10, end: 198.51.100.20}]}\n";
    site.apply(wrong)?;
    let line = site.described("there is no interface eth9")?;
    println!("          {line}");
    has(
        &site.kubectl(&["logs", "-l", PODS, "--tail=-1"])?,
        "there is no interface eth9",
    )?;
    site.lease("guest")?;
    site.kubectl(&["delete", "subnet", "wrong"])?;
    site.ready_pod()?;
    site.say("an interface that is missing is named by the Pod, and the other Subnet is served");

    // Ports below 1024 are not ours: HTTP at 8080 is served, TFTP and DHCP are left out.
    let more = [
        "--set-json",
        "securityContext.capabilities.add=[]",
        "--set",
        "ports.http=8080",
    ];
    site.release("upgrade", "reveille", NAMESPACE, &more)?;
    let line = site.described("not permitted")?;
    println!("          {line}");
    let logs = site.kubectl(&["logs", "-l", PODS, "--tail=-1"])?;
    has(&logs, "CAP_NET_BIND_SERVICE")?;
    has(&logs, "TFTP cannot bind 0.0.0.0:69")?;
    until_within(LIMIT, "HTTP at 8080", || {
        load("192.0.2.1:8080".parse()?, "/ipxe.efi").map(|_| Some(()))
    })?;
    site.say("without capabilities it serves HTTP at 8080, and names what is left out");

    let more = [
        "--set",
        "persistence.hostPath=,persistence.storageClassName=nowhere",
    ];
    site.release("upgrade", "reveille", NAMESPACE, &more)?;
    let line = site.describes(
        &["describe", "pods", "-l", PODS],
        "unbound immediate PersistentVolumeClaims",
    )?;
    println!("          {line}");
    let line = site.describes(
        &["describe", "persistentvolumeclaims"],
        "\"nowhere\" not found",
    )?;
    println!("          {line}");
    site.release(
        "upgrade",
        "reveille",
        NAMESPACE,
        &["--wait", "--timeout=5m"],
    )?;
    site.ready_pod()?;
    site.say("a claim that nobody fills is named; with the right value it serves again");
    Ok(())
}

/// A namespace that refuses the node's network: the release says so, and so does the Deployment.
fn refused_by_pod_security(site: &Site) -> Result<()> {
    site.plane.kubectl(&["create", "namespace", "strict"])?;
    let level = "pod-security.kubernetes.io/enforce=baseline";
    site.plane
        .kubectl(&["label", "namespace", "strict", level])?;
    let more = ["--set", "crds.enabled=false"];
    let notes = site.release("install", "refused", "strict", &more)?;
    has(
        &notes,
        "MISSING: namespace strict enforces the Pod Security level \"baseline\"",
    )?;
    has(
        &notes,
        "kubectl label namespace strict pod-security.kubernetes.io/enforce=privileged",
    )?;
    let line = until_within(LIMIT, "the Deployment's reason", || {
        let words = ["describe", "replicasets", "--namespace=strict"];
        let text = site.plane.kubectl(&words)?;
        let line = text
            .lines()
            .find(|line| line.contains("violates PodSecurity"));
        Ok(line.map(|line| line.trim().to_owned()))
    })?;
    println!("          {line}");
    site.helm(&["uninstall", "refused", "-n", "strict"])?;
    site.say("Pod Security refuses the Pod, and the notes name the cure");
    Ok(())
}

/// The other kinds of workload, one after the other, on the same volume: leases stay.
fn other_kinds(site: &Site) -> Result<()> {
    let address = site.lease("guest")?;
    for kind in ["DaemonSet", "StatefulSet"] {
        let began = site.now();
        let set = format!("kind={kind}");
        let more = ["--set", &set, "--wait", "--timeout=5m"];
        site.release("upgrade", "reveille", NAMESPACE, &more)?;
        let pod = site.ready_pod()?;
        let path = "jsonpath={.metadata.ownerReferences[0].kind}";
        let owner = site.kubectl(&["get", "pod", &pod, "-o", path])?;
        ensure!(owner == kind, "the Pod is of a {owner}");
        let again = site.lease("guest")?;
        ensure!(address == again, "the lease of {address} became {again}");
        site.say(&format!(
            "the same as a {kind}: ready after {:.1} s, {address} stays",
            (site.now() - began).as_secs_f64()
        ));
    }
    Ok(())
}

/// Without the node's network: the Pod has a card on the machines' network, and wakes one of them.
fn a_card_of_its_own(site: &Site) -> Result<()> {
    let address = site.lease("guest")?;
    let set = "network.hostNetwork=false,service.enabled=true,service.type=ClusterIP";
    site.release("upgrade", "reveille", NAMESPACE, &["--set", set])?;
    // The interface is the Pod's now; until somebody says so the Pod is not ready, and says why.
    site.described(&format!("there is no interface {}", ns::BRIDGE))?;
    let eth0 = r#"{"spec": {"interface": "eth0"}}"#;
    site.kubectl(&["patch", "subnet", "lab", "--type=merge", "-p", eth0])?;
    let pod = site.ready_pod()?;
    let ours = fs::read_link("/proc/self/ns/net")?;
    let theirs = fs::read_link(format!("/proc/{}/ns/net", site.process()?))?;
    ensure!(ours != theirs, "the Pod has the node's network");
    let ip = site.kubectl(&["get", "pod", &pod, "-o", "jsonpath={.status.podIP}"])?;
    ensure!(ip == POD_ADDRESS, "the Pod has {ip}");
    let again = site.lease("guest")?;
    ensure!(address == again, "the lease of {address} became {again}");
    let mut running = BIOS.power_on_again(&site.assets, &site.folder)?;
    awake(&mut running)?;
    drop(running);
    site.say(&format!(
        "without the node's network, at {POD_ADDRESS}: {} reaches user space, {address} stays",
        BIOS.firmware.as_str()
    ));
    Ok(())
}

/// `helm uninstall` keeps the definitions and every Machine.
fn uninstall(site: &Site) -> Result<()> {
    site.helm(&["uninstall", "reveille", "-n", NAMESPACE, "--wait"])?;
    let machines = site.kubectl(&["get", "machines", "-o", "name"])?;
    ensure!(machines.lines().count() == 3, "{machines}");
    site.say("helm uninstall keeps the Machines");
    Ok(())
}

// === machines ===

/// Waits until the machine's user space says who it is and how it was booted.
fn awake(running: &mut Running) -> Result<()> {
    let Machine { name, mac, .. } = running.machine;
    let said = until_within(BOOT, &format!("user space of {name}"), || {
        // In this order: what a machine said last is read after it went off.
        let off = running.is_off();
        match running.said(AWAKE) {
            Some(line) => Ok(Some(Ok(line))),
            None if off => Ok(Some(Err(anyhow::anyhow!("{name} went off without a word")))),
            None => Ok(None),
        }
    })??;
    let expected = format!("console=ttyS0 hostname={name} reveille.mac={mac}");
    expect_command_line(&said, name, &expected)
}

/// Waits until the Machine's status says that it booted.
fn booted(site: &Site, machine: Machine) -> Result<()> {
    let object = format!("machine/{}", machine.name);
    site.kubectl(&["wait", "--for=condition=Booted", &object, "--timeout=8s"])
        .or_else(|_| {
            until_within(Duration::from_secs(60), &object, || {
                site.kubectl(&["wait", "--for=condition=Booted", &object, "--timeout=8s"])
                    .map(Some)
            })
        })?;
    Ok(())
}
