//! What stands between the operator and its API server: a proxy, objects of a megabyte. Machines boot all
//! the while.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::limits;
use super::operator::{WORLD, account, is_offered, machine, start_as};
use crate::lan::Lan;
use crate::plane::API;
use crate::stage::Stage;
use crate::support::process::Process;
use crate::support::wait::until;

/// The proxy of [`proxied`].
pub(super) const TINYPROXY: &str = "tinyproxy";
/// Where it listens.
const PROXY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 3128);

/// The way of a kubeconfig's `proxy-url`, of `HTTPS_PROXY`, and past it by `NO_PROXY`.
pub(super) fn proxied(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    let mut card = lan.card("own")?;
    stage.apply(&format!("{WORLD}---\n{}", machine(7, 7)))?;
    let direct = account(stage)?;
    let tiny = Tiny::start(&stage.folder)?;

    // What its file names: nothing goes past it.
    let text = std::fs::read_to_string(&direct)?;
    let api = format!("server: \"https://{API}\"");
    let detour = text.replace(&api, &format!("{api}, proxy-url: \"http://{PROXY}\""));
    ensure!(detour != text, "{} names no {API}", direct.display());
    let by_proxy = direct.with_extension("by-proxy");
    std::fs::write(&by_proxy, detour)?;
    let server = start_as(stage, &by_proxy, &[])?;
    server.logged(&format!("proxy={PROXY}"))?;
    is_offered(&mut card, 7, 7)?;
    let by_file = tiny.connections()?;
    ensure!(by_file > 0, "tinyproxy made no connection to {API}");
    tiny.stop()?;
    server.logged("the API server")?;
    // Machines do not care, and the way is found again.
    is_offered(&mut card, 7, 7)?;
    let tiny = Tiny::start(&stage.folder)?;
    stage.apply(&machine(7, 8))?;
    is_offered(&mut card, 7, 8)?;
    server.stop()?;

    // What its environment names.
    let proxy = format!("http://{PROXY}");
    let by_environment = |except: &str| {
        let launch = stage.operator("operator", &direct)?;
        launch
            .with(&["--namespace", &stage.namespace])
            .env("HTTPS_PROXY", &proxy)
            .env("NO_PROXY", except)
            .start()
    };
    let before = tiny.connections()?;
    // An exception of the proxy's own name says nothing about the API server.
    let server = by_environment("198.51.100.0/24,.example.net")?;
    stage.apply(&machine(7, 9))?;
    is_offered(&mut card, 7, 9)?;
    server.stop()?;
    let after = tiny.connections()?;
    ensure!(after > before, "HTTPS_PROXY is not used");
    let server = by_environment("198.51.100.0/24,127.0.0.0/8")?;
    stage.apply(&machine(7, 10))?;
    is_offered(&mut card, 7, 10)?;
    server.stop()?;
    ensure!(tiny.connections()? == after, "NO_PROXY does not count");
    tiny.stop()?;
    Ok(vec![format!(
        "{by_file} connections by proxy-url, {} by HTTPS_PROXY, none past NO_PROXY",
        after - before
    )])
}

/// Objects as large as they may be, beside one that is small: each has its status, and the small one's
/// machine its address, in the memory of any other day.
pub(super) fn large(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let mut lan = Lan::open()?;
    let mut card = lan.card("own")?;
    stage.apply(&format!("{WORLD}---\n{}", machine(7, 7)))?;
    let server = start_as(stage, &account(stage)?, &[])?;
    is_offered(&mut card, 7, 7)?;
    let mut sizes = Vec::new();
    for full in limits::full() {
        let kind = full["kind"].as_str().context("kind")?.to_lowercase();
        limits::create(stage, &full, &[])?;
        sizes.push(format!("{kind} of {} kB", full.to_string().len() / 1000));
        let generation = "jsonpath={.status.observedGeneration}";
        until(&format!("a status of the full {kind}"), || {
            let seen = stage.kubectl(&["get", &kind, "full", "-o", generation])?;
            Ok((seen == "1").then_some(()))
        })?;
    }
    stage.apply(&machine(7, 8))?;
    is_offered(&mut card, 7, 8)?;
    let resident = server.resident()? >> 20;
    ensure!(resident < 100, "{resident} MiB");
    server.stop()?;
    Ok(vec![format!("{}; {resident} MiB", sizes.join(", "))])
}

/// tinyproxy, which connects clients with whom they name (HTTP CONNECT).
struct Tiny(Process);

impl Tiny {
    fn start(folder: &Path) -> Result<Self> {
        let file = folder.join("tinyproxy.conf");
        let text = format!(
            "Port {}\nListen {}\nTimeout 600\nLogLevel Connect\nConnectPort {}\n",
            PROXY.port(),
            PROXY.ip(),
            API.port()
        );
        std::fs::write(&file, text)?;
        let mut command = Command::new(TINYPROXY);
        command.arg("-d").arg("-c").arg(&file);
        let mut process = Process::spawn(TINYPROXY, command, &folder.join("tinyproxy.log"))?;
        until("tinyproxy", || {
            process.alive()?;
            Ok(std::net::TcpStream::connect(PROXY).is_ok().then_some(()))
        })?;
        Ok(Self(process))
    }

    /// Connections to the API server so far, since the folder is there.
    fn connections(&self) -> Result<usize> {
        let log = std::fs::read_to_string(self.0.log())?;
        let request = format!("CONNECT {API}");
        Ok(log.lines().filter(|line| line.contains(&request)).count())
    }

    fn stop(mut self) -> Result<()> {
        self.0.signal(Signal::SIGTERM)?;
        until("the end of tinyproxy", || self.0.ended())?;
        Ok(())
    }
}
